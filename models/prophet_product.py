"""The posterior mode of ``y = g (1 + X β) + noise``: trend times seasonality.

The model is linear in the trend for a given seasonality and the other way round. Linearised in both
at once (Gauss and Newton) it is the additive problem again: ridge on level, slope and seasonality,
an L1 penalty on the changepoints. That is solved exactly (``prophet_solver.regress``), the step is
shortened until the objective falls, and the noise variance has its closed form. The model's own
gain, the fall of the objective that a step promises, is nothing only at a stationary point: that is
the test of convergence.

Where that is slow (much is left over), second derivatives are tried first.

The posterior can have several modes, mostly where there is little to see: pure noise, rare events,
paths around zero. From the trend of the additive solution, with its noise and with none: if that
ends in one place and soon, it is taken. Else more starts follow, some of them kicked away from the
best mode so far, and the best is taken; that there is no better one is then likely, not sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.prophet_design import Survey
from models.prophet_moments import (
    Moments,
    crosses,
    linearise,
    runs,
    squared_error,
    squares,
)
from models.prophet_solver import SIGMA_FLOOR, noise_variance, regress

__all__ = ["ProductMode", "product_mode"]

_ROUNDS = 300
_STRAIGHT = 6  # rounds after which second derivatives are worth having
_HALVINGS = 40
_STILL_NATS = 1e-10  # a step that promises less is none
_ROUNDING = 2e-15  # of Σ y² / σ²: the objective is not known better
_APART_NATS = 1e-7
_EASY = 10  # rounds; where it takes more, modes are near each other
_LEVEL = 1e-3  # least share of the largest value that a seasonality can be a share of
_KICKS, _KICK = 12, 0.3  # how many, and their size as a share of the largest value
_SLACK = 1e-4  # share of the promised gain that a step has to bring (Armijo, 1966)

_Priors = tuple[Floats, float, float]  # precision, l1, sigma_scale as in ``posterior_mode``
_State = tuple[float, float, Floats, int, bool]  # nats, variance, w, rounds, converged


@dataclass(frozen=True, slots=True)
class ProductMode:
    """Coefficients in the order of ``normal_equations``, noise, rounds; first axis the series."""

    w: Floats
    sigma: Floats
    rounds: NDArray[np.int64]
    converged: NDArray[np.bool_]


def product_mode(
    values: Floats,
    of: Survey,
    scale: Floats,
    cuts: NDArray[np.int64],
    features: Floats,
    used: NDArray[np.bool_],
    additive: Floats,
    sigma: Floats,
    precision: Floats,
    l1: float,
    sigma_scale: float,
) -> ProductMode:
    """Solve every series on its own.

    Parameters
    ----------
    values, of, scale
        As for ``normal_equations``.
    cuts : (n_series, n_changepoints)
        Grid positions of the changepoints.
    features : (n_steps, n_features)
        Seasonal columns.
    used : (n_series, p)
        Which coefficients the series has; the others are 0.
    additive, sigma : (n_series, p), (n_series,)
        The additive mode: where to start from.
    precision, l1, sigma_scale
        As for ``posterior_mode``.
    """
    x = np.ascontiguousarray(np.column_stack([np.ones(len(features)), features]))
    found = _products(
        values, scale, of.first, of.last, of.count, cuts, x, used, additive, sigma,
        _kicks(used.shape[1], len(precision)), (precision, l1, sigma_scale),
    )  # fmt: skip
    return ProductMode(*found)


def _kicks(p: int, r: int) -> Floats:
    """Away from a mode, to look for others: added to the coefficients; last, factor of the noise.

    The same for every series: what comes out depends on nothing else.
    """
    rng = np.random.default_rng(0)
    out = _KICK * rng.normal(size=(_KICKS, p + 1))
    out[:, r:p] *= rng.uniform(size=(_KICKS, p - r)) < _KICK
    out[:, p] = 10 ** rng.uniform(-3, 1, size=_KICKS)
    return out


@njit(cache=True, nogil=True)
def _products(
    values: Floats,
    scale: Floats,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    count: NDArray[np.int64],
    cuts: NDArray[np.int64],
    x: Floats,
    used: NDArray[np.bool_],
    additive: Floats,
    sigma: Floats,
    kicks: Floats,
    priors: _Priors,
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.bool_]]:
    n, q, pieces = len(values), x.shape[1], cuts.shape[1] + 1
    w, deviation = np.zeros_like(additive), np.zeros(n)
    rounds, converged = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    square, cross = np.zeros((pieces, 3, q, q)), np.zeros((pieces, 2, q))
    cut, shared = np.zeros(pieces + 1, np.int64), runs(x)
    known = -1  # the series whose ``square`` this is
    for i in range(n):
        cut[0], cut[1:pieces], cut[pieces] = first[i], cuts[i], last[i] + 1
        full = count[i] == last[i] - first[i] + 1
        if not (full and known >= 0 and first[known] == first[i] and last[known] == last[i]):
            squares(values[i], cut, x, shared, used[i], square)
            known = i if full else -1
        yy = crosses(values[i], scale[i], cut, x, used[i], cross)
        moments = (square, cross, cut, float(last[i] - first[i]), yy, count[i])
        found = _best(moments, used[i], additive[i], sigma[i] ** 2, kicks, priors)
        _, variance, w[i], rounds[i], converged[i] = found
        deviation[i] = np.sqrt(variance)
    return w, deviation, rounds, converged


@njit(cache=True, nogil=True)
def _best(
    moments: Moments,
    used: NDArray[np.bool_],
    additive: Floats,
    variance: float,
    kicks: Floats,
    priors: _Priors,
) -> _State:
    """The best mode that the starts lead to."""
    r, n = len(priors[0]), len(additive)
    most = noise_variance(moments[4], moments[5], priors[2])
    trend, scaled, nothing = additive.copy(), additive.copy(), np.zeros(n)
    trend[2:r] = 0.0
    if abs(additive[0]) > _LEVEL:
        scaled[2:r] /= additive[0]
    best = _settle(moments, used, trend, variance, priors)
    rounds, easy = best[3], best[4] and best[3] <= _EASY
    for j in range(4 + len(kicks)):
        if j == 1 and easy:
            break
        if j == 0:
            found = _settle(moments, used, trend, SIGMA_FLOOR**2, priors)
            easy = easy and found[3] <= _EASY and abs(found[0] - best[0]) <= _APART_NATS
        elif j == 1:
            found = _settle(moments, used, nothing, most, priors)
        elif j == 2:
            found = _settle(moments, used, scaled, SIGMA_FLOOR**2, priors)
        elif j == 3:
            found = _settle(moments, used, -trend, SIGMA_FLOOR**2, priors)
        else:
            kick = kicks[j - 4]
            start = np.where(used, best[2] + kick[:n], 0.0)
            found = _settle(moments, used, start, best[1] * kick[n], priors)
        rounds += found[3]
        if found[4] and (found[0] < best[0] or not best[4]):
            best = found
    return best[0], best[1], best[2], rounds, best[4]


@njit(cache=True, nogil=True)
def _settle(
    moments: Moments,
    used: NDArray[np.bool_],
    start: Floats,
    variance: float,
    priors: _Priors,
) -> _State:
    """Step from a start until no step promises anything."""
    p, yy = len(start), moments[4]
    gram, zty, bend = np.zeros((p, p)), np.zeros(p), np.zeros((p, p))
    w, nats = start.copy(), np.inf
    for taken in range(1, _ROUNDS + 1):
        linearise(moments, w, used, gram, zty, bend)
        goal = w.copy()
        regress(gram, zty, priors[0], priors[1], variance, goal)
        promised = _promise(gram, zty, variance, w, goal, priors)
        still = promised <= _STILL_NATS + _ROUNDING * yy / variance
        before, moved = nats, False
        if taken > _STRAIGHT and not still:
            curved, target = w.copy(), zty + np.dot(bend, w)
            regress(gram + bend, target, priors[0], priors[1], variance, curved)
            w, variance, nats, moved = _move(
                moments, w, curved, variance, nats, promised, 3, priors
            )
        if not moved:
            tries = 1 if still else _HALVINGS
            w, variance, nats, moved = _move(
                moments, w, goal, variance, nats, promised, tries, priors
            )
        if before < np.inf and (still or not moved):
            return nats, variance, w, taken, still
    return nats, variance, w, _ROUNDS, False


@njit(cache=True, nogil=True)
def _promise(
    gram: Floats, zty: Floats, variance: float, w: Floats, goal: Floats, priors: _Priors
) -> float:
    """How far the linearised model says that the objective falls from ``w`` to ``goal``."""
    precision, l1, _ = priors
    r, step = len(precision), goal - w
    bow = np.dot(gram, step)
    return (
        (np.dot(zty, step) - np.dot(bow, w) - np.dot(bow, step) / 2) / variance
        + np.sum(precision * (w[:r] ** 2 - goal[:r] ** 2)) / 2
        + l1 * np.sum(np.abs(w[r:]) - np.abs(goal[r:]))
    )


@njit(cache=True, nogil=True)
def _move(
    moments: Moments,
    w: Floats,
    goal: Floats,
    variance: float,
    nats: float,
    promised: float,
    tries: int,
    priors: _Priors,
) -> tuple[Floats, float, float, bool]:
    """Go towards ``goal`` as far as the objective falls by a share of what was promised."""
    share = 1.0
    for _ in range(tries):
        trial = w + share * (goal - w)
        sse = squared_error(moments, trial)
        guess = noise_variance(sse, moments[5], priors[2])
        value = _nats(guess, sse, moments[5], trial, priors)
        if value <= nats - _SLACK * share * promised:
            return trial, guess, value, True
        share /= 2
    return w, variance, nats, False


@njit(cache=True, nogil=True)
def _nats(variance: float, sse: float, count: int, w: Floats, priors: _Priors) -> float:
    """The objective: negative log posterior up to a constant."""
    precision, l1, sigma_scale = priors
    r = len(precision)
    fit = count * np.log(variance) + sse / variance + variance / sigma_scale**2
    return fit / 2 + np.sum(precision * w[:r] ** 2) / 2 + l1 * np.sum(np.abs(w[r:]))
