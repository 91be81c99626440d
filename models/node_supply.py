"""Nodes under the replayed pods: what waits for a node starts one, what is spare goes.

A workload has nodes of its own, of one shape. Karpenter's rules, as documented ("Disruption",
consolidation policy WhenEmptyOrUnderutilized) and as seen on a real control plane: pods without a
place start nodes at once; room that is held for pods to come (placeholders, a buffer) counts for
nodes, and real pods take its place without waiting; nodes above what pods and room need go once
that has lasted ``consolidate_after_s``, but not under a hold. Pods are packed: what moving them
off a spare node costs them is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from features.panel import Floats
from models.hpa import Ints

__all__ = ["NodeParams", "Supply", "no_supply", "supply", "supply_of"]

_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeParams:
    """One shape of node, and how it comes and goes."""

    node_cores: float = 4.0
    overhead_cores: float = 0.0
    """What DaemonSets and the system take of each node."""
    launch_s: float = 60.0
    """From a pod that waits to its node being ready."""
    image_pull_s: float = 0.0
    """How much longer a pod starts on a node that just came."""
    consolidate_after_s: float = 0.0
    """Karpenter's own default: idle nodes go at once."""
    max_nodes: int = _MOST
    """The NodePool's limit, of each workload."""

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if not 0 <= self.overhead_cores < self.node_cores < np.inf:
            raise ValueError(
                "nodes: node_cores must be more than overhead_cores, which is 0 or more; "
                f"got {self.node_cores!r} and {self.overhead_cores!r}"
            )
        for key in ("launch_s", "image_pull_s", "consolidate_after_s"):
            value = getattr(self, key)
            if not 0 <= value < np.inf:
                raise ValueError(f"nodes: {key} must be 0 or more, got {value!r}")
        if self.max_nodes < 1:
            raise ValueError(f"nodes: max_nodes must be 1 or more, got {self.max_nodes!r}")


class Supply(NamedTuple):
    """Nodes of n workloads over m steps, times in ticks; 0 slots: pods need no node."""

    slots: Ints
    """Pods a node, (n,)."""
    launch: Ints
    pull: Ints
    after: Ints
    most: Ints
    room: Ints
    """Pods that places are held for beside the real ones, (n, m), or (n, 0)."""
    hold: NDArray[np.bool_]
    """Whether nodes may not be taken away, (n, m), or (n, 0)."""


def supply_of(
    params: NodeParams,
    request_cores: Floats,
    sync_s: float,
    n_steps: int,
    room: ArrayLike | None = None,
    hold: ArrayLike | None = None,
) -> Supply:
    """Nodes for pods that request so much each, (n,); room and hold broadcast to (n, m).

    Raises
    ------
    ValueError
        A pod does not fit on a node.
    """
    n = len(request_cores)
    slots = np.floor((params.node_cores - params.overhead_cores) / request_cores * (1 + 1e-12))
    if not (slots >= 1).all():
        raise ValueError(
            f"nodes: a pod must fit on a node of {params.node_cores} cores, "
            f"got a request of {request_cores[~(slots >= 1)][0]} cores"
        )
    held = np.zeros((n, 0)) if room is None else np.broadcast_to(room, (n, n_steps))
    stays = np.zeros((n, 0), bool) if hold is None else np.broadcast_to(hold, (n, n_steps))

    def ticks(seconds: float) -> Ints:
        return np.full(n, np.ceil(seconds / sync_s * (1 - 1e-12)), np.int64)

    return Supply(
        np.minimum(slots, _MOST).astype(np.int64),
        ticks(params.launch_s),
        ticks(params.image_pull_s),
        ticks(params.consolidate_after_s),
        np.full(n, params.max_nodes, np.int64),
        np.ceil(np.clip(np.nan_to_num(held), 0, _MOST)).astype(np.int64),
        np.array(stays, dtype=np.bool_, order="C"),
    )


def no_supply(n: int) -> Supply:
    """Pods that need no node: n workloads."""
    zero = np.zeros(n, np.int64)
    nothing = np.zeros((n, 0), np.int64)
    return Supply(zero, zero, zero, zero, zero, nothing, np.zeros((n, 0), np.bool_))


@njit(cache=True, nogil=True)
def supply(
    nodes: int,
    coming: int,
    need: int,
    hold: bool,
    tick: int,
    launch: int,
    arriving: Ints,
    needs: Ints,
) -> tuple[int, int]:
    """Nodes that are ready and nodes on their way, after this tick.

    ``arriving`` is when those come, ``needs`` what was needed in the last ``after`` ticks.
    """
    landed = arriving[tick % len(arriving)]
    arriving[tick % len(arriving)] = 0
    nodes, coming = nodes + landed, coming - landed
    needs[tick % len(needs)] = need
    short = need - nodes - coming
    if short > 0:
        if launch == 0:
            return nodes + short, coming
        arriving[(tick + launch) % len(arriving)] += short
        return nodes, coming + short
    if short < 0 and not hold:
        nodes = min(nodes, needs.max())
    return nodes, coming
