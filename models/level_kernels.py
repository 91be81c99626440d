"""The loops behind ``SeasonalLevel``: seasons brought to one level, and how high load is now."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["levelled_season"]

_LEAST_BINS = 6  # a level that rests on fewer is not trusted
_FACTOR = 5.0  # a level that moves further than this is an outage or a new workload
_WIDTHS = (1, 3, 7, 13, 25)  # steps that a profile may be averaged over


def levelled_season(
    values: Floats,
    template: Floats,
    lags: NDArray[np.int64],
    recent: int,
    bin_steps: int,
    damping: float,
) -> tuple[Floats, Floats]:
    """The coming season at the present level.

    Parameters
    ----------
    values : (n_series, n_steps)
        NaN is missing.
    template : (n_series, lags[0])
        What stands in for a time of the season at which no season has a value.
    lags
        Steps back to 1, 2, … seasons before: those that the shape is made of.
    recent
        Steps before the end that say how high load is now.
    bin_steps
        Steps that are added up before levels are compared: about an hour.
    damping
        Share of a change of level (of its logarithm) that is believed.

    Returns
    -------
    season : (n_series, lags[0])
        NaN where fewer than two seasons have values: there is no shape to tell from the height.
    level : (n_series,)
        Factor (or, where values are negative, shift) of the recent level against the profile.
    """
    return _levelled(np.ascontiguousarray(values), template, lags, recent, bin_steps, damping)


@njit(cache=True, nogil=True)
def _levelled(
    values: Floats,
    template: Floats,
    lags: NDArray[np.int64],
    recent: int,
    bin_steps: int,
    damping: float,
) -> tuple[Floats, Floats]:
    n = len(values)
    out, level = np.full(template.shape, np.nan), np.full(n, np.nan)
    week = np.empty((len(lags), template.shape[1]))
    for i in range(n):
        if _seasons(values[i], lags, week) > 1:
            level[i] = _coming(values[i], template[i], week, recent, bin_steps, damping, out[i])
    return out, level


@njit(cache=True, nogil=True)
def _coming(
    row: Floats,
    template: Floats,
    week: Floats,
    recent: int,
    bin_steps: int,
    damping: float,
    out: Floats,
) -> float:
    """One series' coming season into ``out``, from its last seasons; its level."""
    size = len(out)
    is_ratio = not np.any(row < 0)
    out[:] = _levelled_profile(week, bin_steps, is_ratio, damping)
    for s in range(size):
        if np.isnan(out[s]):
            out[s] = template[s]
    now = row[max(len(row) - recent, 0) :]
    usual = np.empty(len(now))
    for j in range(len(now)):
        usual[j] = out[(j - len(now)) % size]
    level = _level(now, usual, bin_steps, is_ratio, damping)
    for s in range(size):
        out[s] = out[s] * level if is_ratio else out[s] + level
    return level


@njit(cache=True, nogil=True)
def _levelled_profile(week: Floats, bin_steps: int, is_ratio: bool, damping: float) -> Floats:
    """The median season, all seasons brought to the newest one's level; averaged over neighbouring
    steps as widely as older seasons foresee the newest one best."""
    for k in range(1, len(week)):
        move = _level(week[0], week[k], bin_steps, is_ratio, damping)
        for s in range(week.shape[1]):
            week[k, s] = week[k, s] * move if is_ratio else week[k, s] + move
    profile = _profile(week, 0)
    if bin_steps > 1:
        return _smooth(profile, _best_width(_profile(week, 1), week[0], bin_steps))
    return profile


@njit(cache=True, nogil=True)
def _seasons(row: Floats, lags: NDArray[np.int64], week: Floats) -> int:
    """Lay the last seasons beside each other, the newest first; how many have any value."""
    steps, found = len(row), 0
    for k in range(len(week)):
        there = False
        for s in range(week.shape[1]):
            at = steps + s - lags[k]
            week[k, s] = row[at] if 0 <= at < steps else np.nan
            there = there or np.isfinite(week[k, s])
        found += there
    return found


@njit(cache=True, nogil=True)
def _level(now: Floats, usual: Floats, bin_steps: int, is_ratio: bool, damping: float) -> float:
    """The factor (or shift) that brings ``usual`` nearest to ``now`` in absolute error, damped.

    The factor that minimises Σ |now - f usual| is the median of the ratios weighed by ``usual``.
    """
    bins = len(now) // bin_steps + 1
    ratio, weight = np.empty(bins), np.empty(bins)
    count = 0
    for b in range(bins):
        have, base, number = 0.0, 0.0, 0
        for j in range(b * bin_steps, min((b + 1) * bin_steps, len(now))):
            if np.isfinite(now[j]) and np.isfinite(usual[j]):
                have += now[j]
                base += usual[j]
                number += 1
        if number == 0 or (is_ratio and base <= 0):
            continue
        ratio[count] = have / base if is_ratio else (have - base) / number
        weight[count] = base if is_ratio else float(number)
        count += 1
    if count < _LEAST_BINS:
        return 1.0 if is_ratio else 0.0
    order = np.argsort(ratio[:count])
    half, passed = weight[:count].sum() / 2, 0.0
    middle = ratio[order[count - 1]]
    for at in order:
        passed += weight[at]
        if passed >= half:
            middle = ratio[at]
            break
    if is_ratio:
        return float(min(max(middle, 1 / _FACTOR), _FACTOR) ** damping)
    return float(middle * damping)


@njit(cache=True, nogil=True)
def _profile(week: Floats, first: int) -> Floats:
    """Median over the seasons from ``first`` on, NaN where none has a value."""
    known, size = week.shape
    out, found = np.full(size, np.nan), np.empty(known)
    for s in range(size):
        n = 0
        for k in range(first, known):
            v = week[k, s]
            if np.isfinite(v):
                at = n
                while at > 0 and found[at - 1] > v:
                    found[at] = found[at - 1]
                    at -= 1
                found[at] = v
                n += 1
        if n:
            low, high = found[(n - 1) // 2], found[n // 2]
            out[s] = low + (high - low) / 2
    return out


@njit(cache=True, nogil=True)
def _best_width(profile: Floats, truth: Floats, most: int) -> int:
    """The averaging width at which older seasons say the newest one best."""
    best, best_error = 1, np.inf
    for width in _WIDTHS:
        if width > most + 1:
            break
        told = _smooth(profile, width)
        error = 0.0
        for s in range(len(truth)):
            if np.isfinite(truth[s]) and np.isfinite(told[s]):
                error += abs(truth[s] - told[s])
        if error < best_error:
            best, best_error = width, error
    return best


@njit(cache=True, nogil=True)
def _smooth(profile: Floats, width: int) -> Floats:
    """Centred moving average around the season, over what is there; NaN stays NaN."""
    size = len(profile)
    if width <= 1 or size < width:
        return profile.copy()
    half = width // 2
    out = np.full(size, np.nan)
    total, number = 0.0, 0
    for j in range(-half, half + 1):
        v = profile[j % size]
        if np.isfinite(v):
            total += v
            number += 1
    for s in range(size):
        if np.isfinite(profile[s]):
            out[s] = total / number
        old, new = profile[(s - half) % size], profile[(s + half + 1) % size]
        if np.isfinite(old):
            total -= old
            number -= 1
        if np.isfinite(new):
            total += new
            number += 1
    return out
