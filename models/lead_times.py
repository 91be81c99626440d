"""How long it takes from a raised floor to ready pods: node launch, image pull, start.

Three things may be known of a workload, best first: whole starts of pods that had to wait for a
node; the launches of its cluster's nodes and its pods' own starts, which are then added; its pods'
own starts alone, where no node was ever seen to be launched. A lead time is a high quantile of
them: a late pod costs more than an early one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from features.panel import Floats
from features.workloads import split_workload
from models.capacity_params import CapacityParams

__all__ = ["LeadTimes", "lead_time_s", "lead_times", "node_starts", "start_times"]

_LONGEST_S = 1800.0
"""What took longer was a relapse of a running pod, no start; the metric catalog cuts there too."""
_WAITED_S = 10.0
"""A scheduler that has room binds a pod in a second or two; whoever waited longer waited for it."""
_STARTS = ("workload", "wait_s", "ready_s", "whole_s", "waited")

LeadTimes = tuple[Floats, list[str]]
"""Seconds, (n,), and where they come from, n strings."""


def start_times(
    pods: Iterable[Mapping[str, Any]], node_claims: Iterable[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """The starts of ready pods and of nodes, from the objects' own times.

    Parameters
    ----------
    pods, node_claims
        As the Kubernetes API and Karpenter (karpenter.sh/v1) give them.

    Returns
    -------
    frame
        ``workload`` (``namespace/kind/name``; a node's is ``_cluster/NodePool/NAME``), ``wait_s``
        (created → scheduled; NaN for a node), ``ready_s`` (scheduled → ready; NaN for a node),
        ``whole_s`` (created → ready; for a node created → initialized) and ``waited``: whether the
        pod waited for a node: its node's claim is younger than the pod, or no node had room for
        more than 10 s. Starts over 30 min are left out.
    """
    rows: list[tuple[Any, ...]] = []
    claimed: dict[str, pd.Timestamp] = {}
    for claim in node_claims:
        born, done = _born(claim), _since(claim, "Initialized")
        name = str(_map(claim, "status").get("nodeName") or "")
        if born is not None and name:
            claimed[name] = born
        if born is not None and done is not None:
            pool = _map(claim, "metadata", "labels").get("karpenter.sh/nodepool") or "none"
            launch_s = (done - born).total_seconds()
            rows.append((f"_cluster/NodePool/{pool}", np.nan, np.nan, launch_s, False))
    rows += [row for pod in pods if (row := _start(pod, claimed)) is not None]
    frame = pd.DataFrame(rows, columns=list(_STARTS))
    usual = frame["whole_s"].between(0, _LONGEST_S) & ~(frame["ready_s"] < 0)
    return frame[usual].reset_index(drop=True).astype({"workload": "str", "waited": "bool"})


def lead_times(
    workloads: Sequence[str],
    pod_start_s: Floats,
    *,
    node_start_s: Mapping[str, float] | None = None,
    starts: pd.DataFrame | None = None,
    params: CapacityParams | None = None,
) -> LeadTimes:
    """Lead time of each workload, and where it comes from.

    Parameters
    ----------
    workloads : n names
    pod_start_s : float64, (n, m)
        Scheduled to ready as it was measured at each step; NaN where nothing started.
    node_start_s : cluster → a high quantile of its nodes' launches, from metrics
    starts : frame of ``start_times``, ``workload`` with its cluster in front
    """
    params = params or CapacityParams()
    level = f"p{100 * params.lead_quantile:.4g}"
    names = pd.Series(list(workloads), dtype="str")
    ready = pd.Series(_measured(pod_start_s, params), index=names.index)
    waited, started, launched = _of_objects(starts, params)
    ready = names.map(started).astype(float).fillna(ready)
    cluster = names.map(lambda w: split_workload(str(w))[0]) if len(names) else names
    metric = cluster.map(dict(node_start_s or {})).astype(float)
    node = cluster.map(launched).astype(float).fillna(metric)
    whole = names.map(waited).astype(float)
    told: list[tuple[pd.Series, str]] = [
        (whole, f"{level} of its pods' starts that waited for a node"),
        (node + ready, f"{level} of node launches and {level} of its pods' starts"),
        (ready, f"{level} of its pods' starts, none was seen to wait for a node"),
    ]
    seconds = np.select([t.notna() for t, _ in told], [t for t, _ in told], params.lead_time_s)
    source = np.select([t.notna() for t, _ in told], [s for _, s in told], "default")
    return np.asarray(seconds, dtype=np.float64), [str(s) for s in source]


def lead_time_s(pod_start_seconds: Floats, params: CapacityParams | None = None) -> Floats:
    """Lead time of each workload from its pods' own starts alone, (n, m) → (n,), in seconds.

    Where no start was measured (NaN, or not above 0) the default of the params stands.
    """
    params = params or CapacityParams()
    found = _measured(pod_start_seconds, params)
    return np.where(np.isnan(found), params.lead_time_s, found)


def node_starts(samples: pd.DataFrame, params: CapacityParams | None = None) -> dict[str, float]:
    """Cluster → launch time of its nodes, seconds, from samples (``workload, value``) of
    ``node_start_seconds``; what cannot be one is left out."""
    params = params or CapacityParams()
    usual = samples[(samples["value"] > 0) & (samples["value"] <= _LONGEST_S)]
    if usual.empty:
        return {}
    cluster = usual["workload"].astype("str").str.split("/", n=1).str[0]
    found = _high(usual["value"], cluster, params)
    return {str(k): float(v) for k, v in found.items()}


def _of_objects(
    starts: pd.DataFrame | None, params: CapacityParams
) -> tuple[dict[Any, float], dict[Any, float], dict[Any, float]]:
    """Whole starts that waited and starts of scheduled pods by workload, launches by cluster."""
    if starts is None or starts.empty:
        return {}, {}, {}
    is_node = starts["ready_s"].isna()
    pods, nodes, waited = starts[~is_node], starts[is_node], starts[starts["waited"]]
    cluster = nodes["workload"].str.split("/", n=1).str[0]
    return (
        _high(waited["whole_s"], waited["workload"], params).to_dict(),
        _high(pods["ready_s"], pods["workload"], params).to_dict(),
        _high(nodes["whole_s"], cluster, params).to_dict(),
    )


def _high(values: pd.Series, by: pd.Series, params: CapacityParams) -> pd.Series:
    return values.groupby(by).quantile(params.lead_quantile, interpolation="higher")


def _measured(starts: Floats, params: CapacityParams) -> Floats:
    """The quantile of each row's measured starts, (n,); NaN where there is none."""
    usable = np.isfinite(starts) & (starts > 0)
    count = usable.sum(axis=1)
    if not starts.shape[1]:
        return np.full(len(count), np.nan)
    ordered = np.sort(np.where(usable, starts, np.inf), axis=1)
    rank = np.maximum(np.ceil(params.lead_quantile * count).astype(np.intp) - 1, 0)
    return np.where(count > 0, ordered[np.arange(len(count)), rank], np.nan)


def _start(pod: Mapping[str, Any], claimed: Mapping[str, pd.Timestamp]) -> tuple[Any, ...] | None:
    """One pod's row; nothing where it is of no workload, not ready, or says no times."""
    owner, born = _owner(pod), _born(pod)
    bound, ready = _since(pod, "PodScheduled"), _since(pod, "Ready")
    if owner is None or born is None or bound is None or ready is None:
        return None
    wait_s = (bound - born).total_seconds()
    claim = claimed.get(str(_map(pod, "spec").get("nodeName") or ""))
    # stamps are whole seconds: a claim of the pod's own second was made for it, or with it
    waited = wait_s > _WAITED_S or (claim is not None and claim >= born)
    ready_s, whole_s = (ready - bound).total_seconds(), (ready - born).total_seconds()
    return owner, wait_s, ready_s, whole_s, waited


def _owner(pod: Mapping[str, Any]) -> str | None:
    """``namespace/kind/name``: a Deployment's ReplicaSet is called as it, and the pods' hash."""
    meta = _map(pod, "metadata")
    owners: list[Any] = meta.get("ownerReferences") or []
    known = [o for o in owners if isinstance(o, dict)]
    found = next((cast("dict[str, Any]", o) for o in known if o.get("controller")), None)
    if found is None or found.get("kind") in ("Job", "Node"):
        return None
    kind, name = str(found.get("kind")), str(found.get("name"))
    suffix = f"-{_map(meta, 'labels').get('pod-template-hash')}"
    if kind == "ReplicaSet" and name.endswith(suffix):
        kind, name = "Deployment", name.removesuffix(suffix)
    return f"{meta.get('namespace') or 'default'}/{kind}/{name}"


def _born(thing: Mapping[str, Any]) -> pd.Timestamp | None:
    return _moment(_map(thing, "metadata").get("creationTimestamp"))


def _since(thing: Mapping[str, Any], condition: str) -> pd.Timestamp | None:
    """Since when a condition is true; nothing where it is not."""
    given: list[Any] = _map(thing, "status").get("conditions") or []
    for each in given:
        told = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
        if told.get("type") == condition and told.get("status") == "True":
            return _moment(told.get("lastTransitionTime"))
    return None


def _moment(text: Any) -> pd.Timestamp | None:
    moment = pd.to_datetime(str(text), utc=True, errors="coerce") if text else pd.NaT
    return moment if isinstance(moment, pd.Timestamp) else None


def _map(thing: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = thing.get(key)
        thing = cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else {}
    return thing
