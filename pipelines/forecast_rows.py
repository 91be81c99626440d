"""The rows of the forecasts table, and what of a forecast capacity is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.frames import QUANTILES, quantile_column
from features.panel import Floats, Panel
from models.champion import Champions
from pipelines.ahead import at_level, look_back, look_from
from pipelines.floor_learning import nowcast_of, paying_levels
from pipelines.floors import Grid
from pipelines.learning import forecasters
from pipelines.run import Run

__all__ = ["forecast_rows", "forecast_table", "is_published"]


def forecast_rows(
    run: Run,
    panel: Panel,
    champions: Champions,
    version: str,
    *,
    horizon_s: float,
    quantiles: Sequence[float],
    capacity_levels: Sequence[float],
    capacity_metrics: Collection[str],
) -> tuple[pd.DataFrame, Grid | None]:
    """The forecasts table of one bundle, and the grid that capacity is made of: its metrics, at the
    quantiles that pay where its levels are asked for, the next hours corrected by the last errors.
    """
    levels = tuple(sorted({*QUANTILES, *quantiles, *capacity_levels}))
    told = _tell(run, champions, horizon_s, levels)
    table = _table(run, champions, told, quantiles, version)
    start, values, n_steps = told.start, told.values, told.values.shape[2]
    asked = np.flatnonzero(champions.chosen["metric"].isin(capacity_metrics).to_numpy())
    if not len(asked):
        return table, None
    knots = values[[levels.index(q) for q in QUANTILES]]
    least, most = _range(champions.chosen["metric"], run)
    near, n_rows = _near(run, panel, champions, start, n_steps), len(champions.chosen)
    own, paid = [], []
    for q in capacity_levels:
        # further ahead the costs' own quantile stands, until the hour is near and is corrected
        nominal = np.full(n_rows, q)
        level = nominal if q == 0.5 else paying_levels(champions, nominal, run.settings)
        path = near(at_level(knots, nominal), level, nominal)
        own.append(np.clip(path, least[:, None], most[:, None])[asked])
        paid.append(level[asked])
    grid = Grid(champions, start, np.stack(own), tuple(capacity_levels), asked, np.stack(paid))
    return table, grid


def forecast_table(
    run: Run, champions: Champions, version: str, *, horizon_s: float, quantiles: Sequence[float]
) -> pd.DataFrame:
    """The forecasts table of one bundle alone."""
    levels = tuple(sorted({*QUANTILES, *quantiles}))
    return _table(run, champions, _tell(run, champions, horizon_s, levels), quantiles, version)


@dataclass(frozen=True, slots=True)
class _Told:
    """What champions say: ``values`` (n_levels, n_series, n_steps) from ``start`` on."""

    start: pd.Timestamp
    levels: tuple[float, ...]
    values: Floats
    models: NDArray[np.str_]


def _tell(run: Run, champions: Champions, horizon_s: float, levels: tuple[float, ...]) -> _Told:
    """From the step that holds the run's clock on, within what the metrics can be."""
    start = _running_step(champions, run.as_of)
    n_steps = max(int(np.ceil(horizon_s / champions.step.total_seconds())), 1)
    n_steps += int(start < run.as_of)
    values, models = champions.predict(start, n_steps, levels, forecasters(run.settings))
    least, most = _range(champions.chosen["metric"], run)
    return _Told(start, levels, np.clip(values, least[:, None], most[:, None]), models)


def _near(
    run: Run, panel: Panel, champions: Champions, start: pd.Timestamp, n_steps: int
) -> Callable[[Floats, Floats, Floats], Floats]:
    """Puts the corrected next hours over a path, (n_series, n_steps), at each series' level."""
    if nowcast_of(champions, run.settings) is None:
        return lambda path, *_: path
    reach = pd.Timedelta(run.settings.prescale.nowcast.reach_h, "h")
    back = look_back(champions, run.settings)
    ahead = look_from(champions, panel, start - back, back + reach, run.settings)
    size = round(ahead.step / champions.step)
    moment = np.array([round((start - ahead.since) / ahead.step)], dtype=np.int64)
    n_ahead = min(ahead.point.shape[1] - int(moment[0]), -(-n_steps // size))
    seen = ahead.since_then(panel)

    def put(path: Floats, level: Floats, nominal: Floats) -> Floats:
        told = ahead.paths(seen, moment, n_ahead, level, run.settings, nominal=nominal)[:, 0]
        told = np.repeat(told, size, axis=1)[:, :n_steps]
        out = np.where((level > 0)[:, None], path, 0.0)
        first = out[:, : told.shape[1]]
        out[:, : told.shape[1]] = np.where(np.isfinite(told), told, first)
        return out

    return put


def _range(metrics: pd.Series, run: Run) -> tuple[Floats, Floats]:
    """Between which values a metric can be, by the catalog, (n_series,) each."""
    known = [(run.catalog[m].minimum, run.catalog[m].maximum) for m in metrics]
    least = np.array([-np.inf if low is None else low for low, _ in known], dtype=float)
    return least, np.array([np.inf if high is None else high for _, high in known], dtype=float)


def _table(
    run: Run, champions: Champions, told: _Told, quantiles: Sequence[float], version: str
) -> pd.DataFrame:
    rows = np.flatnonzero(is_published(champions.chosen["metric"], run))
    shown = [q for q in told.levels if q in QUANTILES or q in quantiles]
    levels, values, n_steps = told.levels, told.values, told.values.shape[2]
    repeat = np.repeat(rows, n_steps)
    chosen = champions.chosen
    times = pd.date_range(told.start, periods=n_steps, freq=champions.step).as_unit("ms")
    table = pd.DataFrame(
        {
            "workload": chosen["workload"].to_numpy()[repeat],
            "metric": chosen["metric"].to_numpy()[repeat],
            "issued_at": run.as_of,
            "ts": times[np.tile(np.arange(n_steps), len(rows))],
            **{quantile_column(q): values[levels.index(q)][rows].ravel() for q in shown},
            "model": np.asarray(told.models)[repeat],
            "confidence": champions.confidence[repeat],
            "model_version": version,
            "run_id": run.run_id,
            "valid_until": run.as_of + pd.Timedelta(run.settings.forecast.valid_for_h, "h"),
        }
    )
    return table[np.isfinite(table["q50"]) & (table["ts"] >= run.as_of)]


def _running_step(champions: Champions, as_of: pd.Timestamp) -> pd.Timestamp:
    """The step of the trained grid that holds the run's clock: its demand is still to come."""
    return champions.end + max((as_of - champions.end) // champions.step, 0) * champions.step


def is_published(metrics: pd.Series, run: Run) -> np.ndarray:
    """From the store demand and what no catalog knows; from a file everything that was learned."""
    if run.ref.inputs:
        return np.ones(len(metrics), dtype=bool)
    wanted = [run.catalog[m].role == "demand" or not run.catalog.knows(m) for m in metrics]
    return np.array(wanted, dtype=bool)
