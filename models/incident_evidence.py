"""What speaks for each cause of an incident: what was measured before and after, what is missing,
what somebody changed. All incidents at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.changes import CLUSTER_NAMESPACE, DEPLOY, RESTART
from features.civil import Calendar
from features.local_clock import local_clock
from features.topology import resolve_edges
from models.base import WHOLE_WORKLOAD
from models.causes import changed_in_words, measure_changes

__all__ = ["EVENT", "GONE", "MEASURED", "ranked_evidence", "rows_of"]

MEASURED, GONE, EVENT = "measured", "gone", "event"
"""Kinds of evidence."""

_EVENT_WITHIN_MIN = 60.0
_ELSEWHERE = 0.5  # weight of what happened to the cluster against what happened to the workload
_BY_SCORE = ["explained", "score", "workload", "metric"]
_CELL = ["incident", "workload", "metric"]


def ranked_evidence(
    runs: pd.DataFrame,
    scores: pd.DataFrame,
    before: pd.Timedelta,
    events: pd.DataFrame | None,
    edges: pd.DataFrame | None,
    calendars: Sequence[Calendar],
) -> pd.DataFrame:
    """Evidence of each incident, best first, from what was known when it was detected.

    ``runs`` has ``incident, workload, metric, start, detected, score, gone``. The result has
    ``incident, workload, metric, score, confidence, evidence, kind``. Every scored metric of a
    member is held against its own past, at the same time of its day and week where a score says
    what was expected. A member with a callee that went wrong no later ranks below it. An event of
    the last hour ranks with its workload's strongest change, less the older it is. ``confidence``
    is the share of all of an incident's evidence that does not merely follow from a callee.
    """
    spans = runs.groupby("incident").agg(start=("start", "min"), detected=("detected", "min"))
    members = runs.groupby(["incident", "workload"]).agg(first=("start", "min")).reset_index()
    members = members.merge(spans.reset_index(), on="incident")
    known = runs[runs["start"] < runs["incident"].map(spans["detected"])]
    onset = known.groupby(_CELL, as_index=False).agg(
        first=("start", "min"), score=("score", "max"), gone=("gone", "all")
    )
    changes = _changes(members, scores, before)
    changes["evidence"] = _in_words(changes) + _when(changes, onset, calendars)
    absent = _absent(onset, calendars)
    parts = [
        _event_causes(members, pd.concat([changes, absent]), events, calendars),
        changes,
        absent,
    ]
    ranked = pd.concat([p for p in parts if len(p)] or parts, ignore_index=True)
    ranked["explained"] = _explained(ranked, members, edges)
    ranked = ranked.sort_values(_BY_SCORE, ascending=[True, False, True, True], ignore_index=True)
    own = ranked["score"].where(~ranked["explained"], 0.0).astype("float64")
    total = own.groupby(ranked["incident"]).transform("sum")
    ranked["confidence"] = (own / total.where(total > 0)).fillna(0.0)
    return ranked[["incident", "workload", "metric", "score", "confidence", "evidence", "kind"]]


def rows_of(scores: pd.DataFrame, workloads: pd.Series) -> NDArray[np.intp]:
    """Positions of the rows of the given workloads; one look at the codes where there are codes."""
    column = scores["workload"]
    if isinstance(column.dtype, pd.CategoricalDtype):
        wanted = np.r_[column.cat.categories.isin(workloads), False]
        return np.flatnonzero(wanted[column.cat.codes.to_numpy()])
    return np.flatnonzero(column.isin(workloads).to_numpy())


def _changes(members: pd.DataFrame, scores: pd.DataFrame, before: pd.Timedelta) -> pd.DataFrame:
    """Robust change of each member's metrics around the start of its incident."""
    columns = [c for c in ("expected", "lower", "upper") if c in scores.columns]
    at = rows_of(scores, members["workload"])
    part = scores.iloc[at][["workload", "metric", "ts", "value", *columns]]
    inside = part["ts"].between(members["start"].min() - before, members["detected"].max())
    part = part[inside.to_numpy() & part["value"].notna().to_numpy()]
    part = part.astype({"workload": "str", "metric": "str"})
    part = part[part["metric"] != WHOLE_WORKLOAD]  # its value is a score, nothing that was measured
    if "lower" in columns:  # a detector without a band may stand beside the one that has it
        part = part.iloc[np.argsort(part["lower"].isna().to_numpy(), kind="stable")]
    part = part.drop_duplicates(["workload", "metric", "ts"])
    harmless = _harmless_sides(part)
    part["ts"] = part["ts"].dt.as_unit("ms")
    near = members.drop(columns="first").merge(part, on="workload")
    near = near[(near["ts"] >= near["start"] - before) & (near["ts"] < near["detected"])]
    old = near["ts"] < near["start"]
    near = _as_expected_now(near, old) if "expected" in columns else near.assign(usual=False)
    changes = measure_changes(near[old], near[~old], _CELL)
    usual = near.groupby(_CELL, as_index=False)["usual"].any()
    changes = changes.merge(usual, on=_CELL, how="left").merge(harmless, on="metric", how="left")
    fell = changes["became"] < changes["was"]
    better = changes["may_fall"].eq(True) & fell | changes["may_rise"].eq(True) & ~fell
    return changes[~better].reset_index(drop=True).assign(kind=MEASURED)


