"""What is learned for floors beside the forecast: how the next hours follow the last errors, and
what floors of each quantile would have cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.local_time import to_wall
from features.metrics import Catalog
from features.panel import Floats, Panel
from models.champion import Champions
from models.champion_fit import without_unusual
from models.floor_costs import CANDIDATES, block_means, cheapest, floor_costs
from models.nowcast import Nowcast, fit_nowcast
from models.replay_case import ReplayCase, assumed_case, measured_case
from pipelines.settings import Settings

__all__ = [
    "COSTS",
    "is_load",
    "nowcast_of",
    "paying_levels",
    "ramp_steps",
    "steps_of_grid",
    "with_floor_costs",
]

COSTS = "floor_costs"
_CPU = "cpu_usage_cores"
_BLOCK = 128
"""Series in one go: their weeks at a minute's step need not all fit in memory."""


def is_load(panel: Panel, catalog: Catalog) -> NDArray[np.bool_]:
    """Which series are demand: those whose role it is, and those that no catalog knows."""
    metrics = panel.keys["metric"]
    return np.array([not catalog.knows(m) or catalog[m].role == "demand" for m in metrics], bool)


def with_floor_costs(
    champions: Champions, part: Panel, panel: Panel, catalog: Catalog, settings: Settings
) -> Champions:
    """The champions, just fitted on ``part``, with the arrays of the nowcast and of floors' costs.

    ``panel`` has everything that is known of their workloads, HPAs among it. Rows of series that
    are no load, or have no backtest, are NaN.
    """
    n, params = part.n_series, settings.prescale.nowcast
    step_h = steps_of_grid(part.step, settings) * (part.step / pd.Timedelta(1, "h"))
    nothing = np.full((0, 0), np.nan)
    arrays: dict[str, NDArray[Any]] = {
        name: np.full((n, *shape.shape[1:]), np.nan)
        for name, shape in fit_nowcast(nothing, nothing, step_h, params).arrays().items()
    }
    arrays[COSTS] = np.full((n, len(CANDIDATES), 2), np.nan)
    outlook = champions.outlook
    told = np.zeros(n, bool) if outlook is None else np.isfinite(outlook).any(axis=1)
    rows = np.flatnonzero(is_load(part, catalog) & told)
    if outlook is not None and len(rows):
        wall = to_wall(without_unusual(part, champions.calendar), champions.calendar.timezone)
        actual = wall.values[:, wall.n_steps - outlook.shape[1] :]
        case = _case(part, panel, settings)
        for at in range(0, len(rows), _BLOCK):
            block = rows[at : at + _BLOCK]
            found = _learned(actual[block], outlook[block], _rows(case, block), part.step, settings)
            for name, values in found.items():
                arrays[name][block] = values
    calibration = replace(champions.calibration, arrays={**champions.calibration.arrays, **arrays})
    return replace(champions, calibration=calibration)


def nowcast_of(champions: Champions, settings: Settings) -> Nowcast | None:
    """What was learned of the next hours; nothing where an older release trained them."""
    size = steps_of_grid(champions.step, settings)
    step_h = size * (champions.step / pd.Timedelta(1, "h"))
    return Nowcast.from_arrays(champions.calibration.arrays, step_h, settings.prescale.nowcast)


def paying_levels(champions: Champions, levels: Floats, settings: Settings) -> Floats:
    """The quantiles at which each series' floors cost least, where it is known, (n_series,).

    ``levels``, (n_series,), are the newsvendor's own, under / (under + over); elsewhere they stay.
    """
    costs = champions.calibration.arrays.get(COSTS)
    if costs is None or not settings.prescale.capacity.beside_hpa:
        return levels
    found = cheapest(costs.astype(np.float64), levels / (1 - levels))
    return np.where(np.isnan(found), levels, found)


def steps_of_grid(step: pd.Timedelta, settings: Settings) -> int:
    """How many steps of the samples make one of the nowcast's."""
    return max(round(settings.prescale.issue.grid_s / step.total_seconds()), 1)


def ramp_steps(step: pd.Timedelta, settings: Settings) -> tuple[int, float]:
    """How many steps a floor has to see coming, its own time and a lead time, and which factor is
    more than pods at the HPA's target can burn."""
    scaling = settings.prescale.capacity
    seen_s = scaling.floor_step_min * 60 + scaling.lead_time_s
    return max(int(np.ceil(seen_s / step.total_seconds())), 1), 1 / scaling.target_ratio


def _learned(
    actual: Floats,
    outlook: NDArray[Any],
    case: ReplayCase,
    step: pd.Timedelta,
    settings: Settings,
) -> dict[str, NDArray[Any]]:
    scaling, size = settings.prescale, steps_of_grid(step, settings)
    last = round(pd.Timedelta(scaling.issue.judged_days, "D") / (size * step)) * size
    last = min(last, actual.shape[1] // size * size)
    seen, told = block_means(actual, size), block_means(outlook, size)
    step_h = size * step / pd.Timedelta(1, "h")
    nowcast = fit_nowcast(seen, told, step_h, scaling.nowcast)
    costs = floor_costs(
        actual[:, actual.shape[1] - last :],
        seen[:, seen.shape[1] - last // size :],
        told[:, told.shape[1] - last // size :],
        nowcast,
        case,
        step_s=step_h * 3600,
        floor_step_s=scaling.capacity.floor_step_min * 60,
        hold_s=scaling.capacity.hold_min * 60,
        issue=scaling.issue,
        hpa=scaling.replay,
        ramps=(*ramp_steps(size * step, settings), scaling.capacity.quantile),
    )
    return {**nowcast.arrays(), COSTS: costs}


def _case(part: Panel, panel: Panel, settings: Settings) -> ReplayCase:
    """The pods of each series: measured for CPU where there is an HPA, else assumed."""
    scaling = settings.prescale
    assumed = assumed_case(part.values, scaling.replay_case)
    known = measured_case(panel, part.keys["workload"].tolist(), scaling.capacity)
    use = known.usable & (part.keys["metric"] == _CPU).to_numpy()

    def pick(name: str) -> Floats:
        return np.where(use, getattr(known, name), getattr(assumed, name))

    return ReplayCase(
        pick("pod_capacity_cores"),
        pick("target_ratio"),
        pick("min_replicas"),
        pick("max_replicas"),
        pick("pod_start_s"),
        ["" if mine else why for mine, why in zip(use, assumed.refusal, strict=True)],
        pick("request_cores"),
    )


def _rows(case: ReplayCase, rows: NDArray[np.intp]) -> ReplayCase:
    mask = np.zeros(len(case.refusal), dtype=bool)
    mask[rows] = True
    return case.select(mask)
