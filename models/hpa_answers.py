"""Which forecast answers a metric that an HPA scales on, and what one pod carries of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from models.hpa_spec import HpaMetric
from models.per_pod import RequestCurves

__all__ = ["CPU", "MEMORY", "REQUESTS", "Answer", "Load", "Told", "answer", "carried_by"]

_BASIS = re.compile(r"(\S+) at ([0-9.]+(?:e[-+][0-9]+)?) a pod")
"""What ``_basis`` says."""

CPU, MEMORY, REQUESTS = "cpu_usage_cores", "memory_working_set_bytes", "requests_per_second"
_OURS = {"cpu": CPU, "memory": MEMORY}
_WORDS = {"cpu": "CPU", "memory": "memory"}
_NEAR = 1.1
"""Memory this near its target, as a share of it, moves no HPA: its default tolerance."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is forecast for s series on one grid of m steps.

    Attributes
    ----------
    keys : frame ``workload, metric``, s rows
    values : float64, (levels, s, m)
    levels : the quantiles of ``values``, the median among them
    doubts : s strings
        Why a series' forecast must not be acted on; empty where it may.
    paid : float64, (levels, s), or nothing where ``levels`` says it all
        At which quantile a series is told where a level is asked for.
    """

    keys: pd.DataFrame
    values: Floats
    levels: Sequence[float]
    doubts: Sequence[str]
    paid: Floats | None = None

    def rows(self, workloads: Sequence[str], metrics: Sequence[str]) -> NDArray[np.intp]:
        """Which series are those of the given pairs; -1 for what is not forecast."""
        known = pd.MultiIndex.from_frame(self.keys[["workload", "metric"]].astype("str"))
        asked = pd.MultiIndex.from_arrays([list(workloads), list(metrics)])
        return np.asarray(known.get_indexer(asked), dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Load:
    """Of n workloads: their metric of requests, its series (-1: none is forecast), and curves from
    a pod's requests to its ``cpu`` and ``memory``."""

    metrics: Sequence[str]
    series: NDArray[np.intp]
    curves: Mapping[str, RequestCurves]


@dataclass(frozen=True, slots=True)
class Answer:
    """Demand by which series, over what a pod ``carries`` of it at the HPA's target.

    Without a series (-1) the metric asks for no pods that we know of: ``against`` says why nothing
    may be done then; where it is empty too, the metric does not matter.
    """

    series: int = -1
    carries: float = np.nan
    against: str = ""
    basis: str = ""


@dataclass(frozen=True, slots=True)
class _Resource:
    """CPU or memory of one workload: its series, the target of a pod, the way by requests."""

    word: str
    ours: int
    target: float
    request_is_missing: bool
    requests: str
    load: int
    carries: float
    refusal: str
    peak: float


def answer(
    asked: Sequence[tuple[int, HpaMetric]],
    workloads: Sequence[str],
    told: Told,
    state: pd.DataFrame,
    load: Load,
    names: Mapping[str, str],
) -> list[Answer]:
    """The answer to each metric; ``asked`` are pairs of a workload's number and its HPA's metric,
    ``names`` and ``state`` as of ``models.hpa_demand.needs``."""
    resources = [_resource_of(m, names) for _, m in asked]
    row = np.array([i for i, _ in asked], dtype=np.intp)
    is_memory = np.array([r == "memory" for r in resources], dtype=bool)
    target = np.array([m.target for _, m in asked])
    share = np.array([m.target_type == "utilization" for _, m in asked], dtype=bool)
    requests = [state[c].to_numpy(np.float64)[row] for c in ("request_cores", "request_bytes")]
    target = target * np.where(share, np.where(is_memory, requests[1], requests[0]), 1.0)
    carries = np.where(
        is_memory, *(load.curves[r].take(row).requests_at(target) for r in ("memory", "cpu"))
    )
    mine = [workloads[i] for i, _ in asked]
    series = told.rows(
        mine,
        [
            _OURS.get(r, names.get(m.name, m.name))
            for r, (_, m) in zip(resources, asked, strict=True)
        ],
    )
    peak = _peaks(told, np.where(is_memory, series, -1))
    out: list[Answer] = []
    for k, (i, metric) in enumerate(asked):
        resource, found = resources[k], int(series[k])
        if not resource:
            out.append(_other(metric, found, names))
            continue
        known = _Resource(
            word=_WORDS[resource],
            ours=found,
            target=float(target[k]),
            request_is_missing=bool(share[k] and not target[k] > 0),
            requests=load.metrics[i],
            load=int(load.series[i]),
            carries=float(carries[k]),
            refusal=load.curves[resource].refusal[i],
            peak=float(peak[k]),
        )
        out.append(_by_requests(known) or (_memory if is_memory[k] else _cpu)(known))
    return out


