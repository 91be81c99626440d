"""Which metrics CloudWatch has: pages of ListMetrics, kept for a while since each is billed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.adapters.cloudwatch.client import Caller, CloudWatchParams
from pipelines.adapters.cloudwatch.query import Selector
from pipelines.adapters.source import FetchReport, Spec

__all__ = ["Cost", "Listed", "Listing"]

_FILTERS_A_REQUEST = 10


@dataclass(frozen=True, slots=True)
class Listed:
    """A metric of some account."""

    account: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def dimensions(self) -> Mapping[str, str]:
        """Name → value."""
        return dict(self.pairs)


@dataclass(slots=True)
class Cost:
    """What a listing has cost now; ``pages`` also counts the answers that were had before."""

    report: FetchReport = field(default_factory=FetchReport)
    pages: int = 0


class Listing:
    """Answers of ListMetrics; one is used again for ``list_reuse_s``."""

    def __init__(self, caller: Caller, params: CloudWatchParams, now: Callable[[], float]) -> None:
        """``now`` gives Unix seconds."""
        self._caller = caller
        self._params = params
        self._now = now
        self._kept: dict[object, tuple[float, int, list[Listed]]] = {}

    def metrics(self, spec: Spec, selector: Selector, cost: Cost, *, narrow: bool) -> list[Listed]:
        """The metrics with exactly the selector's dimensions, of every account asked for.

        ``narrow`` lets CloudWatch leave out what the selection does not name.
        """
        filters = _filters(spec, selector, narrow)
        if filters is None:
            return []
        out: list[Listed] = []
        for account in self._params.account_ids or ("",):
            out += self._list_once(account, selector, filters, cost)
        names = set(selector.dimensions)
        return [
            m
            for m in out
            if set(m.dimensions) == names
            and all(m.dimensions[d] == v for d, v in selector.where.items())
        ]

    def _list_once(
        self, account: str, selector: Selector, filters: list[dict[str, str]], cost: Cost
    ) -> list[Listed]:
        key = (account, selector.namespace, selector.metric, str(filters))
        at, pages, metrics = self._kept.get(key, (float("-inf"), 0, []))
        if self._now() - at < self._params.list_reuse_s:
            cost.pages += pages
            return metrics
        request: dict[str, Any] = {"Namespace": selector.namespace, "MetricName": selector.metric}
        if filters:
            request["Dimensions"] = filters
        if account or self._params.include_linked_accounts:
            request["IncludeLinkedAccounts"] = True
        if account:
            request["OwningAccount"] = account
        pages, metrics = 0, list[Listed]()
        for page, report in self._caller.list_metrics(request):
            pages += 1
            cost.report = cost.report + replace(report, list_requests=1)
            listed: Sequence[Mapping[str, Any]] = page.get("Metrics", ())
            owners: Sequence[str] = page.get("OwningAccounts") or [account] * len(listed)
            metrics += [
                Listed(owner, tuple((d["Name"], d["Value"]) for d in one.get("Dimensions", ())))
                for one, owner in zip(listed, owners, strict=True)
            ]
        metrics = list(dict.fromkeys(metrics))  # a metric that came while we paged is there twice
        self._kept[key] = (self._now(), pages, metrics)
        cost.pages += pages
        return metrics


def _filters(spec: Spec, selector: Selector, narrow: bool) -> list[dict[str, str]] | None:
    """What ListMetrics is told; nothing where no value that is selected can exist.

    A value goes into the request only as a value of its own: it is never part of a text that is
    read for more.
    """
    fixed = dict(selector.where)
    for dimension, label in selector.labels.items() if narrow else ():
        values = spec.select.get(label)
        if values is None:
            continue
        possible = [v for v in values if _possible(v)]
        if not possible:
            return None
        if len(possible) == 1:
            fixed.setdefault(dimension, possible[0])
    known = [d for d in selector.dimensions if d in fixed]
    others = [d for d in selector.dimensions if d not in fixed]
    names = [*known, *others][:_FILTERS_A_REQUEST]
    return [{"Name": d, **({"Value": fixed[d]} if d in fixed else {})} for d in names]


def _possible(value: str) -> bool:
    """Whether CloudWatch can hold it as a dimension's value."""
    return 1 <= len(value) <= 1024 and value.isascii() and value.isprintable()
