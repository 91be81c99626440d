"""What is drawn for one workload: rows of traces on one time axis, thinned and encoded.

A trace has a row, a role and a name. Roles, not colours: the page decides how a role looks. How its
points are written is said in ``pipelines/report/lines.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.panel import Floats
from pipelines.report.data import Row, number, utc
from pipelines.report.index import Index, Run
from pipelines.report.lines import encode, listed, thin
from pipelines.report.scored import ScoreLine
from pipelines.report.text import duration, metric_title, shorten, unit_of

__all__ = ["chart", "points_per_trace"]

_H_MS = 3_600_000
_MEMORY = ("memory_working_set_bytes", "memory_rss_bytes")
_LIMITS = {
    "memory_working_set_bytes": "memory_limit_bytes",
    "memory_rss_bytes": "memory_limit_bytes",
    "disk_used_bytes": "disk_limit_bytes",
}
_SIGNAL_ROWS = 3
_STOOD = ("done", "kept")
_TRACES_GUESS = 12


@dataclass(frozen=True, slots=True)
class _Panel:
    """One row of a chart while it is put together, values in the metric's own unit."""

    metric: str
    title: str
    traces: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def points_per_trace(index: Index) -> int:
    """Points that each line may have, so that all of them stay within ``chart_values``."""
    share = index.params.chart_values // (max(len(index.workloads), 1) * _TRACES_GUESS)
    return max(min(index.params.chart_points, share), 100)


def chart(
    index: Index, workload: str, most: int, scores: ScoreLine | None = None
) -> dict[str, Any]:
    """All rows, traces and marks of one workload, ready for msgspec."""
    panels = [_demand(index, workload, m, most) for m in index.demand_metrics(workload)]
    panels += [p for p in (_replicas(index, workload, most),) if p.traces]
    panels += _resources(index, workload, most)
    panels += _signals(index, workload, {p.metric for p in panels}, most)
    panels = [p for p in panels if p.traces]
    _mark_anomalies(index, workload, panels)
    if scores is not None:
        panels.append(_scores(scores, most))
    rows, traces = _scaled(panels)
    return {
        "rows": rows,
        "traces": traces,
        "deploys": sorted(index.deploys.get(workload, []))[-60:],
        "as_of": index.as_of_ms,
    }


def _line(
    role: str, name: str, t: tuple[float, float], values: Floats, most: int
) -> dict[str, Any]:
    picked, factor = thin(values, most)
    return {"role": role, "name": name, "t": [t[0], t[1] * factor], "values": picked}


def _measured(
    index: Index, workload: str, metric: str, role: str, name: str, most: int
) -> list[dict[str, Any]]:
    values = index.measured(workload, metric)
    if values is None or index.panel is None:
        return []
    start = int(index.panel.start.timestamp() * 1000)
    return [_line(role, name, (start, index.panel.step.total_seconds() * 1000), values, most)]


def _issued(role: str, name: str, column: str, run: Run, most: int) -> dict[str, Any]:
    return _line(role, name, (run.start_ms, run.step_ms), run.columns[column], most)


