"""The loops behind ``models.decomposition``: cleaning, seasons, levels, over all series in one
call.

A series is laid out as cycles × slots (weeks × slots of the week, or days × slots of the day), the
last cycle ending with the panel. Blocks are hours, or single slots where a step is an hour or more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.decomposition_cleaning import clean
from models.decomposition_levels import forecast_level, level_paths
from models.decomposition_seasons import season_paths

__all__ = ["Fitted", "Layout", "decompose"]

_LEADS_DAYS = 7  # level models are judged by their errors of so many days ahead

Ints = NDArray[np.int64]


class Layout(NamedTuple):
    """Where the steps of a grid lie in cycles; the same for all series."""

    cycle: Ints
    """(n_steps,): which cycle, the oldest is 0."""
    slot: Ints
    """(n_steps,): which slot of the cycle."""
    day: Ints
    """(n_steps,): which day, counted back from the grid's end; the oldest is 0."""
    block: Ints
    """(n_slots,): which block of the cycle, growing."""
    begins: Ints
    """(n_blocks + 1,): first slot of each block, and the number of slots."""
    slot_of_day: Ints
    """(n_slots,): which slot of the day."""
    block_of_day: Ints
    """(n_blocks,): which block of the day."""


class Fitted(NamedTuple):
    """What the kernel learned; first axis the series."""

    template: Floats
    """(n, n_slots): season, mean zero."""
    level: Floats
    """(n, 3): what the level holds, what of it fades, and its slope a day, at the grid's end."""
    level_growth: Floats
    """(n,): growth of the squared error of the level a day of lead."""
    error: Floats
    """(n,): mean squared one-cycle-ahead error of the cleaned values."""
    expected: Floats
    """(n, n_steps): what was expected one cycle ahead; NaN in the first cycle."""


def decompose(
    values: Floats,
    layout: Layout,
    *,
    seasonal: bool,
    weekly: bool,
    rates: Floats,
    level_models: Floats,
    clip: float,
    most_cycles: int,
) -> Fitted:
    """Season and level of every series, and what they would have said one cycle ahead.

    Parameters
    ----------
    values : (n_series, n_steps)
        At least one finite value in each row, of size 1 or less; what is not finite is missing.
    seasonal
        Without, there is only a level.
    weekly
        The cycle is a week: the days' common profile is what a noisy week is drawn to.
    rates : (n_rates,)
        Learning rates of the season a cycle.
    level_models : (n_models, 4)
        See ``decomposition_levels.LEVEL_MODELS``.
    clip
        Values further from season and level than so many sigma are drawn in.
    most_cycles
        Older ones, counted from a series' last value, are left out.
    """
    return Fitted(
        *_decompose(
            np.ascontiguousarray(values),
            layout,
            seasonal,
            weekly,
            rates,
            level_models,
            clip,
            min(most_cycles, int(layout.cycle[-1]) + 1),
        )
    )


