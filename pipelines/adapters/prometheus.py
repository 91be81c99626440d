"""Samples from whatever answers Prometheus' query API: Prometheus, AMP, Thanos, VictoriaMetrics.

One range query a chunk of the window, so that neither the server's limit of 11,000 steps nor our
memory is met. Stamps are multiples of the step: VictoriaMetrics rounds ``start`` down to one,
Prometheus anchors its grid at ``start``, so only such a start means the same to both. Both ends are
inclusive on the wire; for us the window is half-open.

A query may use two placeholders, named as in Grafana: ``$__interval`` is the step and
``$__rate_interval`` the step or ``rate_window_s``, whichever is longer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
import msgspec
import numpy as np
import stamina

from features.metrics import Metric
from pipelines.adapters.prometheus_answer import Answer, chunk_of
from pipelines.adapters.source import Chunk, FetchReport, Spec, Window, shorten
from pipelines.errors import ConfigError, QueryFailed, SourceError, SourceUnreachable

__all__ = ["PrometheusParams", "PrometheusSource"]

_STEP_LIMIT = 11_000
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_HINTS = {
    401: "; check the credentials",
    403: "; check the credentials and what they may read",
    404: "; is this the base address of a Prometheus query API?",
}


@dataclass(frozen=True, slots=True)
class PrometheusParams:
    """How queries are cut and how stubbornly they are asked.

    ``max_steps_per_query`` bounds the steps of one query, ``max_points_per_query`` steps × series.
    How many series a query has is known after its first answer: the first one asks for
    ``first_query_steps``. ``retry_total_s`` bounds the time after which no retry starts.
    """

    max_steps_per_query: int = 10_000
    max_points_per_query: int = 2_000_000
    first_query_steps: int = 288
    rate_window_s: float = 300.0
    attempts: int = 5
    retry_wait_s: float = 0.5
    retry_wait_max_s: float = 15.0
    retry_total_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse values that no server would serve or that never end."""
        for key in ("max_steps_per_query", "first_query_steps"):
            if not 1 <= getattr(self, key) < _STEP_LIMIT:
                raise ValueError(f"{key} must be 1 to {_STEP_LIMIT - 1}, got {getattr(self, key)}")
        for key in ("max_points_per_query", "attempts"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("retry_wait_s", "retry_wait_max_s"):
            if not 0 <= getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be 0 or more seconds, got {getattr(self, key)}")
        for key in ("rate_window_s", "retry_total_s"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be more than 0 seconds, got {getattr(self, key)}")


class _Refusal(msgspec.Struct):
    error: str = ""


class _TransientError(Exception):
    """Worth another attempt; ``failure`` is what is raised when there is none left."""

    def __init__(self, failure: SourceError, wait_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_s = wait_s


class PrometheusSource:
    """Fetches the metrics of a catalog."""

    def __init__(
        self, client: httpx.Client, *, cluster: str, params: PrometheusParams | None = None
    ) -> None:
        """The client brings ``base_url``, timeouts and, where needed, any ``httpx.Auth``.

        ``cluster`` is the cluster of series that carry no such label.
        """
        self._client = client
        self._cluster = cluster
        self._params = params or PrometheusParams()
        # Whoever reads the message need not be who may know the password in the address.
        self._address = str(client.base_url.copy_with(userinfo=b"", query=None, fragment=None))

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """All samples of one metric in the window; see ``Source``.

        The series' labels ``namespace``, ``kind``, ``name`` say the workload; a label ``cluster``
        goes before the source's own.

        Raises
        ------
        ConfigError
            The metric has no query.
        SourceUnreachable, QueryFailed
            While iterating: no answer after the retries; the server refuses the query.
        """
        metric = spec.metric
        if not metric.query:
            raise ConfigError(f"metric {metric.name!r} has no query; add one to the metric catalog")
        return self._chunks(metric, self._promql(metric.query, window.step_ms), window)

    def _promql(self, query: str, step_ms: int) -> str:
        rate_ms = max(step_ms, round(self._params.rate_window_s * 1000))
        query = query.replace("$__rate_interval", _duration(rate_ms))
        return query.replace("$__interval", _duration(step_ms)).strip()

    def _chunks(self, metric: Metric, promql: str, window: Window) -> Iterator[Chunk]:
        params = self._params
        seen: set[tuple[tuple[str, str], ...]] = set()
        at_ms, steps = window.first_ms, min(params.first_query_steps, params.max_steps_per_query)
        while at_ms < window.end_ms:
            part = Window(at_ms, min(at_ms + steps * window.step_ms, window.end_ms), window.step_ms)
            answer, report = self._ask(metric, promql, part)
            series = answer.data.result if answer.data else []
            yield chunk_of(series, metric.name, self._cluster, part, seen, report)
            at_ms = part.end_ms
            fitting = params.max_points_per_query // max(len(series), 1)
            steps = max(1, min(params.max_steps_per_query, fitting))

    def _ask(self, metric: Metric, promql: str, part: Window) -> tuple[Answer, FetchReport]:
        """One query, retried while that may help."""
        params = self._params
        form = {
            "query": promql,
            "start": _seconds(part.first_ms),
            "end": _seconds(part.last_ms),
            "step": _seconds(part.step_ms),
        }
        asked = f"metric {metric.name!r}, query {shorten(promql)!r}"
        tries = 0
        try:
            for attempt in stamina.retry_context(
                on=self._wait,
                attempts=params.attempts,
                timeout=params.retry_total_s,
                wait_initial=params.retry_wait_s,
                wait_max=params.retry_wait_max_s,
                wait_jitter=params.retry_wait_s,
            ):
                with attempt:
                    tries = attempt.num
                    answer, size = self._once(form, asked)
                    warnings = [*answer.warnings, *(["partial response"] * answer.isPartial)]
                    said = tuple(f"{metric.name}: {shorten(w)}" for w in dict.fromkeys(warnings))
                    return answer, FetchReport(
                        queries=1, retries=tries - 1, bytes=size, warnings=said
                    )
        except _TransientError as error:
            often = f" ({tries} attempts)" if tries > 1 else ""
            raise type(error.failure)(f"{error.failure}{often}") from error.__cause__
        raise AssertionError("stamina ends by an answer or an error")

    def _once(self, form: dict[str, str], asked: str) -> tuple[Answer, int]:
        try:
            response = self._client.post("api/v1/query_range", data=form)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SourceUnreachable(
                f"{self._address or 'an empty address'} is no http(s) address; correct it"
            ) from error
        except httpx.RequestError as error:
            why = str(error) or type(error).__name__
            raise _TransientError(
                SourceUnreachable(f"no answer from {self._address}: {why}; asked for {asked}")
            ) from error
        if response.status_code != 200:
            raise self._refused(response, asked)
        try:
            answer = msgspec.json.decode(response.content, type=Answer)
        except msgspec.MsgspecError as error:
            raise _TransientError(
                QueryFailed(
                    f"{self._address} did not answer as a Prometheus query API does ({error}; it "
                    f"began with {shorten(response.text, 60)!r}); asked for {asked}"
                )
            ) from error
        if answer.status != "success":
            raise QueryFailed(f"{self._address} refused {asked}: {shorten(answer.error)}")
        return answer, len(response.content)

    def _refused(self, response: httpx.Response, asked: str) -> Exception:
        code = response.status_code
        try:
            said = msgspec.json.decode(response.content, type=_Refusal).error
        except msgspec.MsgspecError:
            said = ""
        said = shorten(said or response.text) or response.reason_phrase
        failure = QueryFailed(
            f"{self._address} refused {asked}: HTTP {code}: {said}{_HINTS.get(code, '')}"
        )
        return _TransientError(failure, _retry_after(response)) if code in _RETRIED else failure

    def _wait(self, error: Exception) -> bool | float:
        """Stamina's hook: no retry, the usual wait, or what the server asked, within bounds."""
        if not isinstance(error, _TransientError):
            return False
        return True if error.wait_s is None else min(error.wait_s, self._params.retry_wait_max_s)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asked to wait; a date counts from the answer's own date."""
    header = response.headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    try:
        sent = parsedate_to_datetime(response.headers["Date"])
        return max((parsedate_to_datetime(header) - sent).total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):
        return None


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"


def _duration(ms: int) -> str:
    return f"{ms}ms" if ms % 1000 else f"{ms // 1000}s"
