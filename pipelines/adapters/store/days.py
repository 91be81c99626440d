"""The days of samples in a store: which there are, merging into one, reading some.

::

    samples/date=2026-06-01/samples.parquet
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import SAMPLES, FrameError
from pipelines.adapters.objects.protocol import Objects, steady
from pipelines.adapters.store.samples import millis, read_day
from pipelines.adapters.store.samples_file import DAY_SCHEMA
from pipelines.errors import StoreError

__all__ = [
    "DAY_MS",
    "MEND_DAY",
    "Day",
    "bound",
    "bound_or_none",
    "days_of",
    "each",
    "newest_ms",
    "one_line",
    "opened",
    "opened_days",
    "read_window",
]

A = TypeVar("A")
T = TypeVar("T")

DAY_MS = 86_400_000
_DAY = re.compile(r"samples/date=(\d{4}-\d{2}-\d{2})/samples\.parquet")
MEND_DAY = "move the file away and ingest its day again"


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day that has a file."""

    date: str
    size_bytes: int = 0

    @classmethod
    def of(cls, start_ms: int) -> Day:
        """The day that a moment lies in."""
        return cls(str(np.datetime64(start_ms // DAY_MS, "D")))

    @property
    def start_ms(self) -> int:
        """Its left edge."""
        return int(np.datetime64(self.date, "ms").astype(np.int64))

    @property
    def name(self) -> str:
        """Its file."""
        return f"samples/date={self.date}/samples.parquet"


def days_of(objects: Objects) -> list[Day]:
    """The days there are, in order."""
    matches = [(_DAY.fullmatch(stat.name), stat.size) for stat in objects.list("samples/date=")]
    days = [Day(match[1], size) for match, size in matches if match]
    return [day for day in days if _is_date(day.date)]


def read_window(
    objects: Objects, lo_ms: int | None, hi_ms: int | None, metrics: Collection[str] | None
) -> list[pa.Table]:
    """The samples of ``[lo_ms, hi_ms)`` of each day; only the days of the window are opened."""

    def read(day: Day) -> pa.Table | None:
        with opened(objects, day.name) as file:
            return None if file is None else read_day(file, lo_ms, hi_ms, metrics)

    tables = each(objects, read, _of_window(days_of(objects), lo_ms, hi_ms))
    return [table for table in tables if table is not None]


@contextmanager
def opened_days(
    objects: Objects, lo_ms: int | None, hi_ms: int | None
) -> Generator[list[tuple[int, pq.ParquetFile]]]:
    """Left edge and file of the window's days, in order, all open at once.

    A row group that cannot be read is a StoreError that names its own day.
    """
    with ExitStack() as stack:

        def enter(day: Day) -> tuple[int, pq.ParquetFile | None]:
            return day.start_ms, stack.enter_context(opened(objects, day.name))

        files = each(objects, enter, _of_window(days_of(objects), lo_ms, hi_ms))
        yield [(start_ms, file) for start_ms, file in files if file is not None]


class _Named(pq.ParquetFile):
    """One of several that are open at once: its errors say which one it is."""

    def __init__(self, file: pa.NativeFile, where: str, remedy: str) -> None:
        super().__init__(file, pre_buffer=True)
        self._where, self._remedy = where, remedy

    def read_row_group(self, i: int, *args: Any, **how: Any) -> pa.Table:
        try:
            return super().read_row_group(i, *args, **how)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._where, error, self._remedy) from error


def newest_ms(objects: Objects, before_ms: int | None) -> int | None:
    """The newest stamp, or the newest before a moment; a footer tells it, if anything does."""

    def newest(day: Day) -> int | None:
        with opened(objects, day.name) as file:
            if file is None:
                return None
            known = _newest_by_statistics(file)
            if known is not None and (before_ms is None or known < before_ms):
                return known
            stamps = millis(read_day(file, None, before_ms))
            return int(stamps.max()) if len(stamps) else None

    for day in reversed(_of_window(days_of(objects), None, before_ms)):
        found = steady(lambda day=day: newest(day))
        if found is not None:
            return found
    return None


@contextmanager
def opened(objects: Objects, name: str) -> Generator[pq.ParquetFile | None]:
    """A Parquet file, nothing where there is none; what is wrong with it is a StoreError."""
    where, remedy = objects.where(name), f"; {MEND_DAY}" if _DAY.fullmatch(name) else ""
    with objects.open(name) as file:
        try:
            yield None if file is None else _Named(file, where, remedy)
        except (pa.ArrowException, OSError, FrameError) as error:
            raise _unreadable(where, error, remedy) from error


def each(objects: Objects, read: Callable[[A], T], items: Sequence[A]) -> list[T]:
    """What ``read`` gives for each; several at once where that pays, again where it has to."""

    def steadily(item: A) -> T:
        return steady(lambda: read(item))

    if objects.readers == 1 or len(items) < 2:
        return [steadily(item) for item in items]
    with ThreadPoolExecutor(objects.readers) as pool:
        return list(pool.map(steadily, items))


def one_line(error: Exception) -> str:
    """An error's text without line breaks, cut."""
    return " ".join(str(error).split())[:300]


def _unreadable(where: str, error: Exception, remedy: str) -> StoreError:
    return StoreError(f"{where} cannot be read: {one_line(error)}{remedy}")


def _of_window(days: list[Day], lo_ms: int | None, hi_ms: int | None) -> list[Day]:
    return [
        day
        for day in days
        if (lo_ms is None or day.start_ms + DAY_MS > lo_ms)
        and (hi_ms is None or day.start_ms < hi_ms)
    ]


def _newest_by_statistics(file: pq.ParquetFile) -> int | None:
    if file.schema_arrow.names != DAY_SCHEMA.names:
        return None
    if file.schema_arrow.field("ts").type != DAY_SCHEMA.field("ts").type:
        return None
    newest: list[int] = []
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        column = next(
            c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "ts"
        )
        if column.statistics is None or not column.statistics.has_min_max:
            return None
        newest.append(pa.scalar(column.statistics.max, SAMPLES.schema.field("ts").type).value)
    return max(newest, default=None)


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text, "D")
    except ValueError:
        return False
    return True


def bound(at: pd.Timestamp, key: str) -> int:
    """A moment in whole Unix milliseconds, rounded up.

    Raises
    ------
    ValueError
        It has no time zone.
    """
    if at.tz is None:
        raise ValueError(f"{key} must have a time zone, got {at}")
    return -(-int(at.value) // 10**6)


def bound_or_none(at: pd.Timestamp | None, key: str) -> int | None:
    """The same, where there may be no bound."""
    return None if at is None else bound(at, key)
