"""What was forecast before it came, and what then came, on one grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.typing import NaTType

from features.frames import FORECASTS, Contract, FrameError
from features.panel import Floats, Panel
from models.drift import last_week
from pipelines.errors import HistoryError, StoreError
from pipelines.run import Run

__all__ = ["Issued", "as_issued", "issued_forecasts", "on_grid"]

_WEEK = pd.Timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Issued:
    """For every step the forecast that was issued last before it began; (n_series, n_steps) each.

    Attributes
    ----------
    keys : frame ``workload, metric``
    models : str, (n_series,)
        Who issued each series' newest forecast.
    times : left edges of the steps
    step : length of a step
    issued_ms : when, in Unix milliseconds; NaN where nothing was forecast
    q50, q90 : what was forecast
    actual : what was measured; NaN where nothing was
    bar : last week's value, of those known when the forecast was issued
    """

    keys: pd.DataFrame
    models: np.ndarray
    times: pd.DatetimeIndex
    step: pd.Timedelta
    issued_ms: Floats
    q50: Floats
    q90: Floats
    actual: Floats
    bar: Floats


def issued_forecasts(run: Run, start: pd.Timestamp, weeks: int) -> Issued | None:
    """The forecasts of ``[start, as_of)`` and what came; nothing where none was issued.

    A step that is not over at ``as_of`` is left out: what was measured of it is not all of it.

    ``weeks`` is how far before ``start`` samples are read for the bar.

    Raises
    ------
    HistoryError
        There are no samples.
    """
    table = as_issued(run, FORECASTS, start)
    if table.empty:
        return None
    stamps = table["issued_at"].dt.as_unit("ms").astype("int64").astype("float64")
    table = table.assign(issued_ms=stamps)
    end, is_over = run.as_of, np.ones(len(table), dtype=bool)
    if not pd.isna(step := table["step"].min()):
        end = run.as_of.floor(step)
        is_over = (table["ts"] < end).to_numpy(dtype=bool)
    if not is_over.any():
        return None
    table = table[is_over]
    columns = ("q50", "q90", "issued_ms")
    told = {name: on_grid(table, name, start, end) for name in columns}
    like = told["q50"]
    models = table.groupby(["workload", "metric"], observed=True)["model"].last()
    seen = _measured(run, like, start - weeks * _WEEK)
    issued_ms = _rows(told["issued_ms"], like.keys)
    return Issued(
        keys=like.keys,
        models=models.reindex(pd.MultiIndex.from_frame(like.keys)).astype("str").to_numpy(),
        times=like.times,
        step=like.step,
        issued_ms=issued_ms,
        q50=like.values,
        q90=_rows(told["q90"], like.keys),
        actual=seen.values[:, seen.n_steps - like.n_steps :],
        bar=last_week(seen, issued_ms, weeks),
    )


def as_issued(run: Run, contract: Contract, start: pd.Timestamp) -> pd.DataFrame:
    """For every step of the window the row that was issued last before the step began.

    ``step`` is added: the length of the steps that were forecast; empty where each forecast has but
    one.
    """
    horizon = pd.Timedelta(run.settings.forecast.horizon_h, "h")
    try:
        table: pd.DataFrame = run.read(contract, start - horizon).to_pandas()
    except StoreError:
        return pd.DataFrame(columns=contract.schema.names)
    table["step"] = _step(table, [c for c in contract.key if c != "ts"])
    ahead = (table["ts"] >= start) & (table["ts"] < run.as_of) & (table["issued_at"] <= table["ts"])
    key = [c for c in contract.key if c != "issued_at"]
    return table[ahead].sort_values("issued_at").drop_duplicates(key, keep="last")


def on_grid(table: pd.DataFrame, column: str, start: pd.Timestamp, end: pd.Timestamp) -> Panel:
    """One column of what ``as_issued`` gave on the grid of its own steps."""
    long = table[["workload", "metric", "ts"]].assign(value=table[column])
    step = table["step"].min()
    return Panel.from_frame(long, step=None if pd.isna(step) else step, start=start, end=end)


def _step(table: pd.DataFrame, by: list[str]) -> pd.Timedelta | NaTType:
    """The shortest time between two rows of one forecast; NaT where there are no two."""
    ts = table["ts"].dt.as_unit("ms").astype("int64").to_numpy()
    one = table.groupby(by, observed=True, sort=False).ngroup().to_numpy()
    order = np.lexsort((ts, one))
    gaps = np.diff(ts[order])[np.diff(one[order]) == 0]
    gaps = gaps[gaps > 0]
    return pd.Timedelta(int(gaps.min()), "ms") if len(gaps) else pd.NaT


def _measured(run: Run, like: Panel, since: pd.Timestamp) -> Panel:
    """What was measured, on the forecast's grid and in its order; NaN where nothing was."""
    metrics = like.keys["metric"].unique().tolist()
    frame = run.samples(since, like.end, metrics)
    try:
        panel = Panel.from_frame(
            frame, step=like.step, start=since, end=like.end, aggregates=run.catalog.aggregates()
        )
    except FrameError as error:
        raise HistoryError(str(error)) from error
    return Panel(like.keys, panel.start, panel.step, _rows(panel, like.keys))


def _rows(panel: Panel, keys: pd.DataFrame) -> Floats:
    """The values of the given series in their order; NaN where the panel has none of them."""
    row = pd.MultiIndex.from_frame(panel.keys).get_indexer(pd.MultiIndex.from_frame(keys))
    return np.where((row >= 0)[:, None], panel.values[row], np.nan)
