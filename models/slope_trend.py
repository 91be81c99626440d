"""Trend, shape and time to the limit of one window, compiled.

Sources: Sen (1968) for the slope; Santer et al. (2000) for the error of a trend in an
autocorrelated series.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.panel import Floats

__all__ = [
    "CAP",
    "Z80",
    "autocorrelation",
    "hours_to",
    "interval",
    "lasting",
    "sen_slope",
    "sooner",
    "spread_ratio",
    "step_ratio",
]

Slope = tuple[float, float, float, float]
"""A slope, its P10 and P90, and its standard errors from 0: what ``interval`` gives."""
CAP = 10.0
"""No ratio says more than this."""
Z80 = 1.2816
"""P10 to P90 of a normal."""


@njit(cache=True, nogil=True)
def sen_slope(t: Floats, y: Floats):
    """Median slope of all pairs (Sen 1968)."""
    n, k = len(y), 0
    slopes = np.empty(n * (n - 1) // 2)
    for i in range(n):
        for j in range(i + 1, n):
            slopes[k] = (y[j] - y[i]) / (t[j] - t[i])
            k += 1
    return np.median(slopes)


@njit(cache=True, nogil=True)
def step_ratio(t: Floats, y: Floats):
    """Squared error of the best single step over that of a line: above 1, a line fits better."""
    n = len(y)
    centre = t - t.mean()
    level = y - y.mean()
    total = (level * level).sum()
    line = total - (centre * level).sum() ** 2 / (centre * centre).sum()
    best, left = total, 0.0
    for i in range(1, n):
        left += level[i - 1]
        best = min(best, total - left * left / i - left * left / (n - i))
    return (best + 1e-12 * total) / (line + 1e-12 * total) if total > 0.0 else 0.0


@njit(cache=True, nogil=True)
def spread_ratio(y: Floats, growth: float):
    """Growth of the median sixth of the window over an even share; near 0 for one or two steps."""
    lag = max(len(y) // 6, 1)
    return np.median(y[lag:] - y[:-lag]) * (len(y) - 1) / lag / growth


@njit(cache=True, nogil=True)
def interval(t: Floats, y: Floats, slope: float, rho: float):
    """Slope per bin, its P10 and P90, and how many standard errors it is from 0.

    Error and degrees of freedom are those of as many independent points as the autocorrelated
    ones are worth (Santer 2000).
    """
    n = len(y)
    rest = y - slope * t
    centre = t - t.mean()
    free = max(n * (1.0 - rho) / (1.0 + rho) - 2.0, 1.0)
    error = np.std(rest) * np.sqrt(
        (free + 2.0) / free * (1.0 + rho) / (1.0 - rho) / (centre * centre).sum()
    )
    wide = Z80 * (1.0 + 1.0 / free) * error
    return slope, slope - wide, slope + wide, slope / error if error > 0.0 else np.sign(slope) * 1e6


@njit(cache=True, nogil=True)
def autocorrelation(t: Floats, y: Floats, slope: float):
    """Lag-1 autocorrelation around the line, corrected for its bias when short, in [0, 0.9]."""
    n = len(y)
    rest = y - slope * t
    rest = rest - rest.mean()
    power = (rest * rest).sum()
    rho = (rest[1:] * rest[:-1]).sum() / power if power > 0.0 else 0.0
    return min(max((rho + 1.0 / n) / (1.0 - 4.0 / n), 0.0), 0.9)


@njit(cache=True, nogil=True)
def lasting(early: float, late: float, hours: float, gap: float):
    """Growth still to come if the slowing of the two halves goes on, over the gap to the limit."""
    if late <= 0.0:
        return 0.0
    if late >= early:
        return CAP
    tau = 0.5 * hours / np.log(early / late)
    return late * np.exp(-0.25 * hours / tau) * tau / max(gap, 1e-300)


@njit(cache=True, nogil=True)
def hours_to(level: float, slope: float, season: Floats, top: float, bin_h: float):
    """First hour at which level + growth + season reaches ``top``; inf when there is no growth."""
    if level >= top:
        return 0.0
    if slope <= 0.0:
        return np.inf
    for k in range(len(season)):
        if level + slope * k * bin_h + season[k] >= top:
            return k * bin_h
    straight = (top - level - season.max()) / slope
    return max(straight, len(season) * bin_h)


@njit(cache=True, nogil=True)
def sooner(hours: float, early: Slope, late: Slope, window_h: float):
    """The same moment if growth keeps accelerating as it did between the halves of the window.

    A gap that the present slope closes in T hours takes ln(1 + g T) / g when the slope grows by g
    an hour. Halves that agree within their errors leave it at T; at most threefold counts, since a
    leak that began in mid-window looks the same.
    """
    error = np.hypot(early[2] - early[0], late[2] - late[0])
    if not late[0] - early[0] > error or not late[0] > 0.0 or not np.isfinite(hours):
        return hours
    rate = np.log(late[0] / max(early[0], late[0] / 3.0)) / (0.5 * window_h)
    return np.log1p(rate * hours) / rate if rate > 0.0 else hours
