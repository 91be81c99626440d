"""Incidents over many runs: one that goes on is the one that was told of, not a new one.

A run sees the scores of the last hours only. An incident that began before them would start, and be
named, anew in every run; here it gets its first name and beginning back.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["continued"]

_IDENTITY = ["incident_id", "started_at", "detected_at"]


def continued(found: pd.DataFrame, told: pd.DataFrame, until: pd.Timestamp) -> pd.DataFrame:
    """The incidents of this run, with the identity of those that they continue.

    Parameters
    ----------
    found : INCIDENTS columns
        What this run's scores show.
    told : INCIDENTS columns
        What earlier runs wrote, oldest run first; the last row of an id counts.
    until
        An incident that was open, and that nothing continues, ended by then.

    An incident continues an earlier one of the same kind (leak or not) that shares a workload and
    was not over when it begins; of several the earliest. Each is continued at most once.
    """
    last = told.drop_duplicates("incident_id", keep="last").sort_values("started_at")
    rows = found.copy()
    used: set[str] = set()
    for at, new in found.sort_values("started_at").iterrows():
        going = _going(last, new, used)
        if len(going):
            rows.loc[at, _IDENTITY] = going.iloc[0][_IDENTITY]
            used.add(str(going.iloc[0]["incident_id"]))
    over = last[
        last["ended_at"].isna() & ~last["incident_id"].isin(used | set(rows["incident_id"]))
    ]
    closed = over.assign(ended_at=over["detected_at"].where(over["detected_at"] > until, until))
    parts = [p for p in (rows, closed[list(found.columns)]) if len(p)]
    return pd.concat(parts, ignore_index=True) if parts else rows


def _going(last: pd.DataFrame, new: pd.Series, used: set[str]) -> pd.DataFrame:
    members = set(new["workloads"])
    shares = np.array([not members.isdisjoint(w) for w in last["workloads"].tolist()], dtype=bool)
    alive = last["ended_at"].isna() | (last["ended_at"] >= new["started_at"])
    same = _is_leak(last["title"]) == (" leak: " in str(new["title"]))
    early = last["started_at"] <= new["started_at"]
    return last[shares & alive & same & early & ~last["incident_id"].isin(used)]


def _is_leak(titles: pd.Series) -> pd.Series:
    return titles.astype("str").str.contains(" leak: ", regex=False)
