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
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from features.workloads import split_workload
from models.actions import Action, Floor, Hold, Placeholder, Plan
from models.node_budgets import hold_budget

__all__ = ["ManifestParams", "dns_label", "pause_pod", "priority_class", "render", "requests"]

_LABEL_MAX = 63
_NOTE = "foretide.dev/gitops-"
"""Of what somebody else applies: the annotations of what Foretide itself holds are others, and
``foretide.dev/mode`` is people's kill switch."""
_APP = "foretide-placeholder"
_UNITS = ("Mi", "Gi", "Ti")
_PLAIN = re.compile(r'(?:"[A-Za-z0-9._:+/-]{1,100}"|[^"])*')
"""JSON of nothing but plain words."""


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
    files: dict[str, Any] = {}
    plan_id = plan.plan_id  # a hash of everything: once, not once a file
    if plan.placeholders:
        files["00-priority-class.yaml"] = priority_class(params)
    for action in plan.actions:
        notes = _notes(plan, plan_id, action)
        match action:
            case Floor():
                body = _hpa_patch(action, notes)
            case Placeholder():
                body = _placeholder(action, notes, params)
            case Hold():
                body = _hold(action)
        files[_file_name(action, plan.mode_of(action))] = body
    return {name: _as_yaml(files[name]) for name in sorted(files)}


def _as_yaml(body: Any) -> str:
    """The text of ``yaml.safe_dump``. What is written in C is the same, and a tenth of the time,
    where no word can be quoted or folded in two ways."""
    fast = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper = fast if _PLAIN.fullmatch(json.dumps(body)) else yaml.SafeDumper
    return yaml.dump(body, Dumper=dumper, sort_keys=False)


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
    own = {_NOTE + "original": str(floor.original), _NOTE + "floor": str(floor.after)}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": _dns_name(floor.hpa),
            "namespace": dns_label(namespace),
            "annotations": own | notes,
        },
        "spec": {"minReplicas": floor.after},
    }


def _notes(plan: Plan, plan_id: str, action: Action) -> dict[str, str]:
    return {
        _NOTE + "valid-from": _stamp(action.starts_at),
        _NOTE + "valid-until": _stamp(action.ends_at),
        _NOTE + "plan-id": plan_id,
        _NOTE + "mode": plan.mode_of(action),
    }


def _hold(action: Hold) -> dict[str, Any]:
    """An entry of a kustomization's ``patches``: it adds to the list of budgets, which as an atomic
    list would be replaced by an apply."""
    name = {"name": re.escape(action.nodepool)} if action.nodepool else {}
    budget = hold_budget(action.starts_at, action.ends_at)
    add = {"op": "add", "path": "/spec/disruption/budgets/-", "value": budget}
    return {
        "target": {"group": "karpenter.sh", "version": "v1", "kind": "NodePool", **name},
        "patch": yaml.safe_dump([add], sort_keys=False),
    }


def priority_class(params: ManifestParams) -> dict[str, Any]:
    """The PriorityClass of pods that yield to all others."""
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
    name = _placeholder_name(action, notes[_NOTE + "mode"])
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
                "spec": pause_pod(requests(action.cpu_cores, action.memory_bytes), params),
            },
        },
    }


def pause_pod(asks: dict[str, str], params: ManifestParams) -> dict[str, Any]:
    """The spec of a pod that does nothing but hold what it requests."""
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
                "resources": {"requests": asks},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }


def requests(cpu_cores: float, memory_bytes: float) -> dict[str, str]:
    """Requests of a container as Kubernetes itself writes such quantities, so that what is read
    back is what was written; memory in whole MiB, 0 is left out."""
    milli = math.ceil(cpu_cores * 1000 - 1e-6)
    asks = {"cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"}
    size, unit = math.ceil(memory_bytes / 2**20 - 1e-9), 0
    while size and size % 1024 == 0 and unit < len(_UNITS) - 1:
        size, unit = size // 1024, unit + 1
    return asks | ({"memory": f"{size}{_UNITS[unit]}"} if size > 0 else {})


def _placeholder_name(action: Placeholder, mode: str) -> str:
    # what is only shown, or waits for a person, must not share a name with what is done
    pool = f"-{action.nodepool}" if action.nodepool else ""
    return dns_label(f"{_APP}-{_apart(action, mode)}{pool}")


def _apart(action: Action, mode: str) -> str:
    """What may be done, and where the gate is shut what people want done: groups differ in both."""
    return mode if action.gate == "act" else f"{mode}-of-{action.mode}"


def _file_name(action: Action, mode: str) -> str:
    at = action.starts_at.strftime("%Y%m%dT%H%M%SZ")
    if isinstance(action, Floor):
        parts = [*split_workload(action.workload), action.hpa]
        # parts may meet after they are made safe: the hash keeps two workloads apart
        key = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:8]
        where = "_".join(dns_label(p) for p in (parts[0], parts[1], action.hpa))
        return f"{at}_floor_{where}_{key}.yaml"
    pool = f"_{dns_label(action.nodepool)}" if action.nodepool else ""
    what = "hold" if isinstance(action, Hold) else "placeholder"
    return f"{at}_{what}_{dns_label(action.cluster)}{pool}_{_apart(action, mode)}.yaml"


def _stamp(at: pd.Timestamp) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
