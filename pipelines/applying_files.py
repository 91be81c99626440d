"""Floors for clusters that nobody may write to: patches for GitOps, or a series for an HPA.

What stands is what the ledger says of the files that were written: a holder is taken as if its
object had that floor already, so that the guardrails step and expire here as anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml

from models.holders import Holder
from pipelines.applying import Job
from pipelines.ledger import Entry, number
from pipelines.rungs.gitops import Wish, render_patches, rendered, write_patches
from pipelines.rungs.metric import Required, exposition, write_exposition
from pipelines.rungs.params import RungParams
from pipelines.rungs.reading import whole

__all__ = ["Standing", "as_written", "drop_expired_patches", "standing", "write_files"]

_OVER = ("given_back", "rolled_back")
_LIST = "kustomization.yaml"


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


def drop_expired_patches(folder: str | Path, now: pd.Timestamp) -> list[str]:
    """Take the patches out of a GitOps folder whose time is over: their names, and what changed
    with them.

    Needs the folder alone, so that floors end where apply is switched off or gone, too. A patch
    whose end cannot be read is left, and named by nobody but its file.
    """
    place = Path(folder)
    texts = {p.name: p.read_text() for p in place.glob("*.yaml") if not p.name.startswith(".")}
    over = {name for name, text in texts.items() if _is_over(text, now)}
    listed = texts.get(_LIST)
    if not over or listed is None:
        return []
    component = yaml.safe_load(listed)
    component["patches"] = [p for p in component.get("patches") or [] if p.get("path") not in over]
    kept = {name: text for name, text in texts.items() if name not in over}
    return write_patches(place, kept | {_LIST: yaml.safe_dump(component, sort_keys=False)})


def _is_over(text: str, now: pd.Timestamp) -> bool:
    try:
        patch = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    values = [whole(patch, "spec", field) for field in ("minReplicas", "minReplicaCount")]
    value = next((v for v in values if v is not None), None)
    known = rendered(patch, value)
    return known is not None and known.until is not None and known.until <= now


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
