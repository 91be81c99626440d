"""Writes beside the floors: what is due, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from features.workloads import split_workload
from models.holders import Holder
from pipelines.adapters.kube import Kube
from pipelines.applying import Terms
from pipelines.ledger import Entry, State
from pipelines.pace import Pace
from pipelines.rungs.floors import give_back
from pipelines.rungs.written import Written

__all__ = ["Deed", "carry_out_room", "deed_entry", "share_deeds"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One write beside the floors; ``entry`` is its row before it."""

    entry: Entry
    do: Callable[[], Written]
    done: State


def share_deeds(kube: Kube, holders: Mapping[str, Holder], terms: Terms) -> list[Deed]:
    """Our share in floors that we gave back and whose owners have claimed them since: left there,
    it would make the owner's next change a conflict."""
    return [
        _share(kube, h, terms)
        for h in holders.values()
        if h.ours and h.owners and not h.held and not h.problem
    ]


def carry_out_room(deeds: Sequence[Deed], pace: Pace) -> list[Entry]:
    """Write; the rows after. One that fails stops no other."""
    rows: list[Entry] = []
    for deed in deeds:
        if why := pace.stop():
            rows.append(replace(deed.entry, status="not_done", detail=why))
            continue
        written = deed.do()
        pace.saw(f"{deed.entry.target} {deed.entry.field}", written.status)
        rows.append(
            replace(
                deed.entry,
                status=deed.done if written.status == "done" else written.status,
                before=written.before or deed.entry.before,
                after=written.after or deed.entry.after,
                detail=written.detail,
            )
        )
    return rows


def _share(kube: Kube, holder: Holder, terms: Terms) -> Deed:
    floor = "unset" if holder.floor is None else str(holder.floor)
    entry = deed_entry(
        terms,
        cluster=split_workload(holder.workload)[0],
        target=holder.workload,
        field=f"share {holder.namespace}/{holder.name}",
        after=floor,
        reason=f"{', '.join(holder.owners)} set it since: our share in the field is dropped",
        until=terms.now,
    )
    done: State = "given_back"
    return Deed(replace(entry, before=floor, uid=holder.uid), lambda: give_back(kube, holder), done)


def deed_entry(
    terms: Terms,
    *,
    cluster: str,
    target: str,
    field: str,
    after: str,
    reason: str,
    until: pd.Timestamp,
) -> Entry:
    """The row of a deed before it."""
    return Entry(
        target=target,
        field=field,
        before="",
        after=after,
        reason=reason,
        plan_id=terms.plan_id,
        mode="act",
        applied_at=terms.now,
        expires_at=until,
        status="intended",
        cluster=cluster,
    )
