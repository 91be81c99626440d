"""A field that can be held: where it is, whose it is, and for which lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from pipelines.adapters.kube import Kind
from pipelines.rungs.annotations import Mark, State, Value
from pipelines.rungs.owners import owners_of
from pipelines.rungs.reading import Object, meta

__all__ = ["Lease", "Seen", "Slot", "Target", "look"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A field that can be held.

    Attributes
    ----------
    path : in managedFields' words, ``("f:spec", "f:minReplicas")``
    read : object → the field's value, None where it is unset
    body : value → what is applied beside the metadata; None → nothing
    wrong : (original by the annotation, value now) → why that cannot be the original; empty if it
        can
    """

    kind: Kind
    path: tuple[str, ...]
    mark: Mark
    read: Callable[[Object], Value]
    body: Callable[[Value], Object]
    wrong: Callable[[Value, Value], str]


@dataclass(frozen=True, slots=True)
class Target:
    """One object; an empty uid takes the one that is there."""

    name: str
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """For which plan, until when and why."""

    until: pd.Timestamp
    plan_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One field as it was read."""

    value: Value
    others: tuple[str, ...]
    ours: bool
    state: State
    copied: bool
    """Our annotations speak of another object: it was recreated or copied with them."""
    mine: bool
    """The value is the one that we wrote, and nobody else claims it."""

    @property
    def taken(self) -> bool:
        """Whether somebody changed what we wrote."""
        held = self.state.held and not self.copied and not self.mine
        return held and self.value != self.state.value

    @property
    def who(self) -> str:
        """The others, for people."""
        return ", ".join(self.others) or "somebody whom managedFields does not name"


def look(slot: Slot, obj: Object) -> Seen:
    """Whose value it is."""
    value, state = slot.read(obj), slot.mark.read(obj)
    others, ours = owners_of(obj, slot.path)
    copied = state.held and state.uid != meta(obj, "uid")
    stripped = value is not None and value == state.value
    alone = not others and (ours or stripped)
    return Seen(value, others, ours, state, copied, state.held and not copied and alone)
