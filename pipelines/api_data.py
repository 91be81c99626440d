"""The data of a caller as a run: what flows read from a store or a file, the API reads from memory.

Everything below the flows takes a ``Run``; a ``GivenRun`` is one whose samples are a frame or a
panel. So the API has no code of its own to read, cut, grid or account for samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from features.frames import FrameError
from features.panel import Panel
from features.workloads import as_samples
from pipelines.adapters.store import Store
from pipelines.catalogs import open_catalog
from pipelines.errors import HistoryError
from pipelines.grids import end_of, homes
from pipelines.moments import parse_duration, parse_time
from pipelines.run import Run, RunRef, part_name
from pipelines.settings import Settings, load_settings
from pipelines.stretches import compact

__all__ = ["Config", "Data", "GivenRun", "Moment", "Span", "length_of", "moment_of", "open_given"]

Config = str | Path | Mapping[str, Any] | None
"""Nothing (the defaults), a YAML file, or a mapping of the same sections."""
Data = Panel | pd.DataFrame | pa.Table
"""Samples, or samples on a grid."""
Moment = str | datetime
Span = str | pd.Timedelta

_GIVEN = "the given samples"


@dataclass(frozen=True, slots=True)
class GivenRun(Run):
    """A run on samples in memory; like one on files it stands for itself.

    Attributes
    ----------
    frame : ``workload, metric, ts, value``
    grid : the same on a grid, where it came on one
    """

    frame: pd.DataFrame
    grid: Panel | None = None

    @property
    def run_id(self) -> str:
        """Named by its clock; nobody but this call ever sees it."""
        return f"{part_name(self.as_of)}-api"

    def panel(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None = None
    ) -> Panel:
        """As ``Run.panel``; a panel that was given keeps its grid."""
        if self.grid is None:
            return Run.panel(self, start, end, metrics)
        panel = self.grid.window(start, end.floor(self.grid.step))
        if metrics is not None:
            panel = panel.of(*metrics)
        if self.ref.shards > 1:
            home = homes(panel.keys["workload"], self.ref.shards)
            panel = panel.select(home == self.ref.shard)
        there = ~np.isnan(panel.values)
        if panel.n_series and not there.any():
            raise HistoryError(f"no sample from {start} to {end} in {_GIVEN}")
        return compact(panel)

    def parts_since(self, start: pd.Timestamp) -> Iterator[GivenRun]:
        """This run, cut by workloads as a flow cuts it, all on one step."""
        for ref in self.shards(start):
            yield replace(self, ref=ref)

    def forgotten(self, as_of: pd.Timestamp) -> GivenRun:
        """The same at another moment, without the samples."""
        ref = replace(self.ref, as_of=as_of.isoformat())
        return replace(self, ref=ref, frame=self.frame[:0].copy(), grid=None)

    def _every(
        self, start: pd.Timestamp, end: pd.Timestamp, metrics: Collection[str] | None
    ) -> pd.DataFrame:
        inside = (self.frame["ts"] >= start) & (self.frame["ts"] < end)
        if metrics is not None:
            inside &= self.frame["metric"].isin(list(metrics))
        if not inside.any():
            raise HistoryError(
                f"no samples from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC in {_GIVEN}, "
                f"which have {_told(self.frame)}"
            )
        return self.frame[inside].reset_index(drop=True)


def open_given(
    data: Data, config: Config | Settings, until: Moment | None = None, out: str = ""
) -> GivenRun:
    """A run on a caller's data; its clock is ``until``, or where the data end.

    Raises
    ------
    ConfigError
        The configuration or the moment is wrong.
    FrameError
        The frame is no samples frame, or holds no finite sample.
    """
    settings = config if isinstance(config, Settings) else load_settings(config)
    catalog = open_catalog(settings.source.catalog_name, settings.metrics)
    grid = data if isinstance(data, Panel) else None
    if grid is not None:
        wrong = catalog.impossible(grid.keys["metric"], grid.values.T).T
        grid = grid.with_values(np.where(wrong, np.nan, grid.values))
    frame = as_samples(grid.to_frame() if grid is not None else data)
    if not np.isfinite(frame["value"]).any():
        raise FrameError(f"samples: none of the {len(frame)} rows has a finite value")
    end = grid.end if grid is not None else end_of(frame)
    as_of = end if until is None else moment_of(until, "until")
    step_s = None if grid is None else grid.step.total_seconds()
    ref = RunRef(None, (_GIVEN,), out, as_of.isoformat(), step_s=step_s)
    return GivenRun(ref, settings, catalog, Store(out), frame, grid)


def moment_of(given: Moment, name: str) -> pd.Timestamp:
    """A moment of a caller, UTC; without a zone it is taken as UTC."""
    return parse_time(given if isinstance(given, str) else given.isoformat(), name)


def length_of(given: Span, name: str) -> pd.Timedelta:
    """A length of time of a caller."""
    text = given if isinstance(given, str) else f"{pd.Timedelta(given).total_seconds():f}s"
    return parse_duration(text, name)


def _told(frame: pd.DataFrame) -> str:
    if not len(frame):
        return "none"
    return f"some from {frame['ts'].min():%Y-%m-%d %H:%M} to {frame['ts'].max():%Y-%m-%d %H:%M} UTC"
