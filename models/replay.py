"""Pre-scaling replayed over history: what a floor would have saved, and what it would have cost.

``models.replayed_hpa`` is the autoscaler; here policies are held beside each other, at what they
cost and at one cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from features.panel import Floats
from models.floors import four_week_floors, hourly_max_floors, last_week_floors, oracle_floors
from models.hpa_spec import HpaSpec
from models.node_supply import NodeParams
from models.replayed_hpa import ReplayParams, ReplayResult, replay

__all__ = ["ReplayParams", "ReplayResult", "compare", "equal_cost", "replay", "totals"]

RULES = ("last_week", "four_weeks")
"""The one-line rules."""
_BLOCK = 64
"""Workloads in one go: a week at 15 s has 40,320 steps, and four of them before it."""
_WORKERS = 2
_ROUNDS = 12
_LARGEST_FACTOR = 64.0
_MEASURES = ["demand", "unserved", "over_target", "replica_hours", "short_pod_min"]
_SHARES = ["unserved_cut_share", "over_target_cut_share", "replica_hours_ratio"]


class Case(TypedDict, total=False):
    """What all policies are replayed with, as `models.replayed_hpa.replay` takes it."""

    pod_capacity_cores: ArrayLike
    target_ratio: ArrayLike
    min_replicas: ArrayLike
    max_replicas: ArrayLike
    pod_start_s: ArrayLike | None
    params: ReplayParams | None
    hpas: Sequence[HpaSpec | None] | None
    initial_replicas: ArrayLike | None
    nodes: NodeParams | None
    request_cores: ArrayLike | None
    room: ArrayLike | None
    hold: ArrayLike | None


def compare(
    demand: Floats,
    step_s: float,
    *,
    workloads: list[str],
    floors: Floats | None = None,
    history: Floats | None = None,
    **case: Unpack[Case],
) -> pd.DataFrame:
    """Every policy over the same demand, one row a policy and workload.

    Policies: ``reactive`` (no floor), ``foretide`` (``floors``, where given), ``oracle``, and where
    ``history``, the demand that ends where this one starts, is given, the rules of
    ``models.floors``: ``last_week`` and ``four_weeks``, one line each, and ``hourly_max``, as EC2's
    predictive scaling. Columns: ``policy, workload, demand, unserved, over_target`` (core-hours),
    ``replica_hours, short_pod_min`` as in ``ReplayResult``, and beside the reactive HPA of the same
    workload ``unserved_cut_share, over_target_cut_share`` (1: all of it gone, negative: more than
    before) and ``replica_hours_ratio``. A share of nothing is NaN: where the reactive HPA misses
    nothing there is nothing to cut. Where ``nodes`` are replayed, ``node_hours`` too.

    ``case`` is what `models.replayed_hpa.replay` takes. Room and holds are for ``foretide`` alone:
    nobody else has a plan to hold them by.
    """

    def block(rows: slice) -> list[pd.DataFrame]:
        mine = _rows(case, rows, len(demand))
        given = {
            name: None if a is None else a[rows]
            for name, a in (("floors", floors), ("history", history))
        }
        policies = _policies(demand[rows], step_s, mine, given["floors"], given["history"])
        return [
            _measured(
                policy,
                workloads[rows],
                _replayed(demand[rows], step_s, policy, policy_floors, mine),
            )
            for policy, policy_floors in policies.items()
        ]

    frames = _in_blocks(block, len(demand))
    if not frames:
        return _with_shares(pd.DataFrame(columns=["policy", "workload", *_MEASURES]))
    every = pd.concat(frames, ignore_index=True)
    order = {policy: i for i, policy in enumerate(dict.fromkeys(every["policy"]))}
    every = every.sort_values("policy", key=lambda p: p.map(order), kind="stable")
    return _with_shares(every.reset_index(drop=True))


def equal_cost(
    demand: Floats,
    step_s: float,
    *,
    workloads: list[str],
    floors: Floats,
    history: Floats,
    **case: Unpack[Case],
) -> pd.DataFrame:
    """What the one-line rules cut when they may cost what ``floors`` cost, one row a rule and
    workload.

    A rule's floors are multiplied by the smallest ``factor`` (found by bisection, for every
    workload its own) at which its replica-hours are those of ``floors`` or more; at most 64, where
    a rule has too little to multiply. Pods are whole: what lies between the factor and a little
    less is told on the straight line. Columns:
    ``policy, workload, factor, unserved, over_target`` (core-hours), ``replica_hours``, the cut
    shares beside the reactive HPA, and all of these of ``floors`` as ``foretide_…``; ``beaten``:
    more is over target than with ``floors``, or as little.
    """

    def block(rows: slice) -> list[pd.DataFrame]:
        frames: list[pd.DataFrame] = []
        mine = _rows(case, rows, len(demand))
        lines = _lines(demand[rows], step_s, mine, history[rows])
        ours = _replayed(demand[rows], step_s, "foretide", floors[rows], mine)
        base = _replayed(demand[rows], step_s, "reactive", None, mine)
        for rule in RULES:
            low, factor = _factors(demand[rows], step_s, lines[rule], ours.replica_hours, mine)
            scaled = [np.ceil(f[:, None] * lines[rule]) for f in (low, factor)]
            less, more = (_replayed(demand[rows], step_s, rule, f, mine) for f in scaled)
            done = _between(less, more, ours.replica_hours)
            told = {"policy": rule, "workload": workloads[rows], "factor": factor}
            frames.append(pd.DataFrame({**told, **_beside(done, ours, base)}))
        return frames

    frames = _in_blocks(block, len(demand))
    if not frames:
        return pd.DataFrame()
    table = pd.concat(frames, ignore_index=True)
    order = table["policy"].map({rule: i for i, rule in enumerate(RULES)})
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def totals(comparison: pd.DataFrame) -> pd.DataFrame:
    """``compare``'s rows summed over workloads, one row a policy; the shares are those of the
    sums."""
    measured = comparison.groupby("policy", sort=False)[_MEASURES].sum().reset_index()
    return _with_shares(measured.assign(workload="*"))[["policy", *_MEASURES, *_SHARES]]


def _with_shares(frame: pd.DataFrame) -> pd.DataFrame:
    reactive = frame[frame["policy"] == "reactive"].set_index("workload")
    beside = reactive[_MEASURES].loc[frame["workload"]].set_index(frame.index)
    ratio = frame[_MEASURES] / beside.where(beside > 0)
    return frame.assign(
        unserved_cut_share=1 - ratio["unserved"],
        over_target_cut_share=1 - ratio["over_target"],
        replica_hours_ratio=ratio["replica_hours"],
    )


def _replayed(
    demand: Floats, step_s: float, policy: str, floors: Floats | None, case: Mapping[str, Any]
) -> ReplayResult:
    planned = case if policy == "foretide" else {**case, "room": None, "hold": None}
    return replay(demand, step_s, floors=floors, **planned)


def _policies(
    demand: Floats,
    step_s: float,
    case: Mapping[str, Any],
    floors: Floats | None,
    history: Floats | None,
) -> dict[str, Floats | None]:
    """Every policy's floors."""
    params = case.get("params") or ReplayParams()
    start = case.get("pod_start_s")
    policies: dict[str, Floats | None] = {"reactive": None}
    if floors is not None:
        policies["foretide"] = floors
    if history is not None:
        policies |= _lines(demand, step_s, case, history)
        policies["hourly_max"] = hourly_max_floors(
            demand, history, step_s, target_per_pod_cores=_target_per_pod(case)
        )
    policies["oracle"] = oracle_floors(
        demand,
        step_s,
        target_per_pod_cores=_target_per_pod(case),
        pod_start_s=params.pod_start_s if start is None else start,
    )
    return policies


