"""The posterior mode of ``y = Z w + noise`` with normal, Laplace and half-normal priors.

For a given noise variance the mode is a ridge regression with an L1 penalty on some columns. The
ridge columns are eliminated (Schur complement), the small lasso that is left is solved exactly by
an active set, and the variance has a closed form; the two steps alternate, each lowering the
objective, until it stands still.

The posterior can have several modes (few values: either a trend that bends, or more noise). More
noise means more penalty means more noise, so the alternation is monotone in the variance: started
at the least and at the most, it ends at the lowest and the highest mode there is. Where they meet,
the mode is the only one; else the best of those found between is taken. Most series need none of
that search: ``prophet_tableau`` finds their mode and shows that it is the only one.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.prophet_tableau import ordinary_mode, tableau

__all__ = ["SIGMA_FLOOR", "noise_variance", "posterior_mode", "regress", "search"]

SIGMA_FLOOR = 1e-6
"""Least noise, as a share of the series' largest value. Where a series can be met exactly the
posterior has no mode (it grows without bound as the noise goes to zero); the floor stands in for
it."""

_Problem = tuple[Floats, Floats, float, int, Floats, float, float]  # as in ``posterior_mode``

_ROUNDS = 200
_STEPS = 1000
_STILL = 1e-10  # relative change of the variance; the objective moves by its square
_ROUNDING = 1e-15  # of the mean square: changes of the variance below it are not real
_APART = 1e-6  # two modes are two if their variances differ by more than this share
_BETWEEN = 8  # intervals between them, searched for further modes
_PIVOT = 1e-14  # a column that adds less than this share of its own square is spanned by others


def posterior_mode(
    gram: Floats,
    whose: NDArray[np.int64],
    zty: Floats,
    yy: Floats,
    count: NDArray[np.int64],
    precision: Floats,
    l1: float,
    sigma_scale: float,
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Coefficients, noise and rounds used, for every series on its own.

    Parameters
    ----------
    gram : (n_grids, p, p)
        ``ZᵀZ``. A column of zeros gets the coefficient 0.
    whose : (n_series,)
        Which of them is a series'.
    zty, yy : (n_series, p), (n_series,)
        ``Zᵀy`` and ``yᵀy``.
    count : (n_series,)
        Number of values behind each of them.
    precision : (r,)
        One over the prior variance of the first ``r`` columns; the other ``p - r`` have a Laplace
        prior.
    l1, sigma_scale
        One over the Laplace scale; scale of the half-normal prior of the noise.

    Returns
    -------
    (n_series, p), (n_series,), (n_series,)
    """
    return _mode(gram, whose, zty, yy, count, precision, l1, sigma_scale)


