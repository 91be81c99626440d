"""The rungs that start nodes before the floors land: placeholder pods, a CapacityBuffer, a static
NodePool.

The objects were installed with 0 replicas (``installed``) and are only patched here. Placeholders
and buffers are refilled once real pods took their place: whoever holds room says anew, with every
run, how much of it is still needed, or it would be bought twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from models.actions import Placeholder
from pipelines.adapters.kube import CAPACITY_BUFFER, DEPLOYMENT, POD_TEMPLATE, Kind, Kube
from pipelines.errors import ClusterError
from pipelines.manifests import requests
from pipelines.rungs.annotations import Mark, Value
from pipelines.rungs.installed import BUFFER_MANIFEST, CONTAINER, MANIFEST, OURS, is_ours, room_name
from pipelines.rungs.params import RungParams
from pipelines.rungs.protocol import Lease, Slot, Target, hold, restore
from pipelines.rungs.reading import Object, items, mapping, meta, text, whole
from pipelines.rungs.static_pool import hold_pool, restore_pool
from pipelines.rungs.written import Written, failed

__all__ = ["ROOM_SLOTS", "Room", "fitting", "hold_room", "joined", "release_held_room"]

_MARK: Final = Mark("room")
_ALL = ("*",)


@dataclass(frozen=True, slots=True)
class Room:
    """Room for ``pods`` pods of one size; ``nodes`` is how many nodes of a static NodePool that is,
    0 where it is to be found out. ``nodepool`` is empty where it may be on any node."""

    pods: int
    cpu_cores: float
    memory_bytes: float
    nodepool: str = ""
    nodes: int = 0

    @classmethod
    def of(cls, action: Placeholder) -> Room:
        """The room that an action of a plan asks for."""
        return cls(action.count, action.cpu_cores, action.memory_bytes, action.nodepool)


def joined(rooms: Sequence[Room]) -> Room:
    """One room for any node that is worth all of these: pods of the largest size, so that the hole
    which one leaves fits whatever lands."""
    cores = max((r.cpu_cores for r in rooms), default=0.0)
    memory = max((r.memory_bytes for r in rooms), default=0.0)
    cpu_pods = sum(r.pods * r.cpu_cores for r in rooms) / cores if cores > 0 else 0.0
    memory_pods = sum(r.pods * r.memory_bytes for r in rooms) / memory if memory > 0 else 0.0
    pods = max(math.ceil(cpu_pods - 1e-9), math.ceil(memory_pods - 1e-9))
    return Room(pods, cores, memory, nodes=sum(r.nodes for r in rooms))


def fitting(kube: Kube, rooms: Sequence[Room], params: RungParams) -> list[Room]:
    """The same room, spread over what there is to hold it: each object is asked for once.

    A NodePool with objects of its own keeps its room; all others share those for any node, and a
    static NodePool takes everything.

    Raises
    ------
    ClusterError
        The API server did not say what is installed.
    """
    kind = {"placeholders": DEPLOYMENT, "buffer": CAPACITY_BUFFER}.get(params.room)
    own: set[str] = set()
    if kind is not None and kube.serves(kind):
        own = {meta(obj, "name") for obj in kube.list(kind, params.namespace, OURS)}
    apart = [r for r in rooms if r.nodepool and room_name(r.nodepool) in own]
    rest = [r for r in rooms if r not in apart]
    return [*apart, *([joined(rest)] if rest else [])]


def _requests_of(pod: Any) -> dict[str, str]:
    """Requests of the container that holds room, in a pod's spec."""
    for container in items(pod, "containers"):
        if text(container, "name") == CONTAINER:
            return {k: str(v) for k, v in mapping(container, "resources", "requests").items()}
    return {}


def _containers(asks: Any) -> Object:
    return {"spec": {"containers": [{"name": CONTAINER, "resources": {"requests": asks}}]}}


def _read_deployment(obj: Object) -> Value:
    pod = mapping(obj, "spec", "template", "spec")
    return {"replicas": whole(obj, "spec", "replicas"), "requests": _requests_of(pod)}


def _write_deployment(value: Value) -> Object:
    template = _containers(value["requests"])
    return {"spec": {"replicas": value["replicas"], "template": template}}


def _read_template(obj: Object) -> Value:
    return {"requests": _requests_of(mapping(obj, "template", "spec"))}


def _wrong(original: Value, now: Value) -> str:
    """Why that is not what we read once; counts only ever went up from the original."""
    if isinstance(now, int):
        original, now = {"replicas": original}, {"replicas": now}
    if not isinstance(original, dict) or set(mapping(original)) != set(mapping(now)):
        return f"{_MARK.original} is {original!r}, expected one like {now!r}"
    asks = mapping(original, "requests")
    if not all(isinstance(v, str) for v in asks.values()):
        return f"{_MARK.original} is {original!r}, expected requests as text"
    count, there = whole(original, "replicas"), whole(now, "replicas")
    if "replicas" in mapping(original) and (count is None or not 0 <= count <= (there or 0)):
        return f"{_MARK.original} is {original!r}, expected a count of at most {there}"
    return ""


