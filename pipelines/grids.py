"""Samples of all workloads on one grid, cut by workload: nothing depends on how they are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import FrameError
from features.metrics import Catalog
from features.panel import Panel, PanelCounts, infer_step

__all__ = ["end_of", "homes", "panel_of_shard", "possible", "usual_step"]


def panel_of_shard(
    frame: pd.DataFrame,
    end: pd.Timestamp,
    step: pd.Timedelta | None,
    aggregates: Mapping[str, str],
    shard: int,
    shards: int,
    wrong: NDArray[np.bool_] | None = None,
) -> Panel:
    """One shard's panel; the grid reaches to ``end``: who went silent before is seen to be silent.

    ``wrong`` says which samples of the frame were blanked by ``possible``: they are counted as what
    they are.

    Raises
    ------
    FrameError
        No sample is a number.
    """
    wrong = np.zeros(len(frame), dtype=bool) if wrong is None else wrong
    if wrong.any() and not np.isfinite(frame["value"]).any():
        raise FrameError(
            f"none of the {len(frame)} samples can be true: {int(wrong.sum())} are outside the "
            "minimum and maximum of their metric; see `metrics` of the configuration"
        )
    if shards == 1:
        panel = Panel.from_frame(frame, step=step, end=end, aggregates=aggregates)
        return _with_wrong(panel, int(wrong.sum()))
    finite = frame[np.isfinite(frame["value"])]
    if finite.empty:
        raise FrameError(f"none of the {len(frame)} samples has a finite value")
    step = step or usual_step(frame)
    first = finite["ts"].min()
    home = homes(frame["workload"].cat.categories, shards)
    is_mine = home[frame["workload"].cat.codes.to_numpy()] == shard
    mine, n_wrong = frame[is_mine], int(wrong[is_mine].sum())
    if not np.isfinite(mine["value"]).any():
        first = first.floor(step)
        nothing = np.empty((0, int(np.ceil((end - first) / step))))
        empty = Panel(mine[["workload", "metric"]][:0].astype("str"), first, step, nothing)
        return replace(empty, counts=PanelCounts(samples=len(mine), out_of_range=n_wrong))
    panel = Panel.from_frame(mine, step=step, start=first, end=end, aggregates=aggregates)
    return _with_wrong(panel, n_wrong)


def possible(frame: pd.DataFrame, catalog: Catalog) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """The samples with NaN where a value cannot be true, and where that was, (n_samples,)."""
    value = frame["value"].to_numpy(dtype=np.float64)
    wrong = catalog.impossible(frame["metric"], value) & np.isfinite(value)
    return (frame.assign(value=np.where(wrong, np.nan, value)) if wrong.any() else frame), wrong


def _with_wrong(panel: Panel, n_wrong: int) -> Panel:
    counts = panel.counts
    not_finite = counts.not_finite - n_wrong
    return replace(panel, counts=replace(counts, not_finite=not_finite, out_of_range=n_wrong))


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
