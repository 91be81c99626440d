"""What the newest plan wants of each workload at this moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from models.actions import Floor, Plan
from models.canary import is_trusted, lead_in_s
from models.guard_facts import Past, Wanted
from models.guard_params import CanaryParams
from pipelines.approvals import Approval, is_approved

__all__ = ["wanted_now"]


def wanted_now(
    plan: Plan,
    now: pd.Timestamp,
    past: Iterable[Past],
    approved: Collection[Approval],
    params: CanaryParams,
) -> list[Wanted]:
    """The floor of every workload that has one now, or whose rollout has to begin now.

    ``until`` is where the workload's own floor comes back: floors that follow each other are one
    hold, so that between two of them nothing is given back. An expired plan wants nothing.
    """
    if not plan.as_of <= now < plan.expires_at:
        return []
    plan_id = plan.plan_id  # a hash of everything: once, not once a workload
    known: dict[str, list[Past]] = defaultdict(list)
    for action in past:
        known[action.workload].append(action)
    found: list[Wanted] = []
    for workload, floors in _by_workload(plan.floors).items():
        lead = lead_in_s(is_trusted(workload, known[workload], now, params), params)
        soon = now + pd.Timedelta(lead, "s")
        due = [f for f in floors if f.starts_at <= soon and f.ends_at > now]
        if not due:
            continue
        most = max(due, key=lambda f: f.after)
        found.append(
            Wanted(
                workload=workload,
                floor=most.after,
                until=min(_end(floors, due[-1]), plan.expires_at),
                mode=most.mode,
                gate=most.gate,
                plan_id=plan_id,
                approved=is_approved(approved, workload, most.after),
            )
        )
    return found


def _by_workload(floors: Sequence[Floor]) -> dict[str, list[Floor]]:
    found: dict[str, list[Floor]] = defaultdict(list)
    for floor in sorted(floors, key=lambda f: f.starts_at):
        found[floor.workload].append(floor)
    return found


def _end(floors: Sequence[Floor], last: Floor) -> pd.Timestamp:
    """Where the stretch of floors without a gap ends that ``last`` is in."""
    end = last.ends_at
    for floor in floors:  # in order
        if floor.starts_at <= end:
            end = max(end, floor.ends_at)
    return end
