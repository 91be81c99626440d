"""Points become anomalies: persistence opens a run, hysteresis closes it; all series at once.

An open run is *told* once it is more than what noise, or a release that settles, does: it is
severe, or its workload shows it in another metric too, or it is clearly out, or it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.base import WHOLE_WORKLOAD

__all__ = ["RunParams", "find_runs", "suspects"]

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RunParams:
    """m of n points at or above 1 open a run, and so do severe points in a row; clear_n calm ones
    close it. A run of one series alone with fewer than m of n points at ``sure`` is told after
    alone_m of alone_n points.
    """

    m: int
    n: int
    severe: float
    severe_points: int
    end_score: float
    clear_n: int
    sure: float = 1.0
    alone_m: int = 1
    alone_n: int = 1


def suspects(points: pd.DataFrame, at: str) -> pd.DataFrame:
    """The points of series that were ever at or above 1, one a stamp, sorted by series and stamp.

    Columns ``workload, metric, ts, score`` (the worst of all detectors), ``alerts`` (how many of
    them are at or above 1), ``single`` (the only metric of its workload), ``gone`` (a metric that
    was due and has no value). Costs one look at the rows, and a sort of those of the series kept.
    """
    given = points["score"].to_numpy(dtype=np.float64)
    workload, workloads = pd.factorize(points["workload"])
    metric, metrics = pd.factorize(points["metric"])
    series = workload.astype(np.int64) * max(len(metrics), 1) + metric
    ever, there = np.zeros((2, max(len(workloads), 1) * max(len(metrics), 1)), dtype=bool)
    ever[series[given >= 1]] = there[series] = True
    single = (there.reshape(-1, max(len(metrics), 1))[:, metrics != WHOLE_WORKLOAD]).sum(1) == 1
    keep = np.flatnonzero(ever[series] & np.isfinite(given))
    single = single[workload[keep]]
    workload, workloads = _by_name(workload[keep], workloads)
    metric, metrics = _by_name(metric[keep], metrics)
    series, score = workload * max(len(metrics), 1) + metric, given[keep]
    ts = points[at].iloc[keep].dt.as_unit("ms")
    stamp = ts.astype("int64").to_numpy()
    order = np.lexsort((-score, stamp, series))
    series, stamp, score = series[order], stamp[order], score[order]
    new = np.r_[True, (np.diff(series) != 0) | (np.diff(stamp) != 0)][: len(order)]
    cell = np.cumsum(new) - 1
    best = order[new]
    absent = np.zeros(len(best), dtype=bool)
    if "value" in points.columns:
        absent = np.isnan(points["value"].to_numpy(dtype=np.float64)[keep[best]])
    return pd.DataFrame(
        {
            "workload": workloads[workload[best]],
            "metric": metrics[metric[best]],
            "ts": ts.iloc[best].array,
            "score": score[new],
            "alerts": np.bincount(cell, score >= 1, minlength=len(best)).astype(np.int64),
            "single": single[best],
            "gone": absent & (metrics[metric[best]] != WHOLE_WORKLOAD),
        }
    )


def _by_name(
    codes: NDArray[np.intp], labels: pd.Index
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Codes in the order of the labels' text."""
    text = np.asarray(labels, dtype=object)
    order = np.argsort(text, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], text[order]


def _trailing(flag: Flags, n: int, first: NDArray[np.intp]) -> NDArray[np.int64]:
    """How many of a series' last n points are set; ``first``: where each point's series begins."""
    total = np.r_[0, np.cumsum(flag)]
    here = np.arange(len(flag))
    return total[here + 1] - total[np.maximum(here + 1 - n, first)]


