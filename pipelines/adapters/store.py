"""The Parquet store: one directory a table, one file a day (samples) or a run (all else).

::

    ROOT/samples/date=2026-06-01/samples.parquet     merged: the latest write of a key wins
    ROOT/forecasts/20260601T000000Z.parquet          replaced when the run is repeated

Every file is written aside and renamed, so that a reader sees the old table or the new one and a
crash leaves at worst a hidden ``.tmp`` file that nobody reads. One writer at a time: two that merge
the same day would each miss the other's rows. Labels are data; only dates and checked part names
become paths.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from features.frames import SAMPLES, Contract, FrameError, conform, require
from pipelines.adapters.store_samples import canonical, inside, millis
from pipelines.errors import StoreError

__all__ = ["Store", "WriteReport"]

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
_DAY_MS = 86_400_000
_WRITTEN_BY = {
    "samples": "ingest",
    "scores": "score",
    "leaks": "score",
    "incidents": "score",
    "forecasts": "forecast",
    "capacity": "forecast",
    "ledger": "plan",
    "backtest": "train",
}


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of the rows given: ``rows = duplicates + replaced + added``."""

    rows: int = 0
    duplicates: int = 0
    """Rows that a later row of the same write overrode."""
    replaced: int = 0
    added: int = 0
    files: tuple[str, ...] = ()


