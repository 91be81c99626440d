"""What a round knows of the rounds before it: the ledger, and what the cluster says of its rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from features.workloads import split_workload
from models.guard_facts import Past
from models.holders import Holder
from pipelines.ledger import Entry, Ledger, past
from pipelines.looking_back import settled, taken_back
from pipelines.run import Run

__all__ = ["History", "is_of", "yesterday"]

_DAY = pd.Timedelta(1, "D")
"""So far back the guardrails count: what is not known of it may speak against a raise."""


@dataclass(frozen=True, slots=True)
class History:
    """Of one cluster; a store may be that of several.

    Attributes
    ----------
    entries : the actions since yesterday, as they stand now
    found : of those, what this round found out: of runs that died, and reverts
    known : the same and older ones, as the guardrails take them
    stop : why nothing may be raised: a part of the last day cannot be read; else empty
    notes : for a person
    """

    entries: list[Entry]
    found: list[Entry]
    known: list[Past]
    stop: str
    notes: tuple[str, ...]

    @classmethod
    def read(cls, run: Run, cluster: str, holders: Collection[Holder]) -> History:
        """Read the ledger. What is damaged is passed over."""
        s, now = run.settings.prescale, run.as_of
        ledger = Ledger(run)
        entries = [e for e in ledger.entries(yesterday(now)) if e.cluster == cluster]
        found = settled(entries, holders, now)
        entries = _with(entries, found)
        if s.rungs.floor == "auto":
            taken = ledger.numbered(taken_back(entries, holders, now))
            found, entries = [*found, *taken], [*entries, *taken]
        since = now - pd.Timedelta(s.guard.memory_h, "h")
        older = ledger.days_before(since, yesterday(now))
        known = [*(p for p in older if is_of(p.workload, cluster)), *past(entries)]
        hurt = ledger.hurt_since(now - _DAY)
        stop = f"part {hurt} of the ledger cannot be read" if hurt else ""
        return cls(entries, found, known, stop, ledger.passed_over())


def yesterday(now: pd.Timestamp) -> pd.Timestamp:
    """From here on the ledger is read row by row; what is older as a digest of each day."""
    return now.floor("D") - _DAY


def is_of(workload: str, cluster: str) -> bool:
    """Whether a workload is of a cluster."""
    return split_workload(workload)[0] == cluster


def _with(entries: Sequence[Entry], newer: Sequence[Entry]) -> list[Entry]:
    by_id = {e.action_id: e for e in newer}
    return [by_id.get(e.action_id, e) for e in entries]