@njit(cache=True, nogil=True)
def _decompose(
    values: Floats,
    layout: Layout,
    seasonal: bool,
    weekly: bool,
    rates: Floats,
    models: Floats,
    clip: float,
    cycles: int,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    n, steps = values.shape
    slots = len(layout.block)
    template, state = np.zeros((n, slots)), np.zeros((n, 3))
    growth, error = np.zeros(n), np.zeros(n)
    expected = np.full((n, steps), np.nan)
    cube, levels = np.empty((cycles, slots)), np.empty(cycles)
    paths = np.zeros((cycles, slots))  # season after each cycle
    days = layout.day[-1] + 1
    x, daily = np.empty(days), np.empty((days, 3))
    for i in range(n):
        lo, hi = _bounds(values[i], layout.cycle, cycles)
        _fill(values[i], layout, lo, cube)
        clean(cube, levels, layout, seasonal, clip)
        if seasonal:
            # What grows within a cycle because all of the series does is no season.
            ramp = _drift(levels) * ((np.arange(slots) + 0.5) / slots - 0.5)
            cube -= ramp
            season_paths(cube, levels, layout, weekly, rates, paths)
            cube += ramp
        last = hi - lo
        _daily(cube, paths[last], layout, lo, hi, x)
        growth[i] = level_paths(x, models, _LEADS_DAYS, daily)
        template[i], state[i] = paths[last], daily[-1]
        error[i] = _look_back(cube, paths, daily, layout, lo, hi, seasonal, expected[i])
    return template, state, growth, error, expected


@njit(cache=True, nogil=True)
def _bounds(row: Floats, cycle: Ints, cycles: int) -> tuple[int, int]:
    """The cycles of a series' first and last value, the first not too far back."""
    first, last = 0, len(row) - 1
    while not np.isfinite(row[first]):
        first += 1
    while not np.isfinite(row[last]):
        last -= 1
    return max(cycle[first], cycle[last] - cycles + 1), cycle[last]


@njit(cache=True, nogil=True)
def _fill(row: Floats, layout: Layout, lo: int, cube: Floats) -> None:
    """Lay a series out; where two steps meet in one slot, their mean."""
    cube[:] = np.nan
    for t in range(len(row)):
        c, v = layout.cycle[t] - lo, row[t]
        if 0 <= c < len(cube) and np.isfinite(v):
            before = cube[c, layout.slot[t]]
            cube[c, layout.slot[t]] = v if np.isnan(before) else (before + v) / 2


@njit(cache=True, nogil=True)
def _drift(levels: Floats) -> float:
    """Growth a cycle, as far as it is more than the levels' going up and down (shrunk as seasons
    are); zero of fewer than three levels."""
    n, mean, square, before = 0, 0.0, 0.0, np.nan
    for level in levels:
        growth = level - before
        if np.isfinite(growth):
            n += 1
            square += (growth - mean) ** 2 * (n - 1) / n
            mean += (growth - mean) / n
        before = level
    if n < 2 or mean == 0:
        return 0.0
    return mean * max(1 - square / (n - 1) / n / mean / mean, 0.0)  # the square of mean may be 0


@njit(cache=True, nogil=True)
def _daily(cube: Floats, season: Floats, layout: Layout, lo: int, hi: int, x: Floats) -> None:
    """Mean of every day without its season; NaN where nothing was measured."""
    x[:] = 0
    count = np.zeros(len(x))
    for t in range(len(layout.cycle)):
        c = layout.cycle[t] - lo
        if 0 <= c <= hi - lo and np.isfinite(cube[c, layout.slot[t]]):
            x[layout.day[t]] += cube[c, layout.slot[t]] - season[layout.slot[t]]
            count[layout.day[t]] += 1
    for d in range(len(x)):
        x[d] = x[d] / count[d] if count[d] else np.nan


@njit(cache=True, nogil=True)
def _look_back(
    cube: Floats,
    paths: Floats,
    daily: Floats,
    layout: Layout,
    lo: int,
    hi: int,
    seasonal: bool,
    expected: Floats,
) -> float:
    """Write what each cycle was expected to be at the end of the one before; mean squared error of
    the cleaned values."""
    total, k, origin, cycle, day, level = 0.0, 0, -1, -1, -1, np.nan
    for t in range(len(expected)):
        c, s = layout.cycle[t] - lo, layout.slot[t]
        if c > hi - lo or c < (1 if seasonal else 0):
            continue
        if c != cycle:
            cycle, origin = c, layout.day[t] - 1
        if layout.day[t] != day:
            day = layout.day[t]
            level = forecast_level(daily[origin], day - origin) if origin >= 0 else np.nan
        expected[t] = paths[c - 1, s] + level if seasonal else daily[-1, 0]
        e = cube[c, s] - expected[t]
        if np.isfinite(e):
            total += e * e
            k += 1
    return total / k if k else 0.0
