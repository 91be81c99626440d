"""A forest that knows one signal is a step function of it: drawn up once, read for every row.

Most workloads that have few metrics come down to one signal. Codes have 65,535 values
(``models/forest_codes.py``), so the function is a table of them. Path lengths are whole numbers: in
whichever order they are added, the sums are those of the walk through the trees
(``models/forest_walks.py``), bit by bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.forest_codes import LEAF, Codes

__all__ = ["step_totals"]

_ZERO = 32767  # where in the table the code 0 is


@njit(cache=True, nogil=True)
def step_totals(signal: Codes, threshold: Codes, path: Codes) -> NDArray[np.int32]:
    """Path length of every row, summed over the trees, in the unit of ``path``, (n_rows,).

    Parameters
    ----------
    signal : (n_rows,)
    threshold : (n_trees, 2 ** depth - 1)
    path : (n_trees, 2 ** depth)
    """
    n_trees, inner = threshold.shape
    table = np.zeros(2 * _ZERO + 2, dtype=np.int32)
    for k in range(n_trees):
        now = path[k, 0]
        table[0] += now
        for slot in range(1, inner + 1):
            cut = threshold[k, _between(slot, inner)]
            if cut != LEAF:
                table[_ZERO + 1 + cut] += np.int32(path[k, slot]) - np.int32(now)
                now = path[k, slot]
    for i in range(1, len(table)):
        table[i] += table[i - 1]
    out = np.empty(len(signal), dtype=np.int32)
    for t in range(len(signal)):
        out[t] = table[_ZERO + signal[t]]
    return out


@njit(cache=True, nogil=True)
def _between(slot: int, inner: int) -> int:
    """The node whose cut parts a slot at the bottom from the one left of it."""
    width = 1
    while slot % (2 * width) == 0:
        width *= 2
    return (inner + 1) // (2 * width) - 1 + slot // (2 * width)
