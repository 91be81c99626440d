"""A CloudWatch in this process, for what moto does not do.

``FakeCloudWatch`` is a client that holds every limit of the API against whoever asks: 500 queries
and 100,800 samples a request, retention, paging, percentiles, metric math.
"""

from __future__ import annotations

import ast
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
import numpy as np
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

__all__ = ["FakeCloudWatch", "refusal"]

MS = 1000
HOUR_MS = 3_600_000
KEPT = ((60_000, 3), (300_000, 15 * 24), (HOUR_MS, 63 * 24))
"""Older than so many hours, a period must be a multiple of this."""
GONE_MS = 455 * 24 * HOUR_MS
STATISTICS: Mapping[str, Callable[[np.ndarray], float]] = {
    "Average": np.mean,
    "Sum": np.sum,
    "Minimum": np.min,
    "Maximum": np.max,
    "SampleCount": len,
}
Dimensions = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Held:
    """One metric of the fake: (n,) Unix milliseconds and values."""

    name: str
    dimensions: Dimensions
    ts_ms: np.ndarray
    value: np.ndarray
    namespace: str = "ContainerInsights"
    account: str = ""


@dataclass
class FakeCloudWatch:
    """A client. ``script`` may hold what the next calls do instead: an error, or a change of the
    page that they would give."""

    now_ms: int
    held: list[Held] = field(default_factory=list)
    page: int = 500
    datapoints_a_page: int = 100_800
    lists: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    script: list[Exception | Callable[[dict[str, Any]], dict[str, Any]]] = field(
        default_factory=list
    )
    descending: bool = False

    def put(self, name: str, dimensions: Mapping[str, str], ts_ms: Any, value: Any, **more: Any):
        ts = np.asarray(ts_ms, dtype=np.int64)
        values = np.broadcast_to(np.asarray(value, dtype=float), ts.shape)
        self.held.append(Held(name, frozenset(dimensions.items()), ts, values, **more))

    def list_metrics(self, **request: Any) -> dict[str, Any]:
        self.lists.append(request)
        valid("ListMetrics", request)
        assert len(request.get("Dimensions", ())) <= 10
        found = [h for h in self.held if self._meant(h, request)]
        at = int(request.get("NextToken", 0))
        answer: dict[str, Any] = {
            "Metrics": [
                {
                    "Namespace": h.namespace,
                    "MetricName": h.name,
                    "Dimensions": [{"Name": n, "Value": v} for n, v in sorted(h.dimensions)],
                }
                for h in found[at : at + self.page]
            ]
        }
        if request.get("IncludeLinkedAccounts"):
            answer["OwningAccounts"] = [h.account for h in found[at : at + self.page]]
        if at + self.page < len(found):
            answer["NextToken"] = str(at + self.page)
        return self._scripted(answer)

    def _meant(self, held: Held, request: Mapping[str, Any]) -> bool:
        linked = request.get("IncludeLinkedAccounts") or not held.account
        owner = request.get("OwningAccount", held.account)
        wanted = request.get("Dimensions", ())
        there = dict(held.dimensions)
        return bool(
            linked
            and owner == held.account
            and held.name == request["MetricName"]
            and held.namespace == request["Namespace"]
            and all(d["Name"] in there and d.get("Value", there[d["Name"]]) == there[d["Name"]]
                    for d in wanted)
        )  # fmt: skip

    def get_metric_data(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        valid("GetMetricData", request)
        queries = request["MetricDataQueries"]
        first_ms, end_ms = (millis(request[k]) for k in ("StartTime", "EndTime"))
        period_s = next(q["MetricStat"]["Period"] for q in queries if "MetricStat" in q)
        steps = -(-(end_ms - first_ms) // (period_s * MS))
        assert first_ms < end_ms
        assert len(queries) <= 500
        assert len(queries) * steps <= 100_800
        assert len({q["Id"] for q in queries}) == len(queries)
        columns: dict[str, dict[int, float]] = {}
        for query in queries:
            if "MetricStat" in query:
                columns[query["Id"]] = self._column(query, first_ms, end_ms)
        for query in queries:
            if "Expression" in query:
                columns[query["Id"]] = evaluate(query["Expression"], columns)
        returned = {q["Id"]: columns[q["Id"]] for q in queries if q.get("ReturnData", True)}
        return self._scripted(self._paged(returned, int(request.get("NextToken", 0))))

    def _column(self, query: Mapping[str, Any], first_ms: int, end_ms: int) -> dict[int, float]:
        stat = query["MetricStat"]
        period_ms = stat["Period"] * MS
        # what is not kept at this period is not found, and StartTime goes down to what is kept
        age_ms = self.now_ms - first_ms
        needed_ms = max((unit for unit, hours in KEPT if age_ms > hours * HOUR_MS), default=1000)
        if period_ms % needed_ms or age_ms > GONE_MS:
            return {}
        first_ms -= first_ms % needed_ms
        key = frozenset((d["Name"], d["Value"]) for d in stat["Metric"]["Dimensions"])
        out: dict[int, list[float]] = defaultdict(list)
        for h in self.held:
            if (h.namespace, h.name, h.dimensions, h.account) == (
                stat["Metric"]["Namespace"], stat["Metric"]["MetricName"], key,
                query.get("AccountId", ""),
            ):  # fmt: skip
                inside = (h.ts_ms >= first_ms) & (h.ts_ms < end_ms)
                for ts, value in zip(h.ts_ms[inside], h.value[inside], strict=True):
                    out[int(ts) // period_ms * period_ms].append(float(value))
        return {ts: statistic(stat["Stat"], np.array(values)) for ts, values in out.items()}

    def _paged(self, columns: Mapping[str, dict[int, float]], at: int) -> dict[str, Any]:
        points = [(name, ts) for name, column in columns.items()
                  for ts in sorted(column, reverse=self.descending)]  # fmt: skip
        here = points[at : at + self.datapoints_a_page]
        more = points[at + self.datapoints_a_page :]
        results = {n: {"Id": n, "Label": n, "Timestamps": [], "Values": []} for n in columns}
        for name, ts in here:
            results[name]["Timestamps"].append(datetime.fromtimestamp(ts / MS, UTC))
            results[name]["Values"].append(columns[name][ts])
        unfinished = {name for name, _ in more}
        for name, result in results.items():
            result["StatusCode"] = "PartialData" if name in unfinished else "Complete"
        answer: dict[str, Any] = {"MetricDataResults": list(results.values()), "Messages": []}
        return answer | ({"NextToken": str(at + len(here))} if more else {})

    def _scripted(self, answer: dict[str, Any]) -> dict[str, Any]:
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return step(answer) if step else answer


def refusal(code: str, status: int = 400, message: str = "no") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "GetMetricData",
    )


def millis(stamp: datetime) -> int:
    return round(stamp.timestamp() * MS)


def statistic(name: str, values: np.ndarray) -> float:
    if name.startswith("p"):
        return float(np.percentile(values, float(name[1:])))
    return float(STATISTICS[name](values))


@cache
def _model() -> Any:
    return botocore.session.get_session().get_service_model("cloudwatch")


def valid(operation: str, request: Mapping[str, Any]) -> None:
    """As botocore checks it before it sends it."""
    validate_parameters(request, _model().operation_model(operation).input_shape)


# Metric math: + - * /, numbers, SUM MAX MIN AVG of a list. Two series meet where both are.

_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_LISTS = {"SUM": sum, "MAX": max, "MIN": min, "AVG": lambda v: sum(v) / len(v)}


def evaluate(text: str, columns: Mapping[str, dict[int, float]]) -> dict[int, float]:
    result = _value(ast.parse(text, mode="eval").body, columns)
    assert isinstance(result, dict), f"no series in {text!r}"
    return result


def _value(node: ast.expr, columns: Mapping[str, dict[int, float]]) -> Any:
    match node:
        case ast.Constant():
            return float(node.value)
        case ast.UnaryOp():
            return -_value(node.operand, columns)
        case ast.Name():
            return columns[node.id]
        case ast.BinOp():
            left, right = _value(node.left, columns), _value(node.right, columns)
            return _meet(_OPERATORS[type(node.op)], left, right)
        case ast.Call(func=ast.Name(id=name), args=[ast.List(elts=parts)]):
            series = [_value(p, columns) for p in parts]
            stamps = sorted(set().union(*series))
            return {t: _LISTS[name]([s[t] for s in series if t in s]) for t in stamps}
    raise AssertionError(ast.dump(node))


def _meet(do: Callable[[float, float], float], left: Any, right: Any) -> Any:
    if not isinstance(left, dict) and not isinstance(right, dict):
        return do(left, right)
    stamps = [s.keys() for s in (left, right) if isinstance(s, dict)]
    both = set(stamps[0]).intersection(*stamps)
    at = lambda side, ts: side[ts] if isinstance(side, dict) else side  # noqa: E731
    zero = {ts for ts in both if do is operator.truediv and not at(right, ts)}
    return {ts: do(at(left, ts), at(right, ts)) for ts in sorted(both - zero)}
