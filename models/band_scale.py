"""What the band learns from the residuals of the training weeks, for all series at once.

Scale: 1.4826 × the median of |residual| (consistent for a normal distribution; Rousseeuw & Croux,
JASA 88, 1993), so that incidents in the training weeks do not widen the band.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.panel import Floats, Panel

__all__ = [
    "HOURS",
    "alive",
    "hour_scales",
    "hours_of_week",
    "resolution",
    "row_medians",
    "share_present",
]

HOURS = 168

_NORMAL = 1.4826


def hours_of_week(panel: Panel) -> NDArray[np.intp]:
    """Hour of the UTC week of each step, (n_steps,): 0 is Monday 00:00–01:00."""
    ms = panel.times.astype("int64").to_numpy()
    return ((ms // 3_600_000 + 72) % HOURS).astype(np.intp)  # 1970-01-01 was a Thursday


def hour_scales(size: Floats, hours: NDArray[np.intp], prior: float) -> Floats:
    """Robust standard deviation by hour of week, (n_series, 168); NaN where a series has no
    residual at all.

    Parameters
    ----------
    size : (n_series, n_steps)
        |residual|; NaN is left out.
    hours : (n_steps,)
        Hour of week of each step.
    prior
        Weight of the series' overall scale, in points of an hour of week. Neighbouring hours count
        half each.
    """
    overall = _NORMAL * row_medians(size)
    middle, count = _medians_by_hour(size, hours)
    power = np.where(count > 0, (_NORMAL * middle) ** 2, 0.0)
    weight, total = np.zeros(power.shape), np.zeros(power.shape)
    for shift, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        total += share * np.roll(power * count, shift, axis=1)
        weight += share * np.roll(count, shift, axis=1)
    trust = weight / (weight + max(prior, 1e-6))
    return np.sqrt(trust * total / np.maximum(weight, 1e-6) + (1 - trust) * overall[:, None] ** 2)


def row_medians(values: Floats) -> Floats:
    """Median of each row without its NaN, (n_series,); NaN where a row has no value."""
    return _sorted_medians(np.sort(values, axis=1))[0]


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


def alive(values: Floats, expected: Floats) -> NDArray[np.bool_]:
    """Whether a series is normally well above zero, (n_series,): at most one run of zeros, hardly
    ever near zero."""
    zero = values == 0.0
    runs = (zero[:, 1:] & ~zero[:, :-1]).sum(axis=1) + zero[:, :1].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.sort(np.where(expected > 0, values / expected, np.nan), axis=1)
    known = np.isfinite(ratio).sum(axis=1)
    if not ratio.shape[1]:
        return np.zeros(len(values), dtype=bool)
    low = np.take_along_axis(ratio, (known // 100)[:, None], axis=1)[:, 0]
    return (known > 0) & (runs <= 1) & (low > 0.1)


def _medians_by_hour(size: Floats, hours: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp]]:
    """Median and number of values by hour of week, both (n_series, 168)."""
    order = np.argsort(hours, kind="stable")
    per_hour = np.bincount(hours, minlength=HOURS)
    place = np.arange(len(hours)) - np.repeat(np.cumsum(per_hour) - per_hour, per_hour)
    padded = np.full((len(size), HOURS, max(int(per_hour.max()), 1)), np.nan)
    padded[:, hours[order], place] = size[:, order]
    padded.sort(axis=2)
    return _sorted_medians(padded)


def _sorted_medians(ordered: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Median and number of values along the last axis, which is sorted with NaN last."""
    count = (~np.isnan(ordered)).sum(axis=-1)
    if not ordered.shape[-1]:
        return np.full(count.shape, np.nan), count
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[..., None] // 2, axis=-1)[..., 0]
    high = np.take_along_axis(
        ordered, np.minimum(count // 2, ordered.shape[-1] - 1)[..., None], axis=-1
    )[..., 0]
    return np.where(count > 0, low + 0.5 * (high - low), np.nan), count
