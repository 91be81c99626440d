"""The rungs that move a workload's floor: an HPA's minReplicas, a ScaledObject's minReplicaCount.

Source of how they behave: Kubernetes documentation, "Server-Side Apply" and "Horizontal Pod
Autoscaling"; KEDA documentation, "ScaledObject specification".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import yaml

from models.holders import Holder, Rung
from pipelines.adapters.kube import HPA, SCALED_OBJECT, Kube
from pipelines.rungs.annotations import Mark, Value
from pipelines.rungs.protocol import Lease, Slot, Target, hold, restore
from pipelines.rungs.reading import Object, whole
from pipelines.rungs.written import Written

__all__ = ["SLOTS", "give_back", "ignore_differences", "raise_floor"]

_MARK = Mark("floor")
_FIELDS = {"hpa": (HPA, "minReplicas"), "keda": (SCALED_OBJECT, "minReplicaCount")}
_UNSET_IS = {"hpa": 1, "keda": 0}
"""What the API takes an unset floor for."""


def _slot(rung: Rung) -> Slot:
    kind, field = _FIELDS[rung]

    def read(obj: Object) -> Value:
        return whole(obj, "spec", field)

    def body(value: Value) -> Object:
        return {"spec": {field: value}}

    def wrong(original: Value, now: Value) -> str:
        name = _MARK.original
        if original is None:
            return ""
        if not isinstance(original, int) or isinstance(original, bool) or original < 0:
            return f"{name} is {original!r}, expected a count of replicas or unset"
        if now is not None and original > now:
            return f"{name} is {original}, above the {now} that the floor was raised to"
        return ""

    return Slot(kind, ("f:spec", f"f:{field}"), _MARK, read, body, wrong)


SLOTS: dict[Rung, Slot] = {"hpa": _slot("hpa"), "keda": _slot("keda")}


def raise_floor(
    kube: Kube,
    holder: Holder,
    floor: int,
    *,
    until: pd.Timestamp,
    plan_id: str,
    force_owners: Sequence[str] = (),
    reason: str = "",
) -> Written:
    """Hold a workload's floor at ``floor`` until ``until``; raise it, or lower what we raised.

    Never below the user's own floor: at or below it, what we hold is given back. Repeated with the
    same floor it only moves ``until``. Whoever took the field back ``REVERTS_MAX`` times keeps it.
    """
    what = f"{SLOTS[holder.rung].kind.kind} {holder.namespace}/{holder.name}"
    before = "unset" if holder.floor is None else str(holder.floor)
    if holder.problem:
        return Written("refused", before, before, holder.problem, what)
    if holder.ceiling is not None and floor > holder.ceiling:
        text = f"a floor of {floor} is above the maximum of {holder.ceiling} replicas"
        return Written("refused", before, before, text, what)

    def want(original: Value, _now: Value) -> Value:
        user = _UNSET_IS[holder.rung] if original is None else original
        return floor if floor > user else None

    target = Target(holder.name, holder.namespace, holder.uid)
    lease = Lease(until, plan_id, reason)
    return hold(kube, SLOTS[holder.rung], target, want, lease, force_owners=force_owners)


def give_back(kube: Kube, holder: Holder) -> Written:
    """Set a floor to the user's own value again; what somebody else changed meanwhile stays.

    Nothing is written where nothing is held.
    """
    target = Target(holder.name, holder.namespace, holder.uid)
    return restore(kube, SLOTS[holder.rung], target)


def ignore_differences(holder: Holder) -> str:
    """What an Argo CD Application needs so that it leaves this floor alone, as YAML.

    Source: Argo CD documentation, "Diff Customization" and "Sync Options"; ``ignoreDifferences``
    alone only hides the difference.
    """
    kind, field = _FIELDS[holder.rung]
    left: dict[str, Any] = {
        "group": kind.group,
        "kind": kind.kind,
        "name": holder.name,
        "namespace": holder.namespace,
        "jqPathExpressions": [f".spec.{field}"],
    }
    options = ["RespectIgnoreDifferences=true", "ServerSideApply=true"]
    spec = {"ignoreDifferences": [left], "syncPolicy": {"syncOptions": options}}
    return yaml.safe_dump({"spec": spec}, sort_keys=False)
