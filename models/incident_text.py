"""What an incident says to a person: ranked causes with evidence, and a title in short words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.base import WHOLE_WORKLOAD
from models.causes import changed_in_words, explained_by_callees, measure_changes

__all__ = ["cause_lists", "leak_causes", "leak_titles", "titles"]

Causes = list[dict[str, Any]]
_EVENT_WITHIN = pd.Timedelta(1, "h")


def cause_lists(
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    before: pd.Timedelta,
    limit: int,
    events: pd.DataFrame | None,
    edges: pd.DataFrame | None,
) -> dict[int, Causes]:
    """Incident → causes, best first, from what was known when it was detected.

    Every scored metric of a member is held against its own past. A member with a callee that went
    wrong no later ranks below it. An event at most an hour before ranks with its workload's
    strongest change.
    """
    by_incident = runs.groupby("incident")
    spans = by_incident.agg(start=("start", "min"), detected=("detected", "min")).reset_index()
    members = runs.groupby(["incident", "workload"]).agg(first=("start", "min")).reset_index()
    members = members.merge(spans, on="incident")
    changes = _changes(members, scores, before)
    onset = runs.groupby(["incident", "workload", "metric"], as_index=False)["start"].min()
    onset["place"] = onset.groupby("incident")["start"].rank(method="min")
    onset["of"] = onset.groupby("incident")["start"].transform("size")
    changes = changes.merge(onset, on=["incident", "workload", "metric"], how="left")
    if len(changes):
        changes["evidence"] = changed_in_words(changes) + _when(changes)
    ranked = pd.concat([_event_causes(members, changes, events), changes], ignore_index=True)
    ranked["explained"] = _explained(ranked, members, edges)
    ranked = ranked.sort_values(
        ["explained", "score", "workload", "metric"], ascending=[True, False, True, True]
    )
    best = ranked.groupby("incident", sort=False).head(limit)
    return _listed(best) | {i: [] for i in set(spans["incident"]) - set(best["incident"])}


def _changes(members: pd.DataFrame, scores: pd.DataFrame, before: pd.Timedelta) -> pd.DataFrame:
    part = scores.loc[
        scores["workload"].isin(members["workload"]).to_numpy(),
        ["workload", "metric", "ts", "value"],
    ]
    part = part.dropna(subset="value").astype({"workload": str, "metric": str})
    part = part[part["metric"] != WHOLE_WORKLOAD]  # its value is a score, nothing that was measured
    part["ts"] = part["ts"].dt.as_unit("ms")
    old, new = [], []
    for _, rows in members.groupby("incident"):
        start, detected = rows["start"].iloc[0], rows["detected"].iloc[0]
        near = part[(part["ts"] >= start - before) & (part["ts"] < detected)]
        near = near[near["workload"].isin(rows["workload"])]
        near = near.drop_duplicates(["workload", "metric", "ts"])
        near = near.assign(incident=rows["incident"].iloc[0])
        old.append(near[near["ts"] < start])
        new.append(near[near["ts"] >= start])
    changes = measure_changes(pd.concat(old), pd.concat(new), ["incident", "workload", "metric"])
    return changes[~_for_the_better(changes, scores)].reset_index(drop=True)


def _for_the_better(changes: pd.DataFrame, scores: pd.DataFrame) -> NDArray[np.bool_]:
    """Changes to the side that a band leaves open: fewer errors are no cause of trouble."""
    if not {"lower", "upper"} <= set(scores.columns):
        return np.zeros(len(changes), dtype=bool)
    band = scores.groupby("metric", observed=True).agg(low=("lower", "max"), high=("upper", "min"))
    metric = changes["metric"]
    falls_free = metric.isin(band.index[np.isneginf(band["low"].to_numpy(dtype=float))])
    rises_free = metric.isin(band.index[np.isposinf(band["high"].to_numpy(dtype=float))])
    fell = changes["became"] < changes["was"]
    return ((falls_free & fell) | (rises_free & ~fell)).to_numpy(dtype=bool)


def _when(changes: pd.DataFrame) -> pd.Series:
    """`` at 10:05, first of 4 metrics``; nothing for a metric that is not itself anomalous."""
    at = " at " + changes["start"].dt.strftime("%H:%M")
    first = (changes["place"] == 1) & (changes["of"] > 1)
    of = ", first of " + changes["of"].fillna(0).astype(int).astype(str) + " metrics"
    return at.fillna("") + of.where(first, "")


def _event_causes(
    members: pd.DataFrame, changes: pd.DataFrame, events: pd.DataFrame | None
) -> pd.DataFrame:
    columns = ["incident", "workload", "metric", "score", "evidence"]
    if events is None or events.empty:
        return pd.DataFrame(columns=columns)
    near = members.merge(events.astype({"workload": str}), on="workload")
    near = near[(near["ts"] <= near["first"]) & (near["ts"] >= near["first"] - _EVENT_WITHIN)]
    best = changes.groupby(["incident", "workload"], as_index=False)["score"].max()
    near = near.merge(best, on=["incident", "workload"], how="left").fillna({"score": 1.0})
    minutes = ((near["first"] - near["ts"]) / pd.Timedelta(1, "min")).round().astype(int)
    near["metric"] = near["event"].astype(str)
    at = near["ts"].dt.strftime("%H:%M")
    near["evidence"] = near["metric"] + " at " + at + ", " + minutes.astype(str) + " min before"
    return near[columns]


def _explained(
    ranked: pd.DataFrame, members: pd.DataFrame, edges: pd.DataFrame | None
) -> list[bool]:
    blamed = {
        (rows["incident"].iloc[0], workload)
        for _, rows in members.groupby("incident")
        for workload in explained_by_callees(rows.set_index("workload")["first"], edges)
    }
    return [pair in blamed for pair in zip(ranked["incident"], ranked["workload"], strict=True)]


def _listed(best: pd.DataFrame) -> dict[int, Causes]:
    columns = ["workload", "metric", "score", "evidence"]
    listed: dict[int, Causes] = {}
    for number, cause in zip(best["incident"], best[columns].to_dict("records"), strict=True):
        listed.setdefault(int(number), []).append({str(k): v for k, v in cause.items()})
    return listed


def titles(incidents: pd.DataFrame) -> list[str]:
    """``checkout: error_ratio ×9 from 0.2% to 1.8%``; several workloads are counted and the
    likeliest is named.
    """
    said: list[str] = []
    rows: list[dict[str, Any]] = [
        {str(k): v for k, v in r.items()} for r in incidents.to_dict("records")
    ]
    for row in rows:
        events = [c for c in row["causes"] if c["evidence"].startswith(f"{c['metric']} at ")]
        measured = [c for c in row["causes"] if c not in events]
        top = measured[0] if measured else row
        metric = "the whole" if row["metric"] == WHOLE_WORKLOAD else row["metric"]
        what = str(top.get("evidence", f"{metric} is unusual")).split(" at ")[0]
        others = len(row["workloads"]) - 1
        more = f", and {others} more workload{'s' * (others > 1)}" if others else ""
        after = f", after a {events[0]['metric']}" if events else ""
        said.append(f"{_name(top['workload'])}: {what}{more}{after}")
    return said


def _at_detection(runs: pd.DataFrame, leaks: pd.DataFrame) -> pd.DataFrame:
    rows = leaks.astype({"workload": str, "metric": str}).rename(columns={"score": "at_score"})
    rows["detected"] = rows["issued_at"].dt.as_unit("ms")
    return runs.merge(rows, on=["workload", "metric", "detected"]).sort_values("detected")


def leak_causes(runs: pd.DataFrame, leaks: pd.DataFrame, limit: int) -> dict[int, Causes]:
    """Incident → the leaking metrics, with the growth that was seen at detection."""
    rows = _at_detection(runs, leaks)
    share = (rows["value"] / rows["limit"]).map("{:.0%}".format)
    slope = rows["slope_per_h"].map("{:.3g}".format)
    rows["evidence"] = (
        rows["metric"] + " grows by " + slope + " an hour, " + share + " of its limit used"
    )
    return _listed(rows.groupby("incident", sort=False).head(limit))


def leak_titles(runs: pd.DataFrame, leaks: pd.DataFrame) -> dict[int, str]:
    """Incident → ``memory leak: checkout reaches its limit in 9 h (6–15 h)``."""
    rows = _at_detection(runs, leaks).drop_duplicates("incident")
    said: dict[int, str] = {}
    for row in rows.to_dict("records"):
        p10, p50, p90 = (row[f"time_to_limit_p{q}_s"] / 3600 for q in (10, 50, 90))
        what = "memory" if "memory" in row["metric"] else row["metric"]
        span = f"{p10:.0f}–{p90:.0f} h" if np.isfinite(p90) else f"{p10:.0f} h or more"
        near = "is about to reach its limit" if p50 < 1 else f"{p50:.0f} h ({span}) from its limit"
        when = f"{near} when detected" if np.isfinite(p50) else "keeps growing"
        said[int(row["incident"])] = f"{what} leak: {_name(row['workload'])} {when}"
    return said


def _name(workload: str) -> str:
    return workload.rsplit("/", 1)[-1]
