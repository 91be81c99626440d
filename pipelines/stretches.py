"""Time cut so that a score does not depend on how runs are cut.

Detectors that look back (a level shift, the growth of a counter, bins of half an hour) give a point
the same score only if they begin at the same step. So a point is always scored from one anchor,
which follows from the training and the clock, never from where a run happens to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Panel

__all__ = ["clock_stretches", "compact", "on_grid", "reaching_back", "stretches"]


def stretches(
    origin: pd.Timestamp, start: pd.Timestamp, end: pd.Timestamp, period: pd.Timedelta
) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    """``[origin + k period, origin + (k + 1) period)`` as far as they meet ``[start, end)``."""
    begin = origin + ((start - origin) // period) * period
    while begin < end:
        yield begin, begin + period
        begin += period


def clock_stretches(
    start: pd.Timestamp, end: pd.Timestamp, period: pd.Timedelta
) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    """The same from midnight UTC on."""
    for day, next_day in stretches(start.floor("1D"), start, end, pd.Timedelta(days=1)):
        for begin, until in stretches(day, max(start, day), min(end, next_day), period):
            yield begin, min(until, next_day)


def on_grid(length: pd.Timedelta, step: pd.Timedelta) -> pd.Timedelta:
    """A length of time in whole steps, at least one, rounded up."""
    return max(-(-length // step), 1) * step


def reaching_back(panel: Panel, anchor: pd.Timestamp, end: pd.Timestamp) -> Panel:
    """The steps of ``[anchor, end)``; NaN where the panel has not begun.

    ``anchor`` is on the panel's grid.
    """
    piece = panel.window(anchor, end)
    ahead = round((min(panel.start, end) - anchor) / panel.step)
    if ahead <= 0:
        return piece
    values = np.pad(piece.values, ((0, 0), (ahead, 0)), constant_values=np.nan)
    return replace(piece, start=anchor, values=values)


def compact(panel: Panel) -> Panel:
    """Without the series that were never measured and the steps before the first sample."""
    there = ~np.isnan(panel.values)
    rows: NDArray[np.bool_] = np.asarray(there.any(axis=1))
    first = int(there.any(axis=0).argmax()) if rows.any() else 0
    kept = panel if rows.all() else panel.select(rows)
    return kept.window(kept.start + first * kept.step) if first else kept
