"""Isolation trees of many workloads at once: scikit-learn's algorithm (Liu, Ting, Zhou, ICDM 2008).

A tree is a complete binary tree of fixed depth, so that it needs no pointers: node ``i`` has the
children ``2 i + 1`` (code ≤ threshold) and ``2 i + 2``. A leaf above the bottom has the threshold
``LEAF``, sends everything left and keeps its path length in the leftmost slot below it; what is
below it is never grown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.forest_codes import LEAF, Codes, code_of, code_rows, value_of

__all__ = ["PATH_UNIT", "average_path", "grow_forests"]

PATH_UNIT = 1024
"""Path lengths are whole numbers of 1 / 1024: their sums are exact in any order."""

_EULER = 0.5772156649015329
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def grow_forests(
    values: Floats,
    prepared: Any,
    seeds: NDArray[np.uint64],
    n_trees: int,
    subsample: int,
    depth: int,
) -> tuple[Codes, Codes, Codes, NDArray[np.int32]]:
    """Grow the trees of every workload.

    Parameters
    ----------
    values : (n_workloads, n_steps, n_signals)
        NaN is the training median of its signal; a row of NaN is left out.
    prepared
        What ``forest_kernels.prepare`` returned.
    seeds : (n_workloads,)
        A workload's trees depend on its own values and seed only.

    Returns
    -------
    feature, threshold : int16, (n_workloads, n_trees, 2 ** depth - 1)
        Thresholds are codes (``models/forest_codes.py``).
    path : int16, (n_workloads, n_trees, 2 ** depth)
        Path length at the bottom, what is left in the leaf included, in 1 / ``PATH_UNIT``.
    rows : int32, (n_workloads,)
        Rows that hold anything; without any there are no trees.
    """
    median, spread, used = prepared
    n_workloads, inner = len(values), 2**depth - 1
    feature = np.zeros((n_workloads, n_trees, inner), dtype=np.int16)
    threshold = np.full((n_workloads, n_trees, inner), LEAF, dtype=np.int16)
    path = np.zeros((n_workloads, n_trees, inner + 1), dtype=np.int16)
    rows = np.zeros(n_workloads, dtype=np.int32)
    single = np.zeros(1, dtype=np.float32)
    room = (
        np.empty((2, subsample), dtype=np.uint64),  # signed ones are checked at every use
        np.empty(subsample, dtype=np.int16),
        np.empty((2, subsample + 2, 3), dtype=np.int64),
        single,
        single.view(np.int32),
    )
    for w in range(n_workloads):
        x, known = code_rows(values[w], median[w], spread[w], used[w])
        pool, usable = np.flatnonzero(known).astype(np.uint32), np.flatnonzero(used[w])
        rows[w] = len(pool)
        if not len(pool):
            continue
        state = np.array([seeds[w]], dtype=np.uint64)
        n = min(subsample, len(pool))
        deepest = max(int(np.ceil(np.log2(n))), 1) if n > 1 else 0
        rest = _rests(n)
        for k in range(n_trees):
            _draw(pool, room[0], n, state)
            tree = (feature[w, k], threshold[w, k], path[w, k])
            _grow(x, usable, state, (n, depth, deepest), tree, room, rest)
    return feature, threshold, path, rows


@njit(cache=True, nogil=True)
def _grow(x: Codes, usable: Any, state: Any, sizes: Any, tree: Any, room: Any, rest: Codes) -> None:
    """Grow one tree from the ``n`` rows in ``room``, level by level.

    ``room`` holds the rows of this level's nodes and of the next one's, side by side, a node's
    values of its signal, and the nodes (number, first, end) of both levels.
    """
    n, depth, deepest = sizes
    rows, held, queue, single, bits = room
    feature, threshold, path = tree
    queue[0, 0, 0], queue[0, 0, 1], queue[0, 0, 2] = 0, 0, n
    path[0] = rest[n]
    count = 1
    for level in range(deepest):
        here, more = level & 1, 0
        for at in range(count):
            node, first, end = queue[here, at, 0], queue[here, at, 1], queue[here, at, 2]
            s, least, most = _choose(x, usable, state, rows, here, first, end, held)
            if s < 0:
                continue
            a, b = value_of(least), value_of(most)
            c = code_of(a + _uniform(state) * (b - a), single, bits)
            c = c if least <= c < most else least
            feature[node], threshold[node] = s, c
            middle = _part(rows, here, held, first, end, c)
            for side in range(2):
                low = middle if side else first
                high = end if side else middle
                child = 2 * node + 1 + side
                slot = ((child + 1) << (depth - level - 1)) - len(path)
                path[slot] = (level + 1) * PATH_UNIT + rest[high - low]  # until it splits
                queue[1 - here, more, 0] = child
                queue[1 - here, more, 1], queue[1 - here, more, 2] = low, high
                more += high - low > 1
        count = more


@njit(cache=True, nogil=True)
def _choose(
    x: Codes, usable: Any, state: Any, rows: Any, here: int, first: int, end: int, held: Codes
) -> Any:
    """A random signal that is not constant in the node, and its range there; -1 if there is
    none. Leaves the signal's values in ``held``."""
    for i in range(len(usable)):
        j = i + _below(_bits(state) >> _HALF, len(usable) - i)
        s = usable[j]
        usable[j] = usable[i]
        usable[i] = s
        least = most = x[s, rows[here, first]]
        held[first] = least
        for t in range(first + 1, end):
            v = x[s, rows[here, t]]
            held[t] = v
            least = min(least, v)
            most = max(most, v)
        if most > least:
            return s, least, most
    return -1, LEAF, LEAF


@njit(cache=True, nogil=True)
def _part(rows: Any, here: int, held: Codes, first: int, end: int, cut: Any) -> int:
    """Put a node's rows at or below the cut first, the others last; returns where those begin."""
    low, high = first, end - 1
    for t in range(first, end):
        below = held[t] <= cut
        rows[1 - here, low if below else high] = rows[here, t]  # a branch would cost more
        low += below
        high -= not below
    return low


@njit(cache=True, nogil=True)
def _draw(pool: Any, rows: Any, n: int, state: Any) -> None:
    """``n`` random rows (Fisher & Yates); two of 32 bits each a draw."""
    size = len(pool)
    dice = np.uint64(0)
    for i in range(n):
        dice = _bits(state) if i % 2 == 0 else dice >> _HALF
        j = i + _below(dice & _LOW, size - i)
        one = pool[j]
        pool[j] = pool[i]
        pool[i] = one
        rows[0, i] = one


@njit(cache=True, nogil=True)
def _rests(n: int) -> Codes:
    """``average_path`` of 0 … n rows in 1 / ``PATH_UNIT``."""
    out = np.zeros(n + 1, dtype=np.int16)
    for i in range(n + 1):
        out[i] = np.int16(np.round(average_path(i) * PATH_UNIT))
    return out


@njit(cache=True, nogil=True)
def average_path(n: int) -> float:
    """c(n): mean path length of an unsuccessful search in a binary search tree of n values."""
    if n <= 1:
        return 0.0
    if n == 2:
        return 1.0
    return 2.0 * (np.log(n - 1.0) + _EULER) - 2.0 * (n - 1.0) / n


@njit(cache=True, nogil=True)
def _bits(state: Any) -> Any:
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
def _below(bits: Any, n: int) -> Any:
    """A number from 0 to n - 1 of 32 random bits."""
    return np.int64((bits * np.uint64(n)) >> _HALF)
