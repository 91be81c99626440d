"""Reading pods of the Kubernetes API: what one asks for, whose it is, and where it may run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite, nan
from typing import Any

from features.workloads import workload_id
from models.cluster_facts import NodePoolFacts, Selector

__all__ = [
    "Amounts",
    "amount",
    "amounts",
    "at",
    "may_run",
    "may_start",
    "owner",
    "selector",
    "tolerates",
]

Object = Mapping[str, Any]
_KNOWN_DOMAINS = ("kubernetes.io", "k8s.io", "karpenter.sh", "k8s.aws", "azure.com")
"""Labels that a cloud sets on its own; any other has to be in the NodePool."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Requests and limits of one pod, in cores and bytes; a limit is NaN where none is set."""

    cpu_cores: float
    memory_bytes: float
    cpu_limit_cores: float
    memory_limit_bytes: float


def at(obj: Any, *path: str) -> Any:
    """The value at a path of keys; an empty mapping where there is none."""
    for key in path:
        obj = obj.get(key) if isinstance(obj, Mapping) else None
    return {} if obj is None else obj


def amount(text: Any) -> float:
    """A Kubernetes quantity (``250m``, ``4Gi``) as a number; NaN where it is none."""
    return nan if isinstance(text, dict | list | bool) or text is None else _quantity(str(text))


@cache
def _quantity(text: str) -> float:
    from kubernetes.utils.quantity import parse_quantity

    try:
        value = float(parse_quantity(text))
    except (ValueError, OverflowError):
        return nan
    return value if isfinite(value) else nan


def amounts(spec: Object) -> Amounts:
    """What the scheduler and quotas count for a pod of this spec.

    Source: Kubernetes documentation, "Effective Pod requests and limits": the larger of all
    containers that run together, sidecars (init containers that restart always) included, and of
    what is needed at any moment of the start; requests of the pod itself come before both;
    ``overhead`` on top. A request left out is the limit.
    """
    limits = [_effective(spec, "limits", r, nan) for r in ("cpu", "memory")]
    requests = [_effective(spec, "requests", r, 0.0) for r in ("cpu", "memory")]
    return Amounts(*requests, *limits)


def _effective(spec: Object, field: str, resource: str, none: float) -> float:
    own = _asked(spec, field, resource)
    sidecars, start = _Sum(), _Sum()
    for container in at(spec, "initContainers") or ():
        alone = _Sum().plus(_asked(container, field, resource))
        if container.get("restartPolicy") == "Always":
            sidecars = sidecars.plus(alone.value)
            start = start.most(sidecars)
        else:
            start = start.most(sidecars.plus(alone.value))
    together = sidecars
    for container in at(spec, "containers") or ():
        together = together.plus(_asked(container, field, resource))
    total = start.most(together).value if own is None else own
    overhead = at(spec, "overhead").get(resource)
    if total is None:
        return none if overhead is None or field == "limits" else amount(overhead)
    return total + (0.0 if overhead is None else amount(overhead))


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum of what is set; None where nothing is."""

    value: float | None = None

    def plus(self, other: float | None) -> _Sum:
        return self if other is None else _Sum((self.value or 0.0) + other)

    def most(self, other: _Sum) -> _Sum:
        if self.value is None or other.value is None:
            return other if self.value is None else self
        return self if self.value >= other.value else other


def _asked(holder: Object, field: str, resource: str) -> float | None:
    found = at(holder, "resources", field).get(resource)
    if found is None and field == "requests":
        found = at(holder, "resources", "limits").get(resource)
    return None if found is None else amount(found)


def owner(cluster: str, pod: Object) -> str | None:
    """The workload of a pod; None for one that nothing controls.

    A ReplicaSet's name is its owner's and the hash that its pods carry as a label; so nobody needs
    to read all the ReplicaSets of a cluster.
    """
    meta = at(pod, "metadata")
    refs = [r for r in at(meta, "ownerReferences") or () if r.get("controller")]
    if not refs or refs[0].get("kind") == "Node":
        return None
    kind, name, labels = str(refs[0].get("kind")), str(refs[0].get("name")), at(meta, "labels")
    if kind == "ReplicaSet":
        for label, real in (
            ("rollouts-pod-template-hash", "Rollout"),
            ("pod-template-hash", "Deployment"),
        ):
            made = f"-{labels.get(label)}"
            if label in labels and name.endswith(made):
                kind, name = real, name.removesuffix(made)
                break
    return workload_id(cluster, str(meta.get("namespace", "")), kind, name)


def selector(obj: Any) -> Selector | None:
    """A label selector; None where there is none."""
    if not isinstance(obj, Mapping):
        return None
    return Selector(dict(at(obj, "matchLabels")), _expressions(at(obj, "matchExpressions") or ()))


def _expressions(rows: Iterable[Object]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return tuple(
        (
            str(r.get("key")),
            str(r.get("operator")),
            tuple(str(v) for v in r.get("values") or ()),
        )
        for r in rows
    )


def tolerates(spec: Object, taints: Iterable[Object]) -> bool:
    """Whether a pod of this spec may start on a node with these taints."""
    hard = [t for t in taints if t.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(x, t) for x in at(spec, "tolerations") or ()) for t in hard)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    same_key = toleration.get("key") == taint.get("key")
    return same_key and (toleration.get("value") or "") == (taint.get("value") or "")


def may_run(spec: Object, labels: Mapping[str, str]) -> bool:
    """Whether the node selector and the required node affinity of a pod allow a node."""
    if any(labels.get(k) != v for k, v in at(spec, "nodeSelector").items()):
        return False
    terms = _terms(spec)
    return not terms or any(
        not t.get("matchFields")
        and Selector({}, _expressions(t.get("matchExpressions") or ())).matches(labels)
        for t in terms
    )


def may_start(spec: Object, pool: NodePoolFacts) -> bool:
    """Whether a NodePool can start a node that a pod's selector, affinity and tolerations allow.

    What a NodePool says nothing about is allowed where a cloud sets that label on its own, and not
    where nobody does. ``Gt`` and ``Lt`` are taken as allowed.
    """
    wanted = [
        {"key": k, "operator": "In", "values": [v]} for k, v in at(spec, "nodeSelector").items()
    ]
    terms = [t.get("matchExpressions") or () for t in _terms(spec)] or [()]
    return tolerates(spec, pool.taints) and any(
        all(_allows(pool, e) for e in (*wanted, *term)) for term in terms
    )


def _terms(spec: Object) -> list[Object]:
    path = ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    return list(at(spec, "affinity", *path) or ())


def _allows(pool: NodePoolFacts, wanted: Object) -> bool:
    key, values = str(wanted.get("key")), set(wanted.get("values") or ())
    given = {str(k): {str(v)} for k, v in pool.labels.items()} | {
        str(r.get("key")): set(r.get("values") or ())
        for r in pool.requirements
        if r.get("operator") == "In"
    }
    if key not in given:
        mentioned = any(r.get("key") == key for r in pool.requirements)
        clouds = key.split("/")[0].endswith(_KNOWN_DOMAINS) and "/" in key
        return mentioned or clouds or wanted.get("operator") in ("NotIn", "DoesNotExist")
    match wanted.get("operator"):
        case "In":
            return bool(given[key] & values)
        case "NotIn":
            return bool(given[key] - values)
        case "DoesNotExist":
            return False
        case _:
            return True
