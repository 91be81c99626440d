"""From decisions to writes: what is due, what was said before each write, what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from features.workloads import split_workload
from models.guard_facts import Decision, Wanted
from models.holders import Holder
from pipelines.adapters.kube import Kube
from pipelines.errors import ClusterError, ObjectMissing
from pipelines.ledger import Entry, State
from pipelines.pace import Pace
from pipelines.rungs.floors import SLOTS, give_back, raise_floor
from pipelines.rungs.written import Written, failed

__all__ = ["Job", "Terms", "carry_out", "in_order", "jobs_of", "objects_before", "told"]

_WRITES = ("raise", "step_down", "give_back")
_ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one run: which plan, at what moment, how long what is written stands at most."""

    plan_id: str
    now: pd.Timestamp
    ttl: pd.Timedelta
    force_owners: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """Workload → why the plan wants its floor."""


@dataclass(frozen=True, slots=True)
class Job:
    """One write that is due; ``entry`` is its row before it."""

    what: Literal["raise", "give_back"]
    holder: Holder
    floor: int
    entry: Entry
    done: State
    """The state of the row after it, where all went well."""


def jobs_of(
    decisions: Iterable[Decision],
    holders: Mapping[str, Holder],
    wanted: Mapping[str, Wanted],
    terms: Terms,
) -> list[Job]:
    """The writes that the decisions ask for, in their order, and the renewals that are due."""
    found = [
        _job(d, holders[d.workload], wanted.get(d.workload), terms)
        for d in decisions
        if d.workload in holders
    ]
    return [job for job in found if job is not None]


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """What ends soonest is renewed first, then what is over goes back, then something is raised:
    a run whose time is short loses what stands last."""
    order = {"kept": 0, "done": 2}

    def place(job: Job) -> tuple[int, float]:
        held = job.holder.held_until
        rank = 1 if job.what == "give_back" else order.get(job.done, 1)
        return rank, held.timestamp() if rank == 0 and held is not None else 0.0

    return sorted(jobs, key=place)


def told(
    decisions: Iterable[Decision],
    holders: Mapping[str, Holder],
    wanted: Mapping[str, Wanted],
    terms: Terms,
) -> list[Entry]:
    """Rows for what is only said: shown, waiting for a person, refused."""
    states: dict[str, State] = {"show": "shown", "wait": "waiting", "refuse": "refused"}
    found: list[Entry] = []
    for d in decisions:
        if d.what in states:
            want, holder = wanted.get(d.workload), holders.get(d.workload)
            until = terms.now + terms.ttl if want is None else want.until
            entry = _entry(d, holder, want, terms, until)
            asked = want.floor if want is not None else d.floor
            found.append(replace(entry, status=states[d.what], after=str(asked)))
    return found


def objects_before(
    kube: Kube, jobs: Sequence[Job], pace: Pace
) -> tuple[dict[str, dict[str, Any]], dict[str, Entry]]:
    """uid → object, of those that nobody of us holds yet, as they are now; and ``action_id`` → its
    row after, of a job whose object cannot be read: without its snapshot it is not written."""
    found: dict[str, dict[str, Any]] = {}
    unread: dict[str, Entry] = {}
    for job in jobs:
        holder, entry = job.holder, job.entry
        if job.what != "raise" or holder.held:
            continue
        if why := pace.stop():
            unread[entry.action_id] = replace(entry, status="not_done", detail=why)
            continue
        try:
            body = kube.get(SLOTS[holder.rung].kind, holder.name, holder.namespace)
        except ObjectMissing:
            continue  # its write says so
        except ClusterError as error:
            status = failed(error).status
            pace.saw(holder.uid, status)
            unread[entry.action_id] = replace(
                entry, status="not_done" if status == "done" else status, detail=str(error)
            )
            continue
        pace.saw(holder.uid, "done")
        found[str(body["metadata"]["uid"])] = body
    return found, unread


def carry_out(kube: Kube, jobs: Sequence[Job], terms: Terms, pace: Pace) -> list[Entry]:
    """Write, one object after the other; the rows after. One that fails stops no other."""
    rows: list[Entry] = []
    for job in jobs:
        if why := pace.stop():
            rows.append(replace(job.entry, status="not_done", detail=why))
            continue
        written = _write(kube, job, terms)
        pace.saw(job.holder.uid, written.status)
        status = job.done if written.status == "done" else written.status
        after = written.after or job.entry.before
        rows.append(replace(job.entry, status=status, after=after, detail=written.detail))
    return rows


def _job(decision: Decision, holder: Holder, want: Wanted | None, terms: Terms) -> Job | None:
    until = _until(want, holder, terms)
    if decision.what in _WRITES:
        back = decision.what != "raise" and decision.floor <= holder.user_floor
        entry = _entry(decision, holder, want, terms, terms.now if back else until)
        done: State = "given_back" if back else "done"
        if decision.stage == _ROLLBACK:
            done = "rolled_back"
        return Job("give_back" if back else "raise", holder, decision.floor, entry, done)
    if decision.renew and want is not None and _is_due(holder, until, terms):
        entry = _entry(decision, holder, want, terms, until)
        return Job("raise", holder, holder.floor or 0, entry, "kept")
    return None


def _until(want: Wanted | None, holder: Holder, terms: Terms) -> pd.Timestamp:
    """What nobody wants any more is on its way down, and stands no longer for it."""
    latest = terms.now + terms.ttl
    if want is not None:
        return min(want.until, latest)
    return min(holder.held_until or latest, latest)


def _is_due(holder: Holder, until: pd.Timestamp, terms: Terms) -> bool:
    """Whether a hold should be made longer: half of its time is over, and there is more to have."""
    held = holder.held_until
    return held is None or (until > held and held - terms.now < terms.ttl / 2)


def _entry(
    decision: Decision,
    holder: Holder | None,
    want: Wanted | None,
    terms: Terms,
    expires_at: pd.Timestamp,
) -> Entry:
    why = terms.reasons.get(decision.workload, "") if want is not None else ""
    before = "" if holder is None else "unset" if holder.floor is None else str(holder.floor)
    return Entry(
        target=decision.workload,
        field="" if holder is None else f"{holder.rung} {holder.namespace}/{holder.name}",
        before=before,
        after=str(decision.floor),
        reason="; ".join(filter(None, (decision.reason, why))),
        plan_id=want.plan_id if want is not None else terms.plan_id,
        mode="act" if want is None else want.mode,
        applied_at=terms.now,
        expires_at=expires_at,
        status="intended",
        cluster=split_workload(decision.workload)[0],
        uid="" if holder is None else holder.uid,
        stage=decision.stage,
        replicas=0 if holder is None else holder.replicas,
    )


def _write(kube: Kube, job: Job, terms: Terms) -> Written:
    if job.what == "give_back":
        return give_back(kube, job.holder)
    return raise_floor(
        kube,
        job.holder,
        job.floor,
        until=job.entry.expires_at,
        plan_id=terms.plan_id,
        force_owners=terms.force_owners,
        reason=job.entry.reason,
    )
