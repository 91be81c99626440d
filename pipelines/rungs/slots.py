"""A field that can be held: where it is, whose it is, and for which lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from pipelines.adapters.kube import Kind
from pipelines.rungs.annotations import Mark, State, Value, annotations_of, shown
from pipelines.rungs.owners import owners_of, wrote_at
from pipelines.rungs.reading import Object, meta

__all__ = ["HOLD_LONGEST", "Lease", "Seen", "Slot", "Target", "look"]

HOLD_LONGEST: Final = pd.Timedelta(26, "h")
"""No lease of ours ends later than this after it was written: a day's peak and its lead."""


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
    until: pd.Timestamp | None
    """The lease's end as it is believed: at most ``HOLD_LONGEST`` after we wrote it."""
    given: bool
    """It was given back, and our name is still to be taken off it."""
    doubt: str
    """Why a person has to give it back, and what to do; empty where we can."""

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
    mine = state.held and not copied and alone
    given = slot.mark.given in annotations_of(obj)
    if mine:
        doubt = _unbelieved(slot, obj, state, value)
    elif copied:
        doubt = _restored(slot, state, value)
    else:
        lost = ours and alone and not (state.held or given)
        text = f"foretide alone owns {_dotted(slot)}, and what it was before is not written there"
        doubt = f"{text}: set it as you want it" if lost else ""
    return Seen(value, others, ours, state, copied, mine, _until(obj, state), given, doubt)


def _unbelieved(slot: Slot, obj: Object, state: State, value: Value) -> str:
    """Why the original that stands on an object cannot be ours."""
    why = _why(slot, obj, state, value) if state.known else state.broken
    return why and f"{why}; {_hint(slot)}"


def _hint(slot: Slot) -> str:
    name = slot.mark.original
    return f"set the field as you want it, and remove the annotations {name} and next to it"


def _why(slot: Slot, obj: Object, state: State, value: Value) -> str:
    name = slot.mark.original
    # whoever changes an annotation takes it from its owners: where we are one, it is as we wrote it
    others, ours = owners_of(obj, ("f:metadata", "f:annotations", f"f:{name}"))
    if not ours:
        who = ", ".join(others) or "somebody whom managedFields does not name"
        return f"{name} is {shown(state.original)}, and that was written by {who}"
    return slot.wrong(state.original, value)


def _restored(slot: Slot, state: State, value: Value) -> str:
    """Of an object that is a copy, as from a backup: what the one before it had at first."""
    if not state.known or value != state.value or value == state.original:
        return ""
    return (
        f"its annotations were copied from an object that was held at {shown(value)}: the original "
        f"was {shown(state.original)}; {_hint(slot)}"
    )


def _until(obj: Object, state: State) -> pd.Timestamp | None:
    until, wrote = state.until, wrote_at(obj)
    return until if until is None or wrote is None else min(until, wrote + HOLD_LONGEST)


def _dotted(slot: Slot) -> str:
    return ".".join(part.removeprefix("f:") for part in slot.path if part.startswith("f:"))
