"""Piecewise constant rows: few windows that cover a row from above, and the runs of a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.hpa import Ints

__all__ = ["Runs", "cover", "runs"]


@dataclass(frozen=True, slots=True)
class Runs:
    """Stretches of equal values: row, first step, step after the last, value, value before.

    ``before`` of the first run of a row is -1.
    """

    row: NDArray[np.intp]
    begin: NDArray[np.intp]
    end: NDArray[np.intp]
    value: Ints
    before: Ints


def runs(values: Ints) -> Runs:
    """The runs of every row of (n, m) values, in order."""
    n, m = values.shape
    if not m:
        none = np.zeros(0, dtype=np.intp)
        return Runs(none, none, none, none.astype(np.int64), none.astype(np.int64))
    new = np.ones((n, m), dtype=bool)
    new[:, 1:] = values[:, 1:] != values[:, :-1]
    row, begin = np.nonzero(new)
    end = np.where(np.r_[row[1:] != row[:-1], True], m, np.r_[begin[1:], m])
    before = np.where(begin > 0, values[row, begin - 1], -1)
    return Runs(row, begin, end.astype(np.intp), values[row, begin], before)


@njit(cache=True, nogil=True)
def cover(values: Ints, n_runs: int) -> Ints:
    """Values, (n, m) → (n, m), never lower and of at most ``n_runs`` runs a row.

    Neighbouring runs are joined at their larger value, always the pair that adds least area:
    greedy, not optimal, and each row alone.
    """
    out = values.copy()
    n, m = values.shape
    for i in range(n):
        level, length, k = np.empty(m, np.int64), np.empty(m, np.int64), 0
        for t in range(m):
            if t == 0 or values[i, t] != values[i, t - 1]:
                level[k], length[k] = values[i, t], 0
                k += 1
            length[k - 1] += 1
        while k > max(n_runs, 1):
            best, least = 0, np.inf
            for j in range(k - 1):
                low = length[j] if level[j] < level[j + 1] else length[j + 1]
                cost = float(abs(level[j] - level[j + 1])) * low
                if cost < least:
                    best, least = j, cost
            level[best] = max(level[best], level[best + 1])
            length[best] += length[best + 1]
            for j in range(best + 1, k - 1):
                level[j], length[j] = level[j + 1], length[j + 1]
            k -= 1
        t = 0
        for j in range(k):
            out[i, t : t + length[j]] = level[j]
            t += length[j]
    return out
