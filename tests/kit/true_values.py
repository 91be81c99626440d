"""What the catalogs must make of the made-up cluster: for each metric the workloads that have it
and their value in every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from exporters import STEPS
from true_cluster import (
    CADVISOR_COUNTERS,
    CADVISOR_GAUGES,
    CHURN,
    CONNECTIONS,
    CONTAINERS,
    DEPLOYED,
    HPA,
    NETWORK,
    NOBODYS,
    NODES,
    OBJECTS,
    PERIODS_PER_S,
    PODS,
    POOLS,
    REPLICAS,
    RESOURCES,
    VOLUMES,
    WORKLOADS,
    Pod,
    level,
)  # fmt: skip

Workload = tuple[str, str, str]
"""Namespace, kind, name."""
Truth = dict[Workload, np.ndarray]
"""Values (STEPS,); NaN where there is none."""

ALL = np.arange(STEPS)
WHOLE = sum(CONTAINERS.values())
CLUSTER = ("_cluster", "Cluster", "all")
CHECKOUT, DB = ("shop", "Deployment", "checkout"), ("shop", "StatefulSet", "db")
WEB, CANARY = ("pay", "Deployment", "web"), ("pay", "Deployment", "web-canary")
ESTIMATED = {CHECKOUT, DB}
"""Whose rates are an estimate in the step in which their pods change."""
RATES = {
    "requests_per_second", "cpu_usage_cores", "cpu_throttled_ratio", "error_ratio", *NETWORK,
    "latency_p50_seconds", "latency_p99_seconds",
}  # fmt: skip


def truth(catalog: str, metric: str) -> Truth:
    """Raises KeyError where nobody has said what is true."""
    special = {"istio": ISTIO, "nginx-ingress": NGINX}.get(catalog, {})
    return (PROMETHEUS | special)[metric]()


def pods(
    mine: Workload, step: int, *, during: bool = False, phases: Iterable[str] = ("Running",)
) -> list[Pod]:
    """A workload's pods at the end of a step, or that lived in it; each name once."""
    there = {
        p.name: p
        for p in PODS
        if p.mine == mine
        and p.phase in phases
        and (p.life.within(step) if during else p.life.at(step))
    }
    return list(there.values())


def over_pods(
    how: Callable[[list[float]], float],
    of: Callable[[Pod, int], float],
    *,
    without: Iterable[Workload] = (),
    **which: object,
) -> Truth:
    values: Truth = {}
    for mine in WORKLOADS:
        if mine not in without:
            found = [[of(p, k) for p in pods(mine, k, **which)] for k in ALL]
            values[mine] = np.array([how(f) if f else np.nan for f in found])
    return values


def gauge(base: float) -> Truth:
    return over_pods(max, lambda p, k: WHOLE * float(level(base, p.factor)(k)), during=True)


def summed(base: float, share: float = WHOLE, **which: object) -> Truth:
    return over_pods(sum, lambda p, k: share * float(level(base, p.factor)(k)), **which)


def limit(base: float) -> Truth:
    return over_pods(max, lambda *_: len(CONTAINERS) * base, without=[WEB])


def requested(which: str, metric: str) -> Truth:
    how = {"limit": max, "request": max}[which] if metric.startswith("memory") else sum
    base = RESOURCES[metric][3]
    phases = ("Running", "Pending")
    return over_pods(how, lambda p, k: WHOLE * float(level(base, p.factor)(k)), phases=phases)


def served(of: Callable[[int, Workload], float], whose: Iterable[Workload]) -> Truth:
    return {mine: np.array([of(k, mine) for k in ALL]) for mine in whose}


def steady(value: float, whose: Iterable[Workload]) -> Truth:
    return served(lambda *_: value, whose)


SERVING = (CHECKOUT, WEB, CANARY)


def rate(k: int, mine: Workload) -> float:
    factor = sum(p.factor for p in pods(mine, k))
    return factor * (float(level(10.0)(k)) + errors(mine))


def errors(mine: Workload) -> float:
    """Of a pod, a second."""
    return 0.0 if mine == CANARY else 0.5


def error_ratio(k: int, mine: Workload) -> float:
    return errors(mine) / (float(level(10.0)(k)) + errors(mine))


