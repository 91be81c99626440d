"""What the band learns from the residuals of the training weeks, for all series at once.

Scale: 1.4826 × the median of |residual| (consistent for a normal distribution; Rousseeuw & Croux,
JASA 88, 1993), so that incidents in the training weeks do not widen the band. A series that is
mostly still and moves at times has no such scale: there half of what a normal distribution with the
same 95 % quantile would have is the least.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.selection import finite_into, nth, quantile

__all__ = [
    "HOURS",
    "alive",
    "hour_scales",
    "hours_of_week",
    "levels",
    "resolution",
    "share_present",
    "usual_gaps",
]

HOURS = 168

_NORMAL = 1.4826
_HIGH, _NORMAL_HIGH = 0.95, 1.96
_STILL = 0.5


def hours_of_week(panel: Panel) -> NDArray[np.intp]:
    """Hour of the UTC week of each step, (n_steps,): 0 is Monday 00:00–01:00."""
    ms = panel.times.astype("int64").to_numpy()
    return ((ms // 3_600_000 + 72) % HOURS).astype(np.intp)  # 1970-01-01 was a Thursday


def hour_scales(residual: Floats, hours: NDArray[np.intp], prior: float) -> Floats:
    """Robust standard deviation by hour of week, (n_series, 168); NaN where a series has no
    residual at all.

    Parameters
    ----------
    residual : (n_series, n_steps)
        NaN is left out.
    hours : (n_steps,)
        Hour of week of each step.
    prior
        Weight of the series' overall scale, in points of an hour of week. Neighbouring hours count
        half each.
    """
    order = np.argsort(hours, kind="stable")
    ends = np.cumsum(np.bincount(hours, minlength=HOURS))
    values = np.ascontiguousarray(residual)
    overall, power, count = _powers(values, order, ends)
    weight, total = np.zeros(power.shape), np.zeros(power.shape)
    for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        total += share * np.roll(power * count, shift, axis=1)
        weight += share * np.roll(count, shift, axis=1)
    trust = weight / (weight + max(prior, 1e-6))
    return np.sqrt(trust * total / np.maximum(weight, 1e-6) + (1 - trust) * overall[:, None] ** 2)


@njit(cache=True, nogil=True)
def _powers(
    residual: Floats, order: NDArray[np.intp], ends: NDArray[np.intp]
) -> tuple[Floats, Floats, Floats]:
    """Overall scale (n_series,), squared scale and number of points by hour (n_series, 168)."""
    n_series, n_steps = residual.shape
    overall = np.full(n_series, np.nan)
    power, count = np.zeros((n_series, len(ends))), np.zeros((n_series, len(ends)))
    size, spare = np.empty(n_steps), np.empty(n_steps)
    for i in range(n_series):
        n = finite_into(size, np.abs(residual[i]), 0)
        if not n:
            continue
        middle = quantile(size, spare, 0, n, 0.5)
        high = quantile(size, spare, 0, n, _HIGH)
        overall[i] = max(_NORMAL * middle, _STILL * high / _NORMAL_HIGH)
        first = 0
        for hour in range(len(ends)):
            m = 0
            for at in order[first : ends[hour]]:
                value = abs(residual[i, at])
                size[m] = value
                m += np.isfinite(value)
            first = ends[hour]
            if m:
                power[i, hour] = (_NORMAL * quantile(size, spare, 0, m, 0.5)) ** 2
                count[i, hour] = m
    return overall, power, count


@njit(cache=True, nogil=True)
def levels(values: Floats) -> Floats:
    """Median of |value| of each row without its NaN, (n_series,); NaN where a row has no value."""
    out = np.full(len(values), np.nan)
    size, spare = np.empty(values.shape[1]), np.empty(values.shape[1])
    for i in range(len(values)):
        n = finite_into(size, np.abs(values[i]), 0)
        if n:
            out[i] = nth(size, spare, 0, n, n // 2)
    return out


def resolution(values: Floats) -> Floats:
    """Smallest distance between two values of a series, (n_series,); 0 with fewer than three
    different values."""
    ordered = np.sort(values, axis=1)
    steps = np.diff(ordered, axis=1)
    noise = 1e-9 * np.fmax.reduce(np.abs(values), axis=1, initial=0.0)
    real = steps > noise[:, None]
    smallest = np.min(np.where(real, steps, np.inf), axis=1, initial=np.inf)
    return np.where(real.sum(axis=1) >= 2, smallest, 0.0)


def share_present(values: Floats, hours: NDArray[np.intp]) -> NDArray[np.float32]:
    """Share of the steps of each hour of week that have a sample, from the first one on, (n_series,
    168)."""
    there = ~np.isnan(values)
    begun = np.maximum.accumulate(there, axis=1)
    onehot = (hours[:, None] == np.arange(HOURS)).astype(np.float32)
    possible = begun.astype(np.float32) @ onehot
    return (there.astype(np.float32) @ onehot) / np.maximum(possible, 1.0)


@njit(cache=True, nogil=True)
def usual_gaps(
    values: Floats, due: NDArray[np.bool_], least: int, longest: int, events: Floats
) -> NDArray[np.int64]:
    """Samples in a row that may be absent where they are due before it is news, (n_series,).

    At least ``least``; more for a series that often has such gaps (errors of a workload that nobody
    asks at night): so many that training had at most ``events`` gaps as long, but ``longest`` at
    most. Gaps longer than that are outages, or were blanked, and teach nothing.
    """
    out = np.full(len(values), least)
    count = np.zeros(longest + 1, dtype=np.int64)
    for i in range(len(values)):
        count[:] = 0
        run, begun = 0, False
        for t in range(values.shape[1]):
            if np.isnan(values[i, t]):
                run += begun and due[i, t]
                continue
            if run <= longest:
                count[run] += 1
            run, begun = 0, True
        total, at = 0, longest
        while at > least and total + count[at - 1] <= events[i]:
            at -= 1
            total += count[at]
        out[i] = at
    return out


def alive(values: Floats, expected: Floats) -> NDArray[np.bool_]:
    """Whether a series is normally well above zero, (n_series,): at most one run of zeros, hardly
    ever near zero."""
    zero = values == 0.0
    runs = (zero[:, 1:] & ~zero[:, :-1]).sum(axis=1) + zero[:, :1].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(expected > 0, values / expected, np.nan)
    low = _low(ratio)
    return np.isfinite(low) & (runs <= 1) & (low > 0.1)


@njit(cache=True, nogil=True)
def _low(ratio: Floats) -> Floats:
    """The value that a hundredth of each row is below, (n_series,); NaN without any."""
    out = np.full(len(ratio), np.nan)
    row, spare = np.empty(ratio.shape[1]), np.empty(ratio.shape[1])
    for i in range(len(ratio)):
        n = finite_into(row, ratio[i], 0)
        if n:
            out[i] = nth(row, spare, 0, n, n // 100)
    return out
