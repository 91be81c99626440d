"""Series in order become row groups: whole series, and what is known of their grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import SAMPLES
from pipelines.adapters.store.samples_file import (
    DAY_SCHEMA,
    GROUP_ROWS,
    LABELS,
    DayWriter,
    Group,
    series_digest,
)
from pipelines.adapters.store.samples_sort import Codes, Series

__all__ = ["cuts", "write_series"]


def write_series(writer: DayWriter, metric: str, series: Series) -> None:
    """Write one metric's series; where they are cut depends on their lengths alone."""
    ends = np.cumsum(series.lengths)
    for first, end in cuts(series.lengths, GROUP_ROWS):
        lo, hi = int(ends[first] - series.lengths[first]), int(ends[end - 1])
        labels = [
            _compact(c[first:end], t) for c, t in zip(series.codes, series.texts, strict=True)
        ]
        digest = series_digest([c for c, _ in labels], [t for _, t in labels])
        lengths = series.lengths[first:end]
        if hi - lo <= GROUP_ROWS:
            pieces = [(lo, hi)]
        else:
            pieces = [(at, min(at + GROUP_ROWS, hi)) for at in range(lo, hi, GROUP_ROWS)]
        for begin, stop in pieces:
            ts_ms = series.ts_ms[begin:stop]
            whole = len(pieces) == 1
            rows = [
                pa.DictionaryArray.from_arrays(np.repeat(c, lengths if whole else stop - begin), t)
                for c, t in labels
            ]
            table = _table(metric, rows, ts_ms, series.value[begin:stop])
            n_series = end - first if whole else 0
            writer.write(
                table, Group(metric, stop - begin, n_series, digest, *_grid(ts_ms, n_series))
            )


def cuts(lengths: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Series ``[first, end)`` of each row group: as many as fit, at least one."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(ends[first] - lengths[first])
        end = max(int(np.searchsorted(ends, before + most, side="right")), first + 1)
        yield first, end
        first = end


def _compact(codes: Codes, texts: pa.Array) -> tuple[Codes, pa.Array]:
    """Codes into the texts that these series have."""
    used, compact = np.unique(codes, return_inverse=True)
    return compact.astype(np.int32), texts.take(pa.array(used))


def _grid(ts_ms: NDArray[np.int64], n_series: int) -> tuple[int, int, int]:
    """The coarsest grid that all stamps lie on: first_ms, step_ms, n_steps."""
    if n_series > 1 and len(ts_ms) % n_series == 0:
        matrix = ts_ms.reshape(n_series, -1)
        if (matrix == matrix[0]).all():  # the usual case, and one series says it all
            ts_ms = matrix[0]
    first, last = int(ts_ms.min()), int(ts_ms.max())
    if first == last:
        return first, 0, 1
    gap = np.diff(ts_ms)
    forward = gap[gap > 0]
    step = int(forward.min()) if len(forward) else last - first
    if ((ts_ms - first) % step).any():
        step = int(np.gcd.reduce(ts_ms - first))
    return first, step, (last - first) // step + 1


def _table(
    metric: str, labels: list[pa.Array], ts_ms: NDArray[np.int64], value: NDArray[np.float64]
) -> pa.Table:
    columns = dict(zip(LABELS, labels, strict=True)) | {
        "metric": pa.DictionaryArray.from_arrays(np.zeros(len(ts_ms), np.int32), [metric]),
        "ts": pa.array(ts_ms).cast(SAMPLES.schema.field("ts").type),
        "value": pa.array(value),
    }
    return pa.Table.from_arrays([columns[c] for c in DAY_SCHEMA.names], schema=DAY_SCHEMA)
