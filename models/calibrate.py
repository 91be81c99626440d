"""Conformal quantiles: from what a point forecast got wrong in the backtest, how far off it may be.

Residuals are scaled by the error that is usual at their predicted level, because load is noisier
where it is high, then by how much larger it is at their hour of the day and on their day of the
week (ramps are harder than plateaus, Mondays than Tuesdays).

A quantile that covers 90 % of all hours covers far fewer of the busiest ones: those are the hours
in which noise pointed up. Capacity exists for them. So an upper quantile spends its misses
unevenly: where load is predicted to be busy (above the ``busy`` quantiles of the predicted level,
where the busiest hours come from) it takes only a share of them, elsewhere the more, so that over
all hours the nominal share is kept.

Sources: Vovk, Gammerman & Shafer 2005 (split conformal, the (n+1)q rank); Lei et al. 2018 (locally
weighted residuals); Boström & Johansson 2020 (Mondrian bins by level). Neighbouring residuals are
not exchangeable, so n is counted in hours, not in steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from features.frames import QUANTILES
from features.panel import Floats
from models.measures import row_quantiles

__all__ = ["CalibrationParams", "apply_quantiles", "fit_quantiles"]

_HOURS, _DAYS = 24, 7
_KNOTS = np.array(QUANTILES)


@dataclass(frozen=True, slots=True)
class CalibrationParams:
    """How finely residuals are told apart."""

    level_edges: tuple[float, ...] = (1 / 3, 2 / 3, 0.9)
    """Quantiles of the predicted level that separate the bins in which an error is usual."""
    busy: tuple[float, float] = (0.4, 0.8)
    """Quantiles of the predicted level: below the first usual, above the second busy."""
    relief: float = 0.75
    """Share of the misses that an upper quantile leaves to the usual hours."""
    shrinkage_h: float = 12.0
    """Hours of residuals at which a bin (of level, an hour, a weekday) is trusted by half."""
    minimum_h: float = 24.0
    """With fewer hours of residuals a series stays uncalibrated."""

    def __post_init__(self) -> None:
        """Refuse edges that are no increasing quantiles, and negative hours."""
        edges = self.level_edges
        if any(not 0 < e < 1 for e in edges) or list(edges) != sorted(set(edges)):
            raise ValueError(f"level_edges must increase between 0 and 1, got {edges!r}")
        if not 0 < self.busy[0] <= self.busy[1] < 1:
            raise ValueError(f"busy must be two growing quantiles, got {self.busy!r}")
        if not 0 <= self.relief < 1:
            raise ValueError(f"relief must be at least 0 and below 1, got {self.relief!r}")
        for key in ("shrinkage_h", "minimum_h"):
            if not 0 <= (value := getattr(self, key)) < np.inf:
                raise ValueError(f"{key} must be a finite number of at least 0, got {value!r}")


def fit_quantiles(
    actual: NDArray[Any],
    point: NDArray[Any],
    times: pd.DatetimeIndex,
    params: CalibrationParams,
    step_h: float | None = None,
) -> dict[str, NDArray[Any]]:
    """Learn the offsets of the standard quantiles from out-of-sample forecasts.

    Parameters
    ----------
    actual, point : (n_series, n)
        What came and what was predicted; steps where either is NaN do not count.
    times : (n,)
        Left edges of the steps.
    step_h
        Length of a step; by default the smallest distance of neighbours.

    Returns
    -------
    dict
        ``calibrated`` bool (n_series,). ``levels`` (n_series, n_bins), the predicted level in the
        middle of each bin, and ``level_scale``, the usual absolute error there, both in the
        metric's unit. ``hour_scale`` (n_series, 24) and ``day_scale`` (n_series, 7), the usual
        error of an hour of the day and of a weekday in units of their level's. ``ramp``
        (n_series, 2), the levels between which an hour turns from usual to busy. ``offsets``
        (n_series, 2, 5), the quantiles ``QUANTILES`` of the scaled residual in usual and in busy
        hours; the median's is 0. Rows that are not calibrated hold NaN.
    """
    residual = np.asarray(actual, dtype=np.float64) - point
    there = np.isfinite(residual)
    residual = np.where(there, residual, np.nan)
    level = np.where(there, point, np.nan)
    step_h, shrinkage_h = step_h or _step_h(times), params.shrinkage_h
    edges, levels = _levels(level, params.level_edges)
    bins = (level[None] > edges[:, :, None]).sum(axis=0)
    # what is usual must not hang on one outage: errors count up to twice their 99 % quantile
    most = 2 * row_quantiles(np.abs(residual), [0.99])[0][:, None]
    tame = np.clip(residual, -most, most)
    level_scale = _usual(tame, bins, levels.shape[1], step_h, shrinkage_h)
    scale = _at_level(level_scale, levels, level)
    unit = _over(tame, scale)
    hours, days = times.hour.to_numpy()[None], times.day_of_week.to_numpy()[None]
    hour_scale = _usual(unit, hours, _HOURS, step_h, shrinkage_h)
    scale *= _at_hour(hour_scale, times, step_h)
    day_scale = _usual(_over(tame, scale), days, _DAYS, step_h, shrinkage_h)
    scale *= day_scale[:, days[0]]
    unit = _over(residual, scale).astype(np.float32)
    ramp = row_quantiles(level, params.busy).T
    calibrated = there.sum(axis=1) * step_h >= max(params.minimum_h, step_h)
    offsets = _offsets(unit, _busy(level, ramp), step_h, params)
    scales = {"level_scale": level_scale, "hour_scale": hour_scale, "day_scale": day_scale}
    fitted = {"levels": levels, **scales, "ramp": ramp, "offsets": offsets}
    for array in fitted.values():
        array[~calibrated] = np.nan
    return {"calibrated": calibrated, **fitted}


def apply_quantiles(
    arrays: Mapping[str, NDArray[Any]],
    point: Floats,
    times: pd.DatetimeIndex,
    quantiles: Sequence[float],
    nonnegative: NDArray[np.bool_],
    step_h: float | None = None,
) -> Floats:
    """Put quantiles around a point forecast.

    Parameters
    ----------
    arrays
        What ``fit_quantiles`` gave.
    point : (n_series, n_steps)
    times : (n_steps,)
        Left edges, UTC.
    quantiles : (n_quantiles,)
        Any in (0, 1): between the standard ones offsets are interpolated, and outside extrapolated,
        along the normal distribution's quantiles.
    nonnegative : bool, (n_series,)
        Series that can never be below 0.
    step_h : as for ``fit_quantiles``

    Returns
    -------
    float64, (n_quantiles, n_series, n_steps)
        Never crossing. NaN where the point is NaN or the series is not calibrated.
    """
    offsets, levels = _at_quantiles(arrays["offsets"], quantiles), arrays["levels"]
    scale = _at_level(arrays["level_scale"], levels, point)
    scale *= _at_hour(arrays["hour_scale"], times, step_h or _step_h(times))
    scale *= arrays["day_scale"][:, times.day_of_week.to_numpy()]
    busy = _busy(point, arrays["ramp"])
    usual, more = offsets[..., :1], offsets[..., 1:] - offsets[..., :1]
    out, order = np.empty((len(quantiles), *point.shape)), np.argsort(quantiles)
    below = np.where(nonnegative, 0.0, -np.inf)[:, None]
    for q in order:
        np.multiply(busy, more[q], out=out[q])
        out[q] += usual[q]
        out[q] *= scale
        out[q] += point
        below = np.maximum(out[q], below, out=out[q])  # rounding may cross by a last digit
    return out


def _step_h(times: pd.DatetimeIndex) -> float:
    gaps = np.diff(times.to_numpy()) / np.timedelta64(1, "h")
    return float(gaps[gaps > 0].min(initial=np.inf)) if (gaps > 0).any() else 1.0


def _usual(
    residual: Floats, group: NDArray[np.intp], n_groups: int, step_h: float, shrinkage_h: float
) -> Floats:
    """Mean absolute residual of each group of steps, shrunk to that of all, (n_series, n_groups).

    ``group``: (n_series or 1, n), from 0 on.
    """
    error, count = _by_group(residual, group, n_groups)
    known = count.sum(axis=1, keepdims=True)
    usual = error.sum(axis=1, keepdims=True) / np.maximum(known, 1)
    weight = count * step_h + shrinkage_h
    shrunk = _over(error * step_h + shrinkage_h * usual, weight)
    return np.where(weight > 0, shrunk, usual)


@njit(cache=True, nogil=True)
def _by_group(residual: Floats, group: NDArray[np.intp], n_groups: int) -> tuple[Floats, Floats]:
    """Sum of the absolute residuals and their number, both (n_series, n_groups)."""
    error, count = np.zeros((len(residual), n_groups)), np.zeros((len(residual), n_groups))
    for i in range(len(residual)):
        of = group[min(i, len(group) - 1)]
        for t in range(residual.shape[1]):
            if np.isfinite(residual[i, t]):
                error[i, of[t]] += abs(residual[i, t])
                count[i, of[t]] += 1.0
    return error, count


def _over(values: Floats, scale: Floats) -> Floats:
    """Values in units of the scale; where nothing is usual there are only zeros to scale."""
    return values / np.where(scale > 0, scale, 1.0)


def _at_level(values: Floats, levels: Floats, point: Floats) -> Floats:
    """The bins' values (n_series, n_bins) at each predicted level, linear between the middles."""
    out = np.repeat(values[:, :1], point.shape[1], axis=1)
    for b in range(1, levels.shape[1]):
        low, high = levels[:, b - 1, None], levels[:, b, None]
        width = np.where(high > low, high - low, 1.0)
        share = np.where(high > low, np.clip((point - low) / width, 0, 1), point > high)
        out += share * (values[:, b, None] - values[:, b - 1, None])
    return out


