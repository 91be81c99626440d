"""Demand → pods, by the workload's own HPA: every metric that it scales on asks for pods, and the
largest number counts.

Forecast is demand, never pods: what follows from the number of pods that are there would follow our
own floors. CPU and memory are such: every pod brings an idle share of its own, so more pods show
more of it. Where requests are forecast too, they are divided by what a pod carries of them at the
HPA's target (``models.per_pod``), and the idle share is in the curve, not in the demand. Without
such a curve CPU itself is demand: a floor then sees its own idle share again, and since that is
less than the target each time less of it; it settles, a little higher. Memory itself is none: it
hardly falls when pods are added.

Source: Kubernetes documentation, "Horizontal Pod Autoscaling", algorithm details.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.hpa import ROUNDING
from models.hpa_answers import CPU, MEMORY, REQUESTS, Answer, Load, Told, answer
from models.hpa_spec import HpaMetric
from models.per_pod import CurveParams, per_pod_curve

__all__ = ["Needs", "needs", "resting_replicas", "wanted_metrics"]


@dataclass(frozen=True, slots=True)
class Needs:
    """Pods at the HPA's targets that n workloads need, not yet whole ones.

    Attributes
    ----------
    quantile, median : float64, (n, m)
        At the workload's quantile and at the median; NaN where nothing says it.
    against : n strings
        Which of its metrics says nothing, and why; empty where all do.
    doubts : n strings
        Why a forecast behind it must not be acted on; empty where it may.
    basis : n strings
        From what it was worked out; empty for the usual, CPU over its target.
    paid : float64, (n,)
        The quantile behind ``quantile``: the workload's, or the one that pays in its place.
    """

    quantile: Floats
    median: Floats
    against: list[str]
    doubts: list[str]
    basis: list[str]
    paid: Floats


def wanted_metrics(
    specs: Mapping[str, Sequence[HpaMetric]], names: Mapping[str, str]
) -> frozenset[str]:
    """The metrics whose forecasts somebody's HPA may ask for."""
    every = [m for metrics in specs.values() for m in metrics]
    own = {m.name for m in every if m.source not in ("resource", "container_resource")}
    memory = {MEMORY} if any(m.name == "memory" for m in every) else set[str]()
    return frozenset({CPU, REQUESTS, *memory, *names.values(), *own})


def needs(
    workloads: Sequence[str],
    specs: Mapping[str, Sequence[HpaMetric]],
    told: Told,
    *,
    panel: Panel,
    state: pd.DataFrame,
    quantiles: Sequence[float],
    names: Mapping[str, str] | None = None,
    params: CurveParams | None = None,
) -> Needs:
    """What the HPAs of n workloads will ask for.

    Parameters
    ----------
    specs : workload → its HPA's metrics; a workload without one scales on CPU, at ``target_ratio``
    panel : history of demand, CPU, memory and replicas, for what a pod carries
    state : frame, n rows, as of ``models.state.workload_state``
    quantiles : of each workload, each of them among ``told.levels``
    names : the HPA's metric name → ours; the same name needs no entry
    """
    names = dict(names or {})
    usual = [HpaMetric("resource", "cpu", "utilization", t) for t in state["target_ratio"]]
    asked = [(i, m) for i, w in enumerate(workloads) for m in specs.get(w, (usual[i],))]
    row = np.array([i for i, _ in asked], dtype=np.intp)
    is_asked = any(m.name == "memory" for _, m in asked)
    history = panel if is_asked else panel.select((panel.keys["metric"] != MEMORY).to_numpy())
    load = _load(workloads, told, (REQUESTS, *names.values()), history, params or CurveParams())
    answers = answer(asked, workloads, told, state, load, names)
    level = np.array([list(told.levels).index(q) for q in quantiles], dtype=np.intp)
    middle = np.full(len(level), list(told.levels).index(0.5), dtype=np.intp)
    against, doubts, basis = ([""] * len(level) for _ in range(3))
    paid = np.full(len(level), np.nan)
    for i, a in zip(row.tolist(), answers, strict=True):
        against[i] = against[i] or a.against
        doubts[i] = doubts[i] or (told.doubts[a.series] if a.series >= 0 else "")
        if a.series >= 0 and told.paid is not None:
            paid[i] = np.fmax(paid[i], told.paid[level[i], a.series])
        basis[i] = " and ".join(t for t in (basis[i], a.basis) if t)
    return Needs(
        quantile=_largest(row, answers, told, level),
        median=_largest(row, answers, told, middle),
        against=against,
        doubts=doubts,
        basis=basis,
        paid=np.where(np.isnan(paid), np.asarray(quantiles, dtype=np.float64), paid),
    )


