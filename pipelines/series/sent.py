"""What was published last: to say how many series are new, and to end those that are no more.

A series that is no longer sent stands in a server for five minutes more, in which a consumer takes
it for what holds now; a stale marker ends it at once. So the names of the series that a server has
taken are kept in the store, one file a server.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.adapters.remote_write_wire import STALE, labels_of
from pipelines.run import Run
from pipelines.series.gauge import Gauge

__all__ = ["Known", "Outgoing", "keep_known", "outgoing", "read_known"]

_SCHEMA = pa.schema([("name", pa.string()), ("labels", pa.binary())])


@dataclass(frozen=True, slots=True)
class Known:
    """The series that a server has: their names and their encoded labels."""

    names: tuple[str, ...] = ()
    labels: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One send: series with their values, then those that end, with stale markers.

    Attributes
    ----------
    names, labels : of each, (n,)
    values : float64, (n,)
    ending : how many at the end are stale markers
    before : bool, (n,)
        What the server has had until now.
    new : name → series that the server does not have yet
    """

    names: tuple[str, ...]
    labels: tuple[bytes, ...]
    values: np.ndarray
    ending: int
    before: np.ndarray
    new: Counter[str]

    @property
    def series(self) -> int:
        """How many have a value."""
        return len(self.labels) - self.ending

    def now_known(self, taken: np.ndarray) -> Known:
        """What the server has afterwards. What was not taken stays as it was before: a series may
        still stand there, and a marker has to be sent again."""
        is_marker = np.arange(len(self.labels)) >= self.series
        stays = np.where(taken, ~is_marker, self.before)
        at = np.flatnonzero(stays).tolist()
        return Known(tuple(self.names[i] for i in at), tuple(self.labels[i] for i in at))


def outgoing(gauges: Sequence[Gauge], known: Known, longest: int) -> Outgoing:
    """The series of these families, and markers for those known ones that are not among them."""
    names: list[str] = []
    labels: list[bytes] = []
    for family in gauges:
        own = labels_of(family, longest)
        labels += own
        names += [family.name] * len(own)
    there, before = set(labels), set(known.labels)
    had = np.array([key in before for key in labels], dtype=bool)
    new = Counter(n for n, was in zip(names, had.tolist(), strict=True) if not was)
    ended = [(n, k) for n, k in zip(known.names, known.labels, strict=True) if k not in there]
    values = [np.asarray(g.values, dtype="<f8") for g in gauges]
    return Outgoing(
        (*names, *(n for n, _ in ended)),
        (*labels, *(k for _, k in ended)),
        np.concatenate([*values, np.repeat(STALE, len(ended))]),
        len(ended),
        np.r_[had, np.ones(len(ended), dtype=bool)],
        new,
    )


def read_known(run: Run, server: str) -> Known:
    """What a server was sent last; nothing where it was never sent anything.

    Raises
    ------
    StoreError
        The file cannot be read.
    """
    data = run.store.get_file(_file(server))
    if data is None:
        return Known()
    try:
        table = pq.read_table(io.BytesIO(data), schema=_SCHEMA)
    except (pa.ArrowException, OSError):  # it only makes markers: the next send writes it anew
        return Known()
    return Known(tuple(table["name"].to_pylist()), tuple(table["labels"].to_pylist()))


def keep_known(run: Run, server: str, known: Known) -> None:
    """Keep what a server has now."""
    table = pa.table({"name": list(known.names), "labels": list(known.labels)}, schema=_SCHEMA)
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", use_dictionary=True)
    run.store.put_file(_file(server), out.getvalue())


def _file(server: str) -> str:
    """By a hash: an address is no file name."""
    return f"published/remote-write-{hashlib.sha256(server.encode()).hexdigest()[:12]}.parquet"
