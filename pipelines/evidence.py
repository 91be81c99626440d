"""What is known of a workload's health when a plan is applied: pods, errors, forecasts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from features.frames import CAPACITY
from features.workloads import split_workload, workload_id
from models.guard_facts import Health
from pipelines.adapters.kube import HPA, POD, Kube
from pipelines.apply_params import ApplyParams
from pipelines.errors import (
    ClusterError,
    ClusterUnreachable,
    HistoryError,
    ModelError,
    StoreError,
)
from pipelines.hpa_needs import needed_replicas
from pipelines.ledger import Entry
from pipelines.run import Run
from pipelines.rungs.reading import mapping, meta, text
from pipelines.verdicts import FLAGGED, newest_verdicts

__all__ = ["health_of", "pending_pods", "raised_at"]

_CPU = "cpu_usage_cores"
_ERRORS = "error_ratio"
_HELD = ("done", "kept")
_GIVE_UP = 2
_OVER = ("given_back", "rolled_back")


def health_of(
    run: Run,
    kube: Kube,
    workloads: Collection[str],
    entries: Iterable[Entry],
    params: ApplyParams,
) -> tuple[dict[str, Health], tuple[str, ...], dict[str, str]]:
    """The health of every workload, notes on what could not be known, and workload → why its pods
    are not known: whoever does not see them must not raise."""
    raised = raised_at(entries)
    long_ago = run.as_of - pd.Timedelta(params.pending_after_min, "min")
    pending, older, unread = pending_pods(kube, workloads, long_ago, raised)
    window = pd.Timedelta(params.error_window_min, "min")
    now, before = _errors(run, workloads, raised, window)
    age_s, damaged = _forecast_age_s(run, workloads)
    flagged, accuracy = _flagged(run)
    needed, hpas = _needed(kube, workloads)
    found = {
        w: Health(
            pending_pods=math.nan if w in unread else pending.get(w, 0),
            error_ratio=now.get(w, math.nan),
            error_ratio_before=before.get(w, math.nan),
            forecast_age_s=age_s.get(w, math.nan),
            accuracy_ok=w not in flagged,
            needed=needed.get(w, math.nan),
            pending_before=older.get(w, 0),
        )
        for w in workloads
    }
    return found, (*dict.fromkeys(unread.values()), *damaged, *accuracy, *hpas), unread


def raised_at(entries: Iterable[Entry]) -> dict[str, pd.Timestamp]:
    """When each workload that is held was raised first since it was last given back.

    What expired was given back by the release, which writes no ledger.
    """
    found: dict[str, pd.Timestamp] = {}
    until: dict[str, pd.Timestamp] = {}
    for e in entries:
        if e.status in _OVER:
            found.pop(e.target, None)
        elif e.status in _HELD:
            if e.target not in found or e.applied_at > until[e.target]:
                found[e.target] = e.applied_at
            until[e.target] = e.expires_at
    return found


def pending_pods(
    kube: Kube,
    workloads: Collection[str],
    before: pd.Timestamp,
    raised: Mapping[str, pd.Timestamp],
) -> tuple[Counter[str], Counter[str], dict[str, str]]:
    """Pods of each workload that were made before a moment and are still pending; of those, the
    ones that are not of our raise; and workload → why that is not known, where its namespace could
    not be listed.

    ``raised`` is when each workload was raised; of one that was not, no pod is of our raise.

    Only the namespaces of the workloads are listed, and none after the API server failed at two.
    """
    found, older = Counter[str](), Counter[str]()
    unread: dict[tuple[str, str], str] = {}
    failed = 0
    for cluster, namespace in sorted({split_workload(w)[:2] for w in workloads}):
        try:
            if failed >= _GIVE_UP:
                raise ClusterUnreachable("not tried: the API server did not answer for others")
            for pod in kube.list(POD, namespace):
                if _is_pending(pod, before) and (owner := _owner(pod)):
                    workload = workload_id(cluster, namespace, *owner)
                    found[workload] += 1
                    older[workload] += _made(pod) <= raised.get(workload, before)
        except ClusterError as error:
            failed += isinstance(error, ClusterUnreachable)
            unread[cluster, namespace] = f"pods of {namespace} are not known: {error}"
    told = {w: split_workload(w)[:2] for w in workloads}
    return found, older, {w: unread[place] for w, place in told.items() if place in unread}


def _needed(kube: Kube, workloads: Collection[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """What the HPAs' own metrics ask for; KEDA's have one, too."""
    clusters = {split_workload(w)[0] for w in workloads}
    found: dict[str, float] = {}
    try:
        for hpa in kube.list(HPA) if workloads else ():
            target = mapping(hpa, "spec", "scaleTargetRef")
            for cluster in clusters:
                place = cluster, meta(hpa, "namespace"), text(target, "kind"), text(target, "name")
                found[workload_id(*place)] = needed_replicas(hpa)
    except ClusterError as error:
        return {}, (f"what HPAs ask for by themselves is not known: {error}",)
    return found, ()


def _is_pending(pod: Mapping[str, Any], before: pd.Timestamp) -> bool:
    if pod.get("status", {}).get("phase") != "Pending":
        return False
    return "creationTimestamp" in pod.get("metadata", {}) and _made(pod) <= before


def _made(pod: Mapping[str, Any]) -> pd.Timestamp:
    return pd.Timestamp(pod["metadata"]["creationTimestamp"])


def _owner(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind and name of the workload; a ReplicaSet stands for its Deployment."""
    metadata = pod.get("metadata", {})
    owner = next((o for o in metadata.get("ownerReferences", ()) if o.get("controller")), None)
    if owner is None:
        return None
    kind, name = str(owner["kind"]), str(owner["name"])
    suffix = f"-{metadata.get('labels', {}).get('pod-template-hash', '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        return "Deployment", name.removesuffix(suffix)
    return kind, name


