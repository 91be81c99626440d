"""One run's table: a Parquet file whose name tells the run's clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import CONTRACTS, Contract, FrameError, conform, require
from pipelines.adapters.objects.protocol import Objects
from pipelines.adapters.store.days import opened
from pipelines.errors import StoreError

__all__ = [
    "conformed",
    "document_file",
    "joined",
    "load_part",
    "nothing_there",
    "part_bytes",
    "part_file",
    "part_names",
    "save_part",
]

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WRITTEN_BY = {
    "samples": "ingest",
    "scores": "score",
    "leaks": "score",
    "incidents": "score",
    "forecasts": "forecast",
    "capacity": "forecast",
    "ledger": "apply",
    "backtest": "train",
}


def part_file(contract: Contract, part: str) -> str:
    """The file of a part.

    Raises
    ------
    StoreError
        The part is no plain file name.
    """
    if not _PART.fullmatch(part):
        raise StoreError(
            f"{contract.name}: {part!r} is no part name; expected letters, digits, '.', '_' "
            "and '-', beginning with a letter or digit, such as 20260601T000000Z"
        )
    return f"{contract.name}/{part}.parquet"


def part_names(objects: Objects, contract: Contract) -> list[str]:
    """The parts there are, sorted."""
    base = f"{contract.name}/"
    files = [stat.name.removeprefix(base) for stat in objects.list(base)]
    parts = [file.removesuffix(".parquet") for file in files if file.endswith(".parquet")]
    return sorted(part for part in parts if _PART.fullmatch(part))


def load_part(
    objects: Objects,
    file: str,
    contract: Contract,
    columns: Sequence[str] | None = None,
    workload: str | None = None,
) -> pa.Table | None:
    """A part's rows, or some columns of them, or those of one workload; nothing where it went
    away."""
    if columns is not None:
        schema = pa.schema([contract.schema.field(c) for c in columns])
        key = tuple(c for c in contract.key if c in columns)
        added = tuple(c for c in contract.added if c in columns)
        contract = replace(contract, schema=schema, key=key, added=added)
    with opened(objects, file) as opened_file:
        if opened_file is None:
            return None
        names = None if columns is None else list(columns)
        if workload is not None:
            return require(_rows_about(opened_file, workload, names), contract)
        return require(opened_file.read(columns=names), contract)


def _rows_about(file: pq.ParquetFile, workload: str, columns: list[str] | None) -> pa.Table:
    """Only the row groups that name the workload are read as a whole."""
    found: list[pa.Table] = []
    for group in range(file.num_row_groups):
        named = file.read_row_group(group, columns=["workload"])["workload"]
        mine = (named.to_pandas() == workload).to_numpy()
        if mine.any():
            found.append(file.read_row_group(group, columns=columns).filter(pa.array(mine)))
    if found:
        return pa.concat_tables(found).unify_dictionaries()
    schema = file.schema_arrow
    if columns is not None:
        schema = pa.schema([schema.field(c) for c in columns], metadata=schema.metadata)
    return schema.empty_table()


def conformed(root: str, table: pa.Table | pd.DataFrame, contract: Contract) -> pa.Table:
    """What may be written.

    Raises
    ------
    StoreError
        The table breaks the contract.
    """
    try:
        return conform(table, contract)
    except FrameError as error:
        raise StoreError(f"refused to write to {root}: {error}") from error


def joined(tables: Sequence[pa.Table], contract: Contract) -> pa.Table:
    """Tables of one contract as one; an empty one of it where there are none."""
    if not tables:
        return contract.schema.with_metadata(contract.metadata()).empty_table()
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries()


def save_part(objects: Objects, file: str, table: pa.Table) -> None:
    """Write a part, replacing the one that is there."""
    objects.put(file, part_bytes(table))


def part_bytes(table: pa.Table) -> bytes:
    """A part's file."""
    doubles = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    stamps = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    labels = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    out = pa.BufferOutputStream()
    pq.write_table(
        table,
        out,
        compression="zstd",
        use_dictionary=labels,  # pyright: ignore[reportArgumentType] - a list is right
        column_encoding={
            **dict.fromkeys(doubles, "BYTE_STREAM_SPLIT"),
            **dict.fromkeys(stamps, "DELTA_BINARY_PACKED"),
        },
    )
    data: bytes = out.getvalue().to_pybytes()
    return data


def document_file(name: str) -> str:
    """The file of a document beside the tables.

    Raises
    ------
    StoreError
        It is no plain relative path, or lies in a table.
    """
    segments = name.split("/")
    if not all(map(_PART.fullmatch, segments)) or segments[0] in CONTRACTS:
        raise StoreError(
            f"{name!r} is no document's name; expected a relative path of letters, digits, '.', "
            "'_' and '-' that is not inside a table, such as report.html"
        )
    return name


def nothing_there(root: str, contract: Contract, part: str | None = None) -> StoreError:
    """The error of a table that nobody has written yet."""
    verb = _WRITTEN_BY.get(contract.name)
    what = contract.name + (f" of run {part}" if part else "")
    return StoreError(f"no {what} in {root}" + (f"; run `foretide {verb}` first" if verb else ""))
