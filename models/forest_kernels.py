"""Isolation trees of many workloads at once: scikit-learn's algorithm (Liu, Ting, Zhou, ICDM 2008).

A tree is a complete binary tree of fixed depth, so that it needs no pointers and a row takes the
same number of steps in every tree: node ``i`` has the children ``2 i + 1`` (value ≤ threshold) and
``2 i + 2``. A leaf above the bottom sends everything left (threshold +inf) and keeps its path
length in the leftmost slot below it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.forest_steps import step_totals
from models.selection import nth

__all__ = ["grow_forests", "occlude", "prepare", "raw_scores"]

_EULER = 0.5772156649015329
_FAR = 1e30
_EMPTY = -1
_BLOCK = 256
_MANY = 2048  # rows from which on a function of one signal is worth being drawn up


@njit(cache=True, nogil=True)
def prepare(values: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Median, range and use of every signal of every workload, each (n_workloads, n_signals).

    A signal is of use when it has values and is not constant.
    """
    n_workloads, n_steps, n_signals = values.shape
    median = np.zeros((n_workloads, n_signals))
    spread = np.ones((n_workloads, n_signals))
    used = np.zeros((n_workloads, n_signals), dtype=np.bool_)
    column, spare = np.empty(n_steps), np.empty(n_steps)
    for w in range(n_workloads):
        for s in range(n_signals):
            n = 0
            for t in range(n_steps):
                if not np.isnan(values[w, t, s]):
                    column[n] = values[w, t, s]
                    n += 1
            if n:
                median[w, s] = nth(column, spare, 0, n, n // 2)
                low, high = column[:n].min(), column[:n].max()
                width = high - low
                if width > 1e-12 * max(abs(low), abs(high)):
                    spread[w, s], used[w, s] = width, True
    return median, spread, used


@njit(cache=True, nogil=True)
def _standard(
    rows: Floats, median: Floats, spread: Floats, used: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows in single precision, missing cells at the median, and which rows hold anything at
    all."""
    out = np.zeros(rows.shape, dtype=np.float32)
    known = np.zeros(len(rows), dtype=np.bool_)
    for t in range(len(rows)):
        for s in range(rows.shape[1]):
            if used[s] and not np.isnan(rows[t, s]):
                known[t] = True
                out[t, s] = min(max((rows[t, s] - median[s]) / spread[s], -_FAR), _FAR)
    return out, known


@njit(cache=True, nogil=True)
def grow_forests(
    values: Floats,
    prepared: Any,
    seeds: NDArray[np.uint64],
    n_trees: int,
    subsample: int,
    depth: int,
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Grow the trees of every workload.

    Parameters
    ----------
    values : (n_workloads, n_steps, n_signals)
        NaN is the training median of its signal; a row of NaN is left out.
    prepared
        What ``prepare`` returned.
    seeds : (n_workloads,)
        A workload's trees depend on its own values and seed only.

    Returns
    -------
    feature, threshold : (n_workloads, n_trees, 2 ** depth - 1)
        int16 and float32; thresholds in units of the signal's range from its median.
    path : (n_workloads, n_trees, 2 ** depth)
        float32: path length at the bottom, what is left in the leaf included.
    rows : (n_workloads,)
        Rows that hold anything; without any there are no trees.
    """
    median, spread, used = prepared
    n_workloads, inner = len(values), 2**depth - 1
    feature = np.zeros((n_workloads, n_trees, inner), dtype=np.int16)
    threshold = np.full((n_workloads, n_trees, inner), np.inf, dtype=np.float32)
    path = np.zeros((n_workloads, n_trees, inner + 1), dtype=np.float32)
    rows = np.zeros(n_workloads, dtype=np.int32)
    for w in range(n_workloads):
        x, known = _standard(values[w], median[w], spread[w], used[w])
        pool, usable = np.flatnonzero(known), np.flatnonzero(used[w])
        rows[w] = len(pool)
        if not len(pool):
            continue
        state = np.array([seeds[w]], dtype=np.uint64)
        n = min(subsample, len(pool))
        deepest = max(int(np.ceil(np.log2(n))), 1) if n > 1 else 0
        for k in range(n_trees):
            for i in range(n):
                j = i + _below(state, len(pool) - i)
                pool[i], pool[j] = pool[j], pool[i]
            tree = (feature[w, k], threshold[w, k], path[w, k])
            _grow(x[pool[:n]], usable.copy(), state, (depth, deepest), tree)
    return feature, threshold, path, rows


@njit(cache=True, nogil=True)
def _grow(x: Any, usable: Any, state: Any, depths: Any, tree: Any) -> None:
    """Grow one tree from all rows of ``x`` into ``tree``, level by level; their numbers are sorted
    into the nodes' segments."""
    depth, deepest = depths
    sample = np.arange(len(x))
    feature, threshold, path = tree
    inner = len(feature)
    begin = np.full(2 * inner + 1, _EMPTY)
    end = np.full(2 * inner + 1, _EMPTY)
    begin[0], end[0] = 0, len(sample)
    level, last = 0, 0
    for node in range(2 * inner + 1):
        if node > last:
            level, last = level + 1, 2 * last + 2
        if begin[node] == _EMPTY:
            continue
        part = sample[begin[node] : end[node]]
        s, cut = _split(x, part, usable, state) if level < deepest and len(part) > 1 else (-1, 0.0)
        if s < 0:
            slot = (node + 1) * 2 ** (depth - level) - 1 - inner
            path[slot] = level + _average_path(len(part))
            continue
        feature[node], threshold[node] = s, cut
        middle = begin[node] + _partition(x, part, s, cut)
        begin[2 * node + 1], end[2 * node + 1] = begin[node], middle
        begin[2 * node + 2], end[2 * node + 2] = middle, end[node]


@njit(cache=True, nogil=True)
def _split(x: Any, part: Any, usable: Any, state: Any) -> tuple[int, Any]:
    """A random signal that is not constant in the node, and a uniform cut of it; -1 if there is
    none."""
    for i in range(len(usable)):
        j = i + _below(state, len(usable) - i)
        usable[i], usable[j] = usable[j], usable[i]
        s = usable[i]
        low = high = x[part[0], s]
        for row in part:
            v = x[row, s]
            low, high = v if v < low else low, v if v > high else high
        if high > low:
            cut = np.float32(low + _uniform(state) * (np.float64(high) - low))
            return s, (cut if low <= cut < high else low)
    return -1, np.float32(0.0)


@njit(cache=True, nogil=True)
def _partition(x: Any, part: Any, s: int, cut: float) -> int:
    """Sort the rows of a node in place: at or below the cut first; returns how many those are."""
    n = 0
    for i in range(len(part)):
        row = part[i]
        part[i], part[n] = part[n], row  # also where it need not: a branch would cost more
        n += x[row, s] <= cut
    return n


@njit(cache=True, nogil=True)
def raw_scores(values: Floats, prepared: Any, forest: Any, subsample: int) -> Floats:
    """Anomaly score ``2 ** (-mean path / c(subsample))`` of every row, (n_workloads, n_steps).

    NaN for a row of NaN and for a workload without trees.
    """
    median, spread, used = prepared
    feature, threshold, path, rows = forest
    out = np.full(values.shape[:2], np.nan)
    for w in range(len(values)):
        n = min(subsample, rows[w])
        if n < 2:
            continue
        x, known = _standard(values[w], median[w], spread[w], used[w])
        if np.sum(used[w]) == 1 and len(x) >= _MANY:
            signal = x[:, np.argmax(used[w])]
            raw = _of_totals(step_totals(signal, threshold[w], path[w]), len(feature[w]), n)
        else:
            raw = _raw(x, feature[w], threshold[w], path[w], n)
        out[w] = np.where(known, raw, np.nan)
    return out


@njit(cache=True, nogil=True)
def _raw(x: Any, feature: Any, threshold: Any, path: Any, n: int) -> Floats:
    """Level by level over blocks of rows that fit the cache: rows do not wait for one another.

    Unsigned indices: signed ones are checked for being negative at every step.
    """
    inner, depth = feature.shape[1], int(np.log2(feature.shape[1] + 1))
    total = np.zeros(len(x))
    node = np.empty(min(_BLOCK, max(len(x), 1)), dtype=np.uint32)
    for first in range(0, len(x), _BLOCK):
        block = min(_BLOCK, len(x) - first)
        for k in range(len(feature)):
            f, c, p = feature[k], threshold[k], path[k]
            node[:] = 0
            for _ in range(depth):
                for t in range(block):
                    i = node[t]
                    right = x[np.uint64(first + t), np.uint64(f[i])] > c[i]
                    node[t] = np.uint32(2) * i + np.uint32(1) + np.uint32(right)
            for t in range(block):
                total[first + t] += p[node[t] - np.uint32(inner)]
    return _of_totals(total, len(feature), n)


@njit(cache=True, nogil=True)
def _of_totals(total: Floats, n_trees: int, n: int) -> Floats:
    """Scores of summed path lengths."""
    return 2.0 ** (-total / n_trees / _average_path(n))


@njit(cache=True, nogil=True)
def occlude(
    values: Floats, prepared: Any, forest: Any, subsample: int, flagged: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """How much each signal adds to the raw score of the flagged rows, (n_flagged, n_signals).

    The raw score less what it would be with the signal at its training median. Rows in the order
    of ``np.nonzero(flagged)``.
    """
    median, spread, used = prepared
    feature, threshold, path, rows = forest
    out = np.zeros((int(np.sum(flagged)), values.shape[2]), dtype=np.float32)
    first = 0
    for w in range(len(values)):
        chosen = np.flatnonzero(flagged[w])
        if not len(chosen):
            continue
        n = min(subsample, rows[w])
        x, _ = _standard(values[w][chosen], median[w], spread[w], used[w])
        whole = _raw(x, feature[w], threshold[w], path[w], n)
        for s in np.flatnonzero(used[w]):
            without = x.copy()
            without[:, s] = 0.0
            less = whole - _raw(without, feature[w], threshold[w], path[w], n)
            out[first : first + len(chosen), s] = less.astype(np.float32)
        first += len(chosen)
    return out


@njit(cache=True, nogil=True)
def _average_path(n: int) -> float:
    """c(n): mean path length of an unsuccessful search in a binary search tree of n values."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (np.log(n - 1.0) + _EULER) - 2.0 * (n - 1.0) / n


@njit(cache=True, nogil=True)
def _bits(state: Any) -> np.uint64:
    """Next 64 bits of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _uniform(state: Any) -> float:
    return float(_bits(state) >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def _below(state: Any, n: int) -> int:
    return min(int(_uniform(state) * n), n - 1)
