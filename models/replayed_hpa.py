"""One policy over history: the HPA as it is, with pods that take their time and, where asked for,
nodes.

One tick is one HPA sync. The HPA is Kubernetes' v2 controller, as documented ("Horizontal Pod
Autoscaling", algorithm details), as its source reads (pkg/controller/podautoscaler) and as seen on
a real control plane:

- replicas = ceil(usage / target); within the tolerance, its own in each direction, nothing changes;
  pods that are not ready count as using nothing on the way up and are left out on the way down;
- each direction has its stabilisation window and its policies (pods or percent in a period, the
  largest or the smallest of several, or none at all); by default up at once by 4 pods or 100 % in
  15 s, and down to the largest recommendation of the last 300 s;
- below its floor it jumps there in one sync, past policies and windows; a lowered floor drops at
  once to what the metrics need, for windows hold recommendations and not the floor; scale-down
  policies make it glide, but not within a period after a scale-up;
- without metrics (NaN demand, or no pod that is ready) only the floor moves it; a target at zero
  replicas is left alone, whatever the floor.

Usage is what ready pods can burn: min(demand, ready × ``pod_capacity_cores``). A saturated workload
therefore hides its true demand, and the HPA climbs in stairs of at most 1/target each pod start, as
real ones do. Give ``pod_capacity_cores`` as a pod's CPU *limit*, and ``target_ratio`` as target
utilisation × request / limit, where limit and request differ. Lost work is lost: no queue is
carried over.

In favour of the reactive HPA, metrics are of this very moment unless ``metric_window_s`` says
otherwise. Not replayed: an HPA without any ``behavior`` adds up to 4 pods where there are less than
4, this one up to 4 more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from features.panel import Floats
from models.hpa import Ints
from models.hpa_kernel import Pods, run
from models.hpa_rules import behaviours_of, rules_of
from models.hpa_spec import HpaSpec, ScalingPolicy, ScalingRules
from models.node_supply import NodeParams, no_supply, supply_of

__all__ = ["ReplayParams", "ReplayResult", "replay"]

MAX_REPLICAS = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayParams:
    """The replayed HPA where no behaviour is given, with Kubernetes' own defaults."""

    sync_s: float = 15.0
    tolerance: float = 0.1
    scale_up_pods: int = 4
    """Most pods added in a sync, or ``scale_up_share`` of those there, whichever is more."""
    scale_up_share: float = 1.0
    stabilisation_s: float = 300.0
    """How long a recommendation keeps the HPA from scaling down."""
    pod_start_s: float = 180.0
    """From the decision to a ready pod, where no other is given; from a place on a node, where
    nodes are replayed."""
    metric_window_s: float = 0.0
    """How long a pod must have been ready before its usage counts, while it is young; the
    metrics-server's own resolution is 15."""
    cpu_initialisation_s: float = 300.0
    """Until when after its start a pod is young: the controller manager's own default."""
    interpolate: bool = True
    """Demand runs straight between the middles of the steps; otherwise a step's mean stands all
    step."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not 0 < self.sync_s < np.inf:
            raise ValueError(f"replay: sync_s must be more than 0, got {self.sync_s!r}")
        for key in (
            "tolerance", "scale_up_share", "stabilisation_s", "pod_start_s",
            "metric_window_s", "cpu_initialisation_s",
        ):  # fmt: skip
            value = getattr(self, key)
            if not 0 <= value < np.inf:
                raise ValueError(f"replay: {key} must be 0 or more, got {value!r}")
        if self.scale_up_pods < 1:
            raise ValueError(f"replay: scale_up_pods must be 1 or more, got {self.scale_up_pods!r}")

    @property
    def up(self) -> ScalingRules:
        """The way up."""
        share = ScalingPolicy("percent", round(100 * self.scale_up_share), 1)
        return ScalingRules(
            0, (share, ScalingPolicy("pods", self.scale_up_pods, 1)), "max", self.tolerance
        )

    @property
    def down(self) -> ScalingRules:
        """The way down."""
        every = ScalingPolicy("percent", 100, 1)
        return ScalingRules(round(self.stabilisation_s), (every,), "max", self.tolerance)


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
    node_hours : float64, (n,), or nothing where no nodes were replayed
        Nodes that are there or on their way, since both are paid for.
    """

    unserved_core_h: Floats
    over_target_core_h: Floats
    demand_core_h: Floats
    replica_hours: Floats
    short_pod_min: Floats
    replicas: Floats
    ready: Floats
    node_hours: Floats | None = None


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
    hpas: Sequence[HpaSpec | None] | None = None,
    initial_replicas: ArrayLike | None = None,
    nodes: NodeParams | None = None,
    request_cores: ArrayLike | None = None,
    room: ArrayLike | None = None,
    hold: ArrayLike | None = None,
) -> ReplayResult:
    """One policy over history.

    Parameters
    ----------
    demand : float64, (n, m)
        CPU cores that the workload's users ask for, mean of each step; NaN where not measured.
    pod_capacity_cores, target_ratio, min_replicas, max_replicas, pod_start_s : scalar or (n,)
        What one pod can burn; the HPA's target as a share of that; its bounds, NaN or 0 for a
        ``min_replicas`` that is 1; decision to ready.
    floors : float64, (n, m) or (n, k · m), or nothing
        Floor from the start of each k-th part of a step; it only raises, up to ``max_replicas``;
        NaN is no floor.
    hpas : n HPAs, or nothing
        Their behaviours, and targets that are counted in whole percent, instead of the params';
        bounds and targets are those given above.
    initial_replicas : scalar or (n,), or nothing
        Pods at the start; nothing (or NaN) is where a reactive HPA rests. At 0 it is disabled.
    nodes, request_cores, room, hold
        What pods run on, what each asks of a node (scalar or (n,), by default what it can burn),
        pods that places are held for, and whether nodes may be taken away (broadcast to (n, m));
        without ``nodes`` there is always a place.

    Raises
    ------
    ValueError
        A capacity or target is not above 0, a minimum is above its maximum, a pod does not fit on a
        node, or a step is shorter than a sync.
    """
    params = params or ReplayParams()
    n, m = demand.shape
    ticks = round(step_s / params.sync_s)
    if ticks < 1:
        raise ValueError(f"replay: step_s must be at least sync_s {params.sync_s}, got {step_s!r}")
    pods = _pods(
        _each(pod_capacity_cores, n),
        _each(target_ratio, n),
        _bounds(_each(min_replicas, n), _each(max_replicas, n)),
        _each(params.pod_start_s if pod_start_s is None else pod_start_s, n),
        _each(np.nan if initial_replicas is None else initial_replicas, n),
        hpas,
        params,
        ticks * m,
    )
    asked = _each(pod_capacity_cores if request_cores is None else request_cores, n)
    supply = (
        no_supply(n) if nodes is None else supply_of(nodes, asked, params.sync_s, m, room, hold)
    )
    sums, replicas, ready = run(
        np.ascontiguousarray(np.where(np.isfinite(demand), np.maximum(demand, 0.0), np.nan)),
        _raised(floors, demand.shape, pods),
        ticks,
        pods,
        rules_of(*behaviours_of(hpas or [None] * n, (params.up, params.down)), params.sync_s),
        supply,
        params.interpolate,
    )
    hours = step_s / ticks / 3600
    unserved, over, total, asked_for, short, node = (sums * hours).T
    steps = (replicas / ticks, ready / ticks, None if nodes is None else node)
    return ReplayResult(unserved, over, total, asked_for, short * 60, *steps)


