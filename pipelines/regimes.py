"""What of a history is no example of how a workload is now: deploys, incidents, an earlier regime.

Pure: masks on a panel, all workloads at once. Windows are half-open; a step that meets one is in.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.changes import CHANGE_METRICS, DEPLOY, change_events
from features.panel import Panel

__all__ = ["deploys_of", "earlier_regime", "incident_windows", "settling", "within"]


def deploys_of(panel: Panel) -> pd.DataFrame:
    """``workload, ts`` of each new revision: the step in which it is first seen."""
    events = change_events(panel.of(*CHANGE_METRICS))
    return events.loc[events["event"] == DEPLOY, ["workload", "ts"]].reset_index(drop=True)


def settling(panel: Panel, deploys: pd.DataFrame, settle_min: float) -> NDArray[np.bool_]:
    """The steps just after a deploy, (n_series, n_steps): caches are cold, pods come and go."""
    length = pd.Timedelta(minutes=settle_min)
    spans = deploys.rename(columns={"ts": "start"}).assign(end=deploys["ts"] + length)
    return within(panel, spans)


def earlier_regime(panel: Panel, deploys: pd.DataFrame, days: float) -> NDArray[np.bool_]:
    """What lies before a workload's newest deploy, (n_series, n_steps).

    Nothing of a workload whose newest deploy is younger than ``days``: too little is known of the
    new revision, and the old one is the best guess.
    """
    old = deploys[deploys["ts"] <= panel.end - pd.Timedelta(days=days)]
    newest = deploys.groupby("workload")["ts"].max()
    settled = old.groupby("workload")["ts"].max()
    settled = settled[settled == newest.reindex(settled.index)]
    spans = pd.DataFrame({"workload": settled.index, "end": settled.to_numpy()})
    ends = (
        pd.DatetimeIndex(spans["end"], tz="UTC") if len(spans) else pd.DatetimeIndex([], tz="UTC")
    )
    return within(panel, spans.assign(start=panel.start, end=ends))


def incident_windows(incidents: pd.DataFrame, until: pd.Timestamp) -> pd.DataFrame:
    """``workload, start, end`` of every member of each incident; an open one lasts ``until``.

    Of rows with one id the last counts. A leak is left out: it grows for days in which all else of
    its workload is as usual, and its own series is learned by its level, not by a window.
    """
    last = incidents.drop_duplicates("incident_id", keep="last")
    last = last[~last["title"].astype("str").str.contains(" leak: ", regex=False)]
    each = last[["workloads", "started_at", "ended_at"]].explode("workloads")
    each = each.rename(columns={"workloads": "workload", "started_at": "start", "ended_at": "end"})
    each = each.assign(end=each["end"].where(each["end"].notna(), until))
    each = each[each["start"] < until]
    return each.dropna(subset=["workload"]).reset_index(drop=True)


def within(panel: Panel, spans: pd.DataFrame) -> NDArray[np.bool_]:
    """The steps that meet a window of their workload, (n_series, n_steps).

    ``spans`` is a frame ``workload, start, end``.
    """
    workloads, row = np.unique(panel.keys["workload"].to_numpy(dtype=str), return_inverse=True)
    if not len(workloads) or not len(spans):
        return np.zeros(panel.values.shape, dtype=bool)
    mine = pd.Index(workloads).get_indexer(pd.Index(spans["workload"].astype(str)))
    lo = np.floor(((spans["start"] - panel.start) / panel.step).to_numpy(dtype=float))
    hi = np.ceil(((spans["end"] - panel.start) / panel.step).to_numpy(dtype=float))
    lo = np.clip(lo, 0, panel.n_steps).astype(np.int64)
    hi = np.clip(hi, 0, panel.n_steps).astype(np.int64)
    there = (mine >= 0) & (hi > lo)
    edge = np.zeros((len(workloads), panel.n_steps + 1), dtype=np.int32)
    np.add.at(edge, (mine[there], lo[there]), 1)
    np.add.at(edge, (mine[there], hi[there]), -1)
    return (np.cumsum(edge[:, :-1], axis=1) > 0)[row]
