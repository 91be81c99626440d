"""What the band makes of one point after the other: in the band or out of it, dropped to zero,
missing, shifted.

The score at a step uses that step and earlier ones, nothing later. A kernel, because a level shift
that is learned changes how all later points are seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["CEILING", "BandScores", "Reason", "score_series"]


class Reason(IntEnum):
    """Why a point has its score."""

    NORMAL = 0
    ABOVE = 1
    BELOW = 2
    DROP_TO_ZERO = 3
    MISSING = 4
    LEVEL_SHIFT = 5


CEILING = 1000.0
"""The largest score: a constant series at zero has no unit to measure a deviation in."""

_ONE_SIDED = 0.9
_AT_LEVEL = 0.5
_ABOVE, _BELOW, _LEVEL_SHIFT = int(Reason.ABOVE), int(Reason.BELOW), int(Reason.LEVEL_SHIFT)
_DROP_TO_ZERO, _MISSING = int(Reason.DROP_TO_ZERO), int(Reason.MISSING)
_UNKNOWN, _FAR_BELOW, _UNDER, _OVER, _FAR_ABOVE, _SPOT_ON = range(6)


@dataclass(frozen=True, slots=True)
class BandScores:
    """What the band says about every point; all arrays are (n_series, n_steps).

    Attributes
    ----------
    score : float64
        On the scale of ``models/base.py``; NaN where there is nothing to judge (no value and not
        yet missing, no forecast, no band).
    lower, upper : float64
        Where the score is 1. -inf and inf on the side that is harmless; NaN without a forecast.
    expected : float64
        The forecast, moved to the new level once a shift was learned.
    reason : int8
        ``Reason``.
    """

    score: Floats
    lower: Floats
    upper: Floats
    expected: Floats
    reason: NDArray[np.int8]


@njit(cache=True, nogil=True)
def score_series(
    values: Floats,
    expected: Floats,
    width: Floats,
    due: NDArray[np.bool_],
    direction: NDArray[np.int8],
    alive: NDArray[np.bool_],
    steps: tuple[int, int, int],
    own_score: float,
) -> tuple[Floats, Floats, Floats, NDArray[np.int8]]:
    """Score every series, step by step.

    Parameters
    ----------
    values, expected, width : (n_series, n_steps)
        ``width`` is the deviation that scores 1.
    due : (n_series, n_steps)
        Whether the series normally has a sample at that step.
    direction : (n_series,)
        1: only above is anomalous; -1: only below; 0: both.
    alive : (n_series,)
        Whether the series is normally well above zero.
    steps
        Window of a level shift, hold until it is learned, missing samples that are an anomaly.
    own_score
        Score of what has no distance (missing), and the least one of a drop to zero.

    Returns
    -------
    score, centre, half width, reason : (n_series, n_steps)
        Centre and half width of the band that was used: ``expected`` and ``width`` until a shift is
        learned.
    """
    score = np.full(values.shape, np.nan)
    centre, half = expected.copy(), width.copy()
    reason = np.zeros(values.shape, dtype=np.int8)
    for i in range(len(values)):
        given = (values[i], expected[i], width[i], due[i])
        out = (score[i], centre[i], half[i], reason[i])
        _score_one(given, (direction[i], alive[i]), steps, own_score, out)
    return score, centre, half, reason


@njit(cache=True, nogil=True)
def _score_one(given: Any, kind: Any, steps: Any, own_score: float, out: Any) -> None:
    x, e, width, due = given
    score, centre, half, reason = out
    shift_steps, hold_steps, missing_steps = steps
    codes = np.zeros(len(x), dtype=np.int8)
    counts = np.zeros(6, dtype=np.int64)
    gain, offset = 1.0, 0.0
    gone, held, side = 0, 0, 0
    for t in range(len(x)):
        if t >= shift_steps:
            counts[codes[t - shift_steps]] -= 1
        centre[t] = gain * e[t] + offset
        half[t] = width[t] * max(gain, 1.0)
        gone = gone + due[t] if np.isnan(x[t]) else 0
        if np.isnan(x[t]) or np.isnan(half[t]):
            counts[_UNKNOWN] += 1
            if gone >= missing_steps:
                score[t], reason[t] = own_score, _MISSING
            continue
        if abs(x[t] - centre[t]) >= half[t] and abs(x[t] - e[t]) < width[t]:
            centre[t], half[t] = e[t], width[t]  # back at the level of before
        z = (x[t] - centre[t]) / half[t]
        codes[t] = _code(z)
        counts[codes[t]] += 1
        now, shifted = _shift(counts, shift_steps)
        held = held + 1 if now == side and held > 0 else int(shifted)
        side = now
        own = own_score if x[t] == 0.0 and kind[1] and centre[t] > 0.0 else 0.0
        score[t], reason[t] = _judge(z, kind[0], now if shifted else 0, own)
        if held >= hold_steps:
            seen = slice(max(t + 1 - hold_steps, 0), t + 1)
            gain, offset = _learn(x[seen], e[seen], width[seen])
            codes[:] = _UNKNOWN
            counts[:] = 0
            held, side = 0, 0


@njit(cache=True, nogil=True)
def _code(z: float) -> int:
    if z == 0.0:
        return _SPOT_ON
    if z > 0.0:
        return _FAR_ABOVE if z >= 1.0 else _OVER
    return _FAR_BELOW if z <= -1.0 else _UNDER


@njit(cache=True, nogil=True)
def _shift(counts: NDArray[np.int64], window: int) -> tuple[int, bool]:
    """The side that the window's points are on (0: both), and whether their median is outside the
    band."""
    over, under = counts[_OVER] + counts[_FAR_ABOVE], counts[_UNDER] + counts[_FAR_BELOW]
    known = over + under + counts[_SPOT_ON]
    if 2 * known < window or max(over, under) < _ONE_SIDED * known:
        return 0, False
    if over > under:
        return 1, 2 * counts[_FAR_ABOVE] > known
    return -1, 2 * counts[_FAR_BELOW] > known


@njit(cache=True, nogil=True)
def _judge(z: float, direction: int, shift: int, own: float) -> tuple[float, int]:
    """Score and reason of a point ``z`` half widths off; ``own`` > 0 where it dropped to zero."""
    distance = abs(z)
    harmless = direction * z < 0.0
    score = distance / (1.0 + distance) if harmless else min(distance, CEILING)
    reason = 0
    if score >= 1.0:
        reason = _ABOVE if z > 0.0 else _BELOW
    if shift * z >= _AT_LEVEL and not harmless:
        score, reason = max(score, 1.0), _LEVEL_SHIFT
    if own > 0.0:
        score, reason = max(score, own), _DROP_TO_ZERO
    return score, reason


@njit(cache=True, nogil=True)
def _learn(x: Floats, e: Floats, width: Floats) -> tuple[float, float]:
    """The new level as ``gain * expected + offset``: a factor or a constant, whichever explains the
    points better."""
    known = ~(np.isnan(x) | np.isnan(e) | np.isnan(width))
    x, e, width = x[known], e[known], width[known]
    offset = np.median(x - e)
    if np.min(e) <= 0.0:
        return 1.0, offset
    gain = max(np.median(x / e), 0.0)
    by_offset = np.sum(np.abs(x - e - offset) / width)
    by_gain = np.sum(np.abs(x - gain * e) / width)
    return (gain, 0.0) if by_gain <= by_offset else (1.0, offset)
