"""A made-up EKS cluster: true_series.py shows it as its exporters do, true_values.py says what
of it is true.

Two namespaces hold a Deployment whose ReplicaSet is replaced in the middle of a step, a StatefulSet
with a restarted container and a pod that is made anew under its old name, a DaemonSet on its nodes'
network, two Deployments behind one Service, a pod that no node has room for, a ReplicaSet of
nobody's; and what is nobody's workload: a Job's pod, a static pod, a bare one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from exporters import ALWAYS, END_S, STEP_S, STEPS, Life, Values

CHURN_S = 12 * STEP_S + 150
CHURN = 12
"""The step in which all of it happens."""
OLD, NEW = Life(0, CHURN_S), Life(CHURN_S, END_S)
CONTAINERS = {"app": 1.0, "sidecar": 0.25}
DEPLOYED = {"7d4b8": 1.7802e9, "9f6c2": 1.7803e9, "5c": 1.7701e9, "6d": 1.7702e9}

CADVISOR_GAUGES = {
    "memory_rss_bytes": ("container_memory_rss", 1e8),
    "memory_working_set_bytes": ("container_memory_working_set_bytes", 1.5e8),
    "memory_cache_bytes": ("container_memory_cache", 5e7),
    "process_file_descriptors": ("container_file_descriptors", 40.0),
    "process_threads": ("container_threads", 12.0),
    "process_sockets": ("container_sockets", 8.0),
    "oom_kills_total": ("container_oom_events_total", 4.0),
}
CADVISOR_COUNTERS = {
    "cpu_usage_cores": ("container_cpu_usage_seconds_total", 0.5),
    "throttled": ("container_cpu_cfs_throttled_periods_total", 2.0),
}
PERIODS_PER_S = 10.0
NETWORK = {
    "network_receive_bytes_per_second": ("container_network_receive_bytes_total", 4e6),
    "network_transmit_bytes_per_second": ("container_network_transmit_bytes_total", 3e6),
}
RESOURCES = {
    "memory_limit_bytes": ("limits", "memory", "byte", 8e8),
    "memory_request_bytes": ("requests", "memory", "byte", 4e8),
    "cpu_limit_cores": ("limits", "cpu", "core", 2.0),
    "cpu_request_cores": ("requests", "cpu", "core", 1.0),
}
VOLUMES = {
    "disk_used_bytes": ("kubelet_volume_stats_used_bytes", 2e9),
    "disk_limit_bytes": ("kubelet_volume_stats_capacity_bytes", 9e9),
    "disk_used_inodes": ("kubelet_volume_stats_inodes_used", 3e4),
    "disk_limit_inodes": ("kubelet_volume_stats_inodes", 6e5),
}
CONNECTIONS = {"pool_used_connections": 16.0, "pool_limit_connections": 80.0}
CONNECTION_POOLS = {"orders": 0.75, "users": 0.25}
REPLICAS = {
    "replicas": 5.0, "desired_replicas": 7.0, "available_replicas": 4.0,
    "unavailable_replicas": 3.0,
}  # fmt: skip
OBJECTS = {
    "Deployment": (
        "status_replicas", "spec_replicas", "status_replicas_available",
        "status_replicas_unavailable",
    ),
    "StatefulSet": ("status_replicas", "replicas", "status_replicas_available", ""),
    "DaemonSet": (
        "status_current_number_scheduled", "status_desired_number_scheduled",
        "status_number_available", "status_number_unavailable",
    ),
}  # fmt: skip
HPA = {
    "hpa_min_replicas": ("spec_min_replicas", 2.0),
    "hpa_max_replicas": ("spec_max_replicas", 20.0),
    "hpa_current_replicas": ("status_current_replicas", 5.0),
    "hpa_desired_replicas": ("status_desired_replicas", 6.0),
    "hpa_target_cpu_ratio": ("spec_target_metric", 0.7),
    "hpa_current_cpu_ratio": ("status_target_metric", 0.5),
}


@dataclass(frozen=True)
class Pod:
    namespace: str
    name: str
    kind: str
    workload: str
    factor: float = 1.0
    life: Life = ALWAYS
    replicaset: str = ""
    phase: str = "Running"
    ip: str = ""

    @property
    def mine(self) -> tuple[str, str, str]:
        return self.namespace, self.kind, self.workload

    @property
    def me(self) -> dict[str, str]:
        return {"namespace": self.namespace, "pod": self.name}

    @property
    def serves(self) -> bool:
        return self.kind == "Deployment" and self.phase == "Running"


def replica(namespace: str, name: str, rs: str, pod: str, *rest: object, **more: object) -> Pod:
    return Pod(
        namespace,
        f"{name}-{rs}-{pod}",
        "Deployment",
        name,
        *rest,
        replicaset=f"{name}-{rs}",
        **more,
    )


PODS = (
    replica("shop", "checkout", "7d4b8", "aaaaa", 1.0, OLD, ip="10.0.7.1"),
    replica("shop", "checkout", "7d4b8", "bbbbb", 1.3, OLD, ip="10.0.7.2"),
    # the address of a pod that is gone goes to another one
    replica("shop", "checkout", "9f6c2", "ccccc", 1.0, NEW, ip="10.0.7.3"),
    replica("shop", "checkout", "9f6c2", "ddddd", 1.3, NEW, ip="10.0.7.1"),
    Pod("shop", "db-0", "StatefulSet", "db", 2.0, ip="10.0.7.4"),
    # made anew: for a minute the old and the new one are both seen
    Pod("shop", "db-1", "StatefulSet", "db", 1.0, Life(0, CHURN_S + 60), ip="10.0.7.5"),
    Pod("shop", "db-1", "StatefulSet", "db", 1.0, NEW, ip="10.0.7.6"),
    Pod("shop", "lone-xyz", "ReplicaSet", "lone", replicaset="lone", ip="10.0.7.7"),
    replica("pay", "web", "5c", "aaaaa", 3.0, ip="10.0.8.1"),
    replica("pay", "web", "5c", "bbbbb", 2.0, ip="10.0.8.2"),
    replica("pay", "web", "5c", "nnnnn", 1.0, phase="Pending"),
    replica("pay", "web-canary", "6d", "aaaaa", 0.5, ip="10.0.8.3"),
    Pod("pay", "agent-x1", "DaemonSet", "agent", ip="10.0.1.1"),
)
NOBODYS = (
    Pod("shop", "nightly-28999-zzzzz", "Job", "nightly-28999", phase="Succeeded", ip="10.0.7.8"),
    Pod("pay", "kube-proxy-n1", "Node", "n1", ip="10.0.7.9"),
    Pod("pay", "debug", "<none>", "<none>", ip="10.0.7.10"),
)
WORKLOADS = tuple(dict.fromkeys(p.mine for p in PODS))
SERVICES = {("shop", "checkout-svc"): ["checkout"], ("pay", "web"): ["web", "web-canary"]}
NODES = {  # name → NodePool, life
    "n1": ("default", ALWAYS), "n2": ("default", OLD), "n5": ("default", NEW),
    "n3": ("spot", ALWAYS), "n4": ("", ALWAYS),
}  # fmt: skip
POOLS = ("default", "spot")


def level(base: float, factor: float = 1.0) -> Values:
    """Grows from step to step, so that one step too early or too late is seen."""
    return lambda step: base * factor * (1 + np.asarray(step) / STEPS)
