"""What a workload is replayed with: its pods and its HPA, as they were measured or as assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.capacity import CapacityParams
from models.hpa_spec import HpaSpec
from models.measures import row_quantiles
from models.state import workload_state

__all__ = [
    "ReplayCase",
    "ReplayCaseParams",
    "assumed_case",
    "measured_case",
    "with_hpas",
]

_CPU = "cpu"
_NO_HPA = "no HPA"


@dataclass(frozen=True, slots=True)
class ReplayCaseParams:
    """The pods of a load that comes without any: sized on its own past, alike for every load."""

    busy_pods: float = 40.0
    """Pods that carry the busy level at the HPA's target."""
    busy_quantile: float = 0.99
    """Which quantile of the history is the busy level."""
    target_ratio: float = 0.7
    min_replicas: int = 2
    max_replicas: int = 400
    pod_start_s: float = 180.0
    """From the decision to a ready pod."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not 0 < self.busy_pods < np.inf:
            raise ValueError(f"replay_case: busy_pods must be more than 0, got {self.busy_pods!r}")
        for key in ("busy_quantile", "target_ratio"):
            value = getattr(self, key)
            if not 0 < value <= 1:
                raise ValueError(f"replay_case: {key} must be in (0, 1], got {value!r}")
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise ValueError(
                "replay_case: min_replicas must be from 1 to max_replicas, "
                f"got {self.min_replicas!r} and {self.max_replicas!r}"
            )
        if not 0 <= self.pod_start_s < np.inf:
            raise ValueError(f"replay_case: pod_start_s must be 0 or more, got {self.pod_start_s}")


@dataclass(frozen=True, slots=True)
class ReplayCase:
    """Pods and HPAs of n workloads; every array is float64, (n,).

    Attributes
    ----------
    pod_capacity_cores : what one pod can burn, in the demand's unit
    target_ratio : the HPA's target as a share of that
    min_replicas, max_replicas : the HPA's bounds
    pod_start_s : from the decision to a ready pod
    refusal : list of n strings
        Why a workload cannot be replayed; empty where it can.
    request_cores : what a pod requests
    hpas : list of n autoscalers whose behaviour is known, nothing for the others
    """

    pod_capacity_cores: Floats
    target_ratio: Floats
    min_replicas: Floats
    max_replicas: Floats
    pod_start_s: Floats
    refusal: list[str]
    request_cores: Floats
    hpas: list[HpaSpec | None] = field(default_factory=list["HpaSpec | None"])

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which workloads can be replayed, (n,)."""
        return np.array([not why for why in self.refusal], dtype=bool)

    def select(self, rows: NDArray[np.bool_]) -> ReplayCase:
        """The given workloads, by mask."""
        return ReplayCase(
            self.pod_capacity_cores[rows],
            self.target_ratio[rows],
            self.min_replicas[rows],
            self.max_replicas[rows],
            self.pod_start_s[rows],
            [why for why, keep in zip(self.refusal, rows, strict=True) if keep],
            self.request_cores[rows],
            [hpa for hpa, keep in zip(self.hpas, rows, strict=True) if keep] if self.hpas else [],
        )


