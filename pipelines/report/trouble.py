"""What may need a person: incidents with their causes and evidence, and leaks with their time to
limit."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from models.alert_noise import noise
from pipelines.report.causes import evidence_plots
from pipelines.report.data import Row, listed, number, records, text, utc
from pipelines.report.index import Index
from pipelines.report.text import decimal, duration, metric_title, named, quantity, shorten, stamp

__all__ = ["count", "found_incidents", "found_leaks", "told_noise"]

_INCIDENT = (
    "incident_id", "started_at", "detected_at", "ended_at", "title", "workloads", "causes", "score",
    "severity", "suppressed_alerts",
)  # fmt: skip


def found_incidents(index: Index, numbers: dict[str, int]) -> list[Row]:
    """All incidents: open ones first, the strongest first, then the newest; as many of them as the
    page holds with the evidence of their first causes."""
    rows = records(index.data.incidents, *_INCIDENT)
    out = [_incident(index, row, place, numbers) for place, row in enumerate(rows)]
    out.sort(key=_order)
    first = [rows[i["place"]] for i in out[: index.params.evidence_incidents]]
    plots = evidence_plots(index, first)
    for incident in out:
        found = plots.get(incident["id"], [])
        for cause, plot in zip(incident["causes"], found, strict=False):
            cause["plot"] = plot
    return out


def _order(incident: Row) -> tuple[bool, float, float]:
    began = _sort(incident["started"])
    if incident["open"]:
        return False, -float(np.nan_to_num(incident["score"])), began
    return True, -began, 0.0


def _incident(index: Index, row: Row, place: int, numbers: dict[str, int]) -> Row:
    now = utc(index.data.as_of)
    ended, started, score = utc(row["ended_at"]), utc(row["started_at"]), number(row["score"])
    ended = None if ended is None or now is None or ended > now else ended
    who = [named(str(w), numbers) for w in listed(row["workloads"])]
    suppressed = number(row["suppressed_alerts"])
    return {
        "what": "incident",
        "id": text(row["incident_id"]),
        "place": place,
        "title": shorten(text(row["title"]), 160) or f"Incident in {count(len(who), 'workload')}",
        "open": ended is None,
        "started": stamp(started),
        "detected": stamp(row["detected_at"]),
        "ended": stamp(ended),
        "lasted": _between(started, ended or now),
        "who": who,
        "causes": [_cause(c, numbers) for c in listed(row["causes"]) if isinstance(c, dict)],
        "score": score,
        "score_text": decimal(score, 2),
        "severity": text(row["severity"]),
        "suppressed": 0 if math.isnan(suppressed) else int(suppressed),
    }


def _cause(cause: Row, numbers: dict[str, int]) -> Row:
    metric = text(cause.get("metric"))
    return {
        "who": named(text(cause.get("workload")), numbers),
        "metric": metric_title(metric),
        "score": decimal(number(cause.get("score")), 2),
        "confidence": _percent(number(cause.get("confidence"))),
        "evidence": shorten(text(cause.get("evidence")), 240),
        "plot": None,
    }


def _percent(share: float) -> str:
    """``62 %``; empty where it is not known."""
    return f"{100 * share:.0f} %" if math.isfinite(share) else ""


def told_noise(index: Index) -> str:
    """How many alerts became how many incidents, and how soon they were told; empty where nothing
    was scored."""
    data = index.data
    if not {"workload", "metric", "ts", "score"} <= set(data.scores.columns) or data.scores.empty:
        return ""
    incidents = _stamped(data.incidents, "started_at", "detected_at")
    leaks = _stamped(data.leaks, "issued_at").reindex(
        columns=["workload", "metric", "issued_at", "score"]
    )
    found = noise(data.scores, leaks, incidents)
    points, raw, told = (int(found[k]) for k in ("alert_points", "raw_alerts", "incidents"))
    said = f"{count(points, 'point')} above the alert line in {count(raw, 'run')} of points "
    said += f"became {count(told, 'incident')}"
    delay = found["detection_delay_median_s"]
    return said + (f"; half were told within {duration(delay)}." if math.isfinite(delay) else ".")


def _stamped(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with these columns as UTC stamps, also where it has no row or lacks them."""
    there = frame.reindex(columns=[*frame.columns, *(c for c in columns if c not in frame)])
    return there.assign(**{c: pd.to_datetime(there[c], utc=True) for c in columns})


def _between(start: pd.Timestamp | None, end: pd.Timestamp | None) -> str:
    return "unknown" if start is None or end is None else duration((end - start).total_seconds())


def _sort(at: Row | None) -> float:
    return math.inf if at is None else at["sort"]


def count(n: int, noun: str) -> str:
    """``1 incident``, ``1,200 incidents``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def found_leaks(index: Index, numbers: dict[str, int]) -> list[Row]:
    """Every leaking series, current ones first, nearest to its limit first."""
    rows = [_leak(index, r, numbers) for rows in index.leaks.values() for r in rows]
    return sorted(rows, key=lambda r: (not r["current"], r["left_s"], r["who"]["full"]))


def _leak(index: Index, row: Row, numbers: dict[str, int]) -> Row:
    now, metric = utc(index.data.as_of) or row["issued_at"], row["metric"]
    age_s = max((now - row["issued_at"]).total_seconds(), 0.0)
    p10, p50, p90 = (number(row[f"time_to_limit_{p}_s"]) - age_s for p in ("p10", "p50", "p90"))
    value, limit = number(row["value"]), number(row["limit"])
    full = value / limit if np.isfinite(value) and np.isfinite(limit) and limit > 0 else math.nan
    restarted = row["restarted_ms"]
    if restarted is not None:
        p10 = p50 = p90 = math.nan
    soon = np.isfinite(p50) and 0 < p50 < 10 * 365 * 86400
    return {
        "what": "leak",
        "who": named(row["workload"], numbers),
        "metric": metric_title(metric),
        "current": age_s <= index.params.recent_h * 3600
        and (restarted is not None or not row["over"]),
        "restarted": stamp(pd.Timestamp(restarted, unit="ms", tz="UTC")) if restarted else None,
        "left_s": math.inf if math.isnan(p50) else p50,
        "left": "restarted" if restarted else ("over" if row["over"] else duration(p50)),
        "left_range": "" if restarted or row["over"] else f"{duration(p10)} – {duration(p90)}",
        "at": stamp(now + pd.Timedelta(seconds=round(p50))) if soon else None,
        "slope": quantity(number(row["slope_per_h"]), metric, "/h"),
        "slope_sort": number(row["slope_per_h"]),
        "slope_range": f"{quantity(number(row['slope_per_h_lower']), metric, '/h')} – "
        f"{quantity(number(row['slope_per_h_upper']), metric, '/h')}",
        "value": quantity(value, metric),
        "limit": quantity(limit, metric),
        "full": None if math.isnan(full) else round(100 * full),
        "score": decimal(number(row["score"]), 2),
        "first": stamp(row["first_at"]),
        "seen": stamp(row["issued_at"]),
    }
