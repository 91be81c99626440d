"""The posterior mode of an ordinary series, where its values outweigh the normal priors by far.

All that the alternation of ``prophet_solver`` asks for is solved on one symmetric tableau: the
sweep operator (Goodnight, 1979) takes a column into the regression or out of it, at the cost of one
pass over the tableau, and leaves the inverse. The tableau is of ``ZᵀZ`` alone, so series with the
same grid share it; the normal priors are put right by iterative refinement.

That the mode is the only one follows from less than a walk from the most noise there can be. With
S(v) the squared error of the regression at variance v and R(v) its penalty, S / 2 + v R is least at
its own v: so S(v) ≤ S(v*) + 2 v (R(v*) - R(v)) above a mode v*. A mode there has S(v) for its
squared error, which bounds it; from that bound the alternation walks down to v*, or to another
mode. From below it starts at the noise of the regression without any penalty.

Whatever is not ordinary (columns that others span, next to no noise, a second mode) is refused and
left to ``prophet_solver``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["Tableau", "ordinary_mode", "tableau"]

Tableau = tuple[Floats, Floats, NDArray[np.bool_], bool]
"""``ZᵀZ`` swept by its ridge columns, (p, p), and by all; which columns it has, (p,); whether they
can be told apart."""

_Problem = tuple[Floats, Floats, float, int, Floats, float, float]  # as in ``posterior_mode``

_State = tuple[float, NDArray[np.bool_], Floats, Floats, Floats, Floats, Floats]
"""How far the equations may be off; which columns there are; the tableau; which it is swept by (1,
else 0); signs of the hinges inside; coefficients w; ``ZᵀZ w``."""

_STILL = 1e-10  # relative change of the variance; the objective moves by its square
_ROUNDING = 1e-15  # of the mean square: changes of the variance below it are not real
_APART = 1e-6  # two modes are two if their variances differ by more than this share
_MARGIN = 1e-9  # share by which the least noise is taken lower
_EXACT = 1e-13  # of the largest of Zᵀy: how far the normal equations may be off
_KNOWN = 1e-3  # of the penalty: how far they may be off at the most
_SPANNED = 1e-10  # a column that adds less than this share of its own square is not ordinary
_STEEP = 0.5  # no extrapolation from a slope above it
_ROUNDS, _STEPS = 40, 200


@njit(cache=True, nogil=True)
def tableau(gram: Floats, r: int) -> Tableau:
    """Of ``gram``, (p, p), with ``r`` ridge columns."""
    swept, has, apart = gram.copy(), np.zeros(len(gram), np.bool_), True
    for j in range(len(gram)):
        has[j] = gram[j, j] > 0.0
    every = swept
    for j in range(len(gram)):
        if j == r:
            every = swept.copy()
        apart = apart and (not has[j] or every[j, j] > _SPANNED * gram[j, j])
        if apart and has[j]:
            _sweep(every, j)
    return swept, every, has, apart


@njit(cache=True, nogil=True)
def _sweep(a: Floats, j: int) -> None:
    """Into the regression, or out of it: swept columns hold minus the inverse."""
    n, pivot = len(a), a[j, j]
    row = a[j].copy()
    for i in range(n):
        if i != j and row[i] != 0.0:
            factor = row[i] / pivot
            for k in range(n):
                a[i, k] -= factor * row[k]
            a[i, j] = row[i] / abs(pivot)
    for k in range(n):
        a[j, k] = row[k] / abs(pivot)
    a[j, j] = -1 / pivot


@njit(cache=True, nogil=True)
def ordinary_mode(problem: _Problem, of: Tableau, work: Floats, w: Floats) -> tuple[float, int]:
    """Variance, 0 if this is not an ordinary series, and rounds; coefficients into ``w``.

    ``work``: (p, p), overwritten.
    """
    _, zty, _, _, precision, l1, _ = problem
    swept, every, has, apart = of
    error = _EXACT * np.max(np.abs(zty))
    inside, fit = has.astype(np.float64), np.zeros(len(w))
    if not apart:
        return 0.0, 0
    _project(every, inside, zty, w)
    least = _least(problem, error, w)
    if error > _KNOWN * least * l1:
        return 0.0, 0
    work[:] = swept
    w[:] = 0.0
    inside[len(precision) :] = 0.0
    at = (error, has, work, inside, np.zeros(len(w)), w, fit)
    variance, sse, rounds = _climb(problem, least, at)
    best = w.copy()
    alone, more = _alone(problem, variance, sse, at) if variance > 0.0 else (False, 0)
    w[:] = best
    return variance if alone else 0.0, rounds + more


@njit(cache=True, nogil=True)
def _least(problem: _Problem, error: float, w: Floats) -> float:
    """A variance that no mode is below; ``w`` is the regression without any penalty."""
    gram, zty, yy, count, _, _, sigma_scale = problem
    fit = np.zeros(len(w))
    for j in range(len(w)):
        _add(fit, w[j], gram, j)
    noise = _noise(yy - 2 * np.dot(zty, w) + np.dot(w, fit), count, sigma_scale)
    return noise * (1 - _MARGIN) - error * error


@njit(cache=True, nogil=True)
def _climb(problem: _Problem, variance: float, at: _State) -> tuple[float, float, int]:
    """The lowest mode from there on, 0 if it is not found soon; its squared error; rounds.

    The last step is Aitken's, where that goes on by less than what tells two modes apart.
    """
    _, _, yy, count, _, _, sigma_scale = problem
    before, before_to = 0.0, 0.0
    for used in range(1, _ROUNDS + 1):
        sse = _regress(problem, variance, at)
        if sse <= 0.0:
            return 0.0, 0.0, used
        to = _noise(sse, count, sigma_scale)
        if abs(to - variance) <= _STILL * variance + _ROUNDING * yy / count:
            return to, sse, used
        ahead = 0.0
        if used > 1 and variance != before:
            slope = (to - before_to) / (variance - before)
            ahead = slope * (to - variance) / (1 - slope) if 0.0 <= slope < _STEEP else 0.0
        before, before_to = variance, to
        variance = to + ahead if abs(ahead) <= _APART / 2 * to else to
    return 0.0, 0.0, _ROUNDS


@njit(cache=True, nogil=True)
def _alone(problem: _Problem, low: float, sse: float, at: _State) -> tuple[bool, int]:
    """Whether there is no mode above this one; rounds."""
    _, _, yy, count, _, _, sigma_scale = problem
    penalty = _penalty(problem, at[5])
    high = min(_noise(sse, count - 2 * penalty, sigma_scale), _noise(yy, count, sigma_scale))
    for used in range(_ROUNDS):
        if high <= low * (1 + _APART):
            return True, used
        more = _regress(problem, high, at)
        less = 2 * (penalty - _penalty(problem, at[5]))
        to = min(_noise(more, count, sigma_scale), _noise(sse, count - less, sigma_scale))
        if more <= 0.0 or to >= high * (1 - _STILL):
            return False, used + 1
        high = to
    return False, _ROUNDS


@njit(cache=True, nogil=True)
def _noise(sse: float, count: float, sigma_scale: float) -> float:
    """As ``noise_variance``, for any real count."""
    return 2 * sse / (count + np.sqrt(count * count + 4 * sse / sigma_scale**2))


@njit(cache=True, nogil=True)
def _penalty(problem: _Problem, w: Floats) -> float:
    _, _, _, _, precision, l1, _ = problem
    total = 0.0
    for j in range(len(w)):
        total += precision[j] * w[j] ** 2 / 2 if j < len(precision) else l1 * abs(w[j])
    return total


@njit(cache=True, nogil=True)
def _regress(problem: _Problem, variance: float, at: _State) -> float:
    """Squared error of the best coefficients for this variance; 0 if it is not found soon.

    The signs that come in are tried first, then without those that turned, else with the column
    whose gradient breaks its bound most: what keeps all of its signs is the answer. Each step is
    one refinement of ``(ZᵀZ + variance P) w = Zᵀy - variance l1 sign``.
    """
    gram, zty, yy, _, precision, l1, _ = problem
    error, has, work, inside, sign, w, fit = at
    r, bound = len(precision), variance * l1 * (1 + 1e-10) + error
    left, step = np.empty(len(w)), np.empty(len(w))
    for _ in range(_STEPS):
        _leftover(problem, variance, sign, w, fit, left)
        _project(work, inside, left, step)
        for j in range(len(w)):
            if step[j] != 0.0:
                w[j] += step[j]
                _add(fit, step[j], gram, j)
        if _drop(gram, r, work, inside, sign, w, fit):
            continue
        enter = _worst(zty, r, bound, has, sign, fit)
        if enter >= 0:
            if work[enter, enter] <= _SPANNED * gram[enter, enter]:
                return 0.0
            sign[enter], inside[enter] = np.sign(zty[enter] - fit[enter]), 1.0
            _sweep(work, enter)
            continue
        _leftover(problem, variance, sign, w, fit, left)
        if np.max(np.abs(left * inside)) <= error:
            return yy - 2 * np.dot(zty, w) + np.dot(w, fit)
    return 0.0


@njit(cache=True, nogil=True)
def _drop(
    gram: Floats, r: int, work: Floats, inside: Floats, sign: Floats, w: Floats, fit: Floats
) -> bool:
    """Take out the coefficients whose sign has turned; whether there were any."""
    turned = False
    for j in range(r, len(w)):
        if sign[j] != 0.0 and w[j] * sign[j] <= 0.0:
            _add(fit, -w[j], gram, j)
            w[j], sign[j], inside[j], turned = 0.0, 0.0, 0.0, True
            _sweep(work, j)
    return turned


@njit(cache=True, nogil=True)
def _worst(
    zty: Floats, r: int, bound: float, has: NDArray[np.bool_], sign: Floats, fit: Floats
) -> int:
    """The column outside with the largest gradient beyond its bound; -1 if none is."""
    enter, worst = -1, bound
    for j in range(r, len(zty)):
        gradient = abs(zty[j] - fit[j])
        if sign[j] == 0.0 and gradient > worst and has[j]:
            enter, worst = j, gradient
    return enter


@njit(cache=True, nogil=True)
def _leftover(
    problem: _Problem, variance: float, sign: Floats, w: Floats, fit: Floats, left: Floats
) -> None:
    """What is left of the normal equations, into ``left``."""
    _, zty, _, _, precision, l1, _ = problem
    for j in range(len(w)):
        left[j] = zty[j] - fit[j] - variance * l1 * sign[j]
    for j in range(len(precision)):
        left[j] -= variance * precision[j] * w[j]


@njit(cache=True, nogil=True)
def _project(a: Floats, inside: Floats, b: Floats, out: Floats) -> None:
    """Solve on the columns inside (1, else 0), which ``a`` is swept by; 0 elsewhere."""
    out[:] = 0.0
    for i in range(len(b)):
        if inside[i] != 0.0:
            _add(out, -b[i], a, i)
    for k in range(len(b)):
        out[k] *= inside[k]


@njit(cache=True, nogil=True)
def _add(out: Floats, factor: float, a: Floats, i: int) -> None:
    """Add a row of ``a``; rows are not sliced, since views are counted."""
    for k in range(len(out)):
        out[k] += factor * a[i, k]
