"""Band: how far a metric may be from its forecast, learned per series and hour of the week.

Fit takes the champion's forecast over the training grid and learns, per series, a robust scale of
the residuals for each of the 168 hours of a week (UTC) and the multiple of it that a clean period
passes in no more events than the alert budget allows. What is off by exactly that is at the edge of
the band and scores 1.

Scale: 1.4826 × the median of |residual| (consistent for a normal distribution; Rousseeuw & Croux,
JASA 88, 1993), so that incidents in the training weeks do not widen the band. Threshold:
``models/tail.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.metrics import Direction
from features.panel import Floats, Panel
from models.band_scale import (
    alive,
    hour_scales,
    hours_of_week,
    resolution,
    row_medians,
    share_present,
)
from models.band_states import BandScores, Reason, score_series
from models.band_words import reasons_text
from models.base import Baselines
from models.tail import tail_thresholds

__all__ = ["Band", "BandParams", "BandScores", "Reason", "reasons_text"]

VERDICTS = ("fitted", "too few points beside a forecast")

_MONTH = pd.Timedelta(days=365.25 / 12)
_QUIET = pd.Timedelta(hours=1)
_FLAT = 1e-3  # of its level: the scale of a series that never moved
_TINY = 1e-12
_SIGNS = {"up": 1, "down": -1, "both": 0}


@dataclass(frozen=True, slots=True)
class BandParams:
    """Knobs of the band."""

    alerts_per_month: float = 1.0
    """Events a clean workload may cause a month, over all its metrics together."""
    persistence_steps: int = 2
    """Steps in a row outside the band that make an event."""
    minimum_z: float = 3.0
    """Half width of the band in robust standard deviations, at least."""
    minimum_relative: float = 0.1
    """Half width as a share of the expected value, at least."""
    minimum_absolute: float = 0.0
    """Half width in the metric's own unit, at least; the resolution of the series (its smallest
    step) always counts."""
    prior_weeks: float = 2.0
    """Weight of a series' overall scale against that of one hour of the week, in weeks of data."""
    minimum_points: int = 24
    """Training points without which a series has no band."""
    missing_steps: int = 3
    """Samples in a row that are due and absent before their absence is an anomaly."""
    due_share: float = 0.7
    """A sample is due in an hour of the week when such a share was there in training; a holiday
    blanked in four weeks leaves 0.75."""
    own_score: float = 2.0
    """Score of missing samples, and the least one of a drop to zero."""
    shift_h: float = 3.0
    """Window whose median must be outside the band for a level shift."""
    hold_h: float = 24.0
    """How long a level shift stays an anomaly before it is the new level."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for key in ("alerts_per_month", "minimum_z", "shift_h", "hold_h"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)!r}")
        for key in ("minimum_relative", "minimum_absolute", "prior_weeks"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must not be negative, got {getattr(self, key)!r}")
        for key in ("persistence_steps", "minimum_points", "missing_steps", "own_score"):
            if not getattr(self, key) >= 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)!r}")
        if not 0 < self.due_share <= 1:
            raise ValueError(f"due_share must be in (0, 1], got {self.due_share!r}")


class Band:
    """The detector of single metrics."""

    name = "band"

    def __init__(self, params: BandParams | None = None) -> None:
        """Take the knobs."""
        self.params = params or BandParams()

    @property
    def context(self) -> pd.Timedelta:
        """How much past to score along with a new point, so that a shift of long ago is known as
        learned."""
        return pd.Timedelta(hours=self.params.hold_h + 2 * self.params.shift_h)

    def fit(
        self,
        panel: Panel,
        expected: Floats,
        directions: Sequence[Direction] | None = None,
        minimum_deviation: Floats | None = None,
    ) -> Baselines:
        """Learn the bands of all series.

        Parameters
        ----------
        panel
            Training weeks. NaN is left out: so are points that somebody flagged and blanked.
        expected : (n_series, n_steps)
            Forecast on the same grid; NaN where there is none.
        directions : (n_series,)
            Which side is an anomaly; by default both.
        minimum_deviation : (n_series,)
            Half width of the band in each metric's own unit, at least; by default nothing. A ratio
            that is usually 0 has no other unit: one failed request would be a thousand sigma.

        Raises
        ------
        ValueError
            The forecast is not on the panel's grid.

        Returns
        -------
        Baselines
            ``scale`` (n_series, 168), ``threshold`` and ``resolution`` (n_series,), ``share`` of
            samples present (n_series, 168), ``direction``, ``alive``, ``verdict`` (index into
            ``meta["verdicts"]``).
        """
        _same_grid(panel, expected)
        signs = [_SIGNS[d] for d in directions or ["both"] * panel.n_series]
        direction = np.array(signs, dtype=np.int8)
        residual = panel.values - expected
        hours = hours_of_week(panel)
        least = np.zeros(panel.n_series) if minimum_deviation is None else minimum_deviation
        smallest = np.fmax(resolution(panel.values), least)
        scale = self._scale(panel, residual, hours, smallest)
        threshold = self._threshold(residual / scale[:, hours], direction, panel)
        usable = np.isfinite(residual).sum(axis=1) >= self.params.minimum_points
        return Baselines(
            self.name,
            panel.keys,
            {
                "scale": scale.astype(np.float32),
                "threshold": np.where(usable, threshold, np.nan),
                "resolution": smallest,
                "share": share_present(panel.values, hours),
                "direction": direction,
                "alive": alive(panel.values, expected),
                "verdict": np.where(usable, 0, 1).astype(np.int8),
            },
            {"verdicts": list(VERDICTS)},
        )

    def score(self, baselines: Baselines, panel: Panel, expected: Floats) -> BandScores:
        """Score every point of the panel with nothing but it and what came before.

        Series are matched by workload and metric; one without a baseline is NaN throughout. A
        series that vanished is only found missing if the panel has a (NaN) row for it.

        Parameters
        ----------
        panel
            The points, any grid; give ``context`` more past than is asked for.
        expected : (n_series, n_steps)
            Forecast on the same grid.
        """
        _same_grid(panel, expected)
        learned = _aligned(baselines, panel.keys)
        values, expected = (np.require(a, np.float64, ["C", "W"]) for a in (panel.values, expected))
        hours = hours_of_week(panel)
        width = self._width(learned, expected, hours)
        per_hour = pd.Timedelta(hours=1) / panel.step
        steps = (
            max(int(self.params.shift_h * per_hour), 2),
            max(int(self.params.hold_h * per_hour), 2),
            self.params.missing_steps,
        )
        due = learned["share"][:, hours] >= self.params.due_share
        direction = learned["direction"]
        score, centre, half, reason = score_series(
            values, expected, width, due, direction, learned["alive"], steps,
            self.params.own_score,
        )  # fmt: skip
        lower, upper = centre - half, centre + half
        lower[(direction == 1)[:, None] & ~np.isnan(lower)] = -np.inf
        upper[(direction == -1)[:, None] & ~np.isnan(upper)] = np.inf
        return BandScores(score, lower, upper, centre, reason)

    def _scale(
        self, panel: Panel, residual: Floats, hours: NDArray[np.intp], smallest: Floats
    ) -> Floats:
        """Robust standard deviations, (n_series, 168), never so small that a constant series has
        no unit."""
        prior = self.params.prior_weeks * max(pd.Timedelta(hours=1) / panel.step, 1.0)
        floor = np.fmax(0.5 * smallest, _FLAT * row_medians(np.abs(panel.values)))
        scale = hour_scales(np.abs(residual), hours, prior)
        return np.fmax(scale, np.fmax(floor, _TINY)[:, None])

    def _width(
        self, learned: dict[str, NDArray[Any]], expected: Floats, hours: NDArray[np.intp]
    ) -> Floats:
        """The deviation that scores 1, (n_series, n_steps): learned, and not below the gates."""
        width = learned["threshold"][:, None] * learned["scale"].astype(np.float64)[:, hours]
        least = np.fmax(self.params.minimum_absolute, learned["resolution"])
        np.maximum(width, least[:, None], out=width)
        return np.maximum(width, self.params.minimum_relative * np.abs(expected), out=width)

    def _threshold(self, z: Floats, direction: NDArray[np.int8], panel: Panel) -> Floats:
        """Half width in units of the scale, (n_series,): the budget is shared by the metrics of a
        workload."""
        sign = np.where(direction == 0, 1, direction)[:, None]
        raw = np.where(direction[:, None] == 0, np.abs(z), np.maximum(z * sign, 0.0))
        known = np.isfinite(raw).sum(axis=1)
        judged = pd.Series(known > 0).groupby(panel.keys["workload"]).transform("sum")
        metrics = np.maximum(judged.to_numpy(dtype=float), 1.0)
        months = known * (panel.step / _MONTH)
        events = np.maximum(self.params.alerts_per_month * months / metrics, _TINY)
        quiet = max(int(_QUIET / panel.step), 1)
        found = tail_thresholds(raw, events, self.params.persistence_steps, quiet)
        return np.fmax(found, self.params.minimum_z)


def _same_grid(panel: Panel, expected: Floats) -> None:
    if expected.shape != panel.values.shape:
        raise ValueError(
            f"expected must be on the panel's grid, {panel.values.shape}, got {expected.shape}"
        )


def _aligned(baselines: Baselines, keys: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The arrays in the order of ``keys``; a series never fitted has threshold NaN and no share."""
    known = pd.MultiIndex.from_frame(baselines.keys[["workload", "metric"]])
    row = known.get_indexer(pd.MultiIndex.from_frame(keys[["workload", "metric"]]))
    blank = {name: np.zeros((1, *a.shape[1:]), a.dtype) for name, a in baselines.arrays.items()}
    blank["threshold"][:] = np.nan
    return {name: np.concatenate([a, blank[name]])[row] for name, a in baselines.arrays.items()}
