"""How Foretide itself stands: runs, the age of every table, what is held and what waits."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from features.frames import CAPACITY, FORECASTS, INCIDENTS, LEDGER, SCORES, VALUE, Contract
from pipelines.answers.incidents import open_incidents
from pipelines.answers.known import known_workloads
from pipelines.answers.planned import newest_or_expired
from pipelines.answers.shared import Answer, Data, Part, age, clock_of, data, iso, told
from pipelines.ledger import Entry, Ledger
from pipelines.run import Run
from pipelines.rungs.held import Held
from pipelines.series.reaching import newest_parts
from pipelines.status import Status

__all__ = ["HeldTold", "RunTold", "State", "TableAge", "Waiting", "state"]

TableName = Literal["samples", "scores", "forecasts", "capacity", "plan", "value"]
_LOOKED_BACK = pd.Timedelta(35, "D")
_DAY = pd.Timedelta(1, "D")
_ROWS = 20
_NOTES = 5
_HELD = ("done", "kept")
_WRONG = ("reverted", "conflict", "changed")


class TableAge(Part):
    """Until when a table's newest rows may be used."""

    name: TableName
    newest_at: str | None
    valid_until: str | None
    stale: bool


class RunTold(Part):
    """The last run of a verb."""

    verb: str
    as_of: str
    state: Literal["done", "partly", "failed"]
    done: int
    skipped: int
    failed: int
    unit: str
    error: Data


class HeldTold(Part):
    """Something that is held in a cluster, with the value that goes back."""

    what: str
    target: Data
    original: str
    value: str
    until: str | None
    expired: bool
    plan_id: str
    reason: Data


class Waiting(Part):
    """What waits for a person, or was taken back."""

    workload: Data
    status: str
    before: str
    after: str
    plan_id: str
    at: str
    reason: Data


class State(Answer):
    """The state of the pipeline and of what it holds."""

    workloads_count: int
    open_incidents_count: int
    tables: tuple[TableAge, ...]
    runs: tuple[RunTold, ...]
    held_by: Literal["cluster", "ledger"]
    """Who was asked: the cluster itself, or only the record of the last day."""
    held: tuple[HeldTold, ...]
    held_count: int
    waiting: tuple[Waiting, ...]
    """For a person: `foretide apply --approve PLAN_ID`."""
    waiting_count: int
    taken_back: tuple[Waiting, ...]
    notes: tuple[Data, ...]
    writes_allowed: bool
    """Whether this server lets an approved call write."""


def state(
    run: Run,
    *,
    seen: Status | None = None,
    notes: tuple[str, ...] = (),
    writes_allowed: bool = False,
) -> State:
    """The state at the run's clock; ``seen`` is what the cluster itself says, where it was asked,
    and ``notes`` say why it was not.

    Raises
    ------
    StoreError
        A table is damaged.
    """
    tables = _tables(run)
    scored = next(t for t in tables if t.name == "scores")
    late = [t.name for t in tables if t.stale and t.newest_at is not None]
    newest = None if scored.newest_at is None else pd.Timestamp(scored.newest_at)
    until = None if scored.valid_until is None else pd.Timestamp(scored.valid_until)
    told_age = age(
        run,
        newest,
        until,
        "tables runs and ledger, the clocks of all tables",
        *(("the cluster's annotations",) if seen is not None else ()),
        nothing="nothing was scored yet: run `foretide run`",
    )
    if late and not told_age["stale"]:
        told_age["stale"], told_age["stale_reason"] = True, f"too old: {', '.join(late)}"
    held, waiting, taken, more = _of_ledger(run) if seen is None else _of_cluster(seen)
    return State(
        **told_age,
        workloads_count=len(known_workloads(run)),
        open_incidents_count=len(open_incidents(run)),
        tables=tables,
        runs=_runs(run),
        held_by="ledger" if seen is None else "cluster",
        held=tuple(held[:_ROWS]),
        held_count=len(held),
        waiting=tuple(waiting[:_ROWS]),
        waiting_count=len(waiting),
        taken_back=tuple(taken[:_ROWS]),
        notes=tuple(data(n) for n in (*notes, *more)[:_NOTES]),
        writes_allowed=writes_allowed,
    )


