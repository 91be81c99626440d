"""One decision of the Horizontal Pod Autoscaler, compiled: metrics, windows, policies, bounds.

Checked against Kubernetes' own controller (pkg/controller/podautoscaler, horizontal.go and
replica_calculator.go): the same decisions in the same order, with arrays for objects.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints
from models.hpa_rules import DISABLED, MIN, PERCENT

__all__ = ["by_metrics", "limited", "pods_for", "recommend", "stabilised"]


@njit(cache=True, nogil=True)
def by_metrics(wanted: int, pods: int, floor: int, high: int) -> bool:
    """Whether metrics are looked at in this sync: there are some, and no bound is broken.

    A target at zero replicas is disabled, whatever its floor says; below its floor or above its
    maximum the HPA jumps there, and policies, windows and recommendations have no part in it.
    """
    return wanted >= 0 and 0 < pods <= high and pods >= floor


@njit(cache=True, nogil=True)
def recommend(
    usage: float, pods: int, seen: int, per_pod: float, percent: float, tolerance: Floats
) -> int:
    """What the metrics ask for: within the tolerance of its direction nothing moves.

    Below 0 without any: usage is NaN, or no pod is ready that it could be of.
    """
    if np.isnan(usage) or seen == 0:
        return -1
    ratio = _ratio(usage / (seen * per_pod), percent)
    counted = seen
    if ratio > 1 and seen < pods:
        # pods that start count as idle; they may stop a scale-up, and never turn it round
        ratio, counted = _ratio(usage / (pods * per_pod), percent), pods
        if ratio < 1:
            return pods
    if 1.0 - tolerance[1] <= ratio <= 1.0 + tolerance[0]:
        return pods
    return pods_for(ratio * counted if percent > 0 else usage / per_pod, 2**31 - 1)


@njit(cache=True, nogil=True)
def _ratio(ratio: float, percent: float) -> float:
    """Usage beside its target; a utilisation is known in whole percent, rounded down."""
    return np.floor(ratio * percent * (1 + 1e-12)) / percent if percent > 0 else ratio


@njit(cache=True, nogil=True)
def stabilised(wanted: int, pods: int, asked_up: Ints, asked_down: Ints) -> int:
    """Up to the lowest, down to the highest recommendation of the direction's window.

    Each ring remembers a window of recommendations; a move of the floor is none (-1).
    """
    if wanted > pods:
        for old in asked_up:
            if 0 <= old < wanted:
                wanted = max(old, pods)
    elif wanted < pods:
        for old in asked_down:
            if old >= pods:
                return pods
            wanted = max(wanted, old)
    return wanted


@njit(cache=True, nogil=True)
def limited(
    wanted: int,
    pods: int,
    floor: int,
    high: int,
    past: Ints,
    tick: int,
    select: Ints,
    policies: Floats,
) -> int:
    """No faster than the direction's policies, within the bounds."""
    if wanted > pods:
        limit = _limit(pods, past, tick, select[0], policies[0], 1)
        return min(wanted, high, max(pods, limit))
    if wanted < pods:
        limit = _limit(pods, past, tick, select[1], policies[1], -1)
        return max(wanted, floor, min(pods, limit))
    return pods


@njit(cache=True, nogil=True)
def _limit(pods: int, past: Ints, tick: int, select: int, policies: Floats, way: int) -> int:
    """How far the policies of one way (1 up, -1 down) let it go.

    A policy starts at what was there a period ago: all that was added and taken since is undone.
    Right after a scale-up that is few, so nothing glides down then.
    """
    if select == DISABLED:
        return pods
    reach = -1
    for j in range(len(policies)):
        value, period = policies[j, 1], int(policies[j, 2])
        if period == 0:
            break
        begin = past[(tick - period) % len(past)]
        if policies[j, 0] != PERCENT:
            proposed = begin + way * value
        elif way > 0:
            proposed = np.ceil(begin * (1.0 + value / 100.0))
        else:
            proposed = np.floor(begin * (1.0 - value / 100.0))
        to = int(min(max(proposed, 0.0), 2.0**31 - 1))
        if reach < 0 or (to - reach) * way * (-1 if select == MIN else 1) > 0:
            reach = to
    return reach if reach >= 0 else pods


@njit(cache=True, nogil=True)
def pods_for(need: float, most: int) -> int:
    """Whole pods for a need in pods; a last binary digit asks for none."""
    return int(min(np.ceil(need * (1 - 1e-12)), float(most)))
