"""`foretide mcp` in a process of its own, asked by a real client over either transport."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

__all__ = ["TOKEN", "asked_over_http", "asked_over_stdio", "clean_environment", "serving_http"]

TOKEN = "reader-token-of-the-test-0123456789"  # noqa: S105  of no other server
ROOT = Path(__file__).parents[2]
T = TypeVar("T")
Session = Callable[[Client[Any]], Awaitable[T]]


def clean_environment(**more: str) -> dict[str, str]:
    """Nothing of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FORETIDE_", "FASTMCP_"))}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def asked_over_stdio(args: list[str], session: Session[T], log: Path) -> T:
    """What the session gives; the server's stderr is in ``log``."""
    transport = StdioTransport(
        sys.executable, ["-m", "pipelines.cli", "mcp", *args], env=clean_environment(),
        cwd=str(log.parent), keep_alive=False, log_file=log,
    )  # fmt: skip

    async def whole() -> T:
        async with Client(transport, init_timeout=120) as client:
            return await session(client)

    return asyncio.run(whole())


@contextmanager
def serving_http(
    args: list[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """The address, once it listens, and the lines of its stderr so far."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "mcp", "--http", "0", *args],
        cwd=folder, env=clean_environment(**environment), stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    lines: list[str] = []
    listens = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if line.startswith("foretide"):
                listens.set()
        listens.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert listens.wait(120), lines
        found = re.search(r"foretide mcp: (http://127\.0\.0\.1:\d+/mcp)", "".join(lines))
        assert found, lines
        yield found[1], lines
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        assert process.stderr is not None
        process.stderr.close()


def asked_over_http(url: str, session: Session[T], token: str = TOKEN) -> T:
    """What the session gives."""

    async def whole() -> T:
        transport = StreamableHttpTransport(url, auth=token)
        async with Client(transport, init_timeout=120) as client:
            return await session(client)

    return asyncio.run(whole())
