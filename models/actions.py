"""A plan and its actions as plain values: printable, JSON-able, named by the hash of their
content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

__all__ = ["Action", "Floor", "Gate", "Note", "Placeholder", "Plan", "describe"]

Gate = Literal["act", "shadow"]


@dataclass(frozen=True, slots=True)
class Floor:
    """An HPA's minReplicas, raised for a while.

    ``original`` is the user's own minReplicas, ``before`` the floor of the window before (or the
    original), ``after`` the floor in ``[starts_at, ends_at)``. ``hpa`` is the name of the object.
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


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Pods that hold room on a cluster's nodes in ``[starts_at, ends_at)``, and yield to any other.

    ``cpu_cores`` and ``memory_bytes`` are the requests of one of the ``count`` pods.
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


Action = Floor | Placeholder
_KINDS: dict[str, type[Floor] | type[Placeholder]] = {"floor": Floor, "placeholder": Placeholder}
_STAMPS = ("starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Note:
    """A workload that the plan leaves alone, and why."""

    workload: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do until ``expires_at``. An action is carried out only where mode and gate both
    act."""

    as_of: pd.Timestamp
    expires_at: pd.Timestamp
    mode: Gate
    actions: tuple[Action, ...]
    notes: tuple[Note, ...]

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
        """The placeholder actions."""
        return tuple(a for a in self.actions if isinstance(a, Placeholder))

    def mode_of(self, action: Action) -> Gate:
        """``act`` only where the plan's mode and the action's gate both say so."""
        return "act" if self.mode == action.gate == "act" else "shadow"

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
            )
            named = data["plan_id"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a plan: {error}") from error
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
        }


def describe(plan: Plan) -> str:
    """The plan as a plain text table, for a terminal or a log."""
    head = (
        f"plan {plan.plan_id}  mode {plan.mode}  as of {_at(plan.as_of)}  "
        f"expires {_at(plan.expires_at)}"
    )
    table = [("from", "to", "what", "change", "mode", "reason")]
    table += [
        (_at(a.starts_at), _at(a.ends_at), *_what(a), plan.mode_of(a), a.reason)
        for a in plan.actions
    ]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    notes = [f"left alone: {n.workload}: {n.reason}" for n in plan.notes]
    whole = [head, *(lines if plan.actions else ["nothing to do"]), *notes]
    # names come from labels: a control character in one must not reach the terminal
    return "".join("".join(c if c.isprintable() else "�" for c in x) + "\n" for x in whole)


def _what(action: Action) -> tuple[str, str]:
    match action:
        case Floor():
            return f"floor {action.workload}", f"{action.before} -> {action.after}"
        case Placeholder():
            size = f"{action.cpu_cores:g} cores, {action.memory_bytes / 2**20:.0f} MiB"
            return f"placeholders {action.cluster}", f"{action.before} -> {action.count} x {size}"


def _at(stamp: pd.Timestamp) -> str:
    return stamp.strftime("%Y-%m-%dT%H:%MZ")


def _action_dict(action: Action) -> dict[str, Any]:
    kind = "floor" if isinstance(action, Floor) else "placeholder"
    fields = asdict(action) | {key: getattr(action, key).isoformat() for key in _STAMPS}
    return {"kind": kind, **fields}


def _action(data: Mapping[str, Any]) -> Action:
    fields: dict[str, Any] = {key: value for key, value in data.items() if key != "kind"}
    fields.update({key: pd.Timestamp(data[key]) for key in _STAMPS})
    return _KINDS[data["kind"]](**fields)
