"""How far values stray from what was expected, as tables of quantiles, over all series in one
call."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from features.panel import Floats

__all__ = ["at_least_wide", "row_tables", "spread_tables", "writable"]

_LEAST_IN_LEVEL = 30  # residuals; a level with fewer uses those of all levels
_BUCKETS = 1024
_SAMPLE = 128  # values that say where the buckets should lie
_CUT = 3  # of the sample on either side, left to the outermost buckets


def spread_tables(
    expected: Floats, residuals: Floats, probabilities: Floats, levels: int
) -> tuple[Floats, Floats]:
    """Quantiles of the residuals by level of what was expected; the one of 0.5 is taken as zero.

    Levels part the expected values of a series into groups of equal number. Quantiles are held on
    their side of zero, so that the forecast itself is the median: a group's residuals may lean to
    one side (an hour expected to be busy is on average less so), and the tails keep that.

    Parameters
    ----------
    expected, residuals : (n_series, n_values)
        Left out where the residual is not finite.

    Returns
    -------
    (n_series, levels - 1)
        Upper edges of all levels but the last; inf where there is no residual.
    (n_series, levels, n_probabilities)
        Growing along the last axis; zeros where there is no residual.
    """
    return _tables(writable(expected), writable(residuals), probabilities, levels)


def writable(values: Floats) -> Floats:
    """The array in rows and writable, copied where need be: one compiled kernel then serves views
    and what was read from disk."""
    return np.require(values, dtype=np.float64, requirements=("C", "W"))


def at_least_wide(tables: Floats, probabilities: Floats, half_width: Floats) -> Floats:
    """The tables, nowhere narrower than those of normal errors whose 5 to 95 % band reaches
    ``half_width``, (n_series, levels) or (n_series, 1), to either side."""
    least = half_width[:, :, None] * (ndtri(probabilities) / ndtri(0.95))
    wide: Floats = np.where(least < 0, np.minimum(tables, least), np.maximum(tables, least))
    return wide


@njit(cache=True, nogil=True)
def _tables(
    expected: Floats, residuals: Floats, probabilities: Floats, levels: int
) -> tuple[Floats, Floats]:
    n, width = residuals.shape
    edges = np.empty((n, levels - 1))
    tables = np.empty((n, levels, len(probabilities)))
    e, r, work = np.empty(width), np.empty(width), np.empty((levels + 1, width))
    for i in range(n):
        count = 0
        for at in range(width):
            if np.isfinite(residuals[i, at]):
                e[count], r[count] = expected[i, at], residuals[i, at]
                count += 1
        row_tables(e[:count], r[:count], probabilities, work, edges[i], tables[i])
    return edges, tables


@njit(cache=True, nogil=True)
def row_tables(
    expected: Floats,
    residuals: Floats,
    probabilities: Floats,
    work: Floats,
    edges: Floats,
    tables: Floats,
) -> None:
    """One series of ``spread_tables``: finite values in, ``edges`` and ``tables`` filled.

    ``work`` has a row more than levels, with room for all residuals.
    """
    n, levels, rest = len(residuals), len(tables), work[-1]
    last = np.empty(len(edges), np.int64)
    for g in range(len(edges)):
        last[g] = max(n * (g + 1) // levels - 1, 0)
    if n == 0:
        edges[:] = np.inf
    else:
        edges[:] = _at_ranks(expected, last, rest)
    count = np.zeros(levels, np.int64)
    for k in range(n):
        g = 0
        for edge in edges:
            g += expected[k] > edge
        work[g, count[g]] = residuals[k]
        count[g] += 1
    pooled = np.empty(len(probabilities))
    if count.min() < _LEAST_IN_LEVEL:
        _quantiles(residuals, probabilities, rest, pooled)
    for g in range(levels):
        if count[g] >= _LEAST_IN_LEVEL:
            _quantiles(work[g, : count[g]], probabilities, rest, tables[g])
        else:
            tables[g] = pooled


@njit(cache=True, nogil=True)
def _quantiles(values: Floats, probabilities: Floats, work: Floats, out: Floats) -> None:
    """Quantiles, linear between neighbours, each on its side of zero; zeros of nothing."""
    n, m = len(values), len(probabilities)
    out[:] = 0.0
    if n == 0:
        return
    ranks = np.empty(2 * m, np.int64)
    for k in range(m):
        ranks[2 * k] = int(probabilities[k] * (n - 1))
        ranks[2 * k + 1] = min(ranks[2 * k] + 1, n - 1)
    found = _at_ranks(values, ranks, work)
    for k in range(m):
        low, high = found[2 * k], found[2 * k + 1]
        share = probabilities[k] * (n - 1) - ranks[2 * k]
        v = low + share * (high - low)
        if not np.isfinite(v):  # the difference overflows
            v = low * (1 - share) + high * share
        if probabilities[k] < 0.5:
            out[k] = min(v, 0.0)
        elif probabilities[k] > 0.5:
            out[k] = max(v, 0.0)


@njit(cache=True, nogil=True)
def _at_ranks(values: Floats, ranks: NDArray[np.int64], work: Floats) -> Floats:
    """The values that sorting would put at ``ranks``, for a few growing ranks of many values.

    Values are counted into buckets of equal width, and only the buckets that a rank falls into are
    sorted. A sample sets the width, so that a few huge values do not put all others into one
    bucket.
    """
    n, out = len(values), np.empty(len(ranks))
    low, per_unit = _per_unit(values)
    if per_unit <= 0:
        ordered = work[:n]
        ordered[:] = values
        ordered.sort()
        for k in range(len(ranks)):
            out[k] = ordered[ranks[k]]
        return out
    ends = np.zeros(_BUCKETS + 1, np.int64)
    for v in values:
        ends[_bucket(v, low, per_unit) + 1] += 1
    for b in range(_BUCKETS):
        ends[b + 1] += ends[b]
    holder = np.searchsorted(ends, ranks, side="right") - 1
    begin, end = _gather(values, holder, ends, low, per_unit, work)
    for k in range(len(ranks)):
        b = holder[k]
        if k == 0 or b != holder[k - 1]:
            _sort(work[begin[b] : end[b]])
        out[k] = work[begin[b] + ranks[k] - ends[b]]
    return out


@njit(cache=True, nogil=True)
def _gather(
    values: Floats,
    holder: NDArray[np.int64],
    ends: NDArray[np.int64],
    low: float,
    per_unit: float,
    work: Floats,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put the values of the buckets in ``holder`` side by side into ``work``; where each begins
    (-1: not asked for) and ends."""
    begin = np.full(_BUCKETS, -1, np.int64)
    used = 0
    for b in holder:
        if begin[b] < 0:
            begin[b] = used
            used += ends[b + 1] - ends[b]
    place = begin.copy()
    for v in values:
        b = _bucket(v, low, per_unit)
        if begin[b] >= 0:
            work[place[b]] = v
            place[b] += 1
    return begin, place


@njit(cache=True, nogil=True)
def _sort(values: Floats) -> None:
    """Ascending, in place; equal values, as of a signal that mostly rests, cost one look."""
    for v in values:
        if v != values[0]:
            values.sort()
            return


@njit(cache=True, nogil=True)
def _per_unit(values: Floats) -> tuple[float, float]:
    """Where the inner buckets begin, and buckets per unit; 0 where plain sorting is better."""
    n = len(values)
    if n < 2 * _SAMPLE:
        return 0.0, 0.0
    sample = np.empty(_SAMPLE)
    for k in range(_SAMPLE):
        sample[k] = values[k * n // _SAMPLE]
    sample.sort()
    low, high = sample[_CUT], sample[-1 - _CUT]
    if low == high:
        low, high = values.min(), values.max()
    # A range that overflows, or is too narrow to divide, has no width.
    per_unit = (_BUCKETS - 2) / (high - low) if high > low else 0.0
    return low, per_unit if np.isfinite(per_unit) else 0.0


@njit(cache=True, nogil=True)
def _bucket(value: float, low: float, per_unit: float) -> int:
    at = (value - low) * per_unit + 1
    return int(min(max(at, 0.0), _BUCKETS - 1.0))
