"""What a cluster can hold, as far as its samples tell: the NodePools' metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.panel import Floats, Panel
from features.workloads import split_workload
from models.cluster_facts import ClusterFacts, NodePoolFacts, NodeShape, Room, cluster_wide

__all__ = ["facts_of_panel"]

_NODES = "_cluster"
"""The namespace of what belongs to no workload, in the catalog's words."""
_NOTE = "no cluster is connected: NodePools and nodes are known from samples only, as means"


def facts_of_panel(panel: Panel, cluster: str | None = None) -> ClusterFacts:
    """NodePools of one cluster by the newest of their samples.

    Where a workload's pods run is in no sample, so all of them count for ``everywhere``, whose
    limits are the sums over the NodePools: what they cannot hold together, none can. A limit that
    is not in the samples may be none at all, or not be scraped: it bounds nothing. A node is the
    mean of its pool's; free room is taken as one piece. Without a ``cluster`` the samples have to
    be of one.
    """
    names = sorted({str(w) for w in panel.keys["workload"]})
    parts = {w: split_workload(w) for w in names}
    clusters = sorted({p[0] for p in parts.values()})
    if cluster is None and len(clusters) != 1:
        return ClusterFacts("", problems=(f"samples of {len(clusters)} clusters: name one",))
    name = clusters[0] if cluster is None else cluster
    pools = [w for w, p in parts.items() if p[:3] == (name, _NODES, "NodePool")]
    whole = [w for w, p in parts.items() if p[:3] == (name, _NODES, "Cluster")][:1]
    rows = _Newest(panel, pools + whole)
    found = tuple(_pool(parts[w][3], i, rows) for i, w in enumerate(pools))
    everywhere = _everywhere(found, len(pools) if whole else None, rows)
    problems = (_NOTE,) if found else (_NOTE, "the samples know no NodePool")
    return ClusterFacts(name, found, everywhere, problems=problems)


class _Newest:
    """The last value of each metric for some names; NaN where there is none."""

    def __init__(self, panel: Panel, names: list[str]) -> None:
        """Hold what is asked of the panel."""
        self._panel, self._names = panel, names
        self._seen: dict[str, Floats] = {}

    def get(self, metric: str, i: int) -> float:
        if metric not in self._seen:
            self._seen[metric] = _last(self._panel.matrix(metric, self._names))
        return float(self._seen[metric][i])


def _last(values: Floats) -> Floats:
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    at = values.shape[1] - 1 - np.argmax(~np.isnan(values[:, ::-1]), axis=1)
    return values[np.arange(len(values)), at]


def _pool(name: str, i: int, rows: _Newest) -> NodePoolFacts:
    return NodePoolFacts(
        name=name,
        cpu_cores_limit=rows.get("nodepool_limit_cpu_cores", i),
        memory_bytes_limit=rows.get("nodepool_limit_memory_bytes", i),
        used_cpu_cores=rows.get("nodepool_used_cpu_cores", i),
        used_memory_bytes=rows.get("nodepool_used_memory_bytes", i),
        used_nodes=rows.get("nodes", i),
        shapes=_shapes(i, rows),
        shapes_from="mean",
        rooms=_rooms(i, rows),
    )


def _shapes(i: int, rows: _Newest) -> tuple[NodeShape, ...]:
    nodes = rows.get("nodes", i)
    if not nodes >= 1:
        return ()
    return (
        NodeShape(
            name="",
            cpu_cores=rows.get("allocatable_cpu_cores", i) / nodes,
            memory_bytes=rows.get("allocatable_memory_bytes", i) / nodes,
            capacity_cpu_cores=rows.get("nodepool_used_cpu_cores", i) / nodes,
            capacity_memory_bytes=rows.get("nodepool_used_memory_bytes", i) / nodes,
            nodes=int(nodes),
        ),
    )


def _rooms(i: int, rows: _Newest) -> tuple[Room, ...]:
    """All that is free as one room: how it lies on the nodes is in no sample."""
    cores, memory = (
        rows.get(f"allocatable_{key}", i) - rows.get(f"requested_{key}", i)
        for key in ("cpu_cores", "memory_bytes")
    )
    return () if np.isnan(cores) else (Room(cores, memory),)


def _everywhere(
    pools: tuple[NodePoolFacts, ...], whole: int | None, rows: _Newest
) -> NodePoolFacts | None:
    """The pools together with all free room of the cluster; None where that is not known."""
    if whole is None or not (rooms := _rooms(whole, rows)):
        return None
    others = () if pools else _shapes(whole, rows)
    return replace(cluster_wide(pools, others, ()), rooms=rooms)
