"""The loops behind the seasonal forecasters, over all series in one call each."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.spread_kernels import row_tables

__all__ = ["banded", "coming_season", "history_facts", "leading_max", "season_spread"]

_FEWEST = 4  # residuals that a band may rest on, where fewer than that make a day


@njit(cache=True, nogil=True)
def coming_season(
    values: Floats, lags: NDArray[np.int64], days: NDArray[np.int64], seasons: int, recent: int
) -> tuple[Floats, NDArray[np.int64]]:
    """The season after the grid's end, and from how far back its steps were fetched.

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
    (n_series, lags[0])
    (n_series, 5)
        Steps fetched from 0 the seasons asked for, 1 an older season, 2 the same time of day on
        recent days, 3 the recent median level, 4 nowhere: there is no value at all.
    """
    n, steps = values.shape
    out, fetched = np.full((n, lags[0]), np.nan), np.zeros((n, 5), np.int64)
    found = np.empty(max(len(lags), len(days), lags[0]))
    for i in range(n):
        row, level, known = values[i], np.nan, False
        for s in range(lags[0]):
            at, code = steps + s, 0
            v = _median_before(row, at, lags, seasons, 0, found)
            if np.isnan(v):
                v, code = _latest_before(row, at, lags), 1
            if np.isnan(v):
                v, code = _median_before(row, at, days, len(days), steps - recent, found), 2
            if np.isnan(v):
                if not known:
                    level, known = _recent_level(row, found), True
                v, code = level, 3
            if np.isnan(v):
                fetched[i, 4] = lags[0]
                break
            out[i, s] = v
            fetched[i, code] += 1
    return out, fetched


@njit(cache=True, nogil=True)
def season_spread(
    history: Floats,
    values: Floats,
    lags: NDArray[np.int64],
    days: NDArray[np.int64],
    seasons: int,
    probabilities: Floats,
    levels: int,
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """How ``values`` strayed from what ``history`` gave to expect: ``row_tables`` of every series.

    Series with less than a day of residuals from season to season are held against the day before,
    and those with less than a day of these against their own median; the third result says which
    (0, 1, 2; 3 where there is nothing to compare).

    Returns
    -------
    edges (n_series, levels - 1), tables (n_series, levels, n_probabilities), source (n_series,)
    """
    n, steps = values.shape
    edges, tables = np.empty((n, levels - 1)), np.empty((n, levels, len(probabilities)))
    source = np.full(n, 3, np.int64)
    found = np.empty(max(len(lags), len(days), lags[0]))
    expected, residuals, work = np.empty(steps), np.empty(steps), np.empty((levels + 1, steps))
    least = max(days[0], _FEWEST)
    for i in range(n):
        count = _strays(history[i], values[i], lags, seasons, found, expected, residuals)
        if count >= least:
            source[i] = 0
        else:
            count = _strays(history[i], values[i], days, 1, found, expected, residuals)
            if count >= least:
                source[i] = 1
            else:
                level = _recent_level(history[i], found)
                count = _strays_of_level(level, values[i], expected, residuals)
                if count:
                    source[i] = 2
        row_tables(expected[:count], residuals[:count], probabilities, work, edges[i], tables[i])
    return edges, tables, source


@njit(cache=True, nogil=True)
def banded(
    template: Floats,
    edges: Floats,
    spread: Floats,
    lowest: Floats,
    nearest: NDArray[np.int64],
    widening: Floats,
) -> Floats:
    """The template's steps and around each its widened spread, not below ``lowest`` and finite.

    Parameters
    ----------
    template (n_series, n_template), edges (n_series, levels - 1)
    spread (n_series, levels, n_quantiles)
    lowest (n_series,)
    nearest, widening (n_steps,)
        Position in the template, and the factor on the spread.

    Returns
    -------
    (n_quantiles, n_series, n_steps)
    """
    n, steps, n_q = len(template), len(nearest), spread.shape[2]
    out = np.empty((n_q, n, steps))
    level, highest = np.empty(steps, np.int64), np.finfo(np.float64).max
    for i in range(n):
        for t in range(steps):
            level[t] = 0
            for edge in edges[i]:
                level[t] += template[i, nearest[t]] > edge
        for q in range(n_q):
            for t in range(steps):
                v = template[i, nearest[t]] + spread[i, level[t], q] * widening[t]
                v = lowest[i] if v < lowest[i] else v
                out[q, i, t] = highest if v > highest else v
    return out


@njit(cache=True, nogil=True)
def history_facts(values: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Steps from each series' first finite value to its last, both counted; whether none is
    negative."""
    n, steps = values.shape
    span, calm = np.zeros(n, np.int64), np.ones(n, np.bool_)
    for i in range(n):
        first, last = 0, steps
        while first < steps and not np.isfinite(values[i, first]):
            first += 1
        while last > first and not np.isfinite(values[i, last - 1]):
            last -= 1
        span[i] = last - first
        for v in values[i]:
            if -np.inf < v < 0:
                calm[i] = False
                break
    return span, calm


