"""The alert line of a workload's bands: as many alerts as the budget allows, counted as they are
told.

Each line is set for its own tail (``models/tail.py``), but alerts are told of a workload: of all
its metrics and spans together, after some points have persisted. So the training weeks are scored,
what would have been told is looked at, and all lines of a workload move by one factor. It raises
them by a quarter at most: weeks that would have told far more had trouble in them, and trouble that
was never flagged must not make blind for the next.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.tail import tail_thresholds

__all__ = ["line_factors"]

_TINY = 1e-12
_HIGHEST = 1.25


def line_factors(
    scores: Floats,
    group: NDArray[np.intp],
    alerts_per_step: float,
    told: tuple[int, int],
    quiet_steps: int,
    trust_steps: float,
) -> Floats:
    """By how much the lines of each series are to be raised, (n_series,); below 1: lowered.

    Parameters
    ----------
    scores : (n_series, n_steps)
        Of the training weeks, by the lines as they are; NaN where nothing is known.
    group : (n_series,)
        The workload of each series, as numbers from 0 on.
    alerts_per_step
        The budget.
    told
        Points (of so many neighbours) at or above 1 that are told.
    quiet_steps
        What is told closer together is one alert.
    trust_steps
        So many steps are trusted half: the factor of a short history is drawn towards 1.
    """
    level = _told_levels(scores, group, int(group.max(initial=-1)) + 1, *told)
    known = np.isfinite(level).sum(axis=1)
    events = np.maximum(known * alerts_per_step, _TINY)
    found = tail_thresholds(level, events, 1, quiet_steps)
    factor = np.where(np.isfinite(found) & (found > 0), found, 1.0)
    factor = np.power(factor, known / (known + max(trust_steps, _TINY)))
    return np.minimum(factor, _HIGHEST)[group]


@njit(cache=True, nogil=True)
def _told_levels(scores: Floats, group: NDArray[np.intp], n_groups: int, m: int, n: int) -> Floats:
    """The line at which each step would just be told, (n_groups, n_steps): the ``m``-th largest of
    the last ``n`` scores of one series, the largest of the workload's."""
    out = np.full((n_groups, scores.shape[1]), np.nan)
    last = np.empty(n)
    for i in range(len(scores)):
        for t in range(n - 1, scores.shape[1]):
            if np.isnan(scores[i, t]):
                continue
            for k in range(n):
                value = scores[i, t - k]
                last[k] = -1.0 if np.isnan(value) else -value
            last.sort()
            level = -last[m - 1]
            if level >= 0.0 and not out[group[i], t] >= level:
                out[group[i], t] = level
    return out
