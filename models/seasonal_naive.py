"""Last week again: the forecasts that every other model has to beat.

``SeasonalNaive`` repeats the value of one week before, ``SeasonalMedian`` the median of the last
four values at the same time of the week, ``SeasonalDay`` that of the last seven at the same time of
day, and ``SeasonalPeak`` the largest value of half an hour one week before. All repeat the coming
season as often as the horizon asks. (Hyndman and Athanasopoulos, "Forecasting: principles and
practice", 3rd ed., sections 5.2 and 5.5, whose seasonal random walk gives the widening of the
bands.)

Where a week is no whole number of steps, the nearest step is taken. Any series with a finite value
is answered; what the answer rests on is its ``confidence`` (``CONFIDENCE``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from features.panel import Floats, Panel
from models.base import Baselines
from models.seasonal_fit import CONFIDENCE, SeasonalNaiveParams, fit_season, predict_season

__all__ = [
    "CONFIDENCE",
    "SeasonalDay",
    "SeasonalMedian",
    "SeasonalNaive",
    "SeasonalNaiveParams",
    "SeasonalPeak",
]


@dataclass(frozen=True, slots=True)
class SeasonalNaive:
    """The value of one season (week) before. Forecaster (see ``models.base.Forecaster``).

    Arrays of its baselines, first axis the series:

    ``template`` (n, steps in a season)
        The coming season on the grid, from the end of training on.
    ``fallback`` (n,)
        The furthest that any of it was fetched: 0 its own seasons, 1 an older season, 2 the same
        time of day on recent days, 3 the recent median level (shaped by a cohort where
        ``confidence`` says so), 4 there was no value at all (NaN).
    ``confidence`` (n,) int8
        What most of it rests on, a position in ``CONFIDENCE``.
    ``spread`` (n, levels, probabilities) and ``edges`` (n, levels - 1)
        Quantiles of residuals by level of the expected value;
        ``spread_source``: 0 from one season to the next, 1 from day to day, 2 around the median, 3
        nothing to compare (zeros), 4 the cohort's. Less than a day of residuals is nobody's source
        but the last. Of a day or less, and where only the level is known, they are at least
        ``flat_width_ratio`` wide.
    ``non_negative`` (n,)
        Whether the history never went below zero.
    """

    params: SeasonalNaiveParams = field(default_factory=SeasonalNaiveParams)

    @property
    def name(self) -> str:
        """``seasonal_naive``."""
        return "seasonal_naive"

    def fit(self, panel: Panel) -> Baselines:
        """Keep the last season of every series, its gaps filled from further back, and how seasons
        differ."""
        return fit_season(self.name, panel, self.params, seasons=1)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Quantiles from ``start`` on, (n_quantiles, n_series, n_steps); the median is the value
        itself.

        The spread grows with the root of the number of seasons ahead, as that of a seasonal random
        walk does.

        Raises
        ------
        ValueError
            ``start`` is before the end of training, or a quantile not between 0 and 1.
        """
        return predict_season(baselines, start, n_steps, quantiles, widening=0.5)


@dataclass(frozen=True, slots=True)
class SeasonalMedian:
    """The median of the last values at the same time of the season (week); else as
    ``SeasonalNaive``."""

    params: SeasonalNaiveParams = field(default_factory=SeasonalNaiveParams)

    @property
    def name(self) -> str:
        """``seasonal_median``."""
        return "seasonal_median"

    def fit(self, panel: Panel) -> Baselines:
        """Keep the median season of every series, its gaps filled from further back, and how
        seasons differ."""
        return fit_season(self.name, panel, self.params, seasons=self.params.median_seasons)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """As ``SeasonalNaive.predict``, but the spread stays as it is: the median season is taken
        to be a fixed one."""
        return predict_season(baselines, start, n_steps, quantiles, widening=0.0)


@dataclass(frozen=True, slots=True)
class SeasonalDay:
    """The median of the last values at the same time of day, for load without a weekly shape; else
    as ``SeasonalMedian`` with a season of a day (``season_h`` is not used)."""

    params: SeasonalNaiveParams = field(default_factory=SeasonalNaiveParams)

    @property
    def name(self) -> str:
        """``seasonal_day``."""
        return "seasonal_day"

    def fit(self, panel: Panel) -> Baselines:
        """Keep the median of ``recent_days`` days of every series, its gaps filled from further
        back, and how days differ."""
        daily = replace(self.params, season_h=24.0)
        return fit_season(self.name, panel, daily, seasons=daily.recent_days)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """As ``SeasonalMedian.predict``."""
        return predict_season(baselines, start, n_steps, quantiles, widening=0.0)


@dataclass(frozen=True, slots=True)
class SeasonalPeak:
    """The largest value of the ``peak_window_min`` minutes from one season (week) before on: what
    capacity for that time has to hold. Else as ``SeasonalNaive``, which it is where a step is no
    shorter than the window.

    Mimir's autoscaling asks the same of Prometheus in one line:
    ``max_over_time(load[30m] offset 6d23h30m)``.
    """

    params: SeasonalNaiveParams = field(default_factory=SeasonalNaiveParams)

    @property
    def name(self) -> str:
        """``seasonal_peak``."""
        return "seasonal_peak"

    def fit(self, panel: Panel) -> Baselines:
        """Keep the last season's peaks of every series, gaps filled from further back, and how far
        values were off the peaks of a season before."""
        return fit_season(
            self.name, panel, self.params, seasons=1, window_min=self.params.peak_window_min
        )

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """As ``SeasonalNaive.predict``; the peak stands at the quantile 0.5, though most values
        are below it."""
        return predict_season(baselines, start, n_steps, quantiles, widening=0.5)
