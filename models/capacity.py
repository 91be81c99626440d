"""From a demand forecast to replicas: the floor that has to stand *now* so that the pods are ready
*then*.

The rule is the Horizontal Pod Autoscaler's own (Kubernetes documentation, "Horizontal Pod
Autoscaling, algorithm details"): replicas = ceil(usage / (target utilisation × request of a pod)).
It is asked about the demand of the next lead time instead of the demand of now, held for a while,
and stepped down, because an HPA drops at once when its floor is lowered. A floor only ever raises
what the user set: it stays within [minReplicas, maxReplicas]. The HPA's tolerance is no part of it:
a floor carries its quantile at the target, not a tenth above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from models.capacity_params import CapacityParams
from models.floor_grid import MAX_REPLICAS, FloorGrid
from models.hpa import Ints, hpa_replicas
from models.hpa_demand import resting_replicas

__all__ = [
    "CapacityForecast",
    "CapacityParams",
    "capacity_forecast",
    "capacity_frame",
]

_EPOCH = pd.Timestamp(0, tz="UTC")


@dataclass(frozen=True, slots=True)
class CapacityForecast:
    """What a forecast asks for, for n workloads over m steps.

    Attributes
    ----------
    replicas : int64, (n, m)
        The floor that has to stand from a step on: never below the user's minReplicas, never above
        maxReplicas; its lead time is rounded up to whole steps.
    ready_replicas : int64, (n, m)
        The pods that have to be ready at a step: the same floor without any lead time.
    reactive_replicas : int64, (n, m)
        What the HPA alone would have at that moment, at the median forecast, its tolerance
        included.
    cpu_cores, memory_bytes : float64, (n, m)
        Requests of that many pods; NaN where a pod's request is not known.
    lead_time_s : float64, (n,)
    lead_time_source : list of n strings
        Where the lead time comes from.
    gate, gate_reason : list of n strings
        ``act`` or ``shadow``, and why.
    quantile : float64, (n,)
        The demand quantile behind ``replicas``.
    start, step : of the floors' own grid: the m steps are ``params.floor_step_min`` long.
    """

    replicas: Ints
    ready_replicas: Ints
    reactive_replicas: Ints
    cpu_cores: Floats
    memory_bytes: Floats
    lead_time_s: Floats
    lead_time_source: list[str]
    gate: list[str]
    gate_reason: list[str]
    quantile: Floats
    start: pd.Timestamp
    step: pd.Timedelta


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
    start: pd.Timestamp = _EPOCH,
    params: CapacityParams | None = None,
    shadow: Sequence[str] | None = None,
    per_pod: Floats | None = None,
    quantile: Floats | None = None,
    basis: Sequence[str] | None = None,
    tolerance: tuple[Floats, Floats] | None = None,
    lead_time_source: Sequence[str] | None = None,
) -> CapacityForecast:
    """The floor of every workload, for ``floor_step_min`` each, (n, k) by clock times.

    Demand runs straight between the middles of its steps. The floor from t on carries the demand
    of [t, t + floor step + lead time] and that of the ``hold_min`` before t. The demand after the
    last step is not known: give a forecast that reaches a lead time further than the plan.

    Parameters
    ----------
    demand_q, demand_median : float64, (n, m)
        CPU cores of the whole workload, at its quantile and at the median; NaN where nothing was
        forecast. With ``per_pod`` any demand.
    request_per_pod_cores, request_per_pod_bytes, target_ratio, min_replicas, max_replicas,
    lead_time_s : float64, (n,)
        NaN where not known. No ``max_replicas`` means no HPA; no ``min_replicas`` means 1, as in
        Kubernetes.
    shadow : n strings
        Why a workload must not be acted on (forecast stale, no champion); empty where it may.
    per_pod : float64, (n,)
        Demand that a pod carries at the HPA's target; nothing: CPU, target × request.
    quantile : float64, (n,)
        Of ``demand_q``; nothing: the params'.
    basis : n strings
        From what the demand was worked out, told beside the reason; empty for nothing to tell.
    tolerance : two of float64, (n,)
        The HPA's, upwards and downwards; nothing: its default of 0.1.
    lead_time_source : n strings
        Where ``lead_time_s`` comes from; ``default`` stands wherever it is not known.
    step, start : of the demand; the first floor begins at or just before ``start``
    """
    params = params or CapacityParams()
    known = np.isfinite(lead_time_s) & (lead_time_s >= 0)
    lead = np.where(known, lead_time_s, params.lead_time_s)
    has_target = (target_ratio > 0) & np.isfinite(target_ratio)
    target = np.where(has_target, target_ratio, params.target_ratio)
    low, high = _bounds(min_replicas, max_replicas)
    carries = (target * request_per_pod_cores if per_pod is None else per_pod)[:, None]
    need = hpa_replicas(demand_q, carries)
    with np.errstate(over="ignore"):  # more than a float can say is inf, and clamped
        pods, median = (
            np.maximum(d, 0.0) / np.where(carries > 0, carries, np.nan)
            for d in (demand_q, demand_median)
        )
    grid = FloorGrid.over(start, step, demand_q.shape[1], params)
    low_, high_ = low[:, None], high[:, None]
    replicas = grid.floors(pods, lead, low_, high_, params)
    alone = resting_replicas(grid.most(median, 0.0, np.zeros(len(low))), low, high, tolerance)
    level = np.full(len(need), params.quantile) if quantile is None else quantile
    request = request_per_pod_cores if per_pod is None else None
    may, why = _gate(demand_q, need, request, (min_replicas, max_replicas), level, shadow)
    return CapacityForecast(
        replicas=replicas.astype(np.int64),
        ready_replicas=grid.floors(pods, np.zeros(len(low)), low_, high_, params).astype(np.int64),
        reactive_replicas=alone.astype(np.int64),
        cpu_cores=replicas * np.asarray(request_per_pod_cores)[:, None],
        memory_bytes=replicas * np.asarray(request_per_pod_bytes)[:, None],
        lead_time_s=lead,
        lead_time_source=_sources(known, lead_time_source),
        gate=may,
        gate_reason=why if basis is None else _with(why, basis),
        quantile=level,
        start=grid.start,
        step=pd.Timedelta(grid.floor_s, "s"),
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
            "ready_replicas": forecast.ready_replicas.ravel(),
            "reactive_replicas": forecast.reactive_replicas.ravel(),
            "cpu_cores": forecast.cpu_cores.ravel(),
            "memory_bytes": forecast.memory_bytes.ravel(),
            "lead_time_s": forecast.lead_time_s[row],
            "lead_time_source": label(forecast.lead_time_source),
            "quantile": forecast.quantile[row],
            "gate": label(forecast.gate),
            "gate_reason": label(forecast.gate_reason).astype("str"),
            "valid_until": valid_until,
        }
    )


def _bounds(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The user's bounds as numbers: no minimum is 1, no maximum all that an HPA can count to."""
    least = np.clip(np.where(np.isnan(low), 1.0, low), 0, MAX_REPLICAS)
    most = np.where(np.isnan(high), MAX_REPLICAS, high)
    return least, np.clip(most, least, MAX_REPLICAS)


