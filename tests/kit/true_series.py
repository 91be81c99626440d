"""The series of the made-up cluster (true_cluster.py), with the labels that exporters give them."""

from __future__ import annotations

from exporters import ALWAYS, Exporters, Life, Series
from true_cluster import (
    CADVISOR_COUNTERS,
    CADVISOR_GAUGES,
    CHURN_S,
    CONNECTION_POOLS,
    CONNECTIONS,
    CONTAINERS,
    DEPLOYED,
    HPA,
    NETWORK,
    NEW,
    NOBODYS,
    NODES,
    OBJECTS,
    OLD,
    PERIODS_PER_S,
    PODS,
    POOLS,
    REPLICAS,
    RESOURCES,
    SERVICES,
    VOLUMES,
    WORKLOADS,
    Pod,
    level,
)  # fmt: skip


def cluster_series(cluster: str, start_ms: int) -> list[Series]:
    out = Exporters(cluster, start_ms)
    for pod in (*PODS, *NOBODYS):
        of_kube_state(out, pod)
        if pod.phase != "Pending":
            of_cadvisor(out, pod)
        if pod.serves:
            of_app(out, pod)
    for workload in WORKLOADS:
        of_object(out, *workload)
        if workload[2] in {"checkout", "db"}:
            of_hpa(out, *workload)
    of_volumes(out, "shop")
    of_services(out)
    of_nodes(out)
    return out.series


def of_kube_state(out: Exporters, pod: Pod) -> None:
    uid = {"uid": f"{pod.name}-{pod.life.start_s}"}
    kind, name = ("ReplicaSet", pod.replicaset) if pod.replicaset else (pod.kind, pod.workload)
    ours = {"owner_kind": kind, "owner_name": name}
    controls = "<none>" if kind == "<none>" else "true"
    owner = pod.me | uid | ours | {"owner_is_controller": controls}
    out.kube_state("kube_pod_owner", owner, 1.0, pod.life)
    host = "true" if pod.kind in {"DaemonSet", "Node"} else "false"
    node = "" if pod.phase == "Pending" else "n1"
    info = {"node": node, "host_ip": "10.0.1.1", "pod_ip": pod.ip, "host_network": host}
    out.kube_state("kube_pod_info", pod.me | uid | info, 1.0, pod.life)
    for phase in ("Pending", "Running", "Succeeded", "Failed", "Unknown"):
        labels = pod.me | uid | {"phase": phase}
        out.kube_state("kube_pod_status_phase", labels, float(phase == pod.phase), pod.life)
    for container, share in CONTAINERS.items():
        mine = pod.me | uid | {"container": container}
        for which, resource, unit, base in RESOURCES.values():
            labels = mine | {"node": node, "resource": resource, "unit": unit}
            values = level(base * share, pod.factor)
            out.kube_state(f"kube_pod_container_resource_{which}", labels, values, pod.life)
        if pod.phase == "Pending":
            continue
        restarts = level(8.0 * share, pod.factor)
        out.kube_state("kube_pod_container_status_restarts_total", mine, restarts, pod.life)
        reason = "kube_pod_container_status_last_terminated_reason"
        if pod.name == "db-0" and container == "app":
            out.kube_state(reason, mine | {"reason": "OOMKilled"}, 1.0, NEW)
        elif pod.kind == "Deployment":
            out.kube_state(reason, mine | {"reason": "Error"}, 1.0, pod.life)
    if pod.phase == "Pending":
        out.kube_state("kube_pod_status_unschedulable", pod.me | uid, 1.0, pod.life)
        return
    scheduled = 1.78e9 + pod.life.start_s
    out.kube_state("kube_pod_status_scheduled_time", pod.me | uid, scheduled, pod.life)
    ready = scheduled + 40 * pod.factor
    out.kube_state("kube_pod_status_ready_time", pod.me | uid, ready, pod.life)


