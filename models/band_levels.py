"""A level that moved for good: what was off by as much for long enough is the new normal.

A step's centre is the forecast, or, where all of the hold before it was off to one side and mostly
out of the band, the forecast moved to where the series was in that time. It depends on the hold
before the step and on nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.selection import nth

__all__ = ["edges", "learned_levels", "one_sided", "roll", "side_code"]

_ALL = 0.98
_UNKNOWN, _FAR_BELOW, _UNDER, _OVER, _FAR_ABOVE, _SPOT_ON = range(6)


@njit(cache=True, nogil=True)
def learned_levels(
    values: Floats, expected: Floats, width: Floats, hold_steps: int
) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Centre and half width of the band at every step, and its era, all (n_series, n_steps).

    ``width`` is the deviation from ``expected`` that scores 1. The era is 0 while the forecast
    stands and the number of steps since the move was learned, from 1, while it does not.
    """
    centre, half = expected.copy(), width.copy()
    era = np.zeros(values.shape, dtype=np.int32)
    spare = (np.empty(hold_steps), np.empty(hold_steps), np.empty(hold_steps))
    codes = np.empty(values.shape[1], dtype=np.int8)
    for i in range(len(values)):
        x, e, w = values[i], expected[i], width[i]
        held = np.zeros(6, dtype=np.int64)
        for t in range(len(x)):
            if one_sided(held, hold_steps, _ALL)[1]:
                seen = slice(max(t - hold_steps, 0), t)
                gain, offset = _learn(x[seen], e[seen], w[seen], spare)
                centre[i, t] = gain * e[t] + offset
                half[i, t] = w[t] * max(gain, 1.0)
                era[i, t] = era[i, t - 1] + 1 if t else 1
            codes[t] = side_code(x[t], e[t], w[t])
            roll(held, codes, t, hold_steps)
    return centre, half, era


@njit(cache=True, nogil=True)
def roll(counts: NDArray[np.int64], codes: NDArray[np.int8], t: int, window: int) -> None:
    """Count the code of step ``t``, and no longer that of the step that leaves the window."""
    counts[codes[t]] += 1
    if t >= window:
        counts[codes[t - window]] -= 1


@njit(cache=True, nogil=True)
def side_code(x: float, e: float, width: float) -> int:
    """0: not known; else on which side of the forecast a point is, and whether out of the band."""
    z = (x - e) / width
    if np.isnan(z):
        return _UNKNOWN
    if z == 0.0:
        return _SPOT_ON
    if z > 0.0:
        return _FAR_ABOVE if z >= 1.0 else _OVER
    return _FAR_BELOW if z <= -1.0 else _UNDER


@njit(cache=True, nogil=True)
def one_sided(counts: NDArray[np.int64], window: int, share: float) -> tuple[int, bool]:
    """The side that such a share of the window's points is on (0: neither), and whether their
    median is outside the band."""
    over, under = counts[_OVER] + counts[_FAR_ABOVE], counts[_UNDER] + counts[_FAR_BELOW]
    known = over + under + counts[_SPOT_ON]
    if 2 * known < window or max(over, under) < share * known:
        return 0, False
    if over > under:
        return 1, 2 * counts[_FAR_ABOVE] > known
    return -1, 2 * counts[_FAR_BELOW] > known


@njit(cache=True, nogil=True)
def _learn(x: Floats, e: Floats, width: Floats, spare: Any) -> tuple[float, float]:
    """The new level as ``gain * expected + offset``: a factor or a constant, whichever explains the
    points better."""
    apart, quotient, work = spare
    n, lowest = 0, np.inf
    for t in range(len(x)):
        if not (np.isnan(x[t]) or np.isnan(width[t])):
            lowest = min(lowest, e[t])
            apart[n] = x[t] - e[t]
            quotient[n] = x[t] / e[t] if e[t] > 0.0 else 1.0
            n += 1
    offset = nth(apart, work, 0, n, n // 2)
    if lowest <= 0.0:
        return 1.0, offset
    gain = max(nth(quotient, work, 0, n, n // 2), 0.0)
    by_offset, by_gain = 0.0, 0.0
    for t in range(len(x)):
        if not (np.isnan(x[t]) or np.isnan(width[t])):
            by_offset += abs(x[t] - e[t] - offset) / width[t]
            by_gain += abs(x[t] - gain * e[t]) / width[t]
    return (gain, 0.0) if by_gain <= by_offset else (1.0, offset)


def edges(
    centre: Floats, half: Floats, level: Floats, near: Floats, lasting: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Where a point scores 1: in the band and near the last hours' level, if that agrees with the
    forecast. Of what lasts, where the mean would."""
    lower, upper = centre - half, centre + half
    inside = (np.abs(level) < np.fmin(half, near)) | lasting  # False where the level is unknown
    np.fmax(lower, centre + level - near, out=lower, where=inside)
    np.fmin(upper, centre + level + near, out=upper, where=inside)
    return lower, upper
