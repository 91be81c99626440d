"""Samples tables in one canonical order, so that merging is repeatable to the byte."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.frames import SAMPLES

__all__ = ["canonical", "inside", "millis"]

_LABELS = tuple(c for c in SAMPLES.key if c != "ts")


def canonical(samples: pa.Table) -> tuple[pa.Table, int]:
    """Sorted by the key, the last of equal keys kept, dictionaries sorted and without leftovers.

    The result depends on the rows alone, so that equal tables are equal files. Also says how many
    rows were dropped.
    """
    labels = {c: _ranked(samples.column(c)) for c in _LABELS}
    ts_ms = millis(samples)
    order = np.lexsort((ts_ms, *(codes for codes, _ in reversed(labels.values()))))
    last = np.zeros(len(order), dtype=bool)
    last[-1:] = True
    for column in (ts_ms, *(codes for codes, _ in labels.values())):
        in_order = column[order]
        last[:-1] |= in_order[1:] != in_order[:-1]
    keep = order[last]
    columns = [
        pa.DictionaryArray.from_arrays(labels[name][0][keep], labels[name][1])
        if name in labels
        else pc.take(samples.column(name), pa.array(keep)).combine_chunks()
        for name in SAMPLES.schema.names
    ]
    value = SAMPLES.schema.get_field_index("value")
    columns[value] = pc.fill_null(columns[value], np.nan)
    schema = SAMPLES.schema.with_metadata(SAMPLES.metadata())
    return pa.Table.from_arrays(columns, schema=schema), len(samples) - len(keep)


def _ranked(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """Codes (n,) into the sorted values that occur."""
    if not len(column):
        return np.zeros(0, np.int32), pa.array([], pa.string())
    whole = column.unify_dictionaries().combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    code = whole.indices.to_numpy()
    used = np.unique(code)
    texts = whole.dictionary.take(pa.array(used))
    by_text = np.argsort(texts.to_numpy(zero_copy_only=False))
    rank = np.empty(int(used[-1]) + 1, np.int32)
    rank[used[by_text]] = np.arange(len(used), dtype=np.int32)
    return rank[code], texts.take(pa.array(by_text))


def inside(
    samples: pa.Table, lo_ms: int | None, hi_ms: int | None, metrics: list[str] | None
) -> pa.Table:
    """The samples of ``[lo_ms, hi_ms)`` and of the given metrics, in their order."""
    ts_ms = millis(samples)
    keep = np.ones(len(samples), dtype=bool)
    if lo_ms is not None:
        keep &= ts_ms >= lo_ms
    if hi_ms is not None:
        keep &= ts_ms < hi_ms
    if metrics is not None:
        codes, names = _ranked(samples.column("metric"))
        keep &= np.isin(names.to_pylist(), metrics)[codes]
    return samples if keep.all() else samples.filter(pa.array(keep))


def millis(samples: pa.Table) -> NDArray[np.int64]:
    """The stamps, (n,), Unix milliseconds."""
    return samples.column("ts").cast(pa.int64()).to_numpy()
