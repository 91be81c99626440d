"""What a run leaves undone because it does not know enough: nothing is raised, nothing is lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from models.actions import Plan
from models.guard_facts import Decision, Wanted
from models.holders import Holder
from pipelines.approvals import find_plan
from pipelines.deeds import Deed
from pipelines.ledger import Entry
from pipelines.run import Run
from pipelines.rungs.held import Held

__all__ = ["deeds_left", "left_alone", "not_raised", "strangers_text", "unknown_plans"]

_STOP = ("off", "shadow")
_SHOWN = 5


def not_raised(
    decisions: Iterable[Decision],
    holders: Mapping[str, Holder],
    wanted: Mapping[str, Wanted],
    why: Mapping[str, str],
    everywhere: str = "",
) -> list[Decision]:
    """The decisions without their raises: of workloads in ``why`` (workload → reason), or of all.

    What is held and still wanted is renewed: that adds nothing to what stands.
    """
    found: list[Decision] = []
    for d in decisions:
        reason = everywhere or why.get(d.workload, "")
        if reason and d.what == "raise":
            holder, want = holders[d.workload], wanted.get(d.workload)
            stands = holder.floor or 0
            renew = holder.held and want is not None and want.floor >= stands
            text = f"{reason}: nothing is raised"
            d = replace(d, what="keep", floor=stands, reason=text, renew=renew)  # noqa: PLW2901
        found.append(d)
    return found


def unknown_plans(
    run: Run, plan_ids: Collection[str], entries: Iterable[Entry], plan: Plan | None
) -> set[str]:
    """Those that this store knows nothing of: another installation's, or a store that was lost."""
    known = {e.plan_id for e in entries} | ({plan.plan_id} if plan else set())
    return {name for name in set(plan_ids) - known if name and find_plan(run, name) is None}


def strangers_text(
    unknown: Collection[str], holders: Iterable[Holder], there: Iterable[Held]
) -> list[str]:
    """What a person should know of holds that are left to expire."""
    named = [h.workload for h in holders if h.held and h.plan_id in unknown]
    named += [one.workload for one in there if one.plan_id in unknown]
    if not named:
        return []
    some = ", ".join(sorted(named)[:_SHOWN]) + (" ..." if len(named) > _SHOWN else "")
    plans = ", ".join(sorted(unknown))
    return [
        f"{len(named)} held by plans that this store does not know ({plans}): left to expire: "
        f"{some}; is it the right store?"
    ]


def left_alone(
    decisions: Iterable[Decision], holders: Mapping[str, Holder], unknown: Collection[str]
) -> list[Decision]:
    """The decisions without those that lower what a plan of somebody else holds: it expires by
    itself. A person's stop is done all the same."""
    found: list[Decision] = []
    for d in decisions:
        holder = holders.get(d.workload)
        if (
            holder is not None
            and holder.plan_id in unknown
            and d.what in ("step_down", "give_back")
            and holder.mode not in _STOP
        ):
            text = f"held by plan {holder.plan_id}, which this store does not know: it expires"
            d = replace(d, what="keep", floor=holder.floor or 0, reason=text)  # noqa: PLW2901
        found.append(d)
    return found


def deeds_left(
    deeds: Iterable[Deed], there: Sequence[Held], unknown: Collection[str], stop: str
) -> list[Deed]:
    """The deeds without those that lower what is somebody else's; with ``stop``, and without those
    that hold what nothing is held of yet."""
    theirs = {one.uid for one in there if one.plan_id in unknown}
    held = {one.what for one in there if one.name}
    found: list[Deed] = []
    for deed in deeds:
        what = deed.entry.field.partition(" ")[0]
        if deed.done == "given_back" and what != "share" and deed.entry.uid in theirs:
            continue
        if stop and deed.done == "done" and what not in held:
            continue
        found.append(deed)
    return found
