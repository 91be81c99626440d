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
from models.prophet_sums import before, equations

__all__ = [
    "NormalEquations",
    "Survey",
    "Totals",
    "fourier",
    "normal_equations",
    "running_totals",
    "survey",
]

_DAY_S = 86_400.0
_TOP = np.int64(2**63 - 1)
_USUAL = (1e-100, 1e100)  # of a largest value: one over it and sums of it are numbers


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


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """``gram`` ``ZᵀZ``, (n_grids, p, p), one for all series on the same part of the grid; ``whose``
    of them is each series', (n_series,); ``zty`` ``Zᵀy``, (n_series, p); ``yy`` ``yᵀy``,
    (n_series,); ``cuts`` grid positions of the changepoints, (n_series, n_changepoints)."""

    gram: Floats
    whose: NDArray[np.int64]
    zty: Floats
    yy: Floats
    cuts: NDArray[np.int64]


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
    features = np.ascontiguousarray(features)
    return Totals(features, *before(features))


def survey(values: Floats) -> Survey:
    """Survey ``values``, (n_series, n_steps); what is not finite is missing."""
    n, steps = values.shape
    order = _extremes(values.view(np.int64))
    ends = (order ^ ((order >> 63) & _TOP)).view(np.float64)
    numbers = (np.full(n, number) for number in (steps, 0, steps - 1, min(steps, 2) - 1))
    count, first, last, gap = numbers
    whole = Survey(count, first, last, gap, ends[:, 0], ends[:, 1])
    rows = np.flatnonzero(~np.isfinite(ends).all(axis=1))
    for name, part in zip(Survey.__slots__, _survey(values, rows), strict=True):
        getattr(whole, name)[rows] = part
    return whole


def normal_equations(
    values: Floats, of: Survey, scale: Floats, ranks: NDArray[np.int64], totals: Totals
) -> NormalEquations:
    """The normal equations of ``y = values / scale``.

    Parameters
    ----------
    values : (n_series, n_steps)
        Every series must have two values at different times.
    ranks : (n_series, n_changepoints)
        Rank of each changepoint among the series' values, growing; a rank beyond the last is no
        changepoint.
    """
    features, (n, n_hinges) = totals.features, ranks.shape
    p = 2 + features.shape[1] + n_hinges
    gram, zty = np.zeros((n, p, p)), np.zeros((n, p))
    yy, cuts = np.zeros(n), np.zeros(ranks.shape, dtype=np.int64)
    even = (of.count == of.last + 1 - of.first) & (scale > _USUAL[0]) & (scale < _USUAL[1])
    ready = even & (of.count == values.shape[1])
    filled = np.where(ready, -1, np.cumsum(~ready) - 1)
    y = np.zeros((int(np.sum(~ready)), values.shape[1]))
    whose, n_grams = equations(
        values, scale, of.first, of.last, even, ranks,
        (features, totals.once, totals.ramp, totals.pairs), filled, y, gram, zty, yy, cuts,
    )  # fmt: skip
    waves = slice(2, 2 + features.shape[1])
    if 2 * len(y) < n:  # a copy of most of them would take longer than a product too many
        with np.errstate(all="ignore"):
            zty[:, waves] = values @ features / scale[:, None]
    else:
        zty[ready, waves] = values[ready] @ features / scale[ready, None]
    zty[~ready, waves] = y @ features
    return NormalEquations(gram[:n_grams], whose, zty, yy, cuts)


@njit(cache=True, nogil=True)
def _extremes(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Least and largest of each row, as whole numbers in the order of the floats, NaN at the ends.

    Whole numbers, since those are compared several at once.
    """
    out = np.empty((len(bits), 2), np.int64)
    for i in range(len(bits)):
        low, high = _TOP, -_TOP
        for u in range(bits.shape[1]):
            order = bits[i, u] ^ ((bits[i, u] >> 63) & _TOP)
            low, high = min(low, order), max(high, order)
        out[i, 0], out[i, 1] = low, high
    return out


@njit(cache=True, nogil=True)
def _survey(values: Floats, rows: NDArray[np.intp]) -> tuple[NDArray[Any], ...]:
    n, steps = len(rows), values.shape[1]
    count, gap = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
    low, high = np.full(n, np.nan), np.full(n, np.nan)
    for i in range(n):
        for u in range(steps):
            v = values[rows[i], u]
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
