"""Processes that one folder started, and how to end them and no others.

Whatever is started, and all that it starts in turn, carries a token in its environment that nobody
else knows. What carries it is ours: also after a crash, when its parent is gone, and never a
stranger that has got its number since.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import psutil

__all__ = ["Started", "carrying", "end_all", "is_ours", "new_token", "read_state", "start",
           "write_state"]  # fmt: skip

_VARIABLE = "STACK_OF_FORETIDE"  # no FORETIDE_…: those are settings
_TERM_MAX_S = 8.0


@dataclass(frozen=True, slots=True)
class Started:
    """A process of ours: its number, when it began (seconds since 1970), and where it listens."""

    name: str
    pid: int
    began_s: float
    address: str = ""


def new_token() -> str:
    """What marks one ``up`` and all that it starts."""
    return secrets.token_hex(16)


def start(
    name: str,
    command: Sequence[str],
    *,
    token: str,
    env: Mapping[str, str],
    folder: Path,
    log: Path,
    address: str = "",
) -> Started:
    """Start in the background, in a session of its own; its output goes to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603  our own interpreter and words
            command,
            cwd=folder,
            env={**env, _VARIABLE: token},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this command: no warning that nobody waited for it
    return Started(name, process.pid, psutil.Process(process.pid).create_time(), address)


def is_ours(one: Started, token: str) -> bool:
    """Whether it still runs: the same process, not another one with its number."""
    try:
        process = psutil.Process(one.pid)
        is_same = abs(process.create_time() - one.began_s) < 1.0
        return is_same and process.status() != psutil.STATUS_ZOMBIE and _token_of(process) == token
    except psutil.Error:
        return False


def carrying(token: str) -> list[psutil.Process]:
    """Every process of this user that carries the token."""
    found = (p for p in psutil.process_iter() if p.pid != os.getpid())
    return [p for p in found if _token_of(p) == token]


def end_all(started: Iterable[Started], token: str) -> list[int]:
    """Ask them to end, what was started last first; kill what is left. Gives what is left even so.

    A worker told to stop cancels what it runs and then stops.
    """
    for one in reversed(list(started)):
        if is_ours(one, token):
            _wait([psutil.Process(one.pid)], kill=False)
    left = carrying(token)
    _wait(left, kill=False)
    _wait(carrying(token), kill=True)
    return [p.pid for p in carrying(token)]


def write_state(file: Path, token: str, started: Sequence[Started]) -> None:
    """Note what runs, so that another command finds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".new")
    aside.write_text(
        json.dumps({"token": token, "started": [asdict(s) for s in started]}, indent=1)
    )
    aside.replace(file)


def read_state(file: Path) -> tuple[str, list[Started]] | None:
    """The token and what was started; nothing where nothing was, or the note is damaged."""
    try:
        data = cast("dict[str, Any]", json.loads(file.read_text()))
        return str(data["token"]), [Started(**one) for one in data["started"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _token_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(_VARIABLE)
    except (psutil.Error, OSError):  # another user's, or just gone
        return None


def _wait(processes: Sequence[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        try:
            process.kill() if kill else process.terminate()
        except psutil.Error:
            continue
    until = time.monotonic() + _TERM_MAX_S
    for process in processes:
        try:
            process.wait(max(until - time.monotonic(), 0.1))
        except psutil.Error:
            continue