@njit(cache=True, nogil=True)
def _mode(
    gram: Floats,
    whose: NDArray[np.int64],
    zty: Floats,
    yy: Floats,
    count: NDArray[np.int64],
    precision: Floats,
    l1: float,
    sigma_scale: float,
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    n, p = zty.shape
    w, sigma = np.zeros((n, p)), np.zeros(n)
    rounds, work = np.zeros(n, np.int64), np.empty((p, p))
    shared, known = tableau(np.zeros((p, p)), 0), -1
    for i in range(n):
        mine = gram[whose[i]]
        problem = (mine, zty[i], yy[i], count[i], precision, l1, sigma_scale)
        if whose[i] != known:
            shared, known = tableau(mine, len(precision)), whose[i]
        variance, rounds[i] = ordinary_mode(problem, shared, work, w[i])
        if variance <= SIGMA_FLOOR**2:
            variance, w[i], more = search(problem)
            rounds[i] += more
        sigma[i] = np.sqrt(variance)
    return w, sigma, rounds


@njit(cache=True, nogil=True)
def search(problem: _Problem) -> tuple[float, Floats, int]:
    """Variance, coefficients and rounds of the best mode there is."""
    _, _, yy, count, _, _, sigma_scale = problem
    low, w_low, rounds = _settle(problem, SIGMA_FLOOR**2)
    high, w_high, more = _settle(problem, noise_variance(yy, count, sigma_scale))
    rounds += more
    best, variance, w = _nats(problem, low, w_low), low, w_low
    starts = _BETWEEN if high > low * (1 + _APART) else 0
    for j in range(1, starts + 1):
        at, w_at = high, w_high
        if j < starts:
            at, w_at, more = _settle(problem, low * (high / low) ** (j / starts))
            rounds += more
        nats = _nats(problem, at, w_at)
        if nats < best:
            best, variance, w = nats, at, w_at
    return variance, w, rounds


@njit(cache=True, nogil=True)
def _settle(problem: _Problem, variance: float) -> tuple[float, Floats, int]:
    """Alternate from a variance until it stands still: variance, coefficients, rounds."""
    gram, zty, yy, count, precision, l1, sigma_scale = problem
    w = np.zeros(len(zty))
    for used in range(1, _ROUNDS + 1):
        regress(gram, zty, precision, l1, variance, w)
        before = variance
        variance = noise_variance(_sse(gram, zty, yy, w), count, sigma_scale)
        if abs(variance - before) <= _STILL * before + _ROUNDING * yy / count:
            return variance, w, used
    return variance, w, _ROUNDS


@njit(cache=True, nogil=True)
def _nats(problem: _Problem, variance: float, w: Floats) -> float:
    """The objective: negative log posterior up to a constant."""
    gram, zty, yy, count, precision, l1, sigma_scale = problem
    r = len(precision)
    fit = count * np.log(variance) + _sse(gram, zty, yy, w) / variance + variance / sigma_scale**2
    return fit / 2 + np.sum(precision * w[:r] ** 2) / 2 + l1 * np.sum(np.abs(w[r:]))


@njit(cache=True, nogil=True)
def noise_variance(sse: float, count: int, sigma_scale: float) -> float:
    """Mode of n log σ + sse / 2σ² + σ² / 2 scale²: the positive root of v² / scale² + n v - sse."""
    root = np.sqrt(count * count + 4 * sse / sigma_scale**2)
    return max(2 * sse / (count + root), SIGMA_FLOOR**2)


@njit(cache=True, nogil=True)
def _sse(gram: Floats, zty: Floats, yy: float, w: Floats) -> float:
    return max(yy - 2 * np.dot(zty, w) + np.dot(w, np.dot(gram, w)), 0.0)


@njit(cache=True, nogil=True)
def regress(
    gram: Floats, zty: Floats, precision: Floats, l1: float, variance: float, w: Floats
) -> None:
    """Best ``w`` for this variance; ``w`` comes in as a warm start."""
    r, p = len(precision), len(w)
    d = p - r
    lower = gram[:r, :r].copy()
    for j in range(r):
        lower[j, j] += variance * precision[j]
    _cholesky(lower)
    half = np.empty((r, d + 1))  # L⁻¹ [Z_rᵀ Z_d, Z_rᵀ y]
    for i in range(r):
        half[i, :d] = gram[i, r:]
        half[i, d] = zty[i]
        for k in range(i):
            for j in range(d + 1):
                half[i, j] -= lower[i, k] * half[k, j]
        half[i] /= lower[i, i]
    schur, rest = gram[r:, r:].copy(), zty[r:].copy()
    for k in range(r):
        for i in range(d):
            rest[i] -= half[k, i] * half[k, d]
            for j in range(d):
                schur[i, j] -= half[k, i] * half[k, j]
    _lasso(schur, rest, variance * l1, w[r:])
    for i in range(r):
        w[i] = half[i, d]
        for j in range(d):
            w[i] -= half[i, j] * w[r + j]
    _backward(lower, w[:r])


@njit(cache=True, nogil=True)
def _lasso(square: Floats, linear: Floats, penalty: float, x: Floats) -> None:
    """Minimise ½ xᵀ A x - bᵀ x + penalty |x|₁ exactly, in place, from the warm start ``x``.

    An active set in the manner of Lawson and Hanson: solve on the columns in use, go there as far
    as no sign turns (a coefficient that reaches zero leaves), then let in the column whose gradient
    breaks its bound most. Each step lowers the objective and no set returns, so it ends.
    """
    n = len(x)
    sign = np.sign(x)
    barred = np.zeros(n, np.bool_)
    noise = 1e-15 * np.max(np.abs(linear)) if n else 0.0
    enter = -1
    for _ in range(_STEPS):
        used = np.flatnonzero(sign)
        if len(used) and not _advance(square, linear, penalty, used, sign, x, barred):
            enter = -1
            continue
        if enter >= 0:
            barred[:] = False
        enter, worst = -1, penalty * (1 + 1e-10) + noise
        slope = linear - np.dot(square, x)
        for j in range(n):
            if sign[j] == 0.0 and not barred[j] and abs(slope[j]) > worst:
                enter, worst = j, abs(slope[j])
        if enter < 0:
            return
        sign[enter] = np.sign(slope[enter])


@njit(cache=True, nogil=True)
def _advance(
    square: Floats,
    linear: Floats,
    penalty: float,
    used: NDArray[np.int64],
    sign: Floats,
    x: Floats,
    barred: NDArray[np.bool_],
) -> bool:
    """Move to the optimum on the used columns; False if a coefficient met zero and left."""
    m = len(used)
    lower, goal = np.empty((m, m)), np.empty(m)
    for a in range(m):
        goal[a] = linear[used[a]] - penalty * sign[used[a]]
        for b in range(a + 1):
            lower[a, b] = square[used[a], used[b]]
    _cholesky(lower)
    _forward(lower, goal)
    _backward(lower, goal)
    share, leaves = 1.0, -1
    for a in range(m):
        j = used[a]
        if goal[a] * sign[j] <= 0.0:
            reach = x[j] / (x[j] - goal[a]) if x[j] != 0.0 else 0.0
            if reach < share or leaves < 0:
                share, leaves = reach, a
    for a in range(m):
        x[used[a]] += share * (goal[a] - x[used[a]])
    if leaves < 0:
        return True
    x[used[leaves]] = 0.0
    sign[used[leaves]] = 0.0
    if share == 0.0:
        barred[used[leaves]] = (
            True  # it came in by rounding alone: not again until something has moved
        )
    else:
        barred[:] = False
    return False


@njit(cache=True, nogil=True)
def _cholesky(a: Floats) -> None:
    """Lower factor in place; the pivot of a column that others already span becomes infinite."""
    n = len(a)
    for j in range(n):
        left = a[j, j]
        bound = _PIVOT * left
        for k in range(j):
            left -= a[j, k] * a[j, k]
        a[j, j] = np.sqrt(left) if left > bound else np.inf
        for i in range(j + 1, n):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / a[j, j]


@njit(cache=True, nogil=True)
def _forward(lower: Floats, x: Floats) -> None:
    for i in range(len(x)):
        total = x[i]
        for k in range(i):
            total -= lower[i, k] * x[k]
        x[i] = total / lower[i, i]


@njit(cache=True, nogil=True)
def _backward(lower: Floats, x: Floats) -> None:
    for i in range(len(x) - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, len(x)):
            total -= lower[k, i] * x[k]
        x[i] = total / lower[i, i]
