"""The kill switch of a whole cluster: the mode annotation on Foretide's own namespace.

It is state in the cluster, on an object that is no user's: every apply reads it, whoever runs it
and whatever its configuration says, and no workload has to be touched.
"""

from __future__ import annotations

from typing import Any

from models.modes import Mode
from pipelines.adapters.kube import NAMESPACE, Kube
from pipelines.errors import ClusterError, ObjectMissing
from pipelines.rungs.annotations import MODE, annotations_of, read_mode
from pipelines.rungs.reading import meta
from pipelines.rungs.written import Written, failed

__all__ = ["read_switch", "set_switch", "stopped_text"]


def read_switch(kube: Kube, namespace: str) -> Mode | None:
    """What the namespace says; None where it says nothing, or is not there.

    Raises
    ------
    ClusterError
        Nobody knows what it says.
    """
    try:
        return read_mode(kube.get(NAMESPACE, namespace))[0]
    except ObjectMissing:
        return None


def set_switch(kube: Kube, namespace: str, mode: Mode | None) -> Written:
    """Set the switch, or take it away; no exception for what can be expected.

    The rights of neither apply nor release allow it: a person's do.
    """
    what = f"{NAMESPACE.kind} {namespace}"
    try:
        obj = kube.get(NAMESPACE, namespace)
        before = annotations_of(obj).get(MODE, "unset")
        note: dict[str, Any] = {"uid": meta(obj, "uid"), "annotations": {MODE: mode}}
        kube.merge(NAMESPACE, namespace, {"metadata": note})
    except ClusterError as error:
        ended = failed(error)
        hint = f"{error}; or set prescale.apply.enabled to false wherever apply runs"
        return Written(ended.status, detail=hint, what=what)
    return Written("done", before, mode or "unset", f"annotation {MODE}", what)


def stopped_text(mode: Mode | None, namespace: str) -> tuple[str, ...]:
    """What a person should know of a switch that is set."""
    if mode in (None, "act"):
        return ()
    return (
        f"the cluster's switch is {mode} (annotation {MODE} of namespace {namespace}): nothing "
        "goes beyond it; `foretide apply --resume` takes it away",
    )
