"""Incidents: anomalies that belong together in time and topology, what a person is told about.

Points become anomalies by persistence and hysteresis; anomalies of one workload, and those that
begin together along the call graph (or in one namespace), become one incident. A leak is one of its
own kind, and what else its resource shows while it is known is part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.changes import DEPLOY
from features.civil import Calendar
from models.anomaly_runs import RunParams, find_runs, suspects
from models.base import CRITICAL
from models.incident_evidence import ranked_evidence
from models.incident_links import FAR, by_workload, incident_numbers, without_leaking
from models.incident_text import cause_lists, leak_causes, leak_titles, titles

__all__ = ["INCIDENT_COLUMNS", "IncidentParams", "group_incidents"]

INCIDENT_COLUMNS = (
    "incident_id", "started_at", "detected_at", "ended_at", "title", "workloads", "causes",
    "score", "severity", "suppressed_alerts",
)  # fmt: skip
_DTYPES = {
    **dict.fromkeys(("started_at", "detected_at", "ended_at"), "datetime64[ms, UTC]"),
    **dict.fromkeys(("incident_id", "title", "severity"), "str"),
    "score": "float64",
    "suppressed_alerts": "int64",
}


@dataclass(frozen=True, slots=True)
class IncidentParams:
    """Knobs of the one place where scores become alerts."""

    persist_m: int = 2
    """Points at or above 1 …"""
    persist_n: int = 3
    """… among so many neighbours make an anomaly."""
    severe: float = 3.0
    """From this score on, ``severe_points`` in a row are enough."""
    severe_points: int = 2
    sure: float = 1.5
    """An anomaly of one metric alone whose points stay below this …"""
    alone_m: int = 9
    """… needs so many of them …"""
    alone_n: int = 12
    """… among so many neighbours: the alert budget lets single metrics pass the line by chance."""
    settle_min: float = 60.0
    """So long after a deploy a workload may settle: only severe points are told; the rest is, if
    it lasts."""
    end_score: float = 0.7
    """An anomaly ends below this …"""
    clear_n: int = 6
    """Points in a row below ``end_score`` that end an anomaly."""
    gap_min: float = 240.0
    """Anomalies of one workload so close to each other are one incident."""
    join_min: float = 15.0
    """Anomalies of neighbours that begin so close to each other are one incident."""
    cap_h: float = 6.0
    """Neighbours are not joined into an incident that began longer ago."""
    leak_persist: int = 2
    """Issues in a row at or above 1 that make a leak an incident."""
    leak_clear: int = 24
    """Issues in a row below ``end_score`` that end it."""
    leak_critical_h: float = 24.0
    """A leak that is nearer to its limit is critical."""
    before_h: float = 6.0
    """What is normal, for the causes: the time before the start."""
    causes: int = 5

    def __post_init__(self) -> None:
        """Refuse what could never start or never end an anomaly."""
        for f in fields(self):
            if not getattr(self, f.name) > 0:
                raise ValueError(f"{f.name} must be above 0, got {getattr(self, f.name)}")
        for m, n in (("persist_m", "persist_n"), ("alone_m", "alone_n")):
            if getattr(self, m) > getattr(self, n):
                raise ValueError(
                    f"{m} must be at most {n} ({getattr(self, n)}), got {getattr(self, m)}"
                )


def group_incidents(
    scores: pd.DataFrame,
    leaks: pd.DataFrame,
    params: IncidentParams | None = None,
    events: pd.DataFrame | None = None,
    edges: pd.DataFrame | None = None,
    calendars: Sequence[Calendar] = (),
) -> pd.DataFrame:
    """Scores and leaks to incidents: ``INCIDENT_COLUMNS``, one row an incident, in the order of
    detection.

    Parameters
    ----------
    scores
        Columns ``workload, metric, ts, score, value`` at least; normal points too, of the workloads
        that have a point at or above 1. ``expected, lower, upper, reason`` make causes and titles
        better. Order does not matter.
    leaks
        The leaks table.
    events
        ``workload, ts, event`` and, for settings, ``metric, was, became``: what was changed. A
        recent change is named as a cause, and after a deploy a workload may settle.
    edges
        ``caller, callee``: the call graph, ids or names. Workloads that it does not know, and all
        without it, are neighbours of those in their namespace.
    calendars
        Whose clock the words are on; UTC where none is.

    ``detected_at`` is the first moment at which the incident could be known (its last point had
    ended); ``ended_at`` is empty while it lasts. ``severity`` is ``critical`` or ``warning``.
    """
    params = params or IncidentParams()
    leaking = _leak_runs(leaks, params)
    step = _step(scores["ts"])
    runs = find_runs(*_points(scores, events, params, step))
    first_issue = leaks["issued_at"].min() if len(leaks) else None
    runs, folded = without_leaking(runs, leaking, first_issue)
    leaking["alerts"] += folded
    found = [
        _anomalous(runs, scores, params, events, edges, calendars),
        _leaking(leaking, leaks, params),
    ]
    found = [f for f in found if len(f)]
    if not found:
        return pd.DataFrame({c: pd.Series(dtype=_DTYPES.get(c, object)) for c in INCIDENT_COLUMNS})
    frame = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    frame = frame.sort_values(["detected_at", "incident_id"], ignore_index=True)
    return frame[list(INCIDENT_COLUMNS)].astype(_DTYPES)


def _points(
    scores: pd.DataFrame, events: pd.DataFrame | None, p: IncidentParams, step: pd.Timedelta
) -> tuple[pd.DataFrame, RunParams, pd.Timedelta, NDArray[np.bool_]]:
    """What ``find_runs`` wants: the points, the rule, the step, and where a deploy may settle."""
    rule = RunParams(
        p.persist_m, p.persist_n, p.severe, p.severe_points, p.end_score, p.clear_n,
        p.sure, p.alone_m, p.alone_n,
    )  # fmt: skip
    points = suspects(scores, "ts")
    return points, rule, step, _settling(points, events, pd.Timedelta(minutes=p.settle_min))


def _settling(
    points: pd.DataFrame, events: pd.DataFrame | None, span: pd.Timedelta
) -> NDArray[np.bool_]:
    """Points less than ``span`` after a deploy of their workload, (n_points,)."""
    if events is None or events.empty or points.empty:
        return np.zeros(len(points), dtype=bool)
    deploys = events.loc[events["event"] == DEPLOY, ["workload", "ts"]].astype({"workload": "str"})
    deploys = deploys.assign(deploy=deploys["ts"].dt.as_unit("ms")).sort_values("deploy")
    rows = points[["workload", "ts"]].astype({"workload": "str"}).reset_index().sort_values("ts")
    found = pd.merge_asof(
        rows, deploys[["workload", "deploy"]], left_on="ts", right_on="deploy", by="workload"
    )
    close = (found["ts"] - found["deploy"]) < span
    out = np.zeros(len(points), dtype=bool)
    out[found["index"].to_numpy()] = close.to_numpy()
    return out


def _anomalous(
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    p: IncidentParams,
    events: pd.DataFrame | None,
    edges: pd.DataFrame | None,
    calendars: Sequence[Calendar],
) -> pd.DataFrame:
    if runs.empty:
        return runs
    runs = by_workload(runs, pd.Timedelta(minutes=p.gap_min))
    near, cap = pd.Timedelta(minutes=p.join_min), pd.Timedelta(hours=p.cap_h)
    runs["incident"] = incident_numbers(runs, near, cap, edges)
    runs = runs.sort_values(["start", "workload", "metric"], ignore_index=True)
    frame = _rows(runs, "anomaly")
    before = pd.Timedelta(hours=p.before_h)
    ranked = ranked_evidence(runs, scores, before, events, edges, calendars)
    frame["causes"] = frame["incident"].map(cause_lists(ranked, frame["incident"], p.causes))
    frame["title"] = titles(frame, runs, ranked, scores, calendars)
    frame["severity"] = np.where(frame["score"] >= CRITICAL, "critical", "warning")
    return frame


def _leak_runs(leaks: pd.DataFrame, p: IncidentParams) -> pd.DataFrame:
    rule = RunParams(p.leak_persist, p.leak_persist, np.inf, 1, p.end_score, p.leak_clear)
    return find_runs(suspects(leaks, "issued_at"), rule, pd.Timedelta(0))


def _leaking(runs: pd.DataFrame, leaks: pd.DataFrame, p: IncidentParams) -> pd.DataFrame:
    if runs.empty:
        return runs
    runs = by_workload(runs, pd.Timedelta(minutes=p.gap_min))
    runs["incident"] = runs["group"]
    runs = runs.sort_values(["start", "workload", "metric"], ignore_index=True)
    frame = _rows(runs, "leak")
    frame["causes"] = frame["incident"].map(leak_causes(runs, leaks, p.causes))
    frame["title"] = frame["incident"].map(leak_titles(runs, leaks))
    left_s = _shortest(runs, leaks).reindex(frame["incident"]).to_numpy()
    frame["severity"] = np.where(left_s < 3600 * p.leak_critical_h, "critical", "warning")
    return frame


def _shortest(runs: pd.DataFrame, leaks: pd.DataFrame) -> pd.Series:
    """Incident → the least median time to the limit that was issued while it leaked, seconds."""
    own = leaks[["workload", "metric", "issued_at", "time_to_limit_p50_s"]]
    rows = runs.merge(own.astype({"workload": "str", "metric": "str"}), on=["workload", "metric"])
    inside = rows["issued_at"].between(rows["start"], rows["end"].fillna(FAR))
    return rows[inside].groupby("incident")["time_to_limit_p50_s"].min()


def _step(ts: pd.Series) -> pd.Timedelta:
    """Length of a step: the usual distance of neighbouring stamps."""
    gaps = pd.Series(ts.unique()).sort_values().diff().dropna()
    return gaps.mode().iloc[0] if len(gaps) else pd.Timedelta(300, "s")


def _rows(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row an incident; ``runs`` comes sorted by start, so that the first member is shown. What
    was detected first names it, whatever is found to have begun earlier."""
    runs = runs.assign(end=runs["end"].fillna(FAR))
    frame = runs.groupby("incident", sort=False).agg(
        workload=("workload", "first"),
        metric=("metric", "first"),
        started_at=("start", "min"),
        detected_at=("detected", "min"),
        ended_at=("end", "max"),
        workloads=("workload", lambda w: sorted(set(w))),
        score=("score", "max"),
        suppressed_alerts=("alerts", "sum"),
    )
    frame["ended_at"] = frame["ended_at"].where(frame["ended_at"] < FAR)
    frame["suppressed_alerts"] -= 1
    early = runs[runs["detected"] == runs["incident"].map(frame["detected_at"])]
    frame["gone"] = early.groupby("incident")["gone"].all()
    names = early.drop_duplicates("incident").set_index("incident").loc[frame.index]
    first = zip(names["workload"], names["metric"], names["start"].astype(str), strict=True)
    frame["incident_id"] = [_id(kind, *member) for member in first]
    return frame.reset_index()


def _id(*member: str) -> str:
    """The same for every run that sees the same first member; hexadecimal, 16 characters."""
    return hashlib.blake2b("|".join(member).encode(), digest_size=8).hexdigest()
