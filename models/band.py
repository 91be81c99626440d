"""Band: how far a metric may be from its forecast, learned per series and hour of the week.

Fit takes the champion's forecast over the training grid and learns, per series, a robust scale of
the residuals for each of the 168 hours of a week (UTC) and the multiple of it that a clean period
passes in no more events than the alert budget allows. What is off by exactly that is at the edge of
the band and scores 1. The same is learned of departures from the last hours' level
(``models/band_sudden.py``); a point's score is the larger of the two.

Scale: ``models/band_scale.py``. Thresholds: ``models/tail.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.metrics import Direction
from features.panel import Floats, Panel
from models.band_budget import Told, line_factors
from models.band_levels import edges, learned_levels
from models.band_params import BandParams
from models.band_scale import (
    alive,
    hour_scales,
    hours_of_week,
    levels,
    resolution,
    share_present,
    usual_gaps,
)
from models.band_states import BandScores, Reason, score_series
from models.band_sudden import departure_sizes, sudden_scores, sudden_thresholds
from models.band_words import reasons_text
from models.base import Baselines
from models.selection import lower_medians
from models.tail import tail_thresholds

__all__ = ["Band", "BandParams", "BandScores", "Reason", "reasons_text"]

VERDICTS = ("fitted", "too few points")

_MONTH = pd.Timedelta(days=365.25 / 12)
_QUIET = pd.Timedelta(hours=1)
_FLAT = 1e-3  # of its level: the scale of a series that never moved
_TINY = 1e-12
_NEVER = 2**62
_ONE_GRAIN = 1.5  # a step to the next value that can be measured is no anomaly
_FEWEST = 8  # steps that make a level
_SIGNS = {"up": 1, "down": -1, "both": 0}


class Band:
    """The detector of single metrics."""

    name = "band"

    def __init__(self, params: BandParams | None = None) -> None:
        """Take the knobs."""
        self.params = params or BandParams()

    @property
    def context(self) -> pd.Timedelta:
        """How much past to score along with a new point: with it, or more, its score is the same
        as if all the past had been scored. What is learned over the hold says from when on the
        last hours' level counts."""
        p = self.params
        return pd.Timedelta(hours=p.hold_h + max(2 * p.shift_h, p.level_h + p.spans_h[-1]))

    def fit(
        self,
        panel: Panel,
        expected: Floats,
        directions: Sequence[Direction] | None = None,
        minimum_deviation: Floats | None = None,
        minimum_relative: Floats | None = None,
    ) -> Baselines:
        """Learn the bands of all series.

        Parameters
        ----------
        panel
            Training weeks; NaN is left out.
        expected : (n_series, n_steps)
            Forecast on the same grid; NaN where there is none. A series that it says nothing of
            is held against its own median.
        directions : (n_series,)
            Which side is an anomaly; by default both.
        minimum_deviation : (n_series,)
            Half width of the band in each metric's own unit, at least; by default nothing.
        minimum_relative : (n_series,)
            The same as a share of what is expected; NaN, and by default, the params' own.

        Raises
        ------
        ValueError
            The forecast is not on the panel's grid.

        Returns
        -------
        Baselines
            ``scale`` (n_series, 168), ``threshold``, ``level``, ``informed`` (whether the forecast
            is used), ``resolution`` and ``relative`` (n_series,), ``sudden`` (n_series, n_spans):
            thresholds of the departures, ``share`` of samples present (n_series, 168), ``gap``
            (n_series,): absent samples in a row that are news, ``direction``, ``alive``,
            ``verdict`` (index into ``meta["verdicts"]``).
        """
        _same_grid(panel, expected)
        p = self.params
        direction = np.array([_SIGNS[d] for d in directions or ["both"] * panel.n_series], np.int8)
        level = np.nan_to_num(lower_medians(np.ascontiguousarray(panel.values)))
        informed = self._informed(panel, expected, level)
        residual = panel.values - np.where(informed[:, None], expected, level[:, None])
        hours = hours_of_week(panel)
        nothing, grain = np.zeros(panel.n_series), _ONE_GRAIN * resolution(panel.values)
        smallest = np.fmax(grain, nothing if minimum_deviation is None else minimum_deviation)
        relative = nothing + np.nan if minimum_relative is None else minimum_relative
        scale = self._scale(panel, residual, hours, smallest).astype(np.float32)
        z = residual / scale[:, hours]
        known = np.isfinite(z).sum(axis=1)
        threshold, sudden = self._thresholds(z, known, direction, panel)
        share = share_present(panel.values, hours)
        usable = (known >= p.minimum_points) & np.isfinite(threshold)
        learned = Baselines(
            self.name,
            panel.keys,
            {
                "scale": scale,
                "threshold": np.where(usable, threshold, np.nan),
                "sudden": sudden,
                "level": level,
                "informed": informed,
                "resolution": smallest,
                "relative": np.where(np.isnan(relative), p.minimum_relative, relative),
                "share": share,
                "gap": self._gaps(panel, share[:, hours]),
                "direction": direction,
                "never_below_0": np.fmin.reduce(panel.values, axis=1, initial=np.inf) >= 0,
                "alive": alive(panel.values, expected),
                "verdict": np.where(usable, 0, 1).astype(np.int8),
            },
            {"verdicts": list(VERDICTS)},
        )
        return self._within_budget(learned, panel, expected)

    def _within_budget(self, learned: Baselines, panel: Panel, expected: Floats) -> Baselines:
        """The same with each workload's lines where its training weeks would have told as often as
        the budget allows."""
        p, arrays = self.params, dict(learned.arrays)
        score = self.score(learned, panel, expected).score
        score[np.isnan(expected) & learned.arrays["informed"][:, None]] = np.nan
        factor = line_factors(
            score,
            np.unique(panel.keys["workload"].to_numpy(dtype=str), return_inverse=True)[1],
            self._budget(panel) * (panel.step / _MONTH),
            Told(*p.told),
            max(int(_QUIET / panel.step), 1),
            pd.Timedelta(days=p.trust_days) / panel.step,
        )
        arrays["threshold"] = np.fmax(arrays["threshold"] * factor, p.minimum_z)
        arrays["threshold"][np.isnan(learned.arrays["threshold"])] = np.nan
        arrays["sudden"] = arrays["sudden"] * factor[:, None]
        return replace(learned, arrays=arrays)

    def score(self, baselines: Baselines, panel: Panel, expected: Floats) -> BandScores:
        """Score every point of the panel with nothing but it and what came before.

        Series are matched by workload and metric; one without a baseline is NaN throughout.

        Parameters
        ----------
        panel
            The points, on the step that was trained on; give ``context`` more past than is asked
            for.
        expected : (n_series, n_steps)
            Forecast on the same grid; where it is NaN or was of no use, the series' median in
            training counts.
        """
        _same_grid(panel, expected)
        p, learned = self.params, _aligned(baselines, panel.keys)
        values = np.require(panel.values, np.float64, ["C", "W"])
        blind = np.isnan(expected) | ~learned["informed"][:, None]
        centre = np.where(blind, learned["level"][:, None], expected)
        hours, steps = hours_of_week(panel), self._steps(panel.step)
        scale = learned["scale"].astype(np.float64)[:, hours]
        least = np.fmax(p.minimum_absolute, learned["resolution"])[:, None]
        relative = learned["relative"][:, None] * np.abs(centre)
        width = np.fmax(learned["threshold"][:, None] * scale, np.fmax(least, relative))
        width[np.isnan(learned["threshold"])] = np.nan
        used = learned_levels(values, centre, width, steps[1])
        own = scale * np.fmax(used[1] / width, 1.0)
        ratio, level, line, span = sudden_scores(
            (values - used[0]) / own, used[2], learned["sudden"], least / own, relative / own,
            *self._windows(panel.step),
        )  # fmt: skip
        due = learned["share"][:, hours] >= p.due_share
        direction = learned["direction"]
        score, reason = score_series(
            values, (centre, width), used, (ratio, span), due, learned["gap"], direction,
            learned["alive"], steps, p.own_score,
        )  # fmt: skip
        centre, half, _ = used
        near = np.fmax(learned["sudden"][:, :1] * own, np.fmax(least, relative))
        lasting = (reason == Reason.LASTING_ABOVE) | (reason == Reason.LASTING_BELOW)
        np.multiply(line, own, out=near, where=lasting)
        lower, upper = edges(centre, half, level * own, near, lasting)
        np.maximum(lower, 0.0, out=lower, where=learned["never_below_0"][:, None])
        lower[(direction == 1)[:, None] & ~np.isnan(lower)] = -np.inf
        upper[(direction == -1)[:, None] & ~np.isnan(upper)] = np.inf
        return BandScores(score, lower, upper, centre, reason, (values - centre) / scale)

    def _informed(self, panel: Panel, expected: Floats, level: Floats) -> NDArray[np.bool_]:
        """Whether the forecast explains the series' moves, (n_series,)."""
        few = np.isfinite(panel.values - expected).sum(axis=1) < self.params.minimum_points
        window = self._windows(panel.step)[1]
        told = np.where(np.isnan(expected), np.nan, panel.values)
        left = departure_sizes(panel.values - expected, window)
        return ~few & ~(left > departure_sizes(told - level[:, None], window))

    def _gaps(self, panel: Panel, share: NDArray[np.float32]) -> NDArray[np.int64]:
        """Samples in a row whose absence is news, (n_series,)."""
        p, month = self.params, panel.step / _MONTH
        longest = max(round(pd.Timedelta(hours=p.gap_h) / panel.step), p.missing_steps)
        events = (~np.isnan(panel.values)).sum(axis=1) * month * p.alerts_per_month
        names, group = np.unique(panel.keys["workload"].to_numpy(dtype=str), return_inverse=True)
        there = np.zeros((len(names), panel.n_steps), dtype=bool)
        np.logical_or.at(there, group, ~np.isnan(panel.values))
        there[np.bincount(group, minlength=len(names)) == 1] = True
        due = (share >= p.due_share) & there[group]  # all gone: an outage, or blanked
        return usual_gaps(panel.values, due, p.missing_steps, longest, events)

    def _scale(
        self, panel: Panel, residual: Floats, hours: NDArray[np.intp], smallest: Floats
    ) -> Floats:
        """Robust standard deviations, (n_series, 168), never so small that a constant series has
        no unit."""
        prior = self.params.prior_weeks * max(pd.Timedelta(hours=1) / panel.step, 1.0)
        floor = np.fmax(0.5 * smallest, _FLAT * levels(panel.values))
        scale = hour_scales(residual, hours, prior)
        return np.fmax(scale, np.fmax(floor, _TINY)[:, None])

    def _thresholds(
        self, z: Floats, known: NDArray[np.intp], direction: NDArray[np.int8], panel: Panel
    ) -> tuple[Floats, Floats]:
        """Lines in units of the scale: of the band, (n_series,), and of departures, (n_series,
        n_spans). The budget of a workload is shared by its metrics and by what is watched of each.
        """
        p = self.params
        sign = np.where(direction == 0, 1, direction)[:, None]
        raw = np.where(direction[:, None] == 0, np.abs(z), np.maximum(z * sign, 0.0))
        judged = pd.Series(known > 0).groupby(panel.keys["workload"]).transform("sum")
        metrics = np.maximum(judged.to_numpy(dtype=float), 1.0)
        months = known * (panel.step / _MONTH)
        spans, window = self._windows(panel.step)
        share = self._budget(panel) / (len(spans) + 1)
        events = np.maximum(share * months / metrics, _TINY)
        quiet = max(int(_QUIET / panel.step), 1)
        days = np.maximum(known, 1) * (panel.step / pd.Timedelta(days=1))
        band = tail_thresholds(raw, events, p.persistence_steps, quiet)
        band = np.fmax(band, p.minimum_z) * (1.0 + p.young_days / days)
        sudden = sudden_thresholds(
            np.ascontiguousarray(z), direction, events, spans, window, p.persistence_steps, quiet
        )
        return band, np.maximum(sudden, p.minimum_z / np.sqrt(spans))

    def _budget(self, panel: Panel) -> Floats:
        """Alerts a month of each series' workload, (n_series,)."""
        alone = ~panel.keys["workload"].duplicated(keep=False).to_numpy(dtype=bool)
        return self.params.alerts_per_month * np.where(alone, 1.0, self.params.shared)

    def _steps(self, step: pd.Timedelta) -> tuple[int, int]:
        """Window of a shift, and hold."""
        p, per_hour = self.params, pd.Timedelta(hours=1) / step
        shift = max(int(p.shift_h * per_hour), 2)
        return shift, max(int(p.hold_h * per_hour), shift)

    def _windows(self, step: pd.Timedelta) -> tuple[NDArray[np.int64], int]:
        """Spans of the means, each once, and what they depart from, in steps."""
        p, per_hour = self.params, pd.Timedelta(hours=1) / step
        spans = np.unique([max(round(h * per_hour), 1) for h in p.spans_h]).astype(np.int64)
        return spans, max(round(p.level_h * per_hour), _FEWEST)


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
    blank["threshold"][:], blank["scale"][:], blank["gap"][:] = np.nan, 1.0, _NEVER
    return {name: np.concatenate([a, blank[name]])[row] for name, a in baselines.arrays.items()}
