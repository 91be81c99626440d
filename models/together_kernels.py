"""The inner loops of ``models/together.py``: scales, correlations, distances, shares.

Rows are steps, columns the signals that a workload has, in ``column``: positions in the last axis
of ``values``, -1 for one that is gone, of which the first ``used`` count. A cell that is NaN is at
its training median, that is, at 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.selection import finite_into, nth, quantile

__all__ = ["Learned", "correlations", "distances", "shares", "signal_scales", "smooth"]

_NORMAL, _NORMAL_TAIL, _TAIL = 1.4826, 2.5758, 0.99
_FLAT = 1e-3  # of its level: the scale of a signal that never moved
_HUGE = 1e300
_LANES = 16  # steps that are worked on side by side
_TINY = 1e-9  # what is smaller is rounding: signals are roots and ratios in base units


class Learned(NamedTuple):
    """What the distance of a workload is measured with; the first axis is the workload."""

    column: NDArray[np.int16]
    used: NDArray[np.int16]
    middle: Floats
    scale: Floats
    factor: NDArray[np.float32]
    """Lower Cholesky factor of the inverse correlation, row after row."""


@njit(cache=True, nogil=True)
def signal_scales(
    values: Floats,
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Median, scale, number of values, and whether it ever moved; all (n_workloads, n_signals).

    The scale is that of a normal distribution with the same median |deviation| or with the same
    99 % one, whichever is wider: tails that are usual must not look odd, and an incident of up to
    1 % of the training weeks must not widen it. Where both are 0, the standard deviation.
    """
    n, steps, width = values.shape
    middle, scale = np.zeros((n, width)), np.ones((n, width))
    count, moves = np.zeros((n, width), np.int64), np.zeros((n, width), np.bool_)
    row, spare = np.empty(steps), np.empty(steps)
    for w in range(n):
        for s in range(width):
            k = finite_into(row, values[w, :, s], 0)
            count[w, s] = k
            if k > 0:
                middle[w, s] = quantile(row, spare, 0, k, 0.5)
                for i in range(k):
                    row[i] = abs(row[i] - middle[w, s])
                scale[w, s], moves[w, s] = _scale(row, spare, k, abs(middle[w, s]))
    return middle, scale, count, moves


@njit(cache=True, nogil=True)
def _scale(away: Floats, spare: Floats, k: int, level: float) -> tuple[float, bool]:
    """Scale of the first ``k`` absolute deviations, and whether any is more than rounding."""
    half = (k - 1) // 2
    usual = nth(away, spare, 0, k, half)
    tail = nth(away, spare, half, k, int(_TAIL * (k - 1)))
    found = max(_NORMAL * usual, tail / _NORMAL_TAIL)
    if not found > _TINY:
        largest = 0.0
        for i in range(k):
            largest = max(largest, away[i])
        if not largest > _TINY:
            return min(max(_FLAT * level, _TINY), _HUGE), False
        total = 0.0
        for i in range(k):
            total += (away[i] / largest) ** 2
        found = largest * np.sqrt(total / k)
    return min(max(found, _TINY), _HUGE), True


@njit(cache=True, nogil=True)
def _standardise(
    values: Any, first: int, last: int, w: int, learned: Learned, clip: float, z: Floats
) -> int:
    """Steps ``first`` to ``last`` of workload ``w`` in units of the training weeks, into ``z``,
    (n + 1, lanes).

    Returns the number of steps with any value; the last row of ``z`` is 1 for these, and lanes
    beyond ``last`` are 0.
    """
    z[:, :] = 0.0
    for j in range(learned.used[w]):
        place = learned.column[w, j]
        if place < 0:
            continue
        middle, scale = learned.middle[w, j], learned.scale[w, j]
        for t in range(first, last):
            v = values[w, t, place]
            if np.isfinite(v):
                z[j, t - first] = min(max((v - middle) / scale, -clip), clip)
                z[-1, t - first] = 1.0
    known = 0
    for lane in range(last - first):
        known += z[-1, lane] > 0
    return known


@njit(cache=True, nogil=True)
def correlations(values: Floats, learned: Learned, clip: float) -> tuple[Floats, NDArray[np.int64]]:
    """Correlation of the clipped signals, (n_workloads, n, n) for the n columns, and the number of
    steps with any value.

    1 on the diagonal also where a signal never moved or there is none. ``learned.factor`` is not
    looked at.
    """
    n, steps, _ = values.shape
    width = learned.column.shape[1]
    out, rows = np.zeros((n, width, width)), np.zeros(n, np.int64)
    z, total = np.empty((width + 1, _LANES)), np.empty(width)
    lanes = np.empty((width, width, _LANES))  # sums a lane: a processor adds several at once
    for w in range(n):
        u = int(learned.used[w])
        lanes[:u, :u] = 0.0
        total[:] = 0.0
        for first in range(0, steps, _LANES):
            last = min(first + _LANES, steps)
            rows[w] += _standardise(values, first, last, w, learned, clip, z)
            for i in range(u):
                for lane in range(_LANES):
                    total[i] += z[i, lane]
                for j in range(i + 1):
                    for lane in range(_LANES):
                        lanes[i, j, lane] += z[i, lane] * z[j, lane]
        for i in range(u):
            for j in range(i + 1):
                for lane in range(_LANES):
                    out[w, i, j] += lanes[i, j, lane]
        _correlate(out[w], total, rows[w], u)
    return out, rows