class Store:
    """Tables under one root: a local path, or a URI that pyarrow.fs knows."""

    def __init__(self, root: str | Path) -> None:
        """Open a store; nothing is made before the first write."""
        self.root = str(root)
        try:
            if "://" in self.root:
                self._fs, self._base = pafs.FileSystem.from_uri(self.root)
            else:
                self._fs, self._base = pafs.LocalFileSystem(), str(Path(root).absolute())
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{self.root} is no store's address: {_one_line(error)}") from error

    def write_samples(self, samples: pa.Table | pd.DataFrame) -> WriteReport:
        """Merge samples into their UTC days, sorted by workload, metric, ts.

        Writing the same samples again leaves every file as it was, byte for byte.

        Raises
        ------
        StoreError
            The table breaks the contract, or a file cannot be read or written.
        """
        table = self._conformed(samples, SAMPLES)
        day = millis(table) // _DAY_MS
        report = WriteReport(rows=len(table))
        for one in np.unique(day):
            fresh, duplicates = canonical(table.take(np.flatnonzero(day == one)))
            path = f"{self._base}/samples/date={np.datetime64(int(one), 'D')}/samples.parquet"
            before = self._load(path, SAMPLES) if self._exists(path) else fresh.slice(0, 0)
            merged, replaced = canonical(pa.concat_tables([before, fresh]))
            self._save(merged, path)
            report = WriteReport(
                report.rows,
                report.duplicates + duplicates,
                report.replaced + replaced,
                report.added + len(fresh) - replaced,
                (*report.files, path),
            )
        return report

    def read_samples(
        self,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
        metrics: Iterable[str] | None = None,
    ) -> pa.Table:
        """Samples of ``[start, end)``, by day, in each day by workload, metric, ts.

        Only the days that the window touches are opened.

        Raises
        ------
        StoreError
            There are no samples at all, or a file cannot be read.
        """
        days = self._days()
        if not days:
            raise self._missing(SAMPLES)
        lo, hi = _bound(start, "start"), _bound(end, "end")
        wanted = None if metrics is None else list(metrics)
        parts = [
            inside(self._load(path, SAMPLES), lo, hi, wanted)
            for day_ms, path in days
            if (lo is None or day_ms + _DAY_MS > lo) and (hi is None or day_ms < hi)
        ]
        return self._joined(parts, SAMPLES)

    def write(self, contract: Contract, table: pa.Table | pd.DataFrame, part: str) -> str:
        """Write one run's table as ``NAME/PART.parquet``, replacing what the same run wrote before.

        Returns the file's path.

        Raises
        ------
        StoreError
            The part is no plain file name, or the table breaks the contract.
        """
        if contract is SAMPLES:
            raise StoreError("samples are merged by day; use write_samples")
        path = self._part_path(contract, part)
        self._save(self._conformed(table, contract), path)
        return path

    def read(
        self, contract: Contract, part: str | None = None, *, latest: bool = False
    ) -> pa.Table:
        """One part, the last part, or all parts in order.

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
        if not chosen:
            raise self._missing(contract, part)
        tables = [self._load(self._part_path(contract, p), contract) for p in chosen]
        return self._joined(tables, contract)

    def adopt(self, contract: Contract, aside: Store, *, replacing: Iterable[str]) -> list[str]:
        """Move all parts of a table here from a store on the same file system; gives their paths.

        The parts named in ``replacing`` that are not written anew go away.

        Raises
        ------
        StoreError
            A file cannot be moved or deleted.
        """
        parts = aside.parts(contract)
        try:
            self._fs.create_dir(f"{self._base}/{contract.name}", recursive=True)
            for part in parts:
                self._fs.move(aside._part_path(contract, part), self._part_path(contract, part))
            for part in set(replacing) - set(parts):
                self._fs.delete_file(self._part_path(contract, part))
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{self.root}: {contract.name} cannot be written: {_one_line(error)}"
            ) from error
        return [self._part_path(contract, part) for part in parts]

    def parts(self, contract: Contract) -> list[str]:
        """Names of the parts that were written, sorted: run stamps sort by time."""
        return sorted(
            info.base_name.removesuffix(".parquet")
            for info in self._list(f"{self._base}/{contract.name}")
            if info.type == pafs.FileType.File
            and info.base_name.endswith(".parquet")
            and _PART.fullmatch(info.base_name.removesuffix(".parquet"))
        )

    def _days(self) -> list[tuple[int, str]]:
        """Left edge (ms) and file of every day there is, in order."""
        days: list[tuple[int, str]] = []
        for info in self._list(f"{self._base}/samples"):
            match = _DAY.fullmatch(info.base_name)
            path = f"{info.path}/samples.parquet"
            if match and self._exists(path):
                days.append((int(np.datetime64(match[1], "ms").astype(np.int64)), path))
        return sorted(days)

    def _list(self, directory: str) -> list[pafs.FileInfo]:
        try:
            return self._fs.get_file_info(pafs.FileSelector(directory, allow_not_found=True))
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{directory} cannot be listed: {_one_line(error)}") from error

    def _exists(self, path: str) -> bool:
        return self._fs.get_file_info(path).type == pafs.FileType.File

    def _part_path(self, contract: Contract, part: str) -> str:
        if not _PART.fullmatch(part):
            raise StoreError(
                f"{contract.name}: {part!r} is no part name; expected letters, digits, '.', '_' "
                "and '-', beginning with a letter or digit, such as 20260601T000000Z"
            )
        return f"{self._base}/{contract.name}/{part}.parquet"

    def _conformed(self, table: pa.Table | pd.DataFrame, contract: Contract) -> pa.Table:
        try:
            return conform(table, contract)
        except FrameError as error:
            raise StoreError(f"refused to write to {self.root}: {error}") from error

    def _load(self, path: str, contract: Contract) -> pa.Table:
        try:
            with self._fs.open_input_file(path) as file:
                return require(pq.ParquetFile(file).read(), contract)
        except (pa.ArrowException, OSError, FrameError) as error:
            raise StoreError(f"{path} cannot be read: {_one_line(error)}") from error

    def _save(self, table: pa.Table, path: str) -> None:
        directory, _, name = path.rpartition("/")
        aside = f"{directory}/.{name}.{uuid.uuid4().hex}.tmp"
        try:
            self._fs.create_dir(directory, recursive=True)
            try:
                _write_parquet(table, aside, self._fs)
                self._fs.move(aside, path)
            except BaseException:
                if self._exists(aside):
                    self._fs.delete_file(aside)
                raise
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{path} cannot be written: {_one_line(error)}") from error

    def _missing(self, contract: Contract, part: str | None = None) -> StoreError:
        verb = _WRITTEN_BY.get(contract.name)
        what = contract.name + (f" of run {part}" if part else "")
        return StoreError(
            f"no {what} in {self.root}" + (f"; run `foretide {verb}` first" if verb else "")
        )

    def _joined(self, tables: Sequence[pa.Table], contract: Contract) -> pa.Table:
        if not tables:
            schema = contract.schema.with_metadata(contract.metadata())
            return schema.empty_table()
        return pa.concat_tables(tables, promote_options="default").unify_dictionaries()


def _write_parquet(table: pa.Table, path: str, fs: pafs.FileSystem) -> None:
    doubles = [f.name for f in table.schema if pa.types.is_floating(f.type)]
    stamps = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    labels = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    pq.write_table(
        table,
        path,
        filesystem=fs,
        compression="zstd",
        use_dictionary=labels,  # pyright: ignore[reportArgumentType] - a list is right
        column_encoding={
            **dict.fromkeys(doubles, "BYTE_STREAM_SPLIT"),
            **dict.fromkeys(stamps, "DELTA_BINARY_PACKED"),
        },
    )


def _bound(at: pd.Timestamp | None, key: str) -> int | None:
    if at is None:
        return None
    if at.tz is None:
        raise ValueError(f"{key} must have a time zone, got {at}")
    return -(-int(at.value) // 10**6)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
