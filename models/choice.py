"""The rule by which a series gets its model: a pure function of the backtest.

Losses are pinball losses at the median and at the quantile that capacity is planned with, each
model's quantile calibrated on the other origins: what is compared is how well a model foresees, not
how well it knows its own error.

Three or four origins say little about one series, so a choice by them alone is mostly luck: on real
traces, picking the best single model, or the bar wherever it was a little better, lost what the
combination gains. Therefore the combination, which listens to the bar too, is the first choice. The
bar, or another single model, takes a series from it only where it was better by the margin at
*every* origin, of which there must be two for any but the bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.backtest import Backtest
from models.combination import COMBINATION
from models.selection import finite_into, quantile

__all__ = ["BARS", "FIGURES", "REASONS", "ChoiceParams", "choose"]

BARS = ("seasonal_naive", "seasonal_median")
"""The models to beat; the first one is live where nothing could be compared."""

_NO_BACKTEST = "too little history for a backtest"
_BAR = "last week was the better forecast out of sample"
_SHORT = "a model was better than last week, by less than the margin"
_BEATEN = "beat last week out of sample"
_COMBINED = "no model was better at every origin"
REASONS = (_NO_BACKTEST, _BAR, _BEATEN, _COMBINED, _SHORT)
_ROUNDING = 1e-6  # of float32: losses that differ by less are the same

FIGURES = ("loss", "bar_loss", "wape", "naive_wape", "origins")
"""Columns of the choice that hold numbers."""


@dataclass(frozen=True, slots=True)
class ChoiceParams:
    """How much better a model has to be."""

    margin: float = 0.3
    """Share of the loss by which a single model must be better than the combination, at every
    origin. (Without a combination among the models: than the bar, over all of them.)"""
    quantile: float = 0.9
    """Beside the median, the quantile at which models are compared."""

    def __post_init__(self) -> None:
        """Refuse a margin that nobody or everybody meets."""
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin must be at least 0 and below 1, got {self.margin!r}")
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must be between 0 and 1, got {self.quantile!r}")


def choose(backtest: Backtest, params: ChoiceParams) -> pd.DataFrame:
    """The champion of every series; see ``models.champion.Champions.chosen``.

    A model without an answer at one of the compared origins is out. Without a combination among the
    models a challenger has to beat the bar by ``margin`` over all origins.
    """
    names = np.array(backtest.models)
    loss = calibrated_loss(backtest, params.quantile)
    asked: NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(loss), axis=1)
    missed = asked[:, None] & ~np.isfinite(loss)
    total = np.where(asked[:, None], loss, 0.0).sum(axis=2)
    total[missed.any(axis=2)] = np.inf
    total[~asked.any(axis=1)] = np.inf
    bars = [i for name in BARS for i in np.flatnonzero(names == name)]
    first = bars[0]
    bar = np.array(bars)[total[:, bars].argmin(axis=1)]
    rows = np.arange(len(total))
    compared = np.isfinite(total[rows, bar])
    winner, reason = _winner(loss, total, asked, bar, names, params)
    winner = np.where(compared, winner, first)
    wape = backtest.score("wape")
    count = asked.sum(axis=1)
    mean = np.where(np.isfinite(total), total, np.nan) / np.maximum(count, 1)[:, None]
    figures = {
        "loss": np.where(compared, mean[rows, winner], np.nan),
        "bar_loss": np.where(compared, mean[rows, bar], np.nan),
        "wape": _over(asked, wape)[rows, winner],
        "naive_wape": _over(asked, wape)[rows, bar],
        "origins": np.where(compared, count, 0).astype(np.float64),
    }
    text = np.where(compared, reason, _NO_BACKTEST)
    words = pd.DataFrame({"model": names[winner], "reason": text}, dtype="str")
    keys = backtest.keys[["workload", "metric"]].reset_index(drop=True)
    return pd.concat([keys, words], axis=1).assign(**figures)


def calibrated_loss(backtest: Backtest, probability: float) -> Floats:
    """Mean of the pinball losses at the median and at a quantile, (n_series, n_models, n_origins).

    The quantile is the median plus that quantile of the model's residuals at the other origins.
    A series with one answered origin has no others: then the loss is the median's alone.
    """
    median = backtest.score("pinball_q50")
    n_origins = len(backtest.origins)
    if n_origins < 2:
        return median
    points = [backtest.point[name] for name in backtest.models]
    every = [_quantile_loss(backtest.actual, point, probability) for point in points]
    quantile_loss = np.stack(every, axis=1)
    return np.where(np.isfinite(quantile_loss), (median + quantile_loss) / 2, median)


@njit(cache=True, nogil=True)
def _quantile_loss(actual: Any, point: Any, probability: float) -> Floats:
    """Pinball loss of a point forecast plus that quantile of its residuals at the other origins,
    (n_series, n_origins)."""
    n_series, n_origins, n_steps = actual.shape
    out = np.full((n_series, n_origins), np.nan)
    residual = np.empty((n_origins, n_steps))
    others, spare = np.empty(n_origins * n_steps), np.empty(n_origins * n_steps)
    for i in range(n_series):
        for o in range(n_origins):
            residual[o] = actual[i, o].astype(np.float64) - point[i, o]
        for o in range(n_origins):
            known = 0
            for other in range(n_origins):
                known = finite_into(others, residual[other], known) if other != o else known
            offset = quantile(others, spare, 0, known, probability)
            loss, n = 0.0, 0
            for t in range(n_steps):
                error = residual[o, t] - offset
                if np.isfinite(error):
                    loss += max(probability * error, (probability - 1) * error)
                    n += 1
            out[i, o] = loss / n if n else np.nan
    return out


def _winner(
    loss: Floats,
    total: Floats,
    asked: NDArray[np.bool_],
    bar: NDArray[np.intp],
    names: NDArray[np.str_],
    params: ChoiceParams,
) -> tuple[NDArray[np.intp], NDArray[np.str_]]:
    """Position and reason of the champion where something could be compared."""
    rows = np.arange(len(total))
    best = total.argmin(axis=1)
    is_bar = np.isin(names, BARS)
    beats_bar = total[rows, best] < (1 - params.margin) * total[rows, bar]
    winner = np.where(beats_bar & ~is_bar[best], best, bar)
    combined = np.flatnonzero(names == COMBINATION)
    if len(combined):
        held = np.full(len(total), combined[0])
        better = loss[rows, best] < (1 - params.margin) * loss[rows, held]
        everywhere = (better | ~asked).all(axis=1) & (is_bar[best] | (asked.sum(axis=1) > 1))
        holds = np.isfinite(total[rows, held])
        winner = np.where(holds, np.where(everywhere, best, held), winner)
    better, beaten = (total[rows, i] < (1 - _ROUNDING) * total[rows, bar] for i in (best, winner))
    held_back = is_bar[winner] & better
    reason = np.select([held_back, is_bar[winner], beaten], [_SHORT, _BAR, _BEATEN], _COMBINED)
    return winner, reason


def _over(asked: NDArray[np.bool_], score: Floats) -> Floats:
    """Mean over the asked origins, (n_series, n_models); NaN where a model missed one."""
    total = np.where(asked[:, None], score, 0.0).sum(axis=-1)
    count = asked.sum(axis=-1)[:, None]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
