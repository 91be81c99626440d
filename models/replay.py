"""Pre-scaling replayed over history: what a floor would have saved, and what it would have cost.

One tick is one HPA sync. The HPA is Kubernetes' v2 controller with its defaults, as documented
("Horizontal Pod Autoscaling", algorithm details) and as seen on a real control plane:

- replicas = ceil(usage / target), within a tolerance of 10 % nothing changes; pods that are not
ready
  count as using nothing on the way up and are left out on the way down;
- up at once, by at most 4 pods or 100 % in 15 s; down to the largest recommendation of the last 300
s; - below its floor it jumps there in one step, past every policy; a lowered floor holds nothing
back; - without metrics (NaN demand, or no pod ready) only the floor moves it.

Usage is what ready pods can burn: min(demand, ready × ``pod_capacity_cores``). A saturated workload
therefore hides its true demand, and the HPA climbs in stairs of at most 1/target each pod start, as
real ones do. Give ``pod_capacity_cores`` as a pod's CPU *limit*, and ``target_ratio`` as target
utilisation × request / limit, where limit and request differ. Lost work is lost: no queue is
carried over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from features.panel import Floats
from models.floors import last_week_floors, oracle_floors
from models.hpa_kernel import Rules, run

__all__ = ["ReplayParams", "ReplayResult", "compare", "replay", "totals"]

_MAX_REPLICAS = 1_000_000
_MEASURES = ["demand", "unserved", "over_target", "replica_hours", "short_pod_min"]
_SHARES = ["unserved_cut_share", "over_target_cut_share", "replica_hours_ratio"]


@dataclass(frozen=True, slots=True)
class ReplayParams:
    """The replayed HPA, with Kubernetes' own defaults."""

    sync_s: float = 15.0
    tolerance: float = 0.1
    scale_up_pods: int = 4
    """Most pods added in a sync, or ``scale_up_share`` of those there, whichever is more."""
    scale_up_share: float = 1.0
    stabilisation_s: float = 300.0
    """How long a recommendation keeps the HPA from scaling down."""
    pod_start_s: float = 180.0
    """From the decision to a ready pod, where no other is given."""
    interpolate: bool = True
    """Demand runs straight between the middles of the steps; otherwise a step's mean stands all
    step."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not 0 < self.sync_s < np.inf:
            raise ValueError(f"replay: sync_s must be more than 0, got {self.sync_s!r}")
        for key in ("tolerance", "scale_up_share", "stabilisation_s", "pod_start_s"):
            value = getattr(self, key)
            if not 0 <= value < np.inf:
                raise ValueError(f"replay: {key} must be 0 or more, got {value!r}")
        if self.scale_up_pods < 1:
            raise ValueError(f"replay: scale_up_pods must be 1 or more, got {self.scale_up_pods!r}")


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """One policy's week, for n workloads over m steps.

    Attributes
    ----------
    unserved_core_h, over_target_core_h, demand_core_h : float64, (n,)
        Core-hours of demand above what ready pods can burn, above their target, and in all.
    replica_hours : float64, (n,)
        Pods asked for, ready or not, since both are paid for.
    short_pod_min : float64, (n,)
        Pod-minutes that were missing to carry the demand at its target.
    replicas, ready : float64, (n, m)
        Mean of each step.
    """

    unserved_core_h: Floats
    over_target_core_h: Floats
    demand_core_h: Floats
    replica_hours: Floats
    short_pod_min: Floats
    replicas: Floats
    ready: Floats


def replay(
    demand: Floats,
    step_s: float,
    *,
    pod_capacity_cores: ArrayLike,
    target_ratio: ArrayLike,
    min_replicas: ArrayLike,
    max_replicas: ArrayLike,
    floors: Floats | None = None,
    pod_start_s: ArrayLike | None = None,
    params: ReplayParams | None = None,
) -> ReplayResult:
    """One policy over history.

    Parameters
    ----------
    demand : float64, (n, m)
        CPU cores that the workload's users ask for, mean of each step; NaN where not measured.
    pod_capacity_cores, target_ratio, min_replicas, max_replicas, pod_start_s : scalar or (n,)
        What one pod can burn; the HPA's target as a share of that; its bounds; decision to ready.
    floors : float64, (n, m) or nothing
        Floor from the start of each step; it only raises, up to ``max_replicas``; NaN is no floor.

    Raises
    ------
    ValueError
        A capacity or target is not above 0, or a step is shorter than a sync.
    """
    params = params or ReplayParams()
    n, m = demand.shape
    ticks = round(step_s / params.sync_s)
    if ticks < 1:
        raise ValueError(f"replay: step_s must be at least sync_s {params.sync_s}, got {step_s!r}")
    capacity, target = _each(pod_capacity_cores, n), _each(target_ratio, n)
    for name, values in (("pod_capacity_cores", capacity), ("target_ratio", target)):
        if not (values > 0).all():
            raise ValueError(f"replay: {name} must be above 0, got {values[~(values > 0)][0]}")
    low = np.clip(np.nan_to_num(_each(min_replicas, n), nan=1.0), 1, _MAX_REPLICAS)
    high = np.clip(np.nan_to_num(_each(max_replicas, n), nan=_MAX_REPLICAS), low, _MAX_REPLICAS)
    start = _each(params.pod_start_s if pod_start_s is None else pod_start_s, n)
    start = np.where(np.isfinite(start) & (start >= 0), start, params.pod_start_s)
    raised = np.zeros((n, m)) if floors is None else np.nan_to_num(floors, nan=0.0)
    rules = Rules(
        tolerance=params.tolerance,
        scale_up_pods=params.scale_up_pods,
        scale_up_share=params.scale_up_share,
        stabilisation_ticks=int(np.ceil(params.stabilisation_s / params.sync_s)),
        interpolate=params.interpolate,
    )
    sums, replicas, ready = run(
        np.where(np.isfinite(demand), np.maximum(demand, 0.0), np.nan),
        np.clip(raised, low[:, None], high[:, None]).astype(np.int64),
        ticks,
        capacity,
        target,
        low.astype(np.int64),
        high.astype(np.int64),
        np.minimum(np.ceil(start / params.sync_s), ticks * m).astype(np.int64),
        rules,
    )
    hours = step_s / ticks / 3600
    unserved, over, total, pods, short = (sums * hours).T
    return ReplayResult(unserved, over, total, pods, short * 60, replicas / ticks, ready / ticks)


def compare(
    demand: Floats,
    step_s: float,
    *,
    workloads: list[str],
    pod_capacity_cores: ArrayLike,
    target_ratio: ArrayLike,
    min_replicas: ArrayLike,
    max_replicas: ArrayLike,
    floors: Floats | None = None,
    history: Floats | None = None,
    pod_start_s: ArrayLike | None = None,
    params: ReplayParams | None = None,
) -> pd.DataFrame:
    """Every policy over the same demand, one row a policy and workload.

    Policies: ``reactive`` (no floor), ``foretide`` (``floors``, where given), ``last_week`` (the
    one-line rule, where ``history``, the demand that ends where this one starts, is given),
    ``oracle``. Columns: ``policy, workload, demand, unserved, over_target`` (core-hours),
    ``replica_hours, short_pod_min`` as in ``ReplayResult``, and beside the reactive HPA of the same
    workload ``unserved_cut_share, over_target_cut_share`` (1: all of it gone, negative: more than
    before) and ``replica_hours_ratio``. A share of nothing is NaN: where the reactive HPA misses
    nothing there is nothing to cut.
    """
    params = params or ReplayParams()
    per_pod = np.asarray(pod_capacity_cores) * np.asarray(target_ratio)
    start = params.pod_start_s if pod_start_s is None else pod_start_s
    policies: dict[str, Floats | None] = {"reactive": None}
    if floors is not None:
        policies["foretide"] = floors
    if history is not None:
        policies["last_week"] = last_week_floors(
            demand, history, step_s, target_per_pod_cores=per_pod
        )
    policies["oracle"] = oracle_floors(
        demand, step_s, target_per_pod_cores=per_pod, pod_start_s=start
    )
    frames: list[pd.DataFrame] = []
    for policy, policy_floors in policies.items():
        done = replay(
            demand,
            step_s,
            pod_capacity_cores=pod_capacity_cores,
            target_ratio=target_ratio,
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            floors=policy_floors,
            pod_start_s=start,
            params=params,
        )
        measures = {
            "demand": done.demand_core_h,
            "unserved": done.unserved_core_h,
            "over_target": done.over_target_core_h,
            "replica_hours": done.replica_hours,
            "short_pod_min": done.short_pod_min,
        }
        frames.append(pd.DataFrame({"policy": policy, "workload": workloads, **measures}))
    return _with_shares(pd.concat(frames, ignore_index=True))


def totals(comparison: pd.DataFrame) -> pd.DataFrame:
    """``compare``'s rows summed over workloads, one row a policy; the shares are those of the
    sums."""
    measured = comparison.groupby("policy", sort=False)[_MEASURES].sum().reset_index()
    return _with_shares(measured.assign(workload="*"))[["policy", *_MEASURES, *_SHARES]]


def _with_shares(frame: pd.DataFrame) -> pd.DataFrame:
    reactive = frame[frame["policy"] == "reactive"].set_index("workload")
    beside = reactive[_MEASURES].loc[frame["workload"]].set_index(frame.index)
    ratio = frame[_MEASURES] / beside.where(beside > 0)
    return frame.assign(
        unserved_cut_share=1 - ratio["unserved"],
        over_target_cut_share=1 - ratio["over_target"],
        replica_hours_ratio=ratio["replica_hours"],
    )


def _each(values: ArrayLike, n: int) -> Floats:
    return np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), (n,)))
