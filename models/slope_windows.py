"""One window of a series: its bins, and what is known of before it and after it.

Kernels over one series; "coarse" bins are those in which load and time of day are learned, all of
them in the past of the moment that is judged.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["busier", "prior_high", "season_ahead", "usual_fall", "window_bins"]

Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def window_bins(x: Floats, load: Floats, span: int, n: int, gain: float, usual: Floats, width: int):
    """The last ``span`` steps in n bins.

    Bin numbers, lower envelope without its load part, the same without what is usual at the time
    of day (when known for every bin), heights of the bins, and whether it was known; empty bins
    are left out. usual: by coarse bin of ``width`` steps, (n_coarse,).
    """
    t, low, by_day, height = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    m, begin = 0, len(x) - span
    for k in range(n):
        a, b = begin + k * span // n, begin + (k + 1) * span // n
        lowest, highest = np.inf, -np.inf
        for i in range(a, b):
            level = x[i] - gain * load[i] if gain > 0.0 else x[i]
            if np.isfinite(level):
                lowest, highest = min(lowest, level), max(highest, level)
        if lowest == np.inf:
            continue
        t[m], low[m], height[m] = k, lowest, highest - lowest
        by_day[m] = usual[(a + b) // 2 // width]
        m += 1
    known = m > 0 and bool(np.isfinite(by_day[:m]).all())
    adjusted = low[:m] - by_day[:m] if known else low[:m]
    return t[:m], low[:m], adjusted, height[:m], known


@njit(cache=True, nogil=True)
def season_ahead(load: Floats, gain: float, usual: Floats, day: int):
    """What load and time of day will add, by coarse bin: the last week again, or the last day at
    first. Both with and without the time of day: (2, n_ahead).
    """
    j = len(load)
    out = np.zeros((2, 7 * day if j >= 7 * day else day))
    held = 0.0
    for k in range(out.shape[1]):
        i = j - out.shape[1] + k
        if gain > 0.0 and i >= 0 and np.isfinite(load[i]):
            held = gain * load[i]
        same_time = j - day + k % day
        out[0, k] = out[1, k] = held
        if same_time >= 0 and np.isfinite(usual[same_time]):
            out[1, k] += usual[same_time]
    return out


@njit(cache=True, nogil=True)
def _earlier_high(low: Floats, load: Floats, gain: float, first: int, last: int):
    """90 % quantile of the load-adjusted envelope in coarse bins [first, last); -inf with few."""
    found, n = np.empty(max(last - first, 0)), 0
    for j in range(max(first, 0), last):
        value = low[j] - (gain * load[j] if gain > 0.0 else 0.0)
        if np.isfinite(value):
            found[n] = value
            n += 1
    return np.quantile(found[:n], 0.9) if n >= 12 else -np.inf


@njit(cache=True, nogil=True)
def prior_high(
    low: Floats, load: Floats, gain: float, begin: int, start: int, day: int, healthy: float
):
    """The high that growth must pass to be no cycle and no refill: eight days, or this lifetime
    only.

    Earlier lifetimes count while their high was healthy: one that died of the same leak says
    nothing.
    """
    before = _earlier_high(low, load, gain, start - 8 * day, min(begin, start))
    within = _earlier_high(low, load, gain, max(begin, start - 8 * day), start)
    return max(before, within) if before < healthy else within


@njit(cache=True, nogil=True)
def usual_fall(
    low: Floats, load: Floats, gain: float, births: Ints, width: int, start: int, lag: int
):
    """How far the load-adjusted envelope used to fall over ``lag`` coarse bins before ``start``:
    its 90 % quantile; scaled up from shorter lags, as a walk's, where the past is short.
    """
    reach = min(lag, start // 2)
    if reach < 4:
        return 0.0
    found, n = np.empty(start), 0
    for j in range(reach, start):
        if births[(j + 1) * width - 1] > (j - reach) * width:
            continue
        fall = low[j - reach] - low[j]
        if gain > 0.0:
            fall -= gain * (load[j - reach] - load[j])
        if np.isfinite(fall):
            found[n] = max(fall, 0.0)
            n += 1
    return np.quantile(found[:n], 0.9) * np.sqrt(lag / reach) if n >= 12 else 0.0


@njit(cache=True, nogil=True)
def busier(load: Floats, start: int, day: int):
    """Load of the last day over that of the window: growth may be as fast as the work is done."""
    now, usual, n, m = 0.0, 0.0, 0, 0
    for j in range(max(min(start, len(load) - day), 0), len(load)):
        if np.isfinite(load[j]):
            if j >= start:
                now += load[j]
                n += 1
            usual += load[j]
            m += 1
    if n == 0 or now <= 0.0 or usual <= 0.0:
        return 1.0
    return min(max((usual / m) / (now / n), 0.2), 5.0)
