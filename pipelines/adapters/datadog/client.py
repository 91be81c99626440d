"""One request to Datadog's query API: signed in, retried, within the rate limit.

Datadog says with every answer how many requests are left (``X-RateLimit-Remaining``) and when that
begins anew (``X-RateLimit-Reset``, seconds). When none is left the next request waits for it, as
does one that was refused with 429.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import tenacity

from pipelines.adapters.datadog.params import DatadogParams
from pipelines.adapters.source import FetchReport, shorten
from pipelines.errors import AccessDenied, ConfigError, QueryFailed, SourceError, SourceUnreachable

__all__ = ["Answer", "DatadogApi", "Series"]

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})


class Series(msgspec.Struct):
    """One series of an answer; ``interval`` is what Datadog rolled its points up to."""

    pointlist: list[tuple[Annotated[float, msgspec.Meta(ge=0, le=2**53)], float | None]] = []
    tag_set: list[str] | None = None
    scope: str = ""
    interval: float | None = None


class Answer(msgspec.Struct):
    """What ``/api/v1/query`` answers with 200, which may be an error all the same."""

    status: str = "ok"
    error: str | None = None
    message: str | None = None
    series: list[Series] | None = None


class _Refusal(msgspec.Struct):
    errors: list[str] = []


@dataclass(frozen=True, slots=True)
class _Rate:
    """The rate limit as an answer's headers tell it; nothing where they do not."""

    limit: int | None = None
    period_s: int | None = None
    remaining: int | None = None
    reset_s: float | None = None

    @classmethod
    def of(cls, headers: Any) -> _Rate:
        held = {str(key).lower(): str(value) for key, value in dict(headers or {}).items()}

        def number(key: str) -> int | None:
            text = held.get(f"x-ratelimit-{key}", "")
            return int(text) if text.isdecimal() and len(text) < 10 else None

        return cls(number("limit"), number("period"), number("remaining"), number("reset"))


class _TransientError(Exception):
    """Worth another attempt; ``failure`` is what is raised when there is none left."""

    def __init__(self, failure: SourceError, wait_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_s = wait_s


class DatadogApi:
    """Asks queries, one at a time."""

    def __init__(
        self,
        client: Any,
        params: DatadogParams,
        principal: str,
        sleep: Callable[[float], None],
    ) -> None:
        """As ``DatadogSource``."""
        self._client = client
        self._endpoint: Any = None
        self._params = params
        self._principal = principal or "the API key and application key"
        self._sleep = sleep
        self.rate = _Rate()
        """As of the last answer."""

    def ask(self, query: str, from_s: int, to_s: int, asked: str) -> tuple[Answer, FetchReport]:
        """One query, both ends inclusive; ``asked`` names it in errors.

        Raises
        ------
        AccessDenied, QueryFailed, SourceUnreachable
            The keys are refused; the query is, or the rate limit lasts too long; no answer.
        """
        if self.rate.remaining == 0 and self.rate.reset_s:
            self._sleep(self._bounded(self.rate.reset_s, asked))
        attempts = tenacity.Retrying(
            sleep=self._sleep,
            stop=tenacity.stop_after_attempt(self._params.attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception_type(_TransientError),
            reraise=True,
        )
        try:
            answer, size = attempts(self._once, query, from_s, to_s, asked)
        except _TransientError as error:
            tries = attempts.statistics["attempt_number"]
            often = f" ({tries} attempts)" if tries > 1 else ""
            raise type(error.failure)(f"{error.failure}{often}") from error.__cause__
        retries = attempts.statistics["attempt_number"] - 1
        return answer, FetchReport(queries=1, retries=retries, bytes=size)

    def _once(self, query: str, from_s: int, to_s: int, asked: str) -> tuple[Answer, int]:
        from datadog_api_client.exceptions import ApiException
        from urllib3.exceptions import HTTPError, LocationValueError

        try:
            response = self._metrics().query_metrics(_from=from_s, to=to_s, query=query)
            data: bytes = response.data
        except ApiException as error:
            raise self._refused(error, asked) from None
        except UnicodeDecodeError as error:  # an error's body that is neither JSON nor text
            raise _TransientError(
                QueryFailed(f"{self._address} answered {asked} with an error that is no text")
            ) from error
        except LocationValueError as error:
            raise ConfigError(f"{self._address} is no http(s) address; correct it") from error
        except HTTPError as error:
            raise _TransientError(
                SourceUnreachable(
                    f"no answer from {self._address}: {shorten(str(error))}; asked for {asked}"
                )
            ) from error
        self.rate = _Rate.of(response.headers)
        try:
            answer = msgspec.json.decode(data, type=Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _TransientError(
                QueryFailed(
                    f"{self._address} did not answer as Datadog does ({shorten(str(error))}); "
                    f"asked for {asked}"
                )
            ) from error
        if answer.status != "ok" or answer.error:
            said = answer.error or answer.message or f"status {answer.status!r} without a reason"
            raise QueryFailed(f"{self._address} refused {asked}: {shorten(said)}")
        return answer, len(data)

    def _metrics(self) -> Any:
        if self._endpoint is None:
            from datadog_api_client import ApiClient
            from datadog_api_client.v1.api.metrics_api import MetricsApi

            client = self._client if isinstance(self._client, ApiClient) else self._client()
            # the library makes an object of every point; the bytes are read here instead
            client.configuration.preload_content = False
            self._endpoint = MetricsApi(client)
        return self._endpoint

    def _refused(self, error: Any, asked: str) -> Exception:
        self.rate = _Rate.of(error.headers)
        said = shorten(_reasons(error.body)) or str(error.reason)
        if error.status in {401, 403}:
            return AccessDenied(
                f"{self._address} refused {self._principal}: HTTP {error.status}: {said}; check "
                "the site, both keys, and that the application key may read timeseries_query; "
                f"asked for {asked}"
            )
        if not error.status:  # the library's word for TLS that failed
            return SourceUnreachable(f"no answer from {self._address}: {said}; asked for {asked}")
        failure = QueryFailed(f"{self._address} refused {asked}: HTTP {error.status}: {said}")
        if error.status not in _RETRIED:
            return failure
        if error.status != 429 or self.rate.reset_s is None:
            return _TransientError(failure)
        return _TransientError(failure, self._bounded(self.rate.reset_s, asked))

    def _bounded(self, reset_s: float, asked: str) -> float:
        """The wait for the rate limit, which is refused where it is too long."""
        if reset_s <= self._params.rate_wait_max_s:
            return reset_s
        raise QueryFailed(
            f"{self._address}: the rate limit ({self.limit_text}) begins anew in {reset_s:.0f} s, "
            f"later than rate_wait_max_s = {self._params.rate_wait_max_s:.0f}; raise that, or ask "
            f"Datadog for a higher limit; asked for {asked}"
        )

    @property
    def limit_text(self) -> str:
        """The rate limit in words, as of the last answer."""
        if self.rate.limit is None:
            return "not told"
        return f"{self.rate.limit} requests per {self.rate.period_s or '?'} s"

    @property
    def _address(self) -> str:
        return self._params.address

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _TransientError) and error.wait_s is not None:
            return error.wait_s
        usual = self._params.retry_wait_s * 2 ** (state.attempt_number - 1)
        return min(usual, self._params.retry_wait_max_s)


def _reasons(body: object) -> str:
    """What Datadog says in an error's body: ``{"errors": […]}``, or any text."""
    try:
        return "; ".join(msgspec.convert(body, _Refusal).errors)
    except msgspec.ValidationError:
        return str(body or "")
