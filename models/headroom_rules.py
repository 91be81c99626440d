"""What quotas and disruption budgets of a cluster do not let a plan do."""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.panel import Floats
from features.workloads import split_workload
from models.actions import Shortfall
from models.cluster_facts import ClusterFacts, PdbFacts, PodShape, QuotaFacts, QuotaScope
from models.headroom_board import Board, gib, when
from models.hpa import Ints

__all__ = ["pdb_shortfalls", "quota_shortfalls"]

_TAKES = {
    "pods": "",
    "count/pods": "",
    "cpu": "cpu_cores",
    "requests.cpu": "cpu_cores",
    "memory": "memory_bytes",
    "requests.memory": "memory_bytes",
    "limits.cpu": "cpu_limit_cores",
    "limits.memory": "memory_limit_bytes",
}
"""What a pod takes of a quota's resource; the names are the ResourceQuota's own."""


def quota_shortfalls(board: Board, facts: ClusterFacts) -> list[Shortfall]:
    """One for each quota and resource that all floors of its namespace together go beyond."""
    more = board.more("pods")
    found: list[Shortfall] = []
    for quota in facts.quotas:
        counts = _counts(quota, board)
        if counts.any():
            counted = np.where(counts[:, None], more, 0)
            said = (_quota(quota, r, counted, board) for r in sorted(quota.hard) if r in _TAKES)
            found.extend(s for s in said if s is not None)
    return found


def _quota(quota: QuotaFacts, resource: str, more: Ints, board: Board) -> Shortfall | None:
    hard, used = quota.hard[resource], quota.used.get(resource, np.nan)
    takes = _TAKES[resource]
    if not np.isfinite([hard, used]).all():
        return None
    given = board.number(takes) if takes else np.ones(len(board.rows))
    each: Floats = np.where(np.isfinite(given), np.maximum(given, 0.0), 0.0)
    needs = each @ more.astype(np.float64)
    short = needs - np.maximum(hard - used, 0.0)
    over = short > 1e-9 * max(hard, 1.0)
    if not over.any():
        return None
    first, worst = board.times[int(over.argmax())], int(short.argmax())
    pods = np.where(each > 0, more[:, worst], 0)
    held, wanted = _most(each, pods, max(hard - used, 0.0)), int(pods.sum())
    if held >= wanted:
        return None
    peak = "" if board.times[worst] == first else f", short from {when(first, board.as_of)} on"
    return Shortfall(
        what=f"ResourceQuota {board.cluster}/{quota.namespace}/{quota.name}",
        at=first,
        wanted=wanted,
        held=held,
        reason=f"{resource} {_amount(resource, hard)} with {_amount(resource, used)} in use allows "
        f"{held} more pods, {wanted} are wanted at {when(board.times[worst], board.as_of)}{peak}; "
        f"raise {resource} to {_amount(resource, used + float(needs[worst]))}",
    )


def _counts(quota: QuotaFacts, board: Board) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which workloads' pods a quota counts, (n,)."""
    rows = board.rows
    out = (rows["namespace"] == quota.namespace).to_numpy()
    requests = np.column_stack([board.number("cpu_cores"), board.number("memory_bytes")])
    for scope in quota.scopes:
        match scope.name:
            case "NotTerminating":  # what an autoscaler holds has no deadline
                continue
            case "BestEffort":  # a pod whose requests are not known is left out of both
                out = out & (requests == 0).all(axis=1)
            case "NotBestEffort":
                out = out & (requests > 0).any(axis=1)
            case "PriorityClass":
                out = out & np.array(
                    [_of_class(scope, c) for c in rows["priority_class"]], dtype=bool
                )
            case _:
                out = np.zeros(len(rows), dtype=bool)
    return out


def _of_class(scope: QuotaScope, name: str) -> bool:
    match scope.operator:
        case "In":
            return name in scope.values
        case "NotIn":
            return name not in scope.values
        case "Exists":
            return bool(name)
        case "DoesNotExist":
            return not name
        case _:
            return False


def _most(each: Floats, pods: Ints, room: float) -> int:
    """The most pods that a room holds: the smallest first."""
    held = 0
    order = np.argsort(each, kind="stable")
    for size, count in zip(each[order].tolist(), pods[order].tolist(), strict=True):
        take = min(count, int(room / size + 1e-9)) if size > 0 else 0
        held, room = held + take, room - take * size
    return held


def _amount(resource: str, value: float) -> str:
    return gib(value) if resource.endswith("memory") else f"{np.ceil(value * 1000 - 1e-6) / 1000:g}"


def pdb_shortfalls(board: Board, facts: ClusterFacts) -> list[Shortfall]:
    """One for each budget that lets no pod of a raised workload move: its nodes are not drained.

    An autoscaler's own scale-down is not bound by a budget; giving back the nodes that were started
    for the peak is, once the floors have gone. Source: Kubernetes documentation, "Specifying a
    Disruption Budget for your Application" and "API-initiated Eviction".
    """
    raised = set(board.rows["workload"][board.wanted.max(axis=1) > board.number("original")])
    original = dict(zip(board.rows["workload"], board.number("original").tolist(), strict=True))
    last = dict(zip(board.rows["workload"], board.rows["last"], strict=True))
    inside: dict[str, list[PodShape]] = {}
    for pod in facts.pods:
        inside.setdefault(split_workload(pod.workload)[1], []).append(pod)
    beside: dict[str, list[PdbFacts]] = {}
    for budget in facts.pdbs:
        beside.setdefault(budget.namespace, []).append(budget)
    found: list[Shortfall] = []
    for budget in facts.pdbs:
        of = [p for p in inside.get(budget.namespace, []) if _selects(budget, p)]
        mine = [p for p in of if p.workload in raised]
        if not mine:
            continue
        after = int(sum(original.get(p.workload, p.pods) for p in of))
        why = _blocks(budget, after, beside[budget.namespace], mine)
        if why:
            at: pd.Timestamp = max(last[p.workload] for p in mine)
            found.append(
                Shortfall(
                    what=f"PodDisruptionBudget {board.cluster}/{budget.namespace}/{budget.name}",
                    at=at,
                    wanted=1,
                    held=0,
                    reason=f"{why}: no pod of {', '.join(p.workload for p in mine)} can be evicted,"
                    " so nodes that were started for the peak and hold one are not given back "
                    f"after {when(at, board.as_of)}; allow 1 pod to be unavailable",
                )
            )
    return found


def _selects(budget: PdbFacts, pod: PodShape) -> bool:
    """Of a pod in the budget's namespace."""
    return budget.selector is not None and budget.selector.matches(pod.labels)


def _blocks(budget: PdbFacts, pods: int, beside: list[PdbFacts], mine: list[PodShape]) -> str:
    """Why a budget lets nothing move once ``pods`` are left; empty where it does."""
    others = [b.name for b in beside if b != budget and any(_selects(b, p) for p in mine)]
    if others:
        return f"{', '.join(sorted(others))} selects the same pods, and eviction knows only one"
    least, most = _scaled(budget.min_available, pods), _scaled(budget.max_unavailable, pods)
    if most == 0:
        return f"maxUnavailable is {budget.max_unavailable}"
    if least is not None and pods > 0 and least >= pods:
        return f"minAvailable is {budget.min_available}, and {pods} replicas stand then"
    return ""


def _scaled(value: int | str | None, pods: int) -> int | None:
    """A number, or a share of the pods rounded up, as the disruption controller does."""
    text = str(value).strip()
    if text.removesuffix("%").isdecimal():
        share = int(text.removesuffix("%"))
        return -(-share * pods // 100) if text.endswith("%") else share
    return None
