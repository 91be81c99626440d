"""The rule by which a series gets its model: a pure function of the backtest."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from models.backtest import Backtest

__all__ = ["BARS", "FIGURES", "REASONS", "choose"]

BARS = ("seasonal_naive", "seasonal_median")
"""The models to beat; the first one is live where nothing could be compared."""

_NO_BACKTEST = "too little history for a backtest"
_BAR = "no challenger beat last week"
_BEATEN = "beat last week out of sample"
REASONS = (_NO_BACKTEST, _BAR, _BEATEN)
FIGURES = ("loss", "bar_loss", "wape", "naive_wape", "origins")
"""Columns of the choice that hold numbers."""


def choose(backtest: Backtest, margin: float) -> pd.DataFrame:
    """The champion of every series; see ``models.champion.Champions.chosen``.

    The loss is the mean of the pinball losses of q50 and q90 over the origins at which any model
    had an answer. A model without an answer at one of them is out.
    """
    names = np.array(backtest.models)
    bars = [i for i, name in enumerate(names) if name in BARS]
    loss = (backtest.score("pinball_q50") + backtest.score("pinball_q90")) / 2
    asked: NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(loss), axis=1)
    loss, wape = (_over(asked, s) for s in (loss, backtest.score("wape")))
    loss = np.where(np.isnan(loss), np.inf, loss)
    rows = np.arange(len(loss))

    first = int(np.flatnonzero(names == BARS[0])[0])
    order = [first, *(b for b in bars if b != first)]  # of two equal bars the first one
    bar = np.array(order)[loss[:, order].argmin(axis=1)]
    best = loss.argmin(axis=1)
    compared = np.isfinite(loss[rows, bar])
    beaten = compared & (loss[rows, best] < (1 - margin) * loss[rows, bar])
    beaten &= ~np.isin(best, bars)
    winner = np.where(beaten, best, np.where(compared, bar, first))
    figures = {
        "loss": np.where(compared, loss[rows, winner], np.nan),
        "bar_loss": np.where(compared, loss[rows, bar], np.nan),
        "wape": wape[rows, winner],
        "naive_wape": wape[rows, bar],
        "origins": np.where(compared, asked.sum(axis=1), 0).astype(np.float64),
    }
    reason = np.select([beaten, compared], [_BEATEN, _BAR], _NO_BACKTEST)
    words = pd.DataFrame({"model": names[winner], "reason": reason}, dtype="str")
    keys = backtest.keys[["workload", "metric"]].reset_index(drop=True)
    return pd.concat([keys, words], axis=1).assign(**figures)


def _over(asked: NDArray[np.bool_], score: Floats) -> Floats:
    """Mean over the asked origins, (n_series, n_models); NaN where a model missed one."""
    total = np.where(asked[:, None], score, 0.0).sum(axis=-1)
    count = asked.sum(axis=-1)[:, None]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