def resting_replicas(
    pods: Floats, low: Floats, high: Floats, tolerance: tuple[Floats, Floats] | None = None
) -> Floats:
    """Where an HPA rests that is asked for ``pods``, (n, m), within its bounds, (n,).

    It moves only where the pods that it needs are more than its tolerance, (n,) upwards and
    downwards, beside those it has; without an answer (NaN) it stays. It begins at its first need.
    """
    up, down = tolerance if tolerance is not None else (np.full(len(pods), 0.1),) * 2
    out, now = np.empty(pods.shape), np.full(len(pods), np.nan)
    most = 2.0 * np.max(high, initial=1.0)
    for t in range(pods.shape[1]):
        need = np.clip(pods[:, t], 0.0, most)
        # 1e-9: a share of exactly the tolerance is within it, whatever its last binary digit
        near = (need <= now * (1 + up + 1e-9)) & (need >= now * (1 - down - 1e-9))
        moved = np.where(near | np.isnan(need), now, np.ceil(need * ROUNDING))
        now = np.clip(moved, low, high)
        out[:, t] = np.where(np.isnan(now), low, now)
    return out


def _load(
    workloads: Sequence[str],
    told: Told,
    metrics: tuple[str, ...],
    panel: Panel,
    params: CurveParams,
) -> Load:
    """Each workload's first metric of requests that is forecast, and what a pod makes of it."""
    n = len(workloads)
    rows = np.stack([told.rows(workloads, [m] * n) for m in metrics])
    is_there = rows >= 0
    first = np.argmax(is_there, axis=0)
    series = np.where(is_there.any(axis=0), rows[first, np.arange(n)], -1)
    names = list(workloads)
    pods = panel.matrix("available_replicas", names)
    pods = np.where(np.isnan(pods), panel.matrix("replicas", names), pods)
    pods = np.where(pods >= 1, pods, np.nan)
    history = np.full(pods.shape, np.nan)
    for k in np.unique(first[series >= 0]):
        mine = np.flatnonzero((series >= 0) & (first == k))
        history[mine] = panel.matrix(metrics[int(k)], [names[i] for i in mine])
    history /= pods
    return Load(
        [metrics[int(k)] for k in first],
        series,
        {
            "cpu": per_pod_curve(history, panel.matrix(CPU, names) / pods, params, "CPU"),
            # the fullest pod's own: no sum over pods
            "memory": per_pod_curve(history, panel.matrix(MEMORY, names), params, "memory"),
        },
    )


def _largest(
    row: NDArray[np.intp], answers: Sequence[Answer], told: Told, level: NDArray[np.intp]
) -> Floats:
    """The most pods that any metric asks for, (n, m), at each workload's level."""
    n, m = len(level), told.values.shape[2]
    out = np.full((n, m), np.nan)
    use = np.array([a.series >= 0 for a in answers], dtype=bool)
    if not use.any():
        return out
    row = row[use]
    series = np.array([a.series for a in answers], dtype=np.intp)[use]
    carries = np.array([a.carries for a in answers])[use]
    pods = told.values[level[row], series] / carries[:, None]
    begin = np.flatnonzero(np.diff(row, prepend=-1))  # rows come in order
    out[row[begin]] = np.maximum.reduceat(pods, begin, axis=0)
    return out