@njit(cache=True, nogil=True)
def leading_max(values: Floats, width: int) -> Floats:
    """The largest finite value of every step and the ``width - 1`` after it; NaN where there is
    none, and fewer at the end.

    Windows are doubled until two of them, overlapping, make one of ``width``.
    """
    n, steps = values.shape
    out = np.empty((n, steps))
    for i in range(n):
        for at in range(steps):
            out[i, at] = values[i, at] if np.isfinite(values[i, at]) else -np.inf
        done = 1
        while done < width:
            further = min(done, width - done)
            for at in range(steps - further):
                a, b = out[i, at], out[i, at + further]
                out[i, at] = a if a > b else b
            done += further
        for at in range(steps):
            if out[i, at] == -np.inf:
                out[i, at] = np.nan
    return out


@njit(cache=True, nogil=True)
def _strays(
    history: Floats,
    values: Floats,
    lags: NDArray[np.int64],
    seasons: int,
    found: Floats,
    expected: Floats,
    residuals: Floats,
) -> int:
    """Fill what was expected and what came less that, where both are known; how many."""
    count = 0
    for at in range(lags[0], len(values)):
        if not np.isfinite(values[at]):
            continue
        if seasons == 1:
            e = history[at - lags[0]]
        else:
            e = _median_before(history, at, lags, seasons, 0, found)
        if np.isfinite(e) and np.isfinite(values[at] - e):
            expected[count], residuals[count] = e, values[at] - e
            count += 1
    return count


@njit(cache=True, nogil=True)
def _strays_of_level(level: float, values: Floats, expected: Floats, residuals: Floats) -> int:
    count = 0
    for v in values:
        if np.isfinite(v) and np.isfinite(v - level):
            expected[count], residuals[count] = level, v - level
            count += 1
    return count


@njit(cache=True, nogil=True)
def _median_before(
    row: Floats, at: int, lags: NDArray[np.int64], most: int, since: int, found: Floats
) -> float:
    """Median of the finite values 1 … ``most`` lags before ``at``, none before ``since``; NaN if
    there is none."""
    n, since = 0, max(since, 0)
    for j in range(min(most, len(lags))):
        back = at - lags[j]
        if back < since:
            break
        if back < len(row) and np.isfinite(row[back]):
            v = row[back]
            for k in range(n):  # into its place among the few before, without a branch
                other = found[k]
                found[k] = other if other < v else v
                v = v if other < v else other
            found[n] = v
            n += 1
    return _middle(found, n)


@njit(cache=True, nogil=True)
def _middle(ordered: Floats, n: int) -> float:
    """Median of the first ``n`` entries, which are sorted; NaN of none."""
    if n == 0:
        return np.nan
    low, high = ordered[(n - 1) // 2], ordered[n // 2]
    middle = low + (high - low) / 2
    return float(middle if np.isfinite(middle) else low / 2 + high / 2)


@njit(cache=True, nogil=True)
def _latest_before(row: Floats, at: int, lags: NDArray[np.int64]) -> float:
    for lag in lags:
        back = at - lag
        if back < 0:
            break
        if back < len(row) and np.isfinite(row[back]):
            return float(row[back])
    return np.nan


@njit(cache=True, nogil=True)
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
    found[:n].sort()
    return _middle(found, n)
