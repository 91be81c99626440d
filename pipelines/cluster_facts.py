"""What a cluster can hold, read from its API, or, where no cluster is connected, from samples.

What may not or cannot be read becomes a problem in words: the facts then say less, never wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Protocol

from features.workloads import workload_id
from models.cluster_facts import (
    ClusterFacts,
    NodePoolFacts,
    PdbFacts,
    PodShape,
    QuotaFacts,
    QuotaScope,
    cluster_wide,
)
from pipelines.adapters.kube import (
    DAEMON_SET,
    DEPLOYMENT,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    POD_DISRUPTION_BUDGET,
    RESOURCE_QUOTA,
    STATEFUL_SET,
    Kind,
)
from pipelines.cluster_nodes import (
    Machine,
    PodOnNode,
    fill,
    free_rooms,
    machines,
    pool_facts,
    shapes_of,
)
from pipelines.cluster_panel import facts_of_panel
from pipelines.cluster_pods import Object, amount, amounts, at, may_start, owner, selector
from pipelines.errors import ClusterForbidden, ObjectMissing

__all__ = ["Lister", "facts_of_panel", "read_facts"]

_MISSED = {
    NODE_POOL: "limits of NodePools are not known",
    NODE: "free room on nodes is not known",
    NODE_CLAIM: "nodes that are starting are not seen",
    POD: "free room on nodes and where workloads run are not known",
    DAEMON_SET: "what DaemonSets take of a new node is not known",
    RESOURCE_QUOTA: "ResourceQuotas are not checked",
    POD_DISRUPTION_BUDGET: "PodDisruptionBudgets are not checked",
    DEPLOYMENT: "Deployments without pods are not known",
    STATEFUL_SET: "StatefulSets without pods are not known",
}


class Lister(Protocol):
    """The one thing that is asked of a cluster here; ``adapters.kube.Kube`` does it."""

    def list(self, kind: Kind) -> Iterator[dict[str, Any]]:
        """All objects of a kind, in all namespaces."""
        ...


@dataclass
class _Read:
    """What was read so far; a kind that could not be read is None."""

    kube: Lister
    problems: list[str] = field(default_factory=list[str])

    def all(self, kind: Kind) -> list[dict[str, Any]] | None:
        try:
            return list(self.kube.list(kind))
        except ClusterForbidden as error:
            self.problems.append(f"{kind.plural} may not be read: {_MISSED[kind]} ({error})")
        except ObjectMissing:
            self.problems.append(f"{kind.plural} are not served: {_MISSED[kind]}")
        return None


def read_facts(kube: Lister, cluster: str) -> ClusterFacts:
    """NodePools, free room, quotas, budgets and pods of a cluster; ``cluster`` is its name.

    Raises
    ------
    ClusterError
        The API server is not there, or fails otherwise than by saying that a kind is not served or
        may not be read.
    """
    read = _Read(kube)
    pools, nodes, claims, pods = (read.all(k) for k in (NODE_POOL, NODE, NODE_CLAIM, POD))
    daemons = read.all(DAEMON_SET) or []
    live = [p for p in pods or [] if at(p, "status").get("phase") not in ("Succeeded", "Failed")]
    bound = _bound(live)
    found = machines(nodes or [], claims or [])
    blind = nodes is None and claims is None
    nodepools = tuple(
        fill(
            pool_facts(p, None if blind else [m for m in found if _in(m, p)]), found, daemons, bound
        )
        for p in pools or []
    )
    if blind:  # room that nobody sees would be taken for no room
        nodepools = ()
    return ClusterFacts(
        cluster=cluster,
        nodepools=nodepools,
        everywhere=None if blind else _everywhere(nodepools, found, bound),
        quotas=tuple(map(_quota, read.all(RESOURCE_QUOTA) or [])),
        pdbs=tuple(map(_pdb, read.all(POD_DISRUPTION_BUDGET) or [])),
        pods=tuple(_shapes(cluster, live, found, nodepools) if pods is not None else ())
        + tuple(_asleep(cluster, read, live, nodepools)),
        problems=tuple(read.problems),
    )


def _in(machine: Machine, pool: Object) -> bool:
    return machine.pool == at(pool, "metadata").get("name")


def _bound(pods: list[dict[str, Any]]) -> list[PodOnNode]:
    """Pods that keep their room; one of a priority below 0, a placeholder, gives it away."""
    return [
        PodOnNode(str(node), amounts(at(p, "spec")))
        for p in pods
        if (node := at(p, "spec").get("nodeName")) and (at(p, "spec").get("priority") or 0) >= 0
    ]


def _everywhere(
    nodepools: tuple[NodePoolFacts, ...], found: Sequence[Machine], bound: list[PodOnNode]
) -> NodePoolFacts | None:
    names = {p.name for p in nodepools}
    others = [m for m in found if m.pool not in names]
    if not found:
        return None
    return cluster_wide(
        nodepools, shapes_of(others), free_rooms(others, bound, (), (0.0, 0.0, 0.0))
    )


def _shapes(
    cluster: str,
    pods: list[dict[str, Any]],
    found: Sequence[Machine],
    nodepools: tuple[NodePoolFacts, ...],
) -> Iterator[PodShape]:
    """One a workload: the newest pod says what a pod asks for, all of them where they run."""
    of: dict[str, list[dict[str, Any]]] = {}
    for pod in pods:
        name = owner(cluster, pod)
        if name is not None and "deletionTimestamp" not in at(pod, "metadata"):
            of.setdefault(name, []).append(pod)
    pool_of = {m.name: m.pool for m in found}
    for name in sorted(of):
        newest = max(of[name], key=lambda p: str(at(p, "metadata").get("creationTimestamp")))
        nodes = [str(n) for p in of[name] if (n := at(p, "spec").get("nodeName"))]
        where = Counter(pool_of[n] for n in nodes if n in pool_of)
        pool = min(where, key=lambda n: (-where[n], n)) if where else None
        template = {"metadata": at(newest, "metadata"), "spec": at(newest, "spec")}
        yield _shape(name, template, nodepools, len(of[name]), len(nodes), pool)


def _shape(
    name: str,
    template: Object,
    nodepools: tuple[NodePoolFacts, ...],
    pods: int,
    placed: int,
    pool: str | None,
) -> PodShape:
    spec = at(template, "spec")
    asks = amounts(spec)
    return PodShape(
        workload=name,
        cpu_cores=asks.cpu_cores,
        memory_bytes=asks.memory_bytes,
        nodepool=_by_rules(spec, nodepools) if pool is None else pool,
        pods=pods,
        placed=placed,
        cpu_limit_cores=asks.cpu_limit_cores,
        memory_limit_bytes=asks.memory_limit_bytes,
        priority_class=str(spec.get("priorityClassName") or ""),
        labels=dict(at(template, "metadata", "labels")),
    )


def _by_rules(spec: Object, nodepools: tuple[NodePoolFacts, ...]) -> str | None:
    """The NodePool that would start a node for a pod: the heaviest of those that may; None where
    several weigh the same."""
    may = [p for p in nodepools if p.static_replicas is None and may_start(spec, p)]
    most = max((p.weight for p in may), default=0)
    names = [p.name for p in may if p.weight == most]
    return names[0] if len(names) == 1 else None


def _asleep(
    cluster: str, read: _Read, pods: list[dict[str, Any]], nodepools: tuple[NodePoolFacts, ...]
) -> Iterator[PodShape]:
    """Deployments and StatefulSets that have no pod now, by their templates."""
    awake = {owner(cluster, p) for p in pods if "deletionTimestamp" not in at(p, "metadata")}
    for kind in (DEPLOYMENT, STATEFUL_SET):
        for obj in read.all(kind) or []:
            meta = at(obj, "metadata")
            name = workload_id(
                cluster, str(meta.get("namespace", "")), kind.kind, str(meta.get("name"))
            )
            if name not in awake:
                yield _shape(name, at(obj, "spec", "template"), nodepools, 0, 0, None)


def _quota(obj: Object) -> QuotaFacts:
    meta, spec, status = at(obj, "metadata"), at(obj, "spec"), at(obj, "status")
    chosen = at(spec, "scopeSelector", "matchExpressions") or ()
    scopes = [QuotaScope(str(s)) for s in at(spec, "scopes") or ()]
    scopes += [
        QuotaScope(
            str(e.get("scopeName")),
            str(e.get("operator", "Exists")),
            tuple(str(v) for v in e.get("values") or ()),
        )
        for e in chosen
    ]
    return QuotaFacts(
        namespace=str(meta.get("namespace")),
        name=str(meta.get("name")),
        hard=_numbers(at(status, "hard") or at(spec, "hard")),
        used=_numbers(at(status, "used")),
        scopes=tuple(scopes),
    )


def _numbers(given: Object) -> dict[str, float]:
    values = {str(k): amount(v) for k, v in given.items()}
    return {k: v for k, v in values.items() if not isnan(v)}


def _pdb(obj: Object) -> PdbFacts:
    meta, spec = at(obj, "metadata"), at(obj, "spec")
    return PdbFacts(
        namespace=str(meta.get("namespace")),
        name=str(meta.get("name")),
        selector=selector(spec.get("selector")),
        min_available=spec.get("minAvailable"),
        max_unavailable=spec.get("maxUnavailable"),
        disruptions_allowed=at(obj, "status").get("disruptionsAllowed"),
    )
