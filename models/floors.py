"""Floors to compare with: of somebody who knows the demand, of one-line rules, and of EC2."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from features.panel import Floats
from models.hpa import hpa_replicas, rolling_max
from models.measures import row_quantiles

__all__ = ["four_week_floors", "hourly_max_floors", "last_week_floors", "oracle_floors"]

_WEEK_S = 7 * 86400
_RULE_S = 1800
_PRELAUNCH_S = 300
"""EC2's default SchedulingBufferTime."""


def oracle_floors(
    demand: Floats, step_s: float, *, target_per_pod_cores: ArrayLike, pod_start_s: ArrayLike
) -> Floats:
    """Floors from the true demand, with the same lead time as everybody: (n, m) → (n, m)."""
    n, m = demand.shape
    need = hpa_replicas(demand, _column(target_per_pod_cores, n))
    lead = np.minimum(np.ceil(_column(pod_start_s, n)[:, 0] / step_s), m).astype(np.intp)
    out = np.empty_like(need)
    for ahead in np.unique(lead):
        # one step back: demand runs from the one step's mean to the other's
        out[lead == ahead] = rolling_max(need[lead == ahead], 1, int(ahead))
    return np.maximum(out, 0.0)


def last_week_floors(
    demand: Floats, history: Floats, step_s: float, *, target_per_pod_cores: ArrayLike
) -> Floats:
    """The one-line rule ``max_over_time(load[30m] offset 6d23h30m)`` as floors, (n, m).

    The floor at t carries what came in ``[t - 7 d, t - 7 d + 30 min)``. ``history``, (n, k), ends
    where ``demand``, (n, m), starts; what it does not reach gives no floor (0).

    Raises
    ------
    ValueError
        A step is so long that the rule would look past the present.
    """
    n, m = demand.shape
    ahead, week = int(np.ceil(_RULE_S / step_s)), round(_WEEK_S / step_s)
    if week < ahead:
        raise ValueError(f"last week's rule: step_s must be under a week, got {step_s!r}")
    past = history[:, -week:]
    unknown = np.full((n, week - past.shape[1]), np.nan)
    known = np.concatenate([unknown, past, demand], axis=1)[:, : m + ahead - 1]
    largest = rolling_max(known, 0, ahead - 1)[:, :m]
    return np.maximum(hpa_replicas(largest, _column(target_per_pod_cores, n)), 0.0)


def four_week_floors(
    demand: Floats, history: Floats, step_s: float, *, target_per_pod_cores: ArrayLike
) -> Floats:
    """The other rule of one line: the median of the four weeks before, and what it fell short of in
    one case of ten, (n, m).

    The floor at t carries the largest such median of ``[t, t + 30 min)`` plus the 90 % quantile of
    what the same four weeks were above their median. Where ``history``, (n, k), which ends where
    ``demand``, (n, m), starts, is shorter, the weeks there are count; none is no floor (0).
    """
    n, m = demand.shape
    ahead, week = int(np.ceil(_RULE_S / step_s)), max(round(_WEEK_S / step_s), 1)
    weeks = min(history.shape[1] // week, 4)
    if not weeks:
        return np.zeros((n, m))
    known = np.concatenate([history[:, -weeks * week :], demand], axis=1)
    past = known[:, : weeks * week].reshape(n, weeks, week)
    above = (past - _median(past)[:, None]).reshape(n, -1)
    spread = np.nan_to_num(row_quantiles(above, (0.9,))[0])
    same = np.stack([known[:, week * w : week * w + m] for w in range(weeks)], axis=1)
    largest = rolling_max(_median(same), 0, ahead - 1)
    need = hpa_replicas(largest + spread[:, None], _column(target_per_pod_cores, n))
    return np.nan_to_num(np.maximum(need, 0.0))


def hourly_max_floors(
    demand: Floats, history: Floats, step_s: float, *, target_per_pod_cores: ArrayLike
) -> Floats:
    """EC2's predictive scaling as floors, (n, k · m) with parts of 5 minutes where steps are
    longer.

    Source: Amazon EC2 Auto Scaling User Guide, "How predictive scaling works", and API reference,
    PredictiveScalingConfiguration: from up to 14 days of history a forecast for every hour of the
    next 48, capacity set at the start of each hour, 300 s earlier (SchedulingBufferTime); it never
    scales in. Its model is not published: here an hour's load is the mean, over the last two weeks,
    of the largest load in the same hour of the week, and of the same hour yesterday where neither
    is known. Hours are those of the demand's window, counted from its start.
    """
    n, m = demand.shape
    hour, day = max(round(3600 / step_s), 1), round(86400 / max(step_s, 3600))
    begin = history.shape[1] // hour
    n_hours = -(-m // hour)
    tail = np.full((n, n_hours * hour - m), np.nan)
    known = np.concatenate([history[:, history.shape[1] - begin * hour :], demand, tail], axis=1)
    blocks = known.reshape(n, begin + n_hours, hour)
    peak = np.where(np.isfinite(blocks), blocks, -np.inf).max(axis=2, initial=-np.inf)
    peak[np.isneginf(peak)] = np.nan
    told = [_before(peak, begin, n_hours, lag) for lag in (7 * day, 14 * day, day)]
    weekly = np.stack(told[:2])
    count = np.isfinite(weekly).sum(axis=0)
    usual = np.where(count, np.nansum(weekly, axis=0) / np.maximum(count, 1), told[2])
    need = np.nan_to_num(hpa_replicas(usual, _column(target_per_pod_cores, n)))
    parts = int(step_s // _PRELAUNCH_S) if step_s > _PRELAUNCH_S else 1
    early = int(np.ceil(_PRELAUNCH_S * parts / step_s))
    fine = np.repeat(need, hour * parts, axis=1)[:, : m * parts]
    return np.maximum(rolling_max(fine, 0, early), 0.0)


def _before(hourly: Floats, begin: int, n_hours: int, lag: int) -> Floats:
    """The same hours so many hours before, (n, n_hours); NaN where not known."""
    first = begin - lag
    gap = min(max(-first, 0), n_hours)
    out = np.full((len(hourly), n_hours), np.nan)
    out[:, gap:] = hourly[:, first + gap : first + n_hours]
    return out


def _median(weeks: Floats) -> Floats:
    """Median over axis 1 of at most four values, NaN left out."""
    ordered = np.sort(weeks, axis=1)
    count = np.isfinite(weeks).sum(axis=1)
    low, high = np.maximum(count - 1, 0) // 2, np.maximum(count, 1) // 2
    each = [np.take_along_axis(ordered, k[:, None], axis=1)[:, 0] for k in (low, high)]
    return np.where(count > 0, (each[0] + each[1]) / 2, np.nan)


def _column(values: ArrayLike, n: int) -> Floats:
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (n,))[:, None]
