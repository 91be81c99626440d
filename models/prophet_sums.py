"""Sums over a series' rows that Prophet's normal equations are made of (see ``prophet_design``)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["assemble", "before", "equations", "sum_from_cuts"]

_SHORT_RUN = 64  # below it rows are added one by one: differences of long totals would cost digits


@njit(cache=True, nogil=True)
def before(features: Floats) -> tuple[Floats, Floats, Floats]:
    """``once``, ``ramp`` and ``pairs`` of ``Totals``."""
    steps, n = features.shape
    once, ramp = np.zeros((steps + 1, n)), np.zeros((steps + 1, n))
    pairs = np.zeros((steps + 1, n * (n + 1) // 2))
    for u in range(steps):
        pair = 0
        for j in range(n):
            once[u + 1, j] = once[u, j] + features[u, j]
            ramp[u + 1, j] = ramp[u, j] + u * features[u, j]
            for k in range(j, n):
                pairs[u + 1, pair] = pairs[u, pair] + features[u, j] * features[u, k]
                pair += 1
    return once, ramp, pairs


@njit(cache=True, nogil=True)
def equations(
    values: Floats,
    scale: Floats,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    even: NDArray[np.bool_],
    ranks: NDArray[np.int64],
    totals: tuple[Floats, Floats, Floats, Floats],
    filled: NDArray[np.int64],
    y: Floats,
    gram: Floats,
    zty: Floats,
    yy: Floats,
    at: NDArray[np.int64],
) -> tuple[NDArray[np.int64], int]:
    """All but the seasonal part of Zᵀy; which ``gram`` is whose, and how many there are.

    Those that are ``even``, without a gap and of a usual size, share theirs between the same ends.
    ``y[filled[i]]`` becomes the scaled
    series with zeros where nothing is; -1 of an even one: not asked for.
    """
    n, n_features, n_pieces = len(values), totals[0].shape[1], ranks.shape[1] + 1
    whose, owner, n_grams = np.zeros(n, np.int64), np.zeros(n, np.int64), 0
    moments, waves = np.empty((n_pieces, 5)), np.empty((n_pieces, 2, n_features))
    cut = np.empty(n_pieces + 1, np.int64)
    for i in range(n):
        moments[:], waves[:] = 0.0, 0.0
        cut[0], cut[1:] = first[i], last[i] + 1
        mine = n_grams
        if even[i]:
            yy[i] = _full(values, i, scale[i], ranks[i], cut, moments)
            mine = _grid_of(i, first, last, even, owner[:n_grams])
        else:
            yy[i] = _walk(values, i, scale[i], ranks[i], cut, moments, y, filled[i])
        if even[i] and filled[i] >= 0:
            for u in range(first[i], last[i] + 1):
                y[filled[i], u] = values[i, u] / scale[i]
        whose[i], at[i], span = mine, cut[1:-1], float(last[i] - first[i])
        if mine < n_grams:
            sum_from_cuts(cut, moments, waves[:, :, :0])
            _trend_side(moments, span, n_features, zty[i])
            continue
        owner[n_grams] = i
        n_grams += 1
        less = 2 * moments[:, 0].sum() > cut[-1] - cut[0]
        _add_grid(values, i, cut, less, totals, gram[mine], waves)
        sum_from_cuts(cut, moments, waves)
        assemble(cut, moments, waves, span, gram[mine], zty[i])
    return whose, n_grams


@njit(cache=True, nogil=True)
def _grid_of(
    i: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    even: NDArray[np.bool_],
    owner: NDArray[np.int64],
) -> int:
    """Which of the series before has the same ends, none of them a new number."""
    for g in range(len(owner)):
        j = owner[g]
        if even[j] and first[j] == first[i] and last[j] == last[i]:
            return g
    return len(owner)


@njit(cache=True, nogil=True)
def _full(
    values: Floats,
    i: int,
    scale: float,
    ranks: NDArray[np.int64],
    cut: NDArray[np.int64],
    moments: Floats,
) -> float:
    """Changepoints and each piece's moments of a series without a gap; Σ y² is returned."""
    total, end = 0.0, cut[-1]
    for j in range(len(ranks)):
        cut[1 + j] = min(cut[0] + ranks[j], end)
    for j in range(len(moments)):
        n = float(cut[j + 1] - cut[j])
        moments[j, 0], moments[j, 1] = n, n * (n - 1) / 2
        moments[j, 2] = n * (n - 1) * (2 * n - 1) / 6
        total += _lanes(values, i, 1 / scale, cut[j], cut[j + 1], moments, j)
    return total


