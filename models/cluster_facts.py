"""What a cluster can hold, as plain values: NodePools, room on nodes, quotas, disruption budgets.

NaN and None say "not known"; a limit of inf says "known: there is none". Nothing here is ever 0 for
want of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, Literal

__all__ = [
    "ClusterFacts",
    "NodePoolFacts",
    "NodeShape",
    "PdbFacts",
    "PodShape",
    "QuotaFacts",
    "QuotaScope",
    "Room",
    "Selector",
    "cluster_wide",
]

ShapesFrom = Literal["requirements", "seen", "mean"]


@dataclass(frozen=True, slots=True)
class NodeShape:
    """One size of node.

    ``cpu_cores``, ``memory_bytes`` and ``pods`` are what pods may have of it (allocatable),
    ``capacity_…`` what it counts for in a NodePool's limits; ``nodes`` is how many there are.
    """

    name: str
    cpu_cores: float
    memory_bytes: float
    pods: float = nan
    capacity_cpu_cores: float = nan
    capacity_memory_bytes: float = nan
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What pods may still have of one node that is there, or that is being started."""

    cpu_cores: float
    memory_bytes: float
    pods: float = nan


@dataclass(frozen=True, slots=True)
class NodePoolFacts:
    """A NodePool: what it may grow to, what its nodes look like, what is free on them.

    Attributes
    ----------
    cpu_cores_limit, memory_bytes_limit, nodes_limit : spec.limits; inf where there is none
    used_cpu_cores, used_memory_bytes, used_nodes : status.resources, as the limits count
    static_replicas : spec.replicas; None: dynamic
    shapes : sizes of its nodes, the most usual first
    shapes_from : ``requirements``: they are all that it may start; ``seen``: those it has, it may
        know others; ``mean``: no real node, the mean of many
    rooms : of each node that takes pods
    daemon_cpu_cores, daemon_memory_bytes, daemon_pods : what DaemonSets take of every new node
    labels, taints, requirements : raw, of spec.template
    budgets : raw, spec.disruption.budgets
    """

    name: str
    cpu_cores_limit: float = nan
    memory_bytes_limit: float = nan
    nodes_limit: float = nan
    used_cpu_cores: float = nan
    used_memory_bytes: float = nan
    used_nodes: float = nan
    static_replicas: int | None = None
    shapes: tuple[NodeShape, ...] = ()
    shapes_from: ShapesFrom = "seen"
    rooms: tuple[Room, ...] = ()
    daemon_cpu_cores: float = nan
    daemon_memory_bytes: float = nan
    daemon_pods: float = nan
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: tuple[Mapping[str, Any], ...] = ()
    requirements: tuple[Mapping[str, Any], ...] = ()
    weight: int = 0
    budgets: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector; ``expressions`` are ``(key, operator, values)``. Empty selects all."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(k) == v for k, v in self.labels.items()) and all(
            _holds(labels, *each) for each in self.expressions
        )


def _holds(labels: Mapping[str, str], key: str, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


@dataclass(frozen=True, slots=True)
class QuotaScope:
    """A scope of a quota: ``values`` and ``operator`` only where it is about PriorityClasses."""

    name: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuotaFacts:
    """A ResourceQuota: resource → cores, bytes or a count, as its own names say."""

    namespace: str
    name: str
    hard: Mapping[str, float]
    used: Mapping[str, float]
    scopes: tuple[QuotaScope, ...] = ()


@dataclass(frozen=True, slots=True)
class PdbFacts:
    """A PodDisruptionBudget; the two bounds raw: a number, or text like ``50%``."""

    namespace: str
    name: str
    selector: Selector | None
    """None selects nothing."""
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    disruptions_allowed: int | None = None


@dataclass(frozen=True, slots=True)
class PodShape:
    """One pod of a workload, and how many of it there are.

    Attributes
    ----------
    cpu_cores, memory_bytes : requests of one pod; NaN not known, 0 asks for none
    cpu_limit_cores, memory_limit_bytes : NaN where a container has none
    nodepool : where its pods run; empty: on nodes of no NodePool; None: not known
    pods, placed : pods that have not ended, and those of them that have a node
    """

    workload: str
    cpu_cores: float = nan
    memory_bytes: float = nan
    nodepool: str | None = None
    pods: int = 0
    placed: int = 0
    cpu_limit_cores: float = nan
    memory_limit_bytes: float = nan
    priority_class: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What was read of one cluster; what could not be read stands in ``problems``.

    ``everywhere`` is the whole cluster as if it were one NodePool, for pods of which nobody knows
    where they may run.
    """

    cluster: str
    nodepools: tuple[NodePoolFacts, ...] = ()
    everywhere: NodePoolFacts | None = None
    quotas: tuple[QuotaFacts, ...] = ()
    pdbs: tuple[PdbFacts, ...] = ()
    pods: tuple[PodShape, ...] = ()
    problems: tuple[str, ...] = ()

    def nodepool(self, name: str) -> NodePoolFacts | None:
        """The NodePool of that name, or the whole cluster where nobody knows it."""
        return next((p for p in self.nodepools if name and p.name == name), self.everywhere)


def cluster_wide(
    nodepools: tuple[NodePoolFacts, ...], others: tuple[NodeShape, ...], rooms: tuple[Room, ...]
) -> NodePoolFacts:
    """All NodePools, and the nodes of none, as one pool without a name.

    Its limits are the sums, and stand only where every pool has one: what they cannot hold, no
    pool can. ``others`` and ``rooms`` are of the nodes of no NodePool, which nobody here can add
    to.
    """
    shapes = [s for p in nodepools for s in p.shapes]
    shapes.sort(key=lambda s: (-s.nodes, s.cpu_cores, s.memory_bytes, s.name))
    return NodePoolFacts(
        name="",
        cpu_cores_limit=_sum(nodepools, "cpu_cores_limit"),
        memory_bytes_limit=_sum(nodepools, "memory_bytes_limit"),
        nodes_limit=_sum(nodepools, "nodes_limit"),
        used_cpu_cores=_sum(nodepools, "used_cpu_cores"),
        used_memory_bytes=_sum(nodepools, "used_memory_bytes"),
        used_nodes=_sum(nodepools, "used_nodes"),
        shapes=(*shapes, *others),
        shapes_from="mean" if any(p.shapes_from == "mean" for p in nodepools) else "seen",
        rooms=(*(r for p in nodepools for r in p.rooms), *rooms),
        # of all pools the least: it must not say more than is true of one of them
        daemon_cpu_cores=_least(nodepools, "daemon_cpu_cores"),
        daemon_memory_bytes=_least(nodepools, "daemon_memory_bytes"),
        daemon_pods=_least(nodepools, "daemon_pods"),
    )


def _sum(pools: tuple[NodePoolFacts, ...], key: str) -> float:
    """NaN where one is not known, or there is no pool."""
    return sum((float(getattr(p, key)) for p in pools), 0.0) if pools else nan


def _least(pools: tuple[NodePoolFacts, ...], key: str) -> float:
    known = [v for p in pools if (v := float(getattr(p, key))) == v]
    least = min(known, default=inf)
    return least if known else nan
