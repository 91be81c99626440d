"""One day of samples: merge what is fresh into a day's file, and read it back.

``merge_day`` goes metric by metric, so that it holds the largest metric of a day and never the day.
The file depends on the rows alone: the same rows in any order, in any number of pieces, are the
same bytes. How a file is laid out says ``samples_file``, how rows are put in order
``samples_sort``; ``samples_panel`` reads many days into a panel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.frames import SAMPLES, require
from pipelines.adapters.store.samples_file import DayWriter, Group, groups_of
from pipelines.adapters.store.samples_sort import Rows, in_order, rows_of
from pipelines.adapters.store.samples_write import write_series

__all__ = ["MergeCounts", "merge_day", "millis", "read_day", "split_days"]

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """What became of the fresh rows: ``rows = duplicates + replaced + added``."""

    rows: int = 0
    duplicates: int = 0
    """Rows that a later fresh row overrode."""
    replaced: int = 0
    """Rows that overrode a stored one."""
    added: int = 0


def merge_day(
    old: pq.ParquetFile | None,
    fresh: Sequence[pa.Table | Path],
    out: BinaryIO | pa.NativeFile,
) -> MergeCounts:
    """Write one day's file: what was stored before, overridden by what is fresh.

    Parameters
    ----------
    old : the day's file as it is, if there is one; a foreign one is held in memory as a whole
    fresh : conformed samples of that day, or Arrow IPC files or streams of them; of equal keys the
        last wins; files are mapped and read a metric at a time
    out : gets the new file; stays open

    Raises
    ------
    FrameError
        The old file is no table of samples that can be read.
    pyarrow.ArrowException, OSError
        A file is damaged or cannot be read or written.
    """
    stored = _Stored(old)
    coming = [_Fresh(one) for one in fresh]
    rows = duplicates = replaced = 0
    with DayWriter(out) as writer:
        for metric in sorted(stored.metrics.union(*(one.metrics for one in coming))):
            pieces = [rows_of(b) for one in coming for b in one.batches(metric)]
            if not pieces and stored.groups is not None:
                for table, group in stored.row_groups(metric):
                    writer.write(table, group)
                continue
            before = stored.rows(metric)
            series = in_order([*before, *pieces], len(before))
            write_series(writer, metric, series)
            rows += sum(len(p.ts_ms) for p in pieces)
            duplicates += series.duplicates
            replaced += series.replaced
    return MergeCounts(rows, duplicates, replaced, rows - duplicates - replaced)


def read_day(
    file: pq.ParquetFile,
    lo_ms: int | None = None,
    hi_ms: int | None = None,
    metrics: Collection[str] | None = None,
) -> pa.Table:
    """Samples of ``[lo_ms, hi_ms)`` and of the given metrics, in the file's order.

    Row groups whose statistics rule the metrics or the window out are not read.

    Raises
    ------
    FrameError
        The file is no table of samples that can be read.
    pyarrow.ArrowException, OSError
        The file is damaged.
    """
    there = range(file.metadata.num_row_groups)
    wanted = [i for i in there if _may_hold(file.metadata.row_group(i), lo_ms, hi_ms, metrics)]
    samples = require(file.read_row_groups(wanted), SAMPLES)
    ts_ms = millis(samples)
    keep = np.ones(len(samples), dtype=bool)
    if lo_ms is not None:
        keep &= ts_ms >= lo_ms
    if hi_ms is not None:
        keep &= ts_ms < hi_ms
    if metrics is not None and len(samples):
        metric = samples.column("metric").unify_dictionaries()
        known = metric.chunk(0).dictionary.to_pylist()
        code = np.concatenate([chunk.indices.to_numpy() for chunk in metric.chunks])
        keep &= np.isin(known, list(metrics))[code]
    return samples if keep.all() else samples.filter(pa.array(keep))


def millis(samples: pa.Table) -> NDArray[np.int64]:
    """The stamps, (n,), Unix milliseconds."""
    return samples.column("ts").cast(pa.int64()).to_numpy()


def split_days(samples: pa.Table) -> list[tuple[int, pa.Table]]:
    """Samples by UTC day: left edge (Unix ms) and rows of each, in order; rows keep theirs."""
    if not len(samples):
        return []
    day = millis(samples) // _DAY_MS
    begin = np.flatnonzero(np.r_[True, day[1:] != day[:-1]])
    length = np.diff(begin, append=len(day))
    runs = np.argsort(day[begin], kind="stable")
    days, n_runs = np.unique(day[begin], return_counts=True)
    parts: list[tuple[int, pa.Table]] = []
    for one, mine in zip(days, np.split(runs, np.cumsum(n_runs)[:-1]), strict=True):
        if len(mine) == 1:
            rows = samples.slice(begin[mine[0]], length[mine[0]])
        else:
            before = np.cumsum(length[mine]) - length[mine]
            row = np.repeat(begin[mine] - before, length[mine])
            rows = _taken(samples, row + np.arange(len(row)))
        parts.append((int(one) * _DAY_MS, rows))
    return parts


def _taken(samples: pa.Table, row: NDArray[np.int64]) -> pa.Table:
    """The rows; numpy gathers several times as fast as pyarrow does."""
    columns: list[pa.Array] = []
    for field, column in zip(samples.schema, samples.combine_chunks().columns, strict=True):
        whole = column.chunk(0)
        if whole.null_count:
            columns.append(whole.take(pa.array(row)))
        elif pa.types.is_dictionary(field.type):
            code = whole.indices.to_numpy()[row]
            columns.append(pa.DictionaryArray.from_arrays(code, whole.dictionary))
        else:
            plain = whole.cast(pa.int64()) if pa.types.is_timestamp(field.type) else whole
            columns.append(pa.array(plain.to_numpy()[row]).cast(field.type))
    return pa.Table.from_arrays(columns, schema=samples.schema)


class _Stored:
    """The day's file before the merge."""

    def __init__(self, file: pq.ParquetFile | None) -> None:
        self._file = file
        self.groups: list[Group] | None = [] if file is None else groups_of(file)
        self._foreign = None
        if file is not None and self.groups is None:
            self._foreign = _Fresh(require(file.read(), SAMPLES))
        self.metrics = (
            {group.metric for group in self.groups or ()}
            if self._foreign is None
            else self._foreign.metrics
        )

    def row_groups(self, metric: str) -> Iterator[tuple[pa.Table, Group]]:
        """One metric's row groups as they are."""
        for i, group in enumerate(self.groups or ()):
            if group.metric == metric and self._file is not None:
                yield self._file.read_row_group(i), group

    def rows(self, metric: str) -> list[Rows]:
        if self._foreign is not None:
            return [rows_of(b) for b in self._foreign.batches(metric)]
        tables = (table.combine_chunks() for table, _ in self.row_groups(metric))
        return [rows_of(b) for table in tables for b in table.to_batches()]


