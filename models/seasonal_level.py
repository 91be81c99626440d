"""The usual week at today's level: what beats "last week" on most real load.

Load has a shape that comes back every week and a height that drifts. The last seasons (weeks) are
brought to one level, their median is the shape; the factor that brings the shape nearest to the
last days is the height. Both factors are those of least absolute error (a weighted median of
ratios), so that an incident or a holiday among the days does not pull them; and only a share of a
change is believed. Where values can be negative the level is a shift instead of a factor. Where
steps are shorter than an hour, neighbouring steps of the shape are averaged as widely as older
seasons foresee the newest one best. (Level and shape: Hyndman and Athanasopoulos, "Forecasting:
principles and practice", 3rd ed., section 3.2; least absolute errors: Koenker and Bassett 1978.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.base import Baselines
from models.level_kernels import levelled_season
from models.seasonal_fit import SeasonalNaiveParams, fit_season, predict_season

__all__ = ["SeasonalLevel", "SeasonalLevelParams"]

_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class SeasonalLevelParams:
    """How far back the shape and the height look."""

    seasons: int = 6
    """Seasons (weeks) behind the shape, as far as the history has them."""
    recent_h: float = 168.0
    """Hours behind the height."""
    damping: float = 0.75
    """Share of a change of level (of its logarithm) that is believed: once from season to season,
    and of what is left once more in the last hours, so that 1 - (1 - d)² of a new level is."""

    def __post_init__(self) -> None:
        """Refuse what looks back nowhere or overdoes it."""
        if self.seasons < 1:
            raise ValueError(f"seasons must be 1 or more, got {self.seasons}")
        if not 0 < self.recent_h < np.inf:
            raise ValueError(f"recent_h must be above 0, got {self.recent_h}")
        if not 0 <= self.damping <= 1:
            raise ValueError(f"damping must be between 0 and 1, got {self.damping}")


@dataclass(frozen=True, slots=True)
class SeasonalLevel:
    """Forecaster (see ``models.base.Forecaster``).

    Its baselines are those of ``SeasonalMedian`` with another ``template``, and ``level`` (n,): the
    factor (or shift) of the last days against the usual season.
    """

    params: SeasonalLevelParams = SeasonalLevelParams()
    seasonal: SeasonalNaiveParams = field(default_factory=SeasonalNaiveParams)
    name: str = "seasonal_level"

    def fit(self, panel: Panel) -> Baselines:
        """Shape, height and spread of every series."""
        p, step_s = self.params, panel.step.total_seconds()
        base = fit_season(self.name, panel, self.seasonal, seasons=self.seasonal.median_seasons)
        season = self.seasonal.season_h * _HOUR_S / step_s
        template, level = levelled_season(
            panel.values,
            base.arrays["template"],
            np.maximum(np.rint(np.arange(1, p.seasons + 1) * season), 1).astype(np.int64),
            max(round(p.recent_h * _HOUR_S / step_s), 1),
            max(round(_HOUR_S / step_s), 1),
            p.damping,
        )
        return replace(
            base,
            arrays={**base.arrays, "template": template, "level": level},
            meta={**base.meta, "level_params": asdict(p)},
        )

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """As ``SeasonalMedian.predict``: the spread is that of the usual season."""
        return predict_season(baselines, start, n_steps, quantiles, widening=0.0)
