"""The combination: a weighted median of what several forecasters say, weights from the backtest.

A median is not pulled along by the one member that repeats last week's incident, and a member that
was twice as far off out of sample weighs a quarter. (Timmermann 2006, "Forecast combinations", for
inverse-loss weights; Lichtendahl, Grushka-Cockayne & Winkler 2013, "Is it better to average
probabilities or quantiles?", for combining quantile by quantile.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.backtest import PREDICTED, Backtest
from models.measures import row_quantiles

__all__ = ["COMBINATION", "CombinationParams", "combine", "weights", "with_combination"]

COMBINATION = "combination"
"""Its name in tables."""

_LEAST = 1e-12  # share of the largest loss: a member that was never off does not weigh infinitely


@dataclass(frozen=True, slots=True)
class CombinationParams:
    """Whom to listen to, and how much the better more than the worse."""

    members: tuple[str, ...] = (
        "seasonal_naive",
        "seasonal_day",
        "seasonal_level",
        "seasonal_level_slow",
        "decomposition",
        "prophet",
    )
    """Forecasters that are combined, as far as they are candidates."""
    power: float = 2.0
    """Weights are losses to minus this power; 0 weighs all alike."""

    def __post_init__(self) -> None:
        """Refuse a power that favours the worse."""
        if not 0 <= self.power < np.inf:
            raise ValueError(f"power must be a finite number of at least 0, got {self.power!r}")


def combine(told: Sequence[NDArray[np.floating]], weight: Floats) -> Floats:
    """The weighted median of what the members say, cell by cell.

    It is the mean of the middle of the weights, as wide as a weight usually is (Σw²/Σw), so that it
    moves smoothly with the members and with their weights, and never against one of them: with the
    same weights at every quantile the results do not cross where the members' do not (but for
    rounding). Members without a number are left out.

    Parameters
    ----------
    told : one (n_series, n_steps) a member
    weight : (n_series, n_members)

    Returns
    -------
    float64, (n_series, n_steps)
        NaN where no member with a weight has a number.
    """
    return _weighted_median(np.stack(told, axis=1), np.ascontiguousarray(weight))


def weights(loss: Floats, power: float) -> Floats:
    """Weights that add up to 1 from losses, (n_series, n_members); 0 for a member without a loss.

    Where no member has one, all weigh alike.
    """
    known = np.isfinite(loss)
    largest = np.where(known, loss, 0.0).max(axis=1, keepdims=True, initial=0.0)
    relative = np.where(known, loss, 0.0) / np.where(largest > 0, largest, 1.0)
    raw = np.where(known, np.maximum(relative, _LEAST) ** -power, 0.0)
    raw = np.where(known.any(axis=1, keepdims=True), raw, 1.0)
    return raw / raw.sum(axis=1, keepdims=True)


def with_combination(backtest: Backtest, params: CombinationParams) -> tuple[Backtest, Floats]:
    """The backtest with a further model, the combination, and the weights to use from now on.

    Members are the models whose quantiles the backtest kept. At each origin they are weighed by
    their losses at the origins before it, at the first all alike: nothing that came later has
    shaped what is held against it.

    Returns
    -------
    backtest
    weights : (n_series, n_members), in the order of ``backtest.quantiles``
    """
    members = list(backtest.quantiles)
    loss = backtest.score("pinball_q50")[:, [backtest.models.index(m) for m in members]]
    told = np.full((len(PREDICTED), *backtest.actual.shape), np.nan, dtype=np.float32)
    for o in range(len(backtest.origins)):
        weight = weights(_mean(loss[:, :, :o]), params.power)
        for q in range(len(PREDICTED)):
            said = [backtest.quantiles[m][q, :, o] for m in members]
            told[q, :, o] = combine(said, weight)
    return backtest.joined(COMBINATION, told), weights(_mean(loss), params.power)


def _mean(loss: Floats) -> Floats:
    """Mean over the answered origins, in units of the members' middle there; NaN without any.

    Where half of the members were never off, in units of the worst one's loss.
    """
    known = np.isfinite(loss)
    middle = row_quantiles(np.moveaxis(loss, 1, 2).reshape(-1, loss.shape[1]), [0.5])[0]
    middle = middle.reshape(len(loss), 1, -1)
    worst = np.where(known, loss, 0.0).max(axis=1, keepdims=True, initial=0.0)
    unit = np.where(middle > _LEAST * worst, middle, worst)
    relative = np.where(known, loss, 0.0) / np.where(unit > 0, unit, 1.0)
    count = known.sum(axis=2)
    total = relative.sum(axis=2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@njit(cache=True, nogil=True)
def _weighted_median(values: Any, weight: Floats) -> Floats:
    n, members, steps = values.shape
    out = np.full((n, steps), np.nan)
    value, share = np.empty(members), np.empty(members)
    for i in range(n):
        for t in range(steps):
            count, total = 0, 0.0
            for m in range(members):
                v, w = np.float64(values[i, m, t]), weight[i, m]
                if w <= 0.0 or not np.isfinite(v):
                    continue
                at = count
                while at > 0 and value[at - 1] > v:
                    value[at], share[at] = value[at - 1], share[at - 1]
                    at -= 1
                value[at], share[at] = v, w
                count += 1
                total += w
            if count:
                out[i, t] = _middle(value[:count], share[:count], total)
    return out


@njit(cache=True)
def _middle(value: Floats, share: Floats, total: float) -> float:
    """Mean of the growing values over the middle of their weights, as wide as a weight usually is.

    The width does not depend on who stands where: the mean grows with every value, also where two
    change places. Between two of equal weight it is what lies halfway.
    """
    width = 0.0
    for m in range(len(share)):
        width += share[m] * (share[m] / total)
    low, high = (total - width) / 2, (total + width) / 2
    before, first, more, met = 0.0, value[0], 0.0, 0.0
    for m in range(len(value)):
        part = min(before + share[m], high) - max(before, low)
        before += share[m]
        if part > 0.0:
            if met == 0.0:
                first = value[m]
            met += part
            more += part * (value[m] - first)
    return float(first + more / met) if met > 0.0 else float(first)
