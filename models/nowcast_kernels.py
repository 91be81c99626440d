"""The nowcast, series by series, compiled: `models.nowcast` says what it does and why."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints

__all__ = ["correct", "fit"]

_RIDGE = 1e-3
_TAME = 3.0
"""Errors beyond this many times their 99 % quantile count as that: one outage is not usual."""
_UNREST = (0.25, 4.0)
_TINY = 1e-12
_LEAST = 8
"""Fewer errors so many steps ahead say nothing."""
_JUDGED = 3
"""The first so many of ``ahead`` say which power is best."""


@njit(cache=True, nogil=True)
def fit(
    actual: Floats,
    point: Floats,
    ahead: Ints,
    recent: Ints,
    levels: Floats,
    powers: Floats,
    restlessness: float,
    least: int,
    low_share: float,
    scale: Floats,
    weights: Floats,
    offsets: Floats,
) -> None:
    """Fill ``scale`` (n, 4), ``weights`` (n, n_ahead, 3) and ``offsets`` (n, n_ahead, n_levels)."""
    n, m = actual.shape
    n_ahead = len(ahead)
    w, o = np.zeros((n_ahead, 3)), np.zeros((n_ahead, len(levels)))
    error = np.zeros(m)
    sums = np.zeros((3, m + 1))
    rows = np.zeros((m, 4))
    for i in range(n):
        there = np.isfinite(actual[i]) & np.isfinite(point[i])
        if there.sum() < least:
            continue
        known = point[i][there]
        low = max(low_share * np.quantile(known, 0.99), 1e-12)
        norm = max(np.mean(np.maximum(known, low)), 1e-12)
        best = np.inf
        for power in powers:
            _errors(actual[i], point[i], power, low, norm, error)
            _tame(error)
            unrest = _sums(error, sums)
            loss = _fit_one(error, point[i], sums, ahead, recent, levels, restlessness,
                            (power, low, norm, unrest), rows, w, o)  # fmt: skip
            if loss < best:
                best = loss
                scale[i, 0], scale[i, 1], scale[i, 2], scale[i, 3] = power, low, norm, unrest
                weights[i] = w
                offsets[i] = o


@njit(cache=True, nogil=True)
def correct(
    actual: Floats,
    point: Floats,
    at: Ints,
    level: Floats,
    scale: Any,
    weights: Floats,
    offsets: Floats,
    ahead: Ints,
    recent: Ints,
    restlessness: float,
    levels: Floats,
    out: Floats,
) -> None:
    """Fill ``out`` (n, n_moments, n_ahead)."""
    n, m = actual.shape
    error, sums, x = np.zeros(m), np.zeros((3, m + 1)), np.zeros(4)
    reach = ahead[len(ahead) - 1]
    for i in range(n):
        power, low, norm, unrest = scale[0][i], scale[1][i], scale[2][i], scale[3][i]
        if np.isnan(power) or np.isnan(level[i]):
            continue
        _errors(actual[i], point[i], power, low, norm, error)
        _sums(error, sums)
        for j in range(len(at)):
            _features(error, sums, at[j], recent, restlessness, unrest, x)
            for h in range(1, min(out.shape[2], reach) + 1):
                k = np.searchsorted(ahead, h)
                told = _told(weights[i, k], offsets[i, k], x, levels, level[i])
                if ahead[k] != h:
                    share = (ahead[k] - h) / (ahead[k] - ahead[k - 1])
                    before = _told(weights[i, k - 1], offsets[i, k - 1], x, levels, level[i])
                    told = share * before + (1 - share) * told
                p = point[i, at[j] + h - 1]
                out[i, j, h - 1] = p + _scale(p, power, low, norm) * told


@njit(cache=True, nogil=True)
def _told(w: Floats, offsets: Floats, x: Floats, levels: Floats, level: float) -> float:
    """The error that is to come, at a level."""
    middle = w[0] * x[0] + w[1] * x[1] + w[2] * x[2]
    return middle + x[3] * _between(level, levels, offsets)


@njit(cache=True, nogil=True)
def _scale(level: float, power: float, low: float, norm: float) -> float:
    return max(level, low) ** power * norm ** (1 - power)


@njit(cache=True, nogil=True)
def _errors(
    actual: Floats, point: Floats, power: float, low: float, norm: float, out: Floats
) -> None:
    for t in range(len(actual)):
        out[t] = (actual[t] - point[t]) / _scale(point[t], power, low, norm)


@njit(cache=True, nogil=True)
def _tame(error: Floats) -> None:
    size = np.abs(error[np.isfinite(error)])
    most = _TAME * np.quantile(size, 0.99) if len(size) else 0.0
    for t in range(len(error)):
        if error[t] > most:
            error[t] = most
        elif error[t] < -most:
            error[t] = -most


@njit(cache=True, nogil=True)
def _sums(error: Floats, sums: Floats) -> float:
    """Cumulative sums, absolute sums and counts; the mean absolute error."""
    for t in range(len(error)):
        there = np.isfinite(error[t])
        sums[0, t + 1] = sums[0, t] + (error[t] if there else 0.0)
        sums[1, t + 1] = sums[1, t] + (abs(error[t]) if there else 0.0)
        sums[2, t + 1] = sums[2, t] + (1.0 if there else 0.0)
    last = len(error)
    return sums[1, last] / sums[2, last] if sums[2, last] > 0 else 0.0


@njit(cache=True, nogil=True)
def _features(
    error: Floats,
    sums: Floats,
    at: int,
    recent: Ints,
    restlessness: float,
    unrest: float,
    x: Floats,
) -> None:
    """Errors of the last step, a quarter of an hour, some hours; how restless it was. All before
    ``at``."""
    for k in range(2):
        begin = max(at - recent[k], 0)
        count = sums[2, at] - sums[2, begin]
        x[1 + k] = (sums[0, at] - sums[0, begin]) / count if count > 0 else 0.0
    x[0] = error[at - 1] if at > 0 and np.isfinite(error[at - 1]) else x[1]
    begin = max(at - recent[2], 0)
    count = sums[2, at] - sums[2, begin]
    x[3] = 1.0
    if count > 0 and unrest > 0:
        ratio = (sums[1, at] - sums[1, begin]) / count / unrest
        x[3] = 1 - restlessness + restlessness * min(max(ratio, _UNREST[0]), _UNREST[1])


@njit(cache=True, nogil=True)
def _fit_one(
    error: Floats,
    point: Floats,
    sums: Floats,
    ahead: Ints,
    recent: Ints,
    levels: Floats,
    restlessness: float,
    scale: Any,
    rows: Floats,
    w: Floats,
    o: Floats,
) -> float:
    """Weights and offsets of one series; the loss of its 95 % quantile, in the metric's unit."""
    first, stride, moments = recent[0], max(recent[0], 1), 0
    while first + moments * stride + 1 < len(error):
        _features(error, sums, first + moments * stride, recent, restlessness, scale[3],
                  rows[moments])  # fmt: skip
        moments += 1
    loss = 0.0
    left, size = np.zeros(moments), np.zeros(moments)
    gram, right = np.zeros((3, 3)), np.zeros(3)
    for k in range(len(ahead)):
        begin = first + ahead[k] - 1
        count = _normal_equations(error, rows, begin, stride, moments, gram, right)
        w[k] = 0.0
        o[k] = 0.0
        if count < _LEAST:
            continue
        _solve(gram, right, w[k])
        count = _left(error, point, rows, begin, stride, moments, scale, w[k], left, size)
        _quantiles(np.sort(left[:count]), levels, o[k])
        if k < _JUDGED:
            loss += _loss(left[:count], size[:count], levels, o[k])
    return loss


