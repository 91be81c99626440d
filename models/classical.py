"""Exponential smoothing and ARIMA from statsmodels, on what the decomposition leaves: a challenger
for a share of the workloads.

A series less its season (``models.decomposition``) is averaged over blocks of a few hours, and
statsmodels fits its level there, one series at a time: about 10 ms a fit for four weeks of
six-hour blocks. Both models continue a level in the same way, so that one set of numbers serves
both, and predicting needs no statsmodels. With S_h = 1 + φ + … + φ^(h - 1), h blocks ahead,

    level(h) = level + increment · S_h
    var(h) = σ² (1 + Σ_{j<h} (gain + gain_trend · S_j)²)

- ETS(A, Ad, N): increment = φ b, gain = α, gain_trend = φ β (Hyndman et al. 2008, "Forecasting with
  exponential smoothing", table 6.2).
- ARIMA(1, 1, 1): increment = first expected difference, gain = 1, gain_trend = φ + θ.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from features.panel import Floats, Panel
from models.base import Baselines
from models.decomposition import Decomposition, DecompositionParams
from models.decomposition_ahead import (
    BASE_LEAD_DAYS,
    PROBABILITIES,
    bands,
    days_ahead,
    deseasonalised,
    season_ahead,
)

__all__ = ["FITTED", "NOT_ASKED", "NO_FIT", "TOO_SHORT", "Classical", "ClassicalParams"]

FITTED, NOT_ASKED, TOO_SHORT, NO_FIT = 0, 1, 2, 3
"""Codes in ``status``: fitted; not in the share; too few blocks; statsmodels had no finite
answer."""

_FIGURES = ("level", "increment", "phi", "gain", "gain_trend", "sigma")
_DAY_S = 86_400
_FLAT = 1e-12  # share of a larger number that is rounding alone
_OUTER = np.searchsorted(PROBABILITIES, (0.01, 0.1))
_FILTERS = Lock()  # warnings' filters are the process's: threads would put back each other's


@dataclass(frozen=True, slots=True)
class ClassicalParams:
    """Which model, and for whom."""

    share: float = 0.05
    """Share of the workloads that it is fitted for, drawn by their names."""
    model: Literal["ets", "arima"] = "ets"
    block_h: float = 6.0
    """Length of the blocks that are averaged; the grid's step where that is longer."""
    least_blocks: int = 12
    """Blocks with a value that a series must have."""
    decomposition: DecompositionParams = field(default_factory=DecompositionParams)

    def __post_init__(self) -> None:
        """Refuse what cannot be fitted."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be from 0 to 1, got {self.share}")
        if self.model not in ("ets", "arima"):
            raise ValueError(f"model must be 'ets' or 'arima', got {self.model!r}")
        if not 0 < self.block_h <= 24:
            raise ValueError(f"block_h must be above 0 and at most 24, got {self.block_h}")
        if self.least_blocks < 12:
            raise ValueError(f"least_blocks must be 12 or more, got {self.least_blocks}")


@dataclass(frozen=True, slots=True)
class Classical:
    """Forecaster (see ``models.base.Forecaster``).

    Arrays of its baselines, first axis the series: ``level increment phi gain gain_trend sigma``
    (n,) as in the module's text, NaN without a fit; ``status`` (n,), ``FITTED`` or why not;
    and ``template edges spread kind non_negative`` as in ``Decomposition``.
    """

    params: ClassicalParams = field(default_factory=ClassicalParams)

    @property
    def name(self) -> str:
        """``classical``."""
        return "classical"

    def fit(self, panel: Panel) -> Baselines:
        """Fit the share's series one by one; all others are rows without an answer."""
        p, step_s = self.params, panel.step.total_seconds()
        status = np.where(_asked(panel.keys["workload"], p.share), FITTED, NOT_ASKED)
        rows = np.flatnonzero(status == FITTED)
        part = panel.select(rows)
        base = Decomposition(p.decomposition).fit(part)
        width = max(round(p.block_h * 3600 / step_s), 1)
        level = deseasonalised(base, part)
        blocks = _blocks(level, width)
        figures = np.full((panel.n_series, len(_FIGURES)), np.nan)
        for row, series in zip(rows, blocks, strict=True):
            if np.isfinite(series).sum() < p.least_blocks:
                status[row] = TOO_SHORT
                continue
            figures[row] = _fit_level(series, p.model)
            if np.isnan(figures[row]).any():
                status[row] = NO_FIT
        arrays: dict[str, NDArray[Any]] = {
            "status": status,
            **dict(zip(_FIGURES, figures.T.copy(), strict=True)),
        }
        for key in ("template", "edges", "spread", "kind", "non_negative"):
            learned = base.arrays[key]
            blank = np.nan if learned.dtype == np.float64 else 0
            shape = (panel.n_series, *learned.shape[1:])
            arrays[key] = np.full(shape, blank, dtype=learned.dtype)
            arrays[key][rows] = learned
        meta = {
            "start": panel.start.isoformat(),
            "end": panel.end.isoformat(),
            "step_s": step_s,
            "block_steps": width,
            "params": asdict(p),
        }
        return Baselines(self.name, panel.keys, arrays, meta)

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        """Quantiles from ``start`` on, (n_quantiles, n_series, n_steps); the median is season plus
        level.

        Bands are the decomposition's residuals by level, widened as the model's variance grows.

        Raises
        ------
        ValueError
            ``start`` is before the end of training, or a quantile not between 0 and 1.
        """
        a, meta = baselines.arrays, baselines.meta
        days = days_ahead(baselines, start, n_steps)
        block_days = meta["block_steps"] * meta["step_s"] / _DAY_S
        ahead = np.maximum(np.floor((days - 0.5) / block_days).astype(np.int64), 0)
        base = np.maximum(np.rint(BASE_LEAD_DAYS[a["kind"]] / block_days).astype(np.int64), 1) - 1
        level, growth = _paths(a, max(ahead.max(initial=0), base.max(initial=0)) + 1)
        point = season_ahead(baselines, start, n_steps) + level[:, ahead]
        grown = growth[:, ahead] - np.take_along_axis(growth, base[:, None], axis=1)
        sigma, error = a["sigma"], _error(a["spread"])
        share = np.divide(sigma, error, out=np.zeros_like(sigma), where=error > _FLAT * sigma)
        widening = np.sqrt(np.maximum(1 + share[:, None] ** 2 * grown, 0.25))
        return bands(baselines, point, widening, quantiles)


