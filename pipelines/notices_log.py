"""NOTICES in the store: one file that runs take turns at, so that each message is claimed once.

A message is ``intended`` before it is sent, and after that ``sent``, ``failed`` (tried again by a
later run) or ``refused`` (never again). A run that dies in between leaves it intended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, BinaryIO, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.frames import NOTICES, FrameError, conform, require
from pipelines.adapters.notify import Message
from pipelines.adapters.objects import open_objects
from pipelines.adapters.store.parts import part_bytes, part_file
from pipelines.errors import StoreError
from pipelines.notices import Decision
from pipelines.notices_terms import Past
from pipelines.run import Run

__all__ = ["NoticeLog"]

_PART = "told"
_KEPT = pd.Timedelta(60, "D")
"""What was told longer ago, and is still going on, is told again."""
_STAMPS = ("told_at", "started_at", "as_of")


class NoticeLog:
    """What was told, of one store."""

    def __init__(self, run: Run) -> None:
        """Nothing is read yet."""
        self._objects = open_objects(run.ref.out)
        self._file = part_file(NOTICES, _PART)
        self._run_id = run.run_id
        self.where = self._objects.where(self._file)

    def read(self) -> list[Past]:
        """All rows.

        Raises
        ------
        StoreError
            The file is damaged.
        """
        with self._objects.open(self._file) as file:
            return _pasts(self._table(file))

    def claim(self, decide: Callable[[Sequence[Past]], Decision], now: pd.Timestamp) -> Decision:
        """Decide by what was told until now, and write down what is intended, as one step.

        ``decide`` may be called again where another run was faster.

        Raises
        ------
        StoreError
            The file cannot be read or written: then nothing may be sent.
        """

        def change(old: pa.NativeFile | None, out: BinaryIO) -> Decision:
            table = self._table(old)
            decision = decide(_pasts(table))
            if decision.rows:
                out.write(part_bytes(self._with(table, decision.rows, now)))
            return decision

        return self._objects.update(self._file, change)

    def settle(self, message: Message, status: str, detail: str = "") -> None:
        """Say what became of a message of this run.

        Raises
        ------
        StoreError
            The file cannot be read or written: the message stays intended.
        """

        def change(old: pa.NativeFile | None, out: BinaryIO) -> None:
            table = self._table(old)
            mine = [
                p.message_id == message.message_id and p.told_at == message.sent_at
                for p in _pasts(table)
            ]
            for name, value in (("status", status), ("detail", detail)):
                at = table.schema.get_field_index(name)
                before = table.column(at).to_pylist()
                now = [value if m else b for m, b in zip(mine, before, strict=True)]
                table = table.set_column(at, name, pa.array(now, pa.string()))
            out.write(part_bytes(conform(table, NOTICES)))

        self._objects.update(self._file, change)

    def _table(self, file: pa.NativeFile | None) -> pa.Table:
        if file is None:
            return NOTICES.schema.empty_table()
        try:
            return require(pq.ParquetFile(file).read(), NOTICES)
        except (pa.ArrowException, FrameError) as error:
            text = " ".join(str(error).split())
            raise StoreError(f"{self.where} cannot be read: {text}; move the file away") from error

    def _with(self, old: pa.Table, rows: Sequence[Past], now: pd.Timestamp) -> pa.Table:
        """The table with more rows, without those that are too old to matter."""
        frame = pd.DataFrame([asdict(r) for r in rows])
        for stamp in _STAMPS:
            frame[stamp] = pd.to_datetime(frame[stamp], utc=True)
        added = conform(frame.assign(run_id=self._run_id), NOTICES)
        recent = old.filter(pc.field("told_at") >= (now - _KEPT).as_unit("ms"))
        return pa.concat_tables([recent, added]).unify_dictionaries()


def _pasts(table: pa.Table) -> list[Past]:
    rows = cast("list[dict[str, Any]]", table.drop_columns(["run_id"]).to_pylist())
    found: list[Past] = []
    for row in rows:
        row.update({stamp: _utc(row[stamp]) for stamp in _STAMPS})
        row["workloads"] = tuple(row["workloads"])
        row["under_h"] = math.nan if row["under_h"] is None else row["under_h"]
        found.append(Past(**row))
    return found


def _utc(value: Any) -> pd.Timestamp:
    return pd.Timestamp(value).tz_convert("UTC").as_unit("ms")
