"""Whose workload each metric of CloudWatch is, and what is to be asked for a series of ours."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.adapters.cloudwatch.client import Caller, CloudWatchParams
from pipelines.adapters.cloudwatch.listing import Cost, Listed, Listing
from pipelines.adapters.cloudwatch.query import Lookup, Query, Selector
from pipelines.adapters.cloudwatch.requests import Group, Stat
from pipelines.adapters.source import FetchReport, Spec, shorten

__all__ = ["Directory", "Found"]

_USUAL = {"cluster": "", "namespace": "default", "kind": "Workload", "name": ""}
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be asked, and what finding it has cost.

    ``pages`` counts the ListMetrics answers that it rests on, also those that were had before.
    """

    groups: list[Group]
    report: FetchReport
    pages: int


@dataclass(slots=True)
class _Lost:
    """Metrics that name no workload."""

    count: int = 0
    example: str = ""

    def add(self, metric: Listed) -> None:
        self.count += 1
        self.example = self.example or shorten(str(metric.dimensions))

    def told(self, metric: str) -> FetchReport:
        if not self.count:
            return FetchReport()
        text = f"{metric}: {self.count} metrics name no workload and are left out"
        return FetchReport(unlabelled=self.count, warnings=(f"{text}, e.g. {self.example}",))


class Directory:
    """The metrics of CloudWatch by the workload that they belong to."""

    def __init__(
        self, caller: Caller, params: CloudWatchParams, cluster: str, now: Callable[[], float]
    ) -> None:
        """``cluster`` is that of metrics without such a label; ``now`` gives Unix seconds."""
        self._listing = Listing(caller, params, now)
        self._cluster = cluster

    def find(self, spec: Spec, query: Query) -> Found:
        """The groups of queries that give the metric's series, one a workload and account."""
        cost, lost = Cost(), _Lost()
        full = None
        if query.names_from:
            full = self._full_names(query.names_from, spec, cost)
        found = {
            name: self._labelled(spec, selector, query, full, cost, lost)
            for name, selector in query.inputs.items()
        }
        groups, warnings = _joined(query, found, spec.metric.name)
        said = FetchReport(warnings=warnings)
        return Found(groups, cost.report + lost.told(spec.metric.name) + said, cost.pages)

    def _labelled(
        self,
        spec: Spec,
        selector: Selector,
        query: Query,
        full: Mapping[Key, list[Mapping[str, str]]] | None,
        cost: Cost,
        lost: _Lost,
    ) -> list[tuple[Mapping[str, str], Stat]]:
        """Every metric that the selector means and the selection allows, with its labels."""
        out: list[tuple[Mapping[str, str], Stat]] = []
        for metric in self._listing.metrics(spec, selector, cost, narrow=not _is_cut(query)):
            labels = _labels(selector, metric)
            if labels is not None and query.names_from and full is not None:
                labels = _resolved(labels, query.names_from, full)
            if labels is None:
                if query.names_from is None or _is_cut(query):
                    lost.add(metric)
                continue
            labels = {**query.constants, **labels}
            if self._selected(spec, labels):
                dimensions = tuple(sorted(metric.pairs))
                stat = Stat(
                    metric.account,
                    selector.namespace,
                    selector.metric,
                    dimensions,
                    selector.statistic,
                )
                out.append((labels, stat))
        return out

    def _selected(self, spec: Spec, labels: Mapping[str, str]) -> bool:
        """Labels that the metric does not give are its input's to be matched by, or defaults."""
        usual = {**_USUAL, "cluster": self._cluster}
        if "name" not in labels:  # an input of the whole cluster or namespace
            usual = {}
        return all(
            labels.get(label, usual.get(label)) in (*values, None)
            for label, values in spec.select.items()
        )

    def _full_names(
        self, lookup: Lookup, spec: Spec, cost: Cost
    ) -> Mapping[Key, list[Mapping[str, str]]]:
        full: dict[Key, list[Mapping[str, str]]] = defaultdict(list)
        # all of them: a name that the selection leaves out may be the one that is meant
        for metric in self._listing.metrics(spec, lookup.selector, cost, narrow=not lookup.length):
            labels = _labels(lookup.selector, metric)
            if labels is not None and labels not in full[_short(labels, lookup.length)]:
                full[_short(labels, lookup.length)].append(labels)
        return full


