"""The replayed HPA, tick by tick, compiled: `models.replay` says what it does and why."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints

__all__ = ["Rules", "run"]


class Rules(NamedTuple):
    """The controller's settings, in ticks."""

    tolerance: float
    scale_up_pods: int
    scale_up_share: float
    stabilisation_ticks: int
    interpolate: bool


@njit(cache=True, nogil=True)
def run(
    demand: Floats,
    floors: Ints,
    ticks: int,
    capacity: Floats,
    target: Floats,
    low: Ints,
    high: Ints,
    delay: Ints,
    rules: Rules,
) -> tuple[Floats, Floats, Floats]:
    """Every workload alone: measures (n, 5) in units × ticks, and sums of each step's ticks, (n,
    m).

    The measures: unserved, over target, demand (cores), replicas, pods short.
    """
    n, m = demand.shape
    sums, replicas, ready_pods = np.zeros((n, 5)), np.zeros((n, m)), np.zeros((n, m))
    for i in range(n):
        per_pod = capacity[i] * target[i]
        pods = _first(demand[i], per_pod, low[i], high[i])
        ready = pods
        starting = np.zeros(delay[i] + 1, np.int64)
        asked = np.zeros(max(rules.stabilisation_ticks, 1), np.int64)
        for t in range(m):
            for k in range(ticks):
                tick = t * ticks + k
                slot = tick % len(starting)
                ready += starting[slot]
                starting[slot] = 0
                d = _demand(demand[i], t, (k + 0.5) / ticks - 0.5, rules.interpolate)
                want = _decide(
                    d, pods, ready, floors[i, t], high[i], capacity[i], per_pod, asked, tick, rules
                )
                ready += _start_or_stop(starting, tick, pods, want)
                pods = want
                replicas[i, t] += pods
                ready_pods[i, t] += ready
                sums[i, 3] += pods
                if not np.isnan(d):
                    sums[i, 0] += max(0.0, d - ready * capacity[i])
                    sums[i, 1] += max(0.0, d - ready * per_pod)
                    sums[i, 2] += d
                    sums[i, 4] += max(0, _ceil(d / per_pod, high[i]) - ready)
    return sums, replicas, ready_pods


@njit(cache=True, nogil=True)
def _decide(
    d: float,
    pods: int,
    ready: int,
    floor: int,
    high: int,
    capacity: float,
    per_pod: float,
    asked: Ints,
    tick: int,
    rules: Rules,
) -> int:
    """Replicas after this sync. ``asked`` remembers recommendations; a move of the floor is
    none."""
    slot = tick % len(asked)
    asked[slot] = 0
    if pods > high:
        return high
    if pods < floor:
        return floor
    if np.isnan(d) or ready == 0:
        return pods
    wanted = _recommend(min(d, ready * capacity), pods, ready, per_pod, rules.tolerance)
    asked[slot] = wanted
    want = pods
    if wanted > pods:
        share = int(np.ceil(pods * rules.scale_up_share))
        want = min(wanted, pods + max(rules.scale_up_pods, share))
    elif wanted < pods:
        want = min(pods, asked.max() if rules.stabilisation_ticks else wanted)
    return min(max(want, floor), high)


@njit(cache=True, nogil=True)
def _recommend(usage: float, pods: int, ready: int, per_pod: float, tolerance: float) -> int:
    ratio = usage / (ready * per_pod)
    if ratio > 1 and ready < pods:
        # pods that start count as idle; they may stop a scale-up, and never turn it round
        ratio = usage / (pods * per_pod)
        if ratio < 1:
            return pods
    if abs(ratio - 1) <= tolerance:
        return pods
    return _ceil(usage / per_pod, 2**31 - 1)


@njit(cache=True, nogil=True)
def _start_or_stop(starting: Ints, tick: int, pods: int, want: int) -> int:
    """Put new pods on their way, or take pods away, the youngest first; the change in ready
    pods."""
    n = len(starting)
    if want >= pods:
        if n == 1:
            return want - pods
        starting[(tick + n - 1) % n] += want - pods
        return 0
    drop = pods - want
    for j in range(n - 1, 0, -1):
        slot = (tick + j) % n
        gone = min(drop, starting[slot])
        starting[slot] -= gone
        drop -= gone
        if drop == 0:
            break
    return -drop


@njit(cache=True, nogil=True)
def _demand(row: Floats, t: int, at: float, interpolate: bool) -> float:
    """Demand at a place in step t, -0.5 … 0.5 from its middle."""
    other = t + 1 if at > 0 else t - 1
    if not interpolate or other < 0 or other >= len(row) or np.isnan(row[other]):
        return row[t]
    return row[t] + (row[other] - row[t]) * abs(at)


@njit(cache=True, nogil=True)
def _first(row: Floats, per_pod: float, low: int, high: int) -> int:
    """Where a reactive HPA rests at the first demand that was seen: no policy starts with a
    lead."""
    for d in row:
        if not np.isnan(d):
            return min(max(_ceil(d / per_pod, high), low), high)
    return low


@njit(cache=True, nogil=True)
def _ceil(need: float, most: int) -> int:
    return int(min(np.ceil(need * (1 - 1e-12)), float(most)))
