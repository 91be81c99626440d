"""How a window is cut into queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipelines.adapters.source import Window

__all__ = ["Plan", "PrometheusParams", "probes"]

_STEP_LIMIT = 11_000
_DAY_MS = 86_400_000
_PROBED_FROM_STEPS = 100
"""Windows at least this long are also probed at their start and in their middle."""


@dataclass(frozen=True, slots=True)
class PrometheusParams:
    """How queries are cut, how stubbornly they are asked and what they may cost.

    Attributes
    ----------
    max_steps_per_query, max_points_per_query
        Bounds of one query's steps and of its steps × series. How many series a query has is
        known after its first answer: the first one asks for ``first_query_steps``.
    max_response_bytes : a larger answer (unpacked) is asked for in halves
    rate_window_s : the least that ``$__rate_interval`` is
    attempts, retry_wait_s, retry_wait_max_s : of one query
    retry_total_s : no retry of a query starts after it
    retries_per_fetch : of all queries of one metric and window together
    stats
        What the server is asked to tell of its work; AMP documents ``all``, ``""`` asks nothing.
    max_samples_processed_per_query
        AMP refuses a query that reads more, and does not bill it; nothing sets no bound.
    compress
        Ask for gzip. It costs the server more time than a fast network saves.
    """

    max_steps_per_query: int = 10_000
    max_points_per_query: int = 750_000
    first_query_steps: int = 36
    max_response_bytes: int = 268_435_456
    rate_window_s: float = 300.0
    attempts: int = 5
    retry_wait_s: float = 0.5
    retry_wait_max_s: float = 15.0
    retry_total_s: float = 60.0
    retries_per_fetch: int = 30
    stats: Literal["", "true", "all"] = "all"
    max_samples_processed_per_query: int | None = None
    compress: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no server would serve or that never end."""
        for key in ("max_steps_per_query", "first_query_steps"):
            value = getattr(self, key)
            _require(1 <= value < _STEP_LIMIT, key, f"1 to {_STEP_LIMIT - 1}", value)
        for key in ("max_points_per_query", "max_response_bytes", "attempts"):
            _require(getattr(self, key) >= 1, key, "at least 1", getattr(self, key))
        most = self.max_samples_processed_per_query
        _require(most is None or most >= 1, "max_samples_processed_per_query", "at least 1", most)
        for key in ("retries_per_fetch", "retry_wait_s", "retry_wait_max_s"):
            value = getattr(self, key)
            _require(0 <= value < math.inf, key, "0 or more", value)
        for key in ("rate_window_s", "retry_total_s"):
            value = getattr(self, key)
            _require(0 < value < math.inf, key, "more than 0 seconds", value)
        _require(self.stats in ("", "true", "all"), "stats", "'', 'true' or 'all'", self.stats)


def _require(holds: bool, key: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{key} must be {expected}, got {got!r}")


class Plan:
    """The parts of a window that are asked for, one after the other.

    A part that is longer than a day ends where a UTC day does, or with the window: whoever keeps
    samples by day then touches no day twice.
    """

    def __init__(self, params: PrometheusParams, window: Window) -> None:
        """Starts at the window's first stamp."""
        self._params = params
        self._window = window
        self._at_ms = window.first_ms
        self._most = params.max_steps_per_query
        self._steps = min(params.first_query_steps, self._most)

    def part(self) -> Window | None:
        """What is to be asked for now; nothing at the end."""
        w = self._window
        if self._at_ms >= w.end_ms:
            return None
        end_ms = self._at_ms + self._steps * w.step_ms
        if end_ms >= w.end_ms:
            end_ms = w.end_ms
        elif end_ms - self._at_ms >= _DAY_MS:
            midnight_ms = end_ms // _DAY_MS * _DAY_MS
            end_ms = -(-midnight_ms // w.step_ms) * w.step_ms
        return Window(self._at_ms, end_ms, w.step_ms)

    def answered(self, part: Window, series: int) -> None:
        """The part is done and had so many series."""
        self._at_ms = part.end_ms
        fitting = self._params.max_points_per_query // max(series, 1)
        self._steps = max(1, min(self._most, fitting))

    def refused(self, part: Window) -> None:
        """The part was too large: from now on, no more than half of it is asked for at once."""
        self._most = self._steps = max(1, part.steps // 2)

    def queries(self, series: int) -> int:
        """How many more parts there will be, if all have so many series."""
        count, rest = 0, Plan(self._params, self._window)
        while part := rest.part():
            rest.answered(part, series)
            count += 1
        return count


def probes(window: Window) -> list[Window]:
    """The steps that are asked for to learn what the whole window would cost."""
    step_ms, steps = window.step_ms, window.steps
    if steps == 0:
        return []
    last = min(2 if steps >= _PROBED_FROM_STEPS else 1, steps)
    starts = [(steps - last, last)]
    if steps >= _PROBED_FROM_STEPS:
        starts = [(0, 1), (steps // 2, 1), *starts]
    at = [(window.first_ms + start * step_ms, count) for start, count in starts]
    return [Window(first, first + count * step_ms, step_ms) for first, count in at]
