"""HTTP for the fake API server: requests read, routed, refused or answered."""

from __future__ import annotations

import json
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from kube_faults import Fault
from kube_routes import Request, answer_of
from kube_status import RefusedError, status_of

if TYPE_CHECKING:
    from kube_server import KubeServer

__all__ = ["Handler"]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    kube: ClassVar[KubeServer]
    protocol_version = "HTTP/1.1"
    open_sockets: ClassVar[set[socket.socket]] = set()
    timeout = 10
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet: without it each answer takes 40 ms

    def __init_subclass__(cls) -> None:
        cls.open_sockets = set()

    @classmethod
    def close_all(cls) -> None:
        """End connections that clients keep open, so that their threads end."""
        for each in list(cls.open_sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def setup(self) -> None:
        super().setup()
        self.open_sockets.add(self.connection)
        self.kube.connections += 1

    def finish(self) -> None:
        self.open_sockets.discard(self.connection)
        try:
            super().finish()
        except OSError:  # the client has gone
            return

    def date_time_string(self, timestamp: float | None = None) -> str:
        at = time.time() if timestamp is None else timestamp
        return super().date_time_string(at + self.kube.clock_s)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called
        """Nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def do_PUT(self) -> None:
        self._do()

    def do_PATCH(self) -> None:
        self._do()

    def do_DELETE(self) -> None:
        self._do()

    def _do(self) -> None:
        from kube_server import Asked

        split = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization", "").split(" ", 1)[-1]
        request = Request(
            self.command,
            split.path,
            dict(parse_qsl(split.query, keep_blank_values=True)),
            raw,
            self.headers.get("Content-Type", "").split(";")[0],
            token.removeprefix("token-of-") if token.startswith("token-of-") else "",
            self.headers.get("User-Agent", "").split("/")[0],
        )
        try:
            seen: Any = json.loads(raw) if raw else None
        except ValueError:
            seen = raw
        asked = Asked(
            self.command, split.path, request.query, seen, request.user, request.content_type
        )
        self.kube.asked.append(asked)
        fault = next((f for f in self.kube.faults if f.takes(self.command, self.path)), None)
        if fault is not None:
            time.sleep(fault.delay_s)
        spoiled = fault is not None and fault.status != 200 and fault.cut is None
        if spoiled and not fault.after:
            self._spoil(fault)
            return
        for act in list(self.kube.befores):
            act(asked)
        status, body, headers = self._answer(request, asked)
        if spoiled:
            self._spoil(fault)
        else:
            self._send(status, body, headers, None if fault is None else fault.cut)

    def _answer(self, request: Request, asked: Any) -> tuple[int, bytes, dict[str, str]]:
        try:
            status, body, wrote = answer_of(self.kube, request)
        except RefusedError as error:
            return error.status, _json(error.body), {}
        if wrote is not None:
            for act in list(self.kube.afters):
                act(asked, wrote, body)
        if isinstance(body, bytes):
            return status, body, {}
        return status, _json(body), request.warnings()

    def _spoil(self, fault: Fault) -> None:
        if fault.status == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        if fault.html:
            page = b"<html><body><h1>Bad gateway</h1></body></html>"
            self._send(fault.status, page, headers | {"Content-Type": "text/html"})
            return
        self._send(fault.status, _json(status_of(fault.status, fault.message).body), headers)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


def _json(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
