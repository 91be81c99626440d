"""The loops behind the seasonal forecasters, over all series in one call each."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["coming_season", "season_residuals", "spread_tables"]

_FEW = 16  # values up to which sorting by insertion is the fastest
_LEAST_IN_LEVEL = 30  # residuals; a level with fewer uses those of all levels


def coming_season(
    values: Floats,
    lags: NDArray[np.int64],
    days: NDArray[np.int64],
    seasons: int,
    recent: int,
) -> tuple[Floats, NDArray[np.int64]]:
    """The season after the grid's end, and how far it had to be fetched (0 to 4).

    Parameters
    ----------
    values : (n_series, n_steps)
        What is not finite is missing.
    lags, days
        Steps back to 1, 2, … seasons and days before.
    seasons
        How many seasons back the median is taken over.
    recent
        Steps before the end in which the same time of day is looked for.

    Returns
    -------
    (n_series, lags[0]), (n_series,)
    """
    return _coming(values, lags, days, seasons, recent)


def season_residuals(
    values: Floats, lags: NDArray[np.int64], days: NDArray[np.int64], seasons: int
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """What would have been expected one season ahead, and what came less that; NaN where either is
    missing.

    Series shorter than a season are held against the day before, and those shorter than a day
    against their median; the third result says which (0, 1, 2; 3 where there is nothing to
    compare).

    Returns
    -------
    (n_series, n_steps), (n_series, n_steps), (n_series,)
    """
    return _residuals(values, lags, days, seasons)


def spread_tables(
    expected: Floats, residuals: Floats, probabilities: Floats, levels: int
) -> tuple[Floats, Floats]:
    """Quantiles of the residuals by level of what was expected; the one of 0.5 is taken as zero.

    Levels part the expected values of a series into groups of equal number.

    Returns
    -------
    (n_series, levels - 1)
        Upper edges of all levels but the last.
    (n_series, levels, n_probabilities)
        Growing along the last axis; zeros where there is no residual.
    """
    if not residuals.shape[1]:
        residuals = expected = np.full((len(residuals), 1), np.nan)
    there = np.isfinite(residuals)
    count = there.sum(axis=1)[:, None]
    ordered = np.sort(np.where(there, expected, np.inf), axis=1)
    last = np.maximum(count * np.arange(1, levels) // levels - 1, 0)
    edges = np.take_along_axis(ordered, last, axis=1)
    level = (expected[:, :, None] > edges[:, None, :]).sum(axis=2, dtype=np.int8)
    pooled, _ = _table(residuals, probabilities)
    tables: Floats = np.empty((len(residuals), levels, len(probabilities)))
    for g in range(levels):
        own, number = _table(np.where(level == g, residuals, np.nan), probabilities)
        tables[:, g] = np.where(number >= _LEAST_IN_LEVEL, own, pooled)
    return edges, tables


def _table(residuals: Floats, probabilities: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Quantiles of every row, zeros for an empty one; how many values it has.

    They are held on their side of zero, so that the forecast itself is the median: a group's
    residuals may lean to one side (an hour expected to be busy is on average less so), and the
    tails keep that.
    """
    ordered = np.sort(residuals, axis=1)  # NaN goes last
    number = np.isfinite(residuals).sum(axis=1, keepdims=True)
    at = probabilities * np.maximum(number - 1, 0)
    lower = at.astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(number - 1, 0))
    low, high = (np.take_along_axis(ordered, x, axis=1) for x in (lower, upper))
    quantiles = np.where(number > 0, low + (at - lower) * (high - low), 0.0)
    least = np.where(probabilities < 0.5, -np.inf, 0.0)
    most = np.where(probabilities > 0.5, np.inf, 0.0)
    return np.clip(quantiles, least, most), number


@njit(cache=True)
def _coming(
    values: Floats, lags: NDArray[np.int64], days: NDArray[np.int64], seasons: int, recent: int
) -> tuple[Floats, NDArray[np.int64]]:
    n, steps = values.shape
    out, fallback = np.full((n, lags[0]), np.nan), np.zeros(n, np.int64)
    found = np.empty(max(len(lags), len(days), lags[0]))
    for i in range(n):
        level = _recent_level(values[i], found)
        if np.isnan(level):
            fallback[i] = 4
            continue
        for s in range(lags[0]):
            at, code = steps + s, 0
            v = _median_before(values[i], at, lags, seasons, 0, found)
            if np.isnan(v):
                v, code = _latest_before(values[i], at, lags), 1
            if np.isnan(v):
                v, code = _median_before(values[i], at, days, len(days), steps - recent, found), 2
            if np.isnan(v):
                v, code = level, 3
            out[i, s] = v
            fallback[i] = max(fallback[i], code)
    return out, fallback


@njit(cache=True)
def _residuals(
    values: Floats, lags: NDArray[np.int64], days: NDArray[np.int64], seasons: int
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    n, steps = values.shape
    expected, residuals = np.full((n, steps), np.nan), np.full((n, steps), np.nan)
    source = np.zeros(n, np.int64)
    found = np.empty(max(len(lags), len(days), lags[0]))
    for i in range(n):
        any_value = False
        for source_now in range(3):
            source[i] = source_now
            level = _recent_level(values[i], found) if source_now == 2 else 0.0
            for at in range(steps):
                if source_now == 0:
                    e = _median_before(values[i], at, lags, seasons, 0, found)
                elif source_now == 1:
                    e = _median_before(values[i], at, days, 1, 0, found)
                else:
                    e = level
                if np.isfinite(values[i, at]) and np.isfinite(e):
                    expected[i, at], residuals[i, at] = e, values[i, at] - e
                    any_value = True
            if any_value:
                break
        if not any_value:
            source[i] = 3
    return expected, residuals, source


@njit(cache=True)
def _median(found: Floats, n: int) -> float:
    """Median of the first ``n`` entries; NaN of none. Reorders them."""
    if n == 0:
        return np.nan
    if n > _FEW:
        found[:n] = np.sort(found[:n])
    else:
        for i in range(1, n):
            v, j = found[i], i
            while j > 0 and found[j - 1] > v:
                found[j] = found[j - 1]
                j -= 1
            found[j] = v
    low, high = found[(n - 1) // 2], found[n // 2]
    return low + (high - low) / 2


@njit(cache=True)
def _median_before(
    row: Floats, at: int, lags: NDArray[np.int64], most: int, since: int, found: Floats
) -> float:
    """Median of the finite values 1 … ``most`` lags before ``at``, none before ``since``; NaN if
    there is none."""
    n = 0
    for j in range(min(most, len(lags))):
        back = at - lags[j]
        if back < max(since, 0):
            break
        if back < len(row) and np.isfinite(row[back]):
            found[n] = row[back]
            n += 1
    return _median(found, n)


@njit(cache=True)
def _latest_before(row: Floats, at: int, lags: NDArray[np.int64]) -> float:
    for lag in lags:
        back = at - lag
        if back < 0:
            break
        if back < len(row) and np.isfinite(row[back]):
            return float(row[back])
    return np.nan


@njit(cache=True)
def _recent_level(row: Floats, found: Floats) -> float:
    """Median of the last finite values, at most as many as ``found`` holds; NaN if there is
    none."""
    n = 0
    for u in range(len(row) - 1, -1, -1):
        if n == len(found):
            break
        if np.isfinite(row[u]):
            found[n] = row[u]
            n += 1
    return _median(found, n)
