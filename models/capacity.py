"""From a demand forecast to replicas: the floor that has to stand *now* so that the pods are ready
*then*.

The rule is the Horizontal Pod Autoscaler's own (Kubernetes documentation, "Horizontal Pod
Autoscaling, algorithm details"): replicas = ceil(usage / (target utilisation × request of a pod)).
It is asked about the demand of the next lead time instead of the demand of now, held for a while,
and stepped down, because an HPA drops at once when its floor is lowered. A floor only ever raises
what the user set: it stays within [minReplicas, maxReplicas].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from models.hpa import Ints, hpa_replicas, rolling_max, step_down

__all__ = [
    "CapacityForecast",
    "CapacityParams",
    "capacity_forecast",
    "capacity_frame",
    "lead_time_s",
]

_MAX_REPLICAS = 2**31 - 1
"""HPA's own type is int32."""


@dataclass(frozen=True, slots=True)
class CapacityParams:
    """How a forecast becomes a floor."""

    quantile: float = 0.95
    """The demand quantile that a floor has to carry."""
    lead_time_s: float = 300.0
    """Node start + image pull + pod ready, where none was measured."""
    lead_quantile: float = 0.95
    """Which of the measured start times counts as the lead time."""
    hold_min: float = 15.0
    """How long a floor stands after the demand that asked for it."""
    step_down_share: float = 0.25
    """Largest share of a floor that is given back in ``step_down_min``; always at least one replica
    a step."""
    step_down_min: float = 5.0
    target_ratio: float = 0.7
    """CPU utilisation target of the request, where the HPA's own is not known."""
    state_window_h: float = 24.0
    """Settings (HPA bounds, requests) older than this count as gone."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        shares = ("quantile", "lead_quantile", "step_down_share", "target_ratio")
        for key in shares:
            value = getattr(self, key)
            if not 0 < value <= 1:
                raise ValueError(f"capacity: {key} must be in (0, 1], got {value!r}")
        for key in ("lead_time_s", "hold_min"):
            value = getattr(self, key)
            if not 0 <= value < np.inf:
                raise ValueError(f"capacity: {key} must be 0 or more, got {value!r}")
        for key in ("step_down_min", "state_window_h"):
            value = getattr(self, key)
            if not 0 < value < np.inf:
                raise ValueError(f"capacity: {key} must be more than 0, got {value!r}")


@dataclass(frozen=True, slots=True)
class CapacityForecast:
    """What a forecast asks for, for n workloads over m steps.

    Attributes
    ----------
    replicas : int64, (n, m)
        The floor: never below the user's minReplicas, never above maxReplicas.
    reactive_replicas : int64, (n, m)
        What the HPA alone would want at that moment, at the median forecast.
    cpu_cores, memory_bytes : float64, (n, m)
        Requests of that many pods; NaN where a pod's request is not known.
    lead_time_s : float64, (n,)
    gate, gate_reason : list of n strings
        ``act`` or ``shadow``, and why.
    quantile : float
        The demand quantile behind ``replicas``.
    """

    replicas: Ints
    reactive_replicas: Ints
    cpu_cores: Floats
    memory_bytes: Floats
    lead_time_s: Floats
    gate: list[str]
    gate_reason: list[str]
    quantile: float


def capacity_forecast(
    demand_q: Floats,
    demand_median: Floats,
    *,
    request_per_pod_cores: Floats,
    request_per_pod_bytes: Floats,
    target_ratio: Floats,
    min_replicas: Floats,
    max_replicas: Floats,
    lead_time_s: Floats,
    step: pd.Timedelta,
    params: CapacityParams | None = None,
    shadow: Sequence[str] | None = None,
) -> CapacityForecast:
    """The floor of every workload at every step.

    The floor of the step at t carries the demand of [t, t + step + lead time) and that of the
    ``hold_min`` before t. A lead time is rounded up to whole steps. The demand after the last step
    is not known: give a forecast that reaches a lead time further than the plan.

    Parameters
    ----------
    demand_q, demand_median : float64, (n, m)
        CPU cores of the whole workload, at the plan's quantile and at the median; NaN where nothing
        was forecast.
    request_per_pod_cores, request_per_pod_bytes, target_ratio, min_replicas, max_replicas,
    lead_time_s : float64, (n,)
        NaN where not known. No ``max_replicas`` means no HPA; no ``min_replicas`` means 1, as in
        Kubernetes.
    shadow : n strings
        Why a workload must not be acted on (forecast stale, no champion); empty where it may.
    """
    params = params or CapacityParams()
    step_s = step / pd.Timedelta(1, "s")
    lead = np.where(np.isfinite(lead_time_s) & (lead_time_s >= 0), lead_time_s, params.lead_time_s)
    target = np.where(
        (target_ratio > 0) & np.isfinite(target_ratio), target_ratio, params.target_ratio
    )
    low = np.clip(np.where(np.isnan(min_replicas), 1.0, min_replicas), 0, _MAX_REPLICAS)
    high = np.clip(
        np.where(np.isnan(max_replicas), _MAX_REPLICAS, max_replicas), low, _MAX_REPLICAS
    )

    per_pod = (target * request_per_pod_cores)[:, None]
    need = _hold(hpa_replicas(demand_q, per_pod), lead, step_s, params)
    bounds = (low[:, None], high[:, None])
    share = 1 - (1 - params.step_down_share) ** (step_s / (params.step_down_min * 60))
    replicas = step_down(np.clip(need, *bounds), share)
    reactive = np.clip(np.nan_to_num(hpa_replicas(demand_median, per_pod), nan=0.0), *bounds)
    gate, reason = _gate(
        demand_q, need, request_per_pod_cores, min_replicas, max_replicas, params, shadow
    )
    return CapacityForecast(
        replicas=replicas.astype(np.int64),
        reactive_replicas=reactive.astype(np.int64),
        cpu_cores=replicas * np.asarray(request_per_pod_cores)[:, None],
        memory_bytes=replicas * np.asarray(request_per_pod_bytes)[:, None],
        lead_time_s=lead,
        gate=gate,
        gate_reason=reason,
        quantile=params.quantile,
    )


def capacity_frame(
    forecast: CapacityForecast,
    workloads: Sequence[str],
    times: pd.DatetimeIndex,
    *,
    issued_at: pd.Timestamp,
    valid_until: pd.Timestamp,
) -> pd.DataFrame:
    """The rows of the capacity table, one a workload and step, without ``run_id``."""
    n, m = forecast.replicas.shape
    row = np.repeat(np.arange(n), m)

    def label(values: Sequence[str]) -> pd.Categorical:
        codes, categories = pd.factorize(np.asarray(values, dtype=object))
        return pd.Categorical.from_codes(codes[row], categories=pd.Index(categories, dtype="str"))

    return pd.DataFrame(
        {
            "workload": label(workloads),
            "issued_at": issued_at,
            "ts": times[np.tile(np.arange(m), n)],
            "replicas": forecast.replicas.ravel(),
            "reactive_replicas": forecast.reactive_replicas.ravel(),
            "cpu_cores": forecast.cpu_cores.ravel(),
            "memory_bytes": forecast.memory_bytes.ravel(),
            "lead_time_s": forecast.lead_time_s[row],
            "quantile": forecast.quantile,
            "gate": label(forecast.gate),
            "gate_reason": label(forecast.gate_reason).astype("str"),
            "valid_until": valid_until,
        }
    )


def lead_time_s(pod_start_seconds: Floats, params: CapacityParams | None = None) -> Floats:
    """Lead time of each workload in seconds, (n, m) → (n,): a high quantile of its measured pod
    starts.

    Where no start was measured (NaN, or not above 0) the default of the params stands.
    """
    params = params or CapacityParams()
    measured = np.isfinite(pod_start_seconds) & (pod_start_seconds > 0)
    count = measured.sum(axis=1)
    if not pod_start_seconds.shape[1]:
        return np.full(len(count), params.lead_time_s)
    ordered = np.sort(np.where(measured, pod_start_seconds, np.inf), axis=1)
    rank = np.maximum(np.ceil(params.lead_quantile * count).astype(np.intp) - 1, 0)
    return np.where(count > 0, ordered[np.arange(len(count)), rank], params.lead_time_s)


def _hold(need: Floats, lead_s: Floats, step_s: float, params: CapacityParams) -> Floats:
    """Each workload's need, moved earlier by its lead time and held; workloads with one lead time
    go together."""
    back = int(np.ceil(params.hold_min * 60 / step_s))
    steps = np.minimum(np.ceil(lead_s / step_s), need.shape[1]).astype(np.intp)
    out = np.empty_like(need)
    for ahead in np.unique(steps):
        rows = steps == ahead
        out[rows] = rolling_max(need[rows], min(back, need.shape[1]), int(ahead))
    return out


def _gate(
    demand: Floats,
    need: Floats,
    request: Floats,
    low: Floats,
    high: Floats,
    params: CapacityParams,
    shadow: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """Whether each workload may be acted on; the first reason against it counts."""
    given = np.array(shadow if shadow is not None else [""] * len(demand), dtype=object)
    missing, total = np.isnan(demand).sum(axis=1), demand.shape[1]
    peak = need.max(axis=1, initial=0)
    short = peak > high
    asks, bound, lack = (_words(v) for v in (peak, high, peak - high))
    against = [
        (given != "", given),
        (np.isnan(high), "no HPA: nothing holds a floor for this workload"),
        (high < np.where(np.isnan(low), 1, low), "the HPA's minReplicas is above its maxReplicas"),
        (low == 0, "minReplicas is 0: an HPA at zero replicas does not follow its floor"),
        (~(request > 0), "no CPU request of a pod: utilisation has no meaning"),
        (missing == total, "no CPU forecast"),
        (missing > 0, _words(missing) + f" of {total} steps have no forecast"),
    ]
    clamped = (
        "forecast asks for " + asks + " replicas, maxReplicas is " + bound + ": " + lack + " short"
    )
    covered = f"carries the {params.quantile:.0%} quantile of the forecast"
    reason = np.select(
        [when for when, _ in against] + [short],
        [np.broadcast_to(np.asarray(why, dtype=object), given.shape) for _, why in against]
        + [clamped],
        default=covered,
    )
    acts = ~np.any([when for when, _ in against], axis=0)
    return np.where(acts, "act", "shadow").tolist(), [str(r) for r in reason]


def _words(numbers: Floats | Ints) -> NDArray[np.object_]:
    """Whole numbers as text, elementwise."""
    whole = np.clip(np.nan_to_num(numbers), -_MAX_REPLICAS, _MAX_REPLICAS).astype(np.int64)
    return whole.astype(str).astype(object)