def _with(why: Sequence[str], basis: Sequence[str]) -> list[str]:
    return [f"{w}; {b}" if b else w for w, b in zip(why, basis, strict=True)]


def _sources(known: NDArray[np.bool_], given: Sequence[str] | None) -> list[str]:
    told = given if given is not None else ["measured"] * len(known)
    return [text if k else "default" for k, text in zip(known, told, strict=True)]


def _gate(
    demand: Floats,
    need: Floats,
    request: Floats | None,
    bounds: tuple[Floats, Floats],
    quantile: Floats,
    shadow: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """Whether each workload may be acted on; the first reason against it counts."""
    low, high = bounds
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
        (
            np.zeros(len(demand), bool) if request is None else ~(request > 0),
            "no CPU request of a pod: utilisation has no meaning",
        ),
        (missing == total, "no CPU forecast" if request is not None else "no forecast of demand"),
        (missing > 0, _words(missing) + f" of {total} steps have no forecast"),
    ]
    clamped = (
        "forecast asks for " + asks + " replicas, maxReplicas is " + bound + ": " + lack + " short"
    )
    covered = np.array([_covered(q) for q in quantile])
    reason = np.select(
        [when for when, _ in against] + [short],
        [np.broadcast_to(np.asarray(why, dtype=object), given.shape) for _, why in against]
        + [clamped],
        default=covered.astype(object),
    )
    acts = ~np.any([when for when, _ in against], axis=0)
    return np.where(acts, "act", "shadow").tolist(), [str(r) for r in reason]


def _covered(quantile: float) -> str:
    if quantile <= 0:
        return "no floor pays: its HPA alone comes as cheap"
    return f"carries the {100 * quantile:.4g}% quantile of the forecast"


def _words(numbers: Floats | Ints) -> NDArray[np.object_]:
    """Whole numbers as text, elementwise."""
    whole = np.clip(np.nan_to_num(numbers), -MAX_REPLICAS, MAX_REPLICAS).astype(np.int64)
    return whole.astype(str).astype(object)
