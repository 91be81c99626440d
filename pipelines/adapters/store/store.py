"""The Parquet store: one folder a table, one file a day (samples) or a run (all else).

::

    ROOT/samples/date=2026-06-01/samples.parquet     merged: the latest write of a key wins
    ROOT/samples/_coverage/….json                    what was pulled, for the next pull
    ROOT/forecasts/20260601T000000Z.parquet          replaced when the run is repeated
    ROOT/store.json                                  the layout of all this

The root is a local folder or ``s3://BUCKET/PREFIX``. Every file is replaced as a whole, so that a
reader sees the old one or the new one; whoever merges into a day reads and replaces it as if alone,
so that two writers at once lose nothing; a writer that is killed leaves at worst a hidden file that
nobody reads. Labels are data; only dates and checked part names become paths.

A day of samples is one file by construction. Parts of runs are not joined: their clocks are in
their names, a run reads those up to its own clock and replaces those at its own clock, and plain
files offer no moment in which many of them become one for every reader. Retention bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import SAMPLES, Contract, FrameError
from features.panel import Panel
from pipelines.adapters.objects.protocol import Objects, open_objects, steady
from pipelines.adapters.store.census import census_of
from pipelines.adapters.store.clean import CleanReport, clean
from pipelines.adapters.store.coverage import Coverage, CoverageKey, normal
from pipelines.adapters.store.coverage_files import add_coverage, forget_coverage, read_coverage
from pipelines.adapters.store.days import (
    Day,
    bound,
    bound_or_none,
    days_of,
    each,
    newest_ms,
    one_line,
    opened_days,
    read_window,
)
from pipelines.adapters.store.layout import bytes_of, check_layout, mark_layout
from pipelines.adapters.store.merge import WriteReport, merge_spools, merge_table
from pipelines.adapters.store.parts import (
    conformed,
    document_file,
    joined,
    load_part,
    nothing_there,
    part_file,
    part_names,
    save_part,
)
from pipelines.adapters.store.samples_panel import panel_of
from pipelines.errors import StoreError

__all__ = ["Store", "WriteReport"]

T = TypeVar("T")


class Store:
    """Tables under one root: a local folder, ``file://`` or ``s3://BUCKET/PREFIX``.

    Every method raises ``StoreError`` where the root cannot be reached, read or written.
    """

    def __init__(self, root: str | Path, objects: Objects | None = None) -> None:
        """Open a store; nothing is made before the first write."""
        self._given = objects or open_objects(root)
        self.root = self._given.root

    @cached_property
    def _objects(self) -> Objects:
        """Looked at before the first use: a newer layout would be misread."""
        check_layout(self._given)
        return self._given

    def mark(self) -> None:
        """Write down which layout it has; whoever makes a store does."""
        mark_layout(self._objects)

    def write_samples(self, samples: pa.Table | pd.DataFrame) -> WriteReport:
        """Merge samples into their UTC days, sorted by metric, workload, ts.

        Writing the same samples again leaves every file as it was, byte for byte.

        Raises
        ------
        StoreError
            The table breaks the contract, or a file cannot be read or written.
        """
        return merge_table(self._objects, conformed(self.root, samples, SAMPLES))

    def merge(self, spools: Sequence[Path]) -> WriteReport:
        """Merge Arrow IPC files of samples, as ``write_samples`` would the rows of all of them.

        A metric of a day is in memory at a time.

        Raises
        ------
        StoreError
            A spool is damaged or breaks the contract, or a file cannot be read or written.
        """
        return merge_spools(self._objects, spools)

    def read_samples(
        self,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
        metrics: Iterable[str] | None = None,
    ) -> pa.Table:
        """Samples of ``[start, end)``, by day, in each day by metric, workload, ts.

        Only the days that the window touches are opened, and of them only what the metrics need.

        Raises
        ------
        StoreError
            There are no samples at all, or a file cannot be read.
        """
        lo, hi = bound_or_none(start, "start"), bound_or_none(end, "end")
        wanted = None if metrics is None else set(metrics)
        parts = read_window(self._objects, lo, hi, wanted)
        if not parts and not self.days():
            raise nothing_there(self.root, SAMPLES)
        return joined(parts, SAMPLES)

    def panel(
        self,
        metrics: Collection[str] | None,
        start: pd.Timestamp,
        end: pd.Timestamp,
        step: pd.Timedelta,
        mine: Callable[[list[str]], NDArray[np.bool_]] | None = None,
    ) -> Panel | None:
        """The samples of ``[start, end)`` on a grid, without a frame; see ``panel_of``."""
        lo, hi = bound_or_none(start, "start"), bound_or_none(end, "end")

        def read() -> Panel | None:
            with opened_days(self._objects, lo, hi) as days:
                return panel_of(days, metrics, start, end, step, mine=mine)

        return self._read(read)

    def census(
        self, start: pd.Timestamp, end: pd.Timestamp
    ) -> tuple[list[str], pd.Timedelta] | None:
        """Workloads of the days of ``[start, end)`` and the samples' step; see ``census_of``."""
        lo, hi = bound(start, "start"), bound(end, "end")

        def read() -> tuple[list[str], pd.Timedelta] | None:
            with opened_days(self._objects, lo, hi) as days:
                return census_of(days, lo, hi)

        return self._read(read)

    def days(self) -> list[Day]:
        """Date and size of each day there is, in order."""
        return days_of(self._objects)

    def newest(self, before: pd.Timestamp | None = None) -> pd.Timestamp | None:
        """The newest sample's stamp, of those before a moment; from a footer where that tells."""
        found = newest_ms(self._objects, bound_or_none(before, "before"))
        return None if found is None else pd.Timestamp(found, unit="ms", tz="UTC")

    def coverage(self, key: CoverageKey) -> Coverage:
        """What was pulled so far."""
        return read_coverage(self._objects, key)

    def cover(self, key: CoverageKey, more: Coverage) -> None:
        """Add to what was pulled; call it when the samples are in the store."""
        add_coverage(self._objects, key, replace(more, spans=normal(more.spans)))

    def forget_lost(self, days: Collection[str]) -> None:
        """Of days (ISO) that have no file any more, forget that they were pulled."""
        if lost := set(days).difference(day.date for day in self.days()):
            forget_coverage(self._objects, lost)

    def write(self, contract: Contract, table: pa.Table | pd.DataFrame, part: str) -> str:
        """Write one run's table as ``NAME/PART.parquet``, replacing what the same run wrote before.

        Returns the file's path or address.

        Raises
        ------
        StoreError
            The part is no plain file name, or the table breaks the contract.
        """
        if contract is SAMPLES:
            raise StoreError("samples are merged by day; use write_samples")
        file = part_file(contract, part)
        save_part(self._objects, file, conformed(self.root, table, contract))
        return self._objects.where(file)

    def read(
        self, contract: Contract, part: str | None = None, *, latest: bool = False,
        columns: Sequence[str] | None = None, workload: str | None = None,
    ) -> pa.Table:  # fmt: skip
        """One part, the last part, or all parts in order; of them some columns, or all.

        With ``workload`` only its rows, without taking those of others into memory.

        Raises
        ------
        StoreError
            There is none, or a file is damaged or of another version.
        """
        if contract is SAMPLES:
            return self.read_samples()
        there = self.parts(contract)
        chosen = there[-1:] if latest else there
        if part is not None:
            chosen = [p for p in there if p == part]
        objects, files = self._objects, [part_file(contract, p) for p in chosen]
        load = partial(load_part, objects, contract=contract, columns=columns, workload=workload)
        tables = each(objects, load, files)
        found = [table for table in tables if table is not None]
        if not found:
            raise nothing_there(self.root, contract, part)
        return found[0] if len(found) == 1 else joined(found, contract)

    def adopt(self, contract: Contract, aside: Store, *, replacing: Iterable[str]) -> list[str]:
        """Move all parts of a table here from a local store; gives their paths or addresses.

        The parts named in ``replacing`` that are not written anew go away.

        Raises
        ------
        StoreError
            A file cannot be moved or deleted.
        """
        parts = aside.parts(contract)
        files = [part_file(contract, part) for part in parts]
        for file in files:
            self._objects.put(file, Path(aside._objects.where(file)))
        for part in set(replacing) - set(parts):
            self._objects.delete(part_file(contract, part))
        for file in files:
            aside._objects.delete(file)
        return [self._objects.where(file) for file in files]

    def parts(self, contract: Contract) -> list[str]:
        """Names of the parts that were written, sorted: run stamps sort by time."""
        return part_names(self._objects, contract)

    def put_file(self, name: str, data: bytes) -> str:
        """Replace a small document beside the tables, such as ``report.html``; gives its path.

        Raises
        ------
        StoreError
            The name is no plain relative path, or lies in a table.
        """
        self._objects.put(document_file(name), data)
        return self._objects.where(name)

    def get_file(self, name: str) -> bytes | None:
        """A document's bytes; nothing where there is none."""
        return bytes_of(self._objects, document_file(name))

    def files(self, folder: str) -> list[str]:
        """Names of the documents below a folder, sorted."""
        return [stat.name for stat in self._objects.list(f"{folder.rstrip('/')}/")]

    def delete_file(self, name: str) -> None:
        """Remove a document; nothing happens where there is none."""
        self._objects.delete(document_file(name))

    def clean(
        self, as_of: pd.Timestamp, keep_days: float, tables: Iterable[Contract]
    ) -> CleanReport:
        """Retention: remove what is older than ``as_of - keep_days``, and nothing else.

        Of samples whole UTC days, of other tables the parts of runs whose clock is older (the
        ledger's days become one part each); and what writers killed a day ago have left behind.

        Raises
        ------
        ValueError
            ``keep_days`` is under 1, or ``as_of`` has no time zone.
        """
        if not keep_days >= 1:
            raise ValueError(f"keep_days must be at least 1, got {keep_days}")
        return clean(self._objects, bound(as_of, "as_of"), keep_days, tables)

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return steady(read)
        except (pa.ArrowException, OSError, FrameError) as error:
            raise StoreError(f"{self.root}: samples cannot be read: {one_line(error)}") from error
