"""What a Prometheus query API answers to a range query, and how it becomes a samples table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.frames import SAMPLES, WORKLOAD_PARTS
from pipelines.errors import QueryFailed

__all__ = ["Answer", "Chunk", "FetchReport", "Series", "Window", "shorten", "to_chunk"]

_NO_LABEL = {"namespace": "default", "kind": "Workload"}


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What happened on the way; reports add up, each series is counted in one of them only."""

    queries: int = 0
    series: int = 0
    samples: int = 0
    dropped_not_finite: int = 0
    duplicates: int = 0
    outside_window: int = 0
    unlabelled: int = 0
    """Series without a ``name`` label: nobody can say whose they are, so they are left out."""
    retries: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()

    def __add__(self, other: FetchReport) -> FetchReport:
        """Counts summed, warnings once each."""
        counts = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "warnings"
        }
        both = tuple(dict.fromkeys((*self.warnings, *other.warnings)))
        return FetchReport(**counts, warnings=both)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One answer: a samples table (may be empty) and what was counted while making it."""

    samples: pa.Table
    report: FetchReport


class Series(msgspec.Struct):
    """One series: its labels and its ``[unix seconds, "value"]`` points."""

    metric: dict[str, str]
    values: list[tuple[float, str]] = []


class Data(msgspec.Struct):
    result: list[Series] = []


class Answer(msgspec.Struct):
    """The envelope of a query's answer; fields that we do not read are passed over."""

    status: str
    data: Data | None = None
    error: str = ""
    warnings: list[str] = []
    isPartial: bool = False  # noqa: N815 - VictoriaMetrics' name


@dataclass(frozen=True, slots=True)
class Window:
    """Stamps ``first_ms, first_ms + step_ms, … < end_ms``."""

    first_ms: int
    end_ms: int
    step_ms: int


def to_chunk(
    series: list[Series],
    metric: str,
    cluster: str,
    part: Window,
    seen: set[tuple[tuple[str, str], ...]],
    report: FetchReport,
) -> Chunk:
    """An answer as a samples table; ``seen`` holds the label sets that were counted before."""
    labels = [tuple(sorted(s.metric.items())) for s in series]
    fresh = [i for i, key in enumerate(labels) if key not in seen]
    seen.update(labels)
    named = [s for s in series if s.metric.get("name")]
    nameless = [series[i] for i in fresh if not series[i].metric.get("name")]
    codes, keys = _identify(named, cluster)

    lengths = [len(s.values) for s in named]
    total = sum(lengths)
    points = list(chain.from_iterable(s.values for s in named))
    row = np.repeat(codes, lengths)
    ts_ms = np.rint(np.fromiter((p[0] for p in points), np.float64, total) * 1000).astype(np.int64)
    value = _numbers(points, metric)

    inside = (ts_ms >= part.first_ms) & (ts_ms < part.end_ms)
    finite = np.isfinite(value)
    keep = np.flatnonzero(inside & finite)
    if len(keys) < len(named):
        keep = _last_of_each(keep, row, ts_ms)
    warnings = ()
    if nameless:
        warnings = (
            f"{metric}: {len(nameless)} series without a `name` label left out, "
            f"e.g. {shorten(str(nameless[0].metric))}",
        )
    counted = FetchReport(
        series=len(fresh),
        samples=len(keep),
        dropped_not_finite=int((inside & ~finite).sum()),
        duplicates=int((inside & finite).sum()) - len(keep),
        outside_window=int((~inside).sum()),
        unlabelled=len(nameless),
        warnings=warnings,
    )
    return Chunk(_table(row[keep], keys, metric, ts_ms[keep], value[keep]), report + counted)


def _identify(
    series: list[Series], cluster: str
) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
    """Which workload each series belongs to: codes (n_series,) into the list of label tuples."""
    index: dict[tuple[str, ...], int] = {}
    fill = {"cluster": cluster, **_NO_LABEL}
    codes = [
        index.setdefault(
            tuple(s.metric.get(p) or fill.get(p, "") for p in WORKLOAD_PARTS), len(index)
        )
        for s in series
    ]
    return np.array(codes, dtype=np.int32), list(index)


def _numbers(points: list[tuple[float, str]], metric: str) -> NDArray[np.float64]:
    try:  # float() knows "NaN", "+Inf" and "-Inf"
        return np.fromiter((float(p[1]) for p in points), np.float64, len(points))
    except ValueError as error:
        raise QueryFailed(
            f"metric {metric!r}: the server sent a value that is none: {error}"
        ) from error


def _last_of_each(
    keep: NDArray[np.intp], row: NDArray[np.int32], ts_ms: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Of several samples of one workload at one stamp, the one that came last."""
    order = keep[np.lexsort((ts_ms[keep], row[keep]))]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (row[order][1:] != row[order][:-1]) | (ts_ms[order][1:] != ts_ms[order][:-1])
    return order[last]


def _table(
    row: NDArray[np.int32],
    keys: list[tuple[str, ...]],
    metric: str,
    ts_ms: NDArray[np.int64],
    value: NDArray[np.float64],
) -> pa.Table:
    columns: list[pa.Array] = []
    for position in range(len(WORKLOAD_PARTS)):
        encoded = pa.array([key[position] for key in keys], pa.string()).dictionary_encode()
        code = encoded.indices.to_numpy().astype(np.int32)[row]
        columns.append(pa.DictionaryArray.from_arrays(code, encoded.dictionary))
    columns.append(pa.DictionaryArray.from_arrays(np.zeros(len(row), np.int32), pa.array([metric])))
    columns += [pa.array(ts_ms).cast(SAMPLES.schema.field("ts").type), pa.array(value)]
    return pa.Table.from_arrays(columns, schema=SAMPLES.schema.with_metadata(SAMPLES.metadata()))


def shorten(text: str, length: int = 300) -> str:
    """One line of at most ``length`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