_SIZE = ("f:spec", "f:containers", f'k:{{"name":"{CONTAINER}"}}', "f:resources", "f:requests")
ROOM_SLOTS: Final[dict[str, Slot]] = {
    "Deployment": Slot(
        DEPLOYMENT, ("f:spec", "f:replicas"), _MARK, _read_deployment, _write_deployment, _wrong
    ),
    "CapacityBuffer": Slot(
        CAPACITY_BUFFER,
        ("f:spec", "f:replicas"),
        _MARK,
        lambda obj: whole(obj, "spec", "replicas"),
        lambda value: {"spec": {"replicas": value}},
        _wrong,
    ),
    "PodTemplate": Slot(
        POD_TEMPLATE,
        ("f:template", *_SIZE, "f:cpu"),
        _MARK,
        _read_template,
        lambda value: {"template": _containers(value["requests"])},
        _wrong,
    ),
}


def hold_room(
    kube: Kube,
    room: Room,
    *,
    until: pd.Timestamp,
    plan_id: str,
    params: RungParams,
    reason: str = "",
) -> Written:
    """Make the room be there, more of it or less than before; 0 pods give all of it back.

    No exception for what can be expected. Where an object was not installed, the text says what
    installs it.
    """
    lease = Lease(until, plan_id, reason)
    match params.room:
        case "placeholders":
            return _hold_placeholders(kube, room, lease, params)
        case "buffer":
            return _hold_buffer(kube, room, lease, params)
        case "static_nodepool":
            name = room.nodepool or params.static_nodepool
            if name != params.static_nodepool:
                text = f"room on NodePool {name} cannot be had from {params.static_nodepool}"
                return Written("refused", detail=text, what=f"NodePool {name}")
            asks = (room.pods, room.cpu_cores, room.memory_bytes)
            return hold_pool(kube, name, asks, room.nodes, lease)
        case _:
            return Written("refused", detail="prescale.rungs.room is none: nothing holds room")


def release_held_room(kube: Kube, kind: str, target: Target) -> Written:
    """Give one object's room back; ``kind`` is a key of ``ROOM_SLOTS``, or NodePool."""
    if kind == "NodePool":
        return restore_pool(kube, target)
    return restore(kube, ROOM_SLOTS[kind], target)


def _hold_placeholders(kube: Kube, room: Room, lease: Lease, params: RungParams) -> Written:
    found = _installed(kube, DEPLOYMENT, room, params)
    if isinstance(found, Written):
        return found
    slot = ROOM_SLOTS["Deployment"]

    def want(original: Value, now: Value) -> Value:
        if room.pods <= (original["replicas"] or 0):
            return None
        asks = _size(room)
        # another size restarts every placeholder that stands: a larger one does as well
        keep = bool(now["replicas"]) and _covers(now["requests"], asks)
        return {"replicas": room.pods, "requests": now["requests"] if keep else asks}

    return hold(kube, slot, found, want, lease, force_owners=_ALL)


def _hold_buffer(kube: Kube, room: Room, lease: Lease, params: RungParams) -> Written:
    found = _installed(kube, CAPACITY_BUFFER, room, params)
    shape = _installed(kube, POD_TEMPLATE, room, params)
    if isinstance(found, Written):
        return found
    if isinstance(shape, Written):
        return shape
    template, buffer = ROOM_SLOTS["PodTemplate"], ROOM_SLOTS["CapacityBuffer"]
    if room.pods <= 0:
        given = restore(kube, buffer, found)
        back = restore(kube, template, shape)
        return given if given.status != "done" else back if back.status != "done" else given

    def sized(_original: Value, now: Value) -> Value:
        asks = _size(room)
        return {"requests": now["requests"] if _covers(now["requests"], asks) else asks}

    def filled(original: Value, _now: Value) -> Value:
        return room.pods if room.pods > (original or 0) else None

    size = hold(kube, template, shape, sized, lease, force_owners=_ALL)
    if size.status != "done":
        return size
    return hold(kube, buffer, found, filled, lease, force_owners=_ALL)


def _installed(kube: Kube, kind: Kind, room: Room, params: RungParams) -> Target | Written:
    """The object that was installed for us, or why there is none."""
    name, what = room_name(room.nodepool), f"{kind.kind} {params.namespace}"
    try:
        obj = kube.get(kind, name, params.namespace)
    except ClusterError as error:
        ended = failed(error)
        manifest = MANIFEST if kind == DEPLOYMENT else BUFFER_MANIFEST
        hint = f"; {manifest} installs it" if ended.status == "gone" else ""
        return Written(ended.status, detail=f"{error}{hint}", what=f"{what}/{name}")
    if not is_ours(obj):
        text = "it is not labelled as Foretide's: what it holds is left alone"
        return Written("refused", detail=text, what=f"{what}/{name}")
    return Target(name, params.namespace, meta(obj, "uid"))


def _size(room: Room) -> dict[str, str]:
    return requests(max(room.cpu_cores, 0.001), room.memory_bytes)


def _covers(there: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    """Whether requests are at least as large as others; what cannot be read is not."""
    from kubernetes.utils.quantity import parse_quantity

    try:
        return all(parse_quantity(there.get(k, "0")) >= parse_quantity(asked[k]) for k in asked)
    except ValueError:
        return False
