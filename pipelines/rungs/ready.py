"""Is the room there that was asked for? Only nodes that are initialized count."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.adapters.kube import CAPACITY_BUFFER, DEPLOYMENT, NODE_CLAIM, NODE_POOL, Kube
from pipelines.errors import ClusterError
from pipelines.rungs.installed import room_name
from pipelines.rungs.params import RungParams
from pipelines.rungs.reading import Object, items, mapping, meta, text, whole

__all__ = ["RoomReady", "room_ready"]


@dataclass(frozen=True, slots=True)
class RoomReady:
    """How much of the room stands, in pods (placeholders, buffer) or nodes (static NodePool).

    ``ready`` is None where nobody can say, with the reason.
    """

    ready: int | None
    wanted: int
    reason: str = ""

    @property
    def whole(self) -> bool:
        """Whether all of it stands."""
        return self.ready is not None and self.ready >= self.wanted


def room_ready(kube: Kube, params: RungParams, nodepool: str = "") -> RoomReady:
    """The state of the room of one NodePool, or of any node."""
    name = room_name(nodepool)
    try:
        match params.room:
            case "placeholders":
                obj = kube.get(DEPLOYMENT, name, params.namespace)
                wanted = whole(obj, "spec", "replicas") or 0
                return RoomReady(whole(obj, "status", "readyReplicas") or 0, wanted)
            case "buffer":
                return _of_buffer(kube, kube.get(CAPACITY_BUFFER, name, params.namespace))
            case "static_nodepool":
                return _of_pool(kube, kube.get(NODE_POOL, nodepool or params.static_nodepool))
            case _:
                return RoomReady(0, 0, "no room is held: prescale.rungs.room is none")
    except ClusterError as error:
        return RoomReady(None, 0, str(error))


def _of_buffer(kube: Kube, obj: Object) -> RoomReady:
    """``Provisioning=True`` comes seconds before the nodes do: their NodeClaims must be
    Initialized. Which of them are the buffer's is written nowhere, so it is all of them."""
    wanted = whole(obj, "spec", "replicas") or 0
    if not wanted:
        return RoomReady(0, 0)
    if not _condition(obj, "Provisioning"):
        return RoomReady(0, wanted, "the buffer is not being provisioned: is the gate open?")
    late = [meta(c, "name") for c in kube.list(NODE_CLAIM) if not _condition(c, "Initialized")]
    if late:
        return RoomReady(0, wanted, f"{len(late)} NodeClaims are not Initialized: {late[0]}")
    return RoomReady(wanted, wanted)


def _of_pool(kube: Kube, obj: Object) -> RoomReady:
    """``status.nodes`` counts nodes that are not ready, too: NodeClaims are counted instead."""
    label, name = "karpenter.sh/nodepool", meta(obj, "name")
    ready = sum(
        mapping(claim, "metadata", "labels").get(label) == name and _condition(claim, "Initialized")
        for claim in kube.list(NODE_CLAIM)
    )
    return RoomReady(ready, whole(obj, "spec", "replicas") or 0)


def _condition(obj: Object, kind: str) -> bool:
    return any(
        text(c, "type") == kind and text(c, "status") == "True"
        for c in items(obj, "status", "conditions")
    )
