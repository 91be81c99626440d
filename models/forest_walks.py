"""What isolation trees say of rows: path lengths summed over the trees, whole numbers.

Many rows are answered from the bottom of a tree to its root, each node for all rows at once: a
comparison with one number and a choice between two columns, without a branch or an address that
depends on the row. Many more comparisons than walking down, in half of the time (the idea of
bitwise tree traversal is Lucchese et al., *QuickScorer*, SIGIR 2015; here the leaves' values are
carried instead of masks). Few rows walk down; rows of one signal are read off a step function
(``models/forest_steps.py``). All sums are of whole numbers: the three agree bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.forest_codes import LEAF, Codes
from models.forest_steps import step_totals

__all__ = ["path_totals"]

_MANY = 128  # rows from which on going up is faster than walking down
_BLOCK = 2048
_LEAVES = 3  # levels that are answered at once at the bottom


@njit(cache=True, nogil=True)
def path_totals(
    x: Codes, usable: Any, feature: Codes, threshold: Codes, path: Codes
) -> NDArray[np.int32]:
    """Path length of every row, summed over the trees, in the unit of ``path``, (n_rows,).

    Parameters
    ----------
    x : (n_signals, n_rows)
    usable
        The signals that trees may split on.
    feature, threshold : (n_trees, 2 ** depth - 1)
    path : (n_trees, 2 ** depth)
    """
    n_rows, bottom = x.shape[1], path.shape[1]
    if n_rows < _MANY or bottom < 2**_LEAVES:
        return _down(x, feature, threshold, path)
    if len(usable) == 1:
        return step_totals(x[usable[0]], threshold, path)
    total = np.zeros(n_rows, dtype=np.int32)
    size = min(_BLOCK, n_rows)
    v = np.empty((bottom >> _LEAVES, size), dtype=np.int16)
    u = np.empty((bottom >> _LEAVES, size), dtype=np.int16)
    for first in range(0, n_rows, _BLOCK):
        end = min(first + _BLOCK, n_rows)
        for k in range(len(feature)):
            said = _up(x, first, end, feature[k], threshold[k], path[k], v, u)
            total[first:end] += said[0, : end - first]
    return total


@njit(cache=True, nogil=True)
def _down(x: Codes, feature: Codes, threshold: Codes, path: Codes) -> NDArray[np.int32]:
    """Each row by itself from the root to the bottom."""
    total = np.zeros(x.shape[1], dtype=np.int32)
    inner = feature.shape[1]
    for k in range(len(feature)):
        for t in range(x.shape[1]):
            i = 0
            while i < inner:
                i = 2 * i + 1 + (x[feature[k, i], t] > threshold[k, i])
            total[t] += path[k, i - inner]
    return total


@njit(cache=True, nogil=True)
def _up(
    x: Codes, first: int, end: int, feature: Codes, cut: Codes, path: Codes, v: Codes, u: Codes
) -> Codes:
    """Path lengths of rows ``first`` to ``end`` in one tree, in the first row of what it returns.

    Node ``j`` of a level has its answers in row ``j`` of one of two rooms, its children's in the
    other. Nodes below a leaf are passed over.
    """
    width, n = len(path) >> _LEAVES, end - first
    _lowest(x, first, end, feature, cut, path, v)
    while width > 1:
        step = 2 if width > 2 else 1
        width >>= step
        for j in range(width):
            i = width - 1 + j
            if i and cut[(i - 1) >> 1] == LEAF:
                continue
            if cut[i] == LEAF:
                u[j, :n] = path[j * (len(path) // width)]
            elif step == 1:
                _join(x, first, end, feature[i], cut[i], v[2 * j], v[2 * j + 1], u[j])
            else:
                _join_two(x, first, end, feature, cut, path, i, v[4 * j : 4 * j + 4], u[j])
        v, u = u, v
    return v


@njit(cache=True, nogil=True)
def _lowest(
    x: Codes, first: int, end: int, feature: Codes, cut: Codes, path: Codes, v: Codes
) -> None:
    """The nodes from which three levels are left, each in its row of ``v``."""
    width = len(v)
    for j in range(width):
        i = width - 1 + j
        if i and cut[(i - 1) >> 1] == LEAF:
            continue
        if cut[i] == LEAF:
            v[j, : end - first] = path[8 * j]
        else:
            _ends(x, first, end, feature, cut, path[8 * j : 8 * j + 8], i, v[j])


@njit(cache=True, nogil=True)
def _ends(
    x: Codes, first: int, end: int, feature: Codes, cut: Codes, p: Codes, i: int, out: Codes
) -> None:
    """The three lowest levels below node ``i``: eight path lengths to choose from."""
    a, b, c, d = 2 * i + 1, 2 * i + 2, 4 * i + 3, 4 * i + 5
    x0, xa, xb = x[feature[i]][first:end], x[feature[a]][first:end], x[feature[b]][first:end]
    xc, xd = x[feature[c]][first:end], x[feature[c + 1]][first:end]
    xe, xf = x[feature[d]][first:end], x[feature[d + 1]][first:end]
    c0, ca, cb, cc, cd, ce, cf = cut[i], cut[a], cut[b], cut[c], cut[c + 1], cut[d], cut[d + 1]
    p0, p1, p2, p3, p4, p5, p6, p7 = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    for t in range(end - first):
        below = p1 if xc[t] > cc else p0
        above = p3 if xd[t] > cd else p2
        left = above if xa[t] > ca else below
        below = p5 if xe[t] > ce else p4
        above = p7 if xf[t] > cf else p6
        right = above if xb[t] > cb else below
        out[t] = right if x0[t] > c0 else left


@njit(cache=True, nogil=True)
def _join_two(
    x: Codes,
    first: int,
    end: int,
    feature: Codes,
    cut: Codes,
    path: Codes,
    i: int,
    v: Codes,
    out: Codes,
) -> None:
    """Node ``i`` and its children: four columns to choose from; a leaf's are filled here."""
    a, b = 2 * i + 1, 2 * i + 2
    if cut[a] == LEAF:
        v[0, : end - first] = path[_leftmost(a, len(path))]
    if cut[b] == LEAF:
        v[2, : end - first] = path[_leftmost(b, len(path))]
    x0, xa, xb = x[feature[i]][first:end], x[feature[a]][first:end], x[feature[b]][first:end]
    c0, ca, cb = cut[i], cut[a], cut[b]
    v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
    for t in range(end - first):
        p0, p1, p2, p3 = v0[t], v1[t], v2[t], v3[t]
        left = p1 if xa[t] > ca else p0
        right = p3 if xb[t] > cb else p2
        out[t] = right if x0[t] > c0 else left


@njit(cache=True, nogil=True)
def _leftmost(i: int, bottom: int) -> int:
    """The leftmost place at the bottom below node ``i``."""
    slot = i
    while slot < bottom - 1:
        slot = 2 * slot + 1
    return slot - bottom + 1


@njit(cache=True, nogil=True)
def _join(
    x: Codes, first: int, end: int, s: int, cut: Any, v0: Codes, v1: Codes, out: Codes
) -> None:
    """One node: two columns to choose from."""
    x0 = x[s][first:end]
    for t in range(end - first):
        left, right = v0[t], v1[t]
        out[t] = right if x0[t] > cut else left
