"""What the newest plan wants of each workload at this moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from models.actions import Floor, Plan
from models.canary import is_trusted, lead_in_s
from models.guard_facts import Past, Wanted
from models.guard_params import GuardParams
from models.modes import Mode, Rule, mode_of
from pipelines.approvals import Approval, approved_floor
from pipelines.rungs.annotations import careful

__all__ = ["wanted_now"]


def wanted_now(
    plan: Plan,
    now: pd.Timestamp,
    past: Iterable[Past],
    approved: Collection[Approval],
    params: GuardParams,
    *,
    every_min: float = 5.0,
    rules: Sequence[Rule] = (),
    mode: Mode = "act",
) -> list[Wanted]:
    """The floor of every workload that has one now, or whose way there has to begin now.

    ``until`` is where the workload's own floor comes back: floors that follow each other are one
    hold, so that between two of them nothing is given back. An expired plan wants nothing.

    ``every_min`` is how often this is asked. ``rules`` and ``mode`` are the intent of the settings
    as they are now: where it is more careful than the plan's, it counts.
    """
    if not plan.as_of <= now < plan.expires_at:
        return []
    plan_id = plan.plan_id  # a hash of everything: once, not once a workload
    known: dict[str, list[Past]] = defaultdict(list)
    for action in past:
        known[action.workload].append(action)
    found: list[Wanted] = []
    for workload, floors in _by_workload(plan.floors).items():
        due = _due(floors, is_trusted(workload, known[workload], now, params.canary), now, params,
                   every_min * 60)  # fmt: skip
        if not due:
            continue
        most = max(due, key=lambda f: f.after)
        seen, by = approved_floor(approved, workload)
        found.append(
            Wanted(
                workload=workload,
                floor=most.after,
                until=min(_end(floors, due[-1]), plan.expires_at),
                mode=careful(most.mode, mode_of(workload, rules, mode)) or most.mode,
                gate=most.gate,
                plan_id=plan_id,
                approved=most.after <= seen,
                approved_floor=seen,
                approved_plan=by,
                due=most.starts_at,
            )
        )
    return found


def _due(
    floors: Sequence[Floor], trusted: bool, now: pd.Timestamp, guard: GuardParams, every_s: float
) -> list[Floor]:
    """Those of now, and those ahead that have to be begun now to stand in time.

    Steps are counted from the user's own floor, however far up the way is by now. One ahead that
    may not act does not stand in for one of now that may.
    """
    found = [f for f in floors if f.starts_at <= now < f.ends_at]
    has_one = bool(found)
    for floor in floors:
        lead = lead_in_s(trusted, floor.original, floor.after, guard, every_s=every_s)
        ahead = now < floor.starts_at <= now + pd.Timedelta(lead, "s")
        if ahead and (floor.gate == "act" or not has_one):
            found.append(floor)
    return sorted(found, key=lambda f: f.starts_at)


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