def _tables(run: Run) -> tuple[TableAge, ...]:
    s, hour = run.settings, pd.Timedelta(1, "h")
    samples = run.store.newest(run.as_of) if run.store.days() else None
    plan = newest_or_expired(run)
    # scores are every few minutes: the run that found no incident wrote its table, too
    scored = max(filter(None, (_clock(run, SCORES), _clock(run, INCIDENTS))), default=None)
    forecast_for = s.forecast.valid_for_h * hour
    found: tuple[tuple[TableName, pd.Timestamp | None, pd.Timedelta | None], ...] = (
        ("samples", samples, s.quality.maximum_staleness_h * hour),
        ("scores", scored, s.detect.valid_for_h * hour),
        ("forecasts", _clock(run, FORECASTS), forecast_for),
        ("capacity", _clock(run, CAPACITY), forecast_for),
        ("plan", None if plan is None else plan.as_of,
         None if plan is None else plan.expires_at - plan.as_of),
        ("value", _clock(run, VALUE), s.evaluate.window_days * _DAY),
    )  # fmt: skip
    return tuple(
        TableAge(
            name=name,
            newest_at=iso(at),
            valid_until=None if at is None or lasts is None else iso(at + lasts),
            stale=at is None or lasts is None or at + lasts <= run.as_of,
        )
        for name, at, lasts in found
    )


def _clock(run: Run, contract: Contract) -> pd.Timestamp | None:
    parts = newest_parts(run, contract)
    return clock_of(parts[-1]) if parts else None


def _runs(run: Run) -> tuple[RunTold, ...]:
    from pipelines.watching import read_runs  # brings Prefect, which takes seconds

    runs = read_runs(run, run.as_of - _LOOKED_BACK)
    last = runs.drop_duplicates("verb", keep="last") if len(runs) else runs
    return tuple(
        RunTold(
            verb=str(row["verb"]),
            as_of=told(row["as_of"]),
            state=row["state"],
            done=int(row["done"]),
            skipped=int(row["skipped"]),
            failed=int(row["failed"]),
            unit=str(row["unit"]),
            error=data(row["error"]),
        )
        for row in last.to_dict("records")
        if row["state"] in ("done", "partly", "failed")
    )


Found = tuple[list[HeldTold], list[Waiting], list[Waiting], list[str]]


def _of_cluster(seen: Status) -> Found:
    waiting = [
        Waiting(workload=data(t.workload), status=t.status, before=t.before[:80],
                after=t.after[:80], plan_id=t.plan_id[:64], at=t.at, reason=data(t.reason))
        for t in (*seen.waiting, *seen.taken)
    ]  # fmt: skip
    unread = [f"{h.kind}: not known: {h.problem}" for h in seen.held if not h.name]
    return (
        [_held(h, seen.at) for h in seen.held if h.name],
        waiting[: len(seen.waiting)],
        waiting[len(seen.waiting) :],
        [*unread, *seen.notes],
    )


def _held(one: Held, now: pd.Timestamp) -> HeldTold:
    return HeldTold(
        what=one.what,
        target=data(one.workload),
        original=one.original[:80],
        value=one.value[:80],
        until=iso(one.until),
        expired=one.expired(now),
        plan_id=one.plan_id[:64],
        reason=data("; ".join(filter(None, (one.reason, one.problem)))),
    )


def _of_ledger(run: Run) -> Found:
    """By the last row of each target of the last day."""
    if not run.parts(LEDGER, run.as_of - _DAY):
        return [], [], [], []
    ledger = Ledger(run)
    last = {e.target: e for e in ledger.entries(run.as_of - _DAY)}
    held = [
        HeldTold(what=e.field[:80], target=data(e.target), original=e.before[:80],
                 value=e.after[:80], until=iso(e.expires_at),
                 expired=e.expires_at <= run.as_of, plan_id=e.plan_id[:64], reason=data(e.reason))
        for e in last.values() if e.status in _HELD and e.expires_at > run.as_of
    ]  # fmt: skip
    waiting = [_waiting(e) for e in last.values() if e.status == "waiting"]
    taken = [_waiting(e) for e in last.values() if e.status in _WRONG]
    return held, waiting, taken, list(ledger.passed_over())


def _waiting(entry: Entry) -> Waiting:
    return Waiting(
        workload=data(entry.target),
        status=entry.status,
        before=entry.before[:80],
        after=entry.after[:80],
        plan_id=entry.plan_id[:64],
        at=told(entry.applied_at),
        reason=data("; ".join(filter(None, (entry.reason, entry.detail)))),
    )
