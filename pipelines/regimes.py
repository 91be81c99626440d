"""What of a history is no example of how a workload is now: deploys, incidents, an earlier regime.

Pure: masks on a panel, all workloads at once. Windows are half-open; a step that meets one is in.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.changes import CHANGE_METRICS, DEPLOY, change_events
from features.panel import Floats, Panel
from models.band_scale import levels
from models.selection import lower_medians

__all__ = ["deploys_of", "earlier_regime", "incident_windows", "moved", "settling", "within"]

_WEEK = pd.Timedelta(days=7)
_APART = 1.4826  # median distances: one robust standard deviation
_OTHER = 2.0


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


def moved(residual: Floats, before: NDArray[np.bool_], step: pd.Timedelta) -> NDArray[np.bool_]:
    """Whether the new revision behaves otherwise than the old one did in its last week,
    (n_series,).

    ``residual`` is what a forecast left over: load that differs from week to week is no news of a
    deploy. It is otherwise when its median moved by more than the usual distance from it, or when
    that distance doubled or halved. Most deploys change nothing, and then all history teaches.
    """
    week = max(round(_WEEK / step), 1)
    first = before.sum(axis=1)
    late = np.arange(before.shape[1]) >= first[:, None] - week
    old = np.where(before & late, residual, np.nan)
    new = np.where(before, np.nan, residual)
    was, now = lower_medians(old), lower_medians(new)
    wide_was, wide_now = levels(old - was[:, None]), levels(new - now[:, None])
    apart = np.abs(now - was) > _APART * np.fmax(wide_was, wide_now)
    other = (wide_now > _OTHER * wide_was) | (wide_was > _OTHER * wide_now)
    return before.any(axis=1) & (apart | other)


def incident_windows(
    points: pd.DataFrame, step: pd.Timedelta, gap_min: float, least: int
) -> pd.DataFrame:
    """``workload, start, end`` where a workload was in trouble, whatever metric showed it.

    ``points`` (``workload, ts``) are flagged; those that follow each other within the gap are one
    window, if there are at least so many stamps. Made from points and not from the incidents that
    were told of: what those are when depends on how time was cut into runs, and what is learned
    must not.
    """
    stamps = points[["workload", "ts"]].drop_duplicates().sort_values(["workload", "ts"])
    later = stamps["ts"].diff() > pd.Timedelta(minutes=gap_min) + step
    other = stamps["workload"] != stamps["workload"].shift()
    by = stamps.groupby((later | other).cumsum().to_numpy())
    found = by.agg(workload=("workload", "first"), start=("ts", "min"), end=("ts", "max"))
    found = found[by.size() >= least].reset_index(drop=True)
    return found.assign(end=found["end"] + step)


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
