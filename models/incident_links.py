"""Which anomalies belong together: those of one workload, and those of neighbours that begin
together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.topology import names_of, resolve_edges
from models.base import WHOLE_WORKLOAD

__all__ = ["FAR", "by_workload", "incident_numbers", "without_leaking"]

FAR = pd.Timestamp("2200-01-01", tz="UTC")
"""The end of what has not ended."""

Pairs = NDArray[np.int64]


def by_workload(runs: pd.DataFrame, gap: pd.Timedelta) -> pd.DataFrame:
    """Sort and add ``group``: runs of one workload that overlap or follow within the gap."""
    runs = runs.sort_values(["workload", "start", "metric"], ignore_index=True)
    reach = runs["end"].fillna(FAR).groupby(runs["workload"]).cummax()
    late = runs["start"] > reach.shift() + gap
    runs["group"] = (late | (runs["workload"] != runs["workload"].shift())).cumsum() - 1
    return runs


def incident_numbers(
    runs: pd.DataFrame, near: pd.Timedelta, cap: pd.Timedelta, edges: pd.DataFrame | None
) -> NDArray[np.int64]:
    """Number of each run's incident, (n_runs,): linked groups, cut where a chain grows too old.

    Groups are linked when they begin within ``near`` of each other and their workloads call one
    another, or share a namespace where the graph knows neither of them; those of which only samples
    are missing when they share a cluster, since it is then the source that is gone.
    """
    by = runs.groupby("group")
    groups = by.agg(
        workload=("workload", "first"), start=("start", "min"), gone=("gone", "all")
    ).reset_index()
    place = groups["workload"].str.split("/")
    groups["cluster"] = place.str[0]
    groups["space"] = place.str[:2].str.join("/")
    groups["known"] = False
    pairs = [_together(groups[groups["gone"]], "cluster", near)]
    if edges is not None:
        calls = resolve_edges(edges, groups["workload"].unique())
        names = names_of(groups["workload"].unique())
        ends = pd.unique(edges[["caller", "callee"]].astype("str").to_numpy().ravel())
        known = names.loc[names["alias"].isin(ends), "workload"]
        groups["known"] = groups["workload"].isin(known)
        pairs.append(_calling(groups, near, calls))
    pairs.append(_together(groups[~groups["known"]], "space", near))
    linked = _components(np.concatenate(pairs), len(groups))
    age = groups["start"] - groups["start"].groupby(linked).transform("min")
    era = age.dt.total_seconds() // cap.total_seconds()
    part = groups.groupby([linked, era], sort=False).ngroup().to_numpy(dtype=np.int64)
    return part[runs["group"].to_numpy()].astype(np.int64)


def _together(groups: pd.DataFrame, place: str, near: pd.Timedelta) -> Pairs:
    """Pairs of groups of one place that begin close to each other, (n_pairs, 2)."""
    known = groups.sort_values([place, "start", "workload"])
    linked = (known[place] == known[place].shift()) & (known["start"].diff() <= near)
    number = known["group"].to_numpy(dtype=np.int64)
    to = np.flatnonzero(linked)
    return np.column_stack([number[to - 1], number[to]])


def _calling(groups: pd.DataFrame, near: pd.Timedelta, calls: pd.DataFrame) -> Pairs:
    """Pairs of groups of caller and callee that begin close to each other, (n_pairs, 2)."""
    own = groups[["group", "workload", "start"]]
    pairs = calls.merge(own, left_on="caller", right_on="workload")
    pairs = pairs.merge(own, left_on="callee", right_on="workload", suffixes=("", "_callee"))
    close = (pairs["start"] - pairs["start_callee"]).abs() <= near
    return pairs.loc[close, ["group", "group_callee"]].to_numpy(dtype=np.int64)


def _components(pairs: Pairs, n: int) -> NDArray[np.int64]:
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def without_leaking(
    runs: pd.DataFrame, leaking: pd.DataFrame, first_issue: pd.Timestamp | None
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The runs that no leak explains, and how many alerts of others belong to each leak.

    A run is the leak's when it was told while the leak was known, and is of the same resource of
    the same workload (what stands before the first ``_``: ``memory_rss_bytes`` and
    ``memory_working_set_bytes``), or of the workload as a whole: what else goes wrong shows in its
    own metric. A leak that is there in the first issue was known before.
    """
    alerts = np.zeros(len(leaking), dtype=np.int64)
    if runs.empty or leaking.empty:
        return runs, alerts
    known = leaking["detected"].where(leaking["start"] != first_issue, runs["start"].min())
    told = leaking.assign(known=known, until=leaking["end"].fillna(FAR), leak=range(len(leaking)))
    told["resource"] = told["metric"].str.split("_", n=1).str[0]
    mine = runs.assign(resource=runs["metric"].str.split("_", n=1).str[0], run=range(len(runs)))
    pairs = mine[["run", "workload", "resource", "detected", "alerts"]].merge(
        told[["leak", "workload", "resource", "known", "until"]],
        on="workload",
        suffixes=("", "_leaking"),
    )
    whole = pairs["resource"] == WHOLE_WORKLOAD
    pairs = pairs[whole | (pairs["resource"] == pairs["resource_leaking"])]
    pairs = pairs[(pairs["detected"] >= pairs["known"]) & (pairs["detected"] <= pairs["until"])]
    pairs = pairs.drop_duplicates("run")
    np.add.at(alerts, pairs["leak"].to_numpy(), pairs["alerts"].to_numpy())
    left = np.ones(len(runs), dtype=bool)
    left[pairs["run"].to_numpy()] = False
    return runs[left].reset_index(drop=True), alerts
