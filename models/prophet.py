"""Prophet for all series at once: the ``prophet`` package's own posterior mode, solved for.

The model is prophet's (Taylor and Letham, "Forecasting at scale", 2018): a flat trend, or a
piecewise linear one with changepoints at even ranks of the first part of the history; weekly and
daily Fourier terms at absolute times; special days; normal noise. Additive or multiplicative:

    g = m + k t + Σ δ_j (t - c_j)₊        y / max|y| = g + X β + ε    or    g (1 + X β) + ε
    k, m ~ N(0, 5)    δ ~ Laplace(0.05)    β ~ N(0, 10)    σ ~ HalfNormal(0.5)    ε ~ N(0, σ)

with ``t`` from 0 at a series' first value to 1 at its last. Stan finds that mode by L-BFGS, one
series at a time; here it is solved for (``prophet_solver``, ``prophet_product``), and bands come in
closed form instead of simulated paths. No logistic growth, yearly terms or extra regressors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from features.panel import Floats, Panel
from models.base import Baselines
from models.prophet_design import (
    NormalEquations,
    Survey,
    Totals,
    normal_equations,
    running_totals,
    survey,
)
from models.prophet_events import SpecialDays, from_meta, to_meta
from models.prophet_product import product_mode
from models.prophet_setup import (
    CONSTANT,
    FELL_BACK,
    FITTED,
    NO_DATA,
    SIGMA_SCALE,
    TREND_SCALE,
    ProphetParams,
    blank,
    changepoint_ranks,
    columns,
    columns_of,
    epoch_seconds,
    precision,
    seasons_off,
)
from models.prophet_solver import posterior_mode
from models.prophet_trend import add_trend, spread

__all__ = [
    "CONSTANT",
    "FELL_BACK",
    "FITTED",
    "NO_DATA",
    "Prophet",
    "ProphetParams",
    "SpecialDays",
    "objective",
    "solver_names",
]

_BLOCK = 128  # series in one go: the scaled block stays in cache


@dataclass(frozen=True, slots=True)
class Prophet:
    """Forecaster (see ``models.base.Forecaster``).

    Arrays of its baselines, first axis the series: ``k m sigma scale t_start_s t_span_s``
    (``t_start_s`` in seconds since 1970), ``delta changepoints`` (n, n_changepoints; changepoints
    in ``t``), ``beta`` (n, columns: weekly, daily, one for each set of special days),
    ``n_changepoints non_negative multiplicative status rounds``. Columns that a series does not
    have (a history too short for weekly or daily terms, no special day in it, fewer changepoints)
    hold zeros. ``meta`` has the special days, past and future ones.
    """

    params: ProphetParams = field(default_factory=ProphetParams)
    name: str = "prophet"
    """The model's name in tables: two prophets with other knobs need two names."""
    special: tuple[SpecialDays, ...] = ()

    def __post_init__(self) -> None:
        """Refuse special days whose effects could not be told apart."""
        names = [one.name for one in self.special]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"special: expected different names, got {sorted(twice)} twice")

    def fit(self, panel: Panel) -> Baselines:
        """Posterior mode of every series of the panel.

        A series is fitted on its own values alone: what else is in the panel never changes it. As
        in prophet, weekly terms need two weeks of history and daily terms two days. A constant is
        repeated; no value at all gives NaN. A series whose multiplicative mode is not reached has
        the additive one, and the status ``FELL_BACK``.
        """
        step_s = panel.step.total_seconds()
        found = survey(panel.values)
        arrays = blank(self.params, len(self.special), panel, found)
        rows = np.flatnonzero(arrays["status"] == FITTED)
        if len(rows):
            epoch_s = epoch_seconds(panel.start, step_s, panel.n_steps)
            totals = running_totals(columns(self.params, self.special, epoch_s))
            for at in range(0, len(rows), _BLOCK):
                block = rows[at : at + _BLOCK]
                together = block[-1] - block[0] + 1 == len(block)
                part = slice(block[0], block[-1] + 1) if together else block  # a view, not a copy
                learned = self._learn(
                    panel.values[part], found.select(block), arrays["scale"][block], totals, step_s
                )
                for name, array in learned.items():
                    arrays[name][block] = array
        meta = {
            "start": panel.start.isoformat(),
            "step_s": step_s,
            "n_steps": panel.n_steps,
            "params": asdict(self.params),
            "special": to_meta(self.special),
        }
        return Baselines(self.name, panel.keys, arrays, meta)

    def _learn(
        self, values: Floats, of: Survey, scale: Floats, totals: Totals, step_s: float
    ) -> dict[str, NDArray[Any]]:
        ranks = changepoint_ranks(of, self.params)
        normal = normal_equations(values, of, scale, ranks, totals)
        zty, cuts = normal.zty, normal.cuts
        flat = self.params.growth == "flat"
        n_columns = totals.features.shape[1]
        used = np.ones((len(values), zty.shape[1]), dtype=np.bool_)
        for part, off in seasons_off(of, step_s, self.params):
            used[off, 2 + part.start : 2 + part.stop] = False
        if flat:
            used[:, 1] = used[:, 2 + n_columns :] = False
        _switch_off(normal, used)
        priors = (
            precision(self.params, self.special),
            1 / self.params.changepoint_prior_scale,
            SIGMA_SCALE,
        )
        w, sigma, rounds = posterior_mode(
            normal.gram, normal.whose, zty, normal.yy, of.count, *priors
        )
        status = np.full(len(values), FITTED)
        multiplicative = np.zeros(len(values), dtype=np.bool_)
        if self.params.seasonality_mode == "multiplicative":
            found = product_mode(values, of, scale, cuts, totals.features, used, w, sigma, *priors)
            multiplicative = found.converged
            status[~multiplicative] = FELL_BACK
            w = np.where(multiplicative[:, None], found.w, w)
            sigma = np.where(multiplicative, found.sigma, sigma)
            rounds = rounds + found.rounds
        span = (of.last - of.first)[:, None]
        return {
            "m": w[:, 0],
            "k": w[:, 1],
            "beta": w[:, 2 : 2 + n_columns],
            "delta": w[:, 2 + n_columns :],
            "sigma": sigma,
            "status": status,
            "multiplicative": multiplicative,
            "rounds": rounds,
            "changepoints": np.minimum((cuts - of.first[:, None]) / span, 1.0),
            "n_changepoints": (ranks < of.count[:, None]).sum(axis=1),
        }

    def solvers(self, baselines: Baselines) -> NDArray[np.str_]:
        """``solver_names``, for tables that say who was served how."""
        return solver_names(baselines)

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
        epoch_s = epoch_seconds(start, baselines.meta["step_s"], n_steps)
        point, factor = _point(baselines, epoch_s)
        deviation, kurtosis = spread(a, epoch_s, factor)
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
    epoch_s = epoch_seconds(panel.start, panel.step.total_seconds(), panel.n_steps)
    point, _ = _point(baselines, epoch_s)
    there = np.isfinite(panel.values)
    residual = np.where(there, np.where(there, panel.values, 0) / a["scale"][:, None] - point, 0)
    sse, count = np.einsum("ij,ij->i", residual, residual), there.sum(axis=1)
    return (
        count * np.log(a["sigma"])
        + sse / (2 * a["sigma"] ** 2)
        + (a["k"] ** 2 + a["m"] ** 2) / (2 * TREND_SCALE**2)
        + a["beta"] ** 2 @ precision(params, from_meta(baselines.meta))[2:] / 2
        + np.abs(a["delta"]).sum(axis=1) / params.changepoint_prior_scale
        + a["sigma"] ** 2 / (2 * SIGMA_SCALE**2)
    )


