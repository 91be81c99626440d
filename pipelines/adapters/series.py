"""Series as sources give them (labels, stamps, values) become a samples table.

The way is the same for every source: who has no ``name`` is left out and counted, what is no number
is left out and counted, stamps go to their grid, and of several samples of one workload at one
stamp the last is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import SAMPLES, WORKLOAD_PARTS
from pipelines.adapters.source import Chunk, FetchReport, Window, shorten

__all__ = ["NO_LABEL", "LabelSet", "Labels", "label_set", "to_chunk"]

Labels = Mapping[str, str]
LabelSet = tuple[tuple[str, str], ...]
NO_LABEL = {"namespace": "default", "kind": "Workload"}
"""What a series without that label counts as; the cluster is the source's own."""
_NAMELESS, _UNWANTED = -1, -2
_EVERYTHING: Mapping[str, tuple[str, ...]] = {}


def to_chunk(
    metric: str,
    cluster: str,
    window: Window,
    labels: Sequence[Labels],
    lengths: NDArray[np.int64],
    ts_ms: NDArray[np.int64],
    value: NDArray[np.float64],
    *,
    seen: set[LabelSet],
    report: FetchReport,
    select: Mapping[str, tuple[str, ...]] = _EVERYTHING,
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
    select : as in ``Spec``; series of workloads outside are counted and left out
    """
    codes, workloads = _identify(labels, cluster, select)
    row, series = (
        np.repeat(codes, lengths),
        np.repeat(np.arange(len(codes), dtype=np.int32), lengths),
    )
    if (codes < 0).any():
        keep = row >= 0
        row, series, ts_ms, value = row[keep], series[keep], ts_ms[keep], value[keep]

    stamp = ts_ms // window.step_ms * window.step_ms
    inside = (stamp >= window.first_ms) & (stamp < window.end_ms)
    finite = np.isfinite(value)
    kept = np.flatnonzero(inside & finite)
    unique = _last_of_each(kept, row, stamp, ts_ms)
    counted = FetchReport(
        samples=len(unique),
        dropped_not_finite=int((inside & ~finite).sum()),
        duplicates=len(kept) - len(unique),
        out_of_order=int(((series[1:] == series[:-1]) & (ts_ms[1:] < ts_ms[:-1])).sum()),
        outside_window=int((~inside).sum()),
        off_grid=int((stamp[kept] != ts_ms[kept]).sum()),
    )
    samples = _table(metric, workloads, row[unique], stamp[unique], value[unique])
    return Chunk(samples, window, report + _count(metric, labels, codes, seen) + counted)


def label_set(labels: Labels) -> LabelSet:
    """What says that two series are one."""
    return tuple(sorted(labels.items()))


def _count(
    metric: str, labels: Sequence[Labels], codes: NDArray[np.int32], seen: set[LabelSet]
) -> FetchReport:
    """The series that were not there before, and why some of them are left out."""
    keys = [label_set(one) for one in labels]
    first = {key: i for i, key in reversed(list(enumerate(keys))) if key not in seen}
    seen.update(keys)
    nameless = sorted(i for i in first.values() if codes[i] == _NAMELESS)
    warnings: tuple[str, ...] = ()
    if nameless:
        what = f"{len(nameless)} series without a `name` label left out"
        warnings = (f"{metric}: {what}, e.g. {shorten(str(dict(labels[nameless[0]])))}",)
    return FetchReport(
        series=len(first),
        unlabelled=len(nameless),
        outside_selection=sum(int(codes[i] == _UNWANTED) for i in first.values()),
        warnings=warnings,
    )


def _identify(
    labels: Sequence[Labels], cluster: str, select: Mapping[str, tuple[str, ...]]
) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
    """Each series' workload: codes (n_series,) into the list, or why it has none."""
    index: dict[tuple[str, ...], int] = {}
    fill = {"cluster": cluster, **NO_LABEL}
    wanted = [(WORKLOAD_PARTS.index(part), frozenset(values)) for part, values in select.items()]

    def code(one: Labels) -> int:
        if not one.get("name"):
            return _NAMELESS
        workload = tuple(one.get(p) or fill.get(p, "") for p in WORKLOAD_PARTS)
        if not all(workload[at] in values for at, values in wanted):
            return _UNWANTED
        return index.setdefault(workload, len(index))

    return np.array([code(one) for one in labels], dtype=np.int32), list(index)


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
