"""What a person has approved: floors of a plan, kept until that plan expires.

Plans are made anew four times an hour, and a window may begin hours after somebody looked at it.
So an approval is remembered in the store, and holds for later plans as long as they ask for no
more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from models.actions import Plan
from pipelines.errors import ConfigError
from pipelines.plans import read_plan
from pipelines.run import Run

__all__ = ["Approval", "approvals", "approve", "find_plan", "is_approved"]

_FOLDER = "approvals"


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody said yes to floors of a plan: workload → the highest floor it asks for."""

    plan_id: str
    approved_at: pd.Timestamp
    expires_at: pd.Timestamp
    floors: Mapping[str, int]


def approve(run: Run, plan_id: str) -> Approval:
    """Write down that a plan is approved.

    Raises
    ------
    ConfigError
        No plan of that name is in the store, or it has expired.
    """
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
    floors: dict[str, int] = {}
    for floor in plan.floors:
        if floor.ends_at > run.as_of:
            floors[floor.workload] = max(floor.after, floors.get(floor.workload, 0))
    approval = Approval(plan_id, run.as_of, plan.expires_at, floors)
    data = {
        "plan_id": plan_id,
        "approved_at": run.as_of.isoformat(),
        "expires_at": plan.expires_at.isoformat(),
        "floors": floors,
    }
    text = json.dumps(data, indent=1, sort_keys=True)
    run.store.put_file(f"{_FOLDER}/{plan_id}.json", f"{text}\n".encode())
    return approval


def approvals(run: Run) -> list[Approval]:
    """What is approved now."""
    files = (run.store.get_file(name) for name in run.store.files(_FOLDER))
    found = [_read(data) for data in files if data is not None]
    return [a for a in found if a.approved_at <= run.as_of < a.expires_at]


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


def _read(data: bytes) -> Approval:
    found: Any = json.loads(data)
    return Approval(
        plan_id=found["plan_id"],
        approved_at=pd.Timestamp(found["approved_at"]),
        expires_at=pd.Timestamp(found["expires_at"]),
        floors=found["floors"],
    )
