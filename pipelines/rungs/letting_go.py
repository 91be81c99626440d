"""After a field was given back: our name is taken off it, and the value stays.

As the only owner of a field we would be in the way of whoever set it first: his next apply of
another value would be a conflict with us. An entry is removed by a patch of metadata.managedFields;
an empty list would be no change, ``[{}]`` clears it. Source: Kubernetes documentation, "Server-Side
Apply", "Transferring ownership" and "Clearing managedFields".
"""

from __future__ import annotations

from typing import Any

from pipelines.adapters.kube import Kube
from pipelines.errors import ClusterError, ObjectChanged
from pipelines.rungs.annotations import annotations_of
from pipelines.rungs.owners import is_our_apply
from pipelines.rungs.reading import Object, items, meta
from pipelines.rungs.slots import Slot

__all__ = ["identity", "let_go"]


def let_go(kube: Kube, slot: Slot, obj: Object, tries: int) -> tuple[Object, str]:
    """The object without our entry and our annotations, those that others own too; where that was
    refused, as it is, and why. Never raises: the value is given back already."""
    last = ""
    for _ in range(tries):
        body = _without_us(slot, obj)
        if body is None:
            return obj, ""
        name, namespace = meta(obj, "name"), meta(obj, "namespace")
        try:
            return kube.merge(slot.kind, name, body, namespace), ""
        except ObjectChanged as error:  # its controller wrote its status meanwhile
            last = str(error)
        except ClusterError as error:
            return obj, _kept(str(error))
        try:
            fresh = kube.get(slot.kind, name, namespace)
        except ClusterError as error:
            return obj, _kept(str(error))
        if meta(fresh, "uid") != meta(obj, "uid") or slot.mark.read(fresh).held:
            return obj, ""  # another object, or held anew
        obj = fresh
    return obj, _kept(last)


def identity(obj: Object) -> dict[str, str]:
    """What makes a write fail on any object but the one that was read."""
    return {"uid": meta(obj, "uid"), "resourceVersion": meta(obj, "resourceVersion")}


def _without_us(slot: Slot, obj: Object) -> Object | None:
    """The patch; None where nothing is left to do."""
    entries = items(obj, "metadata", "managedFields")
    rest = [entry for entry in entries if not is_our_apply(entry)]
    names = (*slot.mark.names, slot.mark.given)
    left = [name for name in names if name in annotations_of(obj)]
    body: dict[str, Any] = {}
    if len(rest) < len(entries):
        body["managedFields"] = rest or [{}]
    if left:
        body["annotations"] = dict.fromkeys(left)
    return {"metadata": {**identity(obj), **body}} if body else None


def _kept(why: str) -> str:
    return f"given back, and foretide is still named as its owner: {why}"
