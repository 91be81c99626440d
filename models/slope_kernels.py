"""Is it a leak? The windows of each series judged at each issue moment, compiled.

Every test gives a ratio that is 1 at its alert line; the least of them is the score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.slope_season import centred, coarse_bins, last_birth, load_gain, usual_by_bin
from models.slope_trend import (
    CAP,
    Z80,
    Slope,
    autocorrelation,
    hours_to,
    interval,
    lasting,
    sen_slope,
    sooner,
    spread_ratio,
    step_ratio,
)
from models.slope_windows import busier, prior_high, season_ahead, usual_fall, window_bins

__all__ = ["OUTPUTS", "Knobs", "Steps", "judge_panel"]

OUTPUTS = ("slope_per_h", "slope_per_h_lower", "slope_per_h_upper", "value",
           "time_to_limit_p10_h", "time_to_limit_p50_h", "time_to_limit_p90_h",
           "score", "limit")  # fmt: skip
_SCORE = OUTPUTS.index("score")
_P50 = OUTPUTS.index("time_to_limit_p50_h")
_STEP = 0.75  # a step has a parameter more than a line: so much smaller must be its error (BIC)
_STEADY = 0.5  # far from the limit the second half must grow by so much of the first
_PASSES = 0.4  # least share of an even growth that the middle of the window must have
_NEW_HIGH = 0.5  # share of the growth by which it must pass what was before
_FALLS = 2.0  # growth over the falls that were usual before
_HEALTHY = 0.85  # of the limit: a lifetime that came closer may have died of the same leak
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Given = tuple[Floats, Floats, Floats, Floats, Floats]
"""Resource, limit, load, restarts, deploys of one series."""
Window = tuple[Floats, Floats, Floats, Floats, bool]
"""Bin numbers, lower envelope, its adjusted form, heights, whether the time of day is known."""
Past = tuple[Floats, Floats, float, Ints, int, int, float]
"""Coarse envelope and load, gain, births, begin and start in coarse bins, healthy level."""


class Steps(NamedTuple):
    """Durations in steps; lag and day in coarse bins of ``width`` steps."""

    warm: int
    warm_cached: int
    least: int
    blind: int
    stale: int
    width: int
    lag: int
    day: int
    lookback: int


class Knobs(NamedTuple):
    """``MemorySlopeParams`` as the kernels need them."""

    horizon_h: float
    growth_share: float
    sustained_h: float
    significance_z: float
    extrapolation: float
    caution: float
    model_error: float
    confirm_h: float
    notice_h: float
    patience: float
    confirm_at_most_h: float
    cache_share: float
    points: int
    step_h: float


@njit(cache=True, nogil=True)
def _effect(
    slope: float, hours: float, value: float, gap: float, early: float, late: float, knobs: Knobs
):
    """Does it matter? Near the limit in time, or growing for days: the better of two ratios.

    slope: what is surely there, per hour; early, late: what the halves may have been, against us.
    """
    share = slope * hours / (knobs.growth_share * max(abs(value), 1e-300))
    horizon = min(knobs.horizon_h, knobs.extrapolation * hours)
    reach = min(share, horizon * slope / max(gap, 1e-300))
    still = lasting(early, late, hours, gap)
    near = reach if still >= 1.0 else min(reach, still)
    if hours < 24.0:
        return near
    steady = late / (_STEADY * early) if early > 0.0 else CAP
    long = share / max(hours / knobs.sustained_h, 1.0)
    return max(near, long if steady >= 1.0 else min(long, steady))


@njit(cache=True, nogil=True)
def _shape(window: Window, past: Past, growth: float, day: int, width: int):
    """No step, no cycle, no refill, nothing that came and went before: the least of the ratios."""
    t, low, adjusted, _, _ = window
    envelope, load, gain, births, begin, start, healthy = past
    high = prior_high(envelope, load, gain, begin, start, day, healthy)
    found = min(
        step_ratio(t, adjusted) / _STEP,
        spread_ratio(adjusted, growth) / _PASSES,
        (np.median(low[-3:]) - high) / (_NEW_HIGH * growth),
    )
    lag = len(envelope) - start
    if 4 * lag >= day:  # shorter: the falls are those of every evening
        fall = usual_fall(envelope, load, gain, births, width, start, lag)
        if fall > 0.0:
            found = min(found, growth / (_FALLS * fall))
    return found


@njit(cache=True, nogil=True)
def _score(
    window: Window, past: Past, fit: Slope, early: Slope, late: Slope, caution: float,
    bin_h: float, value: float, gap: float, steps: Steps, knobs: Knobs,
):  # fmt: skip
    """The least of significance, effect and shape; shape can only take away."""
    t = window[0]
    slope, lower, _, z = fit
    if not lower > 0.0:
        return 0.0
    first = (early[0] + caution * (early[2] - early[0])) / bin_h
    last = (late[0] - caution * (late[0] - late[1])) / bin_h
    hours = (t[-1] - t[0] + 1.0) * bin_h
    effect = _effect(lower / bin_h, hours, value, gap, first, last, knobs)
    score = min(z / knobs.significance_z, effect, CAP)
    if score <= 0.0:
        return 0.0
    shape = _shape(window, past, slope * len(t), steps.day, steps.width)
    return max(score if shape >= 1.0 else min(score, shape), 0.0)


@njit(cache=True, nogil=True)
def _judge(
    window: Window, season: Floats, past: Past, ahead: float, value: float, limit: float,
    cached: bool, bin_h: float, steps: Steps, knobs: Knobs,
):  # fmt: skip
    """One window: (slope, lower, upper per hour, p10, p50, p90 in hours, score).

    The interval holds the window's slope with its error, the slope of its second half (growth may
    have begun or turned within), what more or less load would make of it, and ``model_error``.
    """
    t, _, adjusted, height, _ = window
    sen = sen_slope(t, adjusted)
    rho = autocorrelation(t, adjusted, sen)
    fit = interval(t, adjusted, sen, rho)
    half, third = len(t) // 2, -(len(t) // 3)
    t0, y0, t1, y1 = t[:half], adjusted[:half], t[half:], adjusted[half:]
    early = interval(t0, y0, sen_slope(t0, y0), rho)
    late = interval(t1, y1, sen_slope(t1, y1), rho)
    turned = abs(late[0] - sen) > 2.0 / Z80 * (late[2] - late[0])
    slope = late[0] if turned else sen
    lower = min(fit[1], late[0]) * min(ahead, 1.0) / (1.0 + knobs.model_error)
    upper = max(fit[2], late[0]) * max(ahead, 1.0) * (1.0 + knobs.model_error)
    rest = adjusted[third:] - slope * t[third:]
    level = np.median(rest) + slope * (t[-1] + 1.0)
    slope, lower, upper = slope / bin_h, lower / bin_h, upper / bin_h
    usual, tall, away = np.median(height), np.quantile(height, 0.95), Z80 * np.std(rest)
    coarse_h = steps.width * knobs.step_h
    p10 = hours_to(level + away, upper, season, limit - tall, coarse_h)
    p10 = sooner(p10, early, late, len(t) * bin_h)
    p50 = max(hours_to(level, slope, season, limit - 0.5 * usual, coarse_h), p10)
    spare = knobs.cache_share * value if cached else 0.0
    p90 = max(hours_to(level - away, lower, season, limit + spare, coarse_h), p50)
    gap = limit + spare - level - usual - season.max()
    caution = 1.0 if cached or 24.0 <= p50 <= knobs.horizon_h else knobs.caution  # no hurry there
    score = _score(window, past, fit, early, late, caution, bin_h, value, gap, steps, knobs)
    return slope, lower, upper, p10, p50, p90, score


@njit(cache=True, nogil=True)
def _last_finite(values: Floats, end: int, reach: int):
    for i in range(end - 1, max(end - 1 - reach, -1), -1):
        if np.isfinite(values[i]):
            return values[i]
    return np.nan


@njit(cache=True, nogil=True)
def _best(
    given: Given, births: Ints, begin: int, value: float, limit: float, cached: bool,
    spans: Ints, steps: Steps, knobs: Knobs,
):  # fmt: skip
    """What ``_judge`` says of the window that says most; score -1 when none can be judged."""
    x, load, end = given[0], given[2], len(given[0])
    best = (np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, -1.0)
    if end - begin < steps.least:
        return best
    day, width = steps.day, steps.width
    low, mean_load = coarse_bins(x, load, width)
    known_gain = load_gain(low, mean_load, births, width, steps.warm, steps.lag, day)
    gain = known_gain if np.isfinite(known_gain) else 0.0
    low_shape, load_shape = centred(low, births, width, day), centred(mean_load, births, width, day)
    usual = usual_by_bin(low_shape, load_shape, gain, day)
    seasons = season_ahead(mean_load, gain, usual, day)
    for span in spans:
        cut = min(span, end - begin)
        n = min(knobs.points, cut)
        window = window_bins(x, load, cut, n, gain, usual, width)
        explained = np.isfinite(known_gain) or window[4] or cut >= steps.blind
        if len(window[0]) >= max(12, (2 * n) // 3) and explained:
            season = seasons[1] if window[4] else seasons[0]
            # page cache may have filled all of it without harm
            healthy = np.inf if cached else _HEALTHY * limit - season.max()
            start = (end - cut) // width
            past = (low, mean_load, gain, births, begin // width + 1, start, healthy)
            ahead, bin_h = busier(mean_load, start, day), cut * knobs.step_h / n
            found = _judge(
                window, season, past, ahead, value, limit, cached, bin_h, steps, knobs
            )  # fmt: skip
            if found[6] >= best[6]:
                best = found
        if cut < span:
            break
    return best


@njit(cache=True, nogil=True)
def _judge_moment(
    given: Given, cached: bool, until: int, spans: Ints, steps: Steps, knobs: Knobs, out: Floats
):
    """The step before ``until`` judged by ``lookback`` steps: fills ``out``, NaN where it cannot.

    What is seen is cut in whole coarse bins back from ``until``: the same however much there is.
    """
    out[:] = np.nan
    since = until - (until - max(until - steps.lookback, 0)) // steps.width * steps.width
    if until - since < steps.least:
        return
    x, limit, load = given[0][since:until], given[1][since:until], given[2][since:until]
    restarts, deploys = given[3][since:until], given[4][since:until]
    value, newest = _last_finite(x, len(x), steps.stale), _last_finite(limit, len(x), len(x))
    if not np.isfinite(value):
        return
    top = newest if newest > 0.0 else np.inf
    births = np.zeros(len(x), np.int64)
    begin = last_birth(x, limit, restarts, deploys, steps.warm, births)
    begin += steps.warm_cached if cached else steps.warm
    part = (x, limit, load, restarts, deploys)
    best = _best(part, births, begin, value, top, cached, spans, steps, knobs)
    if best[6] >= 0.0:
        out[:3] = best[:3]
        out[3] = value
        out[4:8] = best[3:]
        out[8] = top if np.isfinite(top) else np.nan


@njit(cache=True, nogil=True)
def _judge_confirmed(
    given: Given, cached: bool, until: int, spans: Ints, steps: Steps, knobs: Knobs, out: Floats
):
    """The same; a leak must have been one for the time it can be waited for: of six earlier scores
    the second least counts. Beyond the horizon: three in half of it."""
    _judge_moment(given, cached, until, spans, steps, knobs, out)
    if not out[_SCORE] >= 1.0:
        return
    wait_h = knobs.confirm_h + knobs.patience * max(out[_P50] - knobs.notice_h, 0.0)
    near = out[_P50] <= knobs.horizon_h
    n, most_h = (6, knobs.confirm_at_most_h) if near else (3, 0.5 * knobs.confirm_at_most_h)
    earlier, before = np.zeros(n), np.empty(len(out))
    for k in range(n):
        then = until - max(round(min(wait_h, most_h) / knobs.step_h * (k + 1) / n), 1)
        _judge_moment(given, cached, then, spans, steps, knobs, before)
        if np.isfinite(before[_SCORE]):
            earlier[k] = before[_SCORE]
    out[_SCORE] = min(out[_SCORE], np.sort(earlier)[1])


@njit(cache=True, nogil=True)
def judge_panel(
    given: Given, cached: Bools, ends: Ints, spans: Ints, steps: Steps, knobs: Knobs
):  # fmt: skip
    """Judge every series at every issue moment: (n_series, n_issues, len(OUTPUTS)), NaN where none
    could be.

    given: resource, limit, load, restarts, deploys, each (n_series, n_steps). cached: series that
    hold page cache. ends: steps known at each issue moment. spans: windows in steps, rising.
    """
    x, limit, load, restarts, deploys = given
    out = np.empty((len(x), len(ends), len(OUTPUTS)))
    for row in range(len(x)):
        one = (x[row], limit[row], load[row], restarts[row], deploys[row])
        for issue in range(len(ends)):
            end = min(ends[issue], x.shape[1])
            _judge_confirmed(one, cached[row], end, spans, steps, knobs, out[row, issue])
    return out
