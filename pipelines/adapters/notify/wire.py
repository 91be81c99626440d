"""One POST to an address that is a secret itself: sent, tried again while that may help.

Only the address that was configured is ever asked: redirects are not followed, and nothing of it
but the host is in any text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

import httpx
import stamina

from pipelines.adapters.http import HttpParams, open_client, retry_after_s
from pipelines.adapters.notify.message import clean
from pipelines.errors import ConfigError, DeliveryError, SourceUnreachable

__all__ = ["Post", "PostParams"]

_RETRIED = frozenset({429, 500, 502, 503, 504})
_WAITS = frozenset({401, 403, 404, 408, 410, 429})
"""Codes below 500 that say something of the address or the moment, and nothing of the message."""
_HEAD = 300


@dataclass(frozen=True, slots=True)
class PostParams:
    """How long one message is tried."""

    attempts: int = 3
    retry_wait_s: float = 0.5
    retry_wait_max_s: float = 10.0
    """Also of what a server asks for by Retry-After."""
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what would never send, and what would never end."""
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        for key in ("retry_wait_s", "retry_wait_max_s", "timeout_s"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"{key} must be more than 0 seconds, got {getattr(self, key)}")


_SENDING: ContextVar[bool] = ContextVar("sending_to_a_secret_address", default=False)


class _Unlogged(logging.Filter):
    """httpx logs every request with its whole address: not ours, whoever asks for its logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _SENDING.get()


_UNLOGGED = _Unlogged()


class _TransientError(Exception):
    """Worth another attempt."""

    def __init__(self, text: str, wait_s: float | None = None) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class Post:
    """An address that is posted to."""

    def __init__(
        self,
        url: str,
        params: PostParams | None = None,
        http: HttpParams | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet.

        Raises
        ------
        ConfigError
            The address is none.
        """
        self._params = params or PostParams()
        try:
            self._url = httpx.URL(url)
        except (httpx.InvalidURL, TypeError):
            self._url = httpx.URL()
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise ConfigError("url is no http(s) address (it is a secret, and not shown)")
        self.host = self._url.netloc.decode(errors="replace")
        self._http = http or HttpParams(
            timeout_s=self._params.timeout_s, connect_timeout_s=self._params.timeout_s
        )
        self._transport = transport
        self._client: httpx.Client | None = None

    def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send the body; any 2xx is success.

        Raises
        ------
        DeliveryError
            It was refused, or not taken in time. An answer that did not come in time may still have
            been one: the message is not sent twice here.
        """
        last = ""
        tries = 0
        try:
            for attempt in stamina.retry_context(
                on=self._wait,
                attempts=self._params.attempts,
                wait_initial=self._params.retry_wait_s,
                wait_max=self._params.retry_wait_max_s,
                wait_jitter=self._params.retry_wait_s,
            ):
                with attempt:
                    tries = attempt.num
                    self._once(body, headers)
                    return
        except _TransientError as error:
            last = str(error)
        # raised out here: what httpx raises carries the request, and with it the address
        raise DeliveryError(f"{last}{f' ({tries} attempts)' if tries > 1 else ''}")

    def probe(self) -> str:
        """Ask the host, and not the address, for its headers: any answer is one.

        Raises
        ------
        DeliveryError
            There is none.
        """
        try:
            status = self._opened().head("/").status_code
        except (httpx.HTTPError, SourceUnreachable) as error:
            why = self._why(error)
        else:
            return f"{self.host} answers (HTTP {status} to a HEAD of its root)"
        raise DeliveryError(f"no answer from {self.host}: {why}")

    def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Post:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _opened(self) -> httpx.Client:
        if self._client is None:
            root = str(self._url.copy_with(raw_path=b"/", fragment=None))
            self._client = open_client(root, self._http, transport=self._transport)
        return self._client

    def _once(self, body: bytes, headers: Mapping[str, str]) -> None:
        target = self._url.raw_path.decode("ascii")
        failure: Exception
        logging.getLogger("httpx").addFilter(_UNLOGGED)
        token = _SENDING.set(True)
        try:
            with self._opened().stream("POST", target, content=body, headers=headers) as response:
                said = b""
                for piece in response.iter_bytes():
                    said += piece
                    if len(said) > _HEAD:
                        break
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = _TransientError(f"no answer from {self.host}: {self._why(error)}")
        except (httpx.HTTPError, SourceUnreachable) as error:
            failure = DeliveryError(f"no answer from {self.host}: {self._why(error)}")
        else:
            return self._understand(response, said[:_HEAD].decode(errors="replace"))
        finally:
            _SENDING.reset(token)
        raise failure

    def _understand(self, response: httpx.Response, said: str) -> None:
        code = response.status_code
        if 200 <= code < 300:
            return
        text = f"{self.host} refused the message: HTTP {code}: {self._without(said)}"
        if response.is_redirect:
            text = f"{self.host} answered with a redirect (HTTP {code}), which is not followed"
        if code in _RETRIED:
            raise _TransientError(text, retry_after_s(response))
        raise DeliveryError(text, is_lasting=400 <= code < 500 and code not in _WAITS)

    def _wait(self, error: Exception) -> bool | float:
        if not isinstance(error, _TransientError):
            return False
        wait_s = error.wait_s
        return True if wait_s is None else min(wait_s, self._params.retry_wait_max_s)

    def _why(self, error: Exception) -> str:
        return self._without(str(error)) or type(error).__name__

    def _without(self, text: str) -> str:
        """What the other side said, without the address' path, which is the secret."""
        for part in (str(self._url), self._url.raw_path.decode("ascii"), self._url.path):
            if len(part) > 1:
                text = text.replace(part, "…")
        return clean(text, 200)