def throttled() -> Truth:
    each = CADVISOR_COUNTERS["throttled"][1] / PERIODS_PER_S
    return over_pods(max, lambda _, k: each * float(level(1.0)(k)))


def flag(of: Callable[[Pod, int], float], *phases: str) -> Truth:
    return over_pods(sum, of, phases=phases or ("Running",))


def replicas(metric: str) -> Truth:
    values: Truth = {}
    for namespace, kind, name in WORKLOADS:
        if kind in OBJECTS:
            values[namespace, kind, name] = level(REPLICAS[metric], len(name))(ALL)
    if metric == "unavailable_replicas":
        missing = REPLICAS["desired_replicas"] - REPLICAS["available_replicas"]
        values[DB] = level(missing, len("db"))(ALL)
    return values


def started() -> Truth:
    def ninth_decile(found: list[float]) -> float:
        return float(np.quantile(found, 0.9))

    return over_pods(ninth_decile, lambda p, _: 40.0 * p.factor)


def deployed() -> Truth:
    after = ALL >= CHURN
    return {
        CHECKOUT: np.where(after, DEPLOYED["9f6c2"], DEPLOYED["7d4b8"]),
        WEB: np.full(STEPS, DEPLOYED["5c"]),
        CANARY: np.full(STEPS, DEPLOYED["6d"]),
        ("shop", "ReplicaSet", "lone"): np.full(STEPS, 1.76e9),
    }


def of_nodes(of: Callable[[int, int], float], whole: Callable[[int], float] | None = None) -> Truth:
    """``of``: node's number, step → value; ``whole``: the cluster's, if it is not their sum."""

    def total(pool: str | None, k: int) -> float:
        there = enumerate(NODES.values(), 1)
        return sum(of(n, k) for n, (of_pool, life) in there
                   if life.at(k) and pool in {None, of_pool})  # fmt: skip

    values = {pool_of(p): np.array([total(p, k) for k in ALL]) for p in POOLS}
    return values | {CLUSTER: np.array([whole(k) if whole else total(None, k) for k in ALL])}


def pool_of(name: str) -> Workload:
    return "_cluster", "NodePool", name


def asked_of_the_cluster(metric: str) -> Callable[[int], float]:
    base = RESOURCES[metric][3]

    def at(k: int) -> float:
        there = {p.name: p for p in (*PODS, *NOBODYS) if p.phase == "Running" and p.life.at(k)}
        return sum(WHOLE * float(level(base, p.factor)(k)) for p in there.values())

    return at


def asked(metric: str, base: float) -> Truth:
    whole = asked_of_the_cluster(metric)
    return of_nodes(lambda n, k: float(level(base / 2, n)(k)), whole)


def share(metric: str, base: float) -> Truth:
    has = of_nodes(lambda n, k: float(level(base, n)(k)))
    return {whose: values / has[whose] for whose, values in asked(metric, base).items()}


def pools(base: float, only: Iterable[str] = POOLS) -> Truth:
    return {pool_of(p): level(base, number)(ALL) for number, p in enumerate(POOLS, 1) if p in only}


def connections(metric: str, values: Callable[[Pod, int], float]) -> Truth:
    idle = [mine for mine in WORKLOADS if mine not in SERVING]
    during = metric == "pool_used_connections"
    return over_pods(max, values, without=idle, during=during)


