"""Rows of one metric, from many pieces, become series in order: the last of equal keys is kept.

Pieces are mostly sorted already, or at least come series by series, so that what is sorted are
stretches of rows (runs) and not rows; only where stamps of a series overlap are rows compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.adapters.store.samples_file import LABELS

__all__ = ["Rows", "Series", "in_order", "rows_of"]

Codes = NDArray[np.int32]
_MAX_KEY = 2**62


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one metric as they came: ``codes`` (n,) into ``texts`` for each of the labels.

    ``ts_ms`` int64, (n,); ``value`` float64, (n,).
    """

    codes: tuple[Codes, ...]
    texts: tuple[pa.Array, ...]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """All series of one metric, sorted by labels; each series' samples lie together, in time.

    Attributes
    ----------
    codes, texts : of each label, (n_series,) int32 into the sorted texts that occur
    lengths : samples of each series, (n_series,)
    ts_ms, value : (n,)
    duplicates : rows of fresh pieces that a later row overrode
    replaced : rows of old pieces that a fresh row overrode
    """

    codes: tuple[Codes, ...]
    texts: tuple[pa.Array, ...]
    lengths: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    duplicates: int
    replaced: int


def rows_of(batch: pa.RecordBatch) -> Rows:
    """The arrays of a conformed batch of samples; null values become NaN."""
    labels = [batch.column(c) for c in LABELS]
    value = batch.column("value")
    if value.null_count:
        value = pc.fill_null(value, np.nan)
    return Rows(
        tuple(c.indices.to_numpy() for c in labels),
        tuple(c.dictionary for c in labels),
        batch.column("ts").cast(pa.int64()).to_numpy(),
        value.to_numpy(),
    )


def in_order(pieces: Sequence[Rows], n_old: int) -> Series:
    """Merge pieces, of which the first ``n_old`` are what was stored before; at least one."""
    starts = [_run_starts(p.codes) for p in pieces]
    offset = np.cumsum([0, *(len(p.ts_ms) for p in pieces)])
    begin = np.concatenate([s + o for s, o in zip(starts, offset[:-1], strict=True)])
    length = np.diff(begin, append=offset[-1])
    labels = [
        _ranked([p.codes[i][s] for p, s in zip(pieces, starts, strict=True)],
                [p.texts[i] for p in pieces])
        for i in range(len(LABELS))
    ]  # fmt: skip
    series, first_run = _numbered([codes for codes, _ in labels], [len(t) for _, t in labels])

    ts_ms = np.concatenate([p.ts_ms for p in pieces])
    value = np.concatenate([p.value for p in pieces])
    origin = None
    if (series[1:] < series[:-1]).any():
        runs = np.argsort(series, kind="stable")
        origin = _rows_of_runs(begin[runs], length[runs])
        series, length = series[runs], length[runs]
        ts_ms, value = ts_ms[origin], value[origin]
    lengths = np.bincount(series, length, len(first_run)).astype(np.int64)
    duplicates = replaced = 0
    if _overlap(ts_ms, lengths):
        row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        order = _by_time(row, ts_ms)
        row, ts_ms = row[order], ts_ms[order]
        again = np.r_[(row[1:] == row[:-1]) & (ts_ms[1:] == ts_ms[:-1]), False]
        is_old = (order if origin is None else origin[order]) < offset[n_old]
        by_fresh = again & ~np.r_[is_old[1:], False]
        duplicates, replaced = int((by_fresh & ~is_old).sum()), int((by_fresh & is_old).sum())
        value, ts_ms = value[order][~again], ts_ms[~again]
        lengths = np.bincount(row[~again], minlength=len(lengths))
    codes = tuple(codes[first_run] for codes, _ in labels)
    texts = tuple(text for _, text in labels)
    return Series(codes, texts, lengths, ts_ms, value, duplicates, replaced)


def _run_starts(codes: Sequence[Codes]) -> NDArray[np.int64]:
    """Where a stretch of rows with the same labels begins."""
    change = np.zeros(len(codes[0]), dtype=bool)
    change[:1] = True
    for code in codes:
        change[1:] |= code[1:] != code[:-1]
    return np.flatnonzero(change)


def _ranked(codes: Sequence[Codes], texts: Sequence[pa.Array]) -> tuple[Codes, pa.Array]:
    """One label of all pieces: codes into the sorted texts that occur, without leftovers."""
    used = [np.unique(code) for code in codes]
    there = pa.concat_arrays([t.take(pa.array(u)) for t, u in zip(texts, used, strict=True)])
    every = there.unique().sort()
    # what is encoded is numbered as it comes first, and that is in order here
    rank = pa.concat_arrays([every, there]).dictionary_encode().indices.to_numpy()[len(every) :]
    ranks = np.split(rank, np.cumsum([len(u) for u in used])[:-1])
    coded = [r[np.searchsorted(u, c)] for r, u, c in zip(ranks, used, codes, strict=True)]
    return np.concatenate(coded), every


def _numbered(
    codes: Sequence[Codes], sizes: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Number the combinations of labels in their order: (n_runs,), and a run of each, (n_series,).

    Numbered label by label, so that the product of the sizes cannot overflow.
    """
    number = np.zeros(len(codes[0]), np.int64)
    first = np.zeros(min(len(number), 1), np.intp)
    for code, size in zip(codes, sizes, strict=True):
        if size > 1:
            _, first, number = np.unique(
                number * size + code, return_index=True, return_inverse=True
            )
    return number, first


def _rows_of_runs(begin: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of runs, one run after the other."""
    before = np.cumsum(length) - length
    return np.repeat(begin - before, length) + np.arange(int(length.sum()))


def _overlap(ts_ms: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
    """Whether some series' stamps are not strictly increasing."""
    back = np.r_[ts_ms[1:] <= ts_ms[:-1], False]
    back[np.cumsum(lengths) - 1] = False
    return bool(back.any())


def _by_time(row: NDArray[np.int32], ts_ms: NDArray[np.int64]) -> NDArray[np.intp]:
    """Order by series, stamp, and then as they came."""
    low, high = int(ts_ms.min()), int(ts_ms.max())
    if max((int(row[-1]) + 1) * (high - low + 1), abs(low), abs(high)) >= _MAX_KEY:
        return np.lexsort((ts_ms, row))
    # one key, whose rows are mostly in order: a merge sort is through them in few passes
    key = row * np.int64(high - low + 1)
    key += ts_ms
    return np.argsort(key, kind="stable")
