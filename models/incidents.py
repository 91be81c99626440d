"""Incidents: anomalies that belong together in time and topology, what a person is told about.

Points become anomalies by persistence and hysteresis; anomalies of one workload, and those that
begin together along the call graph (or in one namespace), become one incident. A leak is one of its
own kind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from models.anomaly_runs import RunParams, find_runs, suspects
from models.incident_text import cause_lists, leak_causes, leak_titles, titles

__all__ = ["INCIDENT_COLUMNS", "IncidentParams", "group_incidents"]

INCIDENT_COLUMNS = (
    "incident_id", "started_at", "detected_at", "ended_at", "title", "workloads", "causes",
    "score", "suppressed_alerts",
)  # fmt: skip
_FAR = pd.Timestamp("2200-01-01", tz="UTC")


@dataclass(frozen=True, slots=True)
class IncidentParams:
    """Knobs of the one place where scores become alerts."""

    persist_m: int = 3
    """Points at or above 1 …"""
    persist_n: int = 4
    """… among so many neighbours make an anomaly."""
    severe: float = 3.0
    """From this score on, ``severe_points`` in a row are enough."""
    severe_points: int = 2
    end_score: float = 0.7
    """An anomaly ends below this …"""
    clear_n: int = 6
    """Points in a row below ``end_score`` that end an anomaly."""
    gap_min: float = 30.0
    """Anomalies of one workload so close to each other are one incident."""
    join_min: float = 15.0
    """Anomalies of neighbours that begin so close to each other are one incident."""
    cap_h: float = 6.0
    """Neighbours are not joined into an incident that began longer ago."""
    leak_persist: int = 2
    """Issues in a row at or above 1 that make a leak an incident."""
    leak_clear: int = 24
    """Issues in a row below ``end_score`` that end it."""
    before_h: float = 6.0
    """What is normal, for the causes: the time before the start."""
    causes: int = 5

    def __post_init__(self) -> None:
        """Refuse what could never start or never end an anomaly."""
        for f in fields(self):
            if not getattr(self, f.name) > 0:
                raise ValueError(f"{f.name} must be above 0, got {getattr(self, f.name)}")
        if self.persist_m > self.persist_n:
            raise ValueError(
                f"persist_m must be at most persist_n ({self.persist_n}), got {self.persist_m}"
            )


def group_incidents(
    scores: pd.DataFrame,
    leaks: pd.DataFrame,
    params: IncidentParams | None = None,
    events: pd.DataFrame | None = None,
    edges: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Scores and leaks to incidents: ``INCIDENT_COLUMNS``, one row an incident, in the order of
    detection.

    Parameters
    ----------
    scores
        Columns ``workload, metric, ts, score, value`` at least; normal points too. Order does not
        matter.
    leaks
        The leaks table.
    events
        ``workload, ts, event``: what people or deployers did; a recent one is named as a cause.
    edges
        ``caller, callee``: the call graph. Without it neighbours are the workloads of one
        namespace.

    ``detected_at`` is the first moment at which the anomaly could be known (its last point had
    ended); ``ended_at`` is empty while it lasts.
    """
    params = params or IncidentParams()
    found = [_anomalous(scores, params, events, edges), _leaking(leaks, params)]
    found = [f for f in found if len(f)]
    if not found:
        return _empty()
    frame = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    frame = frame.sort_values(["detected_at", "incident_id"], ignore_index=True)
    for column in ("started_at", "detected_at", "ended_at"):
        frame[column] = frame[column].dt.as_unit("ms")
    return frame[list(INCIDENT_COLUMNS)]


def _empty() -> pd.DataFrame:
    frame = pd.DataFrame({c: pd.Series(dtype=object) for c in INCIDENT_COLUMNS})
    stamps = dict.fromkeys(("started_at", "detected_at", "ended_at"), "datetime64[ms, UTC]")
    return frame.astype(
        {
            **stamps,
            "incident_id": "str",
            "title": "str",
            "score": "float64",
            "suppressed_alerts": "int64",
        }
    )


def _anomalous(
    scores: pd.DataFrame,
    p: IncidentParams,
    events: pd.DataFrame | None,
    edges: pd.DataFrame | None,
) -> pd.DataFrame:
    rule = RunParams(p.persist_m, p.persist_n, p.severe, p.severe_points, p.end_score, p.clear_n)
    runs = find_runs(suspects(scores, "ts"), rule, _step(scores["ts"]))
    if runs.empty:
        return runs
    runs = _by_workload(runs, p)
    runs["incident"] = _joined(runs, p, edges)
    runs = runs.sort_values(["start", "workload", "metric"], ignore_index=True)
    frame = _rows(runs, "anomaly")
    before = pd.Timedelta(hours=p.before_h)
    causes = cause_lists(runs, scores, before, p.causes, events, edges)
    frame["causes"] = frame["incident"].map(causes)
    frame["title"] = titles(frame)
    return frame


