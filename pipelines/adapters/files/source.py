"""Samples from files that a user names: Parquet, CSV or OpenMetrics text, on disk or in S3.

A path is a file, a directory (with all below it, Hive folders such as ``date=2026-06-01`` included)
or ``s3://BUCKET/PREFIX``. Which kind a file is, its ending says: ``.parquet``, ``.csv``, ``.om``,
``.openmetrics``, ``.prom``, ``.txt``; text also with ``.gz``.

Nothing is remembered between calls: estimating, fetching and asking again each read the files.
Parquet is read by row groups, only those whose statistics leave room for what is asked; text is
held whole, a file at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import SAMPLES, WORKLOAD_PARTS
from pipelines.adapters.files.find import File, S3Client, find
from pipelines.adapters.files.table import Cut, read_cut, read_whole, rows_by_day, rows_within
from pipelines.adapters.series import to_chunk
from pipelines.adapters.source import Chunk, Estimate, FetchReport, Spec, Window
from pipelines.errors import InputError

__all__ = ["EVERYTHING", "FilesParams", "FilesSource", "read_samples"]

EVERYTHING = "*"
"""A metric of this name stands for all metrics of the files."""

_COLUMNS = tuple(SAMPLES.schema.names)
_PARTS: tuple[str, ...] = WORKLOAD_PARTS
_KEYS = (*_PARTS, "metric")
_Seen = dict[str, set[tuple[tuple[str, str], ...]]]


@dataclass(frozen=True, slots=True)
class FilesParams:
    """How much is held at once.

    The window is cut into parts of equal length that should have ``max_rows_per_chunk`` or fewer.
    Parquet that is not sorted or partitioned by time is read once for each part.
    """

    max_rows_per_chunk: int = 2_000_000

    def __post_init__(self) -> None:
        """Refuse what would never end."""
        if self.max_rows_per_chunk < 1:
            raise ValueError(
                f"max_rows_per_chunk must be at least 1, got {self.max_rows_per_chunk}"
            )


class FilesSource:
    """The samples that are in files; see ``Source``.

    A metric is found by its name and needs no query; ``EVERYTHING`` is all of them in one pass.
    ``EVERYTHING`` keeps each stamp as the file has it, since the store holds raw stamps and the
    panel aligns them; a single metric is put on the window's grid, as other sources' samples are.
    Duplicates and values that are no number are left out and counted; so are series, per metric.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        cluster: str,
        s3_client: S3Client | None = None,
        params: FilesParams | None = None,
        principal: str = "",
    ) -> None:
        """``cluster`` is the cluster of rows that have none.

        ``s3_client`` makes the boto3 client for ``s3://`` paths; by default boto3 does.
        ``principal`` is who its credentials are, for errors.
        """
        self._paths = tuple(paths)
        self._fill = {"cluster": cluster, "namespace": "default", "kind": "Workload"}
        self._s3_client = s3_client
        self._principal = principal
        self._params = params or FilesParams()

    def estimate(self, spec: Spec, window: Window) -> Estimate:
        """How many series and rows ``fetch`` would find; reads labels and stamps, and no values.

        Raises
        ------
        InputError
            A file is missing, malformed or no samples table.
        SourceError
            S3 refuses or does not answer.
        """
        files, cut = self.files(), self._cut(spec, window)
        series: set[tuple[str, ...]] = set()
        rows = 0
        for file in files:
            for table in read_cut(file, cut, (*_KEYS, "ts")):
                rows += len(table)
                keys = table.select(list(_KEYS)).group_by(list(_KEYS)).aggregate([])
                series.update(zip(*(keys.column(c).to_pylist() for c in _KEYS), strict=True))
        return Estimate(series=len(series), samples=rows, queries=len(files))

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """The samples of one metric, or of all, in the window; see ``Source``.

        Raises
        ------
        InputError
            A file is missing, malformed or no samples table.
        SourceError
            S3 refuses or does not answer.
        """
        files, whole = self.files(), self._cut(spec, window)
        rows = sum(rows_within(file, whole) for file in files)
        seen: _Seen = {}
        for part in _parts(window, -(-rows // self._params.max_rows_per_chunk)):
            cut = self._cut(spec, part)
            tables = [t for file in files for t in read_cut(file, cut, _COLUMNS) if len(t)]
            reading = FetchReport(queries=len(files))
            yield _chunk(tables, spec, part, self._fill["cluster"], seen, reading)

    def days(self, spec: Spec, window: Window) -> dict[int, int]:
        """UTC day since 1970 → how many rows of it the files may have, told without reading them;
        nothing where they cannot tell, or are not parted by time: then all is best read at once.

        Raises
        ------
        InputError
            A file is missing, malformed or no samples table.
        SourceError
            S3 refuses or does not answer.
        """
        files, cut = self.files(), self._cut(spec, window)
        found: dict[int, int] = {}
        for file in files:
            days = rows_by_day(file, cut)
            if days is None:
                return {}
            for day, rows in days.items():
                found[day] = found.get(day, 0) + rows
        held = sum(rows_within(file, cut) for file in files)
        return found if sum(found.values()) <= 1.5 * held else {}

    def files(self) -> list[File]:
        """What the paths stand for; raises what ``find`` raises."""
        return find(self._paths, self._s3_client, self._principal)

    def _cut(self, spec: Spec, window: Window) -> Cut:
        name = None if spec.metric.name == EVERYTHING else spec.metric.name
        end_ms = window.end_ms
        if name is not None:  # the last step begins inside the window and may end outside
            end_ms = window.last_ms + window.step_ms
        return Cut(name, window.first_ms, end_ms, spec.select, self._fill)


def read_samples(paths: Sequence[str | Path], *, s3_client: S3Client | None = None) -> pa.Table:
    """All samples of the files, in the order given; a directory stands for its files, by name.

    Unsorted and duplicate rows, NaN and Inf stay: the panel counts them. A missing value is NaN.

    Raises
    ------
    InputError
        A file is missing, empty, malformed or no samples table, or no file has a finite sample:
        the message names the file and the column.
    SourceError
        S3 refuses or does not answer.
    """
    files = find(paths, s3_client)
    table = pa.concat_tables([read_whole(file) for file in files]).unify_dictionaries()
    if not np.isfinite(table.column("value").to_numpy()).any():
        names = ", ".join(f.name for f in files[:3]) + (", …" if len(files) > 3 else "")
        raise InputError(f"{names}: none of the {len(table)} samples has a finite value")
    return table


def _parts(window: Window, count: int) -> Iterator[Window]:
    """The window in at most ``count`` pieces of whole steps; at least one, also of no step."""
    steps = max(1, -(-window.steps // max(count, 1)))
    at_ms = window.first_ms
    while True:
        end_ms = min(at_ms + steps * window.step_ms, window.end_ms)
        yield Window(at_ms, end_ms, window.step_ms)
        if end_ms >= window.end_ms:
            return
        at_ms = end_ms


def _chunk(
    tables: list[pa.Table],
    spec: Spec,
    part: Window,
    cluster: str,
    seen: _Seen,
    report: FetchReport,
) -> Chunk:
    """The rows of one part, metric by metric through the door that all sources use."""
    if not tables:
        return Chunk(SAMPLES.schema.empty_table(), part, report)
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    # a grid of 1 ms is every stamp as it is
    grid = replace(part, step_ms=1) if spec.metric.name == EVERYTHING else part
    series, row = _series(table)
    ts_ms = table.column("ts").cast(pa.int64()).to_numpy()
    value = table.column("value").to_numpy()
    if (row[1:] < row[:-1]).any():
        order = _by_series(row)
        ts_ms, value = ts_ms[order], value[order]
    lengths = np.bincount(row, minlength=len(series))
    ends = np.concatenate([[0], lengths.cumsum()])
    chunks: list[Chunk] = []
    for metric, one in groupby(range(len(series)), key=lambda i: series[i][-1]):
        which = list(one)
        labels = [dict(zip(_PARTS, series[i], strict=False)) for i in which]
        rows = slice(ends[which[0]], ends[which[-1] + 1])
        known = seen.setdefault(metric, set())
        chunks.append(
            to_chunk(
                metric, cluster, grid, labels, lengths[which], ts_ms[rows], value[rows],
                seen=known, report=FetchReport(), select=spec.select,
            )
        )  # fmt: skip
    counted = sum((c.report for c in chunks), report)
    return Chunk(pa.concat_tables([c.samples for c in chunks]), part, counted)


def _series(table: pa.Table) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
    """The series of a table, those of a metric together; which of them each row is, (n_rows,)."""
    code = np.zeros(len(table), np.int64)
    columns: list[NDArray[np.int32]] = []
    names: list[list[str]] = []
    for label in ("metric", *_PARTS):
        column = table.column(label).combine_chunks()
        one = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        names.append(one.dictionary.to_pylist())
        columns.append(one.indices.to_numpy())
        # kept dense, so that the product never overflows
        code = _dense(code * len(names[-1]) + columns[-1])
    firsts = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
    firsts[code[::-1]] = np.arange(len(code))[::-1]  # the first of each is written last
    keys = [tuple(names[i][columns[i][at]] for i in range(len(names))) for at in firsts.tolist()]
    return [(*key[1:], key[0]) for key in keys], code


def _by_series(row: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows, series by series, each in its own order; what is sorted are stretches of rows."""
    begin = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    length = np.diff(begin, append=len(row))
    runs = np.argsort(row[begin], kind="stable")
    begin, length = begin[runs], length[runs]
    before = np.cumsum(length) - length
    return np.repeat(begin - before, length) + np.arange(len(row))


def _dense(code: NDArray[np.int64]) -> NDArray[np.int64]:
    """The codes' ranks among those that occur; counted, not sorted, where they lie close."""
    reach = int(code.max(initial=-1)) + 1
    if reach > 4 * len(code):
        return np.unique(code, return_inverse=True)[1]
    there = np.zeros(reach, dtype=bool)
    there[code] = True
    return (np.cumsum(there) - 1)[code]
