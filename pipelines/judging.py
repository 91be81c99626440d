"""Forecasters held against history as runs would have used them, the product among them.

At every origin a forecaster sees what a run at that moment would have seen, ``history.days`` and
nothing later. ``champion`` is the product itself: at every origin champions are chosen, fitted and
calibrated on what was before it, so that its scores are out of sample like the others'.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from features.civil import Calendar
from features.frames import BACKTEST
from features.local_time import to_wall, wall_positions
from features.metrics import Catalog
from features.panel import Floats, Panel
from features.quality import judge
from models.backtest import rolling_origin
from models.base import Baselines, Forecaster
from models.champion_fit import without_unusual
from models.choice import choose
from models.combination import COMBINATION, with_combination
from pipelines.learning import by_calendar, forecasters, learn, learnable, told_by
from pipelines.settings import Settings

__all__ = ["PRODUCT", "Judged", "judge_forecasters"]

_NOTHING: pd.DataFrame = BACKTEST.schema.empty_table().to_pandas()
_TOO_YOUNG = "too little history before every origin"

PRODUCT = "champion"
"""The name of the product's own rows."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came out for some workloads.

    Attributes
    ----------
    table : frame
        BACKTEST contract; ``champion`` marks who would be live by all origins together. Rows of
        the model ``champion`` are the product, chosen anew at every origin.
    seconds : model → seconds of fitting and predicting, all series and origins
    skipped : frame ``workload, metric, reason``
    """

    table: pd.DataFrame
    seconds: Mapping[str, float]
    skipped: pd.DataFrame


def judge_forecasters(panel: Panel, catalog: Catalog, settings: Settings) -> Judged:
    """Backtest the configured forecasters and the product on all series with enough history."""
    series, skipped = learnable(panel, catalog, settings)
    history = pd.Timedelta(settings.history.days, "D")
    tables: list[pd.DataFrame] = []
    seconds: dict[str, float] = {}
    for calendar, part in by_calendar(series, settings):
        plain = [_Local(f, calendar) for f in forecasters(settings)]
        every = [_AsRun(f, history) for f in (*plain, _Product(catalog, settings))]
        tables.append(_judge(part, every, settings))
        for forecaster in every:
            took = sum(forecaster.seconds)
            seconds[forecaster.name] = seconds.get(forecaster.name, 0.0) + took
    members = settings.forecast.champion.combination.members
    seconds[COMBINATION] = sum(took for name, took in seconds.items() if name in members)
    table = pd.concat(tables, ignore_index=True) if tables else _NOTHING
    held = table.loc[table["points"] > 0, ["workload", "metric"]]
    young = ~pd.MultiIndex.from_frame(series.keys).isin(pd.MultiIndex.from_frame(held))
    reason = judge(series, settings.quality)["reason"].to_numpy(dtype=object)[young]
    too_young = series.keys[young].assign(reason=np.where(reason == "", _TOO_YOUNG, reason))
    return Judged(table, seconds, pd.concat([skipped, too_young], ignore_index=True))


def _judge(panel: Panel, every: Sequence[Forecaster], settings: Settings) -> pd.DataFrame:
    """One calendar's part of the table."""
    params = settings.forecast.champion
    combined = [f.name for f in every if f.name in params.combination.members]
    done = rolling_origin(panel, every, params.backtest, keep=combined)
    if len(combined) > 1:
        done, _ = with_combination(done, params.combination)
    model = choose(done.without(PRODUCT), params.choice)["model"].to_numpy()
    table = done.table
    per_series = len(table) // max(panel.n_series, 1)
    table["champion"] = table["model"].to_numpy() == np.repeat(model, per_series)
    return table


@dataclass(frozen=True, slots=True)
class _Local:
    """A forecaster as champions use it: on the clock of the wall, special days left out."""

    forecaster: Forecaster
    calendar: Calendar

    @property
    def name(self) -> str:
        return self.forecaster.name

    def fit(self, panel: Panel) -> Baselines:
        wall = to_wall(without_unusual(panel, self.calendar), self.calendar.timezone)
        fitted = self.forecaster.fit(wall)
        return replace(fitted, meta={**fitted.meta, "wall_end": wall.end, "wall_step": wall.step})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        end, step = baselines.meta["wall_end"], baselines.meta["wall_step"]
        begin, n_wall, at = wall_positions(start, n_steps, step, self.calendar.timezone, end)
        return self.forecaster.predict(baselines, begin, n_wall, quantiles)[:, :, at]


@dataclass(frozen=True, slots=True)
class _AsRun:
    """A forecaster that sees only as much history as a run would, and is timed."""

    forecaster: Forecaster
    history: pd.Timedelta
    seconds: list[float] = field(default_factory=list[float])

    @property
    def name(self) -> str:
        return self.forecaster.name

    def fit(self, panel: Panel) -> Baselines:
        began = time.perf_counter()
        fitted = self.forecaster.fit(panel.window(panel.end - self.history))
        self.seconds.append(time.perf_counter() - began)
        return fitted

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        began = time.perf_counter()
        told = self.forecaster.predict(baselines, start, n_steps, quantiles)
        self.seconds.append(time.perf_counter() - began)
        return told


@dataclass(frozen=True, slots=True)
class _Product:
    """What a run does, as one forecaster: champions chosen, fitted and calibrated on a panel."""

    catalog: Catalog
    settings: Settings

    @property
    def name(self) -> str:
        return PRODUCT

    def fit(self, panel: Panel) -> Baselines:
        groups = learn(panel, self.catalog, self.settings, detectors=False).groups
        return Baselines(self.name, panel.keys, {}, {"groups": groups})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        groups = baselines.meta["groups"]
        return told_by(groups, baselines.keys, start, n_steps, quantiles, self.settings)
