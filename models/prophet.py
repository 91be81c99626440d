"""Prophet for all series at once: the ``prophet`` package's own posterior mode, solved for.

The model is prophet's with its defaults (Taylor and Letham, "Forecasting at scale", 2018): a
piecewise linear trend with changepoints at even ranks of the first part of the history, weekly and
daily Fourier terms at absolute times, normal noise;

    y / max|y| = m + k t + Σ δ_j (t - c_j)₊ + X β + ε,    ε ~ N(0, σ)
    k, m ~ N(0, 5)    δ ~ Laplace(0.05)    β ~ N(0, 10)    σ ~ HalfNormal(0.5)

with ``t`` from 0 at a series' first value to 1 at its last. Stan finds that mode by L-BFGS, one
series at a time; here it is solved for (``prophet_solver``), and bands come in closed form instead
of simulated paths. Additive seasonality, linear growth; no yearly terms, holidays or extra
regressors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from features.panel import Floats, Panel
from models.base import Baselines
from models.prophet_design import Survey, Totals, fourier, normal_equations, running_totals, survey
from models.prophet_solver import posterior_mode
from models.prophet_trend import add_trend, spread

__all__ = ["CONSTANT", "FITTED", "NO_DATA", "Prophet", "ProphetParams", "objective"]

FITTED, CONSTANT, NO_DATA = 0, 1, 2
"""Codes in ``status``: the posterior mode; one value throughout, repeated; no value (NaN)."""

_SIGMA_CONSTANT = 1e-9  # as prophet for a constant history
_TREND_SCALE, _SIGMA_SCALE = 5.0, 0.5  # fixed in prophet's Stan program
_DAY_S, _WEEK_S = 86_400.0, 604_800.0
_BLOCK = 128  # series in one go: the scaled block stays in cache


@dataclass(frozen=True, slots=True)
class ProphetParams:
    """Prophet's knobs under prophet's names, with its defaults."""

    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05
    seasonality_prior_scale: float = 10.0
    weekly_order: int = 3
    daily_order: int = 4

    def __post_init__(self) -> None:
        """Refuse what prophet would not fit."""
        for key in ("n_changepoints", "weekly_order", "daily_order"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, got {getattr(self, key)}")
        for key in ("changepoint_prior_scale", "seasonality_prior_scale"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0, got {getattr(self, key)}")
        if not 0 < self.changepoint_range <= 1:
            raise ValueError(f"changepoint_range must be in (0, 1], got {self.changepoint_range}")


@dataclass(frozen=True, slots=True)
class Prophet:
    """Forecaster (see ``models.base.Forecaster``).

    Arrays of its baselines, first axis the series: ``k m sigma scale t_start_s t_span_s``
    (``t_start_s`` in seconds since 1970), ``delta changepoints`` (n, n_changepoints; changepoints
    in ``t``), ``beta`` (n, Fourier columns, weekly first), ``n_changepoints non_negative status
    rounds``. Columns that a series does not have (a history too short for weekly or daily terms,
    fewer changepoints) hold zeros.
    """

    params: ProphetParams = ProphetParams()

    @property
    def name(self) -> str:
        """``prophet``."""
        return "prophet"

    def fit(self, panel: Panel) -> Baselines:
        """Posterior mode of every series of the panel.

        A series is fitted on its own values alone: what else is in the panel never changes it. As
        in prophet, weekly terms need two weeks of history and daily terms two days. A constant is
        repeated; no value at all gives NaN.
        """
        step_s = panel.step.total_seconds()
        found = survey(panel.values)
        arrays = _blank(self.params, panel, found, step_s)
        rows = np.flatnonzero(arrays["status"] == FITTED)
        if len(rows):
            epoch_s = _epoch_s(panel.start, step_s, panel.n_steps)
            totals = running_totals(fourier(epoch_s, *_orders(self.params)))
            for at in range(0, len(rows), _BLOCK):
                block = rows[at : at + _BLOCK]
                of = found.select(block)
                learned = self._learn(
                    panel.values[block], of, arrays["scale"][block], totals, step_s
                )
                for name, array in learned.items():
                    arrays[name][block] = array
        meta = {
            "start": panel.start.isoformat(),
            "step_s": step_s,
            "n_steps": panel.n_steps,
            "params": asdict(self.params),
        }
        return Baselines(self.name, panel.keys, arrays, meta)

    def _learn(
        self, values: Floats, of: Survey, scale: Floats, totals: Totals, step_s: float
    ) -> dict[str, NDArray[Any]]:
        ranks = _ranks(of, self.params)
        gram, zty, yy, cuts = normal_equations(values, of, scale, ranks, totals)
        _switch_off(gram, zty, of, step_s, self.params)
        w, sigma, rounds = posterior_mode(
            gram,
            zty,
            yy,
            of.count,
            _precision(self.params),
            1 / self.params.changepoint_prior_scale,
            _SIGMA_SCALE,
        )
        hinges = 2 + totals.features.shape[1]
        span = (of.last - of.first)[:, None]
        return {
            "m": w[:, 0],
            "k": w[:, 1],
            "beta": w[:, 2:hinges],
            "delta": w[:, hinges:],
            "sigma": sigma,
            "rounds": rounds,
            "changepoints": np.minimum((cuts - of.first[:, None]) / span, 1.0),
            "n_changepoints": (ranks < of.count[:, None]).sum(axis=1),
        }

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Quantiles from ``start`` on: (n_quantiles, n_series, n_steps).

        Inside the history they are the fitted values with the noise around them. After a series'
        last value the trend goes on, and changes at prophet's rate: new changepoints come as a
        Poisson process, as many a unit of ``t`` as before, with Laplace slopes of scale mean|δ|.
        Quantiles come from the exact variance and kurtosis of noise and trend together (Cornish and
        Fisher, 1938). Where the history never went below zero, nor do they.

        Raises
        ------
        ValueError
            A quantile is not between 0 and 1.
        """
        if not all(0 < q < 1 for q in quantiles):
            raise ValueError(f"quantiles must be between 0 and 1, got {list(quantiles)}")
        a = baselines.arrays
        epoch_s = _epoch_s(start, baselines.meta["step_s"], n_steps)
        point = _point(baselines, epoch_s)
        deviation, kurtosis = spread(a, epoch_s)
        deviation[a["status"] == CONSTANT] = 0.0
        out = np.empty((len(quantiles), *point.shape))
        for q, quantile in enumerate(quantiles):
            z = ndtri(quantile)
            out[q] = point + deviation * (z + (z**3 - 3 * z) / 24 * kurtosis)
            out[q] *= a["scale"][:, None]
        floor = np.where(a["non_negative"], 0.0, -np.inf)[:, None]
        return np.maximum(out, floor, out=out)


