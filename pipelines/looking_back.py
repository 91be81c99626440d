"""What became of earlier writes: those of a run that died, and those that were taken back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from models.holders import Holder
from pipelines.adapters.kube import Kube
from pipelines.applying import Job
from pipelines.errors import ClusterError
from pipelines.ledger import Entry, number, snapshot_of
from pipelines.run import Run
from pipelines.rungs.floors import SLOTS
from pipelines.rungs.same import same_as_before

__all__ = ["compared", "rolled_back", "settled", "taken_back"]

_ALIVE = pd.Timedelta(4, "min")
"""A younger row may be of a run that still works: they come every five minutes."""
_BACK = ("given_back", "rolled_back")
_WRITTEN = ("done", "kept", "conflict", "reverted", *_BACK)
"""``conflict`` where it was taken back while we looked."""


def settled(entries: Iterable[Entry], holders: Iterable[Holder], now: pd.Timestamp) -> list[Entry]:
    """The rows that runs which died left behind, as the cluster says that they ended."""
    known = {h.uid: h for h in holders}
    return [
        _settled(e, known.get(e.uid))
        for e in entries
        if e.status == "intended" and e.applied_at <= now - _ALIVE
    ]


def compared(kube: Kube, run: Run, rows: Sequence[Entry], before: Sequence[Entry],
             jobs: Sequence[Job]) -> list[Entry]:  # fmt: skip
    """The rows of what was given back whole, held against the snapshot from before we raised it."""
    holders = {job.holder.uid: job.holder for job in jobs if job.what == "give_back"}
    parts: dict[str, dict[str, Any]] = {}
    found: list[Entry] = []
    for row in rows:
        holder = holders.get(row.uid)
        was = _snapshot(run, parts, before, row) if row.status in _BACK and holder else None
        if holder is not None and was is not None:
            row = replace(row, detail=_difference(kube, holder, was))  # noqa: PLW2901
        found.append(row)
    return found


def taken_back(
    entries: Iterable[Entry], holders: Iterable[Holder], now: pd.Timestamp
) -> list[Entry]:
    """Rows for floors that somebody changed since we wrote them, once for each write of ours.

    The count on the object goes with its annotations when the hold expires; the ledger stays.
    """
    last: dict[str, Entry] = {}
    for e in entries:
        if e.field.split(" ", 1)[0] in SLOTS and e.status in _WRITTEN:
            last[e.target] = e
    found: list[Entry] = []
    for holder in holders:
        e = last.get(holder.workload)
        if e is None or e.status == "reverted" or e.uid != holder.uid or not _is_taken(holder):
            continue
        who = ", ".join(holder.owners) or "somebody"
        row = replace(
            e,
            action_id="",
            status="reverted",
            before=str(holder.value),
            after="unset" if holder.floor is None else str(holder.floor),
            reason=f"{who} took the floor back",
            applied_at=now,
            expires_at=now,
            replicas=holder.replicas,
            stage="",
            detail="found so by the run after",
            rolled_back_by="",
        )
        found.append(row)
    return found


def _is_taken(holder: Holder) -> bool:
    mine = holder.ours and not holder.owners
    return holder.held and not mine and holder.value not in (None, holder.floor)


def rolled_back(rows: Iterable[Entry], before: Iterable[Entry]) -> list[Entry]:
    """The raises that a rollback of this run took back, each with who did it."""
    by = {(row.target, row.uid): row.action_id for row in rows if row.status == "rolled_back"}
    return [
        replace(e, rolled_back_by=by[e.target, e.uid])
        for e in before
        if (e.target, e.uid) in by and e.status == "done" and not e.rolled_back_by
    ]


def _settled(entry: Entry, holder: Holder | None) -> Entry:
    if holder is None:
        return replace(entry, status="gone", detail="found so by the run after: it is not there")
    rung = entry.field.split(" ", 1)[0]
    after = number(entry.after, rung)
    if holder.held and holder.value == after:
        return replace(entry, status="done", detail="found done by the run after")
    if not holder.held and holder.user_floor == after:
        return replace(entry, status="given_back", detail="found given back by the run after")
    now = "unset" if holder.floor is None else str(holder.floor)
    return replace(
        entry, status="not_done", after=now, detail="the run died before it, or it expired since"
    )


def _snapshot(
    run: Run, parts: dict[str, dict[str, Any]], before: Sequence[Entry], row: Entry
) -> Mapping[str, Any] | None:
    """The object as it was when we raised it first, this time: one is kept at each such raise."""
    for entry in reversed(before):
        if entry.uid != row.uid:
            continue
        part = entry.action_id.rsplit("-", 1)[0]
        if part not in parts:
            text = run.store.get_file(f"snapshots/{part}.json")
            parts[part] = {} if text is None else json.loads(text)
        if row.uid in parts[part]:
            found: Mapping[str, Any] = parts[part][row.uid]
            return found
    return None


def _difference(kube: Kube, holder: Holder, was: Mapping[str, Any]) -> str:
    try:
        now = kube.get(SLOTS[holder.rung].kind, holder.name, holder.namespace)
    except ClusterError as error:
        return f"given back, and not seen again: {error}"
    # a snapshot of an older version has the whole object
    differences = same_as_before(was, snapshot_of(now) if "rest" in was else now)
    if not differences:
        return "as it was, by the snapshot"
    return f"not as it was: {'; '.join(differences[:3])}"
