"""The ledger: the append-only record of every action, and of what became of it.

An action has a row before anything is written (``intended``) and one after (``done``,
``conflict``, …), both of its ``action_id``: the last row of an id is how the action stands. Rows
come in parts named by the run's clock, so a run that dies in between leaves its ``intended`` rows,
and the next run says what became of them. A part is never replaced: each has a word of its own in
its name, so that two runs of one moment keep their rows apart.

Beside it a snapshot: what the objects were before the first write of a run, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from features.frames import LEDGER
from models.guard_facts import Past
from pipelines.errors import StoreError
from pipelines.run import Run, part_name
from pipelines.rungs.annotations import PREFIX

__all__ = ["Entry", "Ledger", "State", "news", "number", "past", "snapshot_of"]

State = Literal[
    "intended", "done", "kept", "conflict", "changed", "gone", "forbidden", "refused",
    "unreachable", "reverted", "not_done", "shown", "waiting", "given_back", "rolled_back",
]  # fmt: skip
"""How an action stands; ``not_done``: the run died before it wrote."""

_STAMPS = ("applied_at", "expires_at")
_DAY = pd.Timedelta(1, "D")
_IDENTITY = ("name", "namespace", "uid", "creationTimestamp")
_SERVERS_OWN = ("managedFields", "resourceVersion", "generation")
_FIELDS = (
    "minReplicas", "maxReplicas", "minReplicaCount", "maxReplicaCount", "replicas", "disruption",
    "scaleTargetRef",
)  # fmt: skip
"""Of ``spec``: what a floor, room or a hold is written to, and its bounds."""
_TOLD = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.

    Attributes
    ----------
    action_id : of the action; given by ``Ledger.numbered``
    cluster, target, field : where: a workload (or NodePool), and the object's field
    uid : of the object
    before, after : the field's value, as text; ``unset`` where it has none
    replicas : pods there before it; 0 where that is not known
    stage : how far the canary is
    detail : what the cluster said
    rolled_back_by : the ``action_id`` of the action that took this one back
    """

    target: str
    field: str
    before: str
    after: str
    reason: str
    plan_id: str
    mode: str
    applied_at: pd.Timestamp
    expires_at: pd.Timestamp
    status: State
    cluster: str = ""
    uid: str = ""
    replicas: int = 0
    stage: str = ""
    detail: str = ""
    rolled_back_by: str = ""
    action_id: str = ""