def _lines(
    demand: Floats, step_s: float, case: Mapping[str, Any], history: Floats
) -> dict[str, Floats]:
    """The one-line rules' floors."""
    per_pod = _target_per_pod(case)
    return {
        "last_week": last_week_floors(demand, history, step_s, target_per_pod_cores=per_pod),
        "four_weeks": four_week_floors(demand, history, step_s, target_per_pod_cores=per_pod),
    }


def _target_per_pod(case: Mapping[str, Any]) -> Floats:
    return np.asarray(case["pod_capacity_cores"]) * np.asarray(case["target_ratio"])


def _factors(
    demand: Floats, step_s: float, floors: Floats, hours: Floats, case: Mapping[str, Any]
) -> tuple[Floats, Floats]:
    """By how much each workload's floors are multiplied to cost a little less, and as much as or
    more than, these replica-hours, (n,) each."""

    def cheaper(factor: Floats) -> Any:
        done = _replayed(demand, step_s, "rule", np.ceil(factor[:, None] * floors), case)
        return done.replica_hours < hours

    low, high = np.zeros(len(demand)), np.ones(len(demand))
    short = cheaper(high)
    while short.any() and high.max() < _LARGEST_FACTOR:
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
        short = cheaper(high)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        short = cheaper(middle)
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return low, high


