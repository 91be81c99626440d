"""What the detail of a workload says in words beside its chart."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pandas as pd

from pipelines.report.index import Index
from pipelines.report.text import decimal, metric_title, stamp

__all__ = ["facts"]

Facts = dict[str, list[tuple[str, str]]]


def facts(index: Index, shown: dict[str, Any]) -> Facts:
    """Workload → (label, text), from the rows that the page's sections already show."""
    said: Facts = defaultdict(list)
    for leak in shown["leaks"]:
        text = f"{leak['metric']} grows by {leak['slope']}, limit in {leak['left']}"
        said[leak["who"]["full"]].append(("Leak", text))
    for rise in shown["rises"]:
        when = f"{rise['from']['text']} – {rise['to']['read']} UTC"
        text = f"{rise['before']} → {rise['after']}, {when} ({rise['mode']}): {rise['reason']}"
        said[rise["workload"]].append(("Floor", text))
    for row in shown["models"]["rows"]:
        said[row["workload"]].append(
            (f"Model for {row['metric']}", _model(row, shown["models"]["naive"]))
        )
    for row in shown["prescaling"]["rows"]:
        said[row["workload"]] += _prescaling(row)
    _from_forecasts(index, said)
    for workload, hot in index.anomalies.items():
        said[workload].append(("Anomalies in the window", decimal(float(len(hot)), 6)))
    for workload, skips in index.skips.items():
        said[workload] += [("Skipped", f"{s['step']}: {s['reason']}") for s in skips]
    return dict(said)


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


def _prescaling(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Whether floors are worth it, and how long before a peak they have to stand."""
    told: list[tuple[str, str]] = []
    if row["verdict"]:
        told.append(("Pre-scaling", f"{row['verdict']}: {row['reason']}"))
    if row["lead"] != "–":
        source = f", {row['source']}" if row["source"] else ""
        told.append(("Lead time", f"{row['lead']}{source}"))
    return told


def _from_forecasts(index: Index, said: Facts) -> None:
    for workload, by_metric in index.forecasts.items():
        issued = stamp(
            pd.Timestamp(max(r[-1].issued_ms for r in by_metric.values()), unit="ms", tz="UTC")
        )
        what = ", ".join(metric_title(m) for m in by_metric)
        said[workload].append(
            (f"Forecast of {what}", f"issued {issued['text']} UTC" if issued else "–")
        )
