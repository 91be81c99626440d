"""Objects of a cluster as its API gives them, and the smallest client that lists them."""

from __future__ import annotations

TYPE = "node.kubernetes.io/instance-type"
POOL = "karpenter.sh/nodepool"


class Cluster:
    """Lists what it is given, as ``adapters.kube.Kube`` does."""

    def __init__(self, objects, fails=None):
        self.objects, self.fails = objects, fails or {}

    def list(self, kind):
        if kind in self.fails:
            raise self.fails[kind]
        yield from self.objects.get(kind, [])


def nodepool(name="general", *, limits=None, replicas=None, used=None, requirements=(), **template):
    spec = {
        "disruption": {
            "budgets": [{"nodes": "10%"}],
            "consolidateAfter": "60s",
            "consolidationPolicy": "WhenEmptyOrUnderutilized",
        },
        "limits": {"cpu": "100"} if limits is None else limits,
        "template": {
            "metadata": {"labels": template.pop("labels", {})},
            "spec": {
                "expireAfter": "720h",
                "nodeClassRef": {
                    "group": "karpenter.kwok.sh",
                    "kind": "KWOKNodeClass",
                    "name": "n",
                },
                "requirements": list(requirements),
                **template,
            },
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    status = {"resources": {"cpu": "16", "memory": "64Gi", "nodes": "2"} if used is None else used}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def node(name, pool="general", *, type_="s-8x", ready="True", taints=(), spec=None, **labels):
    return {
        "metadata": {
            "name": name,
            "labels": {POOL: pool, TYPE: type_, "karpenter.sh/initialized": "true"} | labels
            if pool
            else {TYPE: type_} | labels,
        },
        "spec": {"taints": list(taints), **(spec or {})},
        "status": {
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "allocatable": {"cpu": "7910m", "memory": "31Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def claim(name, pool="general", *, node_name=None, initialized="False"):
    status = {
        "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
        "allocatable": {"cpu": "7910m", "memory": "31Gi", "pods": "110"},
        "conditions": [
            {"type": "Launched", "status": "True"},
            {"type": "Initialized", "status": initialized},
        ],
    }
    if node_name:
        status["nodeName"] = node_name
    labels = {POOL: pool, TYPE: "s-8x"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": []}, "status": status}


def spec(cpu="500m", memory="1Gi", **more):
    asked = {"cpu": cpu, "memory": memory}
    return {"containers": [{"name": "app", "resources": {"requests": asked}}]} | more


def pod(name, app="checkout", *, on=None, made="2026-06-01T00:00:00Z", phase="Running", **more):
    body = spec(**more) | ({"nodeName": on} if on else {})
    refs = [{"kind": "ReplicaSet", "name": f"{app}-5d8f6c", "controller": True}]
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": made,
            "labels": {"app": app, "pod-template-hash": "5d8f6c"},
            "ownerReferences": refs,
        },
        "spec": body,
        "status": {"phase": phase},
    }


def daemon(name, template):
    return {"metadata": {"name": name}, "spec": {"template": {"spec": template}}}
