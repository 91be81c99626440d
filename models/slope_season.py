"""What a resource does for good reasons: lifetimes, and what follows load or the time of day.

Kernels over one series; ``models/slope_kernels.py`` judges what is left. Nothing here is used ahead
of its time: what is subtracted from a bin was learned from earlier ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["centred", "coarse_bins", "last_birth", "load_gain", "usual_by_bin"]

Ints = NDArray[np.int64]

_FALL_SHARE = 0.7  # a sample below this share of its neighbours is a fall
_RESTART_SHARE = 0.9  # a restart that gives back less was not the fullest pod's
_NEAR_LIMIT = 0.85  # a fall from above this share of the limit is an out-of-memory kill
_PROFILE_DAYS = 7
_MIN_PROFILE_DAYS = 3
_MIN_DIFFERENCES = 12


@njit(cache=True, nogil=True)
def _fell(x: Floats, i: int):
    """Whether the level around step i is lower than before it: counters and gauges may be a step
    or two apart."""
    before, after = -np.inf, np.inf
    for j in range(max(i - 4, 0), i):
        if np.isfinite(x[j]):
            before = max(before, x[j])
    for j in range(max(i - 2, 0), min(i + 3, len(x))):
        if np.isfinite(x[j]):
            after = min(after, x[j])
    return not after >= _RESTART_SHARE * before


@njit(cache=True, nogil=True)
def last_birth(
    x: Floats, limit: Floats, restarts: Floats, deploys: Floats, warm: int, births: Ints
):
    """First step of the lifetime that the last step belongs to; ``births`` (n_steps,) is filled
    with that of each step.

    A lifetime begins with the first sample, with a deploy, with a restart that gave something back
    (that of another pod than the fullest gives nothing), or with a fall that no garbage collection
    explains: from near the limit, or to below everything seen since the lifetime's warm-up.
    """
    birth, low, seen = 0, np.inf, False
    last_x, last_restarts, last_deploy = np.nan, np.nan, np.nan
    for i in range(len(x)):
        reset = np.isfinite(deploys[i]) and np.isfinite(last_deploy) and deploys[i] != last_deploy
        restarted = restarts[i] != last_restarts and np.isfinite(restarts[i] - last_restarts)
        reset |= restarted and _fell(x, i)
        fell = x[i] < _FALL_SHARE * last_x
        reset |= fell and (last_x > _NEAR_LIMIT * limit[i] or x[i] < 0.9 * low)
        reset |= not seen and np.isfinite(x[i])
        if reset:
            birth, low = i, np.inf
        births[i] = birth
        if np.isfinite(restarts[i]):
            last_restarts = restarts[i]
        if np.isfinite(deploys[i]):
            last_deploy = deploys[i]
        if np.isfinite(x[i]):
            last_x, seen = x[i], True
            if i >= birth + warm:
                low = min(low, x[i])
    return birth


@njit(cache=True, nogil=True)
def coarse_bins(x: Floats, load: Floats, width: int):
    """Lower envelope of the resource and mean load over bins of ``width`` steps; each (n_bins,)."""
    n = len(x) // width
    low, mean_load = np.full(n, np.nan), np.full(n, np.nan)
    for j in range(n):
        total, count = 0.0, 0
        for i in range(j * width, (j + 1) * width):
            if np.isfinite(x[i]) and not x[i] >= low[j]:
                low[j] = x[i]
            if np.isfinite(load[i]):
                total += load[i]
                count += 1
        if count:
            mean_load[j] = total / count
    return low, mean_load


@njit(cache=True, nogil=True)
def _huber_gain(dx: Floats, dl: Floats):
    """Slope of ``dx`` on ``dl`` with an intercept, reweighted (Huber 1964); never negative."""
    weight = np.ones(len(dx))
    gain = 0.0
    for _ in range(8):
        total = weight.sum()
        mean_l, mean_x = (weight * dl).sum() / total, (weight * dx).sum() / total
        spread = (weight * (dl - mean_l) ** 2).sum()
        if spread <= 1e-18 * total * (1.0 + mean_l * mean_l):
            return 0.0
        gain = (weight * (dl - mean_l) * (dx - mean_x)).sum() / spread
        residual = np.abs(dx - mean_x - gain * (dl - mean_l))
        scale = 1.4826 * np.median(residual)
        if scale <= 0.0:
            break
        weight = np.minimum(1.0, 1.345 * scale / np.maximum(residual, 1e-300))
    return max(gain, 0.0)


@njit(cache=True, nogil=True)
def load_gain(low: Floats, load: Floats, births: Ints, width: int, warm: int, lag: int, day: int):
    """Resource per unit of load, from a week of differences; NaN while unknown.

    Differences turn steady growth into the intercept, so that a leak during a morning's rise is not
    blamed on load.
    """
    last = len(low)
    first = max(last - _PROFILE_DAYS * day, 0)
    dx, dl = np.empty(last - first), np.empty(last - first)
    n = 0
    for j in range(first + lag, last):
        a, b = low[j] - low[j - lag], load[j] - load[j - lag]
        whole = births[(j + 1) * width - 1] + warm <= (j - lag) * width
        if whole and np.isfinite(a) and np.isfinite(b):
            dx[n], dl[n] = a, b
            n += 1
    if n >= _MIN_DIFFERENCES and 2 * n >= last - first - lag - day:
        return _huber_gain(dx[:n], dl[:n])
    return np.nan


@njit(cache=True, nogil=True)
def centred(bins: Floats, births: Ints, width: int, day: int):
    """Each bin minus the mean of the day around it; NaN where gap or restart break that."""
    half = day // 2
    out = np.full(len(bins), np.nan)
    total, count = np.zeros(len(bins) + 1), np.zeros(len(bins) + 1)
    for j in range(len(bins)):
        there = np.isfinite(bins[j])
        total[j + 1] = total[j] + (bins[j] if there else 0.0)
        count[j + 1] = count[j] + there
    for j in range(half, len(bins) - half):
        n = count[j + half] - count[j - half]
        if births[(j + half) * width - 1] <= (j - half) * width and n >= 1.5 * half:
            out[j] = bins[j] - (total[j + half] - total[j - half]) / n
    return out


@njit(cache=True, nogil=True)
def usual_by_bin(low_shape: Floats, load_shape: Floats, gain: float, day: int):
    """What is usual at each bin's time of day beyond load: median of the seven days before it; NaN
    with under three.

    Bin j - day is centred with bins up to j - day / 2: the past of bin j.
    """
    out = np.full(len(low_shape), np.nan)
    found = np.empty(_PROFILE_DAYS)
    for j in range(_MIN_PROFILE_DAYS * day, len(out)):
        n = 0
        for k in range(1, _PROFILE_DAYS + 1):
            i = j - k * day
            if i < 0:
                break
            value = low_shape[i] - (gain * load_shape[i] if gain > 0.0 else 0.0)
            if np.isfinite(value):
                found[n] = value
                n += 1
        if n >= _MIN_PROFILE_DAYS:
            out[j] = np.median(found[:n])
    return out
