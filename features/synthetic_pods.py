"""The pods of simulated workloads: the autoscaler behind the load, memory from start to kill.

Both are recursions over time, so they are compiled; rows are workloads.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["autoscale", "pod_memory"]


@njit(cache=True, nogil=True)
def autoscale(
    work: Floats,
    idle: Floats,
    request: Floats,
    target: Floats,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    lag: NDArray[np.int64],
    hold: int,
) -> tuple[Floats, Floats]:
    """A reactive HorizontalPodAutoscaler on CPU, as Kubernetes documents it.

    Replicas become ``ceil(usage / (request × target))`` outside a tolerance of 10 %, once the
    pods have started (``lag`` steps); downwards the highest wish of the last ``hold`` steps counts.
    A pod uses at most twice its request.

    Parameters
    ----------
    work
        Cores that the requests ask for, (n_workloads, n_steps).
    idle, request, target, low, high, lag
        Per workload, (n_workloads,): cores of an idle pod, cores a pod requests, utilisation
        wanted, fewest and most replicas, steps until new pods serve.

    Returns
    -------
    replicas, usage in cores: each (n_workloads, n_steps)
    """
    n, n_steps = work.shape
    replicas, usage = np.empty((n, n_steps)), np.empty((n, n_steps))
    wish = np.empty(n_steps)
    for i in range(n):
        full = request[i] * target[i]
        now = min(max(np.ceil(work[i, 0] / full), low[i]), high[i])
        for t in range(n_steps):
            seen = min(work[i, t] + idle[i] * now, 2 * request[i] * now)
            if lag[i] > 0:
                seen = usage[i, t - lag[i]] if t >= lag[i] else now * full
            wish[t] = now if abs(seen / (now * full) - 1) <= 0.1 else np.ceil(seen / full)
            held = wish[max(0, t - hold) : t + 1].max()
            now = wish[t] if wish[t] > now else min(now, held)
            now = min(max(now, low[i]), high[i])
            replicas[i, t] = now
            usage[i, t] = min(work[i, t] + idle[i] * now, 2 * request[i] * now)
    return replicas, usage


@njit(cache=True, nogil=True)
def pod_memory(
    load: Floats,
    starts: NDArray[np.bool_],
    leak: Floats,
    noise: Floats,
    base: Floats,
    load_part: Floats,
    sawtooth: Floats,
    sawtooth_steps: Floats,
    warm: Floats,
    warm_steps: float,
    limit: Floats,
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Resident memory of a workload's largest pod.

    A base that warms up after each start, a part that follows the load, garbage collected in a
    sawtooth, and a leak that only a start gives back. Reaching the limit kills the pod: that
    step shows the limit, the next one a fresh pod.

    Parameters
    ----------
    load
        Requests a pod relative to the usual peak, (n_workloads, n_steps).
    starts, leak, noise
        Steps with a new pod; share of the usually free memory that leaks in a step; relative noise.
    base, load_part, sawtooth, limit
        Bytes, (n_workloads,); ``sawtooth_steps`` between collections at usual load, ``warm`` the
        share of the base that is not there at a start, ``warm_steps`` its time constant.

    Returns
    -------
    rss bytes, killed, age of the pod in steps: each (n_workloads, n_steps)
    """
    n, n_steps = load.shape
    rss = np.empty((n, n_steps))
    killed = np.zeros((n, n_steps), dtype=np.bool_)
    age = np.empty((n, n_steps), dtype=np.int64)
    for i in range(n):
        free = limit[i] - base[i] - 0.5 * load_part[i] - 0.5 * sawtooth[i]
        lived, leaked, garbage, busy = 100_000, 0.0, 0.5, load[i, 0]
        for t in range(n_steps):
            if starts[i, t] or (t > 0 and killed[i, t - 1]):
                lived, leaked, garbage = 0, 0.0, 0.0
            busy += 0.4 * (load[i, t] - busy)
            garbage += (0.2 + busy) / sawtooth_steps[i]
            garbage -= np.floor(garbage)
            leaked += leak[i, t] * free
            cold = warm[i] * np.exp(-lived / warm_steps)
            steady = base[i] * (1 - cold) + load_part[i] * busy + sawtooth[i] * garbage
            rss[i, t] = steady * (1 + noise[i, t]) + leaked
            if rss[i, t] >= limit[i]:
                rss[i, t] = limit[i]
                killed[i, t] = True
            age[i, t] = lived
            lived += 1
    return rss, killed, age
