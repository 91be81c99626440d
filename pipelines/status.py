"""status: what is held in a cluster, by which plan, why and until when; what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.adapters.kube import Kube
from pipelines.errors import ClusterError, StoreError
from pipelines.plain import plain
from pipelines.rungs.discovery import Ladder, ladder
from pipelines.rungs.held import Held, held
from pipelines.rungs.params import RungParams
from pipelines.switch import read_switch, stopped_text

if TYPE_CHECKING:
    from pipelines.ledger import Entry

__all__ = ["Status", "Told", "status"]


@dataclass(frozen=True, slots=True)
class Told:
    """One row of the ledger that a person should see."""

    workload: str
    status: str
    at: str
    until: str
    plan_id: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one cluster.

    Attributes
    ----------
    held : everything of ours, by the cluster's annotations
    ladder : the rungs of the cluster
    waiting, taken : by the ledger, where there is a store: what waits for a person's approval; what
        somebody else took back, or owns
    """

    cluster: str
    at: pd.Timestamp
    held: tuple[Held, ...]
    ladder: Ladder
    waiting: tuple[Told, ...] = ()
    taken: tuple[Told, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For a person."""
        return [plain(line) for line in self._lines()]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "cluster": self.cluster,
            "at": self.at.isoformat(),
            "held": [_held_dict(h, self.at) for h in self.held],
            "rungs": [asdict(r) for r in self.ladder.rungs],
            "waiting": [asdict(t) for t in self.waiting],
            "taken_back": [asdict(t) for t in self.taken],
            "notes": list(self.notes),
        }

    def _lines(self) -> Iterator[str]:
        there = [h for h in self.held if h.name]
        yield f"{self.cluster}, {self.at:%Y-%m-%d %H:%M} UTC: {len(there)} held"
        yield from (_held_line(h, self.at) for h in self.held)
        if self.waiting:
            yield "waiting for a person (foretide apply --approve PLAN_ID):"
            yield from (_told_line(t) for t in self.waiting)
        if self.taken:
            yield "taken back, or owned by somebody else:"
            yield from (_told_line(t) for t in self.taken)
        yield "rungs:"
        for rung in self.ladder.rungs:
            why = f": {'; '.join(rung.reasons)}" if rung.reasons else ""
            yield f"  {rung.rung}: {'possible' if rung.possible else 'not possible'}{why}"
        yield from self.notes


def status(
    kube: Kube,
    cluster: str,
    now: pd.Timestamp,
    *,
    store: tuple[str | None, str | None] | None = None,
    params: RungParams | None = None,
) -> Status:
    """Look; nothing is changed.

    ``store`` is (configuration file, folder) where the ledger is looked at as well; nothing means
    that only the cluster is asked. ``params`` are the rungs that may be stood on.
    """
    params = params or RungParams()
    there = tuple(held(kube, cluster, namespace=params.namespace))
    rungs, notes = ladder(kube, params), _switch(kube, params.namespace)
    if store is None:
        notes = (*notes, "the store was not looked at")
        return Status(cluster, now, there, rungs, notes=notes)
    rows, more = _ledger(store, now)
    waiting, taken = _of(rows, "waiting"), _of(rows, *_TAKEN)
    return Status(cluster, now, there, rungs, waiting, taken, (*notes, *more))


def _switch(kube: Kube, namespace: str) -> tuple[str, ...]:
    try:
        return stopped_text(read_switch(kube, namespace), namespace)
    except ClusterError as error:
        return (f"the cluster's switch is not known: {error}",)


_TAKEN = ("reverted", "conflict", "changed")


def _ledger(
    store: tuple[str | None, str | None], now: pd.Timestamp
) -> tuple[list[Told], list[str]]:
    """The last row of every target, of the last day; what waits where the newest plan still wants
    it, under that plan's name: no other can be approved. And notes."""
    from pipelines.ledger import Ledger  # these take a second, and a store
    from pipelines.plans import newest_plan
    from pipelines.run import RunRef

    run = RunRef.resolve(store[0], None, store[1], None, now).open()
    ledger = Ledger(run)
    last: dict[str, Entry] = {}
    for e in ledger.entries(now - pd.Timedelta(24, "h")):
        # who took it says more than that it was refused for that
        if e.status != "refused" or e.target not in last or last[e.target].status not in _TAKEN:
            last[e.target] = e
    notes = list(ledger.passed_over())
    try:
        plan = newest_plan(run)
    except StoreError as error:
        plan, notes = None, [*notes, str(error)]
    wants = {f.workload for f in plan.floors if f.ends_at > now} if plan else set[str]()
    newest = plan.plan_id if plan else ""
    told = [
        Told(
            e.target,
            e.status,
            f"{e.applied_at:%Y-%m-%dT%H:%MZ}",
            f"{e.expires_at:%Y-%m-%dT%H:%MZ}",
            newest if e.status == "waiting" else e.plan_id,
            e.before,
            e.after,
            # of a plan before, whose name is in its words
            "; ".join(filter(None, (e.reason.replace(e.plan_id, newest), e.detail)))
            if e.status == "waiting" and e.plan_id
            else "; ".join(filter(None, (e.reason, e.detail))),
        )
        for e in last.values()
        if e.status != "waiting" or e.target in wants
    ]
    return told, notes


def _of(rows: Sequence[Told], *states: str) -> tuple[Told, ...]:
    return tuple(row for row in rows if row.status in states)


def _held_line(one: Held, now: pd.Timestamp) -> str:
    if not one.name:
        return f"  {one.kind}: not known: {one.problem}"
    until = "until nobody knows when" if one.until is None else f"until {one.until:%m-%d %H:%M} UTC"
    over = ", expired" if one.expired(now) else ""
    whose = "" if one.ours else f", now of {', '.join(one.owners) or 'somebody else'}"
    reverts = f", taken back {one.reverts} times" if one.reverts else ""
    where = "/".join(filter(None, (one.namespace, one.name)))
    why = "; ".join(filter(None, (one.reason, one.problem)))
    return (
        f"  {one.what} {one.kind} {where}: {one.original} -> {one.value} {until}{over}{whose}"
        f"{reverts}, plan {one.plan_id or 'unknown'}{': ' if why else ''}{why}"
    )


def _held_dict(one: Held, now: pd.Timestamp) -> dict[str, Any]:
    until = None if one.until is None else one.until.isoformat()
    return {**asdict(one), "until": until, "expired": one.expired(now)}


def _told_line(t: Told) -> str:
    return f"  {t.workload} {t.before} -> {t.after}, plan {t.plan_id}, {t.at}: {t.reason}"
