"""Loopback HTTP servers of a few lines: answer a request oneself, or pass it on to a real server.

``answering(respond)`` serves whatever ``respond`` says; ``passing_on(url, check)`` forwards what
``check`` does not refuse. Both speak TLS where they are given a context for it.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

__all__ = ["Reply", "Request", "answering", "passing_on"]

_NOT_COPIED = {"connection", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    """Path and query, as they came."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, /, **content: object) -> Reply:
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


@contextmanager
def answering(
    respond: Callable[[Request], Reply], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The server's address; it is ended afterwards."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            reply = respond(Request(self.command, self.path, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def finish_request(self, request: socket.socket, client_address: object) -> None:
            """A bad handshake, or a client that hangs up, ends this connection only."""
            with suppress(OSError), closing(request):
                wrapped = tls.wrap_socket(request, server_side=True) if tls else request
                with closing(wrapped):
                    open_now.add(wrapped)
                    super().finish_request(wrapped, client_address)
                    open_now.discard(wrapped)

    open_now: set[socket.socket] = set()
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        for connection in list(open_now):  # kept alive by a client: its thread waits for more
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()


@contextmanager
def passing_on(
    upstream: str,
    check: Callable[[Request], Reply | None] = lambda _: None,
    tls: ssl.SSLContext | None = None,
    prefix: str = "",
) -> Iterator[str]:
    """Forwards to ``upstream`` what ``check`` lets pass, without ``prefix`` of the path."""
    with httpx.Client(base_url=upstream, timeout=30) as client:

        def respond(request: Request) -> Reply:
            refused = check(request)
            if refused is not None:
                return refused
            if not request.target.startswith(prefix + "/"):
                return Reply.json(404, message="no such workspace")
            kept = {n: v for n, v in request.headers.items() if n not in {"host", "authorization"}}
            with client.stream(
                request.method,
                request.target.removeprefix(prefix),
                content=request.body,
                headers=kept,
            ) as response:
                body = b"".join(response.iter_raw())
            headers = {n: v for n, v in response.headers.items() if n not in _NOT_COPIED}
            return Reply(response.status_code, body, headers)

        with answering(respond, tls) as url:
            yield url + prefix