def _demand(index: Index, workload: str, metric: str, most: int) -> _Panel:
    panel = _Panel(metric, metric_title(metric))
    runs = index.forecasts.get(workload, {}).get(metric, [])
    share = max(most // max(len(runs), 1), 50)
    for run in runs:
        panel.traces.append(_issued("low", "forecast q05", "q05", run, share))
        panel.traces.append(_issued("high", "forecast q05–q95", "q95", run, share))
    for run in runs:
        panel.traces.append(_issued("median", "forecast median", "q50", run, share))
    panel.traces.extend(_measured(index, workload, metric, "actual", "measured", most))
    return panel


def _replicas(index: Index, workload: str, most: int) -> _Panel:
    panel = _Panel("replicas", "Replicas")
    runs = index.capacity.get(workload, [])
    share = max(most // max(len(runs), 1), 50)
    panel.traces.extend(
        _measured(index, workload, "hpa_min_replicas", "user_floor", "HPA minimum", most)
    )
    panel.traces.extend(_floors(index.plan.get(workload, [])))
    panel.traces.extend(_held(index, workload))
    panel.traces.extend(_measured(index, workload, "replicas", "actual", "measured", most))
    panel.traces.extend(
        _issued("required", "required by forecast", "replicas", r, share) for r in runs
    )
    return panel


def _held(index: Index, workload: str) -> list[dict[str, Any]]:
    """Floors that were written into the cluster, from when until when they stood."""
    boxes = [
        (row["applied_at"], row["expires_at"], float(str(row["after"])))
        for row in index.data.ledger
        if row["target"] == workload
        and row["status"] in _STOOD
        and "minReplicas" in str(row["field"])
        and str(row["after"]).isdecimal()
    ]
    return _boxes("held", "floor held", boxes)


def _floors(plan: list[Row]) -> list[dict[str, Any]]:
    """The floors that are planned, one box a plan row."""
    boxes = [(row["ts_from"], row["ts_to"], row["floor_to"]) for row in plan]
    return _boxes("floor", "planned floor", boxes)


def _boxes(role: str, name: str, boxes: list[tuple[Any, Any, Any]]) -> list[dict[str, Any]]:
    """One trace of flat pieces with gaps between; a piece that lacks a side is left out."""
    x: list[float] = []
    y: list[float] = []
    for begin, end, level in sorted(boxes, key=lambda b: str(b[0])):
        lo, hi, floor = utc(begin), utc(end), number(level)
        if lo is None or hi is None or math.isnan(floor):
            continue
        begins, ends = lo.timestamp() * 1000, hi.timestamp() * 1000
        x += [begins, ends, ends]
        y += [floor, floor, math.nan]
    return [{"role": role, "name": name, "x": x, "values": np.array(y)}] if x else []


def _resources(index: Index, workload: str, most: int) -> list[_Panel]:
    leaks = {row["metric"]: row for row in index.leaks.get(workload, [])}
    usual = [m for m in _MEMORY if index.measured(workload, m) is not None][:1]
    panels: list[_Panel] = []
    for metric in leaks or usual:
        panel = _Panel(metric, metric_title(metric))
        limit = _measured(index, workload, _LIMITS.get(metric, ""), "limit", "limit", most)
        leak = leaks.get(metric)
        if leak is not None and not leak["over"] and leak["restarted_ms"] is None:
            panel.traces.extend(_projection(index, leak))
        if metric in leaks:
            limit += _limit_ahead(index, leaks[metric], measured=bool(limit))
        panel.traces.extend(_measured(index, workload, metric, "actual", "measured", most))
        panel.traces.extend(limit)
        panels.append(panel)
    return panels


def _limit_ahead(index: Index, leak: Row, *, measured: bool) -> list[dict[str, Any]]:
    """The leak's limit from the end of what was measured on, or throughout where it was not."""
    if not np.isfinite(leak["limit"]) or index.panel is None:
        return []
    start = index.panel.end if measured else index.panel.start
    ends = [start.timestamp() * 1000, index.as_of_ms + index.params.projection_h * _H_MS]
    return [{"role": "limit", "name": "limit", "x": ends, "values": np.full(2, leak["limit"])}]


def _projection(index: Index, leak: Row) -> list[dict[str, Any]]:
    """Where the leak goes from its last measurement on, with its interval, up to the limit."""
    begin = leak["issued_at"].timestamp() * 1000
    end = index.as_of_ms + index.params.projection_h * _H_MS
    slope = leak["slope_per_h"]
    if not (np.isfinite(slope) and np.isfinite(leak["value"]) and end > begin):
        return []
    lower, upper = (
        s if np.isfinite(s) else slope
        for s in (leak["slope_per_h_lower"], leak["slope_per_h_upper"])
    )
    reach = leak["time_to_limit_p50_s"]
    if np.isfinite(reach) and reach > 0:
        end = min(end, begin + 1250.0 * reach)
    hours = np.linspace(0, (end - begin) / _H_MS, 25)
    top = leak["limit"] if np.isfinite(leak["limit"]) else np.inf
    x = (begin + hours * _H_MS).round().tolist()
    name = f"leak, limit in {duration(reach)}"
    return [
        {"role": role, "name": name, "x": x, "values": np.minimum(leak["value"] + s * hours, top)}
        for role, s in (("leak_low", lower), ("leak_high", upper), ("leak", slope))
    ]


def _signals(index: Index, workload: str, shown: set[str], most: int) -> list[_Panel]:
    """Metrics that are not shown yet and had anomalies, the strongest first."""
    hot = index.anomalies.get(workload)
    if hot is None:
        return []
    worst = hot.groupby("metric")["score"].max().sort_values(ascending=False, kind="stable")
    names = [str(m) for m in worst.index if m not in shown]
    panels = [
        _Panel(m, metric_title(m), _measured(index, workload, m, "actual", "measured", most))
        for m in names
    ]
    return [p for p in panels if p.traces][:_SIGNAL_ROWS]


def _scores(scores: ScoreLine, most: int) -> _Panel:
    """The highest score at each moment, and the line from which on it is an anomaly."""
    panel = _Panel("score", "Anomaly score")
    ends = [scores.start_ms, scores.start_ms + (len(scores.values) - 1) * scores.step_ms]
    t = (scores.start_ms, scores.step_ms)
    panel.traces.append(_line("score", "highest score", t, scores.values, most))
    alert = {"role": "alert", "name": "alert line at 1", "x": ends, "values": np.ones(2)}
    panel.traces.append(alert)
    return panel


def _mark_anomalies(index: Index, workload: str, panels: list[_Panel]) -> None:
    """Markers on the row of their metric; what belongs to no row is marked on the first."""
    hot = index.anomalies.get(workload)
    if hot is None or not panels or not index.params.anomalies_per_chart:
        return
    hot = hot.nlargest(index.params.anomalies_per_chart, "score").sort_values("ts_ms")
    rows = {p.metric: p for p in panels}
    for metric, part in hot.groupby("metric", sort=True):
        panel = rows.get(str(metric), panels[0])
        values = part["value"].to_numpy(dtype=np.float64)
        if panel.metric != metric:
            values = _values_at(index, workload, panel.metric, part["ts_ms"].to_numpy())
        notes = [
            shorten(f"{metric_title(str(metric))}: {score:.2g}× ({detector}) {reason}".strip(), 160)
            for score, detector, reason in zip(
                part["score"], part["detector"], part["reason"], strict=True
            )
        ]
        marks = {"x": part["ts_ms"].tolist(), "values": values, "text": notes}
        panel.traces.append({"role": "anomaly", "name": "anomaly"} | marks)


def _values_at(index: Index, workload: str, metric: str, ts_ms: Any) -> Floats:
    values = index.measured(workload, metric)
    if values is None or index.panel is None:
        return np.zeros(len(ts_ms))
    step_ms = index.panel.step.total_seconds() * 1000
    at = ((ts_ms - index.panel.start.timestamp() * 1000) // step_ms).astype(np.int64)
    inside = (at >= 0) & (at < len(values))
    return np.where(inside, values[at.clip(0, len(values) - 1)], np.nan)


def _scaled(panels: list[_Panel]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    rows: list[dict[str, str]] = []
    traces: list[dict[str, Any]] = []
    for row, panel in enumerate(panels):
        everything = np.concatenate([t["values"] for t in panel.traces])
        finite = everything[np.isfinite(everything)]
        factor, unit = unit_of(panel.metric, float(np.abs(finite).max()) if len(finite) else 0.0)
        rows.append({"title": panel.title, "unit": unit})
        for trace in panel.traces:
            values = np.where(np.isfinite(trace["values"]), trace["values"], np.nan) * factor
            rest = {k: v for k, v in trace.items() if k not in ("values", "x", "t")}
            times = {k: [round(x) for x in trace[k]] for k in ("x", "t") if k in trace}
            packed = {"v": listed("%.4g", values)} if "x" in trace else encode(values)
            traces.append({"row": row} | rest | times | packed)
    return rows, traces