def with_hpas(
    case: ReplayCase, keys: pd.DataFrame, hpas: Mapping[str, HpaSpec]
) -> tuple[ReplayCase, list[str]]:
    """The case with the bounds, targets and behaviours of known autoscalers.

    Parameters
    ----------
    keys : frame ``workload, metric`` of the case's n loads
    hpas : workload → its autoscaler

    Returns
    -------
    The case, and for each load that has an autoscaler in ``hpas`` whose metrics say nothing of it a
    line: its target stays what it was. A CPU utilisation is of the request; an average value is of
    a pod where the metric has the load's name.
    """
    low, high = case.min_replicas.copy(), case.max_replicas.copy()
    target, capacity = case.target_ratio.copy(), case.pod_capacity_cores.copy()
    refusal = list(case.refusal)
    given: list[HpaSpec | None] = [hpas.get(str(w)) for w in keys["workload"]]
    unknown: list[str] = []
    for i, (spec, metric) in enumerate(zip(given, keys["metric"], strict=True)):
        if spec is None:
            continue
        low[i], high[i] = max(spec.min_replicas, 1), spec.max_replicas
        refusal[i] = "" if refusal[i] == _NO_HPA else refusal[i]
        share, of_pod = _target(spec, str(metric))
        if share > 0:
            target[i] = min(share * case.request_cores[i] / capacity[i], 1.0)
        elif of_pod > 0:
            capacity[i] = of_pod / target[i]
            refusal[i] = ""
        else:
            names = ", ".join(m.name for m in spec.metrics)
            unknown.append(f"{spec.name} scales on {names}, which says nothing of {metric}")
    known = ReplayCase(
        capacity, target, low, high, case.pod_start_s, refusal, case.request_cores, given
    )
    return known, unknown


def _target(spec: HpaSpec, metric: str) -> tuple[float, float]:
    """An autoscaler's target for a load: as a share of the request, and as an amount of one pod; 0
    where it has none."""
    share = of_pod = 0.0
    for m in spec.metrics:
        if m.target_type == "utilization" and m.name == _CPU:
            share = m.target
        elif m.target_type == "average_value" and m.name == metric:
            of_pod = m.target
    return (0.0, of_pod) if of_pod else (share, 0.0)


def measured_case(
    panel: Panel, workloads: Sequence[str], params: CapacityParams | None = None
) -> ReplayCase:
    """Pods and HPAs as they are at the end of a panel; a pod can burn its CPU limit, or its request
    where it has none (a median over the panel).
    """
    params = params or CapacityParams()
    names = list(workloads)
    state = workload_state(panel, names, params)
    request = state["request_cores"].to_numpy(dtype=float)
    limit = panel.matrix("cpu_limit_cores", names) / panel.matrix("replicas", names)
    limit[~np.isfinite(limit)] = np.nan
    usual, seen = np.full(len(names), np.nan), ~np.isnan(limit).all(axis=1)
    # of rows without a value numpy warns, and threads cannot each keep that quiet
    usual[seen] = np.nanmedian(limit[seen], axis=1) if seen.any() else np.nan
    capacity = np.where(usual > 0, usual, request)
    share = state["target_ratio"].to_numpy(dtype=float) * request / capacity
    low, high = (state[c].to_numpy(dtype=float) for c in ("hpa_min", "hpa_max"))
    refusal = np.select(
        [~(capacity > 0), np.isnan(high), high < np.fmax(low, 1)],
        [
            "no CPU request or limit of a pod",
            _NO_HPA,
            "the HPA's minReplicas is above its maxReplicas",
        ],
        "",
    )
    return ReplayCase(
        capacity,
        np.minimum(np.where(np.isfinite(share), share, params.target_ratio), 1.0),
        np.nan_to_num(low, nan=1.0),
        high,
        state["lead_time_s"].to_numpy(dtype=float),
        [str(why) for why in refusal],
        request,
    )


def assumed_case(history: Floats, params: ReplayCaseParams | None = None) -> ReplayCase:
    """Pods for loads of which nothing but the load is known, from its history, (n, k)."""
    params = params or ReplayCaseParams()
    busy = row_quantiles(history, (params.busy_quantile,))[0]
    there = np.isfinite(busy) & (busy > 0)
    n = len(busy)
    capacity = np.where(there, busy / (params.busy_pods * params.target_ratio), np.nan)
    return ReplayCase(
        capacity,
        np.full(n, params.target_ratio),
        np.full(n, float(params.min_replicas)),
        np.full(n, float(params.max_replicas)),
        np.full(n, params.pod_start_s),
        ["" if ok else "no load: its busy level is not above 0" for ok in there],
        capacity,
    )
