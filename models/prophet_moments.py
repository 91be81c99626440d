"""Sums that a trend times a seasonality is fitted from, and the model's derivatives made of them.

Between two changepoints the trend is a line, so all that a fit asks of the values follows from
Σ d^e x xᵀ and Σ d^e y x over each such piece, with d the distance from its beginning and x the
seasonal columns. Where little is missing, the first of these comes from sums over short runs of the
grid that all series share.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.prophet_sums import assemble, sum_from_cuts

__all__ = ["Moments", "crosses", "linearise", "runs", "squared_error", "squares"]

Moments = tuple[Floats, Floats, NDArray[np.int64], float, float, int]
"""``Σ d^e x xᵀ`` (pieces, 3, q, q); ``Σ d^e y x`` (pieces, 2, q); cuts (pieces + 1); span; Σ y²;
count. ``x = [1, seasonal columns]``; d, the cuts and the span in steps."""

_RUN = 32  # steps


@njit(cache=True, nogil=True)
def runs(x: Floats) -> Floats:
    """``Σ d^e x xᵀ`` over each full run of the grid: (n_runs, 3, q, q)."""
    out = np.zeros((len(x) // _RUN, 3, x.shape[1], x.shape[1]))
    for i in range(len(out)):
        for d in range(_RUN):
            _add(out[i], x[i * _RUN + d], float(d), 1.0)
    return out


@njit(cache=True, nogil=True)
def squares(
    row: Floats,
    cut: NDArray[np.int64],
    x: Floats,
    shared: Floats,
    used: NDArray[np.bool_],
    out: Floats,
) -> None:
    """``Σ d^e x xᵀ`` of each piece of a series, into ``out``; ``shared`` are the grid's ``runs``.

    Columns that are not ``used`` (as for ``linearise``) are zero.
    """
    out[:] = 0.0
    for j in range(len(out)):
        u = cut[j]
        while u < cut[j + 1]:
            if u % _RUN == 0 and u + _RUN <= cut[j + 1]:
                _add_run(row, u, cut[j], x, shared[u // _RUN], out[j])
                u += _RUN
            else:
                if np.isfinite(row[u]):
                    _add(out[j], x[u], float(u - cut[j]), 1.0)
                u += 1
    for a in range(1, x.shape[1]):
        if not used[1 + a]:
            out[:, :, a, :] = 0.0
            out[:, :, :, a] = 0.0


@njit(cache=True, nogil=True)
def _add(out: Floats, x: Floats, d: float, sign: float) -> None:
    for a in range(len(x)):
        flat = sign * x[a]
        ramp = flat * d
        bow = ramp * d
        for b in range(len(x)):
            out[0, a, b] += flat * x[b]
            out[1, a, b] += ramp * x[b]
            out[2, a, b] += bow * x[b]


@njit(cache=True, nogil=True)
def _add_run(row: Floats, first: int, origin: int, x: Floats, run: Floats, out: Floats) -> None:
    """Add the rows of a run: all of them less the missing ones, where that is less to do."""
    lost = 0
    for u in range(first, first + _RUN):
        lost += not np.isfinite(row[u])
    less = 2 * lost < _RUN
    if less:
        d = float(first - origin)
        out[0] += run[0]
        out[1] += run[1] + d * run[0]
        out[2] += run[2] + 2 * d * run[1] + d * d * run[0]
    for u in range(first, first + _RUN):
        if np.isfinite(row[u]) != less:
            _add(out, x[u], float(u - origin), -1.0 if less else 1.0)


@njit(cache=True, nogil=True)
def crosses(
    row: Floats,
    scale: float,
    cut: NDArray[np.int64],
    x: Floats,
    used: NDArray[np.bool_],
    cross: Floats,
) -> float:
    """``Σ d^e y x`` of each piece with ``y = row / scale``, into ``cross``; Σ y² is returned."""
    q, total = x.shape[1], 0.0
    cross[:] = 0.0
    for j in range(len(cross)):
        for u in range(cut[j], cut[j + 1]):
            if np.isfinite(row[u]):
                v, d = row[u] / scale, float(u - cut[j])
                total += v * v
                for a in range(q):
                    cross[j, 0, a] += v * x[u, a]
                    cross[j, 1, a] += v * d * x[u, a]
    for a in range(1, q):
        if not used[1 + a]:
            cross[:, :, a] = 0.0
    return total


@njit(cache=True, nogil=True)
def squared_error(moments: Moments, w: Floats) -> float:
    """Σ (y - f)² at ``w``."""
    square, cross, _, _, yy, _ = moments
    level, rise, season = _lines(moments, w)
    total = yy
    for j in range(len(square)):
        a, b = level[j], rise[j]
        total -= 2 * (a * np.dot(cross[j, 0], season) + b * np.dot(cross[j, 1], season))
        total += a * a * np.dot(season, np.dot(square[j, 0], season))
        total += 2 * a * b * np.dot(season, np.dot(square[j, 1], season))
        total += b * b * np.dot(season, np.dot(square[j, 2], season))
    return max(total, 0.0)


@njit(cache=True, nogil=True)
def linearise(
    moments: Moments,
    w: Floats,
    used: NDArray[np.bool_],
    gram: Floats,
    zty: Floats,
    bend: Floats,
) -> None:
    """``ZᵀZ`` and ``Zᵀy'`` of the model's derivative at ``w``, and what its second one adds.

    Columns of Z are (1 + X β) times those of the trend, and g times those of X; y' = y + g X β is
    what is left of y when both are taken in full. ``gram + bend`` is the objective's own Hessian,
    positive or not. Columns in the order of ``normal_equations``; those not ``used`` are zero.
    """
    square, cross, cut, span, _, _ = moments
    pieces, q = square.shape[0], square.shape[2]
    level, rise, season = _lines(moments, w)
    sums, waves = np.zeros((pieces, 5)), np.zeros((pieces, 2, q - 1))
    gram[:], zty[:], bend[:] = 0.0, 0.0, 0.0
    for j in range(pieces):
        a, b = level[j], rise[j]
        v0 = np.dot(square[j, 0], season)
        v1 = np.dot(square[j, 1], season)
        v2 = np.dot(square[j, 2], season)
        s0, s1, s2 = np.dot(v0, season), np.dot(v1, season), np.dot(v2, season)
        sums[j, 0], sums[j, 1], sums[j, 2] = s0, s1, s2
        sums[j, 3] = np.dot(cross[j, 0], season) + a * (s0 - v0[0]) + b * (s1 - v1[0])
        sums[j, 4] = np.dot(cross[j, 1], season) + a * (s1 - v1[0]) + b * (s2 - v2[0])
        waves[j, 0] = (a * v0 + b * v1)[1:]
        waves[j, 1] = (a * v1 + b * v2)[1:]
        zty[2 : 1 + q] += (
            a * cross[j, 0] + b * cross[j, 1] + a * a * v0 + 2 * a * b * v1 + b * b * v2
        )[1:]
        _add_products(square[j], a, b, gram, zty)
    left = waves - cross[:, :, 1:]
    nothing = np.zeros((pieces, 5))
    sum_from_cuts(cut, nothing, left)
    assemble(cut, nothing, left, span, bend, np.zeros(len(w)))
    sum_from_cuts(cut, sums, waves)
    assemble(cut, sums, waves, span, gram, zty)
    for c in range(len(used)):
        if not used[c]:
            gram[c], gram[:, c], zty[c] = 0.0, 0.0, 0.0
            bend[c], bend[:, c] = 0.0, 0.0


@njit(cache=True, nogil=True)
def _add_products(square: Floats, a: float, b: float, gram: Floats, zty: Floats) -> None:
    """Add Σ g² x xᵀ with g = a + b d to the seasonal block's upper half; less Σ g² x in ``zty``."""
    q = square.shape[1]
    flat, ramp, bow = a * a, 2 * a * b, b * b
    for c in range(1, q):
        zty[1 + c] -= flat * square[0, 0, c] + ramp * square[1, 0, c] + bow * square[2, 0, c]
        for e in range(c, q):
            gram[1 + c, 1 + e] += (
                flat * square[0, c, e] + ramp * square[1, c, e] + bow * square[2, c, e]
            )


@njit(cache=True, nogil=True)
def _lines(moments: Moments, w: Floats) -> tuple[Floats, Floats, Floats]:
    """The trend on each piece: level at its beginning, rise per step; ``[1, β]``."""
    square, _, cut, span, _, _ = moments
    pieces, q = square.shape[0], square.shape[2]
    level, rise = np.empty(pieces), np.empty(pieces)
    level[0], rise[0] = w[0], w[1] / span
    for j in range(1, pieces):
        level[j] = level[j - 1] + rise[j - 1] * (cut[j] - cut[j - 1])
        rise[j] = rise[j - 1] + w[q + j] / span
    season = np.ones(q)
    season[1:] = w[2 : 1 + q]
    return level, rise, season
