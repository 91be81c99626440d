"""The loops behind the cohort prior, over all series in one call each."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["hourly_means", "own_scale"]


@njit(cache=True, nogil=True)
def hourly_means(values: Floats, hour: NDArray[np.int64], cover: int) -> Floats:
    """Means by hour, (n_series, hours); NaN where nothing was measured.

    Parameters
    ----------
    values : (n_series, n_steps)
    hour : (n_steps,)
        Whole hours from the first step's hour to each step's, growing from 0.
    cover
        Hours that one step covers, at least 1: each of them gets the step's value.
    """
    n = len(values)
    total = np.zeros((n, hour[-1] + cover))
    number = np.zeros(total.shape, np.int64)
    for i in range(n):
        for at in range(len(hour)):
            v = values[i, at]
            if np.isfinite(v):
                for k in range(hour[at], hour[at] + cover):
                    total[i, k] += v
                    number[i, k] += 1
    for i in range(n):
        for k in range(total.shape[1]):
            total[i, k] = total[i, k] / number[i, k] if number[i, k] else np.nan
    return total


@njit(cache=True, nogil=True)
def own_scale(
    values: Floats,
    profile: Floats,
    left: NDArray[np.int64],
    share: Floats,
) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Sums over the steps that a young series has, to set its level against its cohort's.

    Parameters
    ----------
    values : (n_series, n_steps)
    profile : (n_series, 24)
        What the cohort does by hour of the day.
    left, share : (n_steps,)
        A step lies ``share`` of the way from the middle of hour ``left`` to that of the next.

    Returns
    -------
    own, cohort, lowest, seen : (n_series,)
        Sum of the values, of the profile at the same steps, the lowest value, and how many.
    """
    n = len(values)
    own, cohort = np.zeros(n), np.zeros(n)
    lowest, seen = np.full(n, np.inf), np.zeros(n, np.int64)
    for i in range(n):
        for at in range(len(left)):
            v = values[i, at]
            if np.isfinite(v):
                a, b = profile[i, left[at]], profile[i, (left[at] + 1) % 24]
                own[i] += v
                cohort[i] += a + share[at] * (b - a)
                lowest[i] = min(lowest[i], v)
                seen[i] += 1
    return own, cohort, lowest, seen
