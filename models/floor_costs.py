"""What a floor at each quantile would have cost a workload, with its own HPA beside it.

The newsvendor's quantile, under / (under + over), holds for who has nothing but the forecast. A
workload has its HPA too: what a low floor misses, the HPA brings a pod start later. So the quantile
that pays is found out: floors of several quantiles are made from the backtest's out-of-sample
forecasts, as they would have been issued, and laid over what the HPA alone would have done; counted
are pod-hours, and the pod-hours that were missing at the HPA's target. `cheapest` then weighs one
against the other. Where no floor pays, the lowest, none at all, wins.

With floors under it the HPA would have asked for no more than it did alone: pods are the larger of
the two, and a pod that is asked for is ready a lead time later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.panel import Floats
from models.floor_windows import carried, laid_over, straight
from models.hpa import ROUNDING
from models.nowcast import LEVELS, Nowcast
from models.ramps import rising
from models.replay_case import ReplayCase
from models.replayed_hpa import ReplayParams, replay

__all__ = ["CANDIDATES", "IssueParams", "block_means", "cheapest", "floor_costs"]

CANDIDATES = (0.0, *sorted({*LEVELS, 0.85, 0.925}))
"""Quantiles that are compared; 0 is no floor at all."""
_TICK_S = 60.0
_ALIKE = 0.002
_LEAST = 1e-100
"""A pod that carries less is nobody's: quotients would not be numbers."""


