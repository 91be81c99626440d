"""What the NodePools of a cluster cannot hold of a plan: limits, static pools, pods of no fit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.actions import Shortfall
from models.cluster_facts import ClusterFacts, NodePoolFacts
from models.headroom_board import Board, gib, when
from models.nodes import fits_nowhere, nodes_needed

__all__ = ["node_shortfalls", "pods_to_place"]


def pods_to_place(board: Board) -> pd.DataFrame:
    """Pods that need a node, as ``nodes_needed`` takes them."""
    more = board.more("placed")
    row, col = np.nonzero(more)
    some = board.rows.iloc[row]
    return pd.DataFrame(
        {
            "ts": board.times[col],
            "workload": some["workload"].to_numpy(),
            "count": more[row, col],
            "cpu_cores": some["cpu_cores"].to_numpy(),
            "memory_bytes": some["memory_bytes"].to_numpy(),
            "nodepool": some["nodepool"].to_numpy(),
        }
    )


def node_shortfalls(board: Board, facts: ClusterFacts) -> list[Shortfall]:
    """One for each NodePool whose limits are too low, and for each workload that fits no node."""
    pods = pods_to_place(board)
    if pods.empty:
        return []
    needed = nodes_needed(pods, facts)
    needed = needed.assign(fit=needed["pods"] - needed["unfit"])
    short = needed[needed["held"] < needed["fit"]]
    found = [
        _limited(str(name), part, facts, board.as_of)
        for name, part in short.groupby("nodepool", sort=True)
    ]
    return [*found, *_too_large(pods, board, facts)]


def _limited(name: str, short: pd.DataFrame, facts: ClusterFacts, as_of: pd.Timestamp) -> Shortfall:
    """``short``: rows of one pool, in time."""
    pool = facts.nodepool(name)
    worst = short.iloc[int((short["fit"] - short["held"]).to_numpy().argmax())]
    first: pd.Timestamp = short["ts"].iloc[0]
    wanted, held = int(worst["fit"]), int(worst["held"])
    bound, change = _bound(pool, worst) if pool is not None else ("", "")
    peak = "" if worst["ts"] == first else f", the first of them are short at {when(first, as_of)}"
    return Shortfall(
        what=_named(name, facts),
        at=first,
        wanted=wanted,
        held=held,
        reason=f"{bound} {held} more pods, {wanted} are wanted at {when(worst['ts'], as_of)}"
        f"{peak}; {change}",
    )


def _named(name: str, facts: ClusterFacts) -> str:
    pool = facts.nodepool(name)
    if pool is None or not pool.name:
        return f"nodes of {facts.cluster}"
    return f"NodePool {facts.cluster}/{pool.name}"


def _bound(pool: NodePoolFacts, worst: pd.Series) -> tuple[str, str]:
    """What bounds a pool, with its verb, and what to change."""
    if pool.static_replicas is not None:
        more = float(np.nan_to_num(worst["nodes"], nan=1.0))  # of a size that nobody knows
        needs = int(pool.used_nodes + more)
        above = f" and limits.nodes (now {pool.nodes_limit:g})" if needs > pool.nodes_limit else ""
        return (
            f"the {pool.static_replicas} nodes of a static NodePool allow",
            f"raise spec.replicas{above} to {needs}",
        )
    limits = {
        "cpu": (pool.cpu_cores_limit, pool.used_cpu_cores + float(worst["cpu_cores"])),
        "memory": (pool.memory_bytes_limit, pool.used_memory_bytes + float(worst["memory_bytes"])),
        "nodes": (pool.nodes_limit, pool.used_nodes + float(worst["nodes"])),
    }
    over = {key: pair for key, pair in limits.items() if pair[1] > pair[0]}
    if np.isnan(worst["nodes"]) and pool.used_nodes >= pool.nodes_limit:
        over["nodes"] = (pool.nodes_limit, pool.used_nodes + 1)
    words = " and ".join(f"limits.{k} {_amount(k, limit)}" for k, (limit, _) in over.items())
    least = "at least " if np.isnan(worst["nodes"]) else ""
    raised = " and ".join(f"limits.{k} to {least}{_amount(k, v[1])}" for k, v in over.items())
    verb = "allows" if len(over) == 1 else "allow"
    if pool.name:
        return f"{words} {verb}", f"raise {raised}"
    return (
        f"{words} of all NodePools together, and what is free, {verb}",
        f"raise {raised} in all, or add nodes of no NodePool",
    )


def _amount(key: str, value: float) -> str:
    return gib(value) if key == "memory" else f"{np.ceil(value - 1e-9):g}"


def _too_large(pods: pd.DataFrame, board: Board, facts: ClusterFacts) -> list[Shortfall]:
    first = pods.sort_values("ts").drop_duplicates("workload")
    most = pods.groupby("workload")["count"].max()
    placed = board.rows.set_index("workload")["placed"].reindex(first["workload"]).to_numpy()
    # what runs there fits there, whatever we think that DaemonSets take
    large = first[fits_nowhere(first, facts) & ~(placed > 0)]
    found: list[Shortfall] = []
    for row in large.to_dict("records"):
        pool = facts.nodepool(row["nodepool"])
        if pool is None or pool.shapes_from == "mean":
            continue
        found.append(
            Shortfall(
                what=row["workload"],
                at=row["ts"],
                wanted=int(most[row["workload"]]),
                held=0,
                reason=_larger(row["cpu_cores"], row["memory_bytes"], pool)
                + f"; pods of it are wanted at {when(row['ts'], board.as_of)}",
            )
        )
    return found


def _larger(cores: float, bytes_: float, pool: NodePoolFacts) -> str:
    whose = f"NodePool {pool.name}" if pool.name else "the cluster"
    sizes = ", ".join(
        f"{s.name or 'one'} with {s.cpu_cores:g} cores and {gib(s.memory_bytes)}"
        for s in sorted(pool.shapes, key=lambda s: (-s.cpu_cores, -s.memory_bytes))[:3]
    )
    advice = (
        "its requirements allow no other: change them, or the pod's requests"
        if pool.shapes_from == "requirements"
        else "see whether it may start larger ones"
    )
    return (
        f"a pod asks for {cores:g} cores and {gib(bytes_)}, and fits no node of {whose} beside its "
        f"DaemonSets ({sizes}); {advice}"
    )
