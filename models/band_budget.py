"""The alert line of a workload's bands: as many alerts as the budget allows, counted as they are
told.

Each line is set for its own tail (``models/tail.py``), but alerts are told of a workload: of all
its metrics and spans together, after some points have persisted. So the training weeks are scored,
what would have been told is looked at, and all lines of a workload move by one factor. It raises
them by a quarter at most: weeks that would have told far more had trouble in them, and trouble that
was never flagged must not make blind for the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.tail import tail_thresholds

__all__ = ["Told", "line_factors"]

_TINY = 1e-12
_HIGHEST = 1.25


class Told(NamedTuple):
    """When points of a series are counted as told: ``m`` of ``n`` at ``sure``, or ``alone_m`` of
    ``alone_n`` at 1; the only metric of its workload: ``m`` of ``n`` at 1."""

    m: int
    n: int
    sure: float
    alone_m: int
    alone_n: int


def line_factors(
    scores: Floats,
    group: NDArray[np.intp],
    alerts_per_step: Floats,
    told: Told,
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
    alerts_per_step : (n_series,)
        The budget of each series' workload.
    told
        When points are told.
    quiet_steps
        What is told closer together is one alert.
    trust_steps
        So many steps are trusted half: the factor of a short history is drawn towards 1.
    """
    single = np.bincount(group)[group] == 1 if len(group) else np.zeros(0, dtype=bool)
    level = _told_levels(scores, group, int(group.max(initial=-1)) + 1, single, told)
    known = np.isfinite(level).sum(axis=1)
    budget = np.zeros(len(level))
    budget[group] = alerts_per_step
    events = np.maximum(known * budget, _TINY)
    found = tail_thresholds(level, events, 1, quiet_steps)
    factor = np.where(np.isfinite(found) & (found > 0), found, 1.0)
    factor = np.power(factor, known / (known + max(trust_steps, _TINY)))
    return np.minimum(factor, _HIGHEST)[group]


@njit(cache=True, nogil=True)
def _told_levels(
    scores: Floats, group: NDArray[np.intp], n_groups: int, single: NDArray[np.bool_], told: Told
) -> Floats:
    """The line at which each step would just be told, (n_groups, n_steps): the largest of the
    workload's series."""
    out = np.full((n_groups, scores.shape[1]), np.nan)
    last = np.empty(max(told.n, told.alone_n))
    for i in range(len(scores)):
        sure = 1.0 if single[i] else told.sure
        for t in range(len(last) - 1, scores.shape[1]):
            if np.isnan(scores[i, t]):
                continue
            level = _nth_of(scores[i], t, told.m, told.n, last) / sure
            if not single[i]:
                level = max(level, _nth_of(scores[i], t, told.alone_m, told.alone_n, last))
            if not out[group[i], t] >= level:
                out[group[i], t] = level
    return out


@njit(cache=True, nogil=True)
def _nth_of(scores: Floats, t: int, m: int, n: int, spare: Floats) -> float:
    """The ``m``-th largest of the last ``n`` scores; NaN counts as 0."""
    for k in range(n):  # by insertion, largest first
        value = scores[t - k]
        at = k
        value = 0.0 if np.isnan(value) else value
        while at > 0 and spare[at - 1] < value:
            spare[at] = spare[at - 1]
            at -= 1
        spare[at] = value
    return spare[m - 1]
