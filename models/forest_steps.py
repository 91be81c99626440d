"""A forest that knows one signal is a step function of it: drawn up once, read for every row.

Most workloads that have few metrics come down to one signal. Path lengths are float32 and their
sums float64, which holds every such sum exactly: in whichever order they are added, the scores are
those of the walk through the trees (``models/forest_kernels.py``), bit by bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["step_totals"]

Floats32 = NDArray[np.float32]


@njit(cache=True, nogil=True)
def step_totals(signal: Floats32, threshold: Floats32, path: Floats32) -> Floats:
    """Path length of every row, summed over the trees, (n_rows,).

    Parameters
    ----------
    signal : (n_rows,)
    threshold : (n_trees, 2 ** depth - 1)
    path : (n_trees, 2 ** depth)
    """
    cuts, totals = _steps(threshold, path)
    out = np.empty(len(signal))
    for t in range(len(signal)):
        low, many = 0, len(cuts)
        while many > 0:  # how many cuts are below the value
            half = many // 2
            passed = cuts[low + half] < signal[t]
            low = low + half + 1 if passed else low
            many = many - half - 1 if passed else half
        out[t] = totals[low]
    return out


@njit(cache=True, nogil=True)
def _steps(threshold: Floats32, path: Floats32) -> tuple[Floats32, Floats]:
    """Where the sum steps, growing, (n_cuts,), and its values between, (n_cuts + 1,)."""
    n_trees, inner = threshold.shape
    cuts = np.empty(n_trees * inner, dtype=np.float32)
    steps = np.empty(n_trees * inner)
    n, base = 0, 0.0
    for k in range(n_trees):
        now = np.float64(path[k, 0])
        base += now
        for slot in range(1, inner + 1):
            cut = threshold[k, _between(slot, inner)]
            if np.isfinite(cut):
                cuts[n], steps[n] = cut, path[k, slot] - now
                now = np.float64(path[k, slot])
                n += 1
    order = np.argsort(cuts[:n])
    totals = np.empty(n + 1)
    totals[0] = base
    for i in range(n):
        totals[i + 1] = totals[i] + steps[order[i]]
    return cuts[order], totals


@njit(cache=True, nogil=True)
def _between(slot: int, inner: int) -> int:
    """The node whose cut parts a slot at the bottom from the one left of it."""
    width = 1
    while slot % (2 * width) == 0:
        width *= 2
    return (inner + 1) // (2 * width) - 1 + slot // (2 * width)
