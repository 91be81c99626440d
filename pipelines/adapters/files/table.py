"""One samples file as tables: whole, or streamed and cut to what is asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.frames import SAMPLES, FrameError, require
from pipelines.adapters.files.csv import read_csv
from pipelines.adapters.files.find import File
from pipelines.adapters.files.openmetrics import read_openmetrics
from pipelines.adapters.source import shorten
from pipelines.errors import InputError

__all__ = ["Cut", "read_cut", "read_whole", "rows_by_day", "rows_within"]

_INDEX_COLUMNS = ("", "Unnamed: 0", "index", "__index_level_0__")
"""What pandas leaves behind when a frame is saved with its row numbers."""
_BATCH_ROWS = 1 << 19
_DAY_MS = 86_400_000
_ROW_BYTES = 64
_PACKED_ROW_BYTES = 8
"""About what a row of text takes, for cutting the work; nothing else depends on it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which rows are asked for: one metric or all, ``from_ms`` ≤ ts < ``to_ms``, label values.

    ``fill`` is what stands for an empty ``cluster``, ``namespace`` or ``kind``.
    """

    metric: str | None
    from_ms: int
    to_ms: int
    select: Mapping[str, tuple[str, ...]]
    fill: Mapping[str, str] = field(default_factory=dict[str, str])


def read_whole(file: File, cluster: str = "default") -> pa.Table:
    """All rows of a file; a missing value is NaN.

    Raises
    ------
    InputError
        The file is empty, malformed or no samples table.
    """
    with _explained(file):
        table = _whole(file, cluster)
        if not len(table):
            raise InputError(f"{file.name}: the file has columns and no row")
        return _checked(table, file, cluster)


def read_cut(file: File, cut: Cut, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    """The rows that are asked for, a part at a time: of Parquet never more than a few row groups'
    worth is held, and row groups without such rows are not read.

    Raises
    ------
    InputError
        As ``read_whole``; a fault in what need not be read is not seen.
    """
    cluster = cut.fill["cluster"]
    with _explained(file):
        if not file.name.lower().endswith(".parquet"):
            yield _rows(read_whole(file, cluster), cut, columns)
            return
        parquet = _opened(file, cluster)
        groups = [g for g in range(parquet.num_row_groups) if _may_have(parquet, g, cut)]
        names = [c for c in parquet.schema_arrow.names if c in columns]
        stored = parquet.schema_arrow.metadata
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=names):
            table = pa.Table.from_batches([batch]).replace_schema_metadata(stored)
            if "value" not in columns:
                none = pa.nulls(len(table), pa.float64())
                table = table.append_column("value", none)
            yield _rows(_checked(table, file, cluster), cut, columns)


def rows_within(file: File, cut: Cut) -> int:
    """At most so many rows of a file can be asked for; of text a guess by its size."""
    if not file.name.lower().endswith(".parquet"):
        packed = file.name.lower().endswith(".gz")
        return file.size // (_PACKED_ROW_BYTES if packed else _ROW_BYTES)
    with _explained(file):
        parquet = _opened(file, cut.fill["cluster"])
        groups = [g for g in range(parquet.num_row_groups) if _may_have(parquet, g, cut)]
        return sum(parquet.metadata.row_group(g).num_rows for g in groups)


def rows_by_day(file: File, cut: Cut) -> dict[int, int] | None:
    """UTC day since 1970 → at most so many rows of it; None where only reading the file tells.

    A row group counts whole in each day that it may have rows of.
    """
    if not file.name.lower().endswith(".parquet"):
        return None
    found: dict[int, int] = {}
    with _explained(file):
        parquet = _opened(file, cut.fill["cluster"])
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            columns = (group.column(i) for i in range(group.num_columns))
            stats = next((c.statistics for c in columns if c.path_in_schema == "ts"), None)
            if stats is None or not stats.has_min_max or not hasattr(stats.min, "timestamp"):
                return None
            first, last = (
                pd.Timestamp(t).as_unit("ns").value // 10**6 for t in (stats.min, stats.max)
            )
            first, last = max(first, cut.from_ms), min(last, cut.to_ms - 1)
            for day in range(first // _DAY_MS, last // _DAY_MS + 1):
                found[day] = found.get(day, 0) + group.num_rows
    return found


def _whole(file: File, cluster: str) -> pa.Table:
    if file.size == 0:
        raise InputError(f"{file.name}: the file is empty")
    name = file.name.lower()
    if name.endswith(".parquet"):
        return pq.ParquetFile(file.open()).read()
    if name.endswith((".csv", ".csv.gz")):
        return read_csv(file)
    return read_openmetrics(file.unpacked, file.name, cluster=cluster)


def _opened(file: File, cluster: str) -> pq.ParquetFile:
    """The file, once its columns are known to be those of a samples table."""
    if file.size == 0:
        raise InputError(f"{file.name}: the file is empty")
    parquet = pq.ParquetFile(file.open())
    _checked(parquet.schema_arrow.empty_table(), file, cluster)
    if not parquet.metadata.num_rows:
        raise InputError(f"{file.name}: the file has columns and no row")
    return parquet


def _checked(table: pa.Table, file: File, cluster: str) -> pa.Table:
    drop = [c for c in table.column_names if c in _INDEX_COLUMNS]
    table = table.drop_columns(drop)
    if "cluster" not in table.column_names:
        code = pa.repeat(pa.scalar(0, pa.int32()), len(table))
        column = pa.DictionaryArray.from_arrays(code, pa.array([cluster]))
        table = table.append_column("cluster", column)
    table = require(table, SAMPLES)
    for column in ("name", "metric"):
        if "" in table.column(column).unique().to_pylist():
            raise InputError(
                f"{file.name}: column {column!r} has empty values; every row needs one"
            )
    at = table.schema.get_field_index("value")
    return table.set_column(at, table.schema.field(at), pc.fill_null(table.column(at), np.nan))


def _rows(table: pa.Table, cut: Cut, columns: tuple[str, ...]) -> pa.Table:
    ts_ms = table.column("ts").cast(pa.int64()).to_numpy()
    keep = (ts_ms >= cut.from_ms) & (ts_ms < cut.to_ms)
    wanted = dict(cut.select) | ({} if cut.metric is None else {"metric": (cut.metric,)})
    for label, values in wanted.items():
        column = table.column(label).combine_chunks()
        one = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        fill = cut.fill.get(label, "")
        hit = np.array([(v or fill) in values for v in one.dictionary.to_pylist()], dtype=bool)
        keep &= hit[one.indices.to_numpy()] if len(hit) else False
    table = table.select(list(columns))
    return table if keep.all() else table.filter(pa.array(keep))


def _may_have(parquet: pq.ParquetFile, group: int, cut: Cut) -> bool:
    """Whether a row group's statistics leave room for rows of the cut."""
    held = parquet.metadata.row_group(group)
    for position in range(held.num_columns):
        column = held.column(position)
        stats = column.statistics
        if stats is None or not stats.has_min_max:
            continue
        if column.path_in_schema == "ts" and not _meets(stats.min, stats.max, cut):
            return False
        if column.path_in_schema == "metric" and cut.metric is not None:
            low, high = stats.min, stats.max
            if isinstance(low, str) and not low <= cut.metric <= high:
                return False
    return True


def _meets(low: Any, high: Any, cut: Cut) -> bool:
    if not hasattr(low, "timestamp"):  # the stamps are refused when they are read
        return True
    first, last = (int(pd.Timestamp(t).timestamp() * 1000) for t in (low, high))
    # a stamp finer than milliseconds, or a float's rounding, must not lose a row
    return first - 1 < cut.to_ms and last + 1 >= cut.from_ms


@contextmanager
def _explained(file: File) -> Generator[None]:
    """What pyarrow and the codecs raise, as one clear line that names the file."""
    try:
        yield
    except FrameError as error:
        raise InputError(f"{file.name}: {error}") from error
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{file.name}: cannot be read: {shorten(str(error))}") from error