class _Fresh:
    """Rows that are merged: a table, or a file that is mapped anew for each of its metrics."""

    def __init__(self, rows: pa.Table | Path) -> None:
        self._rows = rows
        names: set[str] = set()
        for batch in self._all():
            metric = batch.column("metric")
            used = np.flatnonzero(np.bincount(metric.indices.to_numpy()))
            names.update(metric.dictionary.take(pa.array(used)).to_pylist())
        self.metrics = names

    def batches(self, metric: str) -> Iterator[pa.RecordBatch]:
        """The rows of one metric; neighbours are not copied."""
        if metric not in self.metrics:
            return
        for batch in self._all():
            labels = batch.column("metric")
            is_it = np.array([text == metric for text in labels.dictionary.to_pylist()])
            at = np.flatnonzero(is_it[labels.indices.to_numpy()])
            if len(at) == 0:
                continue
            if at[-1] - at[0] + 1 == len(at):
                yield batch.slice(at[0], len(at))
            else:
                yield batch.take(pa.array(at))

    def _all(self) -> Iterator[pa.RecordBatch]:
        if not isinstance(self._rows, Path):
            yield from (b for b in self._rows.to_batches() if b.num_rows)
            return
        with pa.memory_map(str(self._rows)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            if is_file:
                reader = pa.ipc.open_file(source)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                batches = iter(pa.ipc.open_stream(source))
            yield from (b for b in batches if b.num_rows)


def _may_hold(
    row_group: pq.RowGroupMetaData,
    lo_ms: int | None,
    hi_ms: int | None,
    metrics: Collection[str] | None,
) -> bool:
    """Whether the statistics leave it open that a row group has wanted rows; any writer's."""
    span = _spans(row_group)
    if metrics is not None and "metric" in span:
        low, high = map(str, span["metric"])
        if not any(low <= metric <= high for metric in metrics):
            return False
    first, last = span.get("ts", (None, None))
    if not isinstance(first, datetime) or not isinstance(last, datetime) or first.tzinfo is None:
        return True
    return (lo_ms is None or last >= _moment(lo_ms)) and (hi_ms is None or first < _moment(hi_ms))


def _spans(row_group: pq.RowGroupMetaData) -> dict[str, tuple[object, object]]:
    """Least and greatest of the columns that are searched, where the file says them."""
    known = {
        column.path_in_schema: column.statistics
        for column in map(row_group.column, range(row_group.num_columns))
        if column.path_in_schema in {"metric", "ts"}
    }
    return {name: (s.min, s.max) for name, s in known.items() if s is not None and s.has_min_max}


def _moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