@njit(cache=True, nogil=True)
def _normal_equations(
    error: Floats, rows: Floats, begin: int, stride: int, moments: int, gram: Floats, right: Floats
) -> int:
    """Fill the ridge regression's matrix and right side; how many errors there were."""
    gram[:] = 0.0
    right[:] = 0.0
    count = 0
    for j in range(moments):
        t = begin + j * stride
        if t >= len(error) or not np.isfinite(error[t]):
            continue
        count += 1
        for a in range(3):
            right[a] += rows[j, a] * error[t]
            for b in range(3):
                gram[a, b] += rows[j, a] * rows[j, b]
    ridge = _RIDGE * (gram[0, 0] + gram[1, 1] + gram[2, 2]) + _TINY
    for a in range(3):
        gram[a, a] += ridge
    return count


@njit(cache=True, nogil=True)
def _left(
    error: Floats,
    point: Floats,
    rows: Floats,
    begin: int,
    stride: int,
    moments: int,
    scale: Any,
    w: Floats,
    left: Floats,
    size: Floats,
) -> int:
    """What is still wrong, in units of ``size``; how many there are."""
    count = 0
    for j in range(moments):
        t = begin + j * stride
        if t >= len(error) or not np.isfinite(error[t]):
            continue
        told = rows[j, 0] * w[0] + rows[j, 1] * w[1] + rows[j, 2] * w[2]
        left[count] = (error[t] - told) / rows[j, 3]
        size[count] = _scale(point[t], scale[0], scale[1], scale[2]) * rows[j, 3]
        count += 1
    return count


