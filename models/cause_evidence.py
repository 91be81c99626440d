"""How unusual the time after an onset is for each series, and how it moves with the target's.

Values become robust deviations: distance from the normal median over the normal spread to that
side, through asinh, so that one wild value does not outweigh all others. A stretch is then summed
up twice, by its mean (what holds) and by its maximum (what comes and goes). Both are held against
stretches of the same length in the normal data: their rank there is a conformal p-value (Vovk et
al., 2005; the data's own time order makes it approximate), and what a tenth of them exceed does not
count. A series with few normal values can therefore never say much, however far it went. Neither a
metric's unit nor its zero matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.cause_series import BeforeAfter, Floats

__all__ = ["Evidence", "comovement", "weigh"]

_QUANTILES = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
_IQR_OF_NORMAL, _P95_OF_NORMAL = 1.349, 1.645
_ROUNDING = 1e-9
_LEAST_PAIRS = 4
_FURTHEST = 1e12


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of every series.

    Attributes
    ----------
    strength : ≥ 0, excess deviation × -ln(p); 0 where nothing is unusual, (n_series,)
    p : share of normal stretches as unusual, in (0, 1], (n_series,)
    way : 1 rose, -1 fell; the bad direction where there is one, (n_series,)
    was, became : the normal median; the incident's, or its peak where that is what is unusual
    peaked : whether it is, (n_series,)
    deviations : towards ``way``: the end of the normal time and the incident, each of the
        incident's length where there is so much, (n_series, n_steps)
    """

    strength: Floats
    p: Floats
    way: NDArray[np.int64]
    was: Floats
    became: Floats
    peaked: NDArray[np.bool_]
    deviations: Floats


