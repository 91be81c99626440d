"""From tables to what the page says: one function a section, plain values for the template."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from pipelines.report.charts import points_per_trace
from pipelines.report.data import Row, number, text, utc, workload_parts
from pipelines.report.index import Index
from pipelines.report.lines import sparkline
from pipelines.report.models import found_models
from pipelines.report.prescaling import found_prescaling
from pipelines.report.text import decimal, metric_title, named, quantity, shorten, stamp, until
from pipelines.report.trouble import found_incidents, found_leaks, told_noise
from pipelines.report.value import found_value
from pipelines.report.verdicts import found_verdicts

__all__ = ["view"]

_H = pd.Timedelta(hours=1)


def view(index: Index) -> dict[str, Any]:
    """Everything that the template shows, in the page's order."""
    data, params = index.data, index.params
    numbers = {w: i for i, w in enumerate(index.workloads)}
    parts = {w: workload_parts(w) for w in index.workloads}
    incidents = found_incidents(index, numbers)
    leaks = found_leaks(index, numbers)
    rises = _rises(index, numbers)
    models = found_models(data, params, numbers)
    arranged = found_prescaling(index, numbers)
    clusters = sorted({p[0] for p in parts.values() if p[0]})
    workloads = _workloads(index, parts, incidents, leaks, rises, models["live"])
    return {
        "title": data.title,
        "run_id": data.run_id,
        "as_of": stamp(data.as_of),
        "as_of_long": _long(data.as_of),
        "clusters": clusters,
        "namespaces": sorted({p[1] for p in parts.values() if p[1]}),
        "window": None
        if index.panel is None
        else (stamp(index.panel.start), stamp(index.panel.end)),
        "hours": f"{params.horizon_h:g}",
        "recent": f"{params.recent_h:g}",
        "urgent": _urgent(incidents, leaks, arranged),
        **_looked_at(index),
        "planned": len(data.capacity) > 0,
        "rises": rises,
        "prescaling": arranged,
        "verdicts": found_verdicts(index, numbers),
        "value": found_value(data),
        "summary": list(data.summary),
        "leaks": leaks,
        "incidents": incidents,
        "noise": told_noise(index),
        "workloads": workloads,
        "models": models,
        "skips": _skips(index, numbers),
        "points": points_per_trace(index),
    }


def _urgent(incidents: list[Row], leaks: list[Row], arranged: Row) -> list[Row]:
    """What a person has to look at: open incidents, leaks, then what the plan cannot do alone."""
    growing = [k for k in leaks if k["current"]]
    told = {(k["who"]["full"], k["metric"]) for k in growing}
    first = [i for i in incidents if i["open"] and _about(i) not in told] + growing
    kinds = {"shortfall": "shortfalls", "wrong": "wrong", "waiting": "waiting"}
    rest = [{"what": what, "rows": arranged[key]} for what, key in kinds.items() if arranged[key]]
    return first + rest


def _looked_at(index: Index) -> Row:
    """Whether anything was scored, when last, and whether that is too long ago to be calm."""
    data, now = index.data, utc(index.data.as_of)
    found = [
        at
        for table, column in ((data.scores, "ts"), (data.leaks, "issued_at"))
        if len(table) and (at := utc(table[column].max())) is not None
    ]
    last = max(found, default=None)
    recent = index.params.recent_h * _H
    return {
        "scored": len(data.scores) > 0 or len(data.leaks) > 0,
        "scored_at": stamp(last),
        "stale": last is not None and now is not None and now - last > recent,
    }


def _about(incident: Row) -> tuple[str, str] | None:
    """The one series that an incident is about: a leak's own card says more, and is up to date."""
    if len(incident["who"]) != 1 or not incident["causes"]:
        return None
    top = incident["causes"][0]
    return top["who"]["full"], top["metric"]


def _long(at: pd.Timestamp) -> str:
    when = utc(at)
    return "" if when is None else f"{when:%A} {when.day} {when:%B %Y, %H:%M} UTC"


