"""Special days are like the last special day, not like the same weekday of last week.

Holidays and special days are left out of what forecasters learn, so that a usual day's forecast
knows nothing of them. What a special day is like is read off the last one by time of day, and the
usual forecast of a coming one is moved there. All times here are on the clock of the wall, labelled
UTC (see ``features.local_time``), so that a day is a local day.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["apply_special", "last_special"]

_DAY_MS = 86_400_000


def last_special(
    values: Floats, times: pd.DatetimeIndex, special: NDArray[np.bool_], step: pd.Timedelta
) -> Floats:
    """The last special day of every series by time of day, its gaps filled from the ones before.

    For days of one kind (one holiday's name) give those as the special ones.

    Parameters
    ----------
    values
        History in the metric's unit, NaN where nothing was measured, (n_series, n_steps).
    times
        Left edges of the steps, wall time labelled UTC, (n_steps,).
    special
        Which steps are of a special day, (n_steps,).
    step
        Length of a step.

    Returns
    -------
    float64, (n_series, steps_per_day)
        From midnight on, in a day that is no whole number of steps with the part of one that is
        left at its end. NaN where no special day was measured at that time of day.
    """
    step_ms = _ms(step)
    day, slot = _day_and_slot(times, step_ms)
    profile = np.full((len(values), -(-_DAY_MS // step_ms)), np.nan)
    for last in np.unique(day[special])[::-1]:
        gaps = np.isnan(profile)
        if not gaps.any():
            break
        columns = np.flatnonzero(special & (day == last))
        told = np.full(profile.shape, np.nan)
        told[:, slot[columns]] = values[:, columns]
        np.copyto(profile, told, where=gaps)
    if _DAY_MS % step_ms and profile.shape[1] > 1:
        # the part of a step at the day's end is not there on every day
        profile[:, -1] = np.where(np.isnan(profile[:, -1]), profile[:, -2], profile[:, -1])
    return profile


def apply_special(
    quantiles: Floats,
    median: Floats,
    profile: Floats,
    times: pd.DatetimeIndex,
    special: NDArray[np.bool_],
    step: pd.Timedelta,
    non_negative: NDArray[np.bool_],
) -> Floats:
    """Move the quantiles of special days so that their median is the last special day's value.

    Widths grow and shrink with the level, as far as a width is no more than the level (of a usual
    day near zero nothing can be said in proportion); where the level is negative on either day they
    stay.

    Parameters
    ----------
    quantiles
        Of usual days, rising, (n_quantiles, n_series, n_ahead).
    median
        The usual days' median, (n_series, n_ahead).
    profile
        Of ``last_special``, (n_series, steps_per_day). Where it is NaN the usual day's forecast
        stays.
    times, special, step
        The steps ahead, (n_ahead,), as in ``last_special``.
    non_negative
        Series that are never below zero, (n_series,).

    Returns
    -------
    float64, (n_quantiles, n_series, n_ahead)
        Rising; usual days as they came.
    """
    columns = np.flatnonzero(special)
    _, slot = _day_and_slot(times[columns], _ms(step))
    usual, level = median[:, columns], profile[:, slot]
    told = quantiles[:, :, columns]
    moved = level + _scaled(told - usual, usual, level)
    moved = np.maximum(moved, np.where(non_negative, 0.0, -np.inf)[:, None])
    out = quantiles.copy()
    out[:, :, columns] = np.where(np.isnan(level), told, moved)
    return out


def _scaled(width: Floats, usual: Floats, level: Floats) -> Floats:
    """Distances from the median at another level; monotone in the distance, so nothing crosses.

    A distance below a median that is not negative stays within the level, so nothing that was not
    negative becomes so.
    """
    size = np.abs(width)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        grown = np.where(size > 0, size * (level / usual), 0.0)
    grown = np.fmin(grown, np.maximum(size, level))  # nothing in proportion to 0: as it was
    return np.sign(width) * np.where((usual >= 0) & (level >= 0), grown, size)


def _day_and_slot(
    times: pd.DatetimeIndex, step_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Civil day and step of the day, counted from midnight, of each stamp, (n_steps,)."""
    at_ms = np.asarray(times.as_unit("ms").astype("int64"), np.int64)
    return at_ms // _DAY_MS, at_ms % _DAY_MS // step_ms


def _ms(step: pd.Timedelta) -> int:
    return round(step / pd.Timedelta(1, "ms"))
