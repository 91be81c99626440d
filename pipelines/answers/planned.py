"""What is arranged: the floors of the newest plan, what waits for a person, what cannot be held."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from models.actions import Floor, Plan
from models.modes import Mode
from pipelines.answers.known import chosen, known_workloads
from pipelines.answers.shared import Age, Answer, Data, Part, age, data, iso, number, told
from pipelines.plans import plan_clocks, plan_folder, read_plan
from pipelines.run import Run

__all__ = ["FloorTold", "Planned", "RoomTold", "ShortfallTold", "newest_or_expired", "planned"]

_NOTES = 10


class FloorTold(Part):
    """One window of a raised floor. ``state`` is of the plan: what stands is in `status`."""

    workload: Data
    replicas_before: int
    replicas: int
    users_own_replicas: int
    starts_at: str
    ends_at: str
    state: Literal["now", "later", "over"]
    mode: Mode
    """``act``: `foretide apply` holds it; ``recommend``: once a person approves; ``shadow``: it is
    only shown."""
    reason: Data


class RoomTold(Part):
    """Room on nodes, or nodes that are kept, for the floors."""

    what: Literal["room", "nodes held"]
    cluster: Data
    nodepool: Data
    pods_count: int
    cpu_cores_per_pod: float
    memory_bytes_per_pod: float
    starts_at: str
    ends_at: str
    mode: Mode


class ShortfallTold(Part):
    """What cannot be held, said before it is needed; counts are of what ``reason`` names."""

    what: Data
    at: str
    wanted: float | None
    held: float | None
    reason: Data


class LeftAlone(Part):
    """A workload whose floor the plan does not move."""

    workload: Data
    reason: Data


class Planned(Answer):
    """The newest plan. Its id is what a person approves; nothing is applied by being planned."""

    plan_id: str
    floors: tuple[FloorTold, ...]
    floors_count: int
    """All windows that match and are not over; the earliest are here."""
    by_mode_count: dict[str, int]
    room: tuple[RoomTold, ...]
    shortfalls: tuple[ShortfallTold, ...]
    shortfalls_count: int
    left_alone: tuple[LeftAlone, ...]
    left_alone_count: int


def planned(
    run: Run, *, workload: str | None = None, horizon_h: float = 24.0, limit: int = 20
) -> Planned:
    """The newest plan at the run's clock, also once it has expired: it is stale then.

    Raises
    ------
    NoSuchName
        The workload is not known.
    StoreError
        The plan is damaged.
    """
    plan = newest_or_expired(run)
    wanted = None if workload is None else _named(run, plan, workload)
    until = run.as_of + pd.Timedelta(horizon_h, "h")
    every = () if plan is None else plan.floors
    floors = [
        f for f in every
        if f.ends_at > run.as_of and f.starts_at < until and wanted in (None, f.workload)
    ]  # fmt: skip
    floors.sort(key=lambda f: (f.starts_at, f.original - f.after))
    modes = [plan.mode_of(f) for f in floors] if plan is not None else []
    short = [] if plan is None else [s for s in plan.shortfalls if wanted in (None, s.what)]
    alone = [] if plan is None else [n for n in plan.notes if wanted in (None, n.workload)]
    return Planned(
        **_age(run, plan),
        plan_id="" if plan is None else plan.plan_id,
        floors=tuple(_floor(run, plan, f) for f in floors[:limit] if plan is not None),
        floors_count=len(floors),
        by_mode_count={m: modes.count(m) for m in dict.fromkeys(modes)},
        room=() if plan is None or wanted is not None else _room(run, plan, limit),
        shortfalls=tuple(
            ShortfallTold(
                what=data(s.what),
                at=told(s.at),
                wanted=number(s.wanted),
                held=number(s.held),
                reason=data(s.reason),
            )
            for s in short[:_NOTES]
        ),
        shortfalls_count=len(short),
        left_alone=tuple(
            LeftAlone(workload=data(n.workload), reason=data(n.reason)) for n in alone[:_NOTES]
        ),
        left_alone_count=len(alone),
    )


def newest_or_expired(run: Run) -> Plan | None:
    """The newest plan up to the run's clock, whatever its end.

    Raises
    ------
    StoreError
        It is damaged.
    """
    clocks = [clock for clock in plan_clocks(run) if clock <= run.part]
    if not clocks:
        return None
    folder = plan_folder(run).removesuffix(run.part)
    return read_plan(run, f"{folder}{clocks[-1]}/plan.json")


def _named(run: Run, plan: Plan | None, workload: str) -> str:
    """A plan may name workloads that are measured no more."""
    mine = {f.workload for f in plan.floors} if plan is not None else set[str]()
    return chosen(workload, sorted({*known_workloads(run), *mine}))


def _age(run: Run, plan: Plan | None) -> Age:
    return age(
        run,
        None if plan is None else plan.as_of,
        None if plan is None else plan.expires_at,
        *(() if plan is None else (f"plan {plan.plan_id} of {iso(plan.as_of)}",)),
        nothing="there is no plan: run `foretide plan`",
    )


def _floor(run: Run, plan: Plan, floor: Floor) -> FloorTold:
    return FloorTold(
        workload=data(floor.workload),
        replicas_before=floor.before,
        replicas=floor.after,
        users_own_replicas=floor.original,
        starts_at=told(floor.starts_at),
        ends_at=told(floor.ends_at),
        state="now" if floor.starts_at <= run.as_of else "later",
        mode=plan.mode_of(floor),
        reason=data(floor.reason),
    )


def _room(run: Run, plan: Plan, limit: int) -> tuple[RoomTold, ...]:
    rooms = [
        RoomTold(
            what="room",
            cluster=data(p.cluster),
            nodepool=data(p.nodepool),
            pods_count=p.count,
            cpu_cores_per_pod=p.cpu_cores,
            memory_bytes_per_pod=p.memory_bytes,
            starts_at=told(p.starts_at),
            ends_at=told(p.ends_at),
            mode=plan.mode_of(p),
        )
        for p in plan.placeholders
        if p.ends_at > run.as_of
    ]
    holds = [
        RoomTold(
            what="nodes held",
            cluster=data(h.cluster),
            nodepool=data(h.nodepool),
            pods_count=0,
            cpu_cores_per_pod=0.0,
            memory_bytes_per_pod=0.0,
            starts_at=told(h.starts_at),
            ends_at=told(h.ends_at),
            mode=plan.mode_of(h),
        )
        for h in plan.holds
        if h.ends_at > run.as_of
    ]
    return (*rooms[:limit], *holds[:limit])
