"""A samples table shaped like kube-state-metrics, cAdvisor and HTTP series.

Every workload has two pods at a time, which are replaced four times and at every deploy; a
Deployment's pods belong to ReplicaSets. What each metric becomes:

- Summed over pods (demand, CPU requests and limits): split 0.6 to 0.4. The largest pod's (memory
  used): the second pod has 0.8 of it. Memory requests and limits: both pods'. Restarts: one pod's.
- ``requests_per_second``: ``http_requests_total``; ``error_ratio`` is its share with code 500.
- ``latency_p99_seconds`` (above 0 to 10): a histogram whose 99th percentile it is;
  ``latency_p50_seconds`` follows from that histogram and is left out.
- ``deploy_timestamp_seconds``: a ReplicaSet for each of its values. ``replicas``, HPAs and volumes:
  series of those objects.

Gauges are scraped in the middle of a step, counters at its edges and middle. Steps of up to 5
minutes come back as they were; demand and latency must be without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from features.workloads import split_workload

Series = tuple[dict[str, str], np.ndarray, np.ndarray]
"""Labels, stamps (n,) in Unix milliseconds, values (n,)."""

ONE, ALL, SUM, MOST = (1.0, 0.0), (1.0, 1.0), (0.6, 0.4), (1.0, 0.8)
"""What each of a workload's two pods shows of its value."""
APP = {"container": "app"}
GAUGES = {
    "memory_rss_bytes": ("container_memory_rss", APP, MOST),
    "memory_working_set_bytes": ("container_memory_working_set_bytes", APP, MOST),
    "memory_cache_bytes": ("container_memory_cache", APP, MOST),
    "memory_limit_bytes": ("kube_pod_container_resource_limits", APP | {"resource": "memory"}, ALL),
    "memory_request_bytes": (
        "kube_pod_container_resource_requests",
        APP | {"resource": "memory"},
        ALL,
    ),
    "cpu_request_cores": ("kube_pod_container_resource_requests", APP | {"resource": "cpu"}, SUM),
    "cpu_limit_cores": ("kube_pod_container_resource_limits", APP | {"resource": "cpu"}, SUM),
    "restarts_total": ("kube_pod_container_status_restarts_total", APP, ONE),
    "oom_kills_total": ("container_oom_events_total", APP, ONE),
    "pod_start_seconds": ("kube_pod_status_ready_time", {}, ALL),
}
COUNTERS = {
    "cpu_usage_cores": ("container_cpu_usage_seconds_total", APP),
    "network_receive_bytes_per_second": (
        "container_network_receive_bytes_total",
        {"interface": "eth0"},
    ),
}
OBJECTS = {
    "replicas": ("kube_{kind}_status_replicas", "{kind}"),
    "hpa_min_replicas": (
        "kube_horizontalpodautoscaler_spec_min_replicas",
        "horizontalpodautoscaler",
    ),
    "hpa_max_replicas": (
        "kube_horizontalpodautoscaler_spec_max_replicas",
        "horizontalpodautoscaler",
    ),
    "hpa_target_cpu_ratio": (
        "kube_horizontalpodautoscaler_spec_target_metric",
        "horizontalpodautoscaler",
    ),
    "disk_used_bytes": ("kubelet_volume_stats_used_bytes", "persistentvolumeclaim"),
    "disk_limit_bytes": ("kubelet_volume_stats_capacity_bytes", "persistentvolumeclaim"),
}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, np.inf)


def kube_series(frame: pd.DataFrame) -> Iterator[Series]:
    """Series that the queries of config/metrics/prometheus.yaml turn back into ``frame``."""
    for workload, rows in frame.groupby("workload", observed=True):
        wide = rows.set_index(["ts", "metric"])["value"].astype(float).unstack("metric")  # noqa: PD010 - no aggregate
        yield from Shape(split_workload(str(workload)), wide).series()


