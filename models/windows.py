"""Piecewise constant rows: few windows that cover a row from above, the runs of a row, and what a
row asks for ahead of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.hpa import Ints, rolling_max

__all__ = ["Cells", "Runs", "cover", "runs"]


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


@dataclass(frozen=True, slots=True)
class Cells:
    """The steps of n rows, each cut where one of its row's leads reaches into the next step.

    A lead need not be whole steps, and every row has its own, so that rows have no common edges.
    In a cell all that a row asks for within a lead is constant.

    Attributes
    ----------
    first_ms, step_ms : begin and length of the steps, Unix time
    offsets_ms : int64, (n, p)
        Where in a step each of its p cells begins; cells may be empty.
    """

    first_ms: int
    step_ms: int
    offsets_ms: Ints

    @classmethod
    def cut(cls, first_ms: int, step_ms: int, leads_ms: Sequence[Ints]) -> Cells:
        """Cells for leads, each (n,) and not negative."""
        cuts = np.stack([np.zeros_like(leads_ms[0])] + [step_ms - v % step_ms for v in leads_ms])
        return cls(first_ms, step_ms, np.sort(cuts, axis=0).T)

    def spread(self, values: Ints) -> Ints:
        """Values of steps, (n, m), for every cell, (n, m p)."""
        return np.repeat(values, self.offsets_ms.shape[1], axis=1)

    def ahead(self, values: Ints, lead_ms: Ints) -> Ints:
        """The largest value of [t, t + lead], (n, m) → (n, m p); ``lead_ms`` is one of the cut."""
        steps, rest = np.divmod(lead_ms, self.step_ms)
        near, far = _reach(values, steps), _reach(values, steps + 1)
        # from there on the lead ends in the step after
        turn = np.where(rest > 0, self.step_ms - rest, np.iinfo(np.int64).max)
        late = self.offsets_ms >= turn[:, None]
        found = np.where(late[:, None, :], far[:, :, None], near[:, :, None])
        return found.reshape(len(values), -1)

    def begin_ms(self, row: NDArray[np.intp], cell: NDArray[np.intp]) -> Ints:
        """When cells begin; the cell after a row's last begins when that ends."""
        step, part = np.divmod(cell, self.offsets_ms.shape[1])
        return self.first_ms + step * self.step_ms + self.offsets_ms[row, part]


def _reach(values: Ints, steps: Ints) -> Ints:
    """Largest value of each row's steps [j, j + steps]; rows of one reach go together."""
    out = np.empty_like(values)
    for ahead in np.unique(np.minimum(steps, values.shape[1])):
        rows = np.minimum(steps, values.shape[1]) == ahead
        out[rows] = rolling_max(values[rows].astype(np.float64), 0, int(ahead)).astype(np.int64)
    return out


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
