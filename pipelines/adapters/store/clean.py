"""Retention: whole days of samples and whole run parts that are older than asked for.

Of the ledger nothing goes away: its old days become one part each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from features.frames import LEDGER, SAMPLES, Contract
from pipelines.adapters.objects.protocol import Objects
from pipelines.adapters.store.coverage_files import clip_coverage
from pipelines.adapters.store.days import DAY_MS, days_of
from pipelines.adapters.store.fold import fold_days
from pipelines.adapters.store.parts import part_file, part_names

__all__ = ["CleanReport", "clean"]

_CLOCK = re.compile(r"(\d{8}T\d{6}Z)(-.*)?")


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What went away."""

    days: tuple[str, ...] = ()
    """Dates of samples."""
    parts: tuple[str, ...] = ()
    """``table/part``; of the ledger those that are now in their day's."""
    leftovers: int = 0
    """Files or uploads of writers that were killed more than a day ago."""


def clean(
    objects: Objects, as_of_ms: int, keep_days: float, tables: Iterable[Contract]
) -> CleanReport:
    """Remove what is older than ``keep_days`` at ``as_of_ms``, and leftovers of a day before it."""
    before_ms = as_of_ms - int(keep_days * DAY_MS)
    days: tuple[str, ...] = ()
    parts: list[str] = []
    for contract in tables:
        if contract is SAMPLES:
            days = _clean_days(objects, before_ms)
        elif contract is LEDGER:
            parts += fold_days(objects, contract, before_ms)
        else:
            parts += _clean_parts(objects, contract, before_ms)
    return CleanReport(days, tuple(parts), objects.sweep(as_of_ms - DAY_MS))


def _clean_days(objects: Objects, before_ms: int) -> tuple[str, ...]:
    """Remove the days that end at or before a moment (Unix ms); gives their dates.

    What was pulled is forgotten first: a crash in between pulls a day again, and never misses one.
    """
    clip_coverage(objects, before_ms // DAY_MS * DAY_MS)
    gone = [day for day in days_of(objects) if day.start_ms + DAY_MS <= before_ms]
    for day in gone:
        objects.delete(day.name)
    return tuple(day.date for day in gone)


def _clean_parts(objects: Objects, contract: Contract, before_ms: int) -> list[str]:
    """Remove the parts of runs whose clock is before a moment (Unix ms); gives ``table/part``.

    A name without a clock stays.
    """
    cut = f"{pd.Timestamp(before_ms, unit='ms'):%Y%m%dT%H%M%SZ}"
    clocks = [(part, _CLOCK.fullmatch(part)) for part in part_names(objects, contract)]
    gone = [part for part, match in clocks if match and match[1] < cut]
    for part in gone:
        objects.delete(part_file(contract, part))
    return [f"{contract.name}/{part}" for part in gone]
