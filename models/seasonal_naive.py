"""Last week again: the two forecasts that every other model has to beat.

``SeasonalNaive`` repeats the value of one week before, ``SeasonalMedian`` the median of the last
four values at the same time of the week. Both repeat the coming week as often as the horizon asks.
(Hyndman and Athanasopoulos, "Forecasting: principles and practice", 3rd ed., sections 5.2 and 5.5,
whose seasonal random walk gives the widening of the bands.)

Where a week is no whole number of steps, the nearest step is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.base import Baselines
from models.seasonal_kernels import coming_season, season_residuals, spread_tables

__all__ = ["SeasonalMedian", "SeasonalNaive", "SeasonalNaiveParams"]

_DAY_S = 86_400.0
_BLOCK = 256  # series in one go: the residuals of a large panel need not fit in memory
_TAIL = np.array([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4])
_PROBABILITIES = np.concatenate([_TAIL, [0.5], 1 - _TAIL[::-1]])


@dataclass(frozen=True, slots=True)
class SeasonalNaiveParams:
    """How far back to look."""

    season_h: float = 168.0
    median_seasons: int = 4
    """Seasons behind the seasonal median."""
    recent_days: int = 7
    """Days behind the median that stands in for a time of the week that was never seen."""
    levels: int = 3
    """Groups of expected level, each with residuals of its own: a busy hour strays more than a
    quiet one."""

    def __post_init__(self) -> None:
        """Refuse what looks back nowhere."""
        if not 0 < self.season_h < np.inf:
            raise ValueError(f"season_h must be above 0, got {self.season_h}")
        for key in ("median_seasons", "recent_days", "levels"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more, got {getattr(self, key)}")


@dataclass(frozen=True, slots=True)
class SeasonalNaive:
    """The value of one season (week) before. Forecaster (see ``models.base.Forecaster``).

    Arrays of its baselines, first axis the series:

    ``template`` (n, steps in a season)
        The coming season on the grid, from the end of training on.
    ``fallback`` (n,)
        The furthest that any of it was fetched: 0 its own seasons, 1 an older season, 2 the same
        time of day on recent days, 3 the recent median level, 4 there was no value at all (NaN).
    ``spread`` (n, levels, probabilities) and ``edges`` (n, levels - 1)
        Quantiles of residuals by level of the expected value;
        ``spread_source``: 0 from one season to the next, 1 from day to day, 2 around the median, 3
        nothing to compare (zeros).
    ``non_negative`` (n,)
        Whether the history never went below zero.
    """

    params: SeasonalNaiveParams = SeasonalNaiveParams()

    @property
    def name(self) -> str:
        """``seasonal_naive``."""
        return "seasonal_naive"

    def fit(self, panel: Panel) -> Baselines:
        """Keep the last season of every series, its gaps filled from further back, and how seasons
        differ."""
        return _fit(self.name, panel, self.params, seasons=1)

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
        return _predict(baselines, start, n_steps, quantiles, widening=0.5)


@dataclass(frozen=True, slots=True)
class SeasonalMedian:
    """The median of the last values at the same time of the season (week); else as
    ``SeasonalNaive``."""

    params: SeasonalNaiveParams = SeasonalNaiveParams()

    @property
    def name(self) -> str:
        """``seasonal_median``."""
        return "seasonal_median"

    def fit(self, panel: Panel) -> Baselines:
        """Keep the median season of every series, its gaps filled from further back, and how
        seasons differ."""
        return _fit(self.name, panel, self.params, seasons=self.params.median_seasons)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """As ``SeasonalNaive.predict``, but the spread stays as it is: the median season is taken
        to be a fixed one."""
        return _predict(baselines, start, n_steps, quantiles, widening=0.0)


def _fit(name: str, panel: Panel, params: SeasonalNaiveParams, seasons: int) -> Baselines:
    step_s = panel.step.total_seconds()
    lags = _lags(params.season_h * 3600, step_s, panel.n_steps)
    days = _lags(_DAY_S, step_s, panel.n_steps)
    blocks = [
        _learn(panel.values[at : at + _BLOCK], lags, days, seasons, step_s, params)
        for at in range(0, max(panel.n_series, 1), _BLOCK)
    ]
    arrays = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    meta = {
        "start": panel.start.isoformat(),
        "end": panel.end.isoformat(),
        "step_s": step_s,
        "params": asdict(params),
    }
    return Baselines(name, panel.keys, arrays, meta)


def _learn(
    values: Floats,
    lags: NDArray[np.int64],
    days: NDArray[np.int64],
    seasons: int,
    step_s: float,
    params: SeasonalNaiveParams,
) -> dict[str, NDArray[Any]]:
    values = np.ascontiguousarray(values)
    recent = max(round(params.recent_days * _DAY_S / step_s), 1)
    template, fallback = coming_season(values, lags, days, seasons, recent)
    expected, residuals, source = season_residuals(values, lags, days, seasons)
    edges, spread = spread_tables(expected, residuals, _PROBABILITIES, params.levels)
    lowest = np.where(np.isfinite(values), values, 0.0).min(axis=1, initial=0.0)
    return {
        "template": template,
        "fallback": fallback,
        "edges": edges,
        "spread": spread,
        "spread_source": source,
        "non_negative": lowest >= 0,
    }


def _lags(period_s: float, step_s: float, n_steps: int) -> NDArray[np.int64]:
    """Whole steps that are nearest to 1, 2, … periods, as many as the history and the coming season
    can hold."""
    number = max(int(np.ceil((n_steps + 1) * step_s / period_s)) + 1, 1)
    return np.maximum(np.rint(np.arange(1, number + 1) * period_s / step_s), 1).astype(np.int64)


def _predict(
    baselines: Baselines,
    start: pd.Timestamp,
    n_steps: int,
    quantiles: Sequence[float],
    widening: float,
) -> Floats:
    if not all(0 < q < 1 for q in quantiles):
        raise ValueError(f"quantiles must be between 0 and 1, got {list(quantiles)}")
    a, meta = baselines.arrays, baselines.meta
    end = pd.Timestamp(meta["end"])
    if start < end:
        raise ValueError(f"start must be {end} (the end of training) or later, got {start}")
    season_s = meta["params"]["season_h"] * 3600
    ahead_s = (start - end).total_seconds() + meta["step_s"] * np.arange(n_steps)
    season = np.floor(ahead_s / season_s)
    nearest = np.rint((ahead_s - season * season_s) / meta["step_s"]).astype(np.int64)
    point = a["template"][:, nearest % a["template"].shape[1]]
    level = (point[:, :, None] > a["edges"][:, None, :]).sum(axis=2)
    spread = _at_quantiles(a["spread"], quantiles)
    row = np.arange(len(point))[:, None]
    out = point + spread[:, row, level] * (season + 1) ** widening
    return np.maximum(out, np.where(a["non_negative"], 0.0, -np.inf)[:, None], out=out)


def _at_quantiles(spread: Floats, quantiles: Sequence[float]) -> Floats:
    """Linear between the stored probabilities, flat beyond: (n_quantiles, n_series, levels)."""
    at = np.clip(np.asarray(quantiles, dtype=np.float64), _PROBABILITIES[0], _PROBABILITIES[-1])
    right = np.clip(np.searchsorted(_PROBABILITIES, at), 1, len(_PROBABILITIES) - 1)
    share = (at - _PROBABILITIES[right - 1]) / (_PROBABILITIES[right] - _PROBABILITIES[right - 1])
    between = spread[..., right - 1] * (1 - share) + spread[..., right] * share
    return np.moveaxis(between, -1, 0)
