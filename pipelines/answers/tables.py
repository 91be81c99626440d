"""The tables themselves: each one's columns as its contract has them, and its newest rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from features.frames import CONTRACTS, SAMPLES, Contract
from pipelines.answers.shared import LONGEST, NoSuchName, Part, clock_of, iso, number
from pipelines.plain import plain
from pipelines.run import Run
from pipelines.series.reaching import newest_parts

__all__ = ["Column", "Table", "Tables", "table", "tables"]

_SAMPLES_OF = "cpu_usage_cores"
"""Of samples the newest of one metric are shown: a day of all may not fit in memory."""
_CELL = 200
_LISTED = 5


class Column(Part):
    """A column, its Arrow type (stamps are UTC), and whether it is part of the key."""

    name: str
    type: str
    is_key: bool


class Table(Part):
    """A table's contract, and its newest rows: all of ``data`` may hold text from a cluster."""

    name: str
    version: int
    columns: tuple[Column, ...]
    further_columns: str
    """Regular expression of further columns, of doubles; empty for none."""
    newest_at: str | None
    """The clock of the run that wrote the newest rows; of samples the newest stamp."""
    rows_count: int
    """Of that run, one part; the last of them are in ``data``."""
    data: tuple[tuple[Any, ...], ...]
    """Rows, each in the order of ``columns``."""


class Tables(Part):
    """Which tables there are, and how new each is."""

    tables: tuple[Table, ...]


def tables(run: Run) -> Tables:
    """Every table, without rows."""
    return Tables(tables=tuple(_empty(c, _newest_at(run, c)) for c in CONTRACTS.values()))


def table(run: Run, name: str, rows: int = 20) -> Table:
    """One table with the last rows of its newest run.

    Raises
    ------
    NoSuchName
        There is no table of that name.
    StoreError
        It is damaged.
    """
    contract = CONTRACTS.get(name)
    if contract is None:
        raise NoSuchName(f"table: expected one of {', '.join(CONTRACTS)}")
    at, whole = _newest_at(run, contract), _newest(run, contract)
    bare = _empty(contract, at)
    last = whole.slice(max(len(whole) - rows, 0)).select(contract.schema.names)
    told = tuple(tuple(_cell(v) for v in row.values()) for row in last.to_pylist())
    return bare.model_copy(update={"rows_count": len(whole), "data": told})


def _newest(run: Run, contract: Contract) -> pa.Table:
    if contract is SAMPLES:
        newest = run.store.newest(run.as_of) if run.store.days() else None
        if newest is None:
            return SAMPLES.schema.empty_table()
        second = pd.Timedelta(1, "s")
        return run.store.read_samples(newest, newest + second, [_SAMPLES_OF])
    parts = newest_parts(run, contract)
    return run.store.read(contract, part=parts[-1]) if parts else contract.schema.empty_table()


def _newest_at(run: Run, contract: Contract) -> str | None:
    if contract is SAMPLES:
        return iso(run.store.newest(run.as_of)) if run.store.days() else None
    parts = newest_parts(run, contract)
    return iso(clock_of(parts[-1])) if parts else None


def _empty(contract: Contract, newest_at: str | None) -> Table:
    return Table(
        name=contract.name,
        version=contract.version,
        columns=tuple(
            Column(name=f.name, type=_type(f.type), is_key=f.name in contract.key)
            for f in contract.schema
        ),
        further_columns=contract.extra or "",
        newest_at=newest_at,
        rows_count=0,
        data=(),
    )


def _type(kind: pa.DataType) -> str:
    return "string" if pa.types.is_dictionary(kind) else str(kind)


def _cell(value: Any) -> Any:
    """A plain value; text is cut, lists are short."""
    if isinstance(value, str):
        said = plain(value[:LONGEST])
        return said if len(said) <= _CELL else f"{said[: _CELL - 1]}…"
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return [_cell(v) for v in value[:_LISTED]]
    if isinstance(value, dict):
        return {str(k): _cell(v) for k, v in value.items()}
    return iso(value)
