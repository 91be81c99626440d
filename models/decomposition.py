"""Season and level of all series at once: seasonal-trend decomposition by robust smoothing.

In the spirit of STL (Cleveland et al. 1990) and MSTL (Bandara, Hyndman and Bergmeir 2021), and of
robust exponential smoothing (Gelper, Fried and Croux 2010), at the price of a few passes over the
data:

1. Outliers are drawn in to what season and level allow (a median polish over weeks and slots).
2. The season is smoothed exponentially from week to week at several rates, each shrunk towards its
   neighbours within the hour and towards the mean day as far as noise explains the difference
   (``decomposition_seasons``).
3. What is left is averaged by day, and its level followed by exponential smoothers that hold, fade
   to the mean, or go on in a damped slope (``decomposition_levels``).

Rates are averaged with weights from their errors one season ahead. Season and level are added, not
multiplied. It is at home where levels change from week to week, drift slowly, or where a few noisy
weeks are all there is.
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
from models.decomposition_ahead import (
    BASE_LEAD_DAYS,
    DAY_MS,
    PROBABILITIES,
    WEEK_MS,
    bands,
    days_ahead,
    season_ahead,
    slots_at,
)
from models.decomposition_kernels import Layout, decompose
from models.decomposition_levels import LEVEL_MODELS, damped_days
from models.spread_kernels import spread_tables

__all__ = [
    "DAILY",
    "LEVEL",
    "NO_DATA",
    "WEEKLY",
    "Decomposition",
    "DecompositionParams",
]

WEEKLY, DAILY, LEVEL, NO_DATA = 0, 1, 2, 3
"""Codes in ``kind``: what season a series has (from two weeks and two days on), or no value."""

_HOUR_MS = 3_600_000
_BLOCK = 128  # series in one go: scratch and residuals stay small


@dataclass(frozen=True, slots=True)
class DecompositionParams:
    """How to tell season, level and outliers apart."""

    season_rates: tuple[float, ...] = (0.3, 0.6)
    """Learning rates a cycle (week, or day in a short history) that are averaged."""
    clip_sigma: float = 3.0
    """Values further than so many robust sigma from season and level are drawn in."""
    most_weeks: int = 10
    """Older history, counted from a series' last value, is left out: it hardly weighs."""
    levels: int = 3
    """Groups of expected level, each with residuals of its own."""

    def __post_init__(self) -> None:
        """Refuse what learns nothing."""
        if not (self.season_rates and all(0 < r <= 1 for r in self.season_rates)):
            raise ValueError(f"season_rates must be in (0, 1], got {self.season_rates}")
        if not 0 < self.clip_sigma < np.inf:
            raise ValueError(f"clip_sigma must be above 0 and finite, got {self.clip_sigma}")
        for key, least in (("most_weeks", 2), ("levels", 1)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be {least} or more, got {getattr(self, key)}")


@dataclass(frozen=True, slots=True)
class Decomposition:
    """Forecaster (see ``models.base.Forecaster``).

    One value is enough for an answer; two days give it a daily, two weeks a weekly season. Arrays
    of its baselines, first axis the series:

    ``template`` (n, steps in a week)
        The season of the coming week on the grid, from the end of training on; mean zero.
    ``held fading slope`` (n,)
        The level at the end of training: what stays, what fades, and what is gained a day, damped.
    ``spread`` (n, levels, probabilities) and ``edges`` (n, levels - 1)
        Quantiles of one-season-ahead residuals by level of the expected value.
    ``widening`` (n,)
        Growth a day of the variance of the error, as a share of it.
    ``kind`` (n,)
        ``WEEKLY``, ``DAILY``, ``LEVEL`` or ``NO_DATA`` (all else is then NaN).
    ``non_negative`` (n,)
        Whether the history never went below zero.
    """

    params: DecompositionParams = DecompositionParams()

    @property
    def name(self) -> str:
        """``decomposition``."""
        return "decomposition"

    def fit(self, panel: Panel) -> Baselines:
        """Season, level, and how far they were off one season ahead, for every series by itself."""
        step_ms = _ms(panel.step)
        arrays = _blank(panel, self.params)
        kinds = _kinds(panel.values, step_ms)
        for kind in (WEEKLY, DAILY, LEVEL):
            rows = np.flatnonzero(kinds == kind)
            for at in range(0, len(rows), _BLOCK):
                block = rows[at : at + _BLOCK]
                for key, learned in _learn(panel.values[block], kind, step_ms, self.params).items():
                    arrays[key][block] = learned
        arrays["kind"] = kinds
        meta = {
            "start": panel.start.isoformat(),
            "end": panel.end.isoformat(),
            "step_s": panel.step.total_seconds(),
            "params": asdict(self.params),
        }
        return Baselines(self.name, panel.keys, arrays, meta)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Quantiles from ``start`` on, (n_quantiles, n_series, n_steps); the median is season plus
        level.

        Bands widen by the day as the errors of the level did in the history.

        Raises
        ------
        ValueError
            ``start`` is before the end of training, or a quantile not between 0 and 1.
        """
        a = baselines.arrays
        days = days_ahead(baselines, start, n_steps)
        added, remains = damped_days(days)
        point = season_ahead(baselines, start, n_steps) + a["held"][:, None]
        point += a["fading"][:, None] * remains + a["slope"][:, None] * added
        beyond = days - BASE_LEAD_DAYS[a["kind"]][:, None]
        widening = np.sqrt(np.maximum(1 + a["widening"][:, None] * beyond, 0.25))
        return bands(baselines, point, widening, quantiles)


def _blank(panel: Panel, params: DecompositionParams) -> dict[str, NDArray[Any]]:
    """Nothing known yet: what a series without any value keeps."""
    n, slots = panel.n_series, max(round(WEEK_MS / _ms(panel.step)), 1)
    one = dict.fromkeys(("held", "fading", "slope", "widening"))
    return {
        "template": np.full((n, slots), np.nan),
        **{key: np.full(n, np.nan) for key in one},
        "edges": np.full((n, params.levels - 1), np.nan),
        "spread": np.full((n, params.levels, len(PROBABILITIES)), np.nan),
        "non_negative": np.fmin.reduce(panel.values, axis=1, initial=np.inf) >= 0,
    }


def _kinds(values: Floats, step_ms: int) -> NDArray[np.int64]:
    """What season the time from first to last value allows, (n_series,)."""
    there = np.isfinite(values)
    known = there.any(axis=1)
    if not values.shape[1]:
        return np.full(len(values), NO_DATA)
    span_ms = (values.shape[1] - there[:, ::-1].argmax(axis=1) - there.argmax(axis=1)) * step_ms
    return np.select(
        [~known, span_ms >= 2 * WEEK_MS, (span_ms >= 2 * DAY_MS) & (2 * step_ms <= DAY_MS)],
        [NO_DATA, WEEKLY, DAILY],
        LEVEL,
    )


def _learn(
    values: Floats, kind: int, step_ms: int, params: DecompositionParams
) -> dict[str, NDArray[Any]]:
    scale = np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=1)
    scale = np.where(scale > 0, scale, 1.0)[:, None]
    scaled = values / scale
    period_ms = WEEK_MS if kind == WEEKLY else DAY_MS
    found = decompose(
        scaled,
        _layout(values.shape[1], step_ms, period_ms),
        seasonal=kind != LEVEL,
        weekly=kind == WEEKLY,
        rates=np.array(params.season_rates),
        level_models=LEVEL_MODELS,
        clip=params.clip_sigma,
        most_cycles=params.most_weeks * (WEEK_MS // period_ms),
    )
    residuals = scaled - found.expected
    edges, spread = spread_tables(found.expected, residuals, PROBABILITIES, params.levels)
    slots = max(round(WEEK_MS / step_ms), 1)
    week = np.arange(slots) * WEEK_MS // slots
    share = np.divide(
        found.level_growth, found.error, out=np.zeros(len(values)), where=found.error > 0
    )
    return {
        "template": found.template[:, slots_at(week, found.template.shape[1], period_ms)] * scale,
        "held": found.level[:, 0] * scale[:, 0],
        "fading": found.level[:, 1] * scale[:, 0],
        "slope": found.level[:, 2] * scale[:, 0],
        "edges": edges * scale,
        "spread": spread * scale[:, :, None],
        "widening": np.minimum(share, 1.0),
    }


def _layout(n_steps: int, step_ms: int, period_ms: int) -> Layout:
    """Cycles, days and slots, all counted back from the grid's end."""
    ahead_ms = np.arange(-n_steps, 0) * step_ms
    slots = max(round(period_ms / step_ms), 1)
    per_day = max(round(DAY_MS / step_ms), 1)
    phase_ms = np.arange(slots) * period_ms // slots
    slot_of_day = slots_at(phase_ms, per_day, DAY_MS)
    if step_ms < _HOUR_MS:
        block = phase_ms // _HOUR_MS
        block_of_day = np.arange(period_ms // _HOUR_MS) % (DAY_MS // _HOUR_MS)
    else:
        block, block_of_day = np.arange(slots), slot_of_day
    cycle, day = ahead_ms // period_ms, ahead_ms // DAY_MS
    return Layout(
        cycle - cycle[0],
        slots_at(ahead_ms, slots, period_ms),
        day - day[0],
        block,
        np.searchsorted(block, np.arange(len(block_of_day) + 1)),
        slot_of_day,
        block_of_day,
    )


def _ms(length: pd.Timedelta) -> int:
    return round(length.total_seconds() * 1000)
