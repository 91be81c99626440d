"""A loopback proxy before a real metric server that breaks answers as it is told.

``spoiling(server.url)`` gives a ``Proxy``; ``proxy.faults`` is the list of what goes wrong, and may
be changed between requests. The first fault that strikes has the request; what none strikes is
passed on. ``proxy.asked`` is every range query that came, ``proxy.returned`` the samples that the
real server gave.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import httpx

__all__ = [
    "Asked", "Fault", "Proxy", "Reply", "bad_gzip", "changed", "cut", "dripping", "page",
    "redirect", "refused", "skewed", "slow", "spoiling", "too_many", "truncated", "unchunked",
]  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One range query as it came."""

    query: str
    start_ms: int
    end_ms: int
    """Past the last step: half-open, as everywhere in the product."""
    steps: int
    headers: dict[str, str]
    at_s: float
    """When, on the monotonic clock."""

    @property
    def metric(self) -> str:
        """Of a query like ``metric{…}``."""
        return self.query.partition("{")[0]

    @property
    def is_probe(self) -> bool:
        """Asked for an estimate: two steps at most."""
        return self.steps <= 2


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire, and how roughly."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    clock: timedelta = timedelta()
    """How far the server's clock is off."""
    no_head: bool = False
    """The connection ends before a status line."""
    sent: float = 1.0
    """Share of the body that goes out before the connection ends."""
    chunked: bool = False
    wait_s: float = 0.0
    """Before the head."""
    drip_s: float = 0.0
    """Between any two bytes of the body."""

    @property
    def json(self) -> dict:
        return json.loads(self.body)


Strike = Callable[[Asked, Callable[[], Reply]], Reply]
"""Answers in the server's place, or changes the real answer, which the second argument fetches."""


@dataclass
class Fault:
    """``strike``, for which of the requests that ``where`` holds for.

    Attributes
    ----------
    times : how often at most; ever and ever where there is none
    every : only each n-th of them
    """

    strike: Strike
    where: Callable[[Asked], bool] = lambda _: True
    times: int | None = None
    every: int = 1
    struck: int = 0
    _met: int = 0

    def strikes(self, asked: Asked) -> bool:
        if (self.times is not None and self.struck >= self.times) or not self.where(asked):
            return False
        self._met += 1
        hit = self._met % self.every == 0
        self.struck += hit
        return hit


