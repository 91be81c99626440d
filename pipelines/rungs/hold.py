"""The rung that keeps nodes over a peak: a disruption budget of 0 nodes on a NodePool.

Budgets are one atomic list: ours is added to the list that was read, and the exact list is set
again afterwards. Whoever owns the list owns all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from models.node_budgets import hold_budget
from pipelines.adapters.kube import NODE_POOL, Kube
from pipelines.rungs.annotations import Mark, Value
from pipelines.rungs.protocol import Lease, Slot, Target, hold, restore
from pipelines.rungs.reading import Object, dig, meta
from pipelines.rungs.written import Written

__all__ = ["HOLD_SLOT", "hold_nodes", "nodepools", "release_nodes"]

_MARK: Final = Mark("budgets", "hold-")


def _read(obj: Object) -> Value:
    return dig(obj, "spec", "disruption", "budgets")


def _body(value: Value) -> Object:
    return {"spec": {"disruption": {"budgets": value}}}


def _wrong(original: Value, now: Value) -> str:
    before = [] if original is None else original
    if isinstance(now, list) and now[:-1] == before:
        return ""
    return f"{_MARK.original} is not the list that our budget was added to"


HOLD_SLOT: Final = Slot(
    NODE_POOL, ("f:spec", "f:disruption", "f:budgets"), _MARK, _read, _body, _wrong
)


def hold_nodes(
    kube: Kube,
    nodepool: str,
    *,
    start: pd.Timestamp,
    end: pd.Timestamp,
    plan_id: str,
    force_owners: Sequence[str] = (),
    reason: str = "",
) -> Written:
    """Let no node of a NodePool be consolidated in ``[start, end)``.

    Repeated with other times, the budget moves. No exception for what can be expected.
    """
    budget = hold_budget(start, end)

    def want(original: Value, _now: Value) -> Value:
        return [*(original or []), budget]

    lease = Lease(end, plan_id, reason)
    return hold(kube, HOLD_SLOT, Target(nodepool), want, lease, force_owners=force_owners)


def release_nodes(kube: Kube, nodepool: str, *, uid: str = "") -> Written:
    """Set a NodePool's budgets to the user's own list again."""
    return restore(kube, HOLD_SLOT, Target(nodepool, uid=uid))


def nodepools(kube: Kube) -> list[str]:
    """The cluster's NodePools by name; none where Karpenter is not there."""
    return sorted(meta(obj, "name") for obj in kube.list(NODE_POOL)) if _there(kube) else []


def _there(kube: Kube) -> bool:
    return kube.serves(NODE_POOL)