class Ledger:
    """The ledger of one run: reads what was, appends what is."""

    def __init__(self, run: Run, word: str = "") -> None:
        """``word`` keeps this run's parts apart from those of another run with the same clock."""
        self._run = run
        self.part = f"{run.part}-{word or secrets.token_hex(4)}"
        self._actions = 0
        self._parts = 0
        self.damaged: dict[str, str] = {}
        """Parts that could not be read, and were passed over: their names, and why."""

    def numbered(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries with ids of this run's; what has one keeps it."""
        found: list[Entry] = []
        for entry in entries:
            if not entry.action_id:
                entry = replace(entry, action_id=f"{self.part}-{self._actions:05d}")  # noqa: PLW2901
                self._actions += 1
            found.append(entry)
        return found

    def append(self, entries: Sequence[Entry]) -> str:
        """Write the rows as a part of their own; gives its place, nothing where there are none.

        Raises
        ------
        StoreError
            It cannot be written: then nothing may be done.
        """
        if not entries:
            return ""
        rows = pd.DataFrame([asdict(e) for e in entries])
        for stamp in _STAMPS:
            rows[stamp] = pd.to_datetime(rows[stamp], utc=True)
        name = f"{self.part}-{self._parts:02d}"
        self._parts += 1
        return self._run.store.write(LEDGER, rows[LEDGER.schema.names], name)

    def entries(self, since: pd.Timestamp) -> list[Entry]:
        """Every action since a moment as it stands now: the last row of each id, oldest first."""
        return self._of(self._run.parts(LEDGER, since))

    def passed_over(self) -> tuple[str, ...]:
        """Notes on the parts that could not be read."""
        return tuple(
            f"part {part} of the ledger is passed over: {why}; restore it, or move it away"
            for part, why in sorted(self.damaged.items())
        )

    def hurt_since(self, since: pd.Timestamp) -> str:
        """Which part written since a moment could not be read; empty where none is known."""
        begin = part_name(since)
        return next((part for part in sorted(self.damaged) if part >= begin), "")

    def days_before(self, since: pd.Timestamp, until: pd.Timestamp) -> list[Past]:
        """What was done on the whole UTC days from ``since`` to before ``until``'s.

        A day's digest is read where there is one; ``digest`` writes it.
        """
        found: list[Past] = []
        for day in self._days(since, until):
            text = self._run.store.get_file(_digest_name(day))
            known = None if text is None else _from_digest(text)
            found += self._made_on(day) if known is None else known
        return found

    def digest(self, since: pd.Timestamp, until: pd.Timestamp) -> None:
        """Keep what was done on each of these days as one small document, once: the guardrails look
        back over weeks, and a day has hundreds of parts. It can be made anew from them."""
        for day in self._days(since, until):
            if self._run.store.get_file(_digest_name(day)) is None:
                rows = [asdict(p) | {"at": p.at.isoformat()} for p in self._made_on(day)]
                if self.damaged:  # once it is mended there is more to say
                    return
                text = json.dumps(rows, sort_keys=True)
                self._run.store.put_file(_digest_name(day), f"{text}\n".encode())

    def snapshot(self, objects: Mapping[str, Mapping[str, Any]]) -> str:
        """Keep objects, by their uid, as they are before this run's first write; gives the place.

        Raises
        ------
        StoreError
            It cannot be written: then nothing may be done.
        """
        kept = {uid: snapshot_of(body) for uid, body in objects.items()}
        text = json.dumps(kept, indent=1, sort_keys=True, allow_nan=False)
        return self._run.store.put_file(f"snapshots/{self.part}.json", f"{text}\n".encode())

    def _of(self, parts: Iterable[str]) -> list[Entry]:
        tables = [table for part in parts if (table := self._table(part)) is not None]
        last = {str(row["action_id"]): _entry(row) for t in tables for row in t.to_pylist()}
        return sorted(last.values(), key=lambda e: (e.applied_at, e.action_id))

    def _table(self, part: str) -> pa.Table | None:
        try:
            return self._run.store.read(LEDGER, part=part)
        except StoreError as error:
            self.damaged[part] = str(error)
            return None

    def _days(self, since: pd.Timestamp, until: pd.Timestamp) -> list[pd.Timestamp]:
        """The days that have parts."""
        names = sorted({part[:8] for part in self._run.parts(LEDGER, since.floor("D"))})
        days = [pd.Timestamp(name, tz="UTC") for name in names]
        return [day for day in days if day < until.floor("D")]

    def _made_on(self, day: pd.Timestamp) -> list[Past]:
        """A row that was left open is closed by a later run, if need be on the day after."""
        days = (f"{day:%Y%m%d}", f"{day + _DAY:%Y%m%d}")
        parts = [p for p in self._run.parts(LEDGER, day) if p.startswith(days)]
        entries = [e for e in self._of(parts) if day <= e.applied_at < day + _DAY]
        return [p for p in past(entries) if p.made]


def past(entries: Iterable[Entry]) -> list[Past]:
    """The ledger as the guardrails take it: the actions on floors."""
    found: list[Past] = []
    for e in entries:
        rung = e.field.split(" ", 1)[0]
        before, after = number(e.before, rung), number(e.after, rung)
        if rung in ("hpa", "keda") and before is not None and after is not None:
            found.append(
                Past(e.target, e.applied_at, before, after, e.status, e.plan_id, e.replicas)
            )
    return found


def news(entries: Iterable[Entry], known: Iterable[Entry]) -> list[Entry]:
    """Those that say something else than the last row of their target.

    What is only shown is told every few minutes: it is written down when it changes.
    """
    last = {e.target: _words(e) for e in known}
    return [e for e in entries if last.get(e.target) != _words(e)]


def snapshot_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an object: which one it is, the fields that we may write, annotations of
    ours, and of the rest a hash.

    A trigger's metadata, a pod's environment and the copy that kubectl keeps in an annotation may
    hold secrets: whether they changed is all that is needed of them. Status, managed fields and
    what the server counts are no part of it.
    """
    metadata = {k: v for k, v in body.get("metadata", {}).items() if k not in _SERVERS_OWN and v}
    notes = metadata.pop("annotations", {})
    ours = {k: v for k, v in notes.items() if k.startswith(PREFIX)}
    theirs = {k: v for k, v in notes.items() if k not in ours}
    named = {k: metadata.pop(k) for k in _IDENTITY if k in metadata}
    spec = body.get("spec") or {}
    shown = {k: spec[k] for k in _FIELDS if k in spec}
    rest = {
        "metadata": metadata,
        "annotations": theirs,
        "spec": {k: v for k, v in spec.items() if k not in shown},
        "more": {k: v for k, v in body.items() if k not in _TOLD},
    }
    # the uid keeps two objects with the same secret from having the same hash
    text = json.dumps([named.get("uid", ""), rest], sort_keys=True, default=str)
    return {
        **{k: body[k] for k in ("apiVersion", "kind") if k in body},
        "metadata": {**named, **({"annotations": ours} if ours else {})},
        "spec": shown,
        "rest": hashlib.sha256(text.encode()).hexdigest(),
    }


def number(written: str, rung: str) -> int | None:
    """A floor as the ledger has it, and what it means where it is unset; nothing if it is none."""
    if written == "unset":
        return 0 if rung == "keda" else 1
    return int(written) if re.fullmatch(r"\d{1,9}", written) else None


def _digest_name(day: pd.Timestamp) -> str:
    return f"ledger-days/{day:%Y%m%d}.json"


def _from_digest(text: bytes) -> list[Past] | None:
    """Nothing where it is damaged: the parts say the same."""
    try:
        return [Past(**(row | {"at": pd.Timestamp(row["at"])})) for row in json.loads(text)]
    except (ValueError, TypeError, KeyError):
        return None


def _words(entry: Entry) -> tuple[str, ...]:
    # reasons and plans change from hour to hour without anything else being done
    return (entry.status, entry.field, entry.before, entry.after, entry.stage, entry.mode)


def _entry(row: Mapping[str, Any]) -> Entry:
    values = {f.name: row[f.name] for f in fields(Entry)}
    for name, value in values.items():
        if name in _STAMPS:
            values[name] = pd.Timestamp(value).as_unit("ms")
        elif value is None:  # a table of the version before
            values[name] = 0 if name == "replicas" else ""
    return Entry(**values)
