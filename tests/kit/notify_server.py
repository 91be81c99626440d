"""Loopback servers that are told things: Slack's incoming webhook, strict, and any webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLACK_PATH = "/services/T0000/B0000/s3cr3t-of-the-webhook"


@dataclass
class Heard:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Listener:
    """What came; ``answers`` are given to the next POSTs, after them what ``judge`` says."""

    url: str = ""
    judge: Callable[[Heard], tuple[int, str]] = lambda _: (200, "ok")
    answers: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    taken: list[Heard] = field(default_factory=list)
    refused: list[tuple[str, Heard]] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)

    @property
    def slack_url(self) -> str:
        return self.url + SLACK_PATH

    def answer(self, heard: Heard) -> tuple[int, str, dict[str, str]]:
        if self.answers:
            status, text, headers = self.answers.pop(0)
        else:
            (status, text), headers = self.judge(heard), {}
        if status == 200:
            self.taken.append(heard)
        else:
            self.refused.append((text, heard))
        return status, text, headers


@contextmanager
def listening(judge: Callable[[Heard], tuple[int, str]] | None = None) -> Iterator[Listener]:
    listener = Listener()
    if judge is not None:
        listener.judge = judge

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say(*listener.answer(Heard(self.path, dict(self.headers.items()), body)))

        def do_GET(self) -> None:
            self._say(404, "", {})

        def do_HEAD(self) -> None:
            listener.probed.append(self.path)
            self._say(200, "", {})

        def _say(self, status: int, text: str, headers: dict[str, str]) -> None:
            data = text.encode() if self.command != "HEAD" else b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    listener.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def as_slack(heard: Heard) -> tuple[int, str]:
    """What Slack says to a message: its documented limits of blocks, and nothing it would parse."""
    if heard.path != SLACK_PATH:
        return 404, "no_service"
    try:
        body = heard.json
        problem = _of_blocks(body["blocks"]) or ("" if body["text"] else "no_text")
    except (ValueError, KeyError, TypeError) as error:
        return 400, f"invalid_payload {error!r}"
    if body.get("link_names") or body.get("parse") != "none":
        problem = problem or "it would look for names"
    return (400, f"invalid_blocks: {problem}") if problem else (200, "ok")


def _of_blocks(blocks: list[dict[str, Any]]) -> str:
    if not 1 <= len(blocks) <= 50:
        return f"{len(blocks)} blocks"
    return next(filter(None, map(_of_block, blocks)), "")


def _of_block(block: dict[str, Any]) -> str:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": str(text)}}:
            return "" if 1 <= len(text) <= 150 else f"a header of {len(text)}"
        case {"type": "section", "text": {"type": "mrkdwn", "verbatim": True, "text": str(text)}}:
            is_bad = "<" in text or ">" in text
            return "" if 1 <= len(text) <= 3000 and not is_bad else f"a section of {len(text)}"
        case {"type": "image", "image_url": str(url), "alt_text": str(alt)}:
            if len(url) > 3000 or not 1 <= len(alt) <= 2000:
                return "an image"
            return "downloading image failed" if "missing" in url else ""
        case _:
            return f"a block of {block.get('type')}"
