"""Samples from OpenMetrics or Prometheus text, as `promtool` and exporters write them.

Each sample's own name is its metric: `http_requests_total`, `latency_seconds_bucket`; nothing is
taken apart or renamed. The labels `cluster`, `namespace`, `kind` and `name` say the workload.
Stamps are needed, since a file has no moment of scraping: OpenMetrics (ends with ``# EOF``) has
them in seconds, Prometheus text in milliseconds.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TextIO, cast

import numpy as np
import pyarrow as pa

from features.frames import SAMPLES, WORKLOAD_PARTS
from pipelines.adapters.source import shorten
from pipelines.errors import InputError

__all__ = ["read_openmetrics"]

_DEFAULTS = {"cluster": "default", "namespace": "default", "kind": "Workload"}
_BROKEN = (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError)
"""What the library's parsers let out on broken text, besides their own ValueError."""
_EOF = b"# EOF"
_LATEST_S = 2**53 / 1000
Opener = Callable[[], IO[bytes]]
_Series = tuple[str, ...]
"""The workload's parts and the metric."""


def read_openmetrics(opened: Opener, where: str, *, cluster: str = "default") -> pa.Table:
    """A samples table, in the order of the text.

    Parameters
    ----------
    opened : opens the text; once to find out which of the two it is, once to read it
    where : the file's name, for errors
    cluster : of series that have no such label

    Raises
    ------
    InputError
        The text is none of the two formats, a sample has no stamp or no `name`, or two series
        differ in further labels only.
    """
    rows = _Rows(where, _DEFAULTS | {"cluster": cluster})
    try:
        for sample in _samples(opened):
            rows.add(sample)
    except _BROKEN as error:
        said = shorten(str(error)) or type(error).__name__
        raise InputError(
            f"{where}: cannot be read as OpenMetrics or Prometheus text: {said}"
        ) from error
    return rows.table()


def _samples(opened: Opener) -> Iterator[Any]:
    from prometheus_client import parser
    from prometheus_client.openmetrics import parser as strict

    with opened() as stream:
        ends_as_openmetrics = _tail(stream).rstrip().endswith(_EOF)
    # no newline translation: a carriage return inside a label is part of it
    lines = io.TextIOWrapper(opened(), encoding="utf-8", newline="\n")
    if ends_as_openmetrics:
        families = strict.text_fd_to_metric_families(lines)
    else:
        # by its comments the lax parser would rename counters
        families = parser.text_fd_to_metric_families(cast("TextIO", _without_comments(lines)))
    for family in families:
        yield from family.samples


def _tail(stream: IO[bytes]) -> bytes:
    last = b""
    while block := stream.read(1 << 20):
        last = last[-64:] + block
    return last


def _without_comments(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.lstrip().startswith("#"))


@dataclass(slots=True)
class _Rows:
    where: str
    defaults: Mapping[str, str]
    codes: dict[_Series, int] = field(default_factory=dict[_Series, int])
    labels: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])
    row: array[int] = field(default_factory=lambda: array("i"))
    ts_ms: array[int] = field(default_factory=lambda: array("q"))
    value: array[float] = field(default_factory=lambda: array("d"))

    def add(self, sample: Any) -> None:
        if sample.timestamp is None:
            raise InputError(
                f"{self.where}: sample of {sample.name} without a stamp; a file needs one at every "
                "sample, as in `name{labels} value stamp`"
            )
        code = self._code(sample.name, sample.labels)
        stamp = _ms(sample.timestamp)
        value = float(sample.value)
        self.row.append(code)
        self.ts_ms.append(stamp)
        self.value.append(value)

    def _code(self, metric: str, labels: Mapping[str, str]) -> int:
        if not labels.get("name"):
            raise InputError(
                f"{self.where}: series {metric}{shorten(str(dict(labels)))} has no label 'name'; "
                "the labels namespace, kind and name say whose it is"
            )
        key = (*(labels.get(p) or self.defaults.get(p, "") for p in WORKLOAD_PARTS), metric)
        code = self.codes.setdefault(key, len(self.codes))
        if code == len(self.labels):
            self.labels.append(labels)
        elif labels != (known := self.labels[code]):
            self._differ(metric, labels, known)
        return code

    def _differ(self, metric: str, one: Mapping[str, str], other: Mapping[str, str]) -> None:
        further = sorted((one.keys() | other.keys()) - set(WORKLOAD_PARTS))
        label = next((k for k in further if one.get(k) != other.get(k)), None)
        if label is None:  # the same workload, written with and without a default
            return
        raise InputError(
            f"{self.where}: two series of {metric} of workload {one['name']!r} differ in label "
            f"{label!r} only ({shorten(str(one.get(label)), 60)!r} and "
            f"{shorten(str(other.get(label)), 60)!r}); aggregate first, e.g. "
            f"`sum without ({label}) (…)`"
        )

    def table(self) -> pa.Table:
        row = np.frombuffer(self.row, np.int32) if self.row else np.empty(0, np.int32)
        columns: list[pa.Array] = []
        for position in range(len(WORKLOAD_PARTS) + 1):
            encoded = pa.array([key[position] for key in self.codes], pa.string())
            encoded = encoded.dictionary_encode()
            indices = encoded.indices.to_numpy().astype(np.int32)[row]
            columns.append(pa.DictionaryArray.from_arrays(indices, encoded.dictionary))
        stamps = pa.array(self.ts_ms, pa.int64()).cast(SAMPLES.schema.field("ts").type)
        columns += [stamps, pa.array(self.value, pa.float64())]
        return pa.Table.from_arrays(columns, schema=SAMPLES.schema)


def _ms(stamp: Any) -> int:
    """Seconds since 1970 to milliseconds; what a calendar does not know is no stamp."""
    if not abs(float(stamp)) < _LATEST_S:
        raise ValueError(f"stamp {float(stamp)} is out of range")
    if hasattr(stamp, "nsec"):
        return stamp.sec * 1000 + stamp.nsec // 10**6
    return round(stamp * 1000)