def _as_expected_now(near: pd.DataFrame, old: pd.Series) -> pd.DataFrame:
    """The past moved to the hour of the incident: the slope of the day is nobody's fault.

    What was measured before is shifted by how much more is expected after the start than at its
    own time, and does not go below zero where nothing ever was.
    """
    after = near["expected"].where(~old).groupby([near[c] for c in _CELL]).transform("median")
    shift = (after - near["expected"]).where(old)
    moved = near["value"] + shift.fillna(0.0)
    floor = near["value"].groupby([near[c] for c in _CELL]).transform("min").ge(0)
    near = near.assign(usual=shift.notna(), value=moved.where(~(floor & (moved < 0)), 0.0))
    return near


def _harmless_sides(part: pd.DataFrame) -> pd.DataFrame:
    """Sides that a band leaves open, by metric: fewer errors are no cause of trouble."""
    if not {"lower", "upper"} <= set(part.columns):
        return pd.DataFrame(
            {"metric": pd.Series(dtype="str"), "may_fall": False, "may_rise": False}
        )
    band = part.groupby("metric").agg(low=("lower", "max"), high=("upper", "min"))
    return pd.DataFrame(
        {
            "metric": band.index.astype("str"),
            "may_fall": np.isneginf(band["low"].to_numpy(dtype=float)),
            "may_rise": np.isposinf(band["high"].to_numpy(dtype=float)),
        }
    )


def _in_words(changes: pd.DataFrame) -> pd.Series:
    """``error_ratio ×9 from the usual 0.2% to 1.8%``; ``usual`` where a score said so."""
    if changes.empty:
        return pd.Series(dtype="str")
    said = changed_in_words(changes)
    return said.where(
        ~changes["usual"].astype(bool), said.str.replace("from ", "from the usual ", n=1)
    )


def _when(changes: pd.DataFrame, onset: pd.DataFrame, calendars: Sequence[Calendar]) -> pd.Series:
    """`` at 10:05 UTC, first of 4 metrics``; nothing for a metric that is not itself anomalous."""
    onset = onset.assign(
        place=onset.groupby("incident")["first"].rank(method="min"),
        of=onset.groupby("incident")["first"].transform("size"),
    )
    both = changes[_CELL].merge(onset, on=_CELL, how="left")
    at = " at " + local_clock(both["first"], both["workload"], calendars)
    first = (both["place"] == 1) & (both["of"] > 1)
    of = ", first of " + both["of"].fillna(0).astype(int).astype("str") + " metrics"
    said = at.where(both["first"].notna(), "") + of.where(first, "")
    return said.set_axis(changes.index)


