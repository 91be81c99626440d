"""What the band makes of one point after the other: in the band or out of it, dropped to zero,
missing, shifted.

The score at a step uses that step and earlier ones, nothing later, and of those only the last ones:
whoever scores a window with as much past gets what scoring the whole would have said.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.band_levels import one_sided, roll, side_code

__all__ = ["CEILING", "BandScores", "Reason", "score_series"]


class Reason(IntEnum):
    """Why a point has its score."""

    NORMAL = 0
    ABOVE = 1
    BELOW = 2
    DROP_TO_ZERO = 3
    MISSING = 4
    LEVEL_SHIFT = 5
    LASTING_ABOVE = 6
    """Not this point but the mean of the last minutes or hours is above."""
    LASTING_BELOW = 7


CEILING = 1000.0
"""The largest score: a constant series at zero has no unit to measure a deviation in."""

_ONE_SIDED = 0.9
_AT_LEVEL = 0.5
_ABOVE, _BELOW, _LEVEL_SHIFT = int(Reason.ABOVE), int(Reason.BELOW), int(Reason.LEVEL_SHIFT)
_DROP_TO_ZERO, _MISSING = int(Reason.DROP_TO_ZERO), int(Reason.MISSING)
_LASTING_ABOVE, _LASTING_BELOW = int(Reason.LASTING_ABOVE), int(Reason.LASTING_BELOW)


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
    deviation : float64
        How far the value is from ``expected``, signed, in robust standard deviations of its hour.
    """

    score: Floats
    lower: Floats
    upper: Floats
    expected: Floats
    reason: NDArray[np.int8]
    deviation: Floats


@njit(cache=True, nogil=True)
def score_series(
    values: Floats,
    expected: tuple[Floats, Floats],
    used: tuple[Floats, Floats, NDArray[np.int32]],
    sudden: tuple[Floats, NDArray[np.int8]],
    due: NDArray[np.bool_],
    gap: NDArray[np.int64],
    direction: NDArray[np.int8],
    alive: NDArray[np.bool_],
    steps: tuple[int, int],
    own_score: float,
) -> tuple[Floats, NDArray[np.int8]]:
    """Score every series, step by step: score and reason, both (n_series, n_steps).

    Parameters
    ----------
    values : (n_series, n_steps)
    expected
        Forecast and the deviation from it that scores 1.
    used
        Centre, half width and eras of ``models/band_levels.py``; where a point is back in the band
        of before, centre and half width become it.
    sudden
        Signed ratio and span of ``models/band_sudden.py``.
    due : (n_series, n_steps)
        Whether the series normally has a sample at that step.
    gap : (n_series,)
        Missing samples that are an anomaly.
    direction : (n_series,)
        1: only above is anomalous; -1: only below; 0: both.
    alive : (n_series,)
        Whether the series is normally well above zero.
    steps
        Window of a level shift, hold until it is learned.
    own_score
        Score of what has no distance (missing), and the least one of a drop to zero.
    """
    score = np.full(values.shape, np.nan)
    reason = np.zeros(values.shape, dtype=np.int8)
    codes = np.empty(values.shape[1], dtype=np.int8)
    for i in range(len(values)):
        given = (values[i], expected[0][i], expected[1][i], due[i], sudden[0][i], sudden[1][i])
        band = (used[0][i], used[1][i], used[2][i])
        kind = (direction[i], alive[i], gap[i])
        _score_one(given, band, kind, steps, own_score, codes, (score[i], reason[i]))
    return score, reason


@njit(cache=True, nogil=True)
def _score_one(
    given: Any, band: Any, kind: Any, steps: Any, own_score: float, codes: Any, out: Any
) -> None:
    x, e, width, due, ratio, span = given
    centre, half, era = band
    score, reason = out
    shift_steps, hold_steps = steps
    lately = np.zeros(6, dtype=np.int64)
    gone = 0
    for t in range(len(x)):
        gone = gone + due[t] if np.isnan(x[t]) else 0
        codes[t] = side_code(x[t], e[t], width[t])
        roll(lately, codes, t, shift_steps)
        if codes[t] == 0:
            if kind[2] <= gone <= hold_steps:  # then it is known to be gone
                score[t], reason[t] = own_score, _MISSING
            continue
        if abs(x[t] - centre[t]) >= half[t] and abs(x[t] - e[t]) < width[t]:
            centre[t], half[t] = e[t], width[t]  # back at the level of before
        z = (x[t] - centre[t]) / half[t]
        side, shifted = one_sided(lately, shift_steps, _ONE_SIDED)
        own = own_score if x[t] == 0.0 and kind[1] and centre[t] > 0.0 else 0.0
        level = side if shifted and not era[t] else 0
        score[t], reason[t] = _judge(z, kind[0], level, own, ratio[t], span[t])


@njit(cache=True, nogil=True)
def _judge(
    z: float, direction: int, shift: int, own: float, ratio: float, span: int
) -> tuple[float, int]:
    """Score and reason of a point ``z`` half widths off; ``own`` > 0 where it dropped to zero."""
    distance = abs(z)
    harmless = direction * z < 0.0
    score = distance / (1.0 + distance) if harmless else min(distance, CEILING)
    reason = 0
    if score >= 1.0:
        reason = _ABOVE if z > 0.0 else _BELOW
    if direction * ratio >= 0.0 and abs(ratio) > score:
        score = min(abs(ratio), CEILING)
        if score >= 1.0 and span == 0:
            reason = _ABOVE if ratio > 0.0 else _BELOW
        elif score >= 1.0:
            reason = _LASTING_ABOVE if ratio > 0.0 else _LASTING_BELOW
    if shift * z >= _AT_LEVEL and not harmless:
        score, reason = max(score, 1.0), _LEVEL_SHIFT
    if own > 0.0:
        score, reason = max(score, own), _DROP_TO_ZERO
    return score, reason
