"""A stretch of samples of a few workloads, without the others'."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from features.frames import FrameError
from features.panel import Panel
from pipelines.errors import HistoryError
from pipelines.run import Run

__all__ = ["panel_of"]

_CELLS_MAX = 40_000_000
_SERIES_OF_ONE = 60
"""Metrics of one workload, about; catalogs have fewer."""


def panel_of(run: Run, workloads: Collection[str], start: pd.Timestamp, end: pd.Timestamp) -> Panel:
    """All metrics of the workloads in ``[start, end)`` on the run's grid.

    Raises
    ------
    HistoryError
        There are no samples of them, or more than an answer may take.
    """
    wanted = set(workloads)
    census = run.store.census(start, end)
    step = run.step or (census[1] if census is not None else None)
    if step is not None and len(wanted) * _SERIES_OF_ONE * ((end - start) / step) > _CELLS_MAX:
        raise HistoryError("that is more history than an answer may take; ask for fewer days")

    def mine(names: list[str]) -> np.ndarray:
        return np.array([name in wanted for name in names], dtype=bool)

    panel = None
    if step is not None:
        panel = run.store.panel(None, start, end, step, mine=mine)
    if panel is None:
        frame = run.samples(start, end)
        frame = frame[frame["workload"].isin(list(wanted))]
        try:
            panel = Panel.from_frame(frame, step=step, aggregates=run.catalog.aggregates())
        except FrameError as error:
            raise HistoryError(str(error)) from error
    panel = panel.window(end=end.floor(panel.step))
    if not panel.n_series or not panel.n_steps:
        raise HistoryError(
            f"no samples of it from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        )
    return panel
