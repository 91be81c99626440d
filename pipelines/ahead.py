"""What demand will be at the level that pays: the champions' forecast, corrected by what it has
just got wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from features.frames import QUANTILES
from features.panel import Floats, Panel
from features.quality import LARGEST
from models.champion import Champions
from models.champion_fit import refitted
from models.floor_costs import block_means
from models.ramps import rising
from pipelines.floor_learning import nowcast_of, ramp_steps, steps_of_grid
from pipelines.learning import forecasters, without_maintenance
from pipelines.settings import Settings

__all__ = ["Ahead", "at_level", "look_back", "look_from", "up_to_date"]

_KEY = ["workload", "metric"]


@dataclass(frozen=True, slots=True)
class Ahead:
    """A forecast that was made a few hours before the first moment it is asked about, on the
    nowcast's grid.

    Attributes
    ----------
    champions : fitted on what is before ``since``
    since : the first step that they have not seen
    step : length of a step, the champions' own or several of them
    point : float64, (n_series, m)
        The medians from ``since`` on.
    spread : float64, (len(QUANTILES), n_series, m)
        Their quantiles.
    """

    champions: Champions
    since: pd.Timestamp
    step: pd.Timedelta
    point: Floats
    spread: Floats

    def paths(
        self,
        measured: Floats,
        moments: NDArray[np.int64],
        n_ahead: int,
        level: Floats,
        settings: Settings,
        *,
        nominal: Floats | None = None,
    ) -> Floats:
        """Demand at each series' level after each moment, (n_series, n_moments, n_ahead).

        Parameters
        ----------
        measured : float64, (n_series, k)
            As ``since_then`` gives it; from a moment on nothing is looked at.
        moments : steps after ``since``
        level : float64, (n_series,)
            Quantiles as of ``paying_levels``; 0 is no demand at all.
        nominal : float64, (n_series,)
            The costs' own quantiles: where load rises they stand, for there the HPA is late.
        """
        if nominal is not None:
            return self._with_ramps(measured, moments, n_ahead, (level, nominal), settings)
        place = moments[:, None] + np.arange(n_ahead)
        out = at_level(self.spread, level)[:, place]
        nowcast = nowcast_of(self.champions, settings)
        if nowcast is not None and len(moments):
            seen = np.full(self.point.shape, np.nan)
            k = min(measured.shape[1], self.point.shape[1])
            seen[:, :k] = measured[:, :k]
            near = nowcast.paths(seen, self.point, moments, n_ahead, level)
            out = np.where(np.isfinite(near), near, out)
        nonnegative = self.champions.calibration.arrays["nonnegative"]
        out = np.maximum(out, np.where(nonnegative, 0.0, -np.inf)[:, None, None])
        none = level <= 0
        out[none] = np.where(np.isfinite(self.point[none][:, place]), 0.0, np.nan)
        return out

    def _with_ramps(
        self,
        measured: Floats,
        moments: NDArray[np.int64],
        n_ahead: int,
        levels: tuple[Floats, Floats],
        settings: Settings,
    ) -> Floats:
        usual, high = (self.paths(measured, moments, n_ahead, q, settings) for q in levels)
        steps, factor = ramp_steps(self.step, settings)
        place = moments[:, None] + np.arange(n_ahead)
        ramps = rising(self.point, steps, factor)[:, place] & (levels[0] > 0)[:, None, None]
        # what the last hours got wrong says little of a peak that has not begun
        plain = at_level(self.spread, levels[1])[:, place]
        return np.where(ramps, np.fmax(usual, np.fmax(high, plain)), usual)

    def since_then(self, panel: Panel) -> Floats:
        """What was measured of the champions' series from ``since`` on, (n_series, k)."""
        later = panel.window(self.since)
        row = pd.MultiIndex.from_frame(later.keys[_KEY].astype("str")).get_indexer(
            pd.MultiIndex.from_frame(self.champions.keys.astype("str"))
        )
        values = np.where((row >= 0)[:, None], later.values[row], np.nan)
        return _blocks(values, round(self.step / panel.step))


def look_back(champions: Champions, settings: Settings) -> pd.Timedelta:
    """Over how long before a moment the forecast's errors are looked at; nothing for none."""
    nowcast = nowcast_of(champions, settings)
    size = steps_of_grid(champions.step, settings)
    return (0 if nowcast is None else int(nowcast.recent[1])) * size * champions.step


def look_from(
    champions: Champions,
    panel: Panel,
    since: pd.Timestamp,
    length: pd.Timedelta,
    settings: Settings,
) -> Ahead:
    """Fit the champions on what is before ``since``, and forecast from there.

    ``panel`` has the history before ``since`` among its series; it may go on after it.
    """
    known = up_to_date(champions, panel, since, settings)
    start, size = max(since, known.end), steps_of_grid(champions.step, settings)
    step = size * champions.step
    n_steps = int(np.ceil((since + length - start) / step)) * size
    told = known.predict(start, max(n_steps, size), QUANTILES, forecasters(settings))[0]
    spread = np.stack([_blocks(values, size) for values in told])
    return Ahead(known, start, step, spread[QUANTILES.index(0.5)], spread)


def up_to_date(
    champions: Champions, panel: Panel, until: pd.Timestamp, settings: Settings
) -> Champions:
    """The champions fitted on the history before ``until``; as they are where nothing may be fitted
    anew, or the grid is another one."""
    usable = settings.forecast.refit and panel.step == champions.step
    if not usable or not len(champions.chosen) or until == champions.end:
        return champions
    seen = panel.window(until - pd.Timedelta(settings.history.days, "D"), until)
    usual = without_maintenance(seen, settings)
    sane = usual.with_values(np.where(np.abs(usual.values) > LARGEST, np.nan, usual.values))
    return refitted(champions, sane, forecasters(settings))


def _blocks(values: Floats, size: int) -> Floats:
    """Means of every ``size`` steps from the first on; the newest rest is not there yet."""
    return block_means(values[:, : values.shape[1] // size * size], size)


def at_level(spread: Floats, level: Floats) -> Floats:
    """Each series at its own quantile, (len(QUANTILES), n, m) → (n, m): between those that are told
    along the normal distribution's."""
    knots = ndtri(np.array(QUANTILES))
    z = ndtri(np.clip(level, 1e-4, 1 - 1e-4))
    right = np.clip(np.searchsorted(knots, z), 1, len(knots) - 1)
    share = ((z - knots[right - 1]) / (knots[right] - knots[right - 1]))[:, None]
    row = np.arange(len(level))
    return spread[right - 1, row] * (1 - share) + spread[right, row] * share
