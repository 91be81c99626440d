"""Of a plan, the room and the holds that are for floors which may be raised."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from features.workloads import split_workload
from models.actions import Floor, Hold, Plan
from models.holders import Holder
from pipelines.approvals import Approval, is_approved
from pipelines.rungs.annotations import careful

__all__ = ["may_act"]

_Group = tuple[str, str, str, str]


def may_act(plan: Plan, holders: Mapping[str, Holder], approved: Collection[Approval]) -> Plan:
    """The plan without what nobody will raise: shut gates, modes and kill switches that forbid it,
    recommendations that nobody approved, workloads whose holder is gone or of another cluster.

    Its room is that for the floors that are left (``models.room.room_now``), and a hold stays where
    one of them is in its time.
    """
    floors = [f for f in plan.floors if _may(plan, f, holders.get(f.workload), approved)]
    left: dict[_Group, list[Floor]] = {}
    for floor in floors:
        cluster = split_workload(floor.workload)[0]
        left.setdefault((cluster, floor.nodepool, floor.gate, floor.mode), []).append(floor)
    holds = [h for h in plan.holds if _is_for(h, left)]
    return replace(plan, actions=(*floors, *plan.placeholders, *holds))


def _may(plan: Plan, floor: Floor, holder: Holder | None, approved: Collection[Approval]) -> bool:
    if holder is None or holder.problem:
        return False
    mode = careful(plan.mode_of(floor), holder.mode)
    asked = mode == "recommend" and is_approved(approved, floor.workload, floor.after)
    return mode == "act" or asked


def _is_for(hold: Hold, left: Mapping[_Group, Collection[Floor]]) -> bool:
    floors = left.get((hold.cluster, hold.nodepool, hold.gate, hold.mode), ())
    return any(f.starts_at < hold.ends_at and f.ends_at > hold.starts_at for f in floors)
