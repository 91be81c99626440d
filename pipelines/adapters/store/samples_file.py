"""How a day of samples lies in Parquet: the writer's options, and what the footer tells a reader.

Rows are sorted by metric, cluster, namespace, kind, name, ts. A row group holds whole series of one
metric. The footer's ``foretide.grid`` says of each row group which metric and how many series it
holds, a digest of their labels, and the grid that its stamps lie on. Keys are unique, so a row
group with ``series × n_steps`` rows has every one of them, and its value column is a matrix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.frames import SAMPLES

__all__ = [
    "DAY_SCHEMA",
    "GROUP_ROWS",
    "LABELS",
    "OPTIONS",
    "DayWriter",
    "Group",
    "groups_of",
    "series_digest",
]

LABELS = ("cluster", "namespace", "kind", "name")
"""The columns that tell the series of one metric apart, in the order of sorting."""
GROUP_ROWS = 1_000_000
"""Rows a row group has at most, unless a single series has more: then just that series is cut."""
OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["metric", *LABELS],
    "column_encoding": {"value": "PLAIN", "ts": "DELTA_BINARY_PACKED"},
    # never falls back to plain text, so that what is read back is what was written
    "dictionary_pagesize_limit": 1 << 30,
    # those of the other labels would take half of the time of writing and rule out next to nothing
    "write_statistics": ["metric", "ts"],
}
DAY_SCHEMA = pa.schema(
    [f.with_nullable(False) for f in SAMPLES.schema],  # without nulls it reads faster
    metadata=SAMPLES.metadata(),
)
_SORTED = pq.SortingColumn.from_ordering(
    DAY_SCHEMA, [(c, "ascending") for c in ("metric", *LABELS, "ts")]
)
_KEY = b"foretide.grid"
_LAYOUT = 1


class Group(msgspec.Struct, frozen=True):
    """One row group.

    Attributes
    ----------
    metric, rows : the one metric of its series, and its rows
    series : how many whole series it holds; 0 where it is a piece of one
    digest : of the series' labels in order: equal digests, equal series
    first_ms, step_ms, n_steps
        All stamps are ``first_ms + k · step_ms``, k < n_steps; the step is 0 if there is one stamp.
    """

    metric: str
    rows: int
    series: int
    digest: str
    first_ms: int
    step_ms: int
    n_steps: int

    @property
    def dense(self) -> bool:
        """Whether every series has a sample at every step."""
        return self.rows == self.series * self.n_steps

    @property
    def last_ms(self) -> int:
        """The last stamp there is."""
        return self.first_ms + (self.n_steps - 1) * self.step_ms


class _Footer(msgspec.Struct, frozen=True):
    layout: int
    group_rows: int
    groups: list[Group]


def groups_of(file: pq.ParquetFile) -> list[Group] | None:
    """What the footer says of each row group; None for a file that was not written here.

    Who rewrites a file with pyarrow takes the key along unknowingly, so the rows must agree and the
    row groups must still be declared as sorted.
    """
    meta = file.metadata
    text = (meta.metadata or {}).get(_KEY)
    if text is None:
        return None
    try:
        footer = msgspec.json.decode(text, type=_Footer)
    except msgspec.MsgspecError:
        return None
    if (footer.layout, footer.group_rows) != (_LAYOUT, GROUP_ROWS):
        return None
    if meta.num_row_groups != len(footer.groups) or file.schema_arrow.names != DAY_SCHEMA.names:
        return None
    for i, group in enumerate(footer.groups):
        row_group = meta.row_group(i)
        if row_group.num_rows != group.rows or tuple(row_group.sorting_columns) != tuple(_SORTED):
            return None
    return footer.groups


def series_digest(codes: Sequence[NDArray[np.int32]], texts: Sequence[pa.Array]) -> str:
    """Digest of series in order: codes (n_series,) into sorted texts without leftovers, a label."""
    digest = hashlib.blake2b(digest_size=16)
    for code, text in zip(codes, texts, strict=True):
        encoded = [str(one).encode() for one in text.to_pylist()]
        digest.update(np.array([len(code), *map(len, encoded)], np.int64).tobytes())
        digest.update(b"".join(encoded))
        digest.update(code.astype(np.int32).tobytes())
    return digest.hexdigest()


class DayWriter:
    """Writes a day's row groups in order; a context manager, whose end writes the footer."""

    def __init__(self, out: BinaryIO | pa.NativeFile) -> None:
        """Begin a file; ``out`` stays open."""
        self._groups: list[Group] = []
        self._writer = pq.ParquetWriter(out, DAY_SCHEMA, sorting_columns=_SORTED, **OPTIONS)

    def write(self, table: pa.Table, group: Group) -> None:
        """One row group of rows in order, of ``DAY_SCHEMA``."""
        self._writer.write_table(table, row_group_size=len(table))
        self._groups.append(group)

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file, if all went well; half a day is for whoever opened ``out`` to remove."""
        if kind is None:
            footer = _Footer(_LAYOUT, GROUP_ROWS, self._groups)
            self._writer.add_key_value_metadata({_KEY: msgspec.json.encode(footer)})
            self._writer.close()
        self._writer.is_open = False  # else it would be closed, loudly, when it is collected
