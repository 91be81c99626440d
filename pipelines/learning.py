"""What is learned from a panel, and what it says about another: the composition of the models.

Pure: panels in, tables out. Flows read, call this, and write; the same functions serve a file on
the command line, a scheduled shard and a notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import Calendar, calendar_of, maintenance_mask, special_mask
from features.metrics import Catalog
from features.panel import Floats, Panel
from features.quality import judge
from models.base import Baselines, Forecaster
from models.champion import Champions
from models.champion_fit import fit_champions, newcomers
from models.classical import Classical
from models.decomposition import Decomposition
from models.prophet import Prophet
from models.seasonal_level import SeasonalLevel
from models.seasonal_naive import SeasonalDay, SeasonalMedian, SeasonalNaive, SeasonalPeak
from pipelines.accounting import NOT_WATCHED
from pipelines.detecting import learn_detectors
from pipelines.extensions import own_forecasters
from pipelines.floor_learning import with_floor_costs
from pipelines.regimes import deploys_of, earlier_regime, moved
from pipelines.settings import Settings

__all__ = [
    "Learned",
    "Lesson",
    "by_calendar",
    "forecastable",
    "forecasters",
    "learn",
    "learn_newcomers",
    "learn_young",
    "learnable",
    "told_by",
    "without_maintenance",
]


@dataclass(frozen=True, slots=True)
class Learned:
    """The baselines of workloads that follow one calendar.

    Attributes
    ----------
    champions : the forecasters and who is live for which series
    detectors : ``band`` and ``isolation_forest``; empty where none were asked for
    """

    champions: Champions
    detectors: Mapping[str, Baselines]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What came out of one panel.

    Attributes
    ----------
    groups : one a calendar; nothing where no series had enough history
    skipped : frame ``workload, metric, reason`` of the series that nothing was learned for
    young : the same of those that are forecast already, and too young for detectors
    """

    groups: tuple[Learned, ...]
    skipped: pd.DataFrame
    young: pd.DataFrame


def learn(
    panel: Panel,
    catalog: Catalog,
    settings: Settings,
    *,
    detectors: bool = True,
    known: Panel | None = None,
) -> Lesson:
    """Everything that can be learned from one panel of history.

    ``known`` has what is known of the workloads beside it, HPAs above all; nothing: the panel.
    """
    known = panel if known is None else known
    usable, skipped = learnable(panel, catalog, settings)
    verdict = judge(usable, settings.quality)
    young = verdict.loc[~verdict["ok"], ["workload", "metric", "reason"]]
    deploys = deploys_of(panel)
    groups: list[Learned] = []
    for calendar, part in by_calendar(usable, settings):
        champions = fit_champions(part, forecasters(settings), settings.forecast.champion, calendar)
        champions = with_floor_costs(champions, part, known, catalog, settings)
        found = _detectors(part, champions, deploys, catalog, settings) if detectors else {}
        groups.append(Learned(champions, found))
    return Lesson(tuple(groups), skipped, young.reset_index(drop=True))


def learn_young(
    panel: Panel,
    known: Mapping[str, pd.DataFrame],
    catalog: Catalog,
    settings: Settings,
) -> Lesson:
    """What can be learned of the series that came since the last training, detectors too.

    ``known`` has for each detector the frame of keys that it was trained for: of these nothing is
    learned again.
    """
    found, skipped = learn_newcomers(panel, known["band"], catalog, settings)
    verdict = judge(panel, settings.quality)
    young = verdict.loc[~verdict["ok"], ["workload", "metric", "reason"]]
    deploys = deploys_of(panel)
    groups: list[Learned] = []
    for champions in found:
        part = panel.select(_among(panel.keys, champions.keys))
        detectors = _detectors(part, champions, deploys, catalog, settings)
        fresh = {
            name: b.select(~b.keys["workload"].isin(known[name]["workload"]).to_numpy(dtype=bool))
            if name != "band" and name in known
            else b
            for name, b in detectors.items()
        }
        groups.append(Learned(champions, fresh))
    return Lesson(tuple(groups), skipped, young.reset_index(drop=True))


def _detectors(
    part: Panel, champions: Champions, deploys: pd.DataFrame, catalog: Catalog, settings: Settings
) -> dict[str, Baselines]:
    """The detectors of the series that are old enough; nothing where none is."""
    old = part.select(judge(part, settings.quality)["ok"].to_numpy(dtype=bool))
    if not old.n_series:
        return {}
    expected = champions.expected(old, forecasters(settings))
    usual = without_special_days(old, settings)
    before = earlier_regime(usual, deploys, settings.detect.regime_days)
    before &= moved(usual.values - expected, before, usual.step)[:, None]
    if before.any():  # then nothing of the earlier regime may be what is expected of this one
        usual = usual.with_values(np.where(before, np.nan, usual.values))
        new: NDArray[np.bool_] = np.asarray(before.any(axis=1))
        own = replace(champions, outlook=None)
        expected[new] = own.expected(usual.select(new), forecasters(settings))
    return learn_detectors(usual, expected, catalog, settings)


