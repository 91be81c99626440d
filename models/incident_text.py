"""What an incident says to a person: causes as rows of the table, a title in short words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.civil import Calendar
from features.local_clock import local_clock
from models.base import WHOLE_WORKLOAD
from models.incident_evidence import EVENT, MEASURED, rows_of

__all__ = ["cause_lists", "leak_causes", "leak_titles", "titles"]

Causes = list[dict[str, Any]]
_CAUSE = ["workload", "metric", "score", "confidence", "evidence"]
_REMARKABLE = 2.0  # spreads; a change below is not what the incident is about
_MIB = 2.0**20


def cause_lists(ranked: pd.DataFrame, incidents: pd.Series, limit: int) -> dict[int, Causes]:
    """The best ``limit`` causes of each incident, by its number; no cause is an empty list."""
    listed = _listed(ranked.groupby("incident", sort=False).head(limit))
    return {int(i): [] for i in incidents} | listed


def titles(
    incidents: pd.DataFrame,
    runs: pd.DataFrame,
    ranked: pd.DataFrame,
    scores: pd.DataFrame,
    calendars: Sequence[Calendar],
) -> list[str]:
    """``checkout: error_ratio ×9 from the usual 0.2% to 1.8%, after a deploy`` for each incident.

    What changed most gives the words; where samples are missing, that they are, and since when;
    where nothing changed by itself, the reason that came with the score. Several workloads are
    counted and the likeliest is named.
    """
    measured = ranked[ranked["kind"] == MEASURED].drop_duplicates("incident").set_index("incident")
    events = ranked[ranked["kind"] == EVENT].drop_duplicates("incident").set_index("incident")
    said = _of(measured["evidence"], incidents).str.split(" at ").str[0]
    who = _of(measured["workload"], incidents)
    who = who.where(who != "", incidents["workload"])
    weak = ~(incidents["incident"].map(measured["score"]) >= _REMARKABLE)
    reasons = _reasons(incidents, runs, scores)
    said = said.where(~weak | (reasons == ""), reasons)
    metric = incidents["metric"].where(incidents["metric"] != WHOLE_WORKLOAD, "the whole")
    said = said.where(said != "", metric.astype("str") + " is unusual")
    who = who.where(~weak, incidents["workload"]).map(_name)
    more = (incidents["workloads"].map(len) - 1).map(
        lambda n: f", and {n} more workload{'s' * (n > 1)}" if n else ""
    )
    said = who + ": " + said + more
    gone = incidents["gone"].astype(bool)
    said = said.where(~gone, _missing(incidents, runs, calendars))
    after = _of(events["metric"], incidents)
    return (said + (", after a " + after).where(after != "", "")).astype("str").tolist()


def _of(words: pd.Series, incidents: pd.DataFrame) -> pd.Series:
    """The words of each incident; empty for one without."""
    found = words.reindex(incidents["incident"]).tolist()
    said = [word if isinstance(word, str) else "" for word in found]
    return pd.Series(said, index=incidents.index, dtype="str")


def _missing(
    incidents: pd.DataFrame, runs: pd.DataFrame, calendars: Sequence[Calendar]
) -> pd.Series:
    """``checkout: samples of 6 metrics missing since Wed 04:00 CEST``."""
    by = runs.groupby("incident")["metric"]
    one, several = by.first().astype("str"), by.nunique()
    what = one.where(several == 1, several.astype("str") + " metrics")
    since = local_clock(incidents["started_at"], incidents["workload"], calendars, "%a %H:%M %Z")
    n = incidents["workloads"].map(len)
    who = incidents["workload"].map(_name) + (n - 1).map(
        lambda more: f" and {more} more workload{'s' * (more > 1)}" if more else ""
    )
    return who + ": samples of " + _of(what, incidents) + " missing since " + since


def _reasons(incidents: pd.DataFrame, runs: pd.DataFrame, scores: pd.DataFrame) -> pd.Series:
    """The words of the strongest score that was known when each incident was detected."""
    nothing = pd.Series("", index=incidents.index, dtype="str")
    if "reason" not in scores.columns:
        return nothing
    at = rows_of(scores, runs["workload"])
    part = scores.iloc[at][["workload", "metric", "ts", "score", "reason"]]
    part = part[(part["score"] >= 1).to_numpy()].astype({"workload": "str", "metric": "str"})
    part["ts"] = part["ts"].dt.as_unit("ms")
    near = runs[["incident", "workload", "metric", "start"]].merge(
        incidents[["incident", "detected_at"]], on="incident"
    )
    near = near.merge(part, on=["workload", "metric"])
    near = near[(near["ts"] >= near["start"]) & (near["ts"] < near["detected_at"])]
    near = near.sort_values(
        ["score", "ts", "workload", "metric"], ascending=[False, True, True, True]
    )
    best = near.drop_duplicates("incident").set_index("incident")["reason"]
    return _of(best, incidents)


def _listed(best: pd.DataFrame) -> dict[int, Causes]:
    listed: dict[int, Causes] = {}
    for number, cause in zip(best["incident"], best[_CAUSE].to_dict("records"), strict=True):
        listed.setdefault(int(number), []).append({str(k): v for k, v in cause.items()})
    return listed


def _at_detection(runs: pd.DataFrame, leaks: pd.DataFrame) -> pd.DataFrame:
    rows = leaks.astype({"workload": "str", "metric": "str"}).rename(columns={"score": "at_score"})
    rows["detected"] = rows["issued_at"].dt.as_unit("ms")
    rows = rows.drop_duplicates(["workload", "metric", "detected"])
    return runs.merge(rows, on=["workload", "metric", "detected"]).sort_values(
        ["detected", "workload", "metric"]
    )


def leak_causes(runs: pd.DataFrame, leaks: pd.DataFrame, limit: int) -> dict[int, Causes]:
    """Incident → the leaking metrics, with the growth that was seen at detection."""
    rows = _at_detection(runs, leaks)
    share = (rows["value"] / rows["limit"]).map(
        lambda s: f", {s:.0%} of its limit used" if np.isfinite(s) else ", no limit known"
    )
    slope = [_an_hour(m, s) for m, s in zip(rows["metric"], rows["slope_per_h"], strict=True)]
    said = rows["metric"] + " grows by " + pd.Series(slope, rows.index, "str") + share
    rows["evidence"] = said + _remarks(rows)
    total = rows.groupby("incident")["score"].transform("sum")
    rows["confidence"] = (rows["score"] / total.where(total > 0)).fillna(0.0)
    return _listed(rows.groupby("incident", sort=False).head(limit))


def _remarks(rows: pd.DataFrame) -> pd.Series:
    """What makes each row less sure, with its comma; empty where nothing does."""
    if "note" not in rows.columns:
        return pd.Series("", index=rows.index, dtype="str")
    words = rows["note"].astype("str").where(rows["note"].notna(), "")
    # that no limit is known is said where the share of it would be
    words = words.str.replace("no limit known: ", "", regex=False)
    return (", " + words.str.replace("; ", ", ", regex=False)).where(words != "", "")


def _an_hour(metric: str, slope: float) -> str:
    return (
        f"{slope / _MIB:.3g} MiB an hour" if metric.endswith("_bytes") else f"{slope:.3g} an hour"
    )


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
