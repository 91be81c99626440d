"""What a person has approved: so high a floor for a workload, for some weeks.

Plans are made anew four times an hour, and a window may begin hours after somebody looked at it.
So an approval is remembered in the store, and holds for later plans up to the height that was seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from models.actions import Plan
from pipelines.errors import ConfigError
from pipelines.plans import newest_plan, read_plan
from pipelines.run import Run

__all__ = [
    "Approval", "approvals", "approve", "approved_floor", "broken_approvals", "find_plan",
    "is_approved",
]  # fmt: skip

_FOLDER = "approvals"
_DAYS_MAX = 366


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody said yes to floors of a plan: workload → the highest floor it asks for."""

    plan_id: str
    approved_at: pd.Timestamp
    expires_at: pd.Timestamp
    floors: Mapping[str, int]


def approve(run: Run, plan_id: str, days: float | None = None) -> Approval:
    """Write down that the newest plan is approved, for ``days`` (``guard.approval_days``).

    Raises
    ------
    ConfigError
        No plan of that name is in the store, it has expired, or a newer one is in its place: who
        says yes has to have seen what would be done.
    """
    days = run.settings.prescale.guard.approval_days if days is None else days
    if not 0 < days <= _DAYS_MAX:
        raise ConfigError(f"--days must be more than 0 and at most {_DAYS_MAX}, got {days!r}")
    plan = find_plan(run, plan_id)
    if plan is None:
        raise ConfigError(
            f"--approve {plan_id!r}: no such plan in {run.store.root}; `foretide status` names "
            "the plans that wait"
        )
    if plan.expires_at <= run.as_of:
        raise ConfigError(
            f"--approve {plan_id}: it expired at {plan.expires_at:%Y-%m-%d %H:%M} UTC; "
            "look at the newest plan"
        )
    newest = newest_plan(run)
    if newest is not None and newest.plan_id != plan_id:
        raise ConfigError(
            f"--approve {plan_id}: plan {newest.plan_id} of {newest.as_of:%Y-%m-%d %H:%M} UTC is "
            "in its place; `foretide status` names what waits, then approve that one"
        )
    expires_at = run.as_of + pd.Timedelta(days, "D")
    floors: dict[str, int] = {}
    for floor in plan.floors:
        if floor.ends_at > run.as_of:
            floors[floor.workload] = max(floor.after, floors.get(floor.workload, 0))
    approval = Approval(plan_id, run.as_of, expires_at, floors)
    data = {
        "plan_id": plan_id,
        "approved_at": run.as_of.isoformat(),
        "expires_at": expires_at.isoformat(),
        "floors": floors,
    }
    text = json.dumps(data, indent=1, sort_keys=True)
    run.store.put_file(f"{_FOLDER}/{plan_id}.json", f"{text}\n".encode())
    return approval


def approvals(run: Run) -> list[Approval]:
    """What is approved now. A file that is broken approves nothing: ``broken_approvals``."""
    found = [a for _, a in _all(run) if a is not None]
    return [a for a in found if a.approved_at <= run.as_of < a.expires_at]


def broken_approvals(run: Run) -> tuple[str, ...]:
    """Notes on the files that say nothing."""
    return tuple(
        f"{name} is broken and approves nothing: delete it, and approve again"
        for name, approval in _all(run)
        if approval is None
    )


def approved_floor(known: Iterable[Approval], workload: str) -> tuple[int, str]:
    """The highest floor of a workload that somebody said yes to, and the plan it was said to."""
    found = [(a.floors[workload], a.approved_at, a.plan_id) for a in known if workload in a.floors]
    height, _, plan_id = max(found, default=(0, None, ""))
    return height, plan_id


def is_approved(known: Iterable[Approval], workload: str, floor: int) -> bool:
    """Whether somebody said yes to so high a floor of a workload."""
    return any(floor <= a.floors.get(workload, -1) for a in known)


def find_plan(run: Run, plan_id: str) -> Plan | None:
    """The plan of that name, among those in the store up to the run's clock, newest first."""
    for name in reversed(run.store.files("plans")):
        if not name.endswith("/plan.json") or name.split("/")[1] > run.part:
            continue
        plan = (
            read_plan(run, name) if plan_id.encode() in (run.store.get_file(name) or b"") else None
        )
        if plan is not None and plan.plan_id == plan_id:
            return plan
    return None


def _all(run: Run) -> list[tuple[str, Approval | None]]:
    files = ((name, run.store.get_file(name)) for name in run.store.files(_FOLDER))
    return [(name, _read(data)) for name, data in files if data is not None]


def _read(data: bytes) -> Approval | None:
    """Nothing where it is not an approval: a yes that cannot be read is none."""
    try:
        found: Any = json.loads(data)
        return Approval(
            plan_id=str(found["plan_id"]),
            approved_at=_moment(found["approved_at"]),
            expires_at=_moment(found["expires_at"]),
            floors={str(name): int(floor) for name, floor in found["floors"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _moment(text: str) -> pd.Timestamp:
    at = pd.Timestamp(text)
    if at is pd.NaT or at.tzinfo is None:
        raise ValueError(f"a moment in UTC was expected, got {text!r}")
    return at
