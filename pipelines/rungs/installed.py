"""The objects that hold room, as they are installed once: with 0 replicas, so that at run time
nothing ever has to be created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import yaml

from pipelines.manifests import ManifestParams, dns_label, pause_pod, priority_class, requests

__all__ = [
    "BUFFER_MANIFEST",
    "CONTAINER",
    "MANIFEST",
    "OURS",
    "is_ours",
    "room_name",
    "room_objects",
    "room_yaml",
]

MANIFEST: Final = "config/deploy/room.yaml"
"""Where they stand, as ``room_yaml`` writes them; the buffer apart, since few clusters have it."""
BUFFER_MANIFEST: Final = "config/deploy/room-buffer.yaml"
OURS: Final = "app.kubernetes.io/managed-by=foretide"
"""Label selector of what is installed for us."""
CONTAINER: Final = "pause"
_NAME = "foretide-placeholder"


def room_name(nodepool: str = "") -> str:
    """Of the objects that hold room on a NodePool, or on any node."""
    return dns_label(f"{_NAME}-{nodepool}" if nodepool else _NAME)


def is_ours(obj: dict[str, Any]) -> bool:
    """Whether an object was installed for us: only then another owner of a field is overridden."""
    labels = (obj.get("metadata") or {}).get("labels") or {}
    key, _, value = OURS.partition("=")
    return labels.get(key) == value


def room_objects(
    params: ManifestParams | None = None, nodepools: Sequence[str] = (), *, buffer: bool = False
) -> list[dict[str, Any]]:
    """For any node and each of ``nodepools``: a Deployment of 0 placeholders, with their
    PriorityClass first; or with ``buffer`` a PodTemplate and a CapacityBuffer of 0 pods."""
    params = params or ManifestParams()
    pools = ("", *nodepools)
    if buffer:
        return [make(pool, params) for pool in pools for make in (_template, _buffer)]
    return [priority_class(params), *(_deployment(pool, params) for pool in pools)]


def room_yaml(
    params: ManifestParams | None = None, nodepools: Sequence[str] = (), *, buffer: bool = False
) -> str:
    """The same as YAML documents."""
    return yaml.safe_dump_all(room_objects(params, nodepools, buffer=buffer), sort_keys=False)


def _meta(pool: str, params: ManifestParams) -> dict[str, Any]:
    key, _, value = OURS.partition("=")
    name = room_name(pool)
    labels = {
        "app.kubernetes.io/name": _NAME,
        "app.kubernetes.io/instance": name,
        key: value,
    }
    return {"name": name, "namespace": params.placeholder_namespace, "labels": labels}


def _pod(pool: str, params: ManifestParams) -> dict[str, Any]:
    select = {"nodeSelector": {"karpenter.sh/nodepool": pool}} if pool else {}
    # the size is written when room is held
    return {**pause_pod(requests(0.25, 256 * 2**20), params), **select}


def _deployment(pool: str, params: ManifestParams) -> dict[str, Any]:
    meta = _meta(pool, params)
    held = {"karpenter.sh/do-not-disrupt": "true"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": dict(meta["labels"])},
            "template": {
                "metadata": {"labels": dict(meta["labels"]), "annotations": held},
                "spec": _pod(pool, params),
            },
        },
    }


def _template(pool: str, params: ManifestParams) -> dict[str, Any]:
    meta = _meta(pool, params)
    return {
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": meta,
        "template": {"metadata": {"labels": dict(meta["labels"])}, "spec": _pod(pool, params)},
    }


def _buffer(pool: str, params: ManifestParams) -> dict[str, Any]:
    # never `percentage`: its meaning changed between versions
    return {
        "apiVersion": "autoscaling.x-k8s.io/v1beta1",
        "kind": "CapacityBuffer",
        "metadata": _meta(pool, params),
        "spec": {"podTemplateRef": {"name": room_name(pool)}, "replicas": 0},
    }
