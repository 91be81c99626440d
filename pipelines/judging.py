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

from features.metrics import Catalog
from features.panel import Floats, Panel
from models.backtest import Backtest, rolling_origin
from models.base import Baselines, Forecaster
from models.choice import choose
from pipelines.learning import forecast_rows, forecasters, learn_forecasters, learnable
from pipelines.settings import Settings

__all__ = ["PRODUCT", "Judged", "judge_forecasters"]

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
    plain = forecasters(settings)
    every = [_AsRun(f, history) for f in (*plain, _Product(catalog, settings))]
    params = settings.forecast.champion.backtest
    done = rolling_origin(series, every, params)
    model = choose(_without(done, PRODUCT), settings.forecast.champion.margin)["model"].to_numpy()
    per_series = len(done.table) // max(series.n_series, 1)
    table = done.table.assign(
        champion=done.table["model"].to_numpy() == np.repeat(model, per_series)
    )
    return Judged(table, {f.name: sum(f.seconds) for f in every}, skipped)


def _without(done: Backtest, model: str) -> Backtest:
    """The same backtest as if one of its models had not been there."""
    left = tuple(name for name in done.models if name != model)
    table = done.table[done.table["model"] != model].reset_index(drop=True)
    return replace(done, models=left, table=table)


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
        champions, _ = learn_forecasters(panel, self.catalog, self.settings)
        live = np.zeros(panel.n_series, dtype=bool)
        if champions is not None:
            live = forecast_rows(panel, champions)
        return Baselines(self.name, panel.keys, {"live": live}, {"champions": champions})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        out = np.full((len(quantiles), len(baselines.keys), n_steps), np.nan)
        champions = baselines.meta["champions"]
        if champions is not None:
            every = forecasters(self.settings)
            told = champions.predict(start, n_steps, quantiles, every)[0]
            out[:, baselines.arrays["live"]] = told
        return out