def _asked(workloads: pd.Series, share: float) -> NDArray[np.bool_]:
    """Whose turn it is, (n_series,): by name alone, the same whoever else is there."""
    digests = (hashlib.sha256(str(name).encode()).digest() for name in workloads)
    drawn = [int.from_bytes(digest[:6]) / 2**48 for digest in digests]
    return np.array(drawn, dtype=np.float64) < share


def _blocks(values: Floats, width: int) -> Floats:
    """Means of the finite values of each block, counted back from the end, (n_series, n_blocks);
    NaN where there is none."""
    number = -(-values.shape[1] // width)
    padded = np.full((len(values), number * width), np.nan)
    padded[:, number * width - values.shape[1] :] = values
    parts = padded.reshape(len(values), number, width)
    there = np.isfinite(parts)
    count = there.sum(axis=2)
    # Divided first: a sum of very large values need not be finite.
    total = np.where(there, parts / width, 0.0).sum(axis=2)
    return np.where(count > 0, total * (width / np.maximum(count, 1)), np.nan)


def _fit_level(series: Floats, model: Literal["ets", "arima"]) -> Floats:
    """The figures of one series of blocks; all NaN where statsmodels has no finite answer.

    Gaps are bridged by straight lines: neither model's fit takes them.
    """
    known = np.flatnonzero(np.isfinite(series))
    first = known[0]
    x = np.interp(np.arange(first, known[-1] + 1), known, series[known])
    scale = np.abs(x).max()
    x = x / scale if scale > 0 else x
    centre, spread = x.mean(), x.std()
    if spread <= _FLAT:
        return np.array([x[-1] * scale, 0.0, 0.0, 0.0, 0.0, 0.0])
    # Before the filters: statsmodels, when imported, puts its own in front.
    fit = _ets() if model == "ets" else _arima()
    with _FILTERS, warnings.catch_warnings(), np.errstate(all="ignore"):
        # No convergence, a poor start, an overflow on the way: the answer is checked below.
        warnings.simplefilter("ignore", category=UserWarning)
        warnings.simplefilter("ignore", category=RuntimeWarning)
        try:
            figures = np.array(fit((x - centre) / spread), dtype=np.float64)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return np.full(len(_FIGURES), np.nan)
        unit = spread * scale
        figures *= (unit, unit, 1.0, 1.0, 1.0, unit)
        figures[0] += centre * scale
    sound = np.isfinite(figures).all() and abs(figures[2]) <= 1
    return figures if sound else np.full(len(_FIGURES), np.nan)


def _ets() -> Callable[[Floats], tuple[float, ...]]:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel  # half a second to import

    def fit(x: Floats) -> tuple[float, ...]:
        found: Any = ETSModel(x, error="add", trend="add", damped_trend=True).fit(disp=False)
        p = dict(zip(found.param_names, found.params, strict=True))
        phi = p["damping_trend"]
        gains = p["smoothing_level"], phi * p["smoothing_trend"]
        return (found.level[-1], phi * found.slope[-1], phi, *gains, np.sqrt(found.scale))

    return fit


def _arima() -> Callable[[Floats], tuple[float, ...]]:
    from statsmodels.tsa.arima.model import ARIMA

    def fit(x: Floats) -> tuple[float, ...]:
        # No covariance of the parameters: nobody reads it, and where it is not finite LAPACK may
        # never come back.
        found: Any = ARIMA(x, order=(1, 1, 1)).fit(cov_type="none")
        p = dict(zip(found.param_names, found.params, strict=True))
        phi = p["ar.L1"]
        increment = found.forecast(1)[0] - x[-1]
        return (x[-1], increment, phi, 1.0, phi + p["ma.L1"], np.sqrt(p["sigma2"]))

    return fit


def _paths(a: Mapping[str, NDArray[Any]], n_blocks: int) -> tuple[Floats, Floats]:
    """Level 1 … ``n_blocks`` blocks ahead and its variance in units of σ², (n_series, n_blocks)."""
    powers: Floats = a["phi"][:, None] ** np.arange(n_blocks, dtype=np.float64)
    sums: Floats = np.cumsum(powers, axis=1)
    level: Floats = a["level"][:, None] + a["increment"][:, None] * sums
    weights: Floats = np.ones_like(sums)
    weights[:, 1:] = (a["gain"][:, None] + a["gain_trend"][:, None] * sums[:, :-1]) ** 2
    growth: Floats = np.cumsum(weights, axis=1)
    return level, growth


def _error(spread: Floats) -> Floats:
    """Sigma that the bands stand for, (n_series,): a normal one as wide between the outer tenths or
    hundredths, whichever is larger."""
    z = -ndtri(PROBABILITIES[_OUTER])
    widths = spread[..., ::-1][..., _OUTER] - spread[..., _OUTER]
    return np.abs(widths / (2 * z)).max(axis=2).mean(axis=1)
