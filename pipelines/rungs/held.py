"""Everything of ours in a cluster, and giving it back: needs the cluster and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

import pandas as pd

from features.workloads import workload_id
from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    HPA,
    NODE_POOL,
    POD_TEMPLATE,
    SCALED_OBJECT,
    Kind,
    Kube,
    RetryParams,
)
from pipelines.errors import ClusterError
from pipelines.rungs.annotations import shown
from pipelines.rungs.floors import SLOTS
from pipelines.rungs.hold import HOLD_SLOT, release_nodes
from pipelines.rungs.installed import OURS
from pipelines.rungs.protocol import Slot, Target, look, restore
from pipelines.rungs.reading import Object, mapping, meta, text, whole
from pipelines.rungs.room import ROOM_SLOTS, release_held_room
from pipelines.rungs.slots import HOLD_LONGEST
from pipelines.rungs.static_pool import POOL_MARK
from pipelines.rungs.written import Written, failed

__all__ = ["ROOM_NAMESPACE", "Held", "held", "release_everything", "release_room"]

What = Literal["floor", "room", "hold"]
ROOM_NAMESPACE: Final = "foretide"
BRIEF: Final = RetryParams(attempts=2, total_s=5.0, wait_max_s=2.0)
"""Of the retries of one object: a job that has four minutes has many objects to give back."""
_AGAIN: Final = ("unreachable", "refused", "forbidden")
KINDS: Final[tuple[tuple[Kind, What, str], ...]] = (
    (SCALED_OBJECT, "floor", ""),
    (HPA, "floor", ""),
    (CAPACITY_BUFFER, "room", OURS),
    (POD_TEMPLATE, "room", OURS),
    (DEPLOYMENT, "room", OURS),
    (NODE_POOL, "room", ""),
    (NODE_POOL, "hold", ""),
)
"""In the order in which they are given back: a buffer before the size of its pods."""


@dataclass(frozen=True, slots=True)
class Held:
    """One thing that we hold, as its annotations say.

    Attributes
    ----------
    what : ``floor``, ``room`` (placeholders, a buffer, a static NodePool) or ``hold`` (nodes)
    workload : ``cluster/namespace/kind/name`` of the scale target, or of the object where there is
        none; a NodePool's namespace is ``-``
    value, original : as text; ``value`` is what stands there now
    until : None where the annotation cannot be read
    owners : who else manages the field
    ours : whether it is still what we wrote, and nobody else's
    problem : what a person has to look at; with an empty name: why a kind could not be listed
    """

    what: What
    kind: str
    namespace: str
    name: str
    uid: str
    workload: str
    value: str = ""
    original: str = ""
    plan_id: str = ""
    until: pd.Timestamp | None = None
    reverts: int = 0
    owners: tuple[str, ...] = ()
    ours: bool = True
    reason: str = ""
    problem: str = ""

    def expired(self, now: pd.Timestamp) -> bool:
        """Whether its time is over; one whose time cannot be read, or is none of ours, has none
        left."""
        return self.until is None or not now < self.until <= now + HOLD_LONGEST


def held(
    kube: Kube, cluster: str, *, namespace: str = ROOM_NAMESPACE, given: bool = False
) -> list[Held]:
    """Everything of ours; a kind that cannot be listed is one entry without a name. A field that we
    alone own and whose annotations are gone is among them, with a problem.

    ``namespace`` is where the objects that hold room are installed: no right to look for them
    elsewhere is needed. With ``given`` also what was given back and still has our name on it.
    """
    found: list[Held] = []
    for kind, what, labels in KINDS:
        try:
            where = namespace if labels else ""
            found += _listed(kube, kind, what, where, labels, cluster, given)
        except ClusterError as error:
            unread = workload_id(cluster, "-", kind.kind, "")
            found.append(Held(what, kind.kind, "", "", "", unread, problem=str(error)))
    return found


def release_everything(
    kube: Kube,
    *,
    now: pd.Timestamp,
    expired_only: bool = False,
    match: str = "*",
    cluster: str = "default",
    namespace: str = ROOM_NAMESPACE,
) -> list[Written]:
    """Give back what is held, each object alone: one that fails does not stop the others, nor keep
    them waiting; it is tried again after them.

    Parameters
    ----------
    expired_only : only what was held until ``now`` or before
    match : a glob over ``cluster/namespace/kind/name``, as of ``Held.workload``
    """
    found = held(kube, cluster, namespace=namespace, given=True)
    unread = [Written("unreachable", detail=h.problem, what=h.kind) for h in found if not h.name]
    due = [
        h
        for h in found
        if h.name and fnmatchcase(h.workload, match) and (h.expired(now) or not expired_only)
    ]
    with kube.retrying(BRIEF):
        ended = [_released(kube, one) for one in due]
        for i, one in enumerate(due):
            if ended[i].status in _AGAIN:
                ended[i] = _released(kube, one)
    return [*unread, *ended]


def release_room(kube: Kube, *, namespace: str = ROOM_NAMESPACE) -> list[Written]:
    """Give all room back: placeholders, buffers, static NodePools."""
    rooms = (one for one in held(kube, "-", namespace=namespace) if one.what == "room" and one.name)
    return [_released(kube, one) for one in rooms]


def _released(kube: Kube, one: Held) -> Written:
    target = Target(one.name, one.namespace, one.uid)
    what = " ".join((one.kind, "/".join(filter(None, (one.namespace, one.name)))))
    try:
        match one.what:
            case "floor":
                slot = SLOTS["keda" if one.kind == SCALED_OBJECT.kind else "hpa"]
                return restore(kube, slot, target)
            case "room":
                return release_held_room(kube, one.kind, target)
            case "hold":
                return release_nodes(kube, one.name, uid=one.uid)
    except ClusterError as error:
        return failed(error).about(what)


def _listed(
    kube: Kube,
    kind: Kind,
    what: What,
    namespace: str,
    labels: str,
    cluster: str,
    given: bool,
) -> Iterator[Held]:
    if not kube.serves(kind):
        return
    describe = _reader(kind, what)
    for obj in kube.list(kind, namespace, labels):
        if (one := describe(obj, cluster, given)) is not None:
            yield one


def _reader(kind: Kind, what: What) -> Callable[[Object, str, bool], Held | None]:
    if what == "room" and kind == NODE_POOL:
        return _of_pool
    slot = (
        HOLD_SLOT
        if what == "hold"
        else ROOM_SLOTS[kind.kind]
        if what == "room"
        else SLOTS["keda" if kind == SCALED_OBJECT else "hpa"]
    )
    return lambda obj, cluster, given: _of_slot(slot, what, obj, cluster, given)


def _of_slot(slot: Slot, what: What, obj: Object, cluster: str, given: bool) -> Held | None:
    seen = look(slot, obj)
    if not (seen.state.held or seen.doubt or (given and seen.given)):
        return None
    copied = "its annotations were copied from another object" if seen.copied else ""
    reference = mapping(obj, "spec", "scaleTargetRef") if what == "floor" else {}
    kind = text(reference, "kind") or ("Deployment" if reference else slot.kind.kind)
    namespace = meta(obj, "namespace")
    name = text(reference, "name") or meta(obj, "name")
    return Held(
        what=what,
        kind=slot.kind.kind,
        namespace=namespace,
        name=meta(obj, "name"),
        uid=meta(obj, "uid"),
        workload=workload_id(cluster, namespace or "-", kind, name),
        value=shown(seen.value),
        original=shown(seen.state.original) if seen.state.known else "",
        plan_id=seen.state.plan_id,
        until=seen.until,
        reverts=seen.state.reverts,
        owners=seen.others,
        ours=seen.mine,
        reason=seen.state.reason,
        problem=seen.doubt or "; ".join(filter(None, (copied, seen.state.broken))),
    )


def _of_pool(obj: Object, cluster: str, _given: bool) -> Held | None:
    state, nodes = POOL_MARK.read(obj), whole(obj, "spec", "replicas")
    if not state.held:
        return None
    return Held(
        what="room",
        kind=NODE_POOL.kind,
        namespace="",
        name=meta(obj, "name"),
        uid=meta(obj, "uid"),
        workload=workload_id(cluster, "-", NODE_POOL.kind, meta(obj, "name")),
        value=shown(nodes),
        original=shown(state.original) if state.known else "",
        plan_id=state.plan_id,
        until=state.until,
        reverts=state.reverts,
        ours=state.uid == meta(obj, "uid") and state.value == nodes,
        reason=state.reason,
        problem=state.broken,
    )