def solver_names(baselines: Baselines) -> NDArray[np.str_]:
    """Who served each series, (n_series,).

    ``exact`` (additive), ``newton`` (multiplicative), ``additive (fell back)``, ``constant``
    (one value throughout), ``none`` (no value).
    """
    status = baselines.arrays["status"]
    product = _multiplicative(baselines)
    return np.select(
        [status == NO_DATA, status == CONSTANT, status == FELL_BACK, product],
        ["none", "constant", "additive (fell back)", "newton"],
        "exact",
    )


def _switch_off(normal: NormalEquations, used: NDArray[np.bool_]) -> None:
    """Zero the columns that a series does not have: the same ones for all that share ``ZᵀZ``."""
    rows = np.flatnonzero(~used.all(axis=1))
    if len(rows):
        normal.zty[rows] *= used[rows]
        grids, owners = np.unique(normal.whose[rows], return_index=True)
        mask = used[rows][owners]
        normal.gram[grids] *= mask[:, :, None] & mask[:, None, :]


def _multiplicative(baselines: Baselines) -> NDArray[np.bool_]:
    """Whose seasonality is multiplicative; nobody's in baselines from before there was that."""
    none = np.zeros(len(baselines.keys), dtype=np.bool_)
    return baselines.arrays.get("multiplicative", none)


def _point(baselines: Baselines, epoch_s: Floats) -> tuple[Floats, Floats | None]:
    """Trend and seasonality in the scaled unit, (n_series, n_times); what the trend is multiplied
    with, nothing if that is 1 everywhere."""
    a, product = baselines.arrays, _multiplicative(baselines)
    out = a["beta"] @ columns_of(baselines.meta, epoch_s).T
    if not product.any():
        add_trend(a, epoch_s, out)
        return out, None
    factor = np.where(product[:, None], 1 + out, 1.0)
    out[product] = 0.0
    trend = np.zeros_like(out)
    add_trend(a, epoch_s, trend)
    out += trend * factor
    return out, factor
