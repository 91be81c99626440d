"""Reading the nodes of a cluster: sizes, free room, and what DaemonSets take of each NodePool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, nan

from models.cluster_facts import NodePoolFacts, NodeShape, Room
from pipelines.cluster_pods import Amounts, Object, amount, amounts, at, may_run, tolerates

__all__ = ["Machine", "PodOnNode", "fill", "free_rooms", "machines", "pool_facts", "shapes_of"]

POOL = "karpenter.sh/nodepool"
TYPE = "node.kubernetes.io/instance-type"


@dataclass(frozen=True, slots=True)
class Machine:
    """A node, or a NodeClaim that is to become one."""

    name: str
    pool: str
    type: str
    allocatable: tuple[float, float, float]
    capacity: tuple[float, float]
    labels: Mapping[str, str]
    taints: tuple[Object, ...]
    takes_pods: bool
    starting: bool


@dataclass(frozen=True, slots=True)
class PodOnNode:
    """What one pod takes of the node that it is bound to."""

    node: str
    amounts: Amounts


def machines(nodes: Iterable[Object], claims: Iterable[Object]) -> list[Machine]:
    """Every node once, as it says itself; NodeClaims without a node that is ready beside them."""
    found = {m.name: m for m in map(_of_node, nodes)}
    for claim in claims:
        machine = _of_claim(claim)
        known = found.get(machine.name)
        if known is None or (known.starting and not isnan(machine.allocatable[0])):
            found[machine.name] = machine
    return [found[name] for name in sorted(found)]


def _of_node(node: Object) -> Machine:
    meta, status = at(node, "metadata"), at(node, "status")
    labels = dict(at(meta, "labels"))
    ready = _condition(status, "Ready")
    leaves = bool(at(node, "spec", "unschedulable")) or "deletionTimestamp" in meta
    return Machine(
        name=str(meta.get("name")),
        pool=labels.get(POOL, ""),
        type=labels.get(TYPE, ""),
        allocatable=_allocatable(status),
        capacity=_capacity(status),
        labels=labels,
        taints=tuple(at(node, "spec", "taints") or ()),
        takes_pods=ready and not leaves,
        starting=not ready and not leaves and labels.get("karpenter.sh/initialized") != "true",
    )


def _of_claim(claim: Object) -> Machine:
    meta, status = at(claim, "metadata"), at(claim, "status")
    labels = dict(at(meta, "labels"))
    leaves = "deletionTimestamp" in meta
    return Machine(
        name=str(status.get("nodeName") or f"NodeClaim {meta.get('name')}"),
        pool=labels.get(POOL, ""),
        type=labels.get(TYPE, ""),
        allocatable=_allocatable(status),
        capacity=_capacity(status),
        labels=labels,
        taints=tuple(at(claim, "spec", "taints") or ()),
        takes_pods=_condition(status, "Launched") and not leaves,
        starting=not _condition(status, "Initialized") and not leaves,
    )


def _condition(status: Object, kind: str) -> bool:
    rows = at(status, "conditions") or ()
    return any(c.get("type") == kind and c.get("status") == "True" for c in rows)


def _allocatable(status: Object) -> tuple[float, float, float]:
    given = at(status, "allocatable")
    return amount(given.get("cpu")), amount(given.get("memory")), amount(given.get("pods"))


def _capacity(status: Object) -> tuple[float, float]:
    given = at(status, "capacity")
    return amount(given.get("cpu")), amount(given.get("memory"))


def pool_facts(pool: Object, found: Sequence[Machine] | None) -> NodePoolFacts:
    """A NodePool by itself; ``found`` are its nodes, where they could be read."""
    spec, template = at(pool, "spec"), at(pool, "spec", "template")
    limits, used = at(spec, "limits"), at(pool, "status", "resources")
    static = spec.get("replicas")
    counted = _counted(found) if found is not None else {}

    def limit(key: str) -> float:
        return amount(limits[key]) if key in limits else inf

    def taken(key: str) -> float:
        return amount(used[key]) if key in used else counted.get(key, nan)

    return NodePoolFacts(
        name=str(at(pool, "metadata").get("name")),
        cpu_cores_limit=limit("cpu"),
        memory_bytes_limit=limit("memory"),
        nodes_limit=limit("nodes"),
        used_cpu_cores=taken("cpu"),
        used_memory_bytes=taken("memory"),
        used_nodes=taken("nodes"),
        static_replicas=static if isinstance(static, int) else None,
        labels={POOL: str(at(pool, "metadata").get("name")), **at(template, "metadata", "labels")},
        taints=tuple(at(template, "spec", "taints") or ()),
        requirements=tuple(at(template, "spec", "requirements") or ()),
        weight=int(spec.get("weight") or 0),
        budgets=tuple(at(spec, "disruption", "budgets") or ()),
    )


def _counted(found: Sequence[Machine]) -> dict[str, float]:
    return {
        "cpu": sum(m.capacity[0] for m in found),
        "memory": sum(m.capacity[1] for m in found),
        "nodes": float(len(found)),
    }


def fill(
    pool: NodePoolFacts,
    everything: Sequence[Machine],
    daemons: Iterable[Object],
    pods: Iterable[PodOnNode],
) -> NodePoolFacts:
    """The NodePool with its sizes of nodes, free room, and DaemonSets' share.

    Sizes are those of its nodes; where its requirements name instance types, also those of the same
    types elsewhere in the cluster, and when all of them are known there are no others.
    """
    mine = [m for m in everything if m.pool == pool.name]
    types = _types(pool)
    like = [m for m in everything if m.type in types] if types else mine
    taken = _daemons(pool, mine, daemons)
    named = types is not None and types <= {m.type for m in like}
    return replace(
        pool,
        shapes=shapes_of(like, pool.name),
        shapes_from="requirements" if named else "seen",
        rooms=free_rooms(mine, pods, pool.taints, taken),
        daemon_cpu_cores=taken[0],
        daemon_memory_bytes=taken[1],
        daemon_pods=taken[2],
    )


def _types(pool: NodePoolFacts) -> set[str] | None:
    """The instance types that the requirements name; None where they leave it open."""
    named = [
        {str(v) for v in r.get("values") or ()}
        for r in pool.requirements
        if r.get("key") == TYPE and r.get("operator") == "In"
    ]
    return set[str].intersection(*named) if named else None


def shapes_of(found: Iterable[Machine], pool: str = "") -> tuple[NodeShape, ...]:
    """One shape an instance type, the most usual first; of equal types the smallest counts."""
    groups: dict[tuple[str, float, float], list[Machine]] = {}
    for m in found:
        if not (isnan(m.allocatable[0]) or isnan(m.allocatable[1])):
            size = (0.0, 0.0) if m.type else m.allocatable[:2]
            groups.setdefault((m.type, *size), []).append(m)
    shapes = [
        NodeShape(
            name=key[0],
            cpu_cores=min(m.allocatable[0] for m in group),
            memory_bytes=min(m.allocatable[1] for m in group),
            pods=min(m.allocatable[2] for m in group),
            capacity_cpu_cores=max(m.capacity[0] for m in group),
            capacity_memory_bytes=max(m.capacity[1] for m in group),
            nodes=sum(m.pool == pool for m in group),
        )
        for key, group in groups.items()
    ]
    return tuple(sorted(shapes, key=lambda s: (-s.nodes, s.cpu_cores, s.memory_bytes, s.name)))


def _daemons(
    pool: NodePoolFacts, mine: Sequence[Machine], daemons: Iterable[Object]
) -> tuple[float, float, float]:
    """Cores, bytes and pods of the DaemonSets that would run on a new node.

    Approximated: one counts where it may run on more than half of the pool's nodes, or, where there
    are none, by the labels of the pool's template and its requirements of one value; pod affinity
    and host ports are not looked at.
    """
    single = {
        str(r.get("key")): str((r.get("values") or [""])[0])
        for r in pool.requirements
        if r.get("operator") == "In" and len(r.get("values") or ()) == 1
    }
    places: list[Mapping[str, str]] = [m.labels for m in mine]
    places = places or [{"kubernetes.io/os": "linux", **single, **pool.labels}]
    cores, memory, count = 0.0, 0.0, 0.0
    for daemon in daemons:
        spec = at(daemon, "spec", "template", "spec")
        votes = Counter(may_run(spec, labels) for labels in places)
        if tolerates(spec, pool.taints) and votes[True] > votes[False]:
            each = amounts(spec)
            cores, memory, count = cores + each.cpu_cores, memory + each.memory_bytes, count + 1
    return cores, memory, count


def free_rooms(
    mine: Iterable[Machine],
    pods: Iterable[PodOnNode],
    taints: Iterable[Object],
    daemons: tuple[float, float, float],
) -> tuple[Room, ...]:
    """What is free on each machine that takes pods; on one that starts, its DaemonSets still come.

    A node with a taint that its NodePool (``taints``) does not have is under pressure, is being
    drained, or is somebody's own: it takes nothing.
    """
    usual = {t.get("key") for t in taints}
    bound: dict[str, list[Amounts]] = {}
    for pod in pods:
        bound.setdefault(pod.node, []).append(pod.amounts)
    out: list[Room] = []
    for m in mine:
        odd = any(
            t.get("effect") in ("NoSchedule", "NoExecute") and t.get("key") not in usual
            for t in m.taints
        )
        if not m.takes_pods or odd or isnan(m.allocatable[0]):
            continue
        there = bound.get(m.name, [])
        later = daemons if m.starting and not there else (0.0, 0.0, 0.0)
        out.append(
            Room(
                cpu_cores=m.allocatable[0] - later[0] - sum(a.cpu_cores for a in there),
                memory_bytes=m.allocatable[1] - later[1] - sum(a.memory_bytes for a in there),
                pods=m.allocatable[2] - later[2] - len(there),
            )
        )
    return tuple(out)