def _bounds(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The bounds as the API server takes them: unset is 1, and the minimum never the larger."""
    low = np.maximum(np.nan_to_num(low, nan=1.0), 1)
    wrong = high < low
    if wrong.any():
        raise ValueError(
            "replay: min_replicas must not be above max_replicas, "
            f"got {low[wrong][0]:g} and {high[wrong][0]:g}"
        )
    low = np.minimum(low, MAX_REPLICAS)
    return low, np.clip(np.nan_to_num(high, nan=MAX_REPLICAS), low, MAX_REPLICAS)


def _pods(
    capacity: Floats,
    target: Floats,
    bounds: tuple[Floats, Floats],
    start_s: Floats,
    first: Floats,
    hpas: Sequence[HpaSpec | None] | None,
    params: ReplayParams,
    n_ticks: int,
) -> Pods:
    for name, values in (("pod_capacity_cores", capacity), ("target_ratio", target)):
        if not (values > 0).all():
            raise ValueError(f"replay: {name} must be above 0, got {values[~(values > 0)][0]}")
    start_s = np.where(np.isfinite(start_s) & (start_s >= 0), start_s, params.pod_start_s)
    fresh_s = np.clip(params.cpu_initialisation_s - start_s, 0.0, params.metric_window_s)
    percent = [_percent(spec) for spec in hpas] if hpas else np.zeros(len(capacity))

    def ticks(seconds: Floats) -> Ints:
        syncs = np.ceil(seconds / params.sync_s * (1 - 1e-12))
        return np.minimum(syncs, n_ticks).astype(np.int64)

    low, high = (bound.astype(np.int64) for bound in bounds)
    return Pods(
        capacity,
        target,
        np.array(percent, dtype=np.float64),
        low,
        high,
        ticks(start_s),
        ticks(fresh_s),
        np.clip(np.nan_to_num(first, nan=-1.0), -1, MAX_REPLICAS).astype(np.int64),
    )


def _percent(spec: HpaSpec | None) -> float:
    """The CPU utilisation that an HPA aims at, which the controller rounds to whole percent."""
    for metric in spec.metrics if spec else ():
        if metric.target_type == "utilization" and metric.name == "cpu":
            return round(100 * metric.target)
    return 0.0


def _raised(floors: Floats | None, shape: tuple[int, ...], pods: Pods) -> Ints:
    """The floor of every part of a step, within the HPA's bounds."""
    n, m = shape
    if floors is None:
        return np.repeat(pods.low[:, None], m, axis=1)
    if floors.shape[0] != n or (m and (not floors.shape[1] or floors.shape[1] % m)):
        raise ValueError(
            f"replay: floors must be of {n} rows and k × {m} steps, got {floors.shape}"
        )
    raised = np.nan_to_num(floors, nan=0.0)
    within = np.clip(raised, pods.low[:, None], pods.high[:, None])
    return np.ascontiguousarray(within, dtype=np.int64)


def _each(values: ArrayLike, n: int) -> Floats:
    return np.array(np.broadcast_to(np.asarray(values, dtype=np.float64), (n,)))
