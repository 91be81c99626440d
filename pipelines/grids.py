"""Samples of all workloads on one grid, cut by workload: nothing depends on how they are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import FrameError
from features.panel import Panel, infer_step

__all__ = ["end_of", "homes", "panel_of_shard", "usual_step"]


def panel_of_shard(
    frame: pd.DataFrame,
    end: pd.Timestamp,
    step: pd.Timedelta | None,
    aggregates: Mapping[str, str],
    shard: int,
    shards: int,
) -> Panel:
    """One shard's panel; the grid reaches to ``end``: who went silent before is seen to be silent.

    Raises
    ------
    FrameError
        No sample is a number.
    """
    if shards == 1:
        return Panel.from_frame(frame, step=step, end=end, aggregates=aggregates)
    finite = frame[np.isfinite(frame["value"])]
    if finite.empty:
        raise FrameError(f"none of the {len(frame)} samples has a finite value")
    step = step or usual_step(frame)
    first = finite["ts"].min()
    home = homes(frame["workload"].cat.categories, shards)
    mine = frame[home[frame["workload"].cat.codes.to_numpy()] == shard]
    if not np.isfinite(mine["value"]).any():
        first = first.floor(step)
        nothing = np.empty((0, int(np.ceil((end - first) / step))))
        return Panel(mine[["workload", "metric"]][:0].astype("str"), first, step, nothing)
    return Panel.from_frame(mine, step=step, start=first, end=end, aggregates=aggregates)


def homes(workloads: Iterable[object], shards: int) -> NDArray[np.int64]:
    """Each workload's shard, by its name's hash: it stays there whoever else is there."""
    digests = (hashlib.sha256(str(w).encode()).hexdigest() for w in workloads)
    return np.array([int(d[:8], 16) % shards for d in digests], dtype=np.int64)


def usual_step(frame: pd.DataFrame) -> pd.Timedelta:
    """The resolution of all samples that are numbers."""
    frame = frame[np.isfinite(frame["value"])]
    ts_ms = frame["ts"].dt.as_unit("ms").astype("int64").to_numpy()
    codes = [frame[c].cat.codes.to_numpy().astype(np.int64) for c in ("workload", "metric")]
    series = codes[0] * len(frame["metric"].cat.categories) + codes[1]
    order = np.lexsort((ts_ms, series))
    series, ts_ms = series[order], ts_ms[order]
    first = np.r_[True, (series[1:] != series[:-1]) | (ts_ms[1:] != ts_ms[:-1])][: len(order)]
    return infer_step(series[first], ts_ms[first])


def end_of(frame: pd.DataFrame) -> pd.Timestamp:
    """Where the samples end: with the step that holds the last one."""
    step = usual_step(frame)
    return frame["ts"].max().floor(step) + step