@njit(cache=True, nogil=True)
def _correlate(out: Floats, total: Floats, rows: int, used: int) -> None:
    """From sums of products in the lower half to correlations in both."""
    for i in range(used):
        for j in range(i + 1):
            out[i, j] -= total[i] * total[j] / max(rows, 1)
    for i in range(used):
        for j in range(i):
            size = np.sqrt(max(out[i, i], 0.0)) * np.sqrt(max(out[j, j], 0.0))
            out[i, j] = out[i, j] / size if size > _TINY else 0.0
            out[j, i] = out[i, j]
    for i in range(len(out)):
        out[i, i] = 1.0


@njit(cache=True, nogil=True)
def distances(values: Floats, learned: Learned, clip: float) -> Floats:
    """Squared distance of every step, (n_workloads, n_steps); NaN where nothing was measured."""
    n, steps, _ = values.shape
    width = learned.column.shape[1]
    out = np.full((n, steps), np.nan)
    z, lower = np.empty((width + 1, _LANES)), np.empty((width, width))
    y, total = np.empty(_LANES), np.empty(_LANES)
    for w in range(n):
        u = int(learned.used[w])
        _unpack(learned.factor[w], lower, u)
        for first in range(0, steps, _LANES):
            last = min(first + _LANES, steps)
            _standardise(values, first, last, w, learned, clip, z)
            total[:] = 0.0
            for i in range(u):
                y[:] = 0.0
                for j in range(i, u):
                    for lane in range(_LANES):
                        y[lane] += lower[j, i] * z[j, lane]
                for lane in range(_LANES):
                    total[lane] += y[lane] * y[lane]
            for lane in range(last - first):
                if z[-1, lane] > 0:
                    out[w, first + lane] = total[lane]
    return out


@njit(cache=True, nogil=True)
def _unpack(packed: Any, lower: Floats, used: int) -> None:
    k = 0
    for i in range(used):
        for j in range(i + 1):
            lower[i, j] = packed[k]
            k += 1


@njit(cache=True, nogil=True)
def smooth(raw: Floats, weights: Floats) -> Floats:
    """Weighted mean of each step and those before it, newest first, as far as they are known; NaN
    stays NaN."""
    out = np.full(raw.shape, np.nan)
    for w in range(raw.shape[0]):
        for t in range(raw.shape[1]):
            if np.isnan(raw[w, t]):
                continue
            total, mass = 0.0, 0.0
            for k in range(min(len(weights), t + 1)):
                if not np.isnan(raw[w, t - k]):
                    total += weights[k] * raw[w, t - k]
                    mass += weights[k]
            out[w, t] = total / mass
    return out


@njit(cache=True, nogil=True)
def shares(
    values: Floats,
    learned: Learned,
    clip: float,
    weights: Floats,
    points: NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """What each signal adds to the smoothed distance, and how far off it is, at some points.

    Parameters
    ----------
    points : (n_points, 2)
        Workload and step, sorted.

    Returns
    -------
    added, off : (n_points, n)
        By how much the distance would fall if the signal were where the others say it should be:
        (P z)² / P's diagonal, P the inverse correlation (reconstruction-based contributions, Alcala
        & Qin, Automatica 45, 2009); the mean of z. Both smoothed.
    """
    width = learned.column.shape[1]
    added, off = np.zeros((len(points), width)), np.zeros((len(points), width))
    z, lower = np.empty((width + 1, 1)), np.empty((width, width))
    last = -1
    for p in range(len(points)):
        w, t = points[p]
        u = int(learned.used[w])
        if w != last:
            _unpack(learned.factor[w], lower, u)
            last = w
        mass = 0.0
        for k in range(min(len(weights), t + 1)):
            at = t - k
            if _standardise(values, at, at + 1, w, learned, clip, z) > 0:
                mass += weights[k]
                _add(added[p], off[p], z, lower, u, weights[k])
        added[p] /= mass
        off[p] /= mass
    return added, off


@njit(cache=True, nogil=True)
def _add(added: Any, off: Any, z: Floats, lower: Floats, used: int, weight: float) -> None:
    """The contributions of one step, weighted."""
    for i in range(used):
        slope, diagonal = 0.0, 0.0
        for m in range(i + 1):
            half = 0.0
            for j in range(m, used):
                half += lower[j, m] * z[j, 0]
            slope += lower[i, m] * half
            diagonal += lower[i, m] * lower[i, m]
        added[i] += weight * slope * slope / diagonal
        off[i] += weight * z[i, 0]