def of_cadvisor(out: Exporters, pod: Pod) -> None:
    for container, share in CONTAINERS.items():
        lives = {"c1": pod.life}
        if pod.name == "db-0" and container == "app":  # restarted
            lives = {"c1": OLD, "c2": NEW}
        for ident, life in lives.items():
            who = (pod.me, container, f"{ident}-{container}-{pod.name}-{pod.life.start_s}")
            for name, base in CADVISOR_GAUGES.values():
                out.container(name, *who, level(base * share, pod.factor), life)
            for name, base in CADVISOR_COUNTERS.values():
                values = level(base * share, pod.factor)
                out.container(name, *who, values, life, counts=True)
            periods = PERIODS_PER_S * share * pod.factor
            out.container("container_cpu_cfs_periods_total", *who, periods, life, counts=True)
            unlimited = pod.workload == "web"
            threads = 0.0 if unlimited else 1000.0
            out.container("container_threads_max", *who, threads, life)
            files, kind = -1.0 if unlimited else 65536.0, {"ulimit": "max_open_files"}
            out.container("container_ulimits_soft", *who, files, life, extra=kind)
    for name, base in NETWORK.values():
        out.network(name, pod.me, level(base, pod.factor), pod.life)


def of_app(out: Exporters, pod: Pod) -> None:
    """Ten requests a second with a twentieth of errors, counted by the app and by its sidecar."""
    target = {"job": "app", "container": "app", "endpoint": "http", "instance": f"{pod.ip}:8080"}
    good, bad = level(10.0, pod.factor), 0.5 * pod.factor
    app = pod.me | target | {"method": "GET", "handler": "/"}
    mesh = pod.me | {
        "reporter": "destination", "source_workload": "client", "connection_security_policy": "tls",
        "destination_workload": pod.workload, "destination_workload_namespace": pod.namespace,
    }  # fmt: skip
    for pool, share in CONNECTION_POOLS.items():
        mine = pod.me | target | {"pool": pool}
        used = level(CONNECTIONS["pool_used_connections"] * share, pod.factor)
        most = CONNECTIONS["pool_limit_connections"] * share
        out.emit("hikaricp_connections_active", mine, used, pod.life, counts=False)
        out.emit("hikaricp_connections_max", mine, most, pod.life, counts=False)
    # what the caller's own proxy reports of the same calls; and it is scraped in another namespace
    caller = mesh | {"reporter": "source", "namespace": "edge", "pod": "client-1"}
    for code, rate in (("200", good), ("500", bad)):
        if code == "500" and pod.workload == "web-canary":
            continue
        out.emit("http_requests_total", app | {"code": code}, rate, pod.life, counts=True)
        for who in (mesh, caller):
            labels = who | {"response_code": code}
            out.emit("istio_requests_total", labels, rate, pod.life, counts=True)
    out.histogram("http_request_duration_seconds", app, good, 0.25, 0.5, pod.life)
    for who, upper in ((mesh, 800.0), (caller, 90000.0)):
        out.histogram("istio_request_duration_milliseconds", who, good, upper / 2, upper, pod.life)


def of_object(out: Exporters, namespace: str, kind: str, name: str) -> None:
    me = {"namespace": namespace, kind.lower(): name}
    size = float(len(name))
    for series, base in zip(OBJECTS.get(kind, ()), REPLICAS.values(), strict=False):
        if series:
            out.kube_state(f"kube_{kind.lower()}_{series}", me, level(base, size))
    for rs in sorted({p.replicaset for p in PODS if p.mine == (namespace, kind, name)} - {""}):
        me = {"namespace": namespace, "replicaset": rs}
        owned = {"owner_kind": kind, "owner_name": name, "owner_is_controller": "true"}
        nobody = dict.fromkeys(owned, "<none>")
        life = NEW if rs.endswith("9f6c2") else ALWAYS
        out.kube_state(
            "kube_replicaset_owner", me | (owned if kind == "Deployment" else nobody), 1.0, life
        )
        if rs == "checkout-9f6c2":  # seen before it was adopted
            out.kube_state("kube_replicaset_owner", me | nobody, 1.0, Life(CHURN_S, CHURN_S + 60))
        made = DEPLOYED.get(rs.rsplit("-", 1)[-1], 1.76e9)
        out.kube_state("kube_replicaset_created", me, made, life)


def of_hpa(out: Exporters, namespace: str, kind: str, name: str) -> None:
    size = float(len(name))
    me = {"namespace": namespace, "horizontalpodautoscaler": f"{name}-hpa"}
    target = {"scaletargetref_kind": kind, "scaletargetref_name": name}
    out.kube_state("kube_horizontalpodautoscaler_info", me | target, 1.0)
    for series, base in HPA.values():
        name_ = f"kube_horizontalpodautoscaler_{series}"
        if series.endswith("target_metric"):
            how = me | {"metric_target_type": "utilization"}
            out.kube_state(name_, how | {"metric_name": "cpu"}, level(100 * base, size))
            out.kube_state(name_, how | {"metric_name": "memory"}, 1e6)
        else:
            out.kube_state(name_, me, level(base, size))