@dataclass
class Proxy:
    url: str
    upstream: httpx.Client
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    returned: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pulls(self) -> list[Asked]:
        """What was asked for more than an estimate."""
        return [one for one in self.asked if not one.is_probe]

    @property
    def struck(self) -> int:
        return sum(fault.struck for fault in self.faults)

    def clear(self, *faults: Fault) -> None:
        """From now on these faults, and counts from zero."""
        self.faults, self.asked, self.returned = list(faults), [], 0

    def answer(self, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        one = understood(body, headers)
        with self._lock:
            self.asked.append(one)
            fault = next((f for f in self.faults if f.strikes(one)), None)
        real = partial(self._real, path, body)
        return fault.strike(one, real) if fault else real()

    def _real(self, path: str, body: bytes) -> Reply:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self.upstream.post(path, content=body, headers=kind)
        reply = Reply(answer.status_code, answer.content)
        with self._lock:
            result = (reply.json.get("data") or {}).get("result", [])
            self.returned += sum(len(series.get("values", ())) for series in result)
        return reply


def understood(body: bytes, headers: dict[str, str]) -> Asked:
    form = dict(parse_qsl(body.decode()))
    start, end, step = (round(float(form[key]) * 1000) for key in ("start", "end", "step"))
    steps = (end - start) // step + 1
    return Asked(form["query"], start, start + steps * step, steps, headers, time.monotonic())


# Answers in the server's place. They repeat what they were sent, as careless servers do.


def refused(status: int, retry_after: str | float | None = None, clock=timedelta()) -> Strike:
    """An error; ``retry_after`` in seconds as a number, or as a date when it is text."""

    def strike(asked: Asked, _: Callable[[], Reply]) -> Reply:
        said = f"nothing for {json.dumps(asked.headers)}"
        reply = Reply(status, json.dumps({"status": "error", "error": said}).encode(), clock=clock)
        if retry_after is None:
            return reply
        seconds = int(retry_after)
        date = (now() + clock + timedelta(seconds=seconds)).replace(microsecond=0)
        value = format_datetime(date, usegmt=True) if isinstance(retry_after, str) else str(seconds)
        return replace(reply, headers={**reply.headers, "Retry-After": value})

    return strike


def too_many(limit: int) -> Strike:
    """Prometheus' refusal of queries of more than ``limit`` steps."""

    def strike(asked: Asked, real: Callable[[], Reply]) -> Reply:
        if asked.steps <= limit:
            return real()
        said = "query processing would load too many samples into memory in query execution"
        error = {"status": "error", "errorType": "execution", "error": said}
        return Reply(422, json.dumps(error).encode())

    return strike


def page(asked: Asked, _: Callable[[], Reply]) -> Reply:
    """A login page that a gateway puts in front of everything."""
    text = f"<!DOCTYPE html><html><body>Please log in. You sent {asked.headers}</body></html>"
    return Reply(200, text.encode(), {"Content-Type": "text/html"})


def redirect(*_: object) -> Reply:
    return Reply(302, b"", {"Location": "https://login.example.org/start?session=5e55"})


# Answers that break on the way.


def cut(sent: float | None) -> Strike:
    """The connection ends before the head, or after a share of the body."""
    how = {"no_head": True} if sent is None else {"sent": sent}
    return lambda _, real: replace(real(), **how)


def unchunked(_: Asked, real: Callable[[], Reply]) -> Reply:
    """Chunked, and broken off in mid-chunk."""
    return replace(real(), chunked=True, sent=0.5)


def truncated(_: Asked, real: Callable[[], Reply]) -> Reply:
    """A whole answer of half a document."""
    reply = real()
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def bad_gzip(_: Asked, real: Callable[[], Reply]) -> Reply:
    packed = gzip.compress(real().body)
    spoiled = packed[:20] + bytes(b ^ 0xFF for b in packed[20:])
    return Reply(200, spoiled, {"Content-Type": "application/json", "Content-Encoding": "gzip"})


def dripping(interval_s: float) -> Strike:
    """A byte at a time."""
    return lambda _, real: replace(real(), drip_s=interval_s)


def slow(wait_s: float) -> Strike:
    """A right answer after a while."""
    return lambda _, real: replace(real(), wait_s=wait_s)


def skewed(clock: timedelta) -> Strike:
    """A right answer of a server whose clock is off."""
    return lambda _, real: replace(real(), clock=clock)


def changed(change: Callable[[Asked, list[dict]], object], **envelope: object) -> Strike:
    """The real answer with its list of series changed in place, and more keys in its envelope."""

    def strike(asked: Asked, real: Callable[[], Reply]) -> Reply:
        reply = real()
        document = reply.json | envelope
        change(asked, document["data"]["result"])
        return replace(reply, body=json.dumps(document).encode())

    return strike


def now() -> datetime:
    return datetime.now(UTC)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    proxy: Proxy
    ended: threading.Event


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.server.proxy.answer(self.path, body, headers)
        self.close_connection = True
        self.server.ended.wait(reply.wait_s)
        with suppress(OSError):  # a client that hung up, or was killed
            if not reply.no_head:
                self.head(reply)
                self.content(reply)

    def head(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        self.send_header("Date", format_datetime(now() + reply.clock, usegmt=True))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Connection", "close")
        self.end_headers()

    def content(self, reply: Reply) -> None:
        sent = reply.body[: int(len(reply.body) * reply.sent)]
        if reply.chunked:
            sent = f"{len(reply.body):x}\r\n".encode() + sent
        if not reply.drip_s:
            self.wfile.write(sent)
        for position in range(len(sent) if reply.drip_s else 0):
            self.wfile.write(sent[position : position + 1])
            if self.server.ended.wait(reply.drip_s):
                return

    def log_message(self, *_: object) -> None: ...


@contextmanager
def spoiling(upstream: str) -> Iterator[Proxy]:
    """The proxy, serving; it is ended afterwards, with every connection."""
    with (
        httpx.Client(base_url=upstream, timeout=30) as client,
        _Server(("127.0.0.1", 0), _Handler) as server,
    ):
        server.ended = threading.Event()
        server.proxy = Proxy(f"http://127.0.0.1:{server.server_port}", client)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.proxy
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
