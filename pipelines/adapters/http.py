"""One HTTP client for every server that speaks Prometheus' API: who we are, whom we trust.

A bearer token from a file, a user and password, a client certificate, a CA of one's own, a tenant
header. What authenticates us goes to the server and nowhere else: not into messages, logs or
objects' texts, and not along a redirect.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from pipelines.adapters.http_tls import TlsFiles, tls_context, tls_reason, unreadable
from pipelines.errors import ConfigError, SourceUnreachable

__all__ = ["HttpParams", "open_client", "principal_of", "retry_after_s"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class HttpParams:
    """Files that say who we are and whom we trust, and how long to wait.

    Attributes
    ----------
    bearer_token_file : read at every request, since projected service account tokens are replaced
    ca_file : PEM; only servers that these CAs vouch for are trusted, instead of the public ones
    client_cert_file, client_key_file
        PEM, for mutual TLS; the certificate's file may hold the key too
    timeout_s : between two pieces of an answer
    connect_timeout_s : until a connection stands
    """

    bearer_token_file: str = ""
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse a key without its certificate, and waiting for ever."""
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file needs client_cert_file, got none")
        for key in ("timeout_s", "connect_timeout_s"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"{key} must be more than 0 seconds, got {getattr(self, key)}")


def open_client(
    url: str,
    params: HttpParams | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    auth: httpx.Auth | None = None,
    basic: tuple[str, str] | None = None,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """A client whose ``base_url`` is ``url``; whoever opens it closes it.

    Redirects are not followed. ``https_proxy`` and ``no_proxy`` hold as everywhere.

    Parameters
    ----------
    url : may hold ``user:password@``; it is taken out and becomes basic authentication
    params : files and time-outs
    headers : sent with every request, e.g. ``X-Scope-OrgID``
    auth : signs requests, e.g. for AMP
    basic : user and password
    transport : in the place of the network, for tests

    Raises
    ------
    ConfigError
        The address is none; a file cannot be read or holds something else; a header's value is
        not one; there is more than one way of saying who we are.
    SourceUnreachable
        From the client's methods: TLS ends with no trust in one direction; asking again is no use.
    """
    params = params or HttpParams()
    address, user = _parse(url)
    ways = [w for w in (auth, _basic(user, "url"), _basic(basic, "basic"), _bearer(params)) if w]
    if len(ways) > 1:
        raise ConfigError(
            f"{_named(address)}: more than one way of signing in ("
            + ", ".join(getattr(way, "principal", "") or type(way).__name__ for way in ways)
            + "); keep one"
        )
    if params.client_cert_file and not ways:
        ways = [_Anonymous(f"client certificate {params.client_cert_file}")]
    return _Client(
        base_url=address,
        headers=_checked({"User-Agent": "foretide", **(headers or {})}),
        auth=ways[0] if ways else None,
        timeout=httpx.Timeout(params.timeout_s, connect=params.connect_timeout_s),
        follow_redirects=False,
        transport=transport,
        files=TlsFiles(params.ca_file, params.client_cert_file, params.client_key_file),
    )


def principal_of(client: httpx.Client) -> str:
    """Who the client is to its server, in words that hold no secret; empty where it is nobody."""
    return getattr(client.auth, "principal", "")


class _Anonymous(httpx.Auth):
    """Nothing is added; TLS has said who we are."""

    def __init__(self, principal: str) -> None:
        self.principal = principal


class _Basic(httpx.BasicAuth):
    def __init__(self, user: str, password: str) -> None:
        super().__init__(user, password)
        self.principal = f"user {user!r}"


class _BearerFile(httpx.Auth):
    def __init__(self, path: str) -> None:
        self.principal = f"the bearer token in {path}"
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.read()}"
        yield request

    def read(self) -> str:
        try:
            token = Path(self._path).read_text("utf-8").strip()
        except OSError as error:
            raise unreadable("bearer_token_file", self._path, error) from None
        except UnicodeDecodeError:
            token = ""
        if not token or not _printable(token) or " " in token:
            raise ConfigError(f"bearer_token_file {self._path}: expected one token, one line")
        return token


class _Client(httpx.Client):
    def __init__(self, files: TlsFiles, **options: Any) -> None:
        super().__init__(verify=tls_context(files), **options)
        self._files = files

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            return super().send(request, **options)
        except httpx.TransportError as error:
            why = tls_reason(error, self._files)
            if why is None:
                raise
        raise SourceUnreachable(f"no answer from {_named(self.base_url)}: {why}")


def _parse(url: str) -> tuple[httpx.URL, tuple[str, str] | None]:
    """The address and, taken out of it, user and password."""
    shown = url.rpartition("@")[2]
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = None
    if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigError(f"url {shown!r} is no http(s) address; correct it")
    user = (parsed.username, parsed.password) if parsed.userinfo else None
    return parsed.copy_with(userinfo=b"", query=None, fragment=None), user


def _named(address: httpx.URL) -> str:
    return str(address).rstrip("/")


def _basic(user: tuple[str, str] | None, key: str) -> httpx.Auth | None:
    if user is None:
        return None
    if not user[0] or ":" in user[0]:
        raise ConfigError(f"{key}: the user's name must not be empty and not hold a colon")
    return _Basic(*user)


def _bearer(params: HttpParams) -> httpx.Auth | None:
    if not params.bearer_token_file:
        return None
    bearer = _BearerFile(params.bearer_token_file)
    bearer.read()
    return bearer


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers; httpx itself would quote a bad value in its error, only when it is sent."""
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _printable(value):
            raise ConfigError(f"headers: {name!r} is no header that HTTP allows, or its value is")
    return dict(headers)


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def retry_after_s(response: httpx.Response) -> float | None:
    """Seconds that the server asked to wait; a date counts from the answer's own date."""
    header = response.headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    try:
        sent = parsedate_to_datetime(response.headers["Date"])
        return max((parsedate_to_datetime(header) - sent).total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):
        return None
