"""One round of applying: everything that is read, decided, written, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from models.actions import Plan
from models.guard_facts import Decision, Past, Wanted
from models.guardrails import decide
from models.holders import Holder
from models.modes import Mode
from pipelines.adapters.kube import Kube
from pipelines.applying import Job, Terms, carry_out, in_order, jobs_of, objects_before, told
from pipelines.applying_files import Standing, as_written, standing, write_files
from pipelines.applying_room import room_deeds, room_objects_before
from pipelines.approvals import approvals, broken_approvals
from pipelines.caution import (
    deeds_left,
    left_alone,
    not_raised,
    strangers_text,
    unknown_plans,
)
from pipelines.deeds import Deed, carry_out_room, share_deeds
from pipelines.evidence import health_of, raised_at
from pipelines.ledger import Entry, Ledger, news
from pipelines.looking_back import compared, rolled_back
from pipelines.may_act import may_act
from pipelines.pace import Pace
from pipelines.plans import newest_plan
from pipelines.round_history import History, is_of, yesterday
from pipelines.run import Run
from pipelines.rungs.annotations import careful
from pipelines.rungs.held import Held, held
from pipelines.rungs.holders import read_holders
from pipelines.rungs.metric import metric_manifests
from pipelines.switch import read_switch, stopped_text
from pipelines.wanting import wanted_now

__all__ = ["Round", "done_by"]


@dataclass(frozen=True, slots=True)
class Round:
    """What one run has seen, and what it makes of it; nothing is written yet.

    Attributes
    ----------
    plan : the newest one, if any is valid
    holders : workload → who holds its floor
    entries : the ledger's actions since yesterday
    found : what became of earlier ones: of those that a run which died left open, and reverts
    jobs : the writes that are due
    said : rows for what is only shown, waits or is refused
    files : what the files ask for, where floors are written to files
    there : room and nodes that are held; empty where none may be
    deeds : what is due about these
    """

    run: Run
    kube: Kube
    cluster: str
    plan: Plan | None
    holders: dict[str, Holder]
    entries: tuple[Entry, ...]
    found: tuple[Entry, ...]
    wanted: dict[str, Wanted]
    decisions: tuple[Decision, ...]
    jobs: tuple[Job, ...]
    said: tuple[Entry, ...]
    terms: Terms
    files: dict[str, Standing]
    there: tuple[Held, ...]
    deeds: tuple[Deed, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, run: Run, kube: Kube, cluster: str, approved: str = "", *, stop: str = ""
    ) -> Round:
        """Read plan, cluster, ledger and metrics, and decide; ``stop``: why nothing new may be
        raised at all.

        Raises
        ------
        ClusterError
            The cluster cannot be read.
        """
        s, plan = run.settings.prescale, newest_plan(run)
        switch = read_switch(kube, s.rungs.namespace)
        holders = _by_workload(read_holders(kube, cluster), switch)
        before = History.read(run, cluster, holders.values())
        files: dict[str, Standing] = {}
        if s.rungs.floor != "auto":
            files = standing(before.entries, run.as_of)
            holders = {w: as_written(h, files) for w, h in holders.items()}
        wants = _wanted(run, plan, cluster, before.known)
        stop = stop or before.stop
        decisions, notes = _judged(run, kube, holders, wants, before, approved, stop)
        terms = _terms(run, plan)
        there, deeds = _beside(run, kube, cluster, plan, holders, terms)
        plans = {one.plan_id for one in (*holders.values(), *there) if s.rungs.floor == "auto"}
        unknown = unknown_plans(run, plans, before.entries, plan)
        strange = strangers_text(unknown, holders.values(), there)
        decisions = left_alone(decisions, holders, unknown)
        deeds = deeds_left(deeds, there, unknown, stop)
        return cls(
            run=run,
            kube=kube,
            cluster=cluster,
            plan=plan,
            holders=holders,
            entries=tuple(before.entries),
            found=tuple(before.found),
            wanted=wants,
            decisions=tuple(decisions),
            jobs=tuple(jobs_of(decisions, holders, wants, terms)),
            said=tuple(told(decisions, holders, wants, terms)),
            terms=terms,
            files=files,
            there=tuple(there),
            deeds=tuple(deeds),
            notes=(*stopped_text(switch, s.rungs.namespace), *before.notes, *strange, *notes),
        )


def _terms(run: Run, plan: Plan | None) -> Terms:
    s, now = run.settings.prescale, run.as_of
    ttl = pd.Timedelta(s.apply.ttl_min, "min")
    reasons = {f.workload: f.reason for f in plan.floors if f.ends_at > now} if plan else {}
    return Terms(plan.plan_id if plan else "", now, ttl, s.rungs.force_owners, reasons)


def _judged(
    run: Run,
    kube: Kube,
    holders: Mapping[str, Holder],
    wants: Mapping[str, Wanted],
    before: History,
    approved: str,
    stop: str,
) -> tuple[list[Decision], tuple[str, ...]]:
    """What the guardrails say, and nothing raised where too little is known; and notes."""
    s = run.settings.prescale
    names = {*wants, *(w for w, h in holders.items() if h.held)} & set(holders)
    health, notes, unseen = health_of(run, kube, names, before.entries, s.apply)
    decisions = decide(
        list(wants.values()),
        holders,
        before.known,
        health,
        run.as_of,
        s.guard,
        approved=approved,
        force_owners=s.rungs.force_owners if s.rungs.floor == "auto" else None,
    )
    notes = (*broken_approvals(run), *notes)
    return not_raised(decisions, holders, wants, unseen, stop), notes


def _beside(
    run: Run,
    kube: Kube,
    cluster: str,
    plan: Plan | None,
    holders: Mapping[str, Holder],
    terms: Terms,
) -> tuple[list[Held], list[Deed]]:
    """Room and nodes that are held, and what is due beside the floors."""
    params = run.settings.prescale.rungs
    if params.floor != "auto":
        return [], []
    shares = share_deeds(kube, holders, terms)
    if params.room == "none" and not params.hold_nodes:
        return [], shares
    there = held(kube, cluster, namespace=params.namespace)
    allowed = None if plan is None else may_act(plan, holders, approvals(run))
    return there, [*room_deeds(kube, cluster, allowed, holders, there, params, terms), *shares]


def done_by(seen: Round, pace: Pace | None = None) -> list[Entry]:
    """Carry a round out, at most as long as ``pace`` says; its rows as they ended.

    What stands is renewed and what is over goes back first. Then come room, since its nodes take
    longest, and raises: the objects of these are in a snapshot before.

    Raises
    ------
    StoreError
        The ledger or the snapshot cannot be written: then nothing was done in the cluster, or
        nothing but what is in the ledger.
    """
    s = seen.run.settings.prescale
    pace = pace or Pace(s.apply.run_max_s)
    ledger = Ledger(seen.run)
    now = seen.terms.now
    ledger.digest(now - pd.Timedelta(s.guard.memory_h, "h"), yesterday(now))
    said = ledger.numbered(news(seen.said, seen.entries))
    rows = ledger.numbered([job.entry for job in seen.jobs])
    jobs = [replace(job, entry=row) for job, row in zip(seen.jobs, rows, strict=True)]
    entries = ledger.numbered([deed.entry for deed in seen.deeds])
    deeds = [replace(deed, entry=row) for deed, row in zip(seen.deeds, entries, strict=True)]
    if s.rungs.floor != "auto":
        ledger.append([*seen.found, *said, *rows, *entries])
        return _to_files(seen, ledger, jobs)
    jobs = in_order(jobs)
    new = [job for job in jobs if job.done == "done" and job.what == "raise"]
    standing = [job for job in jobs if job not in new]
    ledger.append([*seen.found, *said, *(job.entry for job in standing)])
    first = _floors(seen, ledger, standing, pace)
    return [*first, *_begun(seen, ledger, new, deeds, pace)]


def _to_files(seen: Round, ledger: Ledger, jobs: Sequence[Job]) -> list[Entry]:
    params = seen.run.settings.prescale.rungs
    after = write_files(jobs, seen.holders, seen.files, seen.terms.now, params)
    if params.floor == "metric":
        ready = {w: h.rung for w, h in seen.holders.items() if w in seen.wanted}
        text = metric_manifests(ready, server=seen.run.settings.source.shown)
        seen.run.store.put_file("metric-manifests.yaml", text.encode())
    ledger.append(after)
    return after


def _floors(seen: Round, ledger: Ledger, jobs: Sequence[Job], pace: Pace) -> list[Entry]:
    stretch = _stretch(seen)
    rows = carry_out(seen.kube, jobs, seen.terms, pace)
    rows = compared(seen.kube, seen.run, rows, seen.entries, jobs)
    ledger.append([*rows, *rolled_back(rows, stretch)])
    return rows


def _begun(
    seen: Round, ledger: Ledger, jobs: Sequence[Job], deeds: Sequence[Deed], pace: Pace
) -> list[Entry]:
    """What is held from now on, floors and room; what cannot be put into a snapshot is not."""
    objects, unread = objects_before(seen.kube, jobs, pace)
    rooms, shut = room_objects_before(
        seen.kube, deeds, seen.there, seen.run.settings.prescale.rungs
    )
    unread |= shut
    jobs = [job for job in jobs if job.entry.action_id not in unread]
    deeds = [deed for deed in deeds if deed.entry.action_id not in unread]
    if objects or rooms:
        ledger.snapshot(objects | rooms)
    ledger.append([*unread.values(), *(x.entry for x in (*jobs, *deeds))])
    after = carry_out_room(deeds, pace)
    ledger.append(after)
    return [*unread.values(), *after, *_floors(seen, ledger, jobs, pace)]


def _by_workload(holders: Sequence[Holder], switch: Mode | None) -> dict[str, Holder]:
    """Where two objects scale one target, neither is touched: the one that is held is shown."""
    found = {h.workload: h for h in sorted(holders, key=lambda h: h.held)}
    return {w: replace(h, mode=careful(h.mode, switch)) for w, h in found.items()}


def _wanted(run: Run, plan: Plan | None, cluster: str, known: Sequence[Past]) -> dict[str, Wanted]:
    """What the plan wants now, of workloads of this cluster."""
    if plan is None:
        return {}
    s = run.settings.prescale
    found = wanted_now(
        plan,
        run.as_of,
        known,
        approvals(run),
        s.guard,
        every_min=s.apply.every_min,
        rules=s.rules,
        mode=s.plan.mode,
    )
    return {w.workload: w for w in found if is_of(w.workload, cluster)}


def _stretch(seen: Round) -> list[Entry]:
    """The actions since each workload was raised, this time."""
    since = raised_at(seen.entries)
    return [e for e in seen.entries if e.target in since and e.applied_at >= since[e.target]]
