"""What prophet decides before it fits: its knobs, each series' scale, columns and changepoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.prophet_design import Survey, fourier
from models.prophet_events import SpecialDays, from_meta, indicators

__all__ = [
    "CONSTANT",
    "FELL_BACK",
    "FITTED",
    "NO_DATA",
    "SIGMA_CONSTANT",
    "SIGMA_SCALE",
    "TREND_SCALE",
    "ProphetParams",
    "blank",
    "changepoint_ranks",
    "columns",
    "columns_of",
    "epoch_seconds",
    "precision",
    "seasons_off",
]

FITTED, CONSTANT, NO_DATA, FELL_BACK = 0, 1, 2, 3
"""Codes in ``status``: the posterior mode; one value throughout, repeated; no value (NaN); the
additive posterior mode, since the multiplicative one was not reached."""

SIGMA_CONSTANT = 1e-9  # as prophet for a constant history
TREND_SCALE, SIGMA_SCALE = 5.0, 0.5  # fixed in prophet's Stan program
_DAY_S, _WEEK_S = 86_400.0, 604_800.0


@dataclass(frozen=True, slots=True)
class ProphetParams:
    """Prophet's knobs under prophet's names, with its defaults."""

    growth: Literal["linear", "flat"] = "linear"
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05
    seasonality_mode: Literal["additive", "multiplicative"] = "additive"
    seasonality_prior_scale: float = 10.0
    holidays_prior_scale: float = 10.0
    weekly_order: int = 3
    daily_order: int = 4

    def __post_init__(self) -> None:
        """Refuse what prophet would not fit."""
        for key, known in (
            ("growth", ("linear", "flat")),
            ("seasonality_mode", ("additive", "multiplicative")),
        ):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} must be one of {known}, got {getattr(self, key)!r}")
        for key in ("n_changepoints", "weekly_order", "daily_order"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, got {getattr(self, key)}")
        for key in ("changepoint_prior_scale", "seasonality_prior_scale", "holidays_prior_scale"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)}")
        if not 0 < self.changepoint_range <= 1:
            raise ValueError(f"changepoint_range must be in (0, 1], got {self.changepoint_range}")


def blank(
    params: ProphetParams, n_special: int, panel: Panel, found: Survey
) -> dict[str, NDArray[Any]]:
    """What is known before fitting, and the answer for series that need no fit."""
    n, step_s = panel.n_series, panel.step.total_seconds()
    largest = np.maximum(np.abs(found.low), np.abs(found.high))
    scale = np.where(largest > 0, largest, 1.0)
    empty = found.count == 0
    level = np.where(found.low == found.high, found.low / scale, 0.0)
    return {
        "status": np.select([empty, found.low == found.high], [NO_DATA, CONSTANT], FITTED),
        "multiplicative": np.zeros(n, dtype=np.bool_),
        "scale": np.where(empty, np.nan, scale),
        "m": np.where(empty, np.nan, level),
        "k": np.where(empty, np.nan, 0.0),
        "sigma": np.where(empty, np.nan, SIGMA_CONSTANT),
        "delta": np.zeros((n, params.n_changepoints)),
        "changepoints": np.ones((n, params.n_changepoints)),
        "n_changepoints": np.zeros(n, dtype=np.int64),
        "beta": np.zeros((n, 2 * (params.weekly_order + params.daily_order) + n_special)),
        "t_start_s": panel.start.timestamp() + found.first * step_s,
        "t_span_s": np.maximum(found.last - found.first, 1) * step_s,
        "non_negative": found.low >= 0,
        "rounds": np.zeros(n, dtype=np.int64),
    }


def changepoint_ranks(of: Survey, params: ProphetParams) -> NDArray[np.int64]:
    """Even ranks in the first part of the values, the first left out; ``count`` where there is
    none."""
    early = np.floor(of.count * params.changepoint_range).astype(np.int64)
    number = np.clip(early - 1, 0, params.n_changepoints)[:, None]
    j = np.arange(1, params.n_changepoints + 1)
    even = np.rint(j * ((early[:, None] - 1) / np.maximum(number, 1))).astype(np.int64)
    return np.where(j <= number, even, of.count[:, None])


def seasons_off(
    of: Survey, step_s: float, params: ProphetParams
) -> list[tuple[slice, NDArray[np.bool_]]]:
    """Prophet's automatic rules: which of ``beta`` are not for which series.

    Weekly terms need two weeks of history and daily terms two days, and two values nearer to each
    other than the period.
    """
    span_s, gap_s = (of.last - of.first) * step_s, of.min_gap * step_s
    weekly, end = 2 * params.weekly_order, 2 * (params.weekly_order + params.daily_order)
    return [
        (part, (span_s < 2 * period_s) | (gap_s >= period_s))
        for part, period_s in ((slice(0, weekly), _WEEK_S), (slice(weekly, end), _DAY_S))
    ]


def columns(params: ProphetParams, special: Sequence[SpecialDays], epoch_s: Floats) -> Floats:
    """What ``beta`` is multiplied with: weekly, daily, special days; (n_times, n_columns)."""
    waves = fourier(epoch_s, params.weekly_order, params.daily_order)
    return np.hstack([waves, indicators(special, epoch_s)]) if special else waves


def columns_of(meta: Mapping[str, Any], epoch_s: Floats) -> Floats:
    """``columns`` of baselines with that ``meta``."""
    return columns(ProphetParams(**meta["params"]), from_meta(meta), epoch_s)


def precision(params: ProphetParams, special: Sequence[SpecialDays]) -> Floats:
    """One over the prior variance of ``m``, ``k`` and every ``beta``."""
    waves = 2 * (params.weekly_order + params.daily_order)
    scales = [TREND_SCALE] * 2 + [params.seasonality_prior_scale] * waves
    scales += [one.prior_scale or params.holidays_prior_scale for one in special]
    return 1 / np.array(scales, dtype=np.float64) ** 2


def epoch_seconds(start: pd.Timestamp, step_s: float, n_steps: int) -> Floats:
    """Seconds since 1970 of every step."""
    return start.timestamp() + step_s * np.arange(n_steps, dtype=np.float64)