def _between(less: ReplayResult, more: ReplayResult, hours: Floats) -> ReplayResult:
    """At these replica-hours, on the line between two results: floors are whole pods, so that a
    small workload's rule can cost a little less or a lot more, and nothing between."""
    span = more.replica_hours - less.replica_hours
    share = np.where(span > 0, (hours - less.replica_hours) / np.where(span > 0, span, 1.0), 1.0)
    share = np.clip(share, 0.0, 1.0)

    def at(name: str) -> Floats:
        a, b = getattr(less, name), getattr(more, name)
        return a + share * (b - a)

    names = ("unserved_core_h", "over_target_core_h", "replica_hours", "short_pod_min")
    return replace(more, **{name: at(name) for name in names})


def _measured(policy: str, workloads: list[str], done: ReplayResult) -> pd.DataFrame:
    nodes = {} if done.node_hours is None else {"node_hours": done.node_hours}
    measures = {
        "demand": done.demand_core_h,
        "unserved": done.unserved_core_h,
        "over_target": done.over_target_core_h,
        "replica_hours": done.replica_hours,
        "short_pod_min": done.short_pod_min,
    }
    return pd.DataFrame({"policy": policy, "workload": workloads, **measures, **nodes})


def _beside(rule: ReplayResult, ours: ReplayResult, base: ReplayResult) -> dict[str, Any]:
    """A rule's measures, and those of Foretide's floors."""
    out: dict[str, Any] = {}
    for prefix, done in (("", rule), ("foretide_", ours)):
        out[f"{prefix}unserved"] = done.unserved_core_h
        out[f"{prefix}over_target"] = done.over_target_core_h
        out[f"{prefix}replica_hours"] = done.replica_hours
        for name, mine, reactive in (
            ("unserved", done.unserved_core_h, base.unserved_core_h),
            ("over_target", done.over_target_core_h, base.over_target_core_h),
        ):
            missed = np.where(reactive > 0, reactive, np.nan)
            out[f"{prefix}{name}_cut_share"] = 1 - mine / missed
    return out | {"beaten": ours.over_target_core_h <= rule.over_target_core_h}


def _in_blocks(block: Callable[[slice], list[pd.DataFrame]], n: int) -> list[pd.DataFrame]:
    """What a block of workloads comes to, for n of them; the kernels let go of the interpreter."""
    blocks = [slice(begin, min(begin + _BLOCK, n)) for begin in range(0, n, _BLOCK)]
    with ThreadPoolExecutor(_WORKERS) as pool:
        return [frame for frames in pool.map(block, blocks) for frame in frames]


def _rows(case: Mapping[str, Any], rows: slice, n: int) -> dict[str, Any]:
    """What belongs to some of the n workloads; what is told for all of them stays."""

    def mine(name: str, value: Any) -> Any:
        if name == "hpas":
            return value if value is None else list(value)[rows]
        if value is None or name in ("params", "nodes"):
            return value
        told = np.asarray(value)
        each = 2 if name in ("room", "hold") else 1  # those may be one row for all workloads
        return told[rows] if told.ndim == each and len(told) == n else value

    return {name: mine(name, value) for name, value in case.items()}
