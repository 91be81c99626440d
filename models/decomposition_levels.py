"""The level of a series from day to day: a few exponential smoothers, averaged by how well each
would have done.

Simple smoothing that holds its level, simple smoothing that fades to the long mean, and a damped
slope (Gardner and McKenzie 1985), each at several rates. Weights fall with the fourth power of the
mean absolute error over the days ahead, so that a short history, which cannot tell them apart,
gets their mean.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.panel import Floats

__all__ = ["LEVEL_MODELS", "damped_days", "forecast_level", "level_paths", "weights_of"]

_REMAINS, _DAMPING, _SLOPE_RATE = 0.7, 0.9, 0.1  # a day
_POWER = 4
_FIRST_ORIGIN = 6  # days; before, a level has hardly settled

LEVEL_MODELS: Floats = np.array(
    [
        (rate, slope, _DAMPING, remains)
        for rate in (0.05, 0.2, 0.6)
        for slope, remains in ((0.0, 1.0), (0.0, _REMAINS), (_SLOPE_RATE, 1.0))
    ]
)
"""(n_models, 4): rate of the level, rate of the slope, damping of the slope a day, and what remains
after a day of the distance to the long mean. Damping is the same in all, as is what remains where
it is below 1: their forecasts can then be added up."""


def damped_days(days: Floats) -> tuple[Floats, Floats]:
    """What a slope of one has added up to, and what has remained of a fading distance, so many days
    ahead; same shape as ``days``."""
    return _DAMPING * (1 - _DAMPING**days) / (1 - _DAMPING), _REMAINS**days


@njit(cache=True, nogil=True)
def forecast_level(state: Floats, lead: float) -> float:
    """Level ``lead`` days after the state ``(held, fading, slope)`` was reached."""
    added = _DAMPING * (1 - _DAMPING**lead) / (1 - _DAMPING)
    return float(state[0] + state[1] * _REMAINS**lead + state[2] * added)


@njit(cache=True, nogil=True)
def weights_of(errors: Floats) -> Floats:
    """Shares of candidates by their errors: equal where they are, all to those without any."""
    out = np.empty(len(errors))
    least = errors.min()
    for m in range(len(errors)):
        if errors[m] > 0:
            out[m] = (least / errors[m]) ** _POWER
        else:
            out[m] = 1.0
    return out / out.sum()


@njit(cache=True, nogil=True)
def level_paths(x: Floats, models: Floats, leads: int, out: Floats) -> float:
    """Write the averaged state after each day; growth of its squared error a day of lead.

    Parameters
    ----------
    x : (n_days,)
        Daily levels, NaN where there is none; at least one is finite.
    leads
        Errors of 1 … so many days ahead judge the models.
    out : (n_days, 3)
        ``held, fading, slope``; NaN before the first value.
    """
    days, number = len(x), len(models)
    states = np.empty((number, days, 3))
    errors, squares = np.zeros(number), np.zeros((number, leads))
    count = np.zeros(leads)
    for m in range(number):
        _smooth(x, models[m], states[m])
        count[:] = 0
        for d in range(_FIRST_ORIGIN, days - 1):
            for lead in range(1, min(leads, days - 1 - d) + 1):
                e = abs(x[d + lead] - forecast_level(states[m, d], lead))
                if np.isfinite(e):
                    errors[m] += e
                    squares[m, lead - 1] += e * e
                    count[lead - 1] += 1
    share = weights_of(errors)
    out[:] = 0
    for m in range(number):
        out += share[m] * states[m]
    return _growth(share @ squares, count)


@njit(cache=True, nogil=True)
def _smooth(x: Floats, model: Floats, out: Floats) -> None:
    rate, slope_rate, damping, remains = model
    level, slope, mean, count = np.nan, 0.0, 0.0, 0
    for d in range(len(x)):
        level += damping * slope
        slope *= damping
        if np.isfinite(x[d]):
            count += 1
            mean += (x[d] - mean) / count
            if count == 1:
                level = x[d]
            else:
                innovation = x[d] - level
                now = max(rate, 1 / count) if slope_rate == 0 else max(rate, 2 / (count + 1))
                level += now * innovation
                slope += now * slope_rate * innovation
        if remains < 1:
            out[d, 0], out[d, 1] = mean, level - mean
        else:
            out[d, 0], out[d, 1] = level, 0.0
        if count == 0:
            out[d, 0] = np.nan
        out[d, 2] = slope


@njit(cache=True, nogil=True)
def _growth(squares: Floats, count: Floats) -> float:
    """Slope of the mean squared errors over the leads, not below zero."""
    n, sx, sy, sxx, sxy = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(count)):
        if count[j] > 0:
            y = squares[j] / count[j]
            n, sx, sy = n + 1, sx + j, sy + y
            sxx, sxy = sxx + j * j, sxy + j * y
    spread = n * sxx - sx * sx
    return max((n * sxy - sx * sy) / spread, 0.0) if spread > 0 else 0.0
