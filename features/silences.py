"""Silences: what somebody does not want to be told of, for a while.

A silence always ends: one that is forgotten would hide the next failure. Scores inside one are
kept, so that what happened can be looked up; nobody is told of them, and no incident is made.
(What comes back every week, or is planned, is a maintenance window of a calendar.)
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Silence", "silence_notes", "silenced_mask", "silenced_rows"]

_FORGOTTEN = pd.Timedelta(days=30)
"""An ended silence that is still written down after so long is mentioned."""


@dataclass(frozen=True, slots=True)
class Silence:
    """From when to when nobody is told of some scores; half-open, on the steps' left edges."""

    match: str
    """Glob on the workload id, e.g. ``prod/shop/*``; ``*`` crosses slashes."""
    start: datetime | str
    """ISO 8601; UTC where it has no offset."""
    end: datetime | str | None = None
    """As ``start``; there must be one."""
    metric: str = "*"
    """Glob on the metric; scores of a whole workload are silenced by ``*`` only."""
    detector: str = "*"
    """Glob on the detector: band, isolation_forest, memory_slope."""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a silence without an end, and one that ends before it begins."""
        if not self.match:
            raise ValueError("match: expected a glob on the workload such as prod/shop/*, got ''")
        if self.end in (None, ""):
            raise ValueError(
                "end: a silence must have one such as 2026-06-03T05:00Z; what nobody ever wants "
                "to be told of is left out by source.metrics, or has gates in metrics"
            )
        start, end = self.span
        if not start < end:
            raise ValueError(f"end: expected a moment after {start:%Y-%m-%dT%H:%MZ}, got {end}")

    @property
    def span(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Start and end, UTC."""
        return _moment("start", self.start), _moment("end", self.end)

    @property
    def shown(self) -> str:
        """``prod/shop/* latency_* until 2026-06-03 05:00 UTC (moving the database)``."""
        rest = [part for part in (self.metric, self.detector) if part != "*"]
        why = f" ({_plain(self.reason)})" if self.reason else ""
        end = f"{self.span[1]:%Y-%m-%d %H:%M} UTC"
        return f"{_plain(' '.join((self.match, *rest)))} until {end}{why}"


def silenced_mask(
    workloads: Sequence[str],
    metrics: Sequence[str],
    times: pd.DatetimeIndex,
    silences: Sequence[Silence],
    detector: str = "*",
) -> NDArray[np.bool_]:
    """Which steps of which series are silenced.

    Parameters
    ----------
    workloads, metrics : (n_series,)
        ``*`` is a whole workload.
    times : (n_steps,)
        Left edges of the steps, UTC.
    detector
        Whose scores; by default those of any, so that a silence of one detector does not count.

    Returns
    -------
    bool, (n_series, n_steps)
    """
    out = np.zeros((len(workloads), len(times)), dtype=bool)
    for silence in silences:
        start, end = silence.span
        inside = np.asarray((times >= start) & (times < end), dtype=bool)
        if inside.any() and _matches([detector], silence.detector)[0]:
            rows = _matches(workloads, silence.match) & _matches(metrics, silence.metric)
            out |= rows[:, None] & inside
    return out


def silenced_rows(
    rows: pd.DataFrame,
    silences: Sequence[Silence],
    *,
    ts: str = "ts",
    detector: str | None = None,
) -> NDArray[np.intp]:
    """For each row of a scores or leaks table the silence it is in, (n_rows,); -1 where none is.

    Parameters
    ----------
    rows
        Frame with ``workload``, ``metric``, the column of ``ts``, and ``detector`` unless given.
    ts
        Name of the column of moments, UTC: ``issued_at`` for leaks.
    detector
        Whose rows all of them are.
    """
    out = np.full(len(rows), -1, dtype=np.intp)
    if not silences or not len(rows):
        return out
    moments = pd.DatetimeIndex(rows[ts])
    who = rows["detector"] if detector is None else pd.Series([detector])
    labels = [pd.factorize(c) for c in (rows["workload"], rows["metric"], who)]
    for number, silence in enumerate(silences):
        start, end = silence.span
        inside = np.asarray((moments >= start) & (moments < end), dtype=bool) & (out < 0)
        if not inside.any():
            continue
        patterns = (silence.match, silence.metric, silence.detector)
        for (codes, names), pattern in zip(labels, patterns, strict=True):
            inside &= _matches([str(n) for n in names], pattern)[codes]
        out[inside] = number
    return out


def silence_notes(silences: Sequence[Silence], as_of: pd.Timestamp) -> tuple[str, ...]:
    """Lines about the silences that are active at ``as_of``, and those that ended long before."""
    notes: list[str] = []
    for silence in silences:
        start, end = silence.span
        if start <= as_of < end:
            notes.append(f"silenced: {silence.shown}")
        elif end + _FORGOTTEN <= as_of:
            days = (as_of - end).days
            notes.append(f"silence ended {days} days ago and can go: {silence.shown}")
    return tuple(notes)


def _matches(names: Sequence[str], pattern: str) -> NDArray[np.bool_]:
    if pattern == "*":
        return np.ones(len(names), dtype=bool)
    match = re.compile(fnmatch.translate(pattern)).match
    return np.fromiter((match(n) is not None for n in names), bool, len(names))


def _moment(key: str, given: datetime | str | None) -> pd.Timestamp:
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
        stamp = None if moment is None else pd.Timestamp(moment)
    except ValueError:
        stamp = None
    if stamp is None or pd.isna(stamp):
        raise ValueError(f"{key}: expected a moment such as 2026-06-03T05:00Z, got {given!r}")
    return stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")


def _plain(text: str) -> str:
    """One line of what somebody wrote."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
