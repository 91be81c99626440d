"""What GetMetricData answers, put together over its pages and made a samples chunk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.adapters.cloudwatch.query import Combine
from pipelines.adapters.cloudwatch.requests import Batch, Group
from pipelines.adapters.source import FetchReport, shorten

__all__ = ["Answer", "Series", "combined"]


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one group, stamps ascending: (n,) Unix milliseconds and (n,) values."""

    labels: Mapping[str, str]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(slots=True)
class Answer:
    """All pages of one request."""

    metric: str
    forbidden: list[str] = field(default_factory=list[str])
    _ts: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    _value: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _status: dict[str, str] = field(default_factory=dict[str, str])
    _said: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, page: Mapping[str, Any]) -> None:
        """Take one page in; a later page says how a result that was not complete went on."""
        self._note(page.get("Messages", ()))
        for result in page.get("MetricDataResults", ()):
            name = result["Id"]
            self._ts[name] += result.get("Timestamps", ())
            self._value[name] += result.get("Values", ())
            self._status[name] = result.get("StatusCode", "Complete")
            self._note(result.get("Messages", ()))
            if self._status[name] == "Forbidden":
                self.forbidden.append(str(result.get("Label", name)))

    def report(self) -> FetchReport:
        """How many results are not complete, and what CloudWatch said."""
        incomplete = {n: s for n, s in self._status.items() if s not in ("Complete", "Forbidden")}
        for status in dict.fromkeys(incomplete.values()):
            count = list(incomplete.values()).count(status)
            self._said[f"{self.metric}: CloudWatch calls {count} results {status}"] = None
        return FetchReport(partial=len(incomplete), warnings=tuple(self._said))

    def series(self, batch: Batch) -> list[Series]:
        """Each group's samples; where the first formula has none, the second's."""
        return [self._one(group, names) for group, names in batch.results()]

    def _one(self, group: Group, names: list[str]) -> Series:
        columns = [self._column(name) for name in names]
        ts_ms, value = columns[0]
        if len(columns) > 1:
            more_ms, more = columns[1]
            new = ~np.isin(more_ms, ts_ms)
            ts_ms, value = np.append(ts_ms, more_ms[new]), np.append(value, more[new])
        if not (ts_ms[1:] > ts_ms[:-1]).all():
            # newest first is how CloudWatch answers unless told otherwise, and math now and then
            order = np.argsort(ts_ms, kind="stable")
            ts_ms, value = ts_ms[order], value[order]
        return Series(group.labels, ts_ms, value)

    def _column(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        ts, value = self._ts[name], self._value[name]
        seconds = np.fromiter((t.timestamp() for t in ts), np.float64, len(ts))
        return np.rint(seconds * 1000).astype(np.int64), np.array(value, dtype=np.float64)

    def _note(self, messages: Any) -> None:
        for one in messages or ():
            text = shorten(f"{one.get('Code', '')}: {one.get('Value', '')}")
            self._said[f"{self.metric}: CloudWatch says {text}"] = None


def combined(series: list[Series], how: Combine) -> list[Series]:
    """One series a label set; several at one stamp are put together as ``how`` says."""
    by: dict[tuple[tuple[str, str], ...], list[Series]] = defaultdict(list)
    for one in series:
        by[tuple(sorted(one.labels.items()))].append(one)
    return [parts[0] if len(parts) == 1 else _together(parts, how) for parts in by.values()]


def _together(parts: list[Series], how: Combine) -> Series:
    ts_ms, at = np.unique(np.concatenate([p.ts_ms for p in parts]), return_inverse=True)
    value = np.concatenate([p.value for p in parts])
    out = np.zeros(len(ts_ms))
    if how in ("sum", "mean"):
        np.add.at(out, at, value)
        if how == "mean":
            out /= np.bincount(at, minlength=len(ts_ms))
    elif how == "last":
        out[at] = value
    else:
        out[:] = -np.inf if how == "max" else np.inf
        (np.maximum if how == "max" else np.minimum).at(out, at, value)
    return Series(parts[0].labels, ts_ms, out)
