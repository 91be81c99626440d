"""What controllers do about floors, in one step: the HPA controller, and KEDA's operator."""

from __future__ import annotations

from typing import Any

from kube_status import RefusedError
from kube_store import Store, merged

from pipelines.adapters.kube import DEPLOYMENT, HPA, SCALED_OBJECT, STATEFUL_SET

__all__ = ["advance"]

_TARGETS = {"Deployment": DEPLOYMENT, "StatefulSet": STATEFUL_SET}
_MANAGER = "kube-controller-manager"
_PAUSED = "autoscaling.keda.sh/paused"


def advance(store: Store, demand: dict[tuple[str, str], int]) -> None:
    """KEDA writes its HPAs; every HPA scales its target to what ``demand`` says within bounds."""
    with store.lock:
        for scaled in store.all(SCALED_OBJECT):
            _reconcile(store, scaled)
        for hpa in store.all(HPA):
            _scale(store, hpa, demand)


def _reconcile(store: Store, scaled: dict[str, Any]) -> None:
    meta, spec = scaled["metadata"], scaled["spec"]
    namespace, name = meta["namespace"], f"keda-hpa-{meta['name']}"
    if (meta.get("annotations") or {}).get(_PAUSED) not in (None, "false"):
        if (namespace, name) in store.objects.get(HPA, {}):
            store.delete(HPA, (namespace, name))
        return
    target = {"apiVersion": "apps/v1", "kind": "Deployment", **spec["scaleTargetRef"]}
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "controller": True}
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "keda-operator"},
            "ownerReferences": [owner | {"name": meta["name"], "uid": meta["uid"]}],
        },
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": max(1, spec.get("minReplicaCount", 0)),
            "maxReplicas": spec.get("maxReplicaCount", 100),
        },
    }
    store.apply(HPA, (namespace, name), body, "keda-operator", force=True)


def _scale(store: Store, hpa: dict[str, Any], demand: dict[tuple[str, str], int]) -> None:
    meta, spec = hpa["metadata"], hpa["spec"]
    key = (meta["namespace"], meta["name"])
    kind = _TARGETS.get(spec["scaleTargetRef"]["kind"], DEPLOYMENT)
    target = (meta["namespace"], spec["scaleTargetRef"]["name"])
    try:
        now = store.read(kind, target)["spec"]["replicas"]
    except RefusedError:
        return
    wanted = min(max(demand.get(key, now), spec["minReplicas"]), spec["maxReplicas"])
    if now == 0:  # the HPA is disabled
        _tell(store, key, 0, 0, "ScalingDisabled")
        return
    if wanted != now:
        body = {"spec": {"replicas": wanted}}
        store.change(kind, target, lambda o: merged(o, body), _MANAGER, subresource="scale")
    _tell(store, key, now, wanted, "ValidMetricFound")


def _tell(store: Store, key: tuple[str, str], now: int, wanted: int, reason: str) -> None:
    active = "False" if reason == "ScalingDisabled" else "True"
    status = {
        "currentReplicas": now,
        "desiredReplicas": wanted,
        "conditions": [{"type": "ScalingActive", "status": active, "reason": reason}],
    }
    patch = {"status": status}
    store.change(HPA, key, lambda o: merged(o, patch), _MANAGER, subresource="status")
