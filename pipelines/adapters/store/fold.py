"""The parts of a day that is long over, as one: what is kept for ever must not be a million files.

Only for tables in which a row that is there twice says nothing more, and the last row of a key
counts: between the write and the deletes a reader sees rows twice.
"""

from __future__ import annotations

import pandas as pd

from features.frames import Contract
from pipelines.adapters.objects.protocol import Objects
from pipelines.adapters.store.parts import (
    conformed,
    joined,
    load_part,
    part_file,
    part_names,
    save_part,
)
from pipelines.errors import StoreError

__all__ = ["fold_days"]


def fold_days(objects: Objects, contract: Contract, before_ms: int) -> list[str]:
    """Join the parts of each UTC day that ended before a moment (Unix ms); gives ``table/part``.

    A day with a part that cannot be read, or that another process takes away just now, stays as it
    is.
    """
    cut = f"{pd.Timestamp(before_ms, unit='ms'):%Y%m%d}"
    days: dict[str, list[str]] = {}
    for part in part_names(objects, contract):
        if part[:8].isdigit() and part[8:9] == "T" and part[:8] < cut:
            days.setdefault(part[:8], []).append(part)
    return [
        f"{contract.name}/{part}"
        for day, parts in days.items()
        if len(parts) > 1
        for part in _fold(objects, contract, f"{day}T000000Z-0", parts)
    ]


def _fold(objects: Objects, contract: Contract, whole: str, parts: list[str]) -> list[str]:
    """``whole`` sorts before every other name of its day, so that later rows stay later."""
    try:
        tables = [load_part(objects, part_file(contract, part), contract) for part in parts]
    except StoreError:
        return []
    rows = [table for table in tables if table is not None]
    if len(rows) < len(parts):
        return []
    frame: pd.DataFrame = joined(rows, contract).to_pandas()
    table = conformed(objects.root, frame.drop_duplicates(ignore_index=True), contract)
    save_part(objects, part_file(contract, whole), table)
    gone = [part for part in parts if part != whole]
    for part in gone:
        objects.delete(part_file(contract, part))
    return gone