def _at_hour(hour_scale: Floats, times: pd.DatetimeIndex, step_h: float) -> Floats:
    """The hours' values at the middle of each step, linear between the hours' middles."""
    at = times.hour.to_numpy() + times.minute.to_numpy() / 60 + step_h / 2 - 0.5
    below = np.floor(at).astype(np.intp)
    share = at - below
    return (1 - share) * hour_scale[:, below % _HOURS] + share * hour_scale[:, (below + 1) % _HOURS]


def _levels(level: Floats, between: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Edges and middles of the level bins, (n_bins - 1, n_series) and (n_series, n_bins)."""
    bounds = np.array([0.0, *between, 1.0])
    middles = (bounds[:-1] + bounds[1:]) / 2
    both = row_quantiles(level, np.concatenate([between, middles]))
    return both[: len(between)], both[len(between) :].T


def _busy(level: Floats, ramp: Floats) -> Floats:
    """How busy a predicted level is: 0 usual, 1 busy, (n_series, n)."""
    low, high = ramp[:, :1], ramp[:, 1:]
    width = np.where(high > low, high - low, 1.0)
    return np.where(high > low, np.clip((level - low) / width, 0.0, 1.0), level > high)


def _offsets(
    unit: NDArray[np.float32], busy: Floats, step_h: float, params: CalibrationParams
) -> Floats:
    """Quantiles of the scaled residual in usual and in busy hours, (n_series, 2, 5)."""
    there, is_busy = np.isfinite(unit), busy >= 0.5
    share = (there & is_busy).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    share = np.minimum(share, 0.5)
    missed = np.where(_KNOTS > 0.5, 1 - _KNOTS, 0.0)[:, None]  # of upper quantiles
    in_usual = _KNOTS[:, None] - missed * params.relief * share / (1 - share)
    in_busy = _KNOTS[:, None] + missed * params.relief * (share > 0)
    offsets: list[Floats] = []
    for inside, at in ((~is_busy, in_usual), (is_busy, in_busy)):
        whole, _ = _conformal(unit, at, step_h)
        own, hours = _conformal(np.where(inside, unit, np.nan), at, step_h)
        trust = hours / np.maximum(hours + params.shrinkage_h, step_h)
        offsets.append(np.where(hours[:, None] > 0, whole + trust[:, None] * (own - whole), whole))
    return _around_point(np.stack(offsets, axis=1))


def _conformal(
    unit: NDArray[np.floating], probability: Floats, step_h: float
) -> tuple[Floats, Floats]:
    """Quantiles of each row at the conformal rank, (n_series, k), and the row's hours, (n_series,).

    ``probability``: (k, n_series).

    The rank (n+1)q of n moves every quantile outwards, the lower ones down and the upper ones up.
    """
    hours = np.isfinite(unit).sum(axis=1) * step_h
    outward = np.sign(probability - 0.5) * np.maximum(probability, 1 - probability)
    rank = probability + outward / np.maximum(hours, 1.0)
    return row_quantiles(unit, rank).T, hours


def _around_point(offset: Floats) -> Floats:
    """Keep the median where the champion said it, (n_series, 2, 5); quantiles in order around it.

    A bias seen over a few weeks is more often an event than a law: moving the median by it made
    forecasts of real traces worse.
    """
    sided = np.where(_KNOTS > 0.5, np.maximum(offset, 0.0), np.minimum(offset, 0.0))
    sided[..., _KNOTS == 0.5] = 0.0
    sided[:, 1] = np.where(_KNOTS > 0.5, np.maximum(sided[:, 0], sided[:, 1]), sided[:, 1])
    return np.maximum.accumulate(sided, axis=-1)


def _at_quantiles(offsets: Floats, quantiles: Sequence[float]) -> Floats:
    """Offsets at any quantiles, (n_quantiles, n_series, 2)."""
    asked = np.asarray(quantiles, dtype=np.float64)
    if not ((asked > 0) & (asked < 1)).all():
        raise ValueError(f"quantiles must lie between 0 and 1, got {list(quantiles)!r}")
    knots, z = ndtri(_KNOTS), ndtri(asked)
    right = np.clip(np.searchsorted(knots, z), 1, len(knots) - 1)
    share = ((z - knots[right - 1]) / (knots[right] - knots[right - 1]))[:, None, None]
    by_quantile = np.moveaxis(offsets, -1, 0)
    return by_quantile[right - 1] + share * (by_quantile[right] - by_quantile[right - 1])