def of_volumes(out: Exporters, namespace: str) -> None:
    for number in range(2):
        claim = {"namespace": namespace, "persistentvolumeclaim": f"data-db-{number}"}
        volume = claim | {"pod": f"db-{number}", "volume": "data"}
        out.kube_state("kube_pod_spec_volumes_persistentvolumeclaims_info", volume, 1.0)
        for series, base in VOLUMES.values():
            out.kubelet(series, claim, level(base, 1 + number), path="/metrics")


def of_services(out: Exporters) -> None:
    for (namespace, service), workloads in SERVICES.items():
        pods = [p for p in PODS if p.namespace == namespace and p.workload in workloads and p.ip]
        for pod in pods:
            where = {"namespace": namespace, "endpoint": service, "ip": pod.ip, "ready": "true"}
            out.kube_state("kube_endpoint_address", where, 1.0, pod.life)
        seen = {
            "namespace": "ingress-nginx", "pod": "ingress-nginx-controller-1", "method": "GET",
            "exported_namespace": namespace, "exported_service": service, "ingress": "main",
            "host": "shop.example", "path": "/", "controller_class": "k8s.io/ingress-nginx",
        }  # fmt: skip
        name = "nginx_ingress_controller"
        for status, rate in (("200", level(20.0)), ("503", 1.0)):
            labels = seen | {"status": status}
            out.emit(f"{name}_requests", labels, rate, ALWAYS, counts=True)
        out.histogram(f"{name}_request_duration_seconds", seen, level(20.0), 1.0, 2.0, ALWAYS)


def of_nodes(out: Exporters) -> None:
    for number, (node, (pool, life)) in enumerate(NODES.items(), 1):
        out.kube_state("kube_node_info", {"node": node, "kernel_version": "6.1"}, 1.0, life)
        for resource, unit, base in (("cpu", "core", 4.0), ("memory", "byte", 1.6e10)):
            labels = {"node": node, "resource": resource, "unit": unit}
            values = level(base, number)
            out.kube_state("kube_node_status_allocatable", labels, values, life)
            here = {
                "node_name": node, "nodepool": pool, "phase": "", "capacity_type": "spot",
                "arch": "amd64", "os": "linux", "resource_type": resource, "zone": "eu-west-1a",
            }  # fmt: skip
            out.karpenter("karpenter_nodes_allocatable", here, values, life)
            asked = level(base / 2, number)
            out.karpenter("karpenter_nodes_total_pod_requests", here, asked, life)
    for number, pool in enumerate(POOLS, 1):
        for resource, base in (("cpu", 64.0), ("memory", 2.5e11), ("nodes", 9.0)):
            labels = {"nodepool": pool, "resource_type": resource}
            out.karpenter("karpenter_nodepools_usage", labels, level(base, number))
            if pool == "default":
                out.karpenter("karpenter_nodepools_limit", labels, level(2 * base))
        for verb in ("created", "disrupted", "terminated"):
            for reason in ("provisioned", "underutilized"):
                labels = {"nodepool": pool, "reason": reason}
                values = level(float(len(verb)), number)
                out.karpenter(f"karpenter_nodeclaims_{verb}_total", labels, values)
    for controller, base in (("provisioner", 6.0), ("disruption", 600.0)):
        labels = {"controller": controller, "scheduling_id": "4f1c"}
        out.karpenter("karpenter_scheduler_queue_depth", labels, level(base))
    for quantile, base in (("0", 1.0), ("0.5", 20.0), ("0.9", 55.0), ("0.99", 90.0)):
        labels = {"quantile": quantile}
        out.karpenter("karpenter_pods_startup_duration_seconds", labels, level(base))
    of_launches(out)


def of_launches(out: Exporters) -> None:
    """A hundred nodes an hour, 90 s each; other conditions are in the way."""
    for condition, status, each_s in (
        ("Initialized", "Unknown", 90.0),
        ("Ready", "Unknown", 700.0),
        ("Initialized", "True", 7000.0),
    ):
        labels = {"type": condition, "status": status}
        for part, per_node in (("sum", each_s), ("count", 1.0)):
            name = f"operator_nodeclaim_status_condition_transition_seconds_{part}"
            out.karpenter(name, labels, per_node * 100 / 3600, counts=True)
