"""Manifests for tests that talk to a cluster, the fake one or a real one."""

from __future__ import annotations

from typing import Any

from pipelines.adapters.kube import Kind, Kube
from pipelines.errors import ObjectChanged

__all__ = ["acting_as", "deployment", "hpa", "node_pool", "patch_of", "scaled_object", "write"]

Object = dict[str, Any]


def acting_as(kube: Kube, manager: str) -> Kube:
    """The same connection under another manager's name; only the first client is closed."""
    return Kube(kube._wire, manager=manager)


def hpa(name: str, namespace: str, least: int | None, most: int, *, target: str = "") -> Object:
    spec: Object = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target or name},
        "maxReplicas": most,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 60},
                },
            }
        ],
    }
    spec |= {} if least is None else {"minReplicas": least}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def scaled_object(name: str, namespace: str, least: int | None, most: int) -> Object:
    trigger = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
    spec: Object = {
        "scaleTargetRef": {"name": name},
        "maxReplicaCount": most,
        "triggers": [trigger],
    }
    spec |= {} if least is None else {"minReplicaCount": least}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def deployment(
    name: str, namespace: str, replicas: int, *, cpu: str = "100m", priority: str = ""
) -> Object:
    """Its image is pulled nowhere: nodes of a simulation run it, others leave its pods waiting."""
    labels = {"app": name}
    container = {
        "name": "app",
        "image": "example.invalid/pause:1",
        "resources": {"requests": {"cpu": cpu}},
    }
    pod = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    pod |= {"priorityClassName": priority} if priority else {}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def node_pool(
    name: str,
    *,
    replicas: int | None = None,
    limits: dict[str, str] | None = None,
    budgets: list[Object] | None = None,
) -> Object:
    """``replicas`` makes it a static one."""
    template = {
        "requirements": [
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
        ],
        "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "none"},
    }
    spec: Object = {"template": {"spec": template}}
    spec |= {} if replicas is None else {"replicas": replicas}
    spec |= {} if limits is None else {"limits": limits}
    spec |= (
        {} if budgets is None else {"disruption": {"consolidateAfter": "60s", "budgets": budgets}}
    )
    return {"metadata": {"name": name}, "spec": spec}


def patch_of(read: Object, spec: Object, annotations: dict[str, Any] | None = None) -> Object:
    """An apply's body by the safe protocol: the uid and resourceVersion that were read."""
    meta = read["metadata"]
    keep = ("name", "namespace", "uid", "resourceVersion")
    metadata = {key: meta[key] for key in keep if key in meta}
    metadata |= {"annotations": annotations} if annotations else {}
    return {"metadata": metadata, "spec": spec}


def write(
    kube: Kube,
    kind: Kind,
    obj: Object,
    spec: Object,
    annotations: dict[str, Any] | None = None,
    *,
    force: bool = True,
) -> Object:
    """Read and apply by the safe protocol; again where a controller wrote a status in between."""
    meta = obj["metadata"]
    for _ in range(9):
        read = kube.get(kind, meta["name"], meta.get("namespace", ""))
        try:
            return kube.apply(kind, patch_of(read, spec, annotations), force=force)
        except ObjectChanged:
            continue
    text = f"{meta['name']} is written by others all the time"
    raise AssertionError(text)
