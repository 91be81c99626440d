"""Points become anomalies: persistence opens a run, hysteresis closes it; all series at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["RunParams", "find_runs", "suspects"]


@dataclass(frozen=True, slots=True)
class RunParams:
    """m of n points at or above 1 open a run, and so do severe points in a row; clear_n calm ones
    close it.
    """

    m: int
    n: int
    severe: float
    severe_points: int
    end_score: float
    clear_n: int


def suspects(points: pd.DataFrame, at: str) -> pd.DataFrame:
    """The points of series that were ever at or above 1, one a stamp: the worst score, and
    ``alerts``.
    """
    workload, workloads = pd.factorize(points["workload"], sort=True)
    metric, metrics = pd.factorize(points["metric"], sort=True)
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
    """How many of a series' last n points are set; ``first``: where each point's series begins."""
    total = np.r_[0, np.cumsum(flag)]
    here = np.arange(len(flag))
    return total[here + 1] - total[np.maximum(here + 1 - n, first)]


def find_runs(points: pd.DataFrame, p: RunParams, step: pd.Timedelta) -> pd.DataFrame:
    """Runs of one series: ``workload, metric, start, detected, end (empty while it lasts), score,
    alerts``.

    ``points`` comes sorted by series and ts. A run opens when enough of its last points were at or
    above 1, and closes after clear_n points below the end score.
    """
    series = points.groupby(["workload", "metric"], sort=False).ngroup().to_numpy()
    first = np.searchsorted(series, series)
    score, ts = points["score"].to_numpy(), points["ts"]
    hot = score >= 1
    opens = _trailing(hot, p.n, first) >= p.m
    opens |= _trailing(score >= p.severe, p.severe_points, first) >= p.severe_points
    clears = _trailing(score < p.end_score, p.clear_n, first) >= p.clear_n
    begins = np.r_[True, series[1:] != series[:-1]] if len(series) else np.zeros(0, bool)
    said = np.where(opens | clears | begins, np.arange(len(points)), 0)
    active = (opens & ~clears)[np.maximum.accumulate(said)] if len(points) else opens
    edge = active & (begins | ~np.r_[False, active[:-1]])
    run = np.cumsum(edge) - 1
    at = np.flatnonzero(edge)
    back = np.maximum(at - max(p.n, p.severe_points) + 1, first[at])
    width = np.arange(max(p.n, p.severe_points))
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
        }
    )
