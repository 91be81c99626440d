"""What to look at first: the few things that may need a person now, from the other answers."""

from __future__ import annotations

from pipelines.answers.incidents import Incident, incidents
from pipelines.answers.planned import FloorTold, ShortfallTold, planned
from pipelines.answers.shared import Answer
from pipelines.answers.state import RunTold, State, TableAge, Waiting, state
from pipelines.answers.value import value
from pipelines.run import Run

__all__ = ["Morning", "morning"]

_ROWS = 5


class Morning(Answer):
    """The worst first in every list; counts are of all there is."""

    open_incidents_count: int
    open_incidents: tuple[Incident, ...]
    shortfalls_count: int
    shortfalls: tuple[ShortfallTold, ...]
    waiting_count: int
    waiting: tuple[Waiting, ...]
    failed_runs: tuple[RunTold, ...]
    stale_tables: tuple[TableAge, ...]
    plan_id: str
    floors_next_24h_count: int
    floors_next_24h: tuple[FloorTold, ...]
    value_told: tuple[str, ...]


def morning(run: Run, known: State | None = None) -> Morning:
    """The morning's answer; ``known`` is the state, for who has asked for it already.

    Raises
    ------
    StoreError
        A table is damaged.
    """
    found, plan = incidents(run, limit=_ROWS), planned(run, limit=_ROWS)
    now = known or state(run)
    own = ("asked_at", "as_of", "valid_until", "stale", "stale_reason", "evidence")
    return Morning(
        **{name: getattr(now, name) for name in own},
        open_incidents_count=found.open_count,
        open_incidents=found.incidents,
        shortfalls_count=plan.shortfalls_count,
        shortfalls=plan.shortfalls[:_ROWS],
        waiting_count=now.waiting_count,
        waiting=now.waiting[:_ROWS],
        failed_runs=tuple(r for r in now.runs if r.state != "done"),
        stale_tables=tuple(t for t in now.tables if t.stale),
        plan_id=plan.plan_id,
        floors_next_24h_count=plan.floors_count,
        floors_next_24h=plan.floors,
        value_told=value(run).told,
    )
