"""The nowcast, series by series, compiled: errors, what is looked at of them, and what follows.
`models.nowcast` says what it does and why."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints

__all__ = ["between", "correct", "errors_of", "features_of", "offsets_at", "scale_of", "sums_of"]

_UNREST = (0.25, 4.0)


@njit(cache=True, nogil=True)
def correct(
    actual: Floats,
    point: Floats,
    at: Ints,
    scale: Any,
    weights: Floats,
    ahead: Ints,
    recent: Ints,
    restlessness: float,
    middle: Floats,
    unit: Floats,
) -> None:
    """Fill ``middle`` and ``unit``, (n, n_moments, n_ahead): a quantile is the one, and an offset
    times the other."""
    n, m = actual.shape
    error, sums, x = np.zeros(m), np.zeros((3, m + 1)), np.zeros(4)
    reach = min(middle.shape[2], ahead[len(ahead) - 1])
    for i in range(n):
        power, low, norm, unrest = scale[0][i], scale[1][i], scale[2][i], scale[3][i]
        if np.isnan(power):
            continue
        errors_of(actual[i], point[i], power, low, norm, error)
        sums_of(error, sums)
        for j in range(len(at)):
            features_of(error, sums, at[j], recent, restlessness, unrest, x)
            for h in range(1, reach + 1):
                k, share = _between_steps(h, ahead)
                told = _told(weights[i, k], x)
                if share > 0:
                    told = share * _told(weights[i, k - 1], x) + (1 - share) * told
                p = point[i, at[j] + h - 1]
                size = scale_of(p, power, low, norm)
                middle[i, j, h - 1] = p + size * told
                unit[i, j, h - 1] = size * x[3]


@njit(cache=True, nogil=True)
def offsets_at(level: Floats, levels: Floats, offsets: Floats, ahead: Ints, out: Floats) -> None:
    """Fill ``out``, (n, n_ahead), with the offsets of each series' level."""
    reach = min(out.shape[1], ahead[len(ahead) - 1])
    for i in range(len(level)):
        if np.isnan(level[i]):
            continue
        for h in range(1, reach + 1):
            k, share = _between_steps(h, ahead)
            told = between(level[i], levels, offsets[i, k])
            if share > 0:
                told = share * between(level[i], levels, offsets[i, k - 1]) + (1 - share) * told
            out[i, h - 1] = told


@njit(cache=True, nogil=True)
def _between_steps(h: int, ahead: Ints) -> tuple[int, float]:
    """Which of ``ahead`` is the next at or after h, and the share of the one before it."""
    k = int(np.searchsorted(ahead, h))
    if ahead[k] == h:
        return k, 0.0
    return k, (ahead[k] - h) / (ahead[k] - ahead[k - 1])


@njit(cache=True, nogil=True)
def _told(w: Floats, x: Floats) -> float:
    """The error that is to come, in the middle."""
    return w[0] * x[0] + w[1] * x[1] + w[2] * x[2]


@njit(cache=True, nogil=True)
def scale_of(level: float, power: float, low: float, norm: float) -> float:
    """What errors at a level are taken in units of."""
    return max(level, low) ** power * norm ** (1 - power)


@njit(cache=True, nogil=True)
def errors_of(
    actual: Floats, point: Floats, power: float, low: float, norm: float, out: Floats
) -> None:
    """Fill ``out`` with the errors of all steps, in units of their levels' scale."""
    for t in range(len(actual)):
        out[t] = (actual[t] - point[t]) / scale_of(point[t], power, low, norm)


@njit(cache=True, nogil=True)
def sums_of(error: Floats, sums: Floats) -> float:
    """Cumulative sums, absolute sums and counts; the mean absolute error."""
    for t in range(len(error)):
        there = np.isfinite(error[t])
        sums[0, t + 1] = sums[0, t] + (error[t] if there else 0.0)
        sums[1, t + 1] = sums[1, t] + (abs(error[t]) if there else 0.0)
        sums[2, t + 1] = sums[2, t] + (1.0 if there else 0.0)
    last = len(error)
    return sums[1, last] / sums[2, last] if sums[2, last] > 0 else 0.0


@njit(cache=True, nogil=True)
def features_of(
    error: Floats,
    sums: Floats,
    at: int,
    recent: Ints,
    restlessness: float,
    unrest: float,
    x: Floats,
) -> None:
    """Errors of the last step, a quarter of an hour, some hours; how restless it was. All before
    ``at``."""
    for k in range(2):
        begin = max(at - recent[k], 0)
        count = sums[2, at] - sums[2, begin]
        x[1 + k] = (sums[0, at] - sums[0, begin]) / count if count > 0 else 0.0
    x[0] = error[at - 1] if at > 0 and np.isfinite(error[at - 1]) else x[1]
    begin = max(at - recent[2], 0)
    count = sums[2, at] - sums[2, begin]
    x[3] = 1.0
    if count > 0 and unrest > 0:
        ratio = (sums[1, at] - sums[1, begin]) / count / unrest
        x[3] = 1 - restlessness + restlessness * min(max(ratio, _UNREST[0]), _UNREST[1])


@njit(cache=True, nogil=True)
def between(level: float, levels: Floats, offsets: Floats) -> float:
    """The offset of a level, on the line between its neighbours."""
    if level <= levels[0]:
        return offsets[0]
    last = len(levels) - 1
    if level >= levels[last]:
        return offsets[last]
    k = np.searchsorted(levels, level)
    share = (levels[k] - level) / (levels[k] - levels[k - 1])
    return share * offsets[k - 1] + (1 - share) * offsets[k]