def objective(baselines: Baselines, panel: Panel) -> Floats:
    """Negative log posterior of fitted parameters on the panel they came from: nats, (n_series,).

    In prophet's own scaling and up to the constants that its Stan program drops, so that parameters
    from either optimiser can be compared. NaN where there is no data.
    """
    a, params = baselines.arrays, ProphetParams(**baselines.meta["params"])
    point = _point(baselines, _epoch_s(panel.start, panel.step.total_seconds(), panel.n_steps))
    there = np.isfinite(panel.values)
    residual = np.where(there, np.where(there, panel.values, 0) / a["scale"][:, None] - point, 0)
    sse, count = np.einsum("ij,ij->i", residual, residual), there.sum(axis=1)
    return (
        count * np.log(a["sigma"])
        + sse / (2 * a["sigma"] ** 2)
        + (a["k"] ** 2 + a["m"] ** 2) / (2 * _TREND_SCALE**2)
        + (a["beta"] ** 2).sum(axis=1) / (2 * params.seasonality_prior_scale**2)
        + np.abs(a["delta"]).sum(axis=1) / params.changepoint_prior_scale
        + a["sigma"] ** 2 / (2 * _SIGMA_SCALE**2)
    )


def _blank(
    params: ProphetParams, panel: Panel, found: Survey, step_s: float
) -> dict[str, NDArray[Any]]:
    """What is known before fitting, and the answer for series that need no fit."""
    n, n_features = panel.n_series, 2 * sum(_orders(params))
    largest = np.maximum(np.abs(found.low), np.abs(found.high))
    scale = np.where(largest > 0, largest, 1.0)
    empty = found.count == 0
    level = np.where(found.low == found.high, found.low / scale, 0.0)
    return {
        "status": np.select([empty, found.low == found.high], [NO_DATA, CONSTANT], FITTED),
        "scale": np.where(empty, np.nan, scale),
        "m": np.where(empty, np.nan, level),
        "k": np.where(empty, np.nan, 0.0),
        "sigma": np.where(empty, np.nan, _SIGMA_CONSTANT),
        "delta": np.zeros((n, params.n_changepoints)),
        "changepoints": np.ones((n, params.n_changepoints)),
        "n_changepoints": np.zeros(n, dtype=np.int64),
        "beta": np.zeros((n, n_features)),
        "t_start_s": panel.start.timestamp() + found.first * step_s,
        "t_span_s": np.maximum(found.last - found.first, 1) * step_s,
        "non_negative": found.low >= 0,
        "rounds": np.zeros(n, dtype=np.int64),
    }


def _ranks(of: Survey, params: ProphetParams) -> NDArray[np.int64]:
    """Prophet's changepoints: even ranks in the first part of the values, the first left out."""
    early = np.floor(of.count * params.changepoint_range).astype(np.int64)
    number = np.clip(early - 1, 0, params.n_changepoints)[:, None]
    j = np.arange(1, params.n_changepoints + 1)
    even = np.rint(j * ((early[:, None] - 1) / np.maximum(number, 1))).astype(np.int64)
    return np.where(j <= number, even, of.count[:, None])


def _switch_off(
    gram: Floats, zty: Floats, of: Survey, step_s: float, params: ProphetParams
) -> None:
    """Prophet's automatic rules: no seasonal columns for series too short or too coarse."""
    span_s, gap_s = (of.last - of.first) * step_s, of.min_gap * step_s
    middle = 2 + 2 * params.weekly_order
    end = middle + 2 * params.daily_order
    for lo, hi, period_s, least_s in (
        (2, middle, _WEEK_S, 2 * _WEEK_S),
        (middle, end, _DAY_S, 2 * _DAY_S),
    ):
        off = (span_s < least_s) | (gap_s >= period_s)
        gram[off, lo:hi] = 0
        gram[off, :, lo:hi] = 0
        zty[off, lo:hi] = 0


def _orders(params: ProphetParams) -> tuple[int, int]:
    return params.weekly_order, params.daily_order


def _precision(params: ProphetParams) -> Floats:
    precision = np.full(2 + 2 * sum(_orders(params)), 1 / params.seasonality_prior_scale**2)
    precision[:2] = 1 / _TREND_SCALE**2
    return precision


def _epoch_s(start: pd.Timestamp, step_s: float, n_steps: int) -> Floats:
    return start.timestamp() + step_s * np.arange(n_steps, dtype=np.float64)


def _point(baselines: Baselines, epoch_s: Floats) -> Floats:
    """Trend and seasonality in the scaled unit, (n_series, n_times)."""
    a, params = baselines.arrays, ProphetParams(**baselines.meta["params"])
    out = a["beta"] @ fourier(epoch_s, *_orders(params)).T
    add_trend(a, epoch_s, out)
    return out