def find_runs(
    points: pd.DataFrame, p: RunParams, step: pd.Timedelta, settling: Flags | None = None
) -> pd.DataFrame:
    """Runs of one series that were told of: ``workload, metric, start, detected, end (empty while
    it lasts), score, alerts, gone`` (whether it is samples that are missing).

    ``points`` comes from ``suspects``; ``settling`` (n_points,) says where a release may still
    settle: there only severe points tell. A run opens when enough of its last points were at or
    above 1, and closes after clear_n points below the end score, or of others only. What is said
    of ``detected`` needs no later point.
    """
    number = points.groupby(["workload", "metric"], sort=False).ngroup()
    series = number.to_numpy().astype(np.int64)
    first = np.searchsorted(series, series)
    score, ts = points["score"].to_numpy(), points["ts"]
    hot = score >= 1
    severe = _trailing(score >= p.severe, p.severe_points, first) >= p.severe_points
    opens = (_trailing(hot, p.n, first) >= p.m) | severe
    active = _active(score, opens, first, p)
    tells = _plain(score, hot, first, p) | _joined(points, series, hot, p.n, step)
    tells |= points["single"].to_numpy()  # nobody else could be its witness
    tells = (opens & (tells if settling is None else tells & ~settling) | severe) & active
    edge = active & ((first == np.arange(len(points))) | ~np.r_[False, active[:-1]])
    run = np.cumsum(edge) - 1
    at = np.flatnonzero(edge)
    start = _first_hot(hot, at, first, max(p.n, p.severe_points))
    live = active & (score >= p.end_score)
    last = pd.Series(np.flatnonzero(live)).groupby(run[live]).max().to_numpy()
    final = pd.Series(np.flatnonzero(active)).groupby(run[active]).max().to_numpy()
    series_end = np.searchsorted(series, series[final], side="right") - 1
    newest = ts.max() if len(ts) else pd.NaT
    silent = (newest - ts.iloc[final]).to_numpy() > p.clear_n * step.to_timedelta64()
    told, which = np.unique(run[tells], return_index=True)
    detected = np.flatnonzero(tells)[which]
    alerts = np.r_[0, np.cumsum(points["alerts"].to_numpy())]
    seen, gone = (np.r_[0, np.cumsum(f)] for f in (hot, hot & points["gone"].to_numpy()))
    found = {
        "workload": points["workload"].to_numpy()[at[told]],
        "metric": points["metric"].to_numpy()[at[told]],
        "start": ts.iloc[start[told]].array,
        "detected": (ts.iloc[detected] + step).array,
        "end": (ts.iloc[last] + step).where((final < series_end) | silent).iloc[told].array,
        "score": pd.Series(score[live]).groupby(run[live]).max().to_numpy()[told],
        "alerts": (alerts[last + 1] - alerts[start])[told],
        "gone": 2 * (gone[detected + 1] - gone[start[told]])
        > (seen[detected + 1] - seen[start[told]]),
    }
    return pd.DataFrame(found)


def _active(
    score: NDArray[np.float64], opens: Flags, first: NDArray[np.intp], p: RunParams
) -> Flags:
    """Points inside a run: opened, and not yet closed by calm ones."""
    clears = _trailing(score < p.end_score, p.clear_n, first) >= p.clear_n
    here = np.arange(len(score))
    said = np.where(opens | clears | (first == here), here, 0)
    return (opens & ~clears)[np.maximum.accumulate(said)] if len(score) else opens


def _first_hot(
    hot: Flags, at: NDArray[np.intp], first: NDArray[np.intp], width: int
) -> NDArray[np.intp]:
    """The first point at or above 1 of the ``width`` points that opened each run."""
    back = np.maximum(at - width + 1, first[at])
    window = np.minimum(back[:, None] + np.arange(width), at[:, None])
    return window[np.arange(len(at)), np.argmax(hot[window], axis=1)]


def _plain(score: NDArray[np.float64], hot: Flags, first: NDArray[np.intp], p: RunParams) -> Flags:
    """Points whose series needs no second witness: it is clearly out, or has been out for long."""
    clearly = _trailing(score >= p.sure, p.n, first) >= p.m
    return clearly | (_trailing(hot, p.alone_n, first) >= p.alone_m)


def _joined(
    points: pd.DataFrame, series: NDArray[np.int64], hot: Flags, n: int, step: pd.Timedelta
) -> Flags:
    """Points with another series of their workload at or above 1 in the last n steps."""
    if not len(points):
        return hot
    since = points["ts"].astype("int64").to_numpy()
    since = since - since.min()
    width = max(int(n * (step / pd.Timedelta(1, "ms"))), 1)
    workload = pd.factorize(points["workload"])[0].astype(np.int64)
    # what is said of the workload as a whole may be the same metric again: it is no witness
    own = (points["metric"] != WHOLE_WORKLOAD).to_numpy()

    def witnesses(group: NDArray[np.int64]) -> NDArray[np.int64]:
        place = group * (since.max() + 2 * width) + since
        every = np.sort(place[hot & own])
        upto, before = (np.searchsorted(every, p, "right") for p in (place, place - width))
        return upto - before

    return witnesses(workload) > witnesses(series)
