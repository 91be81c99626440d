"""What a Prometheus query API answers to a range query, and how it becomes a samples table."""

from __future__ import annotations

from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.adapters.series import to_chunk
from pipelines.adapters.source import Chunk, FetchReport, Window
from pipelines.errors import QueryFailed

__all__ = ["Answer", "Series", "chunk_of"]


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


def chunk_of(
    series: list[Series],
    metric: str,
    cluster: str,
    part: Window,
    seen: set[tuple[tuple[str, str], ...]],
    report: FetchReport,
) -> Chunk:
    """An answer as a samples table; ``seen`` holds the label sets that were counted before."""
    lengths = np.array([len(s.values) for s in series], dtype=np.int64)
    points = list(chain.from_iterable(s.values for s in series))
    seconds = np.fromiter((p[0] for p in points), np.float64, len(points))
    ts_ms = np.rint(seconds * 1000).astype(np.int64)
    value = _numbers(points, metric)
    labels = [s.metric for s in series]
    return to_chunk(metric, cluster, part, labels, lengths, ts_ms, value, seen=seen, report=report)


def _numbers(points: list[tuple[float, str]], metric: str) -> NDArray[np.float64]:
    try:  # float() knows "NaN", "+Inf" and "-Inf"
        return np.fromiter((float(p[1]) for p in points), np.float64, len(points))
    except ValueError as error:
        raise QueryFailed(
            f"metric {metric!r}: the server sent a value that is none: {error}"
        ) from error
