"""From series on a grid to Prophet's normal equations, as the ``prophet`` package defines them.

Every series has its own time scale (its first and last value) and its own changepoints (even ranks
among the first part of its values), as in prophet. Nothing of that asks for a design matrix of its
own: a trend column is a hinge ``(t - c)₊``, so every entry of ``ZᵀZ`` and ``Zᵀy`` is a sum over the
rows from a changepoint on. Such sums come from moments of the pieces between changepoints and gaps,
and those from running totals over the grid that all series share.

Columns of ``Z``: ``[1, t, weekly Fourier, daily Fourier, special days, hinges]``; the first ones
carry a normal prior, hinges a Laplace one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = [
    "Survey",
    "Totals",
    "assemble",
    "fourier",
    "normal_equations",
    "running_totals",
    "sum_from_cuts",
    "survey",
]

_DAY_S = 86_400.0
_SHORT_RUN = 64  # below it rows are added one by one: differences of long totals would cost digits


@dataclass(frozen=True, slots=True)
class Survey:
    """Extent and range, (n_series,) each: grid positions, the least gap in steps, values."""

    count: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    min_gap: NDArray[np.int64]
    low: Floats
    high: Floats

    def select(self, rows: NDArray[np.intp]) -> Survey:
        """The given series, by position."""
        return Survey(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Totals:
    """Running totals over the grid: entry ``i`` sums the rows before ``i``; (n_steps + 1, …).

    ``once`` of the features, ``ramp`` of position × features, ``pairs`` of the products of two
    features (upper triangle).
    """

    features: Floats
    once: Floats
    ramp: Floats
    pairs: Floats


def fourier(epoch_s: Floats, weekly_order: int, daily_order: int) -> Floats:
    """Prophet's seasonal columns at absolute times: (n_times, 2 × (weekly_order + daily_order)).

    Phases count from 1970-01-01T00:00Z, so a fit and a forecast agree wherever each of them starts.
    """
    days = epoch_s / _DAY_S * 2 * np.pi
    waves = [(7.0, i + 1) for i in range(weekly_order)] + [(1.0, i + 1) for i in range(daily_order)]
    columns = [wave(order / period * days) for period, order in waves for wave in (np.sin, np.cos)]
    return np.column_stack(columns) if columns else np.zeros((len(epoch_s), 0))


def running_totals(features: Floats) -> Totals:
    """Running totals of features, (n_steps, n_features), on the grid."""
    position = np.arange(len(features), dtype=np.float64)[:, None]
    upper = np.triu_indices(features.shape[1])
    return Totals(
        np.ascontiguousarray(features),
        _before(features),
        _before(position * features),
        _before(features[:, upper[0]] * features[:, upper[1]]),
    )


def survey(values: Floats) -> Survey:
    """Survey ``values``, (n_series, n_steps); what is not finite is missing."""
    return Survey(*_survey(values))


def normal_equations(
    values: Floats, of: Survey, scale: Floats, ranks: NDArray[np.int64], totals: Totals
) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """``ZᵀZ``, ``Zᵀy``, ``yᵀy`` of ``y = values / scale``, and where the changepoints are.

    Parameters
    ----------
    values : (n_series, n_steps)
        Every series must have two values at different times.
    ranks : (n_series, n_changepoints)
        Rank of each changepoint among the series' values, growing; a rank beyond the last is no
        changepoint.

    Returns
    -------
    (n_series, p, p), (n_series, p), (n_series,), (n_series, n_changepoints)
    """
    n_features, n_hinges = totals.features.shape[1], ranks.shape[1]
    p = 2 + n_features + n_hinges
    gram, zty = np.zeros((len(values), p, p)), np.zeros((len(values), p))
    yy, at = np.zeros(len(values)), np.zeros(ranks.shape, dtype=np.int64)
    y = np.zeros(values.shape)
    _equations(
        values, scale, of.first, of.last, ranks, totals.features, totals.once, totals.ramp,
        totals.pairs, y, gram, zty, yy, at,
    )  # fmt: skip
    zty[:, 2 : 2 + n_features] = y @ totals.features
    return gram, zty, yy, at


def _before(rows: Floats) -> Floats:
    return np.vstack([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])


@njit(cache=True, nogil=True)
def _survey(values: Floats) -> tuple[NDArray[Any], ...]:
    n, steps = values.shape
    count, gap = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
    low, high = np.full(n, np.nan), np.full(n, np.nan)
    for i in range(n):
        for u in range(steps):
            v = values[i, u]
            if not np.isfinite(v):
                continue
            if count[i] == 0:
                first[i], low[i], high[i] = u, v, v
            else:
                low[i], high[i] = min(low[i], v), max(high[i], v)
                near = u - last[i]
                gap[i] = near if gap[i] == 0 else min(gap[i], near)
            last[i] = u
            count[i] += 1
    return count, first, last, gap, low, high


@njit(cache=True, nogil=True)
def _equations(
    values: Floats,
    scale: Floats,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    ranks: NDArray[np.int64],
    features: Floats,
    once: Floats,
    ramp: Floats,
    pairs: Floats,
    y: Floats,
    gram: Floats,
    zty: Floats,
    yy: Floats,
    at: NDArray[np.int64],
) -> None:
    n_features, n_pieces = features.shape[1], ranks.shape[1] + 1
    for i in range(len(values)):
        moments = np.zeros((n_pieces, 5))
        waves = np.zeros((n_pieces, 2, n_features))
        cut = np.full(n_pieces + 1, last[i] + 1)
        cut[0] = first[i]
        yy[i] = _walk(
            values[i], scale[i], first[i], last[i], ranks[i], features, once, ramp, pairs,
            y[i], gram[i], moments, waves, cut,
        )  # fmt: skip
        at[i] = cut[1:-1]
        sum_from_cuts(cut, moments, waves)
        assemble(cut, moments, waves, float(last[i] - first[i]), gram[i], zty[i])


@njit(cache=True, nogil=True)
def _walk(
    row: Floats,
    scale: float,
    first: int,
    last: int,
    ranks: NDArray[np.int64],
    features: Floats,
    once: Floats,
    ramp: Floats,
    pairs: Floats,
    y: Floats,
    gram: Floats,
    moments: Floats,
    waves: Floats,
    cut: NDArray[np.int64],
) -> float:
    """Scale, find the changepoints, add up each piece between changepoints and gaps."""
    total, rank, piece, piece_from, run_from = 0.0, 0, 0, -1, -1
    for u in range(first, last + 2):
        there = u <= last and np.isfinite(row[u])
        opens = there and piece < len(ranks) and rank == ranks[piece]
        if piece_from >= 0 and (opens or not there):
            _add_waves(piece_from, u, cut[piece], features, once, ramp, waves[piece])
            piece_from = -1
        if run_from >= 0 and not there:
            _add_pairs(run_from, u, features, pairs, gram)
            run_from = -1
        if not there:
            continue
        if opens:
            piece += 1
            cut[piece] = u
        piece_from = u if piece_from < 0 else piece_from
        run_from = u if run_from < 0 else run_from
        rank += 1
        v, d = row[u] / scale, float(u - cut[piece])
        y[u] = v
        total += v * v
        moments[piece, 0] += 1.0
        moments[piece, 1] += d
        moments[piece, 2] += d * d
        moments[piece, 3] += v
        moments[piece, 4] += d * v
    return total


@njit(cache=True, nogil=True)
def _add_waves(
    lo: int, hi: int, origin: int, features: Floats, once: Floats, ramp: Floats, out: Floats
) -> None:
    """Add Σ f and Σ (u - origin) f over the rows [lo, hi)."""
    for k in range(features.shape[1]):
        if hi - lo < _SHORT_RUN:
            for u in range(lo, hi):
                out[0, k] += features[u, k]
                out[1, k] += (u - origin) * features[u, k]
        else:
            flat = once[hi, k] - once[lo, k]
            out[0, k] += flat
            out[1, k] += ramp[hi, k] - ramp[lo, k] - origin * flat


@njit(cache=True, nogil=True)
def _add_pairs(lo: int, hi: int, features: Floats, pairs: Floats, gram: Floats) -> None:
    """Add Σ f fᵀ over the rows [lo, hi) to the Fourier block of the upper triangle."""
    n, pair = features.shape[1], 0
    for j in range(n):
        for k in range(j, n):
            if hi - lo < _SHORT_RUN:
                for u in range(lo, hi):
                    gram[2 + j, 2 + k] += features[u, j] * features[u, k]
            else:
                gram[2 + j, 2 + k] += pairs[hi, pair] - pairs[lo, pair]
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
    gram[0, 0], zty[0] = moments[0, 0], moments[0, 3]
    for k in range(n_features):
        gram[0, 2 + k] = waves[0, 0, k]
    for j in range(len(moments)):
        col = 1 if j == 0 else 1 + n_features + j
        zty[col] = moments[j, 4] / span
        gram[0, col] = moments[j, 1] / span
        for i in range(j + 1):
            row = 1 if i == 0 else 1 + n_features + i
            gram[row, col] = (moments[j, 2] + (cut[j] - cut[i]) * moments[j, 1]) / span / span
        for k in range(n_features):
            gram[min(col, 2 + k), max(col, 2 + k)] = waves[j, 1, k] / span
    for i in range(len(gram)):
        for j in range(i):
            gram[i, j] = gram[j, i]
