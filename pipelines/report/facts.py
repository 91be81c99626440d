"""What the page of a workload says in words beside its chart: everything that is known of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from pipelines.report.data import Row
from pipelines.report.index import Index
from pipelines.report.text import decimal, metric_title, stamp

__all__ = ["facts"]

Facts = dict[str, list[tuple[str, str]]]

_INCIDENTS = 5


def facts(index: Index, shown: dict[str, Any]) -> Facts:
    """Workload → (label, text), from the rows that the page's sections already show: what is wrong,
    its floors, its models, what was skipped."""
    said: Facts = defaultdict(list)
    _troubles(shown, said)
    for row in shown["verdicts"]["rows"]:
        said[row["workload"]] += _judged(row)
    for workload, gate in shown["verdicts"]["gates"].items():
        said[workload].append(("Gate", gate))
    _floors(index, shown, said)
    for row in shown["verdicts"]["rows"]:
        said[row["workload"]] += _lead(row)
    for row in shown["models"]["rows"]:
        said[row["workload"]].append(
            (f"Model for {row['metric']}", _model(row, shown["models"]["naive"]))
        )
    _from_forecasts(index, said)
    for workload, deploys in index.deploys.items():
        said[workload].append(("Last deploy", _when(max(deploys))))
    for workload, hot in index.anomalies.items():
        worst = hot["score"].max()
        text = f"{decimal(float(len(hot)), 6)} points, the worst scores {decimal(worst, 2)}"
        said[workload].append(("Anomalies in the window", text))
    for workload, skips in index.skips.items():
        said[workload] += [("Skipped", _skip(s)) for s in skips]
    return dict(said)


def _troubles(shown: dict[str, Any], said: Facts) -> None:
    """Leaks, and the newest incidents."""
    for leak in shown["leaks"]:
        text = f"{leak['metric']} grows by {leak['slope']}, limit in {leak['left']}"
        if leak["left_range"]:
            text += f" ({leak['left_range']})"
        seen = f"; last seen {leak['seen']['text']} UTC" if not leak["current"] else ""
        said[leak["who"]["full"]].append(("Leak", text + seen))
    mine: dict[str, list[Row]] = defaultdict(list)
    newest = sorted(
        shown["incidents"], key=lambda i: (i["open"], (i["started"] or {}).get("sort", 0))
    )
    for incident in reversed(newest):
        for full in {who["full"] for who in incident["who"]}:
            mine[full].append(incident)
    for workload, incidents in mine.items():
        said[workload] += [
            ("Open incident" if i["open"] else "Incident", _incident(i))
            for i in incidents[:_INCIDENTS]
        ]
        if len(incidents) > _INCIDENTS:
            said[workload].append(("Incidents in the window", f"{len(incidents)}"))


def _incident(incident: Row) -> str:
    began = f"{incident['started']['text']} UTC" if incident["started"] else "unknown"
    lasted = f"open for {incident['lasted']}" if incident["open"] else f"for {incident['lasted']}"
    return f"{incident['title']}; {began}, {lasted}"


def _judged(row: Row) -> list[tuple[str, str]]:
    """Whether floors are worth it, and what the plan makes of them."""
    told: list[tuple[str, str]] = []
    if row["verdict"]:
        told.append(("Pre-scaling", f"{row['verdict']}: {row['reason']}"))
    if row["mode"]:
        told.append(("Mode of its floors", row["mode"]))
    if row["alone"]:
        told.append(("Left alone by the plan", row["alone"]))
    return told


def _floors(index: Index, shown: dict[str, Any], said: Facts) -> None:
    """The floor now, what of it is ours, and what comes next."""
    for workload in index.workloads:
        floor = index.measured(workload, "hpa_min_replicas")
        if floor is not None:
            now = float(floor[np.isfinite(floor)][-1])
            said[workload].append(("Floor now", f"{decimal(now)} (HPA minimum, as measured)"))
    arranged = shown["prescaling"]
    for row in arranged["held"]:
        if row["stands"]:
            said[row["who"]["full"]].append(("Held by Foretide", _held(row)))
        elif row["wrong"]:
            text = f"{row['status']}: {row['before']} → {row['after']}; {row['why']}"
            said[row["who"]["full"]].append(("Last change", text))
    for row in arranged["waiting"]:
        text = f"{row['before']} → {row['after']}: foretide apply --approve {arranged['plan_id']}"
        said[row["who"]["full"]].append(("Waits for approval", text))
    for rise in sorted(shown["rises"], key=lambda r: r["from"]["sort"]):
        when = f"{rise['from']['text']} – {rise['to']['read']} UTC"
        text = f"{rise['before']} → {rise['after']}, {when} ({rise['mode']}): {rise['reason']}"
        said[rise["workload"]].append(("Floor", text))
    for short in arranged["shortfalls"]:
        when = f"{short['at']['text']} UTC" if short["at"] else "an unknown moment"
        text = f"{short['wanted']} wanted at {when}, {short['held']} can be held: {short['reason']}"
        said[short["who"]["full"]].append(("Cannot be held", text))


def _held(row: Row) -> str:
    until = f" until {row['until']['text']} UTC" if row["until"] else ""
    plan = f", plan {row['plan_id']}" if row["plan_id"] else ""
    why = f": {row['why']}" if row["why"] else ""
    return f"{row['field']} {row['before']} → {row['after']}{until}{plan}{why}"


def _lead(row: Row) -> list[tuple[str, str]]:
    """How long before a peak its floors have to stand, and how much of the demand they carry."""
    told: list[tuple[str, str]] = []
    if row["lead"] != "–":
        source = f", {row['source']}" if row["source"] else ""
        told.append(("Lead time", f"{row['lead']}{source}"))
    if row["level"] != "–":
        told.append(("Quantile of its floors", row["level"]))
    return told


def _model(row: dict[str, Any], naive: str) -> str:
    """Who forecasts a series, how well, and what is thought of it."""
    bar = f", {naive} {row['bar']}" if row["bar"] != "–" else ""
    parts = [f"{row['model']} (WAPE {row['wape']}{bar})"]
    if row["solver"]:
        parts.append(f"solver {row['solver']}")
    if row["confidence"]:
        parts.append(f"confidence {row['confidence']}")
    if row["verdict"] and row["verdict_holds"]:
        why = f": {row['verdict_reason']}" if row["verdict_reason"] else ""
        parts.append(f"{row['verdict']}{why}")
    return "; ".join(parts)


def _from_forecasts(index: Index, said: Facts) -> None:
    for workload, by_metric in index.forecasts.items():
        at = _when(max(r[-1].issued_ms for r in by_metric.values()))
        said[workload].append((f"Forecast of {_listed(by_metric)}", f"issued {at}"))


def _listed(metrics: Iterable[str]) -> str:
    return ", ".join(metric_title(m) for m in metrics)


def _skip(skip: Row) -> str:
    of = f" ({skip['metric']})" if skip["metric"] else ""
    return f"{skip['step']}{of}: {skip['reason']}"


def _when(ms: int) -> str:
    at = stamp(pd.Timestamp(ms, unit="ms", tz="UTC"))
    return f"{at['text']} UTC" if at else "–"
