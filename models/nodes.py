"""Pods → nodes: how many new nodes each NodePool needs for pods that are about to come.

Pods fill the free room on nodes that are there, then new nodes, first-fit decreasing by the largest
share of a node that a pod takes (``models.nodes_kernel``). What DaemonSets take of a new node is
taken off first. Affinity, spread and zones are not modelled: they need more nodes, never fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from models.cluster_facts import ClusterFacts, NodePoolFacts
from models.hpa import Ints
from models.nodes_kernel import pack

__all__ = ["fits_nowhere", "nodes_needed"]

_SIZE = ("cpu_cores", "memory_bytes")
_COLUMNS = (
    "ts",
    "nodepool",
    "pods",
    "unknown",
    "nodes",
    "cpu_cores",
    "memory_bytes",
    "unfit",
    "held",
)


def nodes_needed(pods: pd.DataFrame, facts: ClusterFacts) -> pd.DataFrame:
    """New nodes of each NodePool at each moment.

    Parameters
    ----------
    pods : frame
        ``ts, workload, count, cpu_cores, memory_bytes, nodepool``: pods that come on top of those
        that have a node, each moment by itself. An empty ``nodepool`` is not known: such pods may
        go anywhere, and are packed by themselves. Of requests, one that is NaN counts for nothing;
        pods with both NaN are not packed.

    Returns
    -------
    frame, one row a moment and NodePool
        ``pods`` packed, ``unknown`` pods that could not be; ``nodes`` to start, without regard to
        limits, NaN where no size of node is known; ``cpu_cores, memory_bytes`` of these nodes, as
        limits count them (of their pods, where no size is known); ``unfit`` pods that no node
        holds; ``held`` pods that find a place within the NodePool's limits.
    """
    known = pods.assign(nodepool=pods["nodepool"].fillna("").astype("str"))
    found = [
        _of_pool(part, facts.nodepool(str(name)), str(name))
        for name, part in known.groupby("nodepool", sort=True)
    ]
    if not found:
        return pd.DataFrame({c: pd.Series(dtype=pods["ts"].dtype) for c in _COLUMNS[:1]}).reindex(
            columns=list(_COLUMNS)
        )
    return pd.concat(found, ignore_index=True).sort_values(["ts", "nodepool"], ignore_index=True)


def fits_nowhere(pods: pd.DataFrame, facts: ClusterFacts) -> NDArray[np.bool_]:
    """Whether a pod of each row, ``cpu_cores, memory_bytes, nodepool``, fits no node that its
    NodePool has or had; False where no size of node is known."""
    out = np.zeros(len(pods), dtype=bool)
    names = pods["nodepool"].fillna("").astype("str").to_numpy()
    for name in np.unique(names):
        box = _box(facts.nodepool(str(name)))
        rows = np.flatnonzero(names == name)
        if not len(box.shapes):
            continue
        sizes = _sizes(pods.iloc[rows])
        places = np.concatenate([box.shapes, box.rooms])
        held = (sizes[:, None, :] <= places[None] * (1 + 1e-9)).all(axis=2).any(axis=-1)
        out[rows] = ~held
    return out


@dataclass(frozen=True, slots=True)
class _Box:
    """A NodePool as arrays: cores, bytes and pods in the columns."""

    shapes: Floats
    capacity: Floats
    rooms: Floats
    budget: Floats


def _box(pool: NodePoolFacts | None) -> _Box:
    if pool is None:
        none = np.zeros((0, 3))
        return _Box(none, none, none, np.full(3, np.inf))
    taken = _table([(pool.daemon_cpu_cores, pool.daemon_memory_bytes, pool.daemon_pods)], 0.0)
    shapes = _table([(s.cpu_cores, s.memory_bytes, s.pods) for s in pool.shapes], np.inf)
    counted = _table(
        [(s.capacity_cpu_cores, s.capacity_memory_bytes, 1.0) for s in pool.shapes], np.nan
    )
    # a node has at least what it gives
    capacity = np.where(np.isnan(counted), np.where(np.isinf(shapes), 0.0, shapes), counted)
    rooms = _table([(r.cpu_cores, r.memory_bytes, r.pods) for r in pool.rooms], np.inf)
    return _Box(np.maximum(shapes - taken, 0.0), capacity, rooms, _budget(pool))


def _table(rows: list[tuple[float, float, float]], unknown: float) -> Floats:
    values = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    return np.where(np.isfinite(values), np.maximum(values, 0.0), unknown)


def _budget(pool: NodePoolFacts) -> Floats:
    """What new nodes may take: cores, bytes, nodes. Karpenter counts a node's whole capacity
    against the limits (its scheduler's filter of instance types by what remains)."""
    used = np.array([pool.used_cpu_cores, pool.used_memory_bytes, pool.used_nodes], np.float64)
    limits = np.array([pool.cpu_cores_limit, pool.memory_bytes_limit, pool.nodes_limit], np.float64)
    if pool.static_replicas is not None:
        limits = np.array([np.inf, np.inf, pool.static_replicas])
    room = limits - np.where(np.isfinite(used), used, np.nan)
    return np.where(np.isnan(room), np.inf, np.maximum(room, 0.0))


def _sizes(pods: pd.DataFrame) -> Floats:
    """Cores, bytes and 1 pod, (n, 3)."""
    asked = pods[list(_SIZE)].to_numpy(np.float64)
    known = np.where(np.isfinite(asked), np.maximum(asked, 0.0), 0.0)
    return np.column_stack([known, np.ones(len(known))])


def _of_pool(pods: pd.DataFrame, pool: NodePoolFacts | None, name: str) -> pd.DataFrame:
    moment, times = pd.factorize(pods["ts"], sort=True)
    count = np.maximum(pods["count"].to_numpy(np.int64), 0)
    blind = ~np.isfinite(pods[list(_SIZE)].to_numpy(np.float64)).any(axis=1)
    box = _box(pool)
    sizes, group = np.unique(_sizes(pods), axis=0, return_inverse=True)
    order = _decreasing(sizes, box)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    counts = np.zeros((len(times), len(sizes)), dtype=np.int64)
    np.add.at(counts, (moment, rank[group.ravel()]), np.where(blind, 0, count))
    largest_first = np.ascontiguousarray(sizes[order])
    placed = (counts, largest_first, box.rooms, box.shapes, box.capacity)
    nodes, unfit = pack(*placed, np.full(3, np.inf))
    if len(box.shapes):
        _, left = pack(*placed, box.budget)
        taken = nodes @ box.capacity
    else:  # of whatever size the nodes will be, they are no smaller than their pods
        bound = np.where(box.budget[2] > 0, [*box.budget[:2], np.inf], 0.0)
        rooms = np.concatenate([box.rooms, bound[None]])
        _, left = pack(counts, largest_first, rooms, box.shapes, box.capacity, box.budget)
        taken = unfit @ largest_first
    sized = len(box.shapes) > 0
    return pd.DataFrame(
        {
            "ts": times,
            "nodepool": name,
            "pods": counts.sum(axis=1),
            "unknown": _by_moment(np.where(blind, count, 0), moment, len(times)),
            "nodes": np.where(sized | (unfit.sum(axis=1) == 0), nodes.sum(axis=1), np.nan),
            "cpu_cores": taken[:, 0],
            "memory_bytes": taken[:, 1],
            "unfit": unfit.sum(axis=1) if sized else 0,
            "held": (counts - left).sum(axis=1),
        }
    )


def _by_moment(count: Ints, moment: NDArray[np.intp], n: int) -> Ints:
    out = np.zeros(n, dtype=np.int64)
    np.add.at(out, moment, count)
    return out


def _decreasing(sizes: Floats, box: _Box) -> NDArray[np.intp]:
    """Largest share of the usual node first; of equal ones the larger cores, then bytes."""
    places = box.shapes if len(box.shapes) else box.rooms
    whole = places[0] if len(places) else np.ones(sizes.shape[1])
    share = (sizes / np.where(whole > 0, whole, np.inf)).max(axis=1)
    return np.lexsort((-sizes[:, 1], -sizes[:, 0], -share))
