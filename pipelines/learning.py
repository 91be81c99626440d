"""What is learned from a panel, and what it says about another: the composition of the models.

Pure: panels in, tables out. Flows read, call this, and write; the same functions serve a file on
the command line, a scheduled shard and a notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import maintenance_mask, special_mask
from features.metrics import Catalog, Direction
from features.panel import Panel
from features.quality import judge
from features.signals import build_signals
from models.band import Band
from models.base import Baselines, Forecaster
from models.champion import Champions, fit_champions
from models.isolation_forest import IsolationForest
from models.prophet import Prophet
from models.seasonal_naive import SeasonalMedian, SeasonalNaive
from pipelines.accounting import NOT_WATCHED
from pipelines.settings import Settings

__all__ = [
    "Learned",
    "forecast_rows",
    "forecastable",
    "forecasters",
    "learn",
    "learn_forecasters",
    "learnable",
]


@dataclass(frozen=True, slots=True)
class Learned:
    """The baselines of one shard of workloads.

    Attributes
    ----------
    champions : the forecasters and who is live for which series; nothing where no series had enough
    detectors : ``band`` and ``isolation_forest``; empty without champions
    skipped : frame ``workload, metric, reason`` of the series that nothing was learned for
    """

    champions: Champions | None
    detectors: Mapping[str, Baselines]
    skipped: pd.DataFrame


def learn(panel: Panel, catalog: Catalog, settings: Settings, *, detectors: bool = True) -> Learned:
    """Everything that can be learned from one panel of history."""
    champions, skipped = learn_forecasters(panel, catalog, settings)
    if champions is None or not detectors:
        return Learned(champions, {}, skipped)
    return Learned(champions, learn_detectors(panel, champions, catalog, settings), skipped)


def forecasters(settings: Settings) -> list[Forecaster]:
    """The configured forecasters, the seasonal-naive bar always among them."""
    s = settings.forecast
    every: dict[str, Forecaster] = {
        "seasonal_naive": SeasonalNaive(s.seasonal_naive),
        "seasonal_median": SeasonalMedian(s.seasonal_naive),
        "prophet": Prophet(s.prophet),
    }
    return [f for name, f in every.items() if name in s.models or name == "seasonal_naive"]


def forecastable(panel: Panel, catalog: Catalog) -> Panel:
    """The series that have a future worth forecasting: settings and limits have none."""
    wanted = [catalog[m].role not in NOT_WATCHED for m in panel.keys["metric"]]
    return panel.select(np.array(wanted, dtype=bool))


def learn_forecasters(
    panel: Panel, catalog: Catalog, settings: Settings
) -> tuple[Champions | None, pd.DataFrame]:
    """Backtest, choose and fit a champion for every series with enough history.

    Returns the champions (nothing where no series had enough) and the skipped series with reasons.
    """
    usable, skipped = learnable(panel, catalog, settings)
    if not usable.n_series:
        return None, skipped
    return fit_champions(usable, forecasters(settings), settings.forecast.champion), skipped


def learnable(panel: Panel, catalog: Catalog, settings: Settings) -> tuple[Panel, pd.DataFrame]:
    """The series with a future and enough history, special days blanked; the skipped series with
    reasons.
    """
    series = forecastable(panel, catalog)
    verdict = judge(series, settings.quality)
    ok = verdict["ok"].to_numpy(dtype=bool)
    skipped = verdict.loc[~ok, ["workload", "metric", "reason"]]
    usual = without_special_days(series.select(ok), settings)
    empty: NDArray[np.bool_] = np.asarray(np.isnan(usual.values).all(axis=1))
    only_special = usual.keys[empty].assign(reason="every sample is of a special day")
    return usual.select(~empty), pd.concat([skipped, only_special], ignore_index=True)


def learn_detectors(
    panel: Panel, champions: Champions, catalog: Catalog, settings: Settings
) -> dict[str, Baselines]:
    """The band of every series and the forest of every workload, given the champions."""
    expected = champions.expected(panel, forecasters(settings))
    usable = without_special_days(panel, settings)
    rows = forecast_rows(panel, champions)
    directions: list[Direction] = [catalog[m].direction for m in panel.keys["metric"][rows]]
    worth = np.array([catalog[m].minimum_deviation for m in panel.keys["metric"][rows]])
    band = Band(settings.detect.band).fit(usable.select(rows), expected[rows], directions, worth)
    signals = build_signals(usable, expected, catalog)
    forest = IsolationForest(settings.detect.isolation_forest).fit(signals)
    return {"band": band, "isolation_forest": forest}


def forecast_rows(panel: Panel, champions: Champions) -> NDArray[np.bool_]:
    """Which series of a panel have a champion."""
    live = pd.MultiIndex.from_frame(champions.chosen[["workload", "metric"]])
    return pd.MultiIndex.from_frame(panel.keys).isin(live)


def without_special_days(panel: Panel, settings: Settings) -> Panel:
    """Holidays, special days and maintenance windows blanked: they teach nothing about usual
    days.
    """
    if not settings.calendars:
        return panel
    workloads, row = np.unique(panel.keys["workload"].to_numpy(dtype=str), return_inverse=True)
    names = list(workloads)
    special = special_mask(names, panel.times, settings.calendars)
    special |= maintenance_mask(names, panel.times, settings.calendars)
    return panel.with_values(np.where(special[row], np.nan, panel.values))
