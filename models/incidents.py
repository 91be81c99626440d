"""Incidents: anomalies that belong together in time and topology, what a person is told about.

Points become anomalies by persistence and hysteresis; anomalies of one workload, and those that begin together along
the call graph (or in one namespace), become one incident. A leak is an incident of its own kind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from models.causes import evidence, explained_by_callees, measure_changes

__all__ = ["INCIDENT_COLUMNS", "IncidentParams", "group_incidents"]

INCIDENT_COLUMNS = (
    "incident_id", "started_at", "detected_at", "ended_at", "title", "workloads", "causes", "score",
    "suppressed_alerts",
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
    """An anomaly ends after ``clear_n`` points in a row below this."""
    clear_n: int = 6
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
    """Scores and leaks to incidents: ``INCIDENT_COLUMNS``, one row an incident, in the order of detection.

    Parameters
    ----------
    scores
        Columns ``workload, metric, ts, score, value`` at least; normal points too. Order does not matter.
    leaks
        The leaks table.
    events
        ``workload, ts, event``: what people or deployers did; a recent one is named as a cause.
    edges
        ``caller, callee``: the call graph. Without it neighbours are the workloads of one namespace.

    ``detected_at`` is the first moment at which the anomaly could be known (its last point had ended); ``ended_at`` is
    empty while it lasts.
    """
    params = params or IncidentParams()
    found = [_anomalous(scores, params, events, edges), _leaking(leaks, params)]
    found = [f for f in found if len(f)]
    if not found:
        return _empty()
    frame = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    frame = frame.sort_values(["detected_at", "incident_id"], ignore_index=True)
    return frame[list(INCIDENT_COLUMNS)]


def _empty() -> pd.DataFrame:
    frame = pd.DataFrame({c: pd.Series(dtype=object) for c in INCIDENT_COLUMNS})
    stamps = {c: "datetime64[ms, UTC]" for c in ("started_at", "detected_at", "ended_at")}
    return frame.astype(
        {**stamps, "incident_id": "str", "title": "str", "score": "float64", "suppressed_alerts": "int64"}
    )


def _suspects(points: pd.DataFrame, at: str) -> pd.DataFrame:
    """All points of the series that were ever at or above 1: one a stamp, the worst detector's, with ``alerts``."""
    workload, workloads = pd.factorize(points["workload"].astype("str"), sort=True)
    metric, metrics = pd.factorize(points["metric"].astype("str"), sort=True)
    series = workload.astype(np.int64) * max(len(metrics), 1) + metric
    score = points["score"].to_numpy(dtype=np.float64)
    keep = np.flatnonzero(np.isin(series, np.unique(series[score >= 1])) & np.isfinite(score))
    ts = points[at].dt.as_unit("ms")
    stamp = ts.astype("int64").to_numpy()
    keep = keep[np.lexsort((-score[keep], stamp[keep], series[keep]))]
    new = np.r_[True, (np.diff(series[keep]) != 0) | (np.diff(stamp[keep]) != 0)][: len(keep)]
    cell = np.cumsum(new) - 1
    best = keep[new]
    return pd.DataFrame(
        {
            "workload": np.asarray(workloads, dtype=object)[workload[best]],
            "metric": np.asarray(metrics, dtype=object)[metric[best]],
            "ts": ts.iloc[best].array,
            "score": score[best],
            "alerts": np.bincount(cell, score[keep] >= 1, minlength=len(best)).astype(np.int64),
        }
    )


def _trailing(flag: NDArray[np.bool_], n: int, first: NDArray[np.intp]) -> NDArray[np.int64]:
    """How many of the last n points of the same series are set; ``first``: where each point's series begins."""
    total = np.r_[0, np.cumsum(flag)]
    here = np.arange(len(flag))
    return total[here + 1] - total[np.maximum(here + 1 - n, first)]


def _anomalies(points: pd.DataFrame, p: IncidentParams, clear_n: int, step: pd.Timedelta) -> pd.DataFrame:
    """Runs of one series: ``workload, metric, start, detected, end (empty while it lasts), score, alerts, row``.

    ``points`` comes sorted by series and ts. A run opens when enough of its last points were at or above 1, and closes
    after clear_n points below the end score.
    """
    series = points.groupby(["workload", "metric"], sort=False).ngroup().to_numpy()
    first = np.searchsorted(series, series)
    score, ts = points["score"].to_numpy(), points["ts"]
    hot = score >= 1
    opens = _trailing(hot, p.persist_n, first) >= p.persist_m
    opens |= _trailing(score >= p.severe, p.severe_points, first) >= p.severe_points
    clears = _trailing(score < p.end_score, clear_n, first) >= clear_n
    begins = np.r_[True, series[1:] != series[:-1]] if len(series) else np.zeros(0, bool)
    said = np.where(opens | clears | begins, np.arange(len(points)), 0)
    active = (opens & ~clears)[np.maximum.accumulate(said)] if len(points) else opens
    edge = active & (begins | ~np.r_[False, active[:-1]])
    run = np.cumsum(edge) - 1
    at = np.flatnonzero(edge)
    back = np.maximum(at - max(p.persist_n, p.severe_points) + 1, first[at])
    width = np.arange(max(p.persist_n, p.severe_points))
    window = np.minimum(back[:, None] + width, at[:, None])
    start = window[np.arange(len(at)), np.argmax(hot[window], axis=1)]
    live = active & (score >= p.end_score)
    last = pd.Series(np.flatnonzero(live)).groupby(run[live]).max().to_numpy()
    final = pd.Series(np.flatnonzero(active)).groupby(run[active]).max().to_numpy()
    series_end = np.searchsorted(series, series[final], side="right") - 1
    alerts = np.r_[0, np.cumsum(points["alerts"].to_numpy())]
    return pd.DataFrame(
        {
            "workload": points["workload"].to_numpy()[at],
            "metric": points["metric"].to_numpy()[at],
            "start": ts.iloc[start].array,
            "detected": (ts.iloc[at] + step).array,
            "end": (ts.iloc[last] + step).where(final < series_end).array,
            "score": pd.Series(score[live]).groupby(run[live]).max().to_numpy(),
            "alerts": alerts[last + 1] - alerts[start],
            "row": at,
        }
    )


