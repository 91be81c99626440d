"""How long a run goes on writing: until its time is over, or the API server is gone."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]

_GONE_AFTER = 2
"""Objects in a row that fail at the transport: one alone may be the object's own trouble (a
webhook, an admission policy), and stops no other."""


class Pace:
    """Asked before each write, told after it."""

    def __init__(self, left_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``left_s`` from now on; ``clock`` gives seconds."""
        self._clock, self._left_s = clock, left_s
        self._ends = clock() + left_s
        self._failed: dict[str, None] = {}

    @property
    def gone(self) -> bool:
        """Whether the API server is taken to be gone: each try takes as long as all its retries."""
        return len(self._failed) >= _GONE_AFTER

    def stop(self) -> str:
        """Why nothing more is tried; empty while there is no reason."""
        if self.gone:
            return "not tried: the API server was gone"
        if self._clock() >= self._ends:
            return f"not tried: the run's {self._left_s:g} s were over"
        return ""

    def saw(self, what: str, status: str) -> None:
        """How the write of an object ended."""
        if status != "unreachable":
            self._failed.clear()
        else:
            self._failed[what] = None
