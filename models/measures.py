"""Measures of a forecast, batched: time is the last axis, every other axis is kept.

A step counts where both the actual and the predicted value are finite. Where a measure has no
meaning (nothing to compare, nothing to divide by) it is NaN: "n/a", not zero.

Sources: Hyndman & Koehler 2006 (MASE); Kolassa & Schütz 2007 (WAPE); Koenker & Bassett 1978
(pinball).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from features.panel import Floats
from models.selection import finite_into, nth, quantile

__all__ = [
    "PEAK_SHARE",
    "busiest",
    "coverage",
    "least_of_largest",
    "mase",
    "peak_coverage",
    "pinball",
    "points",
    "row_quantiles",
    "seasonal_scale",
    "wape",
]

PEAK_SHARE = 0.1
"""Of the steps are the busiest."""


def points(actual: Floats, predicted: Floats) -> NDArray[np.int64]:
    """How many steps can be compared, (...)."""
    return np.isfinite(actual - predicted).sum(axis=-1)


def wape(actual: Floats, predicted: Floats) -> Floats:
    """Sum of absolute errors over the sum of absolute values, (...); NaN where all values are 0."""
    error = np.abs(actual - predicted)
    there = np.isfinite(error)
    return _ratio(_sum(error, there), _sum(np.abs(actual), there))


def mase(actual: Floats, predicted: Floats, scale: Floats) -> Floats:
    """Mean absolute error in units of ``scale`` (see ``seasonal_scale``), (...)."""
    return _ratio(_mean(np.abs(actual - predicted)), scale)


def pinball(actual: Floats, predicted: Floats, quantile: float) -> Floats:
    """Mean quantile loss in the metric's unit, (...); at the median half the absolute error."""
    error = actual - predicted
    return _mean(np.maximum(quantile * error, (quantile - 1) * error))


def coverage(actual: Floats, upper: Floats) -> Floats:
    """Share of steps at or below ``upper``, (...)."""
    there = np.isfinite(actual - upper)
    return _ratio(((actual <= upper) & there).sum(axis=-1), there.sum(axis=-1))


def peak_coverage(actual: Floats, upper: Floats, share: float = PEAK_SHARE) -> Floats:
    """Share of the busiest steps at or below ``upper``, (...).

    The busiest are the ``share`` of the comparable steps with the largest actual values, rounded
    up, ties included.
    """
    comparable = np.where(np.isfinite(actual - upper), actual, np.nan)
    return coverage(np.where(busiest(comparable, share), actual, np.nan), upper)


def busiest(actual: NDArray[np.floating], share: float = PEAK_SHARE) -> NDArray[np.bool_]:
    """The ``share`` of the finite values that are largest, rounded up, ties included, (..., n)."""
    if not actual.shape[-1]:
        return np.zeros(actual.shape, dtype=np.bool_)
    rows = np.ascontiguousarray(actual, dtype=np.float64).reshape(-1, actual.shape[-1])
    least = _least_busy(rows, share).reshape(*actual.shape[:-1], 1)
    return np.isfinite(actual) & (actual >= least)


def seasonal_scale(train: Floats, steps_per_day: int) -> Floats:
    """In-sample mean absolute error of the seasonal naive, (n_series,).

    The season is the week where at least one pair of steps is a week apart, else the day.
    """
    scale = np.full(train.shape[0], np.nan)
    for lag in (7 * steps_per_day, steps_per_day):
        if 0 < lag < train.shape[1]:
            error = _mean(np.abs(train[:, lag:] - train[:, :-lag]))
            scale = np.where(np.isnan(scale), error, scale)
    return scale


def row_quantiles(values: NDArray[np.floating], probability: ArrayLike) -> Floats:
    """Quantiles of each row's finite values by linear interpolation, (k, n_rows).

    ``probability`` is (k,) for all rows, or (k, n_rows). NaN where a row has no finite value.
    numpy's own ``nanquantile`` sorts, row by row.
    """
    p = np.asarray(probability, dtype=np.float64)
    p = np.broadcast_to(p if p.ndim == 2 else p[:, None], (p.shape[0], values.shape[0]))
    return _row_quantiles(np.require(values, None, ["C", "W"]), np.array(p, order="C"))


@njit(cache=True, nogil=True)
def _row_quantiles(values: Any, probability: Floats) -> Floats:
    out = np.empty(probability.shape)
    row, spare = np.empty(values.shape[1]), np.empty(values.shape[1])
    for i in range(len(values)):
        n = finite_into(row, values[i], 0)
        first, before = 0, np.inf
        for j in range(len(probability)):
            p = probability[j, i]
            out[j, i] = quantile(row, spare, first if p >= before else 0, n, p)
            first, before = int(min(max(p, 0.0), 1.0) * max(n - 1, 0)), p
    return out


@njit(cache=True, nogil=True)
def least_of_largest(values: Floats, spare: Floats, n: int, share: float) -> float:
    """The smallest of the ``share`` of ``values[:n]`` that is largest, rounded up."""
    many = max(int(np.ceil(share * n - 1e-9)), 1)
    return nth(values, spare, 0, n, max(n - many, 0))


@njit(cache=True, nogil=True)
def _least_busy(actual: Floats, share: float) -> Floats:
    """The smallest of the busiest values of each row, (n_rows,); NaN without values."""
    out = np.full(len(actual), np.nan)
    row, spare = np.empty(actual.shape[1]), np.empty(actual.shape[1])
    for i in range(len(actual)):
        n = finite_into(row, actual[i], 0)
        if n:
            out[i] = least_of_largest(row, spare, n, share)
    return out


def _sum(values: Floats, there: NDArray[np.bool_]) -> Floats:
    return np.where(there, values, 0.0).sum(axis=-1)


def _mean(values: Floats) -> Floats:
    there = np.isfinite(values)
    return _ratio(_sum(values, there), there.sum(axis=-1))


def _ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    out = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    return np.divide(above, below, out=out, where=below > 0)