def _rises(index: Index, numbers: dict[str, int]) -> list[Row]:
    """Plan rows of the next hours that raise a floor, the largest rise first."""
    now = utc(index.data.as_of)
    if now is None:
        return []
    end = now + index.params.horizon_h * _H
    out: list[Row] = []
    for row in (r for rows in index.plan.values() for r in rows):
        lo, hi = utc(row["ts_from"]), utc(row["ts_to"])
        before, after = number(row["floor_from"]), number(row["floor_to"])
        if lo is None or hi is None or not after > np.nan_to_num(before) or lo >= end or hi <= now:
            continue
        span = (end - now) / pd.Timedelta(1, "s")
        left = max((lo - now) / pd.Timedelta(1, "s"), 0) / span
        right = min((hi - now) / pd.Timedelta(1, "s") / span, 1)
        begins, ends = stamp(lo) or {}, stamp(hi) or {}
        out.append(
            {
                "who": named(str(row["workload"]), numbers),
                "workload": str(row["workload"]),
                "from": begins,
                "to": ends | {"read": until(begins, ends)},
                "before": decimal(before),
                "after": decimal(after),
                "floor": after,
                "more": np.nan_to_num(after - before, nan=after),
                "mode": text(row["mode"]) or "shadow",
                "reason": shorten(text(row["reason"]), 240),
                "bar": (round(100 * left, 1), round(max(100 * (right - left), 1), 1)),
            }
        )
    return sorted(out, key=lambda r: (-r["more"], r["from"]["sort"], r["workload"]))


_STATES = {"skipped": 1, "rises": 2, "leak": 4, "incident": 8}


def _workloads(
    index: Index,
    parts: dict[str, tuple[str, str, str, str]],
    incidents: list[Row],
    leaks: list[Row],
    rises: list[Row],
    live: dict[tuple[str, str], str],
) -> list[Row]:
    broken = {w["full"] for i in incidents if i["open"] for w in i["who"]}
    leaking = {k["who"]["full"] for k in leaks if k["current"]}
    floors: dict[str, float] = {}
    for rise in rises:
        floors[rise["workload"]] = max(rise["floor"], floors.get(rise["workload"], 0))
    out: list[Row] = []
    for place, workload in enumerate(index.workloads):
        metric = next(iter(index.demand_metrics(workload)), "")
        is_so = {
            "incident": workload in broken,
            "leak": workload in leaking,
            "rises": workload in floors,
            "skipped": workload in index.skips and not metric,
        }
        states = [state for state, yes in is_so.items() if yes]
        out.append(
            named(workload, {workload: place})
            | {
                "cluster": parts[workload][0],
                "namespace": parts[workload][1],
                "states": states,
                "rank": sum(_STATES[s] for s in states),
                "floor": decimal(floors[workload]) if workload in floors else "",
                "model": live.get((workload, metric), ""),
            }
            | _demand_cells(index, workload, metric)
        )
    return sorted(out, key=lambda w: (-w["rank"], w["full"]))


def _demand_cells(index: Index, workload: str, metric: str) -> Row:
    now_ms, ahead_ms = index.as_of_ms, index.params.horizon_h * 3_600_000
    past = index.measured(workload, metric)
    replicas = index.measured(workload, "replicas")
    now = _last(past)
    peak = math.nan
    for run in index.forecasts.get(workload, {}).get(metric, []):
        at = run.start_ms + np.arange(len(run.columns["q50"])) * run.step_ms
        ahead = run.columns["q50"][(at >= now_ms) & (at < now_ms + ahead_ms)]
        peak = float(np.nanmax(np.r_[peak, ahead])) if np.isfinite(ahead).any() else peak
    hot = index.anomalies.get(workload)
    recent = 0
    if hot is not None:
        since = now_ms - index.params.recent_h * 3_600_000
        recent = int(((hot["ts_ms"] >= since) & (hot["ts_ms"] < now_ms + 1)).sum())
    week = 0
    if index.panel is not None and past is not None:
        week = max(int(7 * index.panel.steps_per_day), 2)
    return {
        "metric": metric_title(metric) if metric else "",
        "now": quantity(now, metric),
        "now_sort": now,
        "peak": quantity(peak, metric),
        "peak_sort": peak,
        "replicas": decimal(_last(replicas)),
        "replicas_sort": _last(replicas),
        "anomalies": recent,
        "spark": "" if past is None else sparkline(past[-week:]),
    }


def _last(values: Any) -> float:
    finite = [] if values is None else values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def _skips(index: Index, numbers: dict[str, int]) -> Row:
    rows = [
        {
            "who": named(str(r["workload"]), numbers),
            "metric": metric_title(text(r["metric"])) if text(r["metric"]) else "all",
            "step": text(r["step"]),
            "reason": shorten(text(r["reason"]), 240) or "no reason given",
        }
        for rows in index.skips.values()
        for r in rows
    ]
    reasons = Counter(r["reason"] for r in rows)
    return {
        "rows": rows,
        "workloads": len({str(r["workload"]) for rows in index.skips.values() for r in rows}),
        "reasons": sorted(reasons.items(), key=lambda kv: (-kv[1], kv[0]))[:8],
    }