def _errors(
    run: Run, workloads: Collection[str], raised: Mapping[str, pd.Timestamp], window: pd.Timedelta
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean error ratio of the last minutes, and of as long before we raised."""
    earliest = min([run.as_of, *(raised[w] for w in workloads if w in raised)]) - window
    try:
        frame = run.samples(earliest, run.as_of, [_ERRORS])
    except (HistoryError, StoreError):
        return {}, {}
    frame = frame[frame["workload"].isin(list(workloads))]
    acted = pd.to_datetime(frame["workload"].astype("str").map(dict(raised)), utc=True)
    since = acted.where(acted > run.as_of - window, run.as_of - window)
    return (
        _means(frame[(frame["ts"] >= since)]),
        _means(frame[(frame["ts"] >= acted - window) & (frame["ts"] < acted)]),
    )


def _means(frame: pd.DataFrame) -> dict[str, float]:
    means = frame.groupby("workload", observed=True)["value"].mean()
    return {str(name): float(value) for name, value in means.items()}


def _forecast_age_s(
    run: Run, workloads: Collection[str]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Age of each workload's newest capacity forecast, as far as one may be used at all; and what
    could not be read."""
    since = run.as_of - pd.Timedelta(run.settings.forecast.valid_for_h, "h")
    left, found, notes = set(workloads), dict[str, float](), list[str]()
    for part in reversed(run.parts(CAPACITY, since)):
        if not left:
            break
        try:
            table = run.store.read(CAPACITY, part=part, columns=["workload", "issued_at"])
        except StoreError as error:  # an older one counts, with its age
            notes.append(f"a forecast is passed over: {error}")
            continue
        newest = table.group_by("workload").aggregate([("issued_at", "max")])
        for row in newest.to_pylist():
            if row["workload"] in left:
                left.remove(row["workload"])
                age = run.as_of - pd.Timestamp(row["issued_at_max"])
                found[row["workload"]] = age.total_seconds()
    return found, tuple(notes)


def _flagged(run: Run) -> tuple[frozenset[str], tuple[str, ...]]:
    """Workloads whose forecasts lost their edge, by the newest verdicts."""
    try:
        verdicts = newest_verdicts(run)
    except (ModelError, StoreError) as error:
        return frozenset(), (f"accuracy is that of the last forecast: {error}",)
    lost = verdicts[(verdicts["metric"] == _CPU) & verdicts["verdict"].isin(FLAGGED)]
    return frozenset(str(w) for w in lost["workload"]), ()