def _is_cut(query: Query) -> bool:
    """Whether the labels that are found are only the beginnings of names."""
    return query.names_from is not None and query.names_from.length > 0


def _labels(selector: Selector, metric: Listed) -> dict[str, str] | None:
    labels = {label: metric.dimensions[d] for d, label in selector.labels.items()}
    for dimension, pattern in selector.parse.items():
        match = pattern.fullmatch(metric.dimensions[dimension])
        if match is None:
            return None
        labels.update({k: v for k, v in match.groupdict().items() if v})
    return labels


def _short(labels: Mapping[str, str], length: int) -> Key:
    """Namespace and name without what is no letter or digit, cut to the length; 0: all as it is."""
    if not length:
        return tuple(sorted(labels.items()))
    return tuple(
        (label, re.sub(r"[^A-Za-z0-9]", "", labels.get(label, ""))[:length])
        for label in ("namespace", "name")
    )


def _resolved(
    labels: Mapping[str, str], lookup: Lookup, full: Mapping[Key, list[Mapping[str, str]]]
) -> Mapping[str, str] | None:
    """The full names; nothing where none or several could be meant: a guess would be worse."""
    candidates = full.get(_short(labels, lookup.length), [])
    return {**labels, **candidates[0]} if len(candidates) == 1 else None


def _joined(
    query: Query, found: Mapping[str, list[tuple[Mapping[str, str], Stat]]], metric: str
) -> tuple[list[Group], tuple[str, ...]]:
    """One group a workload; an input with fewer labels serves all workloads that share them."""
    if not query.expression:
        return [
            Group(labels, {name: ((stat,), "")})
            for name, all_ in found.items()
            for labels, stat in all_
        ], ()
    required = {n: s for n, s in query.inputs.items() if s.missing is None}
    anchor = max(required, key=lambda name: len(required[name].label_names))
    stats: dict[str, dict[Key, list[Stat]]] = {}
    for name, all_ in found.items():
        stats[name] = defaultdict(list)
        for labels, stat in all_:
            stats[name][_key(labels, stat.account)].append(stat)
    workloads = {_key(labels, stat.account): labels for labels, stat in found[anchor]}
    groups: list[Group] = []
    without: Counter[str] = Counter()
    for key, labels in workloads.items():
        inputs: dict[str, tuple[tuple[Stat, ...], str]] = {}
        for name, selector in query.inputs.items():
            names = {label for label, _ in next(iter(stats[name]), ())}
            of_workload = stats[name].get(tuple(pair for pair in key if pair[0] in names))
            if of_workload:
                inputs[name] = (tuple(of_workload), selector.combine)
        lacking = [name for name in required if name not in inputs]
        without.update(lacking[:1])
        if not lacking:
            groups.append(_group(query, labels, inputs))
    return groups, tuple(
        f"{metric}: {count} workloads have no {query.inputs[name].metric}, and so no result"
        for name, count in without.items()
    )


def _key(labels: Mapping[str, str], account: str) -> Key:
    return tuple(sorted({**labels, "account": account}.items()))


def _group(
    query: Query, labels: Mapping[str, str], inputs: dict[str, tuple[tuple[Stat, ...], str]]
) -> Group:
    optional = {n: s.missing for n, s in query.inputs.items() if s.missing is not None}
    constant = query.expression
    for name, value in optional.items():
        constant = re.sub(rf"\b{name}\b", f"({value!r})", constant)
    if not optional:
        return Group(labels, inputs, query.expression)
    if all(name in inputs for name in optional):
        return Group(labels, inputs, query.expression, constant)
    return Group(labels, inputs, constant)
