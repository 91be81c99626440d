"""Series as sources give them (labels, stamps, values) become a samples table.

The way is the same for every source: who has no ``name`` is left out and counted, what is no number
is left out and counted, stamps go to their grid, and of several samples of one workload at one
stamp the last is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import SAMPLES, WORKLOAD_PARTS
from pipelines.adapters.source import Chunk, FetchReport, Window, shorten

__all__ = ["Labels", "to_chunk"]

Labels = Mapping[str, str]
_NO_LABEL = {"namespace": "default", "kind": "Workload"}


def to_chunk(
    metric: str,
    cluster: str,
    window: Window,
    labels: Sequence[Labels],
    lengths: NDArray[np.int64],
    ts_ms: NDArray[np.int64],
    value: NDArray[np.float64],
    *,
    seen: set[tuple[tuple[str, str], ...]],
    report: FetchReport,
) -> Chunk:
    """Put the series of one answer into a chunk.

    Parameters
    ----------
    metric, cluster : the logical name; the cluster of series that have no such label
    window : what the answer covers; samples outside are counted and left out
    labels : of each series; ``cluster``, ``namespace``, ``kind`` and ``name`` say the workload
    lengths : samples of each series, (n_series,)
    ts_ms, value : all series' samples one after the other, (n_samples,)
    seen : label sets that earlier answers had; gets this answer's
    report : what was counted before; this answer's counts are added
    """
    keys = [tuple(sorted(one.items())) for one in labels]
    fresh = [i for i, key in enumerate(keys) if key not in seen]
    seen.update(keys)
    named = np.array([bool(one.get("name")) for one in labels], dtype=bool)
    codes, workloads = _identify(labels, named, cluster)
    row = np.repeat(codes, lengths)
    if not named.all():
        keep = row >= 0
        row, ts_ms, value = row[keep], ts_ms[keep], value[keep]

    stamp = ts_ms // window.step_ms * window.step_ms
    inside = (stamp >= window.first_ms) & (stamp < window.end_ms)
    finite = np.isfinite(value)
    kept = np.flatnonzero(inside & finite)
    backwards = (row[1:] == row[:-1]) & (ts_ms[1:] < ts_ms[:-1])
    unique = _last_of_each(kept, row, stamp, ts_ms)
    nameless = [labels[i] for i in fresh if not named[i]]
    counted = FetchReport(
        series=len(fresh),
        samples=len(unique),
        dropped_not_finite=int((inside & ~finite).sum()),
        duplicates=len(kept) - len(unique),
        out_of_order=0 if len(workloads) < int(named.sum()) else int(backwards.sum()),
        outside_window=int((~inside).sum()),
        off_grid=int((stamp[kept] != ts_ms[kept]).sum()),
        unlabelled=len(nameless),
        warnings=_warned(metric, nameless),
    )
    samples = _table(metric, workloads, row[unique], stamp[unique], value[unique])
    return Chunk(samples, window, replace(report) + counted)


def _warned(metric: str, nameless: Sequence[Labels]) -> tuple[str, ...]:
    if not nameless:
        return ()
    example = shorten(str(dict(nameless[0])))
    return (f"{metric}: {len(nameless)} series without a `name` label left out, e.g. {example}",)


def _identify(
    labels: Sequence[Labels], named: NDArray[np.bool_], cluster: str
) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
    """Each series' workload: codes (n_series,), -1 for who has none, into the list of labels."""
    index: dict[tuple[str, ...], int] = {}
    fill = {"cluster": cluster, **_NO_LABEL}
    codes = [
        index.setdefault(tuple(one.get(p) or fill.get(p, "") for p in WORKLOAD_PARTS), len(index))
        if has_name
        else -1
        for one, has_name in zip(labels, named, strict=True)
    ]
    return np.array(codes, dtype=np.int32), list(index)


def _last_of_each(
    kept: NDArray[np.intp],
    row: NDArray[np.int32],
    stamp: NDArray[np.int64],
    ts_ms: NDArray[np.int64],
) -> NDArray[np.intp]:
    """Positions sorted by workload and stamp, of several at one stamp the youngest, then the last.

    Answers usually come in that order, and then nothing is sorted.
    """
    r, t = row[kept], stamp[kept]
    if not ((r[1:] > r[:-1]) | ((r[1:] == r[:-1]) & (t[1:] > t[:-1]))).all():
        kept = kept[np.lexsort((ts_ms[kept], r))]
        r, t = row[kept], stamp[kept]
    last = np.ones(len(kept), dtype=bool)
    last[:-1] = (r[1:] != r[:-1]) | (t[1:] != t[:-1])
    return kept if last.all() else kept[last]


def _table(
    metric: str,
    workloads: list[tuple[str, ...]],
    row: NDArray[np.int32],
    ts_ms: NDArray[np.int64],
    value: NDArray[np.float64],
) -> pa.Table:
    columns: list[pa.Array] = []
    for position in range(len(WORKLOAD_PARTS)):
        encoded = pa.array([w[position] for w in workloads], pa.string()).dictionary_encode()
        code = encoded.indices.to_numpy().astype(np.int32)[row]
        columns.append(pa.DictionaryArray.from_arrays(code, encoded.dictionary))
    columns.append(pa.DictionaryArray.from_arrays(np.zeros(len(row), np.int32), pa.array([metric])))
    columns += [pa.array(ts_ms).cast(SAMPLES.schema.field("ts").type), pa.array(value)]
    return pa.Table.from_arrays(columns, schema=SAMPLES.schema.with_metadata(SAMPLES.metadata()))