def _anomalous(
    scores: pd.DataFrame,
    p: IncidentParams,
    events: pd.DataFrame | None,
    edges: pd.DataFrame | None,
) -> pd.DataFrame:
    points = _suspects(scores, "ts")
    step = _step(scores["ts"])
    runs = _anomalies(points, p, p.clear_n, step)
    if runs.empty:
        return runs
    runs["incident"] = _joined(_by_workload(runs, p), p, edges)
    runs = runs.sort_values(["incident", "start", "workload", "metric"], ignore_index=True)
    causes = _causes(runs, scores, p, events, edges)
    return _rows(runs, causes, "anomaly").assign(title=lambda f: _titles(f, runs))


def _step(ts: pd.Series) -> pd.Timedelta:
    """Length of a step: the usual distance of neighbouring stamps."""
    gaps = ts.drop_duplicates().sort_values().diff().dropna()
    return gaps.mode().iloc[0] if len(gaps) else pd.Timedelta(300, "s")


def _by_workload(runs: pd.DataFrame, p: IncidentParams) -> pd.DataFrame:
    """Add ``group``: runs of one workload that overlap or follow within the gap."""
    runs = runs.sort_values(["workload", "start", "metric"], ignore_index=True)
    reach = runs["end"].fillna(_FAR).groupby(runs["workload"]).cummax()
    late = runs["start"] > reach.shift() + pd.Timedelta(minutes=p.gap_min)
    runs["group"] = (late | (runs["workload"] != runs["workload"].shift())).cumsum() - 1
    return runs


def _joined(runs: pd.DataFrame, p: IncidentParams, edges: pd.DataFrame | None) -> NDArray[np.int64]:
    """Number of the incident of each run; sorts nothing, ``runs`` keeps its rows."""
    groups = runs.groupby("group").agg(workload=("workload", "first"), start=("start", "min"))
    groups = groups.reset_index().sort_values(["start", "workload"])
    near = pd.Timedelta(minutes=p.join_min)
    if edges is None or edges.empty:
        groups["place"] = groups["workload"].str.split("/").str[:2].str.join("/")
        groups = groups.sort_values(["place", "start", "workload"])
        begins = (groups["start"].diff() > near) | (groups["place"] != groups["place"].shift())
        chain = begins.cumsum()
        age = groups["start"] - groups.groupby(chain)["start"].transform("min")
        part = chain.astype(str) + "/" + (age // pd.Timedelta(hours=p.cap_h)).astype(str)
        incident = pd.Series(pd.factorize(part)[0], index=groups["group"])
        return incident.reindex(runs["group"]).to_numpy()
    calls = edges[["caller", "callee"]].astype(str).drop_duplicates()
    pairs = calls.merge(groups, left_on="caller", right_on="workload")
    pairs = pairs.merge(groups, left_on="callee", right_on="workload", suffixes=("_a", "_b"))
    pairs = pairs[(pairs["start_a"] - pairs["start_b"]).abs() <= near]
    n = len(groups)
    links = coo_array((np.ones(len(pairs)), (pairs["group_a"], pairs["group_b"])), shape=(n, n))
    component = connected_components(links, directed=False)[1]
    groups["component"] = component[groups["group"]]
    age = groups["start"] - groups.groupby("component")["start"].transform("min")
    part = groups["component"].astype(str) + "/" + (age // pd.Timedelta(hours=p.cap_h)).astype(str)
    incident = pd.Series(pd.factorize(part)[0], index=groups["group"])
    return incident.reindex(runs["group"]).to_numpy()


def _causes(
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    p: IncidentParams,
    events: pd.DataFrame | None,
    edges: pd.DataFrame | None,
) -> pd.DataFrame:
    """Ranked causes of each incident: ``incident, workload, metric, score, evidence``; seen by its detection only."""
    spans = runs.groupby("incident").agg(start=("start", "min"), detected=("detected", "min"))
    members = runs.groupby(["incident", "workload"], as_index=False)["start"].min()
    members = members.rename(columns={"start": "first"}).merge(spans, on="incident")
    part = scores.loc[scores["workload"].isin(members["workload"]), [*_SEEN]]
    part = part.astype({"workload": str, "metric": str}).drop_duplicates(["workload", "metric", "ts"])
    seen = members.merge(part.dropna(subset="value"), on="workload")
    hours = pd.Timedelta(hours=p.before_h)
    old = seen[(seen["ts"] < seen["start"]) & (seen["ts"] >= seen["start"] - hours)]
    new = seen[(seen["ts"] >= seen["first"]) & (seen["ts"] < seen["detected"].clip(lower=seen["first"] + pd.Timedelta(minutes=p.gap_min)))]
    ranked = measure_changes(old, new, ["incident", "workload", "metric"])
    return ranked