CPU, MEMORY = 4.0, 1.6e10
PROMETHEUS: dict[str, Callable[[], Truth]] = {
    "requests_per_second": lambda: served(rate, SERVING),
    "error_ratio": lambda: served(error_ratio, SERVING),
    "latency_p50_seconds": lambda: steady(0.375, SERVING),
    "latency_p99_seconds": lambda: steady(0.4975, SERVING),
    "cpu_usage_cores": lambda: summed(CADVISOR_COUNTERS["cpu_usage_cores"][1]),
    "cpu_throttled_ratio": throttled,
    "oom_kills_total": lambda: summed(CADVISOR_GAUGES["oom_kills_total"][1]),
    "restarts_total": lambda: summed(8.0),
    "oom_killed_containers": lambda: flag(lambda p, k: float(p.name == "db-0" and k >= CHURN)),
    "process_limit_file_descriptors": lambda: limit(65536.0),
    "process_limit_threads": lambda: limit(1000.0),
    "pool_used_connections": lambda: connections(
        "pool_used_connections",
        lambda p, k: float(level(CONNECTIONS["pool_used_connections"], p.factor)(k)),
    ),
    "pool_limit_connections": lambda: connections(
        "pool_limit_connections", lambda *_: CONNECTIONS["pool_limit_connections"]
    ),
    "pending_pods": lambda: flag(lambda p, _: float(p.phase == "Pending"), "Running", "Pending"),
    "unschedulable_pods": lambda: flag(
        lambda p, _: float(p.phase == "Pending"), "Running", "Pending"
    ),
    "pod_start_seconds": started,
    "deploy_timestamp_seconds": deployed,
    "nodes": lambda: of_nodes(lambda *_: 1.0),
    "allocatable_cpu_cores": lambda: of_nodes(lambda n, k: float(level(CPU, n)(k))),
    "allocatable_memory_bytes": lambda: of_nodes(lambda n, k: float(level(MEMORY, n)(k))),
    "requested_cpu_cores": lambda: asked("cpu_request_cores", CPU),
    "requested_memory_bytes": lambda: asked("memory_request_bytes", MEMORY),
    "requested_cpu_ratio": lambda: share("cpu_request_cores", CPU),
    "requested_memory_ratio": lambda: share("memory_request_bytes", MEMORY),
    "nodepool_used_cpu_cores": lambda: pools(64.0),
    "nodepool_used_memory_bytes": lambda: pools(2.5e11),
    "nodepool_limit_cpu_cores": lambda: pools(128.0, ["default"]),
    "nodepool_limit_memory_bytes": lambda: pools(5e11, ["default"]),
    "nodeclaims_created_total": lambda: pools(2 * 7.0),
    "nodeclaims_disrupted_total": lambda: pools(2 * 9.0),
    "nodeclaims_terminated_total": lambda: pools(2 * 10.0),
    "karpenter_queued_pods": lambda: {CLUSTER: level(6.0)(ALL)},
    "karpenter_pod_start_seconds": lambda: {CLUSTER: level(55.0)(ALL)},
    "node_start_seconds": lambda: {CLUSTER: level(0.0)(ALL) + 90.0},
}


def _tables() -> None:
    host = [("pay", "DaemonSet", "agent")]
    for metric, (_, base) in CADVISOR_GAUGES.items():
        if metric != "oom_kills_total":
            PROMETHEUS[metric] = lambda base=base: gauge(base)
    for metric, (_, base) in NETWORK.items():
        PROMETHEUS[metric] = lambda base=base: summed(base, 1.0, without=host)
    for metric, (which, *_) in RESOURCES.items():
        PROMETHEUS[metric] = lambda m=metric, w=which: requested(w.rstrip("s"), m)
    for metric in REPLICAS:
        PROMETHEUS[metric] = lambda m=metric: replicas(m)
    for metric, (_, base) in HPA.items():
        PROMETHEUS[metric] = lambda base=base: {
            mine: level(base, len(mine[2]))(ALL) for mine in (CHECKOUT, DB)
        }
    for metric, (_, base) in VOLUMES.items():  # the second claim is the fuller and the larger one
        PROMETHEUS[metric] = lambda base=base: {DB: level(base, 2)(ALL)}


_tables()
# Istio's proxies time what the app does not: 400 to 800 ms.
ISTIO: dict[str, Callable[[], Truth]] = {
    "latency_p50_seconds": lambda: steady(0.6, SERVING),
    "latency_p99_seconds": lambda: steady(0.796, SERVING),
}
# A Service has one workload, that with most pods behind it: the canary's requests are the web's.
BEHIND = (CHECKOUT, WEB)
NGINX: dict[str, Callable[[], Truth]] = {
    "requests_per_second": lambda: served(lambda k, _: float(level(20.0)(k)) + 1, BEHIND),
    "error_ratio": lambda: served(lambda k, _: 1 / (float(level(20.0)(k)) + 1), BEHIND),
    "latency_p50_seconds": lambda: steady(1.5, BEHIND),
    "latency_p99_seconds": lambda: steady(1.99, BEHIND),
}
