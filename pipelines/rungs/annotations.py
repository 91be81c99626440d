"""What we write on an object that we hold: all that giving back needs, and why it is held.

An annotation may have been edited or copied by anybody. A broken one is told in ``State.broken``
and is never trusted to lower anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

import pandas as pd

from models.modes import Mode
from pipelines.rungs.reading import mapping

__all__ = [
    "MODE",
    "PREFIX",
    "UNSET",
    "Mark",
    "State",
    "Value",
    "annotations_of",
    "careful",
    "read_mode",
    "shown",
    "stamp",
    "stamp_of",
]

PREFIX: Final = "foretide.dev/"
MODE: Final = PREFIX + "mode"
"""The kill switch: off, shadow, recommend or act, on an object, its target or its namespace."""

Value = Any
"""A field's value as JSON: a count of replicas, a list of budgets; None where it is unset."""

UNSET: Final = "unset"
_CARE: Final[tuple[Mode, ...]] = get_args(Mode)  # off < shadow < recommend < act
_REASON_MAX = 200


@dataclass(frozen=True, slots=True)
class State:
    """What our annotations on one object say.

    Attributes
    ----------
    held : whether any of them is there
    original : the user's own value; None: the field was unset, where ``known``
    known : whether the original could be read
    value : what we wrote last
    uid : of the object that we wrote on; another one here means that they were copied
    until : None where it is missing or broken
    reverts : how often somebody took the field back
    broken : what cannot be read, for people; empty where all can
    """

    held: bool = False
    original: Value = None
    known: bool = False
    value: Value = None
    plan_id: str = ""
    uid: str = ""
    until: pd.Timestamp | None = None
    reverts: int = 0
    reason: str = ""
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """The names of the annotations of one held field; ``scope`` keeps two fields of one object
    apart."""

    word: str
    scope: str = ""

    @property
    def original(self) -> str:
        """The user's own value."""
        return f"{PREFIX}original-{self.word}"

    @property
    def value(self) -> str:
        """What we wrote."""
        return f"{PREFIX}{self.word}"

    def name(self, what: str) -> str:
        """One of plan-id, valid-until, reverts, object-uid, reason."""
        return f"{PREFIX}{self.scope}{what}"

    @property
    def given(self) -> str:
        """Stands there between the two requests that give a field back."""
        return f"{PREFIX}given-back-{self.word}"

    @property
    def names(self) -> tuple[str, ...]:
        """All that stand on a held field."""
        rest = ("plan-id", "valid-until", "reverts", "object-uid", "reason")
        return (self.original, self.value, *(self.name(what) for what in rest))

    def write(
        self,
        *,
        original: Value,
        value: Value,
        uid: str,
        until: pd.Timestamp,
        plan_id: str,
        reverts: int = 0,
        reason: str = "",
    ) -> dict[str, str]:
        """The annotations of a held field."""
        lines = {
            self.original: _text(original),
            self.value: _text(value),
            self.name("plan-id"): plan_id,
            self.name("valid-until"): stamp(until),
            self.name("object-uid"): uid,
        }
        lines |= {self.name("reverts"): str(reverts)} if reverts else {}
        return lines | ({self.name("reason"): reason[:_REASON_MAX]} if reason else {})

    def read(self, obj: Mapping[str, Any]) -> State:
        """What they say on an object. Never raises."""
        notes = annotations_of(obj)
        if not any(name in notes for name in self.names):
            return State()
        wrong: list[str] = []

        def value_of(name: str) -> Value:
            try:
                return _value(notes[name])
            except (KeyError, ValueError):
                wrong.append(f"{name} is {notes.get(name)!r}, expected a value or unset")
                return None

        original = value_of(self.original)
        unread = bool(wrong)
        until = stamp_of(notes.get(self.name("valid-until"), ""))
        if until is None:
            given = notes.get(self.name("valid-until"))
            wrong.append(f"{self.name('valid-until')} is {given!r}, expected a UTC time")
        count = notes.get(self.name("reverts"), "0")
        if not (count.isascii() and count.isdigit() and len(count) < 6):
            wrong.append(f"{self.name('reverts')} is {count!r}, expected a count")
            count = "0"
        return State(
            held=True,
            original=original,
            known=not unread,
            value=value_of(self.value),
            plan_id=notes.get(self.name("plan-id"), ""),
            uid=notes.get(self.name("object-uid"), ""),
            until=until,
            reverts=int(count),
            reason=notes.get(self.name("reason"), ""),
            broken="; ".join(wrong),
        )


def annotations_of(obj: Any) -> dict[str, str]:
    """An object's annotations that are text, as they are."""
    found = mapping(obj, "metadata", "annotations")
    return {str(k): v for k, v in found.items() if isinstance(v, str)}


def read_mode(obj: Any) -> tuple[Mode | None, str]:
    """The kill switch on an object, and what is wrong with it.

    A value that nobody knows was meant as a stop by somebody: it counts as ``shadow``.
    """
    given = annotations_of(obj).get(MODE)
    if given is None:
        return None, ""
    said = given.strip().lower()
    for mode in _CARE:
        if said == mode:
            return mode, ""
    return "shadow", f"{MODE} is {given!r}, expected {', '.join(_CARE)}: taken as shadow"


def careful(*modes: Mode | None) -> Mode | None:
    """The most careful of them; None where there is none."""
    return next((mode for mode in _CARE if mode in modes), None)


def shown(value: Value) -> str:
    """A value in words: ``3``, ``unset``."""
    return _text(value)


def stamp(at: pd.Timestamp) -> str:
    """A moment as ISO 8601 in UTC, whole seconds.

    Raises
    ------
    ValueError
        It has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"expected a time with a time zone, got {at}")
    return at.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_of(written: str) -> pd.Timestamp | None:
    """The inverse of ``stamp``; None where the text is not such a moment."""
    at = pd.to_datetime(written, format="%Y-%m-%dT%H:%M:%SZ", utc=True, errors="coerce")
    return at if isinstance(at, pd.Timestamp) else None


def _text(value: Value) -> str:
    return UNSET if value is None else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _value(written: str) -> Value:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        value = None if written == UNSET else json.loads(written, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if value is None and written != UNSET:
        raise ValueError(written)
    return value
