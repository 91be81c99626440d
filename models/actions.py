"""A plan and its actions as plain values: printable, JSON-able, named by the hash of their
content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import pandas as pd

from models.modes import Mode

__all__ = [
    "Action",
    "Floor",
    "Gate",
    "Hold",
    "Note",
    "Placeholder",
    "Plan",
    "Shortfall",
    "floors_at",
    "holds_at",
    "placeholders_at",
]

Gate = Literal["act", "shadow"]


@dataclass(frozen=True, slots=True)
class Floor:
    """A workload's floor, raised for a while.

    ``original`` is the user's own floor, ``before`` the floor of the window before (or the
    original), ``after`` the floor in ``[starts_at, ends_at)``. ``hpa`` is the name of the object.
    ``mode`` is what people want done, ``gate`` what the forecast is good for. ``nodepool`` is where
    its pods run, empty where that is not known; ``cpu_cores`` and ``memory_bytes`` are the requests
    of one pod, 0 where they are not known.
    """

    workload: str
    hpa: str
    original: int
    before: int
    after: int
    starts_at: pd.Timestamp
    ends_at: pd.Timestamp
    gate: Gate
    reason: str
    mode: Mode = "shadow"
    nodepool: str = ""
    cpu_cores: float = 0.0
    memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Room on a cluster's nodes in ``[starts_at, ends_at)``, which yields to any other pod.

    ``cpu_cores`` and ``memory_bytes`` are the requests of one of the ``count`` pods that it is
    worth. ``nodepool`` is empty where it may be on any node.
    """

    cluster: str
    before: int
    count: int
    cpu_cores: float
    memory_bytes: float
    starts_at: pd.Timestamp
    ends_at: pd.Timestamp
    gate: Gate
    reason: str
    mode: Mode = "shadow"
    nodepool: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """No consolidation of a NodePool in ``[starts_at, ends_at)``: nodes that were started early
    have no pods yet, and would die for it.

    ``nodepool`` is empty where nobody knows whose nodes they are: then all of the cluster's.
    """

    cluster: str
    nodepool: str
    starts_at: pd.Timestamp
    ends_at: pd.Timestamp
    gate: Gate
    mode: Mode
    reason: str


Action = Floor | Placeholder | Hold
_KINDS: dict[str, type[Floor] | type[Placeholder] | type[Hold]] = {
    "floor": Floor,
    "placeholder": Placeholder,
    "hold": Hold,
}
_STAMPS = ("starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Note:
    """A workload that the plan leaves alone, and why."""

    workload: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What cannot be held from ``at`` on, said before it is needed.

    ``what`` is a workload, a NodePool or whatever has the limit; ``wanted`` and ``held`` are counts
    of what ``reason`` names.
    """

    what: str
    at: pd.Timestamp
    wanted: float
    held: float
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do until ``expires_at``.

    ``mode`` is that of a workload for which nobody said another; the mode that counts is each
    action's own. ``room_lead_s`` is how long before a floor the room for its pods stands.
    """

    as_of: pd.Timestamp
    expires_at: pd.Timestamp
    mode: Mode
    actions: tuple[Action, ...]
    notes: tuple[Note, ...]
    shortfalls: tuple[Shortfall, ...] = ()
    room_lead_s: float = 0.0

    @property
    def plan_id(self) -> str:
        """Hash of the content: the same plan made twice has one name."""
        text = json.dumps(self._content(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def floors(self) -> tuple[Floor, ...]:
        """The floor actions."""
        return tuple(a for a in self.actions if isinstance(a, Floor))

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The actions that hold room."""
        return tuple(a for a in self.actions if isinstance(a, Placeholder))

    @property
    def holds(self) -> tuple[Hold, ...]:
        """The actions that hold nodes."""
        return tuple(a for a in self.actions if isinstance(a, Hold))

    def mode_of(self, action: Action) -> Mode:
        """What may be done about an action: what people want, and nothing where its gate is
        shut."""
        return action.mode if action.gate == "act" else "shadow"

    def rows(self) -> list[dict[str, Any]]:
        """Floors as rows ``workload, ts_from, ts_to, floor_from, floor_to, mode, reason``."""
        return [
            {
                "workload": a.workload,
                "ts_from": a.starts_at,
                "ts_to": a.ends_at,
                "floor_from": a.before,
                "floor_to": a.after,
                "mode": self.mode_of(a),
                "reason": a.reason,
            }
            for a in self.floors
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; stamps are ISO 8601."""
        return {"plan_id": self.plan_id, **self._content()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """The inverse of ``to_dict``.

        Raises
        ------
        ValueError
            A field is missing or unknown, or the content is not the one that ``plan_id`` names.
        """
        try:
            plan = cls(
                as_of=pd.Timestamp(data["as_of"]),
                expires_at=pd.Timestamp(data["expires_at"]),
                mode=data["mode"],
                actions=tuple(_action(a) for a in data["actions"]),
                notes=tuple(Note(**n) for n in data["notes"]),
                shortfalls=tuple(_shortfall(s) for s in data["shortfalls"]),
                room_lead_s=data["room_lead_s"],
            )
            named = data["plan_id"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a plan of this version: {error}") from error
        if named != plan.plan_id:
            raise ValueError(f"plan {named} was changed: its content is that of {plan.plan_id}")
        return plan

    def _content(self) -> dict[str, Any]:
        return {
            "as_of": self.as_of.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "mode": self.mode,
            "actions": [_action_dict(a) for a in self.actions],
            "notes": [asdict(n) for n in self.notes],
            "shortfalls": [asdict(s) | {"at": s.at.isoformat()} for s in self.shortfalls],
            "room_lead_s": self.room_lead_s,
        }


def floors_at(plan: Plan, now: pd.Timestamp) -> dict[str, Floor]:
    """The floor that each workload should have now; none for a workload at its user's own."""
    return {a.workload: a for a in plan.floors if a.starts_at <= now < a.ends_at}


def placeholders_at(plan: Plan, now: pd.Timestamp) -> tuple[Placeholder, ...]:
    """The room that should stand now, by the plan; ``models.room.room_now`` knows what landed."""
    return tuple(a for a in plan.placeholders if a.starts_at <= now < a.ends_at)


def holds_at(plan: Plan, now: pd.Timestamp) -> tuple[Hold, ...]:
    """The nodes that should be held now."""
    return tuple(a for a in plan.holds if a.starts_at <= now < a.ends_at)


def _action_dict(action: Action) -> dict[str, Any]:
    kind = next(name for name, of in _KINDS.items() if isinstance(action, of))
    values = {f.name: getattr(action, f.name) for f in fields(action)}
    return {"kind": kind, **values, **{key: values[key].isoformat() for key in _STAMPS}}


def _action(data: Mapping[str, Any]) -> Action:
    values: dict[str, Any] = {key: value for key, value in data.items() if key != "kind"}
    values.update({key: pd.Timestamp(data[key]) for key in _STAMPS})
    return _KINDS[data["kind"]](**values)


def _shortfall(data: Mapping[str, Any]) -> Shortfall:
    values: dict[str, Any] = {**data, "at": pd.Timestamp(data["at"])}
    return Shortfall(**values)
