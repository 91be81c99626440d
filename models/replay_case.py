"""What a workload is replayed with: its pods and its HPA, as they were measured or as assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.capacity import CapacityParams
from models.measures import row_quantiles
from models.state import workload_state

__all__ = ["ReplayCase", "ReplayCaseParams", "assumed_case", "measured_case"]


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
    """

    pod_capacity_cores: Floats
    target_ratio: Floats
    min_replicas: Floats
    max_replicas: Floats
    pod_start_s: Floats
    refusal: list[str]

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
        )


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
    usual = pd.DataFrame(limit).median(axis=1).to_numpy(dtype=float)
    capacity = np.where(usual > 0, usual, request)
    share = state["target_ratio"].to_numpy(dtype=float) * request / capacity
    high = state["hpa_max"].to_numpy(dtype=float)
    refusal = np.select(
        [np.isnan(high), ~(capacity > 0)], ["no HPA", "no CPU request or limit of a pod"], ""
    )
    return ReplayCase(
        capacity,
        np.minimum(np.where(np.isfinite(share), share, params.target_ratio), 1.0),
        state["hpa_min"].fillna(1).to_numpy(dtype=float),
        high,
        state["lead_time_s"].to_numpy(dtype=float),
        [str(why) for why in refusal],
    )


def assumed_case(history: Floats, params: ReplayCaseParams | None = None) -> ReplayCase:
    """Pods for loads of which nothing but the load is known, from its history, (n, k)."""
    params = params or ReplayCaseParams()
    busy = row_quantiles(history, (params.busy_quantile,))[0]
    there = np.isfinite(busy) & (busy > 0)
    n = len(busy)
    return ReplayCase(
        np.where(there, busy / (params.busy_pods * params.target_ratio), np.nan),
        np.full(n, params.target_ratio),
        np.full(n, float(params.min_replicas)),
        np.full(n, float(params.max_replicas)),
        np.full(n, params.pod_start_s),
        ["" if ok else "no load: its busy level is not above 0" for ok in there],
    )