def _leaking(leaks: pd.DataFrame, p: IncidentParams) -> pd.DataFrame:
    points = suspects(leaks, "issued_at")
    rule = RunParams(p.leak_persist, p.leak_persist, np.inf, 1, p.end_score, p.leak_clear)
    runs = find_runs(points, rule, pd.Timedelta(0))
    if runs.empty:
        return runs
    runs = _by_workload(runs, p)
    runs["incident"] = runs["group"]
    runs = runs.sort_values(["start", "workload", "metric"], ignore_index=True)
    frame = _rows(runs, "leak")
    frame["causes"] = frame["incident"].map(leak_causes(runs, leaks, p.causes))
    frame["title"] = frame["incident"].map(leak_titles(runs, leaks))
    return frame


def _step(ts: pd.Series) -> pd.Timedelta:
    """Length of a step: the usual distance of neighbouring stamps."""
    gaps = pd.Series(ts.unique()).sort_values().diff().dropna()
    return gaps.mode().iloc[0] if len(gaps) else pd.Timedelta(300, "s")


def _by_workload(runs: pd.DataFrame, p: IncidentParams) -> pd.DataFrame:
    """Sort and add ``group``: runs of one workload that overlap or follow within the gap."""
    runs = runs.sort_values(["workload", "start", "metric"], ignore_index=True)
    reach = runs["end"].fillna(_FAR).groupby(runs["workload"]).cummax()
    late = runs["start"] > reach.shift() + pd.Timedelta(minutes=p.gap_min)
    runs["group"] = (late | (runs["workload"] != runs["workload"].shift())).cumsum() - 1
    return runs


def _joined(runs: pd.DataFrame, p: IncidentParams, edges: pd.DataFrame | None) -> NDArray[np.int64]:
    """Number of each run's incident: linked groups, cut where a chain grows too old."""
    by = runs.groupby("group")
    groups = by.agg(workload=("workload", "first"), start=("start", "min")).reset_index()
    near = pd.Timedelta(minutes=p.join_min)
    pairs = _in_namespace(groups, near) if edges is None else _on_graph(groups, near, edges)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(groups),) * 2)
    linked = pd.Series(connected_components(links, directed=False)[1], index=groups.index)
    age = groups["start"] - groups["start"].groupby(linked).transform("min")
    era = age.dt.total_seconds() // (3600 * p.cap_h)
    part = groups.groupby([linked, era], sort=False).ngroup().to_numpy(dtype=np.int64)
    return part[runs["group"].to_numpy()].astype(np.int64)


def _in_namespace(groups: pd.DataFrame, near: pd.Timedelta) -> NDArray[np.int64]:
    """Pairs of groups of one cluster and namespace that begin close to each other, (n_pairs, 2)."""
    place = groups["workload"].str.split("/").str[:2].str.join("/")
    known = groups.assign(place=place).sort_values(["place", "start", "workload"])
    linked = (known["place"] == known["place"].shift()) & (known["start"].diff() <= near)
    number = known["group"].to_numpy(dtype=np.int64)
    to = np.flatnonzero(linked)
    return np.column_stack([number[to - 1], number[to]])


def _on_graph(groups: pd.DataFrame, near: pd.Timedelta, edges: pd.DataFrame) -> NDArray[np.int64]:
    """Pairs of groups of caller and callee that begin close to each other, (n_pairs, 2)."""
    calls = edges[["caller", "callee"]].astype(str).drop_duplicates()
    pairs = calls.merge(groups, left_on="caller", right_on="workload")
    pairs = pairs.merge(groups, left_on="callee", right_on="workload", suffixes=("", "_callee"))
    close = (pairs["start"] - pairs["start_callee"]).abs() <= near
    return pairs.loc[close, ["group", "group_callee"]].to_numpy(dtype=np.int64)


def _rows(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row an incident; ``runs`` comes sorted by start, so that the first member names it."""
    runs = runs.assign(end=runs["end"].fillna(_FAR))
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
    frame["ended_at"] = frame["ended_at"].where(frame["ended_at"] < _FAR)
    frame["suppressed_alerts"] -= 1
    first = zip(frame["workload"], frame["metric"], frame["started_at"].astype(str), strict=True)
    frame["incident_id"] = [_id(kind, *member) for member in first]
    return frame.reset_index()


def _id(*member: str) -> str:
    """The same for every run that sees the same first member; hexadecimal, 16 characters."""
    return hashlib.blake2b("|".join(member).encode(), digest_size=8).hexdigest()
