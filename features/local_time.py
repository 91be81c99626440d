"""Panels on the clock of the wall: the hours people see, labelled as if they were UTC.

Load follows the local clock, so models learn on it: 09:00 stays 09:00 when daylight saving begins
or ends. A wall grid has the panel's own step and is regular; a UTC step belongs to the grid point
that is nearest to its local time, the earlier one of two that are equally near.

In spring the hour that does not exist stays empty. In autumn an hour comes twice: the two steps of
a local time share one grid point, so positions go back once, by no more than the change. Where the
step does not divide the change (two hours, a day, seven minutes) nothing is nearer than half a
step, and nothing less than half a step moves: days stay days.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel

__all__ = ["to_wall", "wall_lattice", "wall_positions", "wall_time"]


def wall_time(ts: pd.Timestamp, timezone: str) -> pd.Timestamp:
    """The local time of a moment, labelled UTC."""
    return ts.tz_convert(timezone).tz_localize(None).tz_localize("UTC")


def to_wall(panel: Panel, timezone: str, anchor: pd.Timestamp | None = None) -> Panel:
    """The same series on the local clock.

    Parameters
    ----------
    panel
        Series in UTC.
    timezone
        IANA name; a zone that is UTC throughout gives the panel itself.
    anchor
        A point of the wall grid, where it has to meet another one (what a model was fitted on).
        Nothing means the local time of the panel's start.

    Returns
    -------
    Panel
        Start and ``times`` are local times labelled UTC. A local time that did not exist is NaN;
        one that came twice is the mean of its two values, or the one that was measured.
    """
    if not panel.n_steps:
        return replace(panel, start=anchor or wall_time(panel.start, timezone))
    anchor = wall_time(panel.start, timezone) if anchor is None else anchor
    lattice = wall_lattice(panel.start, panel.n_steps, panel.step, timezone, anchor)
    first = int(lattice.min())
    start = (anchor + first * panel.step).as_unit("ms")
    if (np.diff(lattice) == 1).all():
        return panel if start == panel.start else replace(panel, start=start)
    return replace(panel, start=start, values=_spread(panel.values, lattice - first))


def wall_lattice(
    start: pd.Timestamp, n_steps: int, step: pd.Timedelta, timezone: str, anchor: pd.Timestamp
) -> NDArray[np.int64]:
    """The grid point, counted from the anchor, that is nearest to each step's local time.

    Parameters
    ----------
    start, n_steps, step
        The steps in UTC.
    timezone
        IANA name.
    anchor
        A point of the wall grid: local time labelled UTC.

    Returns
    -------
    int64, (n_steps,)
        Negative before the anchor.
    """
    times = pd.date_range(start, periods=n_steps, freq=step)
    local = times.tz_convert(timezone).tz_localize(None).as_unit("ms")
    after_ms = local.to_numpy().astype(np.int64) - anchor.value // 10**6
    step_ms = round(step / pd.Timedelta(1, "ms"))
    return -((step_ms - 2 * after_ms) // (2 * step_ms))  # half a step is rounded down


def wall_positions(
    start: pd.Timestamp, n_steps: int, step: pd.Timedelta, timezone: str, anchor: pd.Timestamp
) -> tuple[pd.Timestamp, int, NDArray[np.intp]]:
    """Where on the wall grid the steps from a UTC moment on lie.

    What was computed on the wall grid, ``wall`` (…, n_wall) from ``wall_start`` on, is
    ``wall[..., position]`` for the UTC steps.

    Parameters
    ----------
    start, n_steps, step
        The steps in UTC; at least one.
    timezone
        IANA name.
    anchor
        A point of the wall grid that nothing may precede: the end of what a model was fitted on,
        for its forecasts. Who asks within the hour that comes twice gets, for local times that the
        model has already seen, its first one.

    Returns
    -------
    wall_start : local time labelled UTC, a whole number of steps after ``anchor``
    n_wall : points on the wall grid from there on
    position : intp, (n_steps,), from 0 to ``n_wall - 1``

    Raises
    ------
    ValueError
        There is no step.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {n_steps}")
    lattice = np.maximum(wall_lattice(start, n_steps, step, timezone, anchor), 0)
    first, last = int(lattice.min()), int(lattice.max())
    position = (lattice - first).astype(np.intp)
    return (anchor + first * step).as_unit("ms"), last - first + 1, position


def _spread(values: Floats, position: NDArray[np.int64]) -> Floats:
    """Columns to their grid points, (n_series, n_wall); two at one point become their mean."""
    out = np.full((len(values), int(position.max()) + 1), np.nan, dtype=values.dtype)
    out[:, position] = values
    point, first, count = np.unique(position, return_index=True, return_counts=True)
    early = first[count > 1]
    _, from_the_end = np.unique(position[::-1], return_index=True)
    late = len(position) - 1 - from_the_end[count > 1]
    one, two = values[:, early], values[:, late]
    mean = np.where(np.isnan(one), two, np.where(np.isnan(two), one, one / 2 + two / 2))
    out[:, point[count > 1]] = mean
    return out
