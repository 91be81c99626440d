"""A plan as Kubernetes manifests: what would be applied, for a repository, a review or ``kubectl``.

Each floor window is one body for a server-side apply on an HPA. Whoever applies it reads the object
first and adds its ``metadata.uid`` and ``resourceVersion``, so that an HPA that is gone is not
created, and gives the floor back by applying the original value, never by releasing the field:
released as its only owner, minReplicas becomes 1.

Names come from labels, so they are data: a name that Kubernetes would not take is replaced by one
that it does take and that no object has (a hash of the original is part of it), and files are named
likewise.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from features.workloads import split_workload
from models.actions import Action, Floor, Placeholder, Plan

__all__ = ["ManifestParams", "dns_label", "render"]

_LABEL_MAX = 63
_APP = "foretide-placeholder"


@dataclass(frozen=True, slots=True)
class ManifestParams:
    """What a manifest says beside the plan."""

    pause_image: str = "rancher/mirrored-pause:3.6"
    placeholder_namespace: str = "foretide"
    priority_class: str = _APP
    priority: int = -10
    """Below every pod that does not say otherwise (0), above what the cluster autoscaler
    ignores."""

    def __post_init__(self) -> None:
        """Refuse values that Kubernetes would refuse, or that would hurt real pods."""
        for key in ("placeholder_namespace", "priority_class"):
            value = getattr(self, key)
            if value != dns_label(value):
                raise ValueError(f"manifests: {key} must be an RFC 1123 label, got {value!r}")
        if self.priority >= 0:
            raise ValueError(f"manifests: priority must be below 0, got {self.priority!r}")
        if not self.pause_image or any(c.isspace() for c in self.pause_image):
            raise ValueError(f"manifests: pause_image must name an image, got {self.pause_image!r}")


def render(plan: Plan, params: ManifestParams | None = None) -> dict[str, str]:
    """File name → YAML, the same for the same plan; one file an action, and the PriorityClass if
    needed.

    File names start with the moment from which they hold, so that their order is the order of
    applying.
    """
    params = params or ManifestParams()
    files: dict[str, dict[str, Any]] = {}
    plan_id = plan.plan_id  # a hash of everything: once, not once a file
    if plan.placeholders:
        files["00-priority-class.yaml"] = _priority_class(params)
    for action in plan.actions:
        notes = _notes(plan, plan_id, action)
        body = (
            _hpa_patch(action, notes)
            if isinstance(action, Floor)
            else _placeholder(action, notes, params)
        )
        files[_file_name(action)] = body
    return {name: yaml.safe_dump(files[name], sort_keys=False) for name in sorted(files)}


def dns_label(name: str) -> str:
    """An RFC 1123 label: the name itself if it is one, else its letters with a hash of the
    original."""
    return _safe(name, r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", _LABEL_MAX)


def _dns_name(name: str) -> str:
    """An RFC 1123 subdomain, which is what an HPA's name may be: labels with dots between them."""
    label = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    return _safe(name, rf"{label}(\.{label})*", 253)


def _safe(name: str, pattern: str, longest: int) -> str:
    if len(name) <= longest and re.fullmatch(pattern, name):
        return name
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-")
    return f"{letters or 'x'}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:10]}"


def _hpa_patch(floor: Floor, notes: dict[str, str]) -> dict[str, Any]:
    _, namespace, _, _ = split_workload(floor.workload)
    original = {"foretide.dev/original-min-replicas": str(floor.original)}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": _dns_name(floor.hpa),
            "namespace": dns_label(namespace),
            "annotations": original | notes,
        },
        "spec": {"minReplicas": floor.after},
    }


def _notes(plan: Plan, plan_id: str, action: Action) -> dict[str, str]:
    return {
        "foretide.dev/valid-from": _stamp(action.starts_at),
        "foretide.dev/valid-until": _stamp(action.ends_at),
        "foretide.dev/plan-id": plan_id,
        "foretide.dev/mode": plan.mode_of(action),
    }


def _priority_class(params: ManifestParams) -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": params.priority_class},
        "value": params.priority,
        "globalDefault": False,
        "preemptionPolicy": "Never",
        "description": "Pods that hold room for what comes and yield to any other pod.",
    }


def _placeholder(
    action: Placeholder, notes: dict[str, str], params: ManifestParams
) -> dict[str, Any]:
    name = _placeholder_name(action)
    labels = {
        "app.kubernetes.io/name": _APP,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "foretide",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": params.placeholder_namespace,
            "labels": labels,
            "annotations": notes,
        },
        "spec": {
            "replicas": action.count,
            "selector": {"matchLabels": dict(labels)},
            "template": {
                # moving a placeholder would restart the very nodes that it holds, just before
                # they are needed; it stands for minutes, so nothing is blocked for long
                "metadata": {
                    "labels": dict(labels),
                    "annotations": {"karpenter.sh/do-not-disrupt": "true"},
                },
                "spec": _pause_pod(action, params),
            },
        },
    }


def _pause_pod(action: Placeholder, params: ManifestParams) -> dict[str, Any]:
    return {
        "priorityClassName": params.priority_class,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65535,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "pause",
                "image": params.pause_image,
                "resources": {"requests": _requests(action)},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def _requests(action: Placeholder) -> dict[str, str]:
    requests = {"cpu": f"{round(action.cpu_cores * 1000)}m"}
    if action.memory_bytes > 0:
        requests["memory"] = str(round(action.memory_bytes))
    return requests


def _placeholder_name(action: Placeholder) -> str:
    # shadow and act stand apart: what is only shown must not share a name with what is done
    return dns_label(f"{_APP}-{action.gate}")


def _file_name(action: Action) -> str:
    at = action.starts_at.strftime("%Y%m%dT%H%M%SZ")
    if isinstance(action, Floor):
        parts = [*split_workload(action.workload), action.hpa]
        # parts may meet after they are made safe: the hash keeps two workloads apart
        key = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:8]
        where = "_".join(dns_label(p) for p in (parts[0], parts[1], action.hpa))
        return f"{at}_floor_{where}_{key}.yaml"
    return f"{at}_placeholder_{dns_label(action.cluster)}_{action.gate}.yaml"


def _stamp(at: pd.Timestamp) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
