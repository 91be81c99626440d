"""One request to a Kubernetes API server: sent by the ``kubernetes`` package, retried, decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import inf, isfinite
from typing import Any

import stamina

from pipelines.adapters.kube.failures import RETRIED, failure_of, json_of
from pipelines.errors import ClusterError, ClusterForbidden, ClusterUnreachable, ConfigError

__all__ = ["RetryParams", "Settle", "Wire"]

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class RetryParams:
    """How often a request is repeated that got no answer, 429 or 5xx.

    Attributes
    ----------
    attempts : in all
    total_s : no further attempt begins after this
    wait_s, wait_max_s : before the second attempt, doubling; a server's Retry-After is kept up to
        ``wait_max_s``
    """

    attempts: int = 5
    total_s: float = 60.0
    wait_s: float = 0.2
    wait_max_s: float = 15.0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.attempts < 1:
            raise ValueError(f"retry: attempts must be at least 1, got {self.attempts}")
        for key in ("total_s", "wait_s", "wait_max_s"):
            if not 0 <= getattr(self, key) < inf:
                raise ValueError(f"retry: {key} must be 0 or more, got {getattr(self, key)}")


Settle = Callable[[ClusterError], dict[str, Any] | None]
"""What a request that was sent before came to after all, where its repetition is refused."""


class _TransientError(Exception):
    """Worth another attempt; ``failure`` is raised when there is none left."""

    def __init__(self, failure: ClusterError, wait_s: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure, self.wait_s = failure, wait_s


class Wire:
    """Sends requests with one configuration; ``open_api`` gives a fresh one when it is refused."""

    def __init__(
        self, open_api: Callable[[], Any], *, who: str, timeout_s: float, retry: RetryParams
    ) -> None:
        """``open_api`` -> ``kubernetes.client.ApiClient``; it is closed by ``close``."""
        self._open, self._retry, self._timeout_s = open_api, retry, timeout_s
        self.who = who
        self.date = ""
        """The ``Date`` of the last answer, by the server's clock."""
        self._api = open_api()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._api.close()

    @contextmanager
    def retrying(self, retry: RetryParams) -> Generator[None]:
        """Other retries for a while; not for several threads at once."""
        before, self._retry = self._retry, retry
        try:
            yield
        finally:
            self._retry = before

    def ask(
        self,
        method: str,
        path: str,
        asked: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        content_type: str = "application/json",
        what: str = "",
        settle: Settle | None = None,
    ) -> dict[str, Any]:
        """The object that the server answers.

        Parameters
        ----------
        method, path, query, body, content_type : of HTTP; whoever builds the path quotes its parts
        asked, what : see ``failure_of``
        settle : asked when a repetition is refused, since the first attempt may have been done;
            None from it lets the refusal stand

        Raises
        ------
        ClusterError
            The one of its tree that fits.
        """
        last, tries = None, 0
        request = (method, path, tuple(query), body, content_type)
        try:
            for attempt in stamina.retry_context(
                on=self._wait,
                attempts=self._retry.attempts,
                timeout=self._retry.total_s,
                wait_initial=self._retry.wait_s,
                wait_max=self._retry.wait_max_s,
                wait_jitter=self._retry.wait_s,
            ):
                with attempt:
                    tries = attempt.num
                    return self._renewing(request, asked, what)
        except _TransientError as error:
            last = error.failure
        except ClusterError as error:
            settled = settle(error) if settle is not None and tries > 1 else None
            if settled is None:
                raise
            return settled
        # Raised out here: the library's errors carry the request with its headers.
        if last is None:
            raise AssertionError("stamina ends by an answer or an error")
        often = f" ({tries} attempts)" if tries > 1 else ""
        raise type(last)(f"{last}{often}")

    def _wait(self, error: Exception) -> bool | float:
        """Stamina's hook: no retry, the usual wait, or what the server asked, within bounds."""
        if not isinstance(error, _TransientError):
            return False
        return True if error.wait_s is None else min(error.wait_s, self._retry.wait_max_s)

    def _renewing(self, request: tuple[Any, ...], asked: str, what: str) -> dict[str, Any]:
        """Once more with fresh credentials where the ones we had are not accepted any more."""
        used = self._api
        status, headers, content = self._once(used, request, asked)
        if status == 401:
            status, headers, content = self._once(self._renewed(used, asked), request, asked)
        return self._judged(status, headers, content, asked, what)

    def _renewed(self, used: Any, asked: str) -> Any:
        with self._lock:
            if self._api is used:
                try:
                    fresh = self._open()
                except ConfigError as error:
                    raise ClusterForbidden(f"{asked}: no fresh credentials: {error}") from None
                used.close()
                self._api = fresh
            return self._api

    def _once(
        self, api: Any, request: tuple[Any, ...], asked: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one exchange."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError, NewConnectionError

        method, path, query, body, content_type = request
        headers = {"Accept": "application/json"}
        if method != "GET":
            headers["Content-Type"] = content_type
        try:
            _, url, headers, _, _ = api.param_serialize(
                method,
                path,
                query_params=list(query),
                header_params=headers,
                auth_settings=["BearerToken"],
            )
            timeout = (min(_CONNECT_S, self._timeout_s), self._timeout_s)
            response = api.call_api(method, url, headers, body, _request_timeout=timeout)
            self.date = str(response.headers.get("Date") or "")
            return response.status, response.headers, response.read() or b""
        except NewConnectionError as error:
            why, failure = f"no connection ({_reason(error)})", _TransientError
        except (HTTPError, OSError) as error:
            why, failure = _reason(error), _TransientError
        except ApiException as error:  # of TLS: asking again is no use
            why, failure = " ".join(str(error.reason).split()), None
        except ValueError:  # of a header; its text would show the token
            why, failure = "the token holds what no header may", None
        text = f"{asked}: no answer from {_address(api)}: {why}"
        if failure is None:
            raise ClusterUnreachable(text) from None
        raise failure(ClusterUnreachable(text)) from None

    def _judged(
        self, status: int, headers: Mapping[str, str], content: bytes, asked: str, what: str
    ) -> dict[str, Any]:
        if 200 <= status < 300:
            said = json_of(content)
            if said is not None:
                return said
            # A proxy's page with status 200: nothing says that asking again is of use.
            raise failure_of(asked, status, content, who=self.who, what=what)
        failure = failure_of(asked, status, content, who=self.who, what=what)
        if status in RETRIED and isinstance(failure, ClusterUnreachable):
            raise _TransientError(failure, _retry_after_s(headers))
        raise failure


def _address(api: Any) -> str:
    return str(api.configuration.host)


def _reason(error: Exception) -> str:
    """One short line about an error of the transport, without its objects' addresses."""
    text = str(error)
    text = text.rsplit(">: ", 1)[-1] if ">: " in text else text
    return " ".join(text.split())[:200] or type(error).__name__


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What the server asks us to wait; None where it does not say, or nothing that can be read."""
    text = headers.get("Retry-After")
    if not text:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            wait_s = _until_s(text, headers.get("Date", ""))
        except ValueError:
            return None
    return max(0.0, wait_s) if isfinite(wait_s) else None


def _until_s(text: str, date: str) -> float:
    """Seconds from the server's own ``Date`` to the moment it names: no clock of ours is asked."""
    return (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
