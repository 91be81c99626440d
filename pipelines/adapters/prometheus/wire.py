"""One query to a Prometheus query API: sent, retried while that may help, read within bounds.

Three ends: an answer; ``TooLargeError``, for whoever can ask for less; an error of
``pipelines.errors``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
import msgspec
import stamina

from pipelines.adapters.http import retry_after_s
from pipelines.adapters.http_secrets import without_secrets
from pipelines.adapters.prometheus.answer import Answer, decode
from pipelines.adapters.prometheus.plan import PrometheusParams
from pipelines.adapters.source import shorten
from pipelines.errors import AccessDenied, QueryFailed, SourceError, SourceUnreachable

__all__ = ["Asked", "TooLargeError", "Wire"]

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_TOO_LARGE_CODES = frozenset({400, 413, 422, 503})
_TOO_LARGE = re.compile(
    r"too many (samples|points|series|chunks)|too large|exceed|more than -search|hit the max"
    r"|limit \d+ violated|not enough memory|timed out|timeout|deadline",
    re.IGNORECASE,
)
_HINTS = {404: "; is this the base address of a Prometheus query API?"}


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer and what it took."""

    answer: Answer
    bytes: int
    retries: int


class TooLargeError(Exception):
    """The server or we found the answer too large; ``failure`` is for who cannot ask for less."""

    def __init__(self, failure: QueryFailed) -> None:
        """The text is the failure's."""
        super().__init__(str(failure))
        self.failure = failure


