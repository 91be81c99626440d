"""Where pulled samples wait for their commit: one Arrow stream a pull and UTC day.

What a pull has done is written beside its samples, also when it breaks: what came before is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import pyarrow as pa

from features.frames import SAMPLES
from pipelines.adapters.source import Chunk, FetchReport

__all__ = ["BUDGET_SPENT", "Pulled", "Spool", "pulled", "spools"]

BUDGET_SPENT = "budget spent"

_DAY_MS = 86_400_000


class Pulled(msgspec.Struct, frozen=True):
    """What one pull has done so far.

    ``covered`` are the spans ``[start_ms, end_ms)`` that the source answered in full, ``ended``
    says why the pull stopped before its end, if it did.
    """

    metric: str
    shard: str
    start_ms: int
    end_ms: int
    report: FetchReport
    covered: tuple[tuple[int, int], ...] = ()
    days: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Of the samples: several where the source was asked for everything it has."""
    end_of_samples_ms: int = 0
    """Where the step of the youngest sample ends."""
    ended: str = ""


@dataclass(slots=True)
class Spool:
    """Writes one pull's chunks; a context manager that leaves whole files behind."""

    folder: Path
    metric: str
    shard: str
    start_ms: int
    end_ms: int
    report: FetchReport = field(default_factory=FetchReport)
    ended: str = ""
    _end_ms: int = 0
    _covered: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _metrics: set[str] = field(default_factory=set[str])
    _writers: dict[str, pa.RecordBatchStreamWriter] = field(
        default_factory=dict[str, pa.RecordBatchStreamWriter]
    )

    def add(self, chunk: Chunk) -> None:
        """Append a chunk's samples to their days."""
        self.report += chunk.report
        if chunk.complete:
            self._covered.append((chunk.window.first_ms, chunk.window.end_ms))
        self._metrics.update(chunk.samples.column("metric").unique().to_pylist())
        ts_ms = chunk.samples.column("ts").cast(pa.int64()).to_numpy()
        if len(ts_ms):
            self._end_ms = max(self._end_ms, int(ts_ms.max()) + chunk.window.step_ms)
        if not len(ts_ms):
            return
        day = ts_ms // _DAY_MS
        first = int(day.min())
        days = (first + np.flatnonzero(np.bincount(day - first))).tolist()
        for one in days:
            rows = chunk.samples
            if len(days) > 1:
                rows = rows.take(pa.array(np.flatnonzero(day == one)))
            self._writer(str(np.datetime64(one, "D"))).write_table(rows)

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files and say what was done."""
        for writer in self._writers.values():
            writer.close()
        done = Pulled(
            self.metric, self.shard, self.start_ms, self.end_ms, self.report,
            tuple(self._covered), tuple(sorted(self._writers)), tuple(sorted(self._metrics)),
            self._end_ms, self.ended or (f"{kind.__name__}: {error}" if kind else ""),
        )  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{self._name}.json").write_bytes(msgspec.json.encode(done))

    def _writer(self, day: str) -> pa.RecordBatchStreamWriter:
        if day not in self._writers:
            place = self.folder / day
            place.mkdir(parents=True, exist_ok=True)
            self._writers[day] = pa.ipc.new_stream(place / f"{self._name}.arrows", SAMPLES.schema)
        return self._writers[day]

    @property
    def _name(self) -> str:
        """Of the files: shards and metrics are data and no file names."""
        text = f"{self.metric}\0{self.shard}\0{self.start_ms}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def pulled(folder: Path) -> list[Pulled]:
    """What the pulls of one slice have done, in order."""
    texts = (path.read_bytes() for path in folder.glob("*.json"))
    done = [msgspec.json.decode(text, type=Pulled) for text in texts]
    return sorted(done, key=lambda p: (p.metric, p.shard, p.start_ms))


def spools(folder: Path) -> dict[str, Sequence[Path]]:
    """Day → its files."""
    days = sorted(path for path in folder.glob("????-??-??") if path.is_dir())
    return {day.name: sorted(day.glob("*.arrows")) for day in days}
