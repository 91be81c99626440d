"""Floors for clusters that nobody may write to: patches for GitOps, or a series for an HPA.

What stands is what the ledger says of the files that were written: a holder is taken as if its
object had that floor already, so that the guardrails step and expire here as anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from models.holders import Holder
from pipelines.applying import Job
from pipelines.ledger import Entry, number
from pipelines.rungs.gitops import Wish, render_patches, write_patches
from pipelines.rungs.metric import Required, exposition, write_exposition
from pipelines.rungs.params import RungParams

__all__ = ["Standing", "as_written", "standing", "write_files"]

_OVER = ("given_back", "rolled_back")


@dataclass(frozen=True, slots=True)
class Standing:
    """A floor that a file asks for."""

    floor: int
    until: pd.Timestamp
    plan_id: str


def standing(entries: Iterable[Entry], now: pd.Timestamp) -> dict[str, Standing]:
    """Workload → what the files ask for now, by the ledger, oldest row first."""
    found: dict[str, Standing] = {}
    for e in entries:
        floor = number(e.after, e.field.split(" ", 1)[0])
        if e.status in ("done", "kept") and floor is not None:
            found[e.target] = Standing(floor, e.expires_at, e.plan_id)
        elif e.status in _OVER:
            found.pop(e.target, None)
    return {w: s for w, s in found.items() if s.until > now}


def as_written(holder: Holder, known: Mapping[str, Standing]) -> Holder:
    """The holder as if its object were what the files ask for."""
    user = holder.original if holder.held else holder.floor
    there = known.get(holder.workload)
    if there is None:
        return replace(holder, floor=user, original=None, plan_id="", held_until=None)
    return replace(
        holder,
        floor=there.floor,
        original=user,
        plan_id=there.plan_id,
        held_until=there.until,
        ours=True,
        reverts=0,
        value=there.floor,
    )


def write_files(
    jobs: Sequence[Job],
    holders: Mapping[str, Holder],
    known: Mapping[str, Standing],
    now: pd.Timestamp,
    params: RungParams,
) -> list[Entry]:
    """Write the files anew with what is due; the rows after."""
    wanted = dict(known)
    for job in jobs:
        if job.what == "give_back":
            wanted.pop(job.entry.target, None)
        else:
            wanted[job.entry.target] = Standing(job.floor, job.entry.expires_at, job.entry.plan_id)
    there = {w: s for w, s in wanted.items() if w in holders}
    if params.floor == "gitops":
        # what is rendered is above the user's own floor, whatever GitOps has made of it
        wishes = [Wish(holders[w], s.floor, s.until, s.plan_id) for w, s in there.items()]
        write_patches(params.gitops_folder, render_patches(wishes, now=now))
        place = params.gitops_folder
    else:
        required = [Required(w, s.floor, s.until) for w, s in there.items()]
        write_exposition(params.metric_file, exposition(required, now=now))
        place = params.metric_file
    detail = f"written to {place}"
    return [replace(job.entry, status=job.done, detail=detail) for job in jobs]