@dataclass(frozen=True, slots=True)
class IssueParams:
    """How often floors are renewed, and how late: as config/prefect.yaml schedules it."""

    every_min: float = 15.0
    """From one forecast to the next; a longer step of the samples counts instead."""
    delay_s: float = 180.0
    """From the last sample that a forecast sees to the floor that stands in the cluster."""
    grid_s: float = 300.0
    """Errors are looked at on no finer grid: the largest of many noisy steps is noise."""
    judged_days: float = 14.0
    """Over how much of the backtest floors' costs are counted, its newest part."""
    refit_h: float = 1.0
    """In a replay, how often the models are fitted on what came since."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for key in ("every_min", "grid_s", "judged_days", "refit_h"):
            if not 0 < (value := getattr(self, key)) < np.inf:
                raise ValueError(f"issue: {key} must be more than 0, got {value!r}")
        if not 0 <= self.delay_s < np.inf:
            raise ValueError(f"issue: delay_s must be 0 or more, got {self.delay_s!r}")


def floor_costs(
    demand: Floats,
    actual: Floats,
    point: Floats,
    nowcast: Nowcast,
    case: ReplayCase,
    *,
    step_s: float,
    floor_step_s: float = 900.0,
    hold_s: float = 0.0,
    issue: IssueParams | None = None,
    hpa: ReplayParams | None = None,
    ramps: tuple[int, float, float] | None = None,
) -> Floats:
    """Pod-hours and missing pod-hours of floors at ``CANDIDATES``, (n, n_candidates, 2).

    Parameters
    ----------
    demand : (n, m · k)
        What came, k values a step.
    actual, point : (n, m)
        The steps' means of it, and what had been forecast for them, one after the other.
    step_s : length of the m steps
    floor_step_s : how long a floor stands unchanged
    hold_s : how long it stands after the demand that asked for it
    ramps : within how many steps a rise is looked for, by which factor, and the quantile that
        stands where there is one
    case : the n workloads' pods and HPAs, in the metric's unit

    NaN for a workload that the case refuses or the nowcast does not know.
    """
    issue, hpa = issue or IssueParams(), hpa or ReplayParams()
    out = np.full((len(actual), len(CANDIDATES), 2), np.nan)
    carried_by_pod = case.pod_capacity_cores * case.target_ratio
    sound = np.isfinite(carried_by_pod) & (carried_by_pod > _LEAST)
    rows = np.flatnonzero(nowcast.known & case.usable & sound)
    every = max(round(issue.every_min * 60 / step_s), 1)
    if not len(rows) or actual.shape[1] < 2 * every + 2:
        return out
    mine, pods = nowcast.select(rows), case.select(_mask(rows, len(actual)))
    own_s = step_s * actual.shape[1] / demand.shape[1]
    n_parts = max(round(own_s / _TICK_S), 1)
    demand, tick_s = straight(demand[rows], n_parts), own_s / n_parts
    alone = replay(
        demand,
        tick_s,
        pod_capacity_cores=pods.pod_capacity_cores,
        target_ratio=pods.target_ratio,
        min_replicas=pods.min_replicas,
        max_replicas=pods.max_replicas,
        pod_start_s=pods.pod_start_s,
        params=_ticking(hpa, tick_s),
    )
    carries: Floats = pods.pod_capacity_cores * pods.target_ratio
    wanted = demand / carries[:, None]
    lead = np.ceil(pods.pod_start_s / tick_s).astype(np.int64)
    floors = _Floors.over(
        actual[rows],
        point[rows],
        mine,
        pods,
        step_s,
        every,
        floor_step_s,
        hold_s,
        issue.delay_s,
        ramps,
    )
    first, length = round(floors.first_s / tick_s), max(round(floors.length_s / tick_s), 1)
    for k, level in enumerate(CANDIDATES):
        stand = floors.at(level)
        ticks = laid_over(alone.replicas, wanted, stand, first, length, lead)
        out[rows, k] = ticks * (tick_s / 3600)
    return out


def block_means(values: NDArray[Any], size: int) -> Floats:
    """Means of every ``size`` steps, NaN skipped, (n, m) → (n, m // size), the oldest rest cut off;
    NaN where nothing was measured."""
    n, m = values.shape
    parts = np.asarray(values, dtype=np.float64)[:, m % size :].reshape(n, -1, size)
    there = np.isfinite(parts)
    count = there.sum(axis=2)
    total = np.where(there, parts, 0.0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def cheapest(costs: NDArray[Any], under_over: Floats) -> Floats:
    """The quantile at which a workload's floors cost least, (n, n_candidates, 2) → (n,).

    ``under_over`` (n,) is what a missing pod-hour costs beside an idle one. Of quantiles that cost
    all but the same the lowest is taken: two weeks do not tell them apart, and it needs the fewest
    pods. NaN where nothing was compared.
    """
    total = costs[:, :, 0] + under_over[:, None] * costs[:, :, 1]
    there: NDArray[np.bool_] = np.asarray(np.isfinite(total).all(axis=1))
    total = np.where(there[:, None], total, 0.0)
    best = np.argmax(total <= total.min(axis=1, keepdims=True) * (1 + _ALIKE), axis=1)
    return np.where(there, np.array(CANDIDATES)[best], np.nan)


@dataclass(frozen=True, slots=True)
class _Floors:
    """The floors of a while as they would have been issued, at any quantile.

    The first stands from ``first_s`` on, each for ``length_s``.
    """

    middle: Floats
    unit: Floats
    least: Floats
    last: Floats
    nowcast: Nowcast
    pods: ReplayCase
    step_s: float
    begin_s: Floats
    carries_s: Floats
    first_s: float
    length_s: float

    @classmethod
    def over(
        cls,
        actual: Floats,
        point: Floats,
        nowcast: Nowcast,
        pods: ReplayCase,
        step_s: float,
        every: int,
        floor_step_s: float,
        hold_s: float,
        delay_s: float,
        ramps: tuple[int, float, float] | None,
    ) -> _Floors:
        """Everything that the quantile does not change."""
        m, window_s, lead_s = actual.shape[1], every * step_s, pods.pod_start_s
        floor_s = min(floor_step_s, window_s)
        reach_s = delay_s + window_s + floor_s + float(lead_s.max(initial=0.0))
        n_ahead = int(np.ceil(reach_s / step_s)) + 1
        at = np.arange(every, max(m - n_ahead, every), every, dtype=np.int64)
        middle, unit = nowcast.parts(actual, point, at, n_ahead)
        plain = point[:, at[:, None] + np.arange(n_ahead)]
        further = ~np.isfinite(middle)
        middle, unit = np.where(further, plain, middle), np.where(further, 0.0, unit)
        least = np.full(middle.shape, -np.inf)
        if ramps is not None and len(at):
            steep = rising(point, *ramps[:2])[:, at[:, None] + np.arange(n_ahead)]
            high = np.nan_to_num(nowcast.offsets_at(np.full(len(point), ramps[2]), n_ahead))
            least = np.where(steep, high[:, None], -np.inf)
        begin = np.arange(0.0, window_s, floor_s) + delay_s
        return cls(
            middle, unit, least, actual[:, at - 1], nowcast, pods, step_s, begin - hold_s,
            floor_s + lead_s + hold_s, at[0] * step_s + delay_s if len(at) else 0.0, floor_s,
        )  # fmt: skip

    def at(self, level: float) -> Floats:
        """Floors at a quantile, (n, k); 0 is none."""
        n, moments, n_ahead = self.middle.shape
        if level <= 0 or not moments:
            return np.zeros((n, 1))
        offsets = np.nan_to_num(self.nowcast.offsets_at(np.full(n, level), n_ahead))
        paths = self.middle + self.unit * np.maximum(offsets[:, None], self.least)
        top = carried(paths, self.last, self.step_s, self.begin_s, self.carries_s).reshape(n, -1)
        carries: Floats = self.pods.pod_capacity_cores * self.pods.target_ratio
        need = np.ceil(np.nan_to_num(top) / carries[:, None] * ROUNDING)
        return np.minimum(need, self.pods.max_replicas[:, None])


def _mask(rows: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = np.zeros(n, dtype=bool)
    out[rows] = True
    return out


def _ticking(hpa: ReplayParams, tick_s: float) -> ReplayParams:
    """The same HPA at coarser ticks: by a share of one it may add in one what it may in several."""
    syncs = max(tick_s / hpa.sync_s, 1.0)
    return replace(
        hpa,
        sync_s=tick_s,
        scale_up_pods=round(hpa.scale_up_pods * syncs),
        scale_up_share=(1 + hpa.scale_up_share) ** syncs - 1,
        interpolate=False,
    )
