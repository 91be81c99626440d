"""What the seasonal forecasters share: a season is learned once and repeated.

Where the history is short the season is filled in steps, each with a name (``CONFIDENCE``): from
the series' own seasons, from its own recent days, from what similar workloads do by hour of the day
(``models/cohort_prior.py``), from its recent level. Only a series with less than a day between its
first value and its last is looked at in the light of others: from a day on, every hour of the day
was seen once, and nothing is borrowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.base import Baselines
from models.cohort import CohortParams
from models.cohort_prior import cohort_priors
from models.seasonal_kernels import (
    banded,
    coming_season,
    history_facts,
    leading_max,
    season_spread,
)
from models.spread_kernels import at_least_wide, writable

__all__ = ["CONFIDENCE", "SeasonalNaiveParams", "fit_season", "predict_season"]

CONFIDENCE = ("week", "day", "cohort", "flat", "none")
"""What most of a series' coming season rests on, by the codes in ``confidence``: own seasons of
more than a day; the same time of day on recent days; similar workloads; the recent level; no value
at all."""

_WEEK, _DAY, _COHORT, _FLAT, _NONE = range(len(CONFIDENCE))
_DAY_S = 86_400.0
_BLOCK = 256  # series in one go: a copy of a large panel need not fit in memory
_TAIL = np.array([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4])
_PROBABILITIES = np.concatenate([_TAIL, [0.5], 1 - _TAIL[::-1]])

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class SeasonalNaiveParams:
    """How far back to look."""

    season_h: float = 168.0
    median_seasons: int = 4
    """Seasons behind the seasonal median."""
    recent_days: int = 7
    """Days behind the median of a time of day: that of ``seasonal_day``, and what stands in for a
    time of the week that was never seen."""
    levels: int = 3
    """Groups of expected level, each with residuals of its own: a busy hour strays more than a
    quiet one."""
    peak_window_min: float = 30.0
    """Of ``seasonal_peak``: the largest value within so long, from a season before on."""
    flat_width_ratio: float = 0.5
    """Where a day or less, or only a recent level is known: half the width of the 5 to 95 % band is
    at least this share of the level."""
    cohort: CohortParams = field(default_factory=CohortParams)

    def __post_init__(self) -> None:
        """Refuse what looks back nowhere."""
        for key in ("season_h", "peak_window_min", "flat_width_ratio"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)}")
        for key in ("median_seasons", "recent_days", "levels"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more, got {getattr(self, key)}")


def fit_season(
    name: str, panel: Panel, params: SeasonalNaiveParams, seasons: int, window_min: float = 0.0
) -> Baselines:
    """Learn the coming season of every series as the median of the last ``seasons``.

    With ``window_min`` a season is that of the largest values within so long.
    """
    step_s = panel.step.total_seconds()
    lags = _lags(params.season_h * 3600, step_s, panel.n_steps)
    days = _lags(_DAY_S, step_s, panel.n_steps)
    width = min(max(int(np.ceil(window_min * 60 / step_s)), 1), int(lags[0]), int(days[0]))
    blocks = [
        _learn(panel.values[at : at + _BLOCK], lags, days, seasons, width, step_s, params)
        for at in range(0, max(panel.n_series, 1), _BLOCK)
    ]
    arrays = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    span = arrays.pop("span")
    young = (span > 0) & (span * step_s < _DAY_S)
    thin = (span == 1) | young | (span * step_s == _DAY_S) | (arrays["confidence"] == _FLAT)
    if thin.any():
        _borrow(panel, arrays, young, thin, params)
    meta = {
        "start": panel.start.isoformat(),
        "end": panel.end.isoformat(),
        "step_s": step_s,
        "params": asdict(params),
    }
    return Baselines(name, panel.keys, arrays, meta)


def predict_season(
    baselines: Baselines,
    start: pd.Timestamp,
    n_steps: int,
    quantiles: Sequence[float],
    widening: float,
) -> Floats:
    """Repeat the season, its spread growing with the given power of the seasons ahead.

    Returns (n_quantiles, n_series, n_steps).

    Raises
    ------
    ValueError
        ``start`` is before the end of training, or a quantile not between 0 and 1.
    """
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
    return banded(
        writable(a["template"]),
        writable(a["edges"]),
        _at_quantiles(a["spread"], quantiles),
        np.where(a["non_negative"], 0.0, np.finfo(np.float64).min),
        nearest % a["template"].shape[1],
        (season + 1) ** widening,
    )


def _learn(
    values: Floats,
    lags: NDArray[np.int64],
    days: NDArray[np.int64],
    seasons: int,
    width: int,
    step_s: float,
    params: SeasonalNaiveParams,
) -> Arrays:
    values = writable(values)
    history = leading_max(values, width) if width > 1 else values
    recent = max(round(params.recent_days * _DAY_S / step_s), 1)
    template, fetched = coming_season(history, lags, days, seasons, recent)
    edges, spread, source = season_spread(
        history, values, lags, days, seasons, _PROBABILITIES, params.levels
    )
    span, non_negative = history_facts(values)
    return {
        "template": template,
        "fallback": (fetched.shape[1] - 1 - (fetched[:, ::-1] > 0).argmax(axis=1)),
        "confidence": _confidence(fetched, own=_WEEK if params.season_h > 24 else _DAY),
        "edges": edges,
        "spread": spread,
        "spread_source": source,
        "non_negative": non_negative,
        "span": span,
    }


def _confidence(fetched: NDArray[np.int64], own: int) -> NDArray[np.int8]:
    """The best step of the ladder that, with those above it, fills half of the season."""
    code = np.array([own, own, _DAY, _FLAT, _NONE], dtype=np.int8)
    filled = np.cumsum(fetched, axis=1) * 2 >= fetched.sum(axis=1, keepdims=True)
    best: NDArray[np.int8] = code[filled.argmax(axis=1)]
    return best


def _borrow(
    panel: Panel,
    arrays: Arrays,
    young: NDArray[np.bool_],
    thin: NDArray[np.bool_],
    params: SeasonalNaiveParams,
) -> None:
    """Answer the young series by their cohorts, in place; widen the bands of the thin ones left."""
    rows = np.flatnonzero(young)
    n_ahead = arrays["template"].shape[1]
    prior = cohort_priors(panel, rows, n_ahead, _PROBABILITIES, params.levels, params.cohort)
    usual = np.zeros(len(young))
    usual[rows] = prior.usual
    level = np.abs(np.sort(arrays["template"][thin], axis=1)[:, n_ahead // 2])
    # A level of zero has no width of its own: that of its cohort stands in.
    half_width = params.flat_width_ratio * np.where(level > 0, level, usual[thin])
    arrays["spread"][thin] = at_least_wide(
        arrays["spread"][thin], _PROBABILITIES, half_width[:, None]
    )
    for key in ("template", "edges", "spread"):
        arrays[key][prior.rows] = getattr(prior, key)
    arrays["confidence"][prior.rows] = _COHORT
    arrays["spread_source"][prior.rows] = 4


def _lags(period_s: float, step_s: float, n_steps: int) -> NDArray[np.int64]:
    """Whole steps that are nearest to 1, 2, … periods, as many as the history and the coming season
    can hold."""
    number = max(int(np.ceil((n_steps + 1) * step_s / period_s)) + 1, 1)
    return np.maximum(np.rint(np.arange(1, number + 1) * period_s / step_s), 1).astype(np.int64)


def _at_quantiles(spread: Floats, quantiles: Sequence[float]) -> Floats:
    """Linear between the stored probabilities, flat beyond: (n_series, levels, n_quantiles)."""
    at = np.clip(np.asarray(quantiles, dtype=np.float64), _PROBABILITIES[0], _PROBABILITIES[-1])
    right = np.clip(np.searchsorted(_PROBABILITIES, at), 1, len(_PROBABILITIES) - 1)
    share = (at - _PROBABILITIES[right - 1]) / (_PROBABILITIES[right] - _PROBABILITIES[right - 1])
    return writable(spread[..., right - 1] * (1 - share) + spread[..., right] * share)
