"""Merging samples into their days, from memory or from spool files."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import SAMPLES, FrameError, conform
from pipelines.adapters.objects.protocol import Objects
from pipelines.adapters.store.days import DAY_MS, MEND_DAY, Day, one_line
from pipelines.adapters.store.samples import MergeCounts, merge_day, split_days
from pipelines.errors import StoreError

__all__ = ["WriteReport", "merge_spools", "merge_table"]


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of the rows given: ``rows = duplicates + replaced + added``."""

    rows: int = 0
    duplicates: int = 0
    """Rows that a later row of the same write overrode."""
    replaced: int = 0
    added: int = 0
    files: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    """Dates of the files, for ``Store.cover``."""

    def with_day(self, counts: MergeCounts, date: str, file: str) -> WriteReport:
        """This and one more day."""
        return WriteReport(
            self.rows + counts.rows,
            self.duplicates + counts.duplicates,
            self.replaced + counts.replaced,
            self.added + counts.added,
            (*self.files, file),
            (*self.days, date),
        )


def merge_table(objects: Objects, samples: pa.Table) -> WriteReport:
    """Merge conformed samples, day by day."""
    days = split_days(samples)
    return _merged(objects, ((Day.of(start_ms), [rows]) for start_ms, rows in days))


def merge_spools(objects: Objects, spools: Sequence[Path]) -> WriteReport:
    """Merge Arrow IPC files; one that holds several days is cut into files beside it first.

    Raises
    ------
    StoreError
        A spool is damaged or breaks the contract, or a file cannot be read or written.
    """
    if not spools:
        return WriteReport()
    try:
        with tempfile.TemporaryDirectory(dir=spools[0].parent) as folder:
            return _merged(objects, _spooled_days(spools, Path(folder)))
    except (pa.ArrowException, OSError, FrameError) as error:
        raise StoreError(f"what was pulled cannot be merged: {one_line(error)}") from error


def _merged(objects: Objects, days: Iterable[tuple[Day, Sequence[pa.Table | Path]]]) -> WriteReport:
    report = WriteReport()
    for day, fresh in days:
        counts = _merge_into(objects, day, fresh)
        report = report.with_day(counts, day.date, objects.where(day.name))
    return report


def _merge_into(objects: Objects, day: Day, fresh: Sequence[pa.Table | Path]) -> MergeCounts:
    """Merge rows of one day into its file, or make it."""

    def change(old: pa.NativeFile | None, out: BinaryIO) -> MergeCounts:
        try:
            return merge_day(None if old is None else pq.ParquetFile(old), fresh, out)
        except (pa.ArrowException, FrameError) as error:
            raise _damaged(objects, day.name, error) from error
        except OSError as error:
            if error.errno is not None:  # the disk's, not the file's
                raise
            raise _damaged(objects, day.name, error) from error

    return objects.update(day.name, change)


def _damaged(objects: Objects, name: str, error: Exception) -> StoreError:
    where = objects.where(name)
    return StoreError(f"{where} cannot be merged into: {one_line(error)}; {MEND_DAY}")


def _spooled_days(spools: Sequence[Path], folder: Path) -> list[tuple[Day, list[Path]]]:
    """The spool files of each day; one that holds several days is cut into files in ``folder``.

    A batch is in memory at a time.

    Raises
    ------
    FrameError, pyarrow.ArrowException, OSError
        A spool is no Arrow IPC file of samples.
    """
    found: dict[int, list[Path]] = {}
    for number, spool in enumerate(spools):
        with pa.memory_map(str(spool)) as source:
            day = _only_day(source)
            paths = _cut(source, folder, number) if day is None else {day: spool}
        for one, path in paths.items():
            found.setdefault(one, []).append(path)
    return [(Day.of(day * DAY_MS), paths) for day, paths in sorted(found.items())]


def _only_day(source: pa.NativeFile) -> int | None:
    """The one day of a spool that can be merged as it is."""
    days: set[int] = set()
    for batch in _batches(source):
        stamps = batch.column("ts") if batch.schema.equals(SAMPLES.schema) else None
        if stamps is None or stamps.null_count:
            return None
        if len(stamps):
            ts_ms = stamps.cast(pa.int64()).to_numpy()
            days.update((int(ts_ms.min()) // DAY_MS, int(ts_ms.max()) // DAY_MS))
        if len(days) > 1:
            return None
    return next(iter(days), None)


def _batches(source: pa.NativeFile) -> Generator[pa.RecordBatch]:
    source.seek(0)
    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    if is_file:
        reader = pa.ipc.open_file(source)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        yield from pa.ipc.open_stream(source)


def _cut(source: pa.NativeFile, folder: Path, number: int) -> dict[int, Path]:
    paths: dict[int, Path] = {}
    with ExitStack() as stack:
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        for batch in _batches(source):
            rows = conform(pa.Table.from_batches([batch]), SAMPLES)
            for start_ms, part in split_days(rows.replace_schema_metadata(None)):
                day = start_ms // DAY_MS
                if day not in writers:
                    paths[day] = folder / f"{number:06d}-{day}.arrows"
                    writers[day] = stack.enter_context(
                        pa.ipc.new_stream(str(paths[day]), SAMPLES.schema)
                    )
                writers[day].write_table(part)
    return paths
