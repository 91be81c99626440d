"""Is it a leak? Trend, shape and time to the limit of one window of one series, compiled.

Every test gives a ratio that is 1 at its alert line. Sources: Sen (1968) for the slope and its interval, Mann (1945) and
Kendall for the trend, Yue and Wang (2004) for the variance of autocorrelated series.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from models.slope_season import centred, coarse_bins, find_births, load_gains, time_of_day

__all__ = ["OUTPUTS", "judge_series"]

OUTPUTS = ("slope_per_h", "slope_per_h_lower", "slope_per_h_upper", "value",
           "time_to_limit_p10_h", "time_to_limit_p50_h", "time_to_limit_p90_h", "score", "limit")  # fmt: skip
_CAP = 10.0
_Z80 = 1.2816  # P10 to P90 of a normal


@njit(cache=True)
def _sen_slope(t, y):
    """Median slope of all pairs (Sen 1968)."""
    n, k = len(y), 0
    slopes = np.empty(n * (n - 1) // 2)
    for i in range(n):
        for j in range(i + 1, n):
            slopes[k] = (y[j] - y[i]) / (t[j] - t[i])
            k += 1
    return np.median(slopes)


@njit(cache=True)
def _step_ratio(t, y):
    """Squared error of the best single step over that of a line: above 1, a line describes growth better."""
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


@njit(cache=True)
def _spread_ratio(y, growth):
    """Growth of the median sixth of the window over an even share of it; near 0 for one or two steps."""
    lag = max(len(y) // 6, 1)
    return np.median(y[lag:] - y[:-lag]) * (len(y) - 1) / lag / growth


@njit(cache=True)
def _interval(t, y, slope, rho):
    """Slope per bin, its P10 and P90, and how many standard errors it is from 0.

    The error and the degrees of freedom are those of as many independent points as the autocorrelated ones are worth
    (Santer 2000).
    """
    n = len(y)
    rest = y - slope * t
    centre = t - t.mean()
    free = max(n * (1.0 - rho) / (1.0 + rho) - 2.0, 1.0)
    error = np.std(rest) * np.sqrt((free + 2.0) / free * (1.0 + rho) / (1.0 - rho) / (centre * centre).sum())
    wide = _Z80 * (1.0 + 1.0 / free) * error
    return slope, slope - wide, slope + wide, slope / error if error > 0.0 else np.sign(slope) * 1e6


@njit(cache=True)
def _memory(t, y, slope):
    """Lag-1 autocorrelation around the line, corrected for its bias in short series, in [0, 0.9]."""
    n = len(y)
    rest = y - slope * t
    rest = rest - rest.mean()
    power = (rest * rest).sum()
    rho = (rest[1:] * rest[:-1]).sum() / power if power > 0.0 else 0.0
    return min(max((rho + 1.0 / n) / (1.0 - 4.0 / n), 0.0), 0.9)


@njit(cache=True)
def _lasting(early, late, hours, gap):
    """Growth still to come if the slowing of the two halves goes on, over the gap to the limit."""
    if late <= 0.0:
        return 0.0
    if late >= early:
        return _CAP
    tau = 0.5 * hours / np.log(early / late)
    return late * np.exp(-0.25 * hours / tau) * tau / max(gap, 1e-300)


@njit(cache=True)
def _hours_to(level, slope, season, top, bin_h):
    """First hour at which level + growth + the last day's season reaches ``top``; inf when there is no growth."""
    if level >= top:
        return 0.0
    if slope <= 0.0:
        return np.inf
    for k in range(len(season)):
        if level + slope * k * bin_h + season[k] >= top:
            return k * bin_h
    straight = (top - level - season.max()) / slope
    return max(straight, len(season) * bin_h)


