"""Who holds a workload's floor in a cluster, as it was read there: an HPA or a ScaledObject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from features.workloads import split_workload
from models.modes import Mode

__all__ = ["Holder", "Rung"]

Rung = Literal["hpa", "keda"]


@dataclass(frozen=True, slots=True)
class Holder:
    """One object whose field is a workload's floor.

    Attributes
    ----------
    workload : the scale target, ``cluster/namespace/kind/name``
    rung : ``hpa``: spec.minReplicas of an HPA; ``keda``: spec.minReplicaCount of a ScaledObject
    name, namespace, uid, resource_version : of the object, at the moment it was read
    floor : the field's value; None where it is unset
    ceiling : maxReplicas, maxReplicaCount; KEDA's default of 100 where that is unset
    replicas, desired : of the HPA's status
    owners : managers of the field that are not us, by managedFields
    ours : whether we are among its managers
    original : the user's own value by our annotation (None: it was unset), where ``plan_id`` is set
    plan_id : which plan raised it, by our annotation; empty where nobody of us did
    held_until : until when, by our annotation; None where we hold nothing
    reverts : how often somebody took the field back, by our annotation
    mode : what an annotation on the object, its target or its namespace says; None where none does
    problem : why a floor would do nothing here (KEDA is paused, target at zero); empty if not
    note : what a person should know and what stops nothing (KEDA holds every pod that is there)
    value : the floor that we wrote, by our annotation; None where we hold nothing
    rolling : whether its target is in the middle of a rollout
    generation : of the target's spec: another one is another version; 0 where it is not known
    """

    workload: str
    rung: Rung
    name: str
    namespace: str
    uid: str
    resource_version: str
    floor: int | None
    ceiling: int | None
    replicas: int
    desired: int
    owners: tuple[str, ...] = ()
    ours: bool = False
    original: int | None = None
    plan_id: str = ""
    held_until: pd.Timestamp | None = None
    reverts: int = 0
    mode: Mode | None = None
    problem: str = ""
    note: str = ""
    value: int | None = None
    rolling: bool = False
    generation: int = 0

    @property
    def held(self) -> bool:
        """Whether our annotation is on the object."""
        return bool(self.plan_id)

    @property
    def target_kind(self) -> str:
        """Deployment, StatefulSet or whatever else is scaled."""
        return split_workload(self.workload)[2]

    @property
    def user_floor(self) -> int:
        """The user's own floor: unset is 1 for an HPA and 0 for KEDA."""
        value = self.original if self.held else self.floor
        return (1 if self.rung == "hpa" else 0) if value is None else value
