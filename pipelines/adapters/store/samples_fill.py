"""Days of samples are put into the matrix of a panel: dense row groups as blocks, others cell by
cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.panel import Floats
from pipelines.adapters.store.samples_file import LABELS, Group

__all__ = [
    "DAY_MS",
    "NEVER",
    "Day",
    "Grid",
    "Tally",
    "blank_between",
    "changes",
    "fill",
    "labels_of",
]

DAY_MS = 86_400_000
NEVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of ``step_ms`` from ``first_ms`` on; samples of ``[start_ms, end_ms)`` are on it."""

    start_ms: int
    end_ms: int
    step_ms: int
    first_ms: int

    @property
    def n_steps(self) -> int:
        """Steps on the grid."""
        return -((self.first_ms - self.end_ms) // self.step_ms)

    def steps(self, group: Group) -> slice:
        """Which steps of a group's own grid are in the window."""
        if group.step_ms == 0:
            return slice(0, int(self.start_ms <= group.first_ms < self.end_ms))
        lo = -((group.first_ms - self.start_ms) // group.step_ms)
        hi = -((group.first_ms - self.end_ms) // group.step_ms)
        lo, hi = (min(max(k, 0), group.n_steps) for k in (lo, hi))
        return slice(lo, max(lo, hi))


@dataclass(frozen=True, slots=True)
class Day:
    """One day's row groups that are wanted: their position in the file, and the rows of the panel.

    ``places``: for each group (n_series,), where its series lie in the panel, -1 for others'.
    """

    edge_ms: int
    file: pq.ParquetFile
    groups: list[tuple[int, Group]]
    places: list[NDArray[np.int64]]


@dataclass(slots=True)
class Tally:
    """What was seen on the way: our rows, how many have a number, when those lie that have none
    (stamps and how many at each), and the first stamp with a number, whosever it is."""

    samples: int = 0
    filled: int = 0
    first_ms: int = NEVER
    odd: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(
        default_factory=list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    )

    def not_finite(self, since_ms: int) -> int:
        """Our rows without a number from a moment on."""
        return sum(int(many[at >= since_ms].sum()) for at, many in self.odd)


def _columns(day: Day, grid: Grid) -> slice:
    """The panel's columns that a day's samples fall into."""
    lo = (day.edge_ms - grid.first_ms) // grid.step_ms
    hi = lo + DAY_MS // grid.step_ms
    return slice(max(lo, 0), min(hi, grid.n_steps))


def blank_between(values: Floats, wanted: list[Day], grid: Grid) -> None:
    """NaN where there is no day; the days themselves are filled by who reads them."""
    begin = 0
    for columns in (_columns(day, grid) for day in wanted):
        values[:, begin : columns.start] = np.nan
        begin = columns.stop
    values[:, begin:] = np.nan


def fill(day: Day, grid: Grid, values: Floats, alive: NDArray[np.bool_]) -> Tally:
    """Read one day into its columns."""
    tally = Tally()
    columns = _columns(day, grid)
    cells = sum(
        int((places >= 0).sum()) * (grid.steps(group).stop - grid.steps(group).start)
        for (_, group), places in zip(day.groups, day.places, strict=True)
        if group.dense and group.step_ms == grid.step_ms
    )
    if cells < len(values) * (columns.stop - columns.start):
        values[:, columns] = np.nan
    for (i, group), places in zip(day.groups, day.places, strict=True):
        put = _put_matrix if group.dense else _put_rows
        put(day.file, i, group, places, grid, values, alive, tally)
    return tally


def _put_matrix(
    file: pq.ParquetFile, i: int, group: Group, places: NDArray[np.int64], grid: Grid,
    values: Floats, alive: NDArray[np.bool_], tally: Tally,
) -> None:  # fmt: skip
    """A row group where every series has every step: its value column is a matrix."""
    steps = grid.steps(group)
    block = _values(file, i).reshape(group.series, group.n_steps)[:, steps]
    finite = np.isfinite(block)
    whole = bool(finite.all())
    begin_ms = group.first_ms + steps.start * group.step_ms
    if whole:
        tally.first_ms = min(tally.first_ms, begin_ms)
    elif finite.any():
        first = int(np.argmax(finite.any(axis=0)))
        tally.first_ms = min(tally.first_ms, begin_ms + first * group.step_ms)
    if (places < 0).any():
        ours = places >= 0
        block, finite, places = block[ours], finite[ours], places[ours]
    if not whole:
        block = np.where(finite, block, np.nan)
        stamps = begin_ms + np.arange(block.shape[1]) * group.step_ms
        tally.odd.append((stamps, (~finite).sum(axis=0)))
    good = block.size if whole else int(finite.sum())
    tally.samples += block.size
    tally.filled += good
    alive[places[finite.any(axis=1)] if not whole else places] = True
    stride = max(group.step_ms // grid.step_ms, 1)
    at = (begin_ms - grid.first_ms) // grid.step_ms
    columns = slice(at, at + (block.shape[1] - 1) * stride + 1, stride)
    values[_as_slice(places), columns] = block


def _put_rows(
    file: pq.ParquetFile, i: int, group: Group, places: NDArray[np.int64], grid: Grid,
    values: Floats, alive: NDArray[np.bool_], tally: Tally,
) -> None:  # fmt: skip
    """A row group with gaps: each sample to its cell."""
    ts_ms, value = _stamps(file, i), _values(file, i)
    change = ts_ms[1:] <= ts_ms[:-1]
    if int(change.sum()) + 1 != group.series:  # a series began later in the day than one ended
        change = changes([label.indices.to_numpy() for label in labels_of(file, i)])
    row = places[np.cumsum(np.r_[0, change])]
    inside = (ts_ms >= grid.start_ms) & (ts_ms < grid.end_ms)
    good = inside & np.isfinite(value)
    if good.any():
        tally.first_ms = min(tally.first_ms, int(ts_ms[good].min()))
    inside &= row >= 0
    good &= inside
    tally.samples += int(inside.sum())
    tally.filled += int(good.sum())
    tally.odd.append(np.unique(ts_ms[inside & ~good], return_counts=True))
    row, ts_ms, value = row[good], ts_ms[good], value[good]
    alive[row] = True
    values[row, (ts_ms - grid.first_ms) // grid.step_ms] = value


def labels_of(file: pq.ParquetFile, i: int) -> list[pa.DictionaryArray]:
    """The label columns of a row group."""
    table = file.read_row_group(i, columns=list(LABELS)).combine_chunks()
    return [table.column(label).chunk(0) for label in LABELS]


def changes(codes: Sequence[NDArray[np.int32]]) -> NDArray[np.bool_]:
    """Where a row is of another series than the one before, (n_rows - 1,)."""
    change = np.zeros(len(codes[0]) - 1, dtype=bool)
    for code in codes:
        change |= code[1:] != code[:-1]
    return change


def _stamps(file: pq.ParquetFile, i: int) -> NDArray[np.int64]:
    return file.read_row_group(i, columns=["ts"]).column("ts").cast(pa.int64()).to_numpy()


def _values(file: pq.ParquetFile, i: int) -> Floats:
    return file.read_row_group(i, columns=["value"]).column("value").to_numpy()


def _as_slice(places: NDArray[np.int64]) -> NDArray[np.int64] | slice:
    """Evenly spaced rows as a slice, which numpy fills faster."""
    if len(places) < 2:
        return places
    gap = int(places[1] - places[0])
    if gap > 0 and (np.diff(places) == gap).all():
        return slice(int(places[0]), int(places[-1]) + 1, gap)
    return places
