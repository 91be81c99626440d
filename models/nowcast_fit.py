"""How the nowcast learns, series by series, compiled: `models.nowcast` says what and why."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints
from models.nowcast_kernels import between, errors_of, features_of, scale_of, sums_of

__all__ = ["fit"]

_RIDGE = 1e-3
_TAME = 3.0
"""Errors beyond this many times their 99 % quantile count as that: one outage is not usual."""
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
            errors_of(actual[i], point[i], power, low, norm, error)
            _tame(error)
            unrest = sums_of(error, sums)
            loss = _fit_one(error, point[i], sums, ahead, recent, levels, restlessness,
                            (power, low, norm, unrest), rows, w, o)  # fmt: skip
            if loss < best:
                best = loss
                scale[i, 0], scale[i, 1], scale[i, 2], scale[i, 3] = power, low, norm, unrest
                weights[i] = w
                offsets[i] = o


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
        features_of(error, sums, first + moments * stride, recent, restlessness, scale[3],
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
        size[count] = scale_of(point[t], scale[0], scale[1], scale[2]) * rows[j, 3]
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
    high, loss = between(0.95, levels, offsets), 0.0
    for j in range(len(left)):
        off = left[j] - high
        loss += size[j] * (0.95 * off if off > 0 else -0.05 * off)
    return loss


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