def _resource_of(metric: HpaMetric, names: Mapping[str, str]) -> str:
    """``cpu`` or ``memory`` of a pod; empty for every other metric."""
    if metric.source == "resource":
        return metric.name if metric.name in _OURS else ""
    if metric.source == "container_resource":
        told = names.get(f"{metric.name}/{metric.container}")
        return next((r for r, ours in _OURS.items() if ours == told), "")
    return ""


def _by_requests(known: _Resource) -> Answer | None:
    """By requests over a pod's share of them, where the curve is believed."""
    if known.request_is_missing:
        return Answer(against=f"no {known.word} request of a pod: utilisation has no meaning")
    if known.load < 0 or not known.carries > 0:
        return None
    basis = _basis(known.requests, known.carries)
    return Answer(known.load, known.carries, basis=basis)


def _cpu(known: _Resource) -> Answer:
    why = _no_curve(known)
    if known.ours < 0:
        return Answer(against="no CPU forecast" + (f", and {why}" if why else ""))
    return Answer(known.ours, known.target, basis=f"by CPU itself: {why}" if why else "")


def _memory(known: _Resource) -> Answer:
    """Memory is no demand: it counts where requests explain it, or where it never binds."""
    why = _no_curve(known) or "no requests are forecast that would explain memory"
    if known.ours >= 0 and known.peak <= known.target * _NEAR:
        return Answer(basis="memory stays below its target")
    told = "goes above its target" if known.ours >= 0 else "is not forecast"
    return Answer(against=f"memory {told}, and how many pods it asks for is not known: {why}")


def _no_curve(known: _Resource) -> str:
    """Why there is no way by requests; empty where no requests are forecast."""
    if known.load < 0:
        return ""
    if known.refusal:
        return known.refusal
    return f"a pod was never seen near its {known.word} target, or is above it without requests"


def _other(metric: HpaMetric, series: int, names: Mapping[str, str]) -> Answer:
    """Pods, Object and External metrics, and resources that are not known."""
    key = f"{metric.name}/{metric.container}" if metric.container else metric.name
    what = f"the HPA scales on {metric.source} metric {key!r}"
    if metric.target_type == "value":
        return Answer(
            against=f"{what} with a target of type Value, which multiplies the pods that are there "
            "and is no demand; give it an averageValue"
        )
    ours = names.get(key)
    if metric.source in ("resource", "container_resource"):
        hint = (
            ""
            if metric.source == "resource"
            else (
                f"; where this container is nearly all of the pod, set prescale.hpa_metrics: "
                f"{{{key}: {_OURS.get(metric.name, 'OUR_METRIC')}}}"
            )
        )
        return Answer(against=f"{what}, which is not measured by itself{hint}")
    if series < 0:
        hint = (
            f"prescale.hpa_metrics calls it {ours!r}, which is not forecast"
            if ours
            else f"no metric of that name is forecast; set prescale.hpa_metrics: "
            f"{{{key}: OUR_METRIC}}"
        )
        return Answer(against=f"{what}: {hint}")
    return Answer(series, metric.target, basis=_basis(ours or metric.name, metric.target))


def carried_by(told: str) -> dict[str, float]:
    """Metric → demand that a pod carries of it, to three digits, out of a gate's reason."""
    return {metric: float(carries) for metric, carries in _BASIS.findall(told)}


def _basis(metric: str, carries: float) -> str:
    return f"{metric} at {carries:.3g} a pod"


def _peaks(told: Told, series: NDArray[np.intp]) -> Floats:
    """The largest value of a series at its highest level, (k,); inf where there is no series."""
    top = told.values[int(np.argmax(told.levels))]
    out = np.full(len(series), np.inf)
    use = np.flatnonzero(series >= 0)
    peak = top[series[use]].max(axis=1, initial=-np.inf)
    out[use] = np.where(np.isnan(peak), np.inf, peak)
    return out