def learn_newcomers(
    panel: Panel, known: pd.DataFrame, catalog: Catalog, settings: Settings
) -> tuple[list[Champions], pd.DataFrame]:
    """Last week, or what stands in for it, for the series that no champion knows yet.

    ``known`` is a frame ``workload, metric``. Returns one part a calendar, and the series that have
    nothing to forecast from, with reasons.
    """
    new = ~_among(panel.keys, known)
    if not new.any():
        return [], panel.keys[:0].assign(reason="")
    usable, skipped = learnable(panel, catalog, settings)
    bar, params = SeasonalNaive(settings.forecast.seasonal_naive), settings.forecast.champion
    found: list[Champions] = []
    for calendar, part in by_calendar(usable, settings):
        rows = ~_among(part.keys, known)
        if rows.any():
            found.append(newcomers(part, rows, bar, params, calendar))
    return found, skipped[~_among(skipped, known)]


def _among(keys: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of the series are among the others."""
    own = pd.MultiIndex.from_frame(keys[["workload", "metric"]])
    return own.isin(pd.MultiIndex.from_frame(others[["workload", "metric"]]))


def told_by(
    groups: Sequence[Learned],
    keys: pd.DataFrame,
    start: pd.Timestamp,
    n_steps: int,
    quantiles: Sequence[float],
    settings: Settings,
) -> Floats:
    """What the champions forecast for the given series, (n_quantiles, n_series, n_steps).

    NaN for a series that nobody forecasts.
    """
    out = np.full((len(quantiles), len(keys), n_steps), np.nan)
    every, wanted = forecasters(settings), pd.MultiIndex.from_frame(keys)
    for group in groups:
        row = wanted.get_indexer(pd.MultiIndex.from_frame(group.champions.keys))
        told = group.champions.predict(start, n_steps, quantiles, every)[0]
        out[:, row[row >= 0]] = told[:, row >= 0]
    return out


def by_calendar(panel: Panel, settings: Settings) -> list[tuple[Calendar, Panel]]:
    """The panel's series, parted by the calendar that their workloads follow."""
    follows = {
        str(w): calendar_of(str(w), settings.calendars) for w in panel.keys["workload"].unique()
    }
    own = panel.keys["workload"].map(follows)
    return [
        (calendar, panel.select((own == calendar).to_numpy(dtype=bool)))
        for calendar in dict.fromkeys(follows.values())
    ]


def forecasters(settings: Settings) -> list[Forecaster]:
    """The configured forecasters, the seasonal-naive bar always among them.

    Raises
    ------
    ConfigError
        One of the user's own cannot be loaded.
    """
    s = settings.forecast
    every: dict[str, Forecaster] = {
        "seasonal_naive": SeasonalNaive(s.seasonal_naive),
        "seasonal_median": SeasonalMedian(s.seasonal_naive),
        "seasonal_day": SeasonalDay(s.seasonal_naive),
        "seasonal_peak": SeasonalPeak(s.seasonal_naive),
        "seasonal_level": SeasonalLevel(s.seasonal_level, s.seasonal_naive),
        "seasonal_level_slow": SeasonalLevel(
            s.seasonal_level_slow, s.seasonal_naive, "seasonal_level_slow"
        ),
        "decomposition": Decomposition(s.decomposition),
        "prophet": Prophet(s.prophet),
        "prophet_multiplicative": Prophet(
            replace(s.prophet, seasonality_mode="multiplicative"), "prophet_multiplicative"
        ),
        "classical": Classical(s.classical),
    }
    named = [f for name, f in every.items() if name in s.models or name == "seasonal_naive"]
    return [*named, *own_forecasters(settings)]


def forecastable(panel: Panel, catalog: Catalog) -> Panel:
    """The series that have a future worth forecasting: settings and limits have none."""
    wanted = [catalog[m].role not in NOT_WATCHED for m in panel.keys["metric"]]
    return panel.select(np.array(wanted, dtype=bool))


def learnable(panel: Panel, catalog: Catalog, settings: Settings) -> tuple[Panel, pd.DataFrame]:
    """The series with a future and any recent history; the skipped series with reasons.

    A workload is forecast from its first hour on; ``quality.minimum_history_days`` is what
    detectors need.
    """
    series = forecastable(panel, catalog)
    verdict = judge(series, replace(settings.quality, minimum_history_days=0.0))
    ok = verdict["ok"].to_numpy(dtype=bool)
    skipped = verdict.loc[~ok, ["workload", "metric", "reason"]]
    usable = series.select(ok)
    usual = without_special_days(usable, settings)
    empty: NDArray[np.bool_] = np.asarray(np.isnan(usual.values).all(axis=1))
    only_special = usable.keys[empty].assign(reason="every sample is of a special day")
    return usable.select(~empty), pd.concat([skipped, only_special], ignore_index=True)


def without_special_days(panel: Panel, settings: Settings) -> Panel:
    """Holidays, special days and maintenance windows blanked: they teach nothing about usual
    days.
    """
    return without_maintenance(_without(panel, settings, special_mask), settings)


def without_maintenance(panel: Panel, settings: Settings) -> Panel:
    """Maintenance windows blanked, whatever day they are on."""
    return _without(panel, settings, maintenance_mask)


def _without(panel: Panel, settings: Settings, mask: Callable[..., NDArray[np.bool_]]) -> Panel:
    """The steps that ``mask`` names for each workload blanked."""
    if not settings.calendars:
        return panel
    workloads, row = np.unique(panel.keys["workload"].to_numpy(dtype=str), return_inverse=True)
    out = mask(list(workloads), panel.times, settings.calendars)[row]
    return panel.with_values(np.where(out, np.nan, panel.values)) if out.any() else panel
