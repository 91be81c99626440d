"""How metrics and a window become GetMetricData requests that break none of its limits."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipelines.adapters.cloudwatch.retention import Part
from pipelines.errors import ConfigError

__all__ = ["Batch", "Group", "Stat", "batches", "cut"]

_QUERIES_A_REQUEST = 500
_DATAPOINTS_A_REQUEST = 100_800
_STATISTICS_A_METRIC = 5
"""That many statistics of one metric in one request are billed as one metric."""
_MATH = {"sum": "SUM", "max": "MAX", "min": "MIN", "mean": "AVG"}
_ALIGNED_MS = (86_400_000, 3_600_000)
_LONGEST_EXPRESSION = 2048


@dataclass(frozen=True, slots=True)
class Stat:
    """One statistic of one metric, as CloudWatch has it."""

    account: str
    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str

    def query(self, name: str, period_ms: int, returned: bool) -> dict[str, Any]:
        """As ``MetricDataQuery``."""
        metric = {
            "Namespace": self.namespace,
            "MetricName": self.metric,
            "Dimensions": [{"Name": d, "Value": v} for d, v in self.dimensions],
        }
        stat = {"Metric": metric, "Period": period_ms // 1000, "Stat": self.statistic}
        account = {"AccountId": self.account} if self.account else {}
        return {"Id": name, "MetricStat": stat, "ReturnData": returned, **account}


@dataclass(frozen=True, slots=True)
class Group:
    """What gives one series: one statistic, or an expression over those of each input.

    Attributes
    ----------
    labels : the workload's
    inputs : input → its statistics, and how several become one
    expression : of the inputs' names; without one there is a single statistic
    fallback : the expression with the optional input's constant put in: it holds where that has no
        sample. (``FILL`` does not say what it does with a series that is empty all through.)
    """

    labels: Mapping[str, str]
    inputs: Mapping[str, tuple[tuple[Stat, ...], str]]
    expression: str = ""
    fallback: str = ""

    @property
    def stats(self) -> list[Stat]:
        """Each statistic once."""
        return list(dict.fromkeys(s for stats, _ in self.inputs.values() for s in stats))

    @property
    def formulas(self) -> list[str]:
        """What is computed from them; the second, where there is one, fills the first's holes."""
        return [text for text in (self.expression, self.fallback) if text]

    @property
    def size(self) -> int:
        """Queries that it takes."""
        return len(self.stats) + len(self.formulas)


@dataclass(slots=True)
class Batch:
    """Groups that one request asks for; a statistic that several need is asked for once."""

    groups: list[Group] = field(default_factory=list[Group])
    names: dict[Stat, str] = field(default_factory=dict[Stat, str])
    formulas: int = 0

    @property
    def size(self) -> int:
        """Queries in the request."""
        return len(self.names) + self.formulas

    def grown(self, group: Group) -> int:
        """The size with one more group."""
        return self.size + len(group.formulas) + sum(s not in self.names for s in group.stats)

    def add(self, group: Group) -> None:
        """Take the group in."""
        self.groups.append(group)
        self.formulas += len(group.formulas)
        for stat in group.stats:
            self.names.setdefault(stat, f"m{len(self.names)}")

    @property
    def metrics_requested(self) -> int:
        """What CloudWatch bills for one request; expressions cost nothing, their inputs do."""
        statistics: dict[tuple[object, ...], set[str]] = defaultdict(set)
        for s in self.names:
            statistics[s.account, s.namespace, s.metric, s.dimensions].add(s.statistic)
        return sum(-(-len(s) // _STATISTICS_A_METRIC) for s in statistics.values())

    def results(self) -> Iterator[tuple[Group, list[str]]]:
        """Each group and the ids of its results, best first."""
        for number, group in enumerate(self.groups):
            if group.formulas:
                yield group, [f"e{number}_{i}" for i in range(len(group.formulas))]
            else:
                yield group, [self.names[group.stats[0]]]

    def request(self, part: Part) -> dict[str, Any]:
        """The arguments of GetMetricData for the part."""
        returned = {name for _, names in self.results() for name in names}
        queries = [
            stat.query(name, part.period_ms, name in returned) for stat, name in self.names.items()
        ]
        for group, names in self.results():
            for name, formula in zip(names, group.formulas, strict=False):
                queries.append(
                    {"Id": name, "Expression": self.written(group, formula), "ReturnData": True}
                )
        return {
            "MetricDataQueries": queries,
            "StartTime": _stamp(part.ask_first_ms),
            "EndTime": _stamp(part.ask_end_ms),
            "ScanBy": "TimestampAscending",
        }

    def written(self, group: Group, formula: str) -> str:
        """The formula with this request's ids in the place of the inputs' names."""

        def put(match: re.Match[str]) -> str:
            if match[0] not in group.inputs:
                return match[0]
            stats, combine = group.inputs[match[0]]
            names = [self.names[s] for s in stats]
            return names[0] if len(names) == 1 else f"{_MATH[combine]}([{', '.join(names)}])"

        return re.sub(r"\b[a-z][a-z0-9_]*\b", put, formula)


def batches(groups: Iterable[Group], steps: int) -> list[Batch]:
    """All groups in as few requests as their order allows.

    Raises
    ------
    ConfigError
        A group alone is more than a request may be.
    """
    most = min(_QUERIES_A_REQUEST, _DATAPOINTS_A_REQUEST // max(steps, 1))
    out: list[Batch] = []
    for group in groups:
        if not out or out[-1].grown(group) > most:
            out.append(Batch())
        out[-1].add(group)
        _check(out[-1], group, most)
    return out


def cut(part: Part, groups: Sequence[Group], points: int) -> list[Part]:
    """The part in pieces of whole UTC days, else hours, else periods.

    A piece has at most ``points`` samples, all groups together, and its largest group fits into
    one request.
    """
    if not part.period_ms or not groups:
        return [part]
    queries = sum(g.size for g in groups)
    largest = max(g.size for g in groups)
    steps = max(1, min(points // queries, _DATAPOINTS_A_REQUEST // largest))
    pieces: list[Part] = []
    at_ms = part.first_ms
    while at_ms < part.end_ms:
        # on the period's own grid, or a period would be asked for in two pieces
        end_ms = _aligned(at_ms, at_ms // part.period_ms * part.period_ms + steps * part.period_ms)
        pieces.append(Part(at_ms, min(end_ms, part.end_ms), part.period_ms))
        at_ms = end_ms
    return pieces


def _aligned(at_ms: int, end_ms: int) -> int:
    for unit_ms in _ALIGNED_MS:
        aligned_ms = end_ms // unit_ms * unit_ms
        if aligned_ms > at_ms:
            return aligned_ms
    return end_ms


def _check(batch: Batch, group: Group, most: int) -> None:
    if batch.size > most:
        raise ConfigError(
            f"workload {dict(group.labels)} takes {batch.size} CloudWatch queries in one "
            f"expression, and a request holds {most}; make the query narrower"
        )
    longest = max((len(batch.written(group, f)) for f in group.formulas), default=0)
    if longest > _LONGEST_EXPRESSION:
        raise ConfigError(
            f"workload {dict(group.labels)}: its metric math has {longest} characters, and "
            f"CloudWatch takes {_LONGEST_EXPRESSION}; make the query narrower"
        )


def _stamp(ms: int) -> Any:
    return pd.Timestamp(ms, unit="ms", tz="UTC").to_pydatetime()