class Shape:
    """One workload's series; ``wide`` has a row a step and a column a metric."""

    def __init__(self, parts: tuple[str, str, str, str], wide: pd.DataFrame) -> None:
        cluster, namespace, self.kind, self.name = parts
        self.where = {"cluster": cluster, "namespace": namespace}
        ts_ms = wide.index.as_unit("ms").asi8
        self.step_ms = int(np.diff(ts_ms).min()) if len(ts_ms) > 1 else 300_000
        grid = np.arange(ts_ms[0], ts_ms[-1] + 1, self.step_ms)
        index = pd.to_datetime(grid, unit="ms", utc=True)
        self.grid, self.wide = grid, wide.reindex(index)

    def series(self) -> Iterator[Series]:
        yield from self.objects()
        deploy = np.zeros(len(self.grid), int)
        if "deploy_timestamp_seconds" in self.wide:
            deploy, made = pd.factorize(self.wide["deploy_timestamp_seconds"].ffill().bfill())
            for number, at in enumerate(made):
                steps = np.flatnonzero(deploy == number)
                labels = {"replicaset": f"{self.name}-{number}"}
                yield self.gauge("kube_replicaset_created", labels, steps, np.full(len(steps), at))
        churn = np.arange(len(self.grid)) * 4 // len(self.grid)
        for number, steps in enumerate(self.runs(churn + 4 * deploy)):
            replicaset = f"{self.name}-{deploy[steps[0]]}"
            owner = {
                "owner_kind": self.kind,
                "owner_name": self.name,
                "owner_is_controller": "true",
            }
            if self.kind == "Deployment":
                ones = np.ones(len(steps))
                yield self.gauge(
                    "kube_replicaset_owner", owner | {"replicaset": replicaset}, steps, ones
                )
                owner |= {"owner_kind": "ReplicaSet", "owner_name": replicaset}
            for pod in range(2):
                yield from self.pod(pod, f"{self.name}-{number}-{pod}", owner, steps)

    def runs(self, generation: np.ndarray) -> list[np.ndarray]:
        return np.split(np.arange(len(generation)), np.flatnonzero(np.diff(generation)) + 1)

    def objects(self) -> Iterator[Series]:
        """What belongs to no pod: replicas, HPAs, volumes."""
        steps = np.arange(len(self.grid))
        ones = np.ones(len(steps))
        hpa = {"horizontalpodautoscaler": self.name}
        if any(metric.startswith("hpa_") for metric in self.wide):
            target = {"scaletargetref_kind": self.kind, "scaletargetref_name": self.name}
            yield self.gauge("kube_horizontalpodautoscaler_info", hpa | target, steps, ones)
        for metric, (series, label) in OBJECTS.items():
            if metric in self.wide:
                value = self.wide[metric].to_numpy()
                labels = {label.format(kind=self.kind.lower()): self.name}
                if metric == "hpa_target_cpu_ratio":
                    value = value * 100
                    labels |= {"metric_name": "cpu", "metric_target_type": "utilization"}
                yield self.gauge(series.format(kind=self.kind.lower()), labels, steps, value)

    def pod(
        self, number: int, pod: str, owner: dict[str, str], steps: np.ndarray
    ) -> Iterator[Series]:
        me = {"pod": pod}
        ones = np.ones(len(steps))
        yield self.gauge("kube_pod_owner", me | owner, steps, ones)
        volume = me | {"persistentvolumeclaim": self.name}
        yield self.gauge("kube_pod_spec_volumes_persistentvolumeclaims_info", volume, steps, ones)
        scheduled = ones * self.grid[steps[0]] / 1000
        yield self.gauge("kube_pod_status_scheduled_time", me, steps, scheduled)
        for metric, (series, labels, share) in GAUGES.items():
            if metric in self.wide:
                value = self.wide[metric].to_numpy()[steps] * share[number]
                value = value + scheduled if metric == "pod_start_seconds" else value
                yield self.gauge(series, me | labels, steps, value)
        for metric, (series, labels) in COUNTERS.items():
            if metric in self.wide:
                rate = self.wide[metric].to_numpy()[steps] * SUM[number]
                yield self.counter(series, me | labels, steps, rate)
                if metric == "cpu_usage_cores":  # cAdvisor's row for the pod as a whole
                    yield self.counter(series, me, steps, rate)
        yield from self.http(me, steps, SUM[number])

    def http(self, me: dict[str, str], steps: np.ndarray, share: float) -> Iterator[Series]:
        rate = np.full(len(steps), share)
        if "requests_per_second" in self.wide:
            rate = rate * self.wide["requests_per_second"].to_numpy()[steps]
            bad = self.wide.get("error_ratio", pd.Series(0.0, self.wide.index)).to_numpy()[steps]
            for code, part in (("200", 1 - bad), ("500", bad)):
                yield self.counter("http_requests_total", me | {"code": code}, steps, rate * part)
        if "latency_p99_seconds" in self.wide:
            wanted = self.wide["latency_p99_seconds"].to_numpy()[steps]
            for upper, share_below in zip(BUCKETS, below(wanted), strict=True):
                labels = me | {"le": "+Inf" if np.isinf(upper) else repr(upper)}
                yield self.counter(
                    "http_request_duration_seconds_bucket", labels, steps, rate * share_below
                )

    def gauge(
        self, series: str, labels: dict[str, str], steps: np.ndarray, value: np.ndarray
    ) -> Series:
        there = np.isfinite(value)
        at = self.grid[steps[there]] + self.step_ms // 2
        return {"__name__": series} | self.where | labels, at, value[there]

    def counter(
        self, series: str, labels: dict[str, str], steps: np.ndarray, rate: np.ndarray
    ) -> Series:
        there = np.flatnonzero(np.isfinite(rate))
        if len(there) and len(there) != there[-1] - there[0] + 1:
            raise ValueError(f"{self.name}: {series} has gaps; a counter cannot show them")
        if not len(there):
            return {"__name__": series} | self.where | labels, there, rate[there]
        total = 1000 + np.r_[0, np.cumsum(rate[there] * self.step_ms / 1000)]
        edges = np.arange(len(total))
        halves = np.arange(2 * len(total) - 1) / 2
        at = self.grid[steps[there[0]]] + (halves * self.step_ms).astype(np.int64)
        return {"__name__": series} | self.where | labels, at, np.interp(halves, edges, total)


def below(p99: np.ndarray) -> list[np.ndarray]:
    """Share of requests in each cumulative bucket so that linear interpolation finds ``p99``."""
    uppers = np.array(BUCKETS)
    lowers = np.r_[0, uppers[:-1]]
    holds = np.searchsorted(uppers, p99)
    if (holds >= len(BUCKETS) - 1).any() or not (p99 > 0).all():
        raise ValueError("latency_p99_seconds must be above 0 and at most 10 s, without gaps")
    at = (p99 - lowers[holds]) / (uppers[holds] - lowers[holds])
    under = np.maximum(0.99 - at, 0) / np.maximum(1 - at, 0.01)
    until = np.minimum(0.99 / at, 1)
    return [
        np.select(
            [number < holds - 1, number == holds - 1, number == holds], [0, under, until], 1.0
        )
        for number in range(len(BUCKETS))
    ]