def weigh(series: BeforeAfter, bad: NDArray[np.int64], constant_deviation: float) -> Evidence:
    """Evidence of each series; ``bad`` is its bad direction, 0 where both are.

    ``constant_deviation`` is how far a value that never moved is taken to have moved once it does:
    it has no spread to measure it by. An incident longer than a quarter of the normal time counts
    by its beginning.
    """
    n_normal = series.normal.shape[1]
    length = max(1, min(series.incident.shape[1], n_normal // 4))
    if not (n_normal and series.incident.shape[1] and len(series.keys)):
        return _nothing(len(series.keys))
    normal, incident, power = _near_one(series.normal, series.incident[:, :length])
    quantiles = _quantiles(normal, _QUANTILES)
    usual = _deviations(normal, normal, quantiles, constant_deviation)
    now = _deviations(incident, normal, quantiles, constant_deviation)
    way = np.where(bad != 0, bad, np.where(_mean(now) < 0, -1, 1))
    usual, now = usual * way[:, None], now * way[:, None]
    stride = max(1, length // 4)
    stretches = sliding_window_view(usual, length, axis=1)[:, ::stride]
    full = np.isfinite(usual).sum(axis=1) / length
    held, held_p = _excess(_mean(stretches), _mean(now), full, stride / length)
    peak, peak_p = _excess(_highest(stretches), _highest(now), full, stride / length)
    peaked = peak > held
    median, extreme = _quantiles(incident, np.array([0.5]))[:, 0], _extreme(incident, way)
    return Evidence(
        strength=np.maximum(held, peak).round(9),
        p=np.where(peaked, peak_p, held_p),
        way=way,
        was=np.ldexp(quantiles[:, 2], power),
        became=np.ldexp(np.where(peaked, extreme, median), power),
        peaked=peaked,
        deviations=np.concatenate([usual[:, -length:], now], axis=1),
    )


def _near_one(normal: Floats, incident: Floats) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Both divided by the power of two (n_series,) that leaves nothing above 1: nothing is rounded,
    and differences of the largest floats do not overflow.
    """
    both = (np.fmax.reduce(np.abs(v), axis=1, initial=0.0) for v in (normal, incident))
    _, power = np.frexp(np.fmax(*both))
    return np.ldexp(normal, -power[:, None]), np.ldexp(incident, -power[:, None]), power


def comovement(deviations: Floats, rows: NDArray[np.intp], weights: Floats) -> Floats:
    """Positive correlation of every series with those of ``rows``, their weighted mean, 0 to 1."""
    total = np.zeros(len(deviations))
    if not len(rows) or weights.sum() <= 0:
        return total
    known = np.isfinite(deviations)
    filled = np.where(known, deviations, 0.0)
    for row, weight in zip(rows, weights / weights.sum(), strict=True):  # of one workload
        both = known & known[row]
        pairs = both.sum(axis=1)
        n = np.maximum(pairs, 1)[:, None]
        x = np.where(both, filled - (filled * both).sum(axis=1, keepdims=True) / n, 0.0)
        mine = np.where(both, filled[row], 0.0)
        y = np.where(both, mine - mine.sum(axis=1, keepdims=True) / n, 0.0)
        size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        apart = size > _ROUNDING
        r = (x * y).sum(axis=1) / np.where(apart, size, 1.0)
        total += weight * np.where(apart & (pairs >= _LEAST_PAIRS), r, 0.0).clip(0.0, 1.0)
    return total.round(9)


def _excess(stretches: Floats, now: Floats, full: Floats, share: float) -> tuple[Floats, Floats]:
    """Strength and p-value; overlapping stretches count by the share that is new in each."""
    with np.errstate(invalid="ignore"):
        beyond = (stretches >= now[:, None]).sum(axis=1)
    p = np.minimum((1 + beyond * share) / (1 + full), 1.0)
    noise = np.nan_to_num(_quantiles(stretches, np.array([0.9]))[:, 0]).clip(min=0.0)
    excess = np.nan_to_num(now - noise).clip(min=0.0)
    return excess * -np.log(p), p


def _deviations(values: Floats, normal: Floats, quantiles: Floats, constant: float) -> Floats:
    low, q25, median, q75, high = (quantiles[:, [i]] for i in range(5))
    middle = (q75 - q25) / _IQR_OF_NORMAL
    rounding = _ROUNDING * np.maximum(np.abs(low), np.abs(high))
    up = np.maximum(middle, (high - median) / _P95_OF_NORMAL)
    down = np.maximum(middle, (median - low) / _P95_OF_NORMAL)
    away = values - median
    spread = np.where(away >= 0, up, down)
    rare = _spread_of_rare(normal, median)  # nearly always the same value, as many counters
    spread = np.where(spread > rounding, spread, rare)
    level = spread > rounding
    with np.errstate(over="ignore"):
        scaled = (away / np.where(level, spread, 1.0)).clip(-_FURTHEST, _FURTHEST)
    stuck = np.where(np.abs(away) > rounding, np.sign(away) * constant, 0.0)
    return np.arcsinh(np.where(np.isfinite(away), np.where(level, scaled, stuck), np.nan))


def _spread_of_rare(normal: Floats, median: Floats) -> Floats:
    """Root mean square of the distance from the median."""
    away = normal - median
    known = np.isfinite(away)
    square = np.where(known, away**2, 0.0).sum(axis=1, keepdims=True)
    return np.sqrt(square / np.maximum(known.sum(axis=1, keepdims=True), 1))


def _quantiles(values: Floats, shares: Floats) -> Floats:
    """Quantiles of each row's finite values, NaN where there is none, (n_rows, n_shares)."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)[:, None]
    at = shares[None] * np.maximum(count - 1, 0)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    low, high = (np.take_along_axis(ordered, i, axis=1) for i in (below, above))
    return low + (high - low) * (at - below)


def _mean(values: Floats) -> Floats:
    """Over the last axis; NaN where less than half was measured, as a stretch of a few gaps."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(2 * count >= values.shape[-1], total / np.maximum(count, 1), np.nan)


def _highest(values: Floats) -> Floats:
    known = np.isfinite(values)
    top = np.where(known, values, -np.inf).max(axis=-1)
    return np.where(known.any(axis=-1), top, np.nan)


def _extreme(values: Floats, way: NDArray[np.int64]) -> Floats:
    return _highest(values * way[:, None]) * way


def _nothing(n: int) -> Evidence:
    zero, none = np.zeros(n), np.full(n, np.nan)
    up = np.ones(n, dtype=np.int64)
    return Evidence(zero, zero + 1, up, none, none, zero > 0, np.empty((n, 0)))