@njit(cache=True)
def _bins(x, load, end, span, n, gain, shapes, width, day):
    """Window [end - span, end) in n bins.

    Bin numbers, lower envelope without its load part, the same without what is usual at the time of day (when known
    for every bin), heights of the bins, and whether it was known; empty bins are left out.
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
    known = m > 0 and np.isfinite(usual[:m]).all()
    adjusted = low[:m] - usual[:m] if known else low[:m]
    return t[:m], low[:m], adjusted, height[:m], known


@njit(cache=True)
def _earlier_high(low, load, gain, first, last):
    """90 % quantile of the load-adjusted lower envelope in coarse bins [first, last); -inf with few."""
    found, n = np.empty(max(last - first, 0)), 0
    for j in range(max(first, 0), last):
        value = low[j] - (gain * load[j] if gain > 0.0 else 0.0)
        if np.isfinite(value):
            found[n] = value
            n += 1
    return np.quantile(found[:n], 0.9) if n >= 12 else -np.inf


@njit(cache=True)
def _prior_high(low, load, gain, begin, start, day, healthy):
    """The high that growth must pass to be no cycle and no refill: eight days, or this lifetime only.

    Earlier lifetimes count while their high was healthy: one that died of the same leak says nothing.
    """
    before = _earlier_high(low, load, gain, start - 8 * day, min(begin, start))
    within = _earlier_high(low, load, gain, max(begin, start - 8 * day), start)
    return max(before, within) if before < healthy else within


@njit(cache=True)
def _season(load, gain, shapes, j, day, known):
    """What load and time of day will add: the last week again, (7 * day,), or the last day while that is all there is."""
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


@njit(cache=True)
def _effect(slope, hours, value, gap, early, late, knobs):
    """Does it matter? Near the limit in time, or growing for days: the better of two ratios.

    slope: what is surely there, per hour; early, late: what the halves may have been, against us.
    knobs: horizon_h, minimum_growth_share, sustained_h, significance_z, extrapolation, caution.
    """
    share = slope * hours / (knobs[1] * max(abs(value), 1e-300))
    horizon = min(knobs[0], knobs[4] * hours)
    reach = min(share, horizon * slope / max(gap, 1e-300))
    lasting = _lasting(early, late, hours, gap)
    near = reach if lasting >= 1.0 else min(reach, lasting)
    if hours < 24.0:
        return near
    steady = late / (0.5 * early) if early > 0.0 else _CAP
    long = share / max(hours / knobs[2], 1.0)
    return max(near, long if steady >= 1.0 else min(long, steady))


@njit(cache=True)
def _score(window, prior, fit, rho, bin_h, value, gap, knobs):
    """The least of significance, effect and shape; shape can only take away."""
    t, low, adjusted, _, _ = window
    slope, lower, _, z = fit
    if not lower > 0.0:
        return 0.0
    half = len(t) // 2
    t0, y0, t1, y1 = t[:half], adjusted[:half], t[half:], adjusted[half:]
    early = _interval(t0, y0, _sen_slope(t0, y0), rho)
    late = _interval(t1, y1, _sen_slope(t1, y1), rho)
    e = (early[0] + knobs[5] * (early[2] - early[0])) / bin_h
    l = (late[0] - knobs[5] * (late[0] - late[1])) / bin_h
    hours = (t[-1] - t[0] + 1.0) * bin_h
    effect = _effect(lower / bin_h, hours, value, gap, e, l, knobs)
    score = min(z / knobs[3], effect, _CAP)
    if score <= 0.0:
        return 0.0
    high = _prior_high(*prior)
    shape = min(
        _step_ratio(t, adjusted),
        _spread_ratio(adjusted, slope * len(t)) / 0.4,
        (np.median(low[-3:]) - high) / (0.3 * slope * len(t)),
    )
    return max(score if shape >= 1.0 else min(score, shape), 0.0)


@njit(cache=True)
def _judge(window, season, prior, value, limit, bin_h, coarse_h, knobs):
    """One window: (slope, lower, upper per hour, p10, p50, p90 in hours, score)."""
    t, _, adjusted, height, _ = window
    sen = _sen_slope(t, adjusted)
    rho = _memory(t, adjusted, sen)
    fit = _interval(t, adjusted, sen, rho)
    level = np.median(adjusted - fit[0] * t) + fit[0] * (t[-1] + 1.0)
    slope, lower, upper = fit[0] / bin_h, fit[1] / bin_h, fit[2] / bin_h
    usual, tall = np.median(height), np.quantile(height, 0.95)
    away = _Z80 * np.std(adjusted - fit[0] * t)
    p10 = _hours_to(level + away, upper, season, limit - tall, coarse_h)
    p50 = max(_hours_to(level, slope, season, limit - usual, coarse_h), p10)
    p90 = max(_hours_to(level - away, lower, season, limit - 0.5 * usual, coarse_h), p50)
    gap = limit - level - usual - season.max()
    score = _score(window, prior, fit, rho, bin_h, value, gap, knobs)
    return slope, lower, upper, p10, p50, p90, score


@njit(cache=True)
def _last_finite(values, end, reach):
    for i in range(end - 1, max(end - 1 - reach, -1), -1):
        if np.isfinite(values[i]):
            return values[i]
    return np.nan


@njit(cache=True)
def judge_series(x, limit, load, restarts, deploys, ends, spans, steps, points, step_h, knobs):
    """Judge one series at every issue moment: (n_issues, len(OUTPUTS)), NaN where no window could be judged.

    ends: steps known at each issue moment. spans: windows in steps, rising. steps: (warm, least, blind, stale, width,
    lag, day) in steps, the last two in coarse bins of ``width`` steps.
    """
    warm, least, blind, stale, width, lag, day = steps
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
        j = min(end // width, len(low))
        gain = gains[j]
        known_load = np.isfinite(gain)
        gain = gain if known_load else 0.0
        begin = births[end - 1] + warm
        for span in spans:
            cut = min(span, end - begin)
            if cut < least:
                break
            n = min(points, cut)
            window = _bins(x, load, end, cut, n, gain, shapes, width, day)
            if len(window[0]) >= max(12, (2 * n) // 3) and (
                known_load or window[4] or cut >= blind
            ):
                season = _season(mean_load, gain, shapes, j, day, window[4])
                healthy = 0.85 * top - season.max()
                prior = (low, mean_load, gain, begin // width + 1, (end - cut) // width, day, healthy)
                found = _judge(
                    window, season, prior, value, top, cut * step_h / n, width * step_h, knobs
                )
                if not out[issue, 7] > found[6]:
                    out[issue, :3] = found[:3]
                    out[issue, 3] = value
                    out[issue, 4:7] = found[3:6]
                    out[issue, 7], out[issue, 8] = found[6], top
            if cut < span:
                break
    return out
