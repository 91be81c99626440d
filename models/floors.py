"""Floors to compare with: of somebody who knows the demand, and of a one-line rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from features.panel import Floats
from models.hpa import hpa_replicas, rolling_max

__all__ = ["last_week_floors", "oracle_floors"]

_WEEK_S = 7 * 86400
_RULE_S = 1800


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
    known = np.concatenate([np.full((n, week), np.nan), history, demand], axis=1)
    begin = history.shape[1]
    largest = rolling_max(known, 0, ahead - 1)[:, begin : begin + m]
    return np.maximum(hpa_replicas(largest, _column(target_per_pod_cores, n)), 0.0)


def _column(values: ArrayLike, n: int) -> Floats:
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (n,))[:, None]
