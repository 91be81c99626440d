"""Is it a leak? The windows of one series judged at each issue moment, compiled.

Every test gives a ratio that is 1 at its alert line; the least of them is the score.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.slope_season import centred, coarse_bins, find_births, load_gains, time_of_day
from models.slope_trend import (
    CAP,
    Z80,
    autocorrelation,
    hours_to,
    interval,
    lasting,
    sen_slope,
    spread_ratio,
    step_ratio,
)

__all__ = ["OUTPUTS", "judge_series"]

OUTPUTS = ("slope_per_h", "slope_per_h_lower", "slope_per_h_upper", "value",
           "time_to_limit_p10_h", "time_to_limit_p50_h", "time_to_limit_p90_h",
           "score", "limit")  # fmt: skip
Ints = NDArray[np.int64]
Series = tuple[Floats, Floats, Floats, Floats]
"""Resource and load by step, then by coarse bin: lower envelope and mean."""
Shapes = tuple[Floats, Floats]
"""Resource and load, each bin minus its day: what ``time_of_day`` reads."""
Window = tuple[Floats, Floats, Floats, Floats, bool]
"""Bin numbers, lower envelope, its adjusted form, heights, whether the time of day is known."""
Prior = tuple[Floats, Floats, float, int, int, int, float]
"""The arguments of ``_prior_high``: worked out only when the rest speaks for a leak."""


@njit(cache=True, nogil=True)
def _bins(
    x: Floats,
    load: Floats,
    end: int,
    span: int,
    n: int,
    gain: float,
    shapes: Shapes,
    width: int,
    day: int,
):
    """Window [end - span, end) in n bins.

    Bin numbers, lower envelope without its load part, the same without what is usual at the time
    of day (when known for every bin), heights of the bins, and whether it was known; empty bins
    are left out.
    """
    t, low, usual, height = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    m = 0
    for k in range(n):
        a, b = end - span + k * span // n, end - span + (k + 1) * span // n
        lowest, highest = np.inf, -np.inf
        for i in range(a, b):
            level = x[i] - gain * load[i] if gain > 0.0 else x[i]
            if np.isfinite(level):
                lowest, highest = min(lowest, level), max(highest, level)
        if lowest == np.inf:
            continue
        t[m], low[m], height[m] = k, lowest, highest - lowest
        usual[m] = time_of_day(shapes[0], shapes[1], gain, (a + b) // 2 // width, day)
        m += 1
    known = m > 0 and bool(np.isfinite(usual[:m]).all())
    adjusted = low[:m] - usual[:m] if known else low[:m]
    return t[:m], low[:m], adjusted, height[:m], known


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
def _prior_high(
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
def _season(load: Floats, gain: float, shapes: Shapes, j: int, day: int, known: bool):
    """What load and time of day will add: the last week again, or the last day at first."""
    out = np.zeros(7 * day if j >= 7 * day else day)
    usual = np.zeros(day)
    if known:
        for k in range(day):
            at = time_of_day(shapes[0], shapes[1], gain, j - day + k, day)
            usual[k] = at if np.isfinite(at) else 0.0
    held = 0.0
    for k in range(len(out)):
        i = j - len(out) + k
        if gain > 0.0 and i >= 0 and np.isfinite(load[i]):
            held = gain * load[i]
        out[k] = held + usual[k % day]
    return out


@njit(cache=True, nogil=True)
def _effect(
    slope: float, hours: float, value: float, gap: float, early: float, late: float, knobs: Floats
):
    """Does it matter? Near the limit in time, or growing for days: the better of two ratios.

    slope: what is surely there, per hour; early, late: what the halves may have been, against us.
    knobs: horizon_h, minimum_growth_share, sustained_h, significance_z, extrapolation, caution
    (the part of the halves' uncertainty that counts against a leak).
    """
    share = slope * hours / (knobs[1] * max(abs(value), 1e-300))
    horizon = min(knobs[0], knobs[4] * hours)
    reach = min(share, horizon * slope / max(gap, 1e-300))
    still = lasting(early, late, hours, gap)
    near = reach if still >= 1.0 else min(reach, still)
    if hours < 24.0:
        return near
    steady = late / (0.5 * early) if early > 0.0 else CAP
    long = share / max(hours / knobs[2], 1.0)
    return max(near, long if steady >= 1.0 else min(long, steady))


@njit(cache=True, nogil=True)
def _score(
    window: Window,
    prior: Prior,
    fit: tuple[float, float, float, float],
    rho: float,
    bin_h: float,
    value: float,
    gap: float,
    knobs: Floats,
):
    """The least of significance, effect and shape; shape can only take away."""
    t, low, adjusted, _, _ = window
    slope, lower, _, z = fit
    if not lower > 0.0:
        return 0.0
    half = len(t) // 2
    t0, y0, t1, y1 = t[:half], adjusted[:half], t[half:], adjusted[half:]
    early = interval(t0, y0, sen_slope(t0, y0), rho)
    late = interval(t1, y1, sen_slope(t1, y1), rho)
    first = (early[0] + knobs[5] * (early[2] - early[0])) / bin_h
    last = (late[0] - knobs[5] * (late[0] - late[1])) / bin_h
    hours = (t[-1] - t[0] + 1.0) * bin_h
    effect = _effect(lower / bin_h, hours, value, gap, first, last, knobs)
    score = min(z / knobs[3], effect, CAP)
    if score <= 0.0:
        return 0.0
    high = _prior_high(*prior)
    shape = min(
        step_ratio(t, adjusted),
        spread_ratio(adjusted, slope * len(t)) / 0.4,
        (np.median(low[-3:]) - high) / (0.3 * slope * len(t)),
    )
    return max(score if shape >= 1.0 else min(score, shape), 0.0)


@njit(cache=True, nogil=True)
def _judge(
    window: Window,
    season: Floats,
    prior: Prior,
    value: float,
    limit: float,
    bin_h: float,
    coarse_h: float,
    knobs: Floats,
):
    """One window: (slope, lower, upper per hour, p10, p50, p90 in hours, score)."""
    t, _, adjusted, height, _ = window
    sen = sen_slope(t, adjusted)
    rho = autocorrelation(t, adjusted, sen)
    fit = interval(t, adjusted, sen, rho)
    level = np.median(adjusted - fit[0] * t) + fit[0] * (t[-1] + 1.0)
    slope, lower, upper = fit[0] / bin_h, fit[1] / bin_h, fit[2] / bin_h
    usual, tall = np.median(height), np.quantile(height, 0.95)
    away = Z80 * np.std(adjusted - fit[0] * t)
    p10 = hours_to(level + away, upper, season, limit - tall, coarse_h)
    p50 = max(hours_to(level, slope, season, limit - usual, coarse_h), p10)
    p90 = max(hours_to(level - away, lower, season, limit - 0.5 * usual, coarse_h), p50)
    gap = limit - level - usual - season.max()
    score = _score(window, prior, fit, rho, bin_h, value, gap, knobs)
    return slope, lower, upper, p10, p50, p90, score


@njit(cache=True, nogil=True)
def _last_finite(values: Floats, end: int, reach: int):
    for i in range(end - 1, max(end - 1 - reach, -1), -1):
        if np.isfinite(values[i]):
            return values[i]
    return np.nan


@njit(cache=True, nogil=True)
def _best(
    series: Series,
    shapes: Shapes,
    load_gain: float,
    begin: int,
    end: int,
    value: float,
    limit: float,
    spans: Ints,
    steps: tuple[int, ...],
    points: int,
    step_h: float,
    knobs: Floats,
):
    """What ``_judge`` says of the window that says most; score -1 when none can be judged."""
    x, load, low, mean_load = series
    _, least, blind, _, width, _, day = steps
    best = (np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, -1.0)
    gain = load_gain if np.isfinite(load_gain) else 0.0
    for span in spans:
        cut = min(span, end - begin)
        if cut < least:
            break
        n = min(points, cut)
        window = _bins(x, load, end, cut, n, gain, shapes, width, day)
        explained = np.isfinite(load_gain) or window[4] or cut >= blind
        if len(window[0]) >= max(12, (2 * n) // 3) and explained:
            season = _season(mean_load, gain, shapes, end // width, day, window[4])
            healthy = 0.85 * limit - season.max()
            born, start = begin // width + 1, (end - cut) // width
            prior = (low, mean_load, gain, born, start, day, healthy)
            bin_h, coarse_h = cut * step_h / n, width * step_h
            found = _judge(window, season, prior, value, limit, bin_h, coarse_h, knobs)
            if found[6] >= best[6]:
                best = found
        if cut < span:
            break
    return best


@njit(cache=True, nogil=True)
def judge_series(
    x: Floats,
    limit: Floats,
    load: Floats,
    restarts: Floats,
    deploys: Floats,
    ends: Ints,
    spans: Ints,
    steps: tuple[int, ...],
    points: int,
    step_h: float,
    knobs: Floats,
):
    """Judge one series at every issue moment: (n_issues, len(OUTPUTS)), NaN where none could be.

    ends: steps known at each issue moment. spans: windows in steps, rising. steps: (warm, least,
    blind, stale, width, lag, day) in steps, the last two in coarse bins of ``width`` steps.
    knobs: see ``_effect``.
    """
    warm, least, _, stale, width, lag, day = steps
    births = find_births(x, limit, restarts, deploys, warm)
    low, mean_load = coarse_bins(x, load, width)
    gains = load_gains(low, mean_load, births, width, warm, lag, day)
    shapes = (centred(low, births, width, day), centred(mean_load, births, width, day))
    out = np.full((len(ends), len(OUTPUTS)), np.nan)
    for issue in range(len(ends)):
        end = min(ends[issue], len(x))
        if end < least:
            continue
        value, top = _last_finite(x, end, stale), _last_finite(limit, end, len(x))
        if not (np.isfinite(value) and top > 0.0):
            continue
        begin, gain = int(births[end - 1]) + warm, float(gains[end // width])
        series = (x, load, low, mean_load)
        best = _best(
            series, shapes, gain, begin, end, value, top, spans, steps, points, step_h, knobs
        )
        if best[6] >= 0.0:
            out[issue] = (*best[:3], value, *best[3:], top)
    return out
