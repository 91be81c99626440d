"""Who holds the floors of a cluster: one listing a kind, KEDA before the HPAs that it owns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from features.workloads import workload_id
from models.holders import Holder, Rung
from models.modes import Mode
from pipelines.adapters.kube import (
    DEPLOYMENT,
    HPA,
    NAMESPACE,
    SCALED_OBJECT,
    STATEFUL_SET,
    Kind,
    Kube,
)
from pipelines.rungs.annotations import MODE, annotations_of, careful, read_mode
from pipelines.rungs.floors import SLOTS
from pipelines.rungs.gitops import rendered
from pipelines.rungs.reading import Object, items, mapping, meta, text, whole
from pipelines.rungs.slots import Seen, look

__all__ = ["read_holders"]

_KEDA = "autoscaling.keda.sh/"
_KEDA_MAXIMUM = 100
"""KEDA's own maxReplicaCount, where a ScaledObject says none. Source: its documentation."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What is kept of a Deployment or StatefulSet."""

    replicas: int
    rolling: bool
    generation: int
    said: tuple[Mode | None, str]


_SILENT: tuple[Mode | None, str] = (None, "")

Key = tuple[str, str, str]
"""Kind, namespace, name."""


@dataclass(frozen=True, slots=True)
class _Around:
    """What an object's holder depends on beside the object."""

    cluster: str
    targets: dict[Key, _Target]
    spaces: dict[str, tuple[Mode | None, str]]


def read_holders(kube: Kube, cluster: str) -> list[Holder]:
    """The holder of every floor, by workload.

    ``cluster`` is what the samples call it. Two objects that scale one target are both given, and
    their ``problem`` says so.

    Raises
    ------
    ClusterError
        A listing failed: without all of them a kill switch may be overlooked.
    """
    around = _Around(
        cluster,
        {key: t for kind in (DEPLOYMENT, STATEFUL_SET) for key, t in _targets(kube, kind)},
        {meta(obj, "name"): read_mode(obj) for obj in kube.list(NAMESPACE)},
    )
    scaled = list(kube.list(SCALED_OBJECT)) if kube.serves(SCALED_OBJECT) else []
    owned: dict[tuple[str, str], Object] = {}
    found: list[Holder] = []
    known = {(meta(obj, "namespace"), meta(obj, "name")) for obj in scaled}
    for obj in kube.list(HPA):
        owner = _scaled_object(obj)
        if not owner:
            found.append(_of_hpa(obj, around))
        elif (key := (meta(obj, "namespace"), owner)) in known:
            owned[key] = obj
        else:
            lost = f"KEDA owns it, and its ScaledObject {owner} cannot be read"
            found.append(_with_problem(_of_hpa(obj, around), lost))
    found += [
        _of_scaled(obj, owned.get((meta(obj, "namespace"), meta(obj, "name"))), around)
        for obj in scaled
    ]
    return _told_apart(sorted(found, key=lambda h: (h.workload, h.rung, h.name)))


def _targets(kube: Kube, kind: Kind) -> Iterable[tuple[Key, _Target]]:
    for obj in kube.list(kind):
        wanted = whole(obj, "spec", "replicas")
        replicas = 1 if wanted is None else wanted
        generation = whole(obj, "metadata", "generation") or 0
        seen = whole(obj, "status", "observedGeneration")
        updated = whole(obj, "status", "updatedReplicas") or 0
        there = whole(obj, "status", "replicas") or 0
        behind = seen is not None and (seen < generation or updated < min(replicas, there))
        key = (kind.kind, meta(obj, "namespace"), meta(obj, "name"))
        yield key, _Target(replicas, behind, generation, read_mode(obj))


def _scaled_object(hpa: Object) -> str:
    """The ScaledObject that owns an HPA; empty where KEDA does not."""
    for owner in items(hpa, "metadata", "ownerReferences"):
        if text(owner, "kind") == "ScaledObject":
            return text(owner, "name")
    labels = mapping(hpa, "metadata", "labels")
    if labels.get("app.kubernetes.io/managed-by") != "keda-operator":
        return ""
    named = labels.get("scaledobject.keda.sh/name")
    return str(named) if named else meta(hpa, "name").removeprefix("keda-hpa-")


def _of_hpa(obj: Object, around: _Around) -> Holder:
    ceiling = whole(obj, "spec", "maxReplicas")
    holder, target = _base("hpa", obj, ceiling, "", around)
    now = whole(obj, "status", "currentReplicas")
    replicas = now if now is not None else (target.replicas if target else 0)
    desired = whole(obj, "status", "desiredReplicas")
    zero = _asleep(obj) if target is None else target.replicas == 0
    problem = "its target is at 0 replicas: the HPA does nothing until somebody scales it up"
    holder = replace(
        holder, replicas=replicas, desired=replicas if desired is None else max(desired, 0)
    )
    return _with_problem(holder, problem if zero else "")