@njit(cache=True, nogil=True)
def _quantiles(ordered: Floats, levels: Floats, out: Floats) -> None:
    """The (n + 1) q rank of split conformal prediction, between neighbours in proportion."""
    n = len(ordered)
    for q in range(len(levels)):
        place = min(max(levels[q] * (n + 1) - 1, 0.0), n - 1.0)
        base = int(place)
        out[q] = ordered[base] + (place - base) * (ordered[min(base + 1, n - 1)] - ordered[base])


@njit(cache=True, nogil=True)
def _loss(left: Floats, size: Floats, levels: Floats, offsets: Floats) -> float:
    """Pinball loss of the 95 % quantile, summed, in the metric's unit."""
    high, loss = _between(0.95, levels, offsets), 0.0
    for j in range(len(left)):
        off = left[j] - high
        loss += size[j] * (0.95 * off if off > 0 else -0.05 * off)
    return loss


@njit(cache=True, nogil=True)
def _between(level: float, levels: Floats, offsets: Floats) -> float:
    """The offset of a level, on the line between its neighbours."""
    if level <= levels[0]:
        return offsets[0]
    last = len(levels) - 1
    if level >= levels[last]:
        return offsets[last]
    k = np.searchsorted(levels, level)
    share = (levels[k] - level) / (levels[k] - levels[k - 1])
    return share * offsets[k - 1] + (1 - share) * offsets[k]


@njit(cache=True, nogil=True)
def _solve(a: Floats, b: Floats, x: Floats) -> None:
    """Cramer's rule for a symmetric positive definite 3 × 3."""
    c00 = a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1]
    c01 = a[1, 2] * a[2, 0] - a[1, 0] * a[2, 2]
    c02 = a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0]
    det = a[0, 0] * c00 + a[0, 1] * c01 + a[0, 2] * c02
    x[0] = (b[0] * c00 + a[0, 1] * (a[1, 2] * b[2] - b[1] * a[2, 2])
            + a[0, 2] * (b[1] * a[2, 1] - a[1, 1] * b[2])) / det  # fmt: skip
    x[1] = (a[0, 0] * (b[1] * a[2, 2] - a[1, 2] * b[2]) + b[0] * c01
            + a[0, 2] * (a[1, 0] * b[2] - b[1] * a[2, 0])) / det  # fmt: skip
    x[2] = (a[0, 0] * (a[1, 1] * b[2] - b[1] * a[2, 1])
            + a[0, 1] * (b[1] * a[2, 0] - a[1, 0] * b[2]) + b[0] * c02) / det  # fmt: skip
