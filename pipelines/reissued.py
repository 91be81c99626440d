"""The floors of a replayed time as the schedule would have issued them: again and again, each from
what was measured by then, standing until the next one's stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.capacity_params import quantiles_of
from models.floor_windows import carried
from models.hpa import ROUNDING, step_down
from models.replay_case import ReplayCase
from pipelines.ahead import look_back, look_from
from pipelines.floor_learning import paying_levels, steps_of_grid
from pipelines.learning import Learned
from pipelines.settings import Settings

__all__ = ["issued_floors"]

_PART_S = 60.0
"""Floors are told to the minute."""


def issued_floors(
    groups: Sequence[Learned],
    series: Panel,
    start: pd.Timestamp,
    case: ReplayCase,
    unit: Floats,
    settings: Settings,
) -> Floats:
    """The floors of ``[start, series.end)``, (n, k · m) with k parts a step, as `models.replay`
    takes them; 0 is none.

    Parameters
    ----------
    groups
        Champions as they were learned at ``start``; every ``prescale.issue.refit_h`` they are
        fitted on what came since.
    series
        The n loads as measured, with the history before ``start``. An issue sees what is before it.
    case, unit
        The loads' pods, and what one of the case's units is in theirs, (n,).
    """
    step_s = series.step.total_seconds()
    n_steps = round((series.end - start) / series.step)
    n_parts = max(round(step_s / _PART_S), 1)
    out = np.zeros((series.n_series, n_steps * n_parts))
    keys = pd.MultiIndex.from_frame(series.keys[["workload", "metric"]].astype("str"))
    for group in groups:
        own = pd.MultiIndex.from_frame(group.champions.keys.astype("str"))
        row = own.get_indexer(keys)
        told = _floors(group, series, start, settings, row, case, unit)
        place = _places(told, out.shape[1], step_s / n_parts)
        out[row >= 0] = told.floors[:, place][row >= 0]
    return out


@dataclass(frozen=True, slots=True)
class _Told:
    """Floors, (n, k), the first from the beginning and for ``first_s``, the others for
    ``length_s`` each."""

    floors: Floats
    first_s: float
    length_s: float


def _floors(
    group: Learned,
    series: Panel,
    start: pd.Timestamp,
    settings: Settings,
    row: np.ndarray,
    case: ReplayCase,
    unit: Floats,
) -> _Told:
    """The floors of one group's series, in the order of the loads."""
    champions, scaling = group.champions, settings.prescale
    grid_s = champions.step.total_seconds() * steps_of_grid(champions.step, settings)
    every = max(round(scaling.issue.every_min * 60 / grid_s), 1)
    floor_s = min(scaling.capacity.floor_step_min * 60, every * grid_s)
    issues = max(round(scaling.issue.refit_h * 3600 / (every * grid_s)), 1)
    hold_s, delay_s = scaling.capacity.hold_min * 60, scaling.issue.delay_s
    lead_s = np.nan_to_num(case.pod_start_s, nan=scaling.replay.pod_start_s)
    reach_s = delay_s + every * grid_s + floor_s + float(lead_s.max(initial=0.0))
    n_ahead = int(np.ceil(reach_s / grid_s)) + 1
    begin = np.arange(0.0, every * grid_s, floor_s) + delay_s - hold_s
    names = series.keys["workload"].astype("str").tolist()
    nominal = np.array(quantiles_of(names, scaling.rules, scaling.capacity))
    per_pod = case.pod_capacity_cores * case.target_ratio * unit
    back, parts = look_back(champions, settings), list[Floats]()
    asked = np.full(len(champions.chosen), scaling.capacity.quantile)
    asked[row[row >= 0]] = nominal[row >= 0]
    level = paying_levels(champions, asked, settings)
    at = start
    while at < series.end:
        length = back + pd.Timedelta((issues * every + n_ahead) * grid_s, "s")
        ahead = look_from(champions, series, at - back, length, settings)
        first = round((at - ahead.since) / ahead.step)
        moments = first + every * np.arange(issues, dtype=np.int64)
        seen = ahead.since_then(series)
        paths = ahead.paths(seen, moments, n_ahead, level, settings, nominal=asked)[row]
        last = _before(seen, moments)[row]
        top = carried(paths, last, grid_s, begin, floor_s + lead_s + hold_s)
        parts.append(top.reshape(len(row), -1))
        at += pd.Timedelta(issues * every * grid_s, "s")
    need = np.ceil(np.nan_to_num(np.concatenate(parts, axis=1)) / per_pod[:, None] * ROUNDING)
    kept = np.clip(need, 0.0, np.nan_to_num(case.max_replicas, nan=np.inf)[:, None])
    steps = floor_s / (scaling.capacity.step_down_min * 60)
    kept = step_down(kept, 1 - (1 - scaling.capacity.step_down_share) ** steps)
    return _Told(kept, floor_s + delay_s, floor_s)


def _before(seen: Floats, moments: np.ndarray) -> Floats:
    """What was measured in the step before each moment, (n, n_moments); NaN where nothing was."""
    place = moments - 1
    inside = (place >= 0) & (place < seen.shape[1])
    out = np.full((len(seen), len(moments)), np.nan)
    out[:, inside] = seen[:, place[inside]]
    return out


def _places(told: _Told, n: int, part_s: float) -> np.ndarray:
    """Which floor stands in each part."""
    later = np.floor((np.arange(n) * part_s - told.first_s) / told.length_s) + 1
    return np.clip(later, 0, told.floors.shape[1] - 1).astype(np.intp)
