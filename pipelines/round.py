"""One round of applying: everything that is read, decided, written, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from features.workloads import split_workload
from models.actions import Plan
from models.guard_facts import Decision, Past, Wanted
from models.guardrails import decide
from models.holders import Holder
from models.modes import Mode
from pipelines.adapters.kube import Kube
from pipelines.applying import Job, Terms, carry_out, jobs_of, objects_before, told
from pipelines.applying_files import Standing, as_written, standing, write_files
from pipelines.applying_room import room_deeds, room_objects_before
from pipelines.approvals import approvals
from pipelines.deeds import Deed, carry_out_room, share_deeds
from pipelines.evidence import health_of, raised_at
from pipelines.ledger import Entry, Ledger, news, past
from pipelines.looking_back import compared, rolled_back, settled
from pipelines.may_act import may_act
from pipelines.plans import newest_plan
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
    found : of those, the ones that a run which died left open, as they ended
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
    def read(cls, run: Run, kube: Kube, cluster: str, approved: str = "") -> Round:
        """Read plan, cluster, ledger and metrics, and decide.

        Raises
        ------
        ClusterError
            The cluster cannot be read.
        """
        s, now = run.settings.prescale, run.as_of
        plan = newest_plan(run)
        switch = read_switch(kube, s.rungs.namespace)
        holders = _by_workload(read_holders(kube, cluster), switch)
        # a store may be that of several clusters
        entries = [e for e in Ledger(run).entries(_yesterday(now)) if e.cluster == cluster]
        found = settled(entries, holders.values(), now)
        entries = _with(entries, found)
        files = standing(entries, now) if s.rungs.floor != "auto" else {}
        if s.rungs.floor != "auto":
            holders = {w: as_written(h, files) for w, h in holders.items()}
        since = now - pd.Timedelta(s.guard.memory_h, "h")
        older = Ledger(run).days_before(since, _yesterday(now))
        known = [*(p for p in older if _is_of(p.workload, cluster)), *past(entries)]
        wants = _wanted(run, plan, cluster, known)
        names = {*wants, *(w for w, h in holders.items() if h.held)} & set(holders)
        health, notes = health_of(run, kube, names, entries, s.apply)
        decisions = decide(
            list(wants.values()), holders, known, health, now, s.guard, approved=approved
        )
        ttl = pd.Timedelta(s.apply.ttl_min, "min")
        reasons = {f.workload: f.reason for f in plan.floors if f.ends_at > now} if plan else {}
        terms = Terms(plan.plan_id if plan else "", now, ttl, s.rungs.force_owners, reasons)
        there, deeds = _beside(run, kube, cluster, plan, holders, terms)
        return cls(
            run=run,
            kube=kube,
            cluster=cluster,
            plan=plan,
            holders=holders,
            entries=tuple(entries),
            found=tuple(found),
            wanted=wants,
            decisions=tuple(decisions),
            jobs=tuple(jobs_of(decisions, holders, wants, terms)),
            said=tuple(told(decisions, holders, wants, terms)),
            terms=terms,
            files=files,
            there=tuple(there),
            deeds=tuple(deeds),
            notes=(*stopped_text(switch, s.rungs.namespace), *notes),
        )


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


def done_by(seen: Round) -> list[Entry]:
    """Carry a round out; its rows as they ended.

    Raises
    ------
    StoreError
        The ledger or the snapshot cannot be written: then nothing was done in the cluster.
    """
    ledger = Ledger(seen.run)
    rows = ledger.numbered([job.entry for job in seen.jobs])
    jobs = [replace(job, entry=row) for job, row in zip(seen.jobs, rows, strict=True)]
    entries = ledger.numbered([deed.entry for deed in seen.deeds])
    deeds = [replace(deed, entry=row) for deed, row in zip(seen.deeds, entries, strict=True)]
    s = seen.run.settings.prescale
    params, now = s.rungs, seen.terms.now
    ledger.digest(now - pd.Timedelta(s.guard.memory_h, "h"), _yesterday(now))
    if params.floor == "auto":
        objects = objects_before(seen.kube, jobs)
        objects |= room_objects_before(seen.kube, deeds, seen.there, params)
        if objects:
            ledger.snapshot(objects)
    said = ledger.numbered(news(seen.said, seen.entries))
    ledger.append([*seen.found, *said, *rows, *entries])
    if params.floor != "auto":
        after = write_files(jobs, seen.holders, seen.files, now, params)
        if params.floor == "metric":
            ready = {w: h.rung for w, h in seen.holders.items() if w in seen.wanted}
            text = metric_manifests(ready, server=seen.run.settings.source.shown)
            seen.run.store.put_file("metric-manifests.yaml", text.encode())
        ledger.append(after)
        return after
    # room first: its nodes take longest
    after = carry_out_room(deeds)
    stretch = _stretch(seen)
    floors = carry_out(seen.kube, jobs, seen.terms)
    floors = compared(seen.kube, seen.run, floors, seen.entries, jobs)
    ledger.append([*after, *floors, *rolled_back(floors, stretch)])
    return [*after, *floors]


def _yesterday(now: pd.Timestamp) -> pd.Timestamp:
    """From here on the ledger is read row by row; what is older as a digest of each day."""
    return now.floor("D") - pd.Timedelta(1, "D")


def _by_workload(holders: Sequence[Holder], switch: Mode | None) -> dict[str, Holder]:
    """Where two objects scale one target, neither is touched: the one that is held is shown."""
    found = {h.workload: h for h in sorted(holders, key=lambda h: h.held)}
    return {w: replace(h, mode=careful(h.mode, switch)) for w, h in found.items()}


def _wanted(run: Run, plan: Plan | None, cluster: str, known: Sequence[Past]) -> dict[str, Wanted]:
    """What the plan wants now, of workloads of this cluster."""
    if plan is None:
        return {}
    rules = run.settings.prescale.guard.canary
    found = wanted_now(plan, run.as_of, known, approvals(run), rules)
    return {w.workload: w for w in found if _is_of(w.workload, cluster)}


def _is_of(workload: str, cluster: str) -> bool:
    return split_workload(workload)[0] == cluster


def _with(entries: Sequence[Entry], newer: Sequence[Entry]) -> list[Entry]:
    by_id = {e.action_id: e for e in newer}
    return [by_id.get(e.action_id, e) for e in entries]


def _stretch(seen: Round) -> list[Entry]:
    """The actions since each workload was raised, this time."""
    since = raised_at(seen.entries)
    return [e for e in seen.entries if e.target in since and e.applied_at >= since[e.target]]