@njit(cache=True, nogil=True)
def _lanes(
    values: Floats, i: int, factor: float, lo: int, hi: int, moments: Floats, j: int
) -> float:
    """Σ y and Σ d y of a piece; Σ y² is returned. Four sums side by side, for the processor."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = q0 = q1 = q2 = q3 = 0.0
    runs = (hi - lo) // 4
    for run in range(runs):
        u, d = lo + 4 * run, 4.0 * run
        v0, v1 = values[i, u] * factor, values[i, u + 1] * factor
        v2, v3 = values[i, u + 2] * factor, values[i, u + 3] * factor
        a0, a1, a2, a3 = a0 + v0, a1 + v1, a2 + v2, a3 + v3
        b0, b1, b2, b3 = b0 + d * v0, b1 + d * v1, b2 + d * v2, b3 + d * v3
        q0, q1, q2, q3 = q0 + v0 * v0, q1 + v1 * v1, q2 + v2 * v2, q3 + v3 * v3
    flat, ramp, total = (
        a0 + a1 + a2 + a3,
        b0 + b1 + b2 + b3 + a1 + 2 * a2 + 3 * a3,
        q0 + q1 + q2 + q3,
    )
    for u in range(lo + 4 * runs, hi):
        v = values[i, u] * factor
        flat, ramp, total = flat + v, ramp + (u - lo) * v, total + v * v
    moments[j, 3], moments[j, 4] = flat, ramp
    return total


@njit(cache=True, nogil=True)
def _walk(
    values: Floats,
    i: int,
    scale: float,
    ranks: NDArray[np.int64],
    cut: NDArray[np.int64],
    moments: Floats,
    y: Floats,
    at: int,
) -> float:
    """As ``_full`` of a series with gaps; scales it into ``y``."""
    total, rank, piece = 0.0, 0, 0
    n = s1 = s2 = flat = ramp = 0.0
    for u in range(cut[0], cut[-1]):
        if not np.isfinite(values[i, u]):
            continue
        if piece < len(ranks) and rank == ranks[piece]:
            moments[piece] = n, s1, s2, flat, ramp
            n = s1 = s2 = flat = ramp = 0.0
            piece += 1
            cut[piece] = u
        rank += 1
        v, d = values[i, u] / scale, float(u - cut[piece])
        y[at, u] = v
        total += v * v
        n, s1, s2, flat, ramp = n + 1.0, s1 + d, s2 + d * d, flat + v, ramp + d * v
    moments[piece] = n, s1, s2, flat, ramp
    return total


@njit(cache=True, nogil=True)
def _add_grid(
    values: Floats,
    i: int,
    cut: NDArray[np.int64],
    less: bool,
    totals: tuple[Floats, Floats, Floats, Floats],
    gram: Floats,
    waves: Floats,
) -> None:
    """Sums of the features over the rows of each piece, and of their products over all rows.

    ``less``: all rows without the missing ones, where that is less to do.
    """
    features, once, ramp, pairs = totals
    if less:
        _add_pairs(cut[0], cut[-1], 1.0, features, pairs, gram)
    for j in range(len(waves)):
        if less:
            _add_waves(cut[j], cut[j + 1], cut[j], 1.0, features, once, ramp, waves[j])
        u = cut[j]
        while u < cut[j + 1]:
            begin = u
            while u < cut[j + 1] and np.isfinite(values[i, u]) != less:
                u += 1
            if u > begin:
                sign = -1.0 if less else 1.0
                _add_waves(begin, u, cut[j], sign, features, once, ramp, waves[j])
                _add_pairs(begin, u, sign, features, pairs, gram)
            else:
                u += 1


@njit(cache=True, nogil=True)
def _add_waves(
    lo: int,
    hi: int,
    origin: int,
    sign: float,
    features: Floats,
    once: Floats,
    ramp: Floats,
    out: Floats,
) -> None:
    """Add Σ f and Σ (u - origin) f over the rows [lo, hi)."""
    for k in range(features.shape[1]):
        if hi - lo < _SHORT_RUN:
            for u in range(lo, hi):
                out[0, k] += sign * features[u, k]
                out[1, k] += sign * (u - origin) * features[u, k]
        else:
            flat = once[hi, k] - once[lo, k]
            out[0, k] += sign * flat
            out[1, k] += sign * (ramp[hi, k] - ramp[lo, k] - origin * flat)


@njit(cache=True, nogil=True)
def _add_pairs(
    lo: int, hi: int, sign: float, features: Floats, pairs: Floats, gram: Floats
) -> None:
    """Add Σ f fᵀ over the rows [lo, hi) to the Fourier block of the upper triangle."""
    n, pair = features.shape[1], 0
    if hi - lo < _SHORT_RUN:
        for u in range(lo, hi):
            for j in range(n):
                factor = sign * features[u, j]
                for k in range(j, n):
                    gram[2 + j, 2 + k] += factor * features[u, k]
        return
    for j in range(n):
        for k in range(j, n):
            gram[2 + j, 2 + k] += sign * (pairs[hi, pair] - pairs[lo, pair])
            pair += 1


@njit(cache=True, nogil=True)
def sum_from_cuts(cut: NDArray[np.int64], moments: Floats, waves: Floats) -> None:
    """Turn moments of a piece about its own cut into moments of all rows from that cut on."""
    for j in range(len(moments) - 2, -1, -1):
        d = float(cut[j + 1] - cut[j])
        later = moments[j + 1]
        moments[j, 2] += later[2] + 2 * d * later[1] + d * d * later[0]
        moments[j, 1] += later[1] + d * later[0]
        moments[j, 0] += later[0]
        moments[j, 4] += later[4] + d * later[3]
        moments[j, 3] += later[3]
        waves[j, 1] += waves[j + 1, 1] + d * waves[j + 1, 0]
        waves[j, 0] += waves[j + 1, 0]


@njit(cache=True, nogil=True)
def assemble(
    cut: NDArray[np.int64], moments: Floats, waves: Floats, span: float, gram: Floats, zty: Floats
) -> None:
    """Fill ZᵀZ and the trend part of Zᵀy; ``t`` is the hinge at the first value."""
    n_features = waves.shape[2]
    _trend_side(moments, span, n_features, zty)
    gram[0, 0] = moments[0, 0]
    for k in range(n_features):
        gram[0, 2 + k] = waves[0, 0, k]
    for j in range(len(moments)):
        col = 1 if j == 0 else 1 + n_features + j
        gram[0, col] = moments[j, 1] / span
        for i in range(j + 1):
            row = 1 if i == 0 else 1 + n_features + i
            gram[row, col] = (moments[j, 2] + (cut[j] - cut[i]) * moments[j, 1]) / span / span
        for k in range(n_features):
            gram[min(col, 2 + k), max(col, 2 + k)] = waves[j, 1, k] / span
    for i in range(len(gram)):
        for j in range(i):
            gram[i, j] = gram[j, i]


@njit(cache=True, nogil=True)
def _trend_side(moments: Floats, span: float, n_features: int, zty: Floats) -> None:
    """The trend part of Zᵀy."""
    zty[0], zty[1] = moments[0, 3], moments[0, 4] / span
    for j in range(1, len(moments)):
        zty[1 + n_features + j] = moments[j, 4] / span
