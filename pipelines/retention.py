"""Retention: what of a store goes away when, where ``store.keep_days`` is set.

=====================================  =============================================================
samples, tables of runs                ``keep_days``
plans, evaluations, snapshots,         ``keep_days``, and never before nothing looks back on them:
digests of the ledger, notices         the guardrails' memory, a plan's and a forecast's life
approvals                              as long after they have expired
the ledger                             for ever; days as old become one file each
report, models, ``store.json``         for ever; a run replaces its own
=====================================  =============================================================
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pandas as pd

from features.frames import CONTRACTS, LEDGER, NOTICES
from pipelines.adapters.store import Store
from pipelines.run import Run, part_name
from pipelines.settings import Settings

__all__ = ["Tidied", "evidence_days", "tidy_store"]

_DOCUMENTS = ("evaluation", "ledger-days", "plans", "snapshots")
_CLOCK = re.compile(r"\d{8}(T\d{6}Z)?")
_SPARE_DAYS = 2.0
"""Digests are of whole days, and a run may be a day late."""
_LEAST_DAYS = 7.0
"""A week of plans is what a person asks for after an incident."""


@dataclass(frozen=True, slots=True)
class Tidied:
    """How many files went away, and how many of the ledger's became part of a day's."""

    gone: int = 0
    folded: int = 0


def evidence_days(settings: Settings) -> float:
    """How long what decisions rest on is kept, in days.

    Raises
    ------
    ValueError
        The store keeps everything.
    """
    if settings.store.keep_days is None:
        raise ValueError("store.keep_days is not set: nothing goes away")
    looked_back_h = max(settings.prescale.guard.memory_h, settings.forecast.valid_for_h)
    return max(settings.store.keep_days, looked_back_h / 24 + _SPARE_DAYS, _LEAST_DAYS)


def tidy_store(run: Run) -> Tidied:
    """Give up what is older than the store keeps; nothing where it keeps everything.

    Days are counted from the newest sample, where that is before the run's clock: one that is set
    wrong must not cost the whole store.

    Raises
    ------
    StoreError
        The store cannot be read or written.
    """
    keep_days = run.settings.store.keep_days
    if keep_days is None:
        return Tidied()
    newest = run.store.newest()
    clock = run.as_of if newest is None else min(run.as_of, newest)
    days = evidence_days(run.settings)
    plain = [c for c in CONTRACTS.values() if c not in (LEDGER, NOTICES)]
    cleaned = run.store.clean(clock, keep_days, plain)
    notices = run.store.clean(clock, days, [NOTICES])
    folded = run.store.clean(clock, days, [LEDGER])
    before = clock - pd.Timedelta(days, "D")
    old = [*_old_documents(run.store, before), *_old_approvals(run.store, before)]
    for name in old:
        run.store.delete_file(name)
    gone = len(cleaned.days) + len(cleaned.parts) + len(notices.parts) + len(old)
    return Tidied(gone, len(folded.parts))


def _old_documents(store: Store, before: pd.Timestamp) -> list[str]:
    """Those that name a clock before a moment; what names none stays."""
    cut = part_name(before)
    found: list[str] = []
    for folder in _DOCUMENTS:
        for name in store.files(folder):
            clock = _CLOCK.match(name.split("/")[1])
            if clock and clock[0] < cut[: len(clock[0])]:
                found.append(name)
    return found


def _old_approvals(store: Store, before: pd.Timestamp) -> list[str]:
    """Those that expired before a moment; a broken one stays, and a person is told of it."""
    found: list[str] = []
    for name in store.files("approvals"):
        text = store.get_file(name)
        try:
            expired = pd.Timestamp(json.loads(text or b"null")["expires_at"]) < before
        except (ValueError, TypeError, KeyError):
            continue
        if expired:
            found.append(name)
    return found
