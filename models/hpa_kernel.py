"""The replayed HPA and its pods, tick by tick, compiled: see `models.replayed_hpa`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import Ints
from models.hpa_decision import by_metrics, limited, pods_for, recommend, stabilised
from models.hpa_rules import Rules
from models.node_supply import Supply, supply

__all__ = ["Pods", "run"]


class Pods(NamedTuple):
    """Workloads, one a row; every field is (n,), times in ticks."""

    capacity: Floats
    target: Floats
    percent: Floats
    """The target in whole percent, where the HPA counts so; 0: it is exact."""
    low: Ints
    high: Ints
    start: Ints
    """From a place on a node to ready."""
    fresh: Ints
    """How long a ready pod has no usage yet that counts."""
    first: Ints
    """Pods at the start; below 0: what a reactive HPA rests at."""


@njit(cache=True, nogil=True)
def run(
    demand: Floats,
    floors: Ints,
    ticks: int,
    pods_of: Pods,
    rules: Rules,
    nodes_of: Supply,
    interpolate: bool,
) -> tuple[Floats, Floats, Floats]:
    """Every workload alone: measures (n, 6) in units × ticks, and sums of each step's ticks, (n,
    m).

    The measures: unserved, over target, demand (cores), replicas, pods short, nodes. ``floors`` may
    have several columns a step.
    """
    n, m = demand.shape
    sums, replicas, ready = np.zeros((n, 6)), np.zeros((n, m)), np.zeros((n, m))
    for i in range(n):
        told = (sums[i], replicas[i], ready[i])
        _workload(i, demand[i], floors[i], ticks, (pods_of, rules, nodes_of), interpolate, told)
    return sums, replicas, ready


@njit(cache=True, nogil=True)
def _workload(
    i: int,
    row: Floats,
    floors: Ints,
    ticks: int,
    of: tuple[Pods, Rules, Supply],
    interpolate: bool,
    told: tuple[Floats, Floats, Floats],
) -> None:
    """One workload; what every tick looks at is a plain number or a row: tuples are slow."""
    (pods_of, rules, nodes_of), (sums, replicas, ready_pods) = of, told
    finer = len(floors) // max(len(row), 1)
    capacity, percent, high = pods_of.capacity[i], pods_of.percent[i], pods_of.high[i]
    per_pod = capacity * pods_of.target[i]
    start, freshly, slots = pods_of.start[i], pods_of.fresh[i], nodes_of.slots[i]
    tolerance, select, policies = rules.tolerance[i], rules.select[i], rules.policies[i]
    launch, most = nodes_of.launch[i], nodes_of.most[i]
    spare, stays = nodes_of.room[i], nodes_of.hold[i]
    pods = _first(row, per_pod, pods_of.low[i], high, pods_of.first[i])
    ready, placed, coming = pods, pods, 0
    nodes = -(-pods // slots) if slots > 0 else 0
    begun, fresh, asked_up, asked_down, past = _rings(i, pods_of, rules, nodes_of, pods)
    arriving, needs = np.zeros(launch + 1, np.int64), np.zeros(max(nodes_of.after[i], 1), np.int64)
    t, k, slot, up, down = 0, -1, -1, -1, -1  # places in rings; a division each tick is dear
    for tick in range(len(row) * ticks):
        t, k = (t, k + 1) if k + 1 < ticks else (t + 1, 0)
        slot, up, down = _next(slot, begun), _next(up, asked_up), _next(down, asked_down)
        arrived, begun[slot] = begun[slot], 0
        ready += arrived
        seen = _seen(fresh, tick, arrived, ready) if freshly > 0 else ready
        d = _demand(row, t, (k + 0.5) / ticks - 0.5, interpolate)
        floor = floors[t * finer + (k * finer // ticks if finer > 1 else 0)]
        usage = d if np.isnan(d) else min(d, ready * capacity) * (seen / max(ready, 1))
        wanted = recommend(usage, pods, seen, per_pod, percent, tolerance)
        metrics = by_metrics(wanted, pods, floor, high)
        asked_up[up] = asked_down[down] = wanted if metrics else -1
        want = 0 if pods == 0 else min(max(pods, floor), high)
        if metrics:
            wanted = stabilised(wanted, pods, asked_up, asked_down)
            want = limited(wanted, pods, floor, high, past, tick, select, policies)
        past[tick % len(past) if len(past) > 1 else 0] = want
        if slots > 0:
            need = min(-(-(want + (spare[t] if len(spare) > 0 else 0)) // slots), most)
            stay = len(stays) > 0 and stays[t]
            nodes, coming = supply(nodes, coming, need, stay, tick, launch, arriving, needs)
        room = nodes * slots if slots > 0 else want
        ready += _placed(begun, slot, fresh, tick, pods, placed, want, room, start)
        placed, pods = min(want, room), want
        replicas[t] += pods
        ready_pods[t] += ready
        _measure(sums, d, pods, ready, nodes + coming, capacity, per_pod, high)


@njit(cache=True, nogil=True)
def _rings(
    i: int, pods_of: Pods, rules: Rules, nodes_of: Supply, pods: int
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """What a workload remembers: pods that start, that are young, recommendations, pods before."""
    start, window = pods_of.start[i], rules.window[i]
    longest = start + (nodes_of.pull[i] if start > 0 else 0)
    return (
        np.zeros(longest + 1, np.int64),
        np.zeros(max(pods_of.fresh[i], 1), np.int64),
        np.full(max(window[0], 1), -1, np.int64),
        np.full(max(window[1], 1), -1, np.int64),
        np.full(rules.longest[i], pods, np.int64),
    )


@njit(cache=True, nogil=True)
def _seen(fresh: Ints, tick: int, arrived: int, ready: int) -> int:
    """Ready pods whose usage counts: not those of the last few ticks."""
    fresh[tick % len(fresh)] = arrived
    return ready - int(fresh.sum())


@njit(cache=True, nogil=True)
def _measure(
    sums: Floats,
    d: float,
    pods: int,
    ready: int,
    nodes: int,
    capacity: float,
    per_pod: float,
    high: int,
) -> None:
    sums[3] += pods
    sums[5] += nodes
    if not np.isnan(d):
        sums[0] += max(0.0, d - ready * capacity)
        sums[1] += max(0.0, d - ready * per_pod)
        sums[2] += d
        sums[4] += max(0, pods_for(d / per_pod, high) - ready)


@njit(cache=True, nogil=True)
def _next(slot: int, ring: Ints) -> int:
    return slot + 1 if slot + 1 < len(ring) else 0


@njit(cache=True, nogil=True)
def _placed(
    begun: Ints,
    slot: int,
    fresh: Ints,
    tick: int,
    pods: int,
    placed: int,
    want: int,
    room: int,
    start: int,
) -> int:
    """Put pods that got a place on their way, or take pods away, the youngest first; the change in
    ready pods.
    """
    now, n = min(want, room), len(begun)
    if now == placed:
        return 0
    if now > placed:
        if start == 0:
            fresh[tick % len(fresh)] += now - placed
            return now - placed
        waited = min(max(pods - placed, 0), now - placed)  # the rest is new, on a node that stood
        begun[(slot + start) % n] += now - placed - waited
        begun[(slot + n - 1) % n] += waited
        return 0
    drop = placed - now
    for later in range(n - 1, 0, -1):
        gone = min(drop, begun[(slot + later) % n])
        begun[(slot + later) % n] -= gone
        drop -= gone
    left = drop
    for age in range(len(fresh)):
        gone = min(left, fresh[(tick - age) % len(fresh)])
        fresh[(tick - age) % len(fresh)] -= gone
        left -= gone
    return -drop


@njit(cache=True, nogil=True)
def _demand(row: Floats, t: int, at: float, interpolate: bool) -> float:
    """Demand at a place in step t, -0.5 … 0.5 from its middle."""
    other = t + 1 if at > 0 else t - 1
    if not interpolate or other < 0 or other >= len(row) or np.isnan(row[other]):
        return row[t]
    return row[t] + (row[other] - row[t]) * abs(at)


@njit(cache=True, nogil=True)
def _first(row: Floats, per_pod: float, low: int, high: int, given: int) -> int:
    """Where a reactive HPA rests at the first demand that was seen: no policy starts with a
    lead."""
    if given >= 0:
        return given
    for d in row:
        if not np.isnan(d):
            return min(max(pods_for(d / per_pod, high), low), high)
    return low