def _asleep(hpa: Object) -> bool:
    """Whether an HPA says of itself that its target is at zero."""
    return any(
        text(c, "type") == "ScalingActive" and text(c, "reason") == "ScalingDisabled"
        for c in items(hpa, "status", "conditions")
    )


def _of_scaled(obj: Object, hpa: Object | None, around: _Around) -> Holder:
    given = whole(obj, "spec", "maxReplicaCount")
    ceiling = _KEDA_MAXIMUM if given is None else given
    holder, target = _base("keda", obj, ceiling, "Deployment", around)
    now = whole(hpa, "status", "currentReplicas")
    replicas = now if now is not None else (target.replicas if target else 0)
    desired = whole(hpa, "status", "desiredReplicas")
    notes = annotations_of(obj)
    paused = ""
    if notes.get(_KEDA + "paused", "false").strip().lower() != "false":
        paused = f"KEDA is paused ({_KEDA}paused): it has no HPA, so a floor does nothing"
    elif count := notes.get(_KEDA + "paused-replicas", ""):
        paused = f"KEDA is paused at {count} replicas ({_KEDA}paused-replicas)"
    holder = replace(
        holder,
        replicas=replicas,
        desired=replicas if desired is None else max(desired, 0),
        note=_remarks(obj, notes),
    )
    return _with_problem(holder, paused)


def _remarks(obj: Object, notes: dict[str, str]) -> str:
    found: list[str] = []
    if notes.get(_KEDA + "paused-scale-in", "false").strip().lower() == "true":
        found.append(
            f"{_KEDA}paused-scale-in: pods stay, also after a floor is given back, until "
            "somebody removes it"
        )
    idle = whole(obj, "spec", "idleReplicaCount")
    if idle is not None:
        found.append(f"idleReplicaCount: while no trigger is active it stays at {idle} replicas")
    return "; ".join(found)


def _base(
    rung: Rung, obj: Object, ceiling: int | None, kind: str, around: _Around
) -> tuple[Holder, _Target | None]:
    """What the two rungs have in common."""
    seen = look(SLOTS[rung], obj)
    namespace = meta(obj, "namespace")
    reference = mapping(obj, "spec", "scaleTargetRef")
    key = (text(reference, "kind") or kind, namespace, text(reference, "name"))
    target = around.targets.get(key)
    space = around.spaces.get(namespace, _SILENT)
    modes = (read_mode(obj), space, target.said if target else _SILENT)
    plain = seen.state if seen.state.held and not seen.copied else None
    shown = rendered(obj, seen.value)
    said: list[Mode | None] = [mode for mode, _ in modes]
    wrong = [text for _, text in modes if text]
    if target is None and key[0] in ("Deployment", "StatefulSet"):
        wrong.append(f"its target {key[0]} {key[2]} is not there")
    elif target is None:
        wrong.append(f"its target {key[0]} {key[2]} is not read: a {MODE} on it would not be seen")
    holder = Holder(
        workload=workload_id(around.cluster, namespace, key[0], key[2]),
        rung=rung,
        name=meta(obj, "name"),
        namespace=namespace,
        uid=meta(obj, "uid"),
        resource_version=meta(obj, "resourceVersion"),
        floor=seen.value,
        ceiling=ceiling,
        replicas=0,
        desired=0,
        owners=seen.others,
        ours=seen.ours,
        original=whole(plain.original) if plain and seen.mine else seen.value,
        plan_id=(plain.plan_id or "unknown") if plain else "",
        held_until=seen.until if plain else None,
        reverts=plain.reverts if plain else 0,
        mode=careful(*said),
        problem="; ".join([*wrong, *_wrong(seen, ceiling)]),
        value=whole(plain.value) if plain else None,
        rolling=target.rolling if target else False,
        generation=target.generation if target else 0,
    )
    if shown and not plain:
        holder = replace(
            holder, original=shown.original, plan_id=shown.plan_id, held_until=shown.until
        )
    return holder, target


def _wrong(seen: Seen, ceiling: int | None) -> list[str]:
    """Why nothing can be raised on an object, by itself."""
    found = [seen.doubt] if seen.doubt else []
    if seen.copied and not seen.doubt:
        found.append("foretide's annotations were copied from another object: release them")
    if ceiling is not None and seen.value is not None and ceiling < seen.value:
        found.append(f"its maximum of {ceiling} replicas is below its minimum of {seen.value}")
    return found


def _with_problem(holder: Holder, problem: str) -> Holder:
    if not problem:
        return holder
    return replace(holder, problem="; ".join(filter(None, (problem, holder.problem))))


def _told_apart(holders: list[Holder]) -> list[Holder]:
    """The same, with a problem on those that scale one target together."""
    count = Counter(h.workload for h in holders)
    names: dict[str, list[str]] = {}
    for h in holders:
        names.setdefault(h.workload, []).append(f"{SLOTS[h.rung].kind.kind} {h.name}")
    return [
        _with_problem(h, f"more than one scales its target: {', '.join(names[h.workload])}")
        if count[h.workload] > 1
        else h
        for h in holders
    ]