def _absent(onset: pd.DataFrame, calendars: Sequence[Calendar]) -> pd.DataFrame:
    """Metrics that have no samples any more."""
    gone = onset[onset["gone"]]
    since = local_clock(gone["first"], gone["workload"], calendars)
    evidence = "no sample of " + gone["metric"].astype("str") + " since " + since
    return gone[[*_CELL, "score"]].assign(evidence=evidence.astype("str"), kind=GONE)


def _event_causes(
    members: pd.DataFrame,
    found: pd.DataFrame,
    events: pd.DataFrame | None,
    calendars: Sequence[Calendar],
) -> pd.DataFrame:
    """What was changed in the hour before, as evidence of its own."""
    columns = [*_CELL, "score", "evidence", "kind"]
    if events is None or events.empty:
        return pd.DataFrame(columns=columns)
    near = _near(members, events)
    best = found.groupby(["incident", "workload"], as_index=False)["score"].max()
    near = near.merge(best, on=["incident", "workload"], how="left")
    age_min = (near["first"] - near["ts"]).dt.total_seconds() / 60
    weight = (1 - age_min / (2 * _EVENT_WITHIN_MIN)) * near["weight"]
    near["score"] = near["score"].astype("float64").fillna(1.0) * weight
    minutes = age_min.round().astype(int).astype("str")
    at = " at " + local_clock(near["ts"], near["workload"], calendars)
    what = near["event"].astype("str")
    near["evidence"] = what + _moved(near) + at + ", " + minutes + " min before"
    return near.assign(metric=what, kind=EVENT)[columns]


def _near(members: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Each member with the events of the hour before it began, its own and its cluster's; of
    several of one kind the last."""
    events = events.astype({"workload": "str"}).assign(ts=events["ts"].dt.as_unit("ms"))
    place = events["workload"].str.split("/")
    of_all = place.str[1] == CLUSTER_NAMESPACE
    wide = events[of_all].drop(columns="workload").assign(cluster=place[of_all].str[0])
    cluster = members["workload"].str.split("/").str[0]
    own = members.merge(events, on="workload").assign(weight=1.0)
    shared = members.assign(cluster=cluster).merge(wide, on="cluster").assign(weight=_ELSEWHERE)
    near = pd.concat([own, shared.drop(columns="cluster")], ignore_index=True)
    earliest = near["first"] - pd.Timedelta(minutes=_EVENT_WITHIN_MIN)
    near = near[(near["ts"] <= near["first"]) & (near["ts"] >= earliest)]
    return (
        near.sort_values("ts")
        .drop_duplicates(["incident", "workload", "event"], keep="last")
        .reset_index(drop=True)
    )


def _moved(near: pd.DataFrame) -> pd.Series:
    """``: hpa_max_replicas from 6 to 4`` for a setting; a deploy and a restart have no numbers."""
    if not {"metric", "was", "became"} <= set(near.columns):
        return pd.Series("", index=near.index, dtype="str")
    said = ": " + changed_in_words(near)
    return said.where(~near["event"].isin([DEPLOY, RESTART]), "")


def _explained(
    ranked: pd.DataFrame, members: pd.DataFrame, edges: pd.DataFrame | None
) -> NDArray[np.bool_]:
    """Rows of members with a callee in the same incident that went wrong no later."""
    if edges is None or edges.empty:
        return np.zeros(len(ranked), dtype=bool)
    calls = resolve_edges(edges, members["workload"].unique())
    own = members[["incident", "workload", "first"]]
    pairs = own.merge(calls, left_on="workload", right_on="caller")
    pairs = pairs.merge(
        own, left_on=["incident", "callee"], right_on=["incident", "workload"], suffixes=("", "_c")
    )
    follows = pairs.loc[pairs["first_c"] <= pairs["first"], ["incident", "workload"]]
    mine = pd.MultiIndex.from_frame(ranked[["incident", "workload"]])
    return mine.isin(pd.MultiIndex.from_frame(follows))