class _TransientError(Exception):
    """Worth another attempt; ``failure`` is what is raised when there is none left."""

    def __init__(self, failure: SourceError, wait_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_s = wait_s


class Wire:
    """The queries of one fetch, whose retries are bounded together."""

    def __init__(
        self,
        client: httpx.Client,
        params: PrometheusParams,
        *,
        principal: str,
        monotonic: Callable[[], float],
    ) -> None:
        """See ``PrometheusSource``."""
        self._client = client
        self._params = params
        self._principal = principal or "the request"
        self._monotonic = monotonic
        self._retries_left = params.retries_per_fetch
        # Whoever reads the message need not be who may know the password in the address.
        self._address = str(client.base_url.copy_with(userinfo=b"", query=None, fragment=None))

    def ask(self, form: Mapping[str, str], asked: str) -> Asked:
        """The answer to a range query; ``asked`` says in messages which.

        Raises
        ------
        TooLargeError
            Fewer steps may be answered.
        SourceUnreachable, QueryFailed, AccessDenied
            No answer after the retries; refused.
        """
        params, tries = self._params, 0
        last: SourceError | None = None
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
                    return Asked(answer, size, tries - 1)
        except _TransientError as error:
            last = error.failure
        # Raised out here: httpx' errors carry the request with its headers, and nobody needs them.
        if last is None:
            raise RuntimeError("stamina ends by an answer or an error")
        often = f" ({tries} attempts)" if tries > 1 else ""
        raise type(last)(f"{last}{often}")

    def _wait(self, error: Exception) -> bool | float:
        """Stamina's hook: no retry, the usual wait, or what the server asked, within bounds."""
        if not isinstance(error, _TransientError) or self._retries_left <= 0:
            return False
        self._retries_left -= 1
        wait_s = error.wait_s
        return True if wait_s is None else min(wait_s, self._params.retry_wait_max_s)

    def _once(self, form: Mapping[str, str], asked: str) -> tuple[Answer, int]:
        coding = "gzip" if self._params.compress else "identity"
        failure: Exception
        try:
            with self._client.stream(
                "POST", "api/v1/query_range", data=form, headers={"Accept-Encoding": coding}
            ) as response:
                body = self._read(response, asked)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            failure = SourceUnreachable(
                f"{self._address or 'an empty address'} is no http(s) address; correct it"
            )
        except httpx.RequestError as error:
            why = str(error) or type(error).__name__
            failure = _TransientError(
                SourceUnreachable(f"no answer from {self._address}: {why}; asked for {asked}")
            )
        else:
            return self._understand(response, body, asked), len(body)
        raise failure

    def _read(self, response: httpx.Response, asked: str) -> bytearray:
        """The body, as long as it is neither too large nor too late."""
        limit_s = self._client.timeout.read
        began, body = self._monotonic(), bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > self._params.max_response_bytes:
                failed = f"larger than max_response_bytes = {self._params.max_response_bytes}"
            elif limit_s is not None and self._monotonic() - began > limit_s:
                failed = f"not done after {limit_s:g} s, with {len(body)} bytes"
            else:
                continue
            raise TooLargeError(
                QueryFailed(f"the answer of {self._address} was {failed}; asked for {asked}")
            )
        return body

    def _understand(self, response: httpx.Response, body: bytearray, asked: str) -> Answer:
        if response.status_code != 200:
            raise self._refused(response, body, asked)
        try:
            answer = decode(body)
        except msgspec.MsgspecError as error:
            raise self._strange(response, body, str(error), asked) from None
        if answer.status != "success":
            said = shorten(without_secrets(answer.error, response.request))
            raise QueryFailed(f"{self._address} refused {asked}: {said}")
        answer.warnings = [without_secrets(w, response.request) for w in answer.warnings or ()]
        answer.infos = [without_secrets(i, response.request) for i in answer.infos or ()]
        return answer

    def _strange(
        self, response: httpx.Response, body: bytearray, why: str, asked: str
    ) -> Exception:
        if _is_page(response, body):
            return QueryFailed(
                f"{self._address} answered with an HTML page, as a login page or a proxy does, and "
                f"not as a Prometheus query API; correct the address or the credentials; asked for "
                f"{asked}"
            )
        began = shorten(without_secrets(_text(body), response.request), 60)
        return _TransientError(
            QueryFailed(
                f"{self._address} did not answer as a Prometheus query API does ({why}; it began "
                f"with {began!r}); asked for {asked}"
            )
        )

    def _refused(self, response: httpx.Response, body: bytearray, asked: str) -> Exception:
        code = response.status_code
        said = _said(response, body)
        hint = _HINTS.get(code, "")
        if code in (401, 403):
            return AccessDenied(
                f"{self._address} refused {self._principal}: HTTP {code}: {said}; check the "
                f"credentials and what they may read; asked for {asked}"
            )
        if response.is_redirect:
            hint = f", to {_target(response)}; give the address that answers itself"
        failure = QueryFailed(f"{self._address} refused {asked}: HTTP {code}: {said}{hint}")
        if code == 413 or (
            code in _TOO_LARGE_CODES and _TOO_LARGE.search(said) and "parse error" not in said
        ):
            return TooLargeError(failure)
        return _TransientError(failure, retry_after_s(response)) if code in _RETRIED else failure


class _Refusal(msgspec.Struct):
    error: str = ""
    message: str = ""
    """AWS' word for it."""


def _said(response: httpx.Response, body: bytearray) -> str:
    """Why the server refused, in its own words and without what is secret."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
        said = refusal.error or refusal.message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = ""
    if not said and _is_page(response, body):
        said = f"{response.reason_phrase} (an HTML page)"
    said = without_secrets(said or _text(body), response.request)
    return shorten(said) or response.reason_phrase


def _text(body: bytearray) -> str:
    return bytes(body[:10_000]).decode(errors="replace")


def _is_page(response: httpx.Response, body: bytearray) -> bool:
    kind = response.headers.get("Content-Type", "")
    return kind.startswith("text/html") or body[:200].lstrip().lower().startswith(
        (b"<!doctype html", b"<html")
    )


def _target(response: httpx.Response) -> str:
    """Where a redirect leads, without what may be secret in it."""
    try:
        url = response.request.url.join(response.headers.get("Location", ""))
    except httpx.InvalidURL:
        return "an address that is none"
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))
