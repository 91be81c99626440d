"""One command as a process of its own: its time, its CPU, and the memory of all it started."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Took", "measured"]

_CAPPED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_UNSET = ("PREFECT_API_URL", "PYTHONDONTWRITEBYTECODE")
"""Runs are plain, what a server adds is not measured; and nothing is compiled twice."""
_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Took:
    """What a command cost, and what it said.

    ``peak_gib`` is the most that the process and its children held together, looked at ten times a
    second, or the high-water mark of one of them where that is more.
    """

    wall_s: float
    cpu_s: float
    peak_gib: float
    told: str


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Took:
    """Run a command; its errors go to ours.

    Raises
    ------
    RuntimeError
        It failed.
    """
    variables = {**os.environ, **dict.fromkeys(_CAPPED, "1"), **(environment or {})}
    for name in _UNSET:
        variables.pop(name, None)
    variables["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    with tempfile.TemporaryFile("w+") as told:
        began = time.perf_counter()
        child = subprocess.Popen(list(command), stdout=told, env=variables)
        watch = _Watch(child.pid)
        watch.start()
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        finally:
            watch.over.set()
        wall_s = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        watch.join()
        told.seek(0)
        text = told.read()
    if child.returncode:
        raise RuntimeError(f"exit {child.returncode}: {' '.join(command)}: {text[-2000:]}")
    most = max(watch.most, used.ru_maxrss * 1024)
    return Took(wall_s, used.ru_utime + used.ru_stime, most / 2**30, text)


class _Watch(threading.Thread):
    """Looks at what a process and its children hold."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.most, self.over = root, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(_EVERY_S):
            self.most = max(self.most, sum(map(_resident, _family(self.root))))


def _family(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            found += [int(c) for t in tasks for c in (t / "children").read_text().split()]
        except OSError:
            continue  # it is over
    return found


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
