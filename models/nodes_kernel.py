"""First-fit decreasing of pods into nodes, over many moments at once.

Source: D. S. Johnson, "Near-optimal bin packing algorithms" (1973). In one resource first-fit
decreasing needs at most 11/9 OPT + 6/9 bins (Dósa, "The tight bound of first fit decreasing
bin-packing algorithm", 2007); in d resources at most d + 1/3 times the optimum (Garey, Graham,
Johnson, Yao, "Resource constrained scheduling as generalized bin packing", 1976).

Equal pods are placed together, and equal nodes are kept as one row with a count: the same answer as
pod by pod, at a cost that grows with the sizes of pods, not with their number.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints

__all__ = ["pack"]

_MANY = 2.0**40
"""More pods than fit anywhere: what "no bound" means in whole numbers."""
_ROUNDING = 1e-9
"""Ten pods of 0.1 cores fit one core."""


@njit(cache=True, nogil=True)
def _fits(free: Floats, size: Floats) -> int:
    """Pods of one size that fit."""
    best = _MANY
    for d in range(size.shape[0]):
        if size[d] > 0:
            best = min(best, np.floor(free[d] / size[d] + _ROUNDING))
    return int(max(best, 0.0))


@njit(cache=True, nogil=True)
def _write(free: Floats, many: Ints, at: int, base: Floats, taken: Floats, count: int) -> int:
    """Rows of ``count`` nodes with ``taken`` off ``base``; the next position."""
    if count == 0:
        return at
    for d in range(base.shape[0]):
        free[at, d] = base[d] - taken[d]
    many[at] = count
    return at + 1


@njit(cache=True, nogil=True)
def _fill(free: Floats, many: Ints, n: int, size: Floats, k: int, work: Floats) -> tuple[int, int]:
    """Put ``k`` pods into the ``n`` rows that are open, first fit; rows then, and pods left."""
    j = 0
    while j < n and k > 0:
        fits = _fits(free[j], size)
        if fits == 0:
            j += 1
            continue
        full = min(k // fits, many[j])
        part = k - full * fits if full < many[j] else 0
        rest = many[j] - full - (1 if part else 0)
        extra = (1 if full else 0) + (1 if part else 0) + (1 if rest else 0) - 1
        for i in range(n - 1, j, -1):
            if extra == 0:
                break
            free[i + extra] = free[i]
            many[i + extra] = many[i]
        work[0] = free[j]
        work[1] = fits * size
        at = _write(free, many, j, work[0], work[1], full)
        work[1] = part * size
        at = _write(free, many, at, work[0], work[1], 1 if part else 0)
        work[1] = 0.0
        _write(free, many, at, work[0], work[1], rest)
        n += extra
        k -= full * fits + part
        j += 1 + extra
    return n, k


@njit(cache=True, nogil=True)
def _allowed(budget: Floats, capacity: Floats) -> int:
    """Nodes of one capacity that a budget lets start."""
    best = _MANY
    for d in range(budget.shape[0]):
        if capacity[d] > 0:
            best = min(best, np.floor(budget[d] / capacity[d] + _ROUNDING))
    return int(max(best, 0.0))


@njit(cache=True, nogil=True)
def _open(
    free: Floats,
    many: Ints,
    n: int,
    size: Floats,
    k: int,
    work: Floats,
    shapes: Floats,
    capacity: Floats,
    left: Floats,
    nodes: Ints,
) -> tuple[int, int]:
    """Start nodes for ``k`` pods, as ``left`` of the budget allows; rows then, and pods left."""
    for s in range(shapes.shape[0]):
        fits = _fits(shapes[s], size)
        if k == 0 or fits == 0:
            continue
        new = min((k + fits - 1) // fits, _allowed(left, capacity[s]))
        full = min(k // fits, new)
        part = k - full * fits if new > full else 0
        work[1] = fits * size
        n = _write(free, many, n, shapes[s], work[1], full)
        work[1] = part * size
        n = _write(free, many, n, shapes[s], work[1], 1 if part else 0)
        for b in range(left.shape[0]):
            left[b] -= new * capacity[s, b]
        nodes[s] += new
        k -= full * fits + part
    return n, k


@njit(cache=True, nogil=True)
def pack(
    counts: Ints, sizes: Floats, rooms: Floats, shapes: Floats, capacity: Floats, budget: Floats
) -> tuple[Ints, Ints]:
    """New nodes of each shape at every moment, (w, s), and the pods that find no place, (w, g).

    Parameters
    ----------
    counts : int64, (w, g)
        Pods of each size that are to be placed at each moment, each moment alone.
    sizes : float64, (g, d)
        Requests of one pod, the largest first.
    rooms : float64, (r, d)
        What is free on each node that is there; used before a new one is started.
    shapes, capacity : float64, (s, d), (s, b)
        What a new node gives to pods, and takes of the budget. A new node has the first shape that
        holds the pod and that the budget still allows.
    budget : float64, (b,)
        What new nodes may take together; inf for no bound.
    """
    w_n, g_n = counts.shape
    s_n, d_n = shapes.shape
    rows = rooms.shape[0] + g_n * (2 + 2 * s_n) + 1
    free, many = np.empty((rows, d_n)), np.empty(rows, np.int64)
    work, left = np.zeros((2, d_n)), budget.copy()
    nodes, unplaced = np.zeros((w_n, s_n), np.int64), counts.copy()
    for w in range(w_n):
        n = rooms.shape[0]
        free[:n] = rooms
        many[:n] = 1
        left[:] = budget
        for g in range(g_n):
            if counts[w, g] <= 0:
                continue
            n, k = _fill(free, many, n, sizes[g], counts[w, g], work)
            n, k = _open(free, many, n, sizes[g], k, work, shapes, capacity, left, nodes[w])
            unplaced[w, g] = k
    return nodes, unplaced
