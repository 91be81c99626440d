"""The guardrails: what may be done to a workload's floor now. Read ``RULES``: each is one law.

A case begins with the floor that the plan wants (none: the user's own) and goes through the rules
in their order. A rule lets it pass, brings the floor it aims at nearer to the one that stands, or
ends it. What comes through is written. Leaving a rule out is how its test shows what it is for.

Three things hold everywhere. A raise can be stopped by anything. What is held can only be lowered
by the plan, by a person, or on evidence that it does harm: while a gate fails, what the newest plan
backs is renewed. And lowering a floor never goes beneath what the HPA's own metrics ask for.

``status.desiredReplicas`` of an HPA is never less than its floor. Above the floor it is what the
metrics ask for; at the floor it says nothing of them: hence ``Health.needed`` beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import pandas as pd

from models.guard_case import (
    Case,
    Rule,
    ask,
    back_to,
    by_mode,
    climbs,
    no_more,
    shut,
)
from models.guard_facts import Decision, Health, Past, Wanted
from models.guard_params import GuardParams
from models.guard_run import cases_of, decided
from models.holders import Holder

__all__ = ["RULES", "Case", "Decision", "GuardParams", "Health", "Past", "Rule", "Wanted", "decide"]

_DAY_S = 86400.0


def holder_can(case: Case) -> Case | Decision:
    """KEDA paused, target at zero, bounds that exclude each other: a floor would do nothing."""
    if case.holder.problem:
        return case.ends("refuse", case.holder.problem)
    if case.holder.user_floor > case.ceiling:
        return case.ends("refuse", f"its own floor is above its ceiling of {case.ceiling:g}")
    return case


def others_win(case: Case) -> Case | Decision:
    """Somebody else took the field over, or took it back twice: we stop and say who."""
    who = ", ".join(case.holder.owners) or "somebody"
    if case.holder.held and not (case.holder.ours and case.holder.value in (None, case.floor)):
        return case.ends("refuse", f"{who} has changed the floor since we raised it: it is theirs")
    lately = sum(p.status == "reverted" for p in case.made_since(_DAY_S))
    reverts = max(case.holder.reverts, lately)
    if reverts >= case.params.reverts_max:
        return case.ends("refuse", f"{who} took the floor back {reverts} times: it is theirs")
    return case


def kill_switch(case: Case) -> Case | Decision:
    """An annotation on workload or namespace makes us more careful, whatever the plan says."""
    return by_mode(case, case.holder.mode, "by its annotation")


def mode(case: Case) -> Case | Decision:
    """``off`` and ``shadow`` raise nothing, and give back what is held."""
    return by_mode(case, case.wanted.mode if case.wanted else None, "by its mode")


def owned(case: Case) -> Case | Decision:
    """A floor that somebody else writes would conflict: said before, and nothing is tried."""
    if case.force_owners is None or case.aim <= case.floor:
        return case
    who = [w for w in case.holder.owners if not any(fnmatchcase(w, g) for g in case.force_owners)]
    how = "name it in prescale.rungs.force_owners, or take the field out of what it applies"
    why = f"{', '.join(who)} owns the floor: {how}"
    return case.ends("refuse", why, renew=True) if who else case


def errors_rose(case: Case) -> Case | Decision:
    """Errors rose after our raise while the HPA asks for no more: it did harm, and goes back.

    Where the HPA asks for more than the floor, load explains them; in a rollout, the new version.
    """
    seen = case.now - pd.Timedelta(case.params.between_up_s, "s")
    acted = [p for p in case.made_since(case.params.errors_window_min * 60) if p.raised]
    if not acted or acted[0].at > seen or not case.health.errors_rose(case.params):
        return case
    if case.holder.desired > case.floor or case.holder.rolling:
        return no_more(case, "errors rose, and not by our raise")
    return back_to(case, acted[0].before, "errors rose after our raise")


def pods_pending(case: Case) -> Case | Decision:
    """Pods that we asked for find no room: they go back, once; no running pod does, none is added.

    Pods that waited before our raise, and those of a rollout, are not of our asking.
    """
    health = case.health
    if math.isnan(health.pending_pods):
        return shut(case, "refuse", "its pods are not seen")
    if not health.pending_pods > 0:
        return case
    reason = f"{health.pending_pods:.0f} pods stay pending"
    soon = case.made_since(case.params.between_down_s)
    if not (health.pending_ours or case.holder.held or case.holder.rolling):
        return case  # one pod that nobody can place must not keep a workload from every raise
    if case.holder.rolling or case.undone or soon or not health.pending_ours:
        return no_more(case, reason)
    return back_to(case, case.holder.replicas - health.pending_ours, reason)


def gate(case: Case) -> Case | Decision:
    """What cannot be forecast well enough is shown, not done."""
    is_open = case.wanted is None or case.wanted.gate == "act"
    return case if is_open else shut(case, "show", "its gate is shut")


def stale_forecast(case: Case) -> Case | Decision:
    """An old forecast, or one of unknown age, says nothing of now."""
    fresh = case.health.forecast_age_s <= case.params.forecast_age_max_h * 3600
    return case if fresh else shut(case, "refuse", "its forecast is stale")


def accuracy(case: Case) -> Case | Decision:
    """Forecasts that lost their edge raise nothing."""
    ok = case.health.accuracy_ok
    return case if ok else shut(case, "refuse", "its forecasts are not accurate enough")


def cool_down(case: Case) -> Case | Decision:
    """After a rollback somebody has to be able to look: nothing is raised again at once."""
    lately = case.made_since(case.params.cool_down_min * 60)
    if case.aim > case.floor and any(p.status == "rolled_back" for p in lately):
        return case.ends("keep", "a raise was rolled back lately", renew=True)
    return case


def recommend(case: Case) -> Case | Decision:
    """What is only recommended is done where a person said yes."""
    modes = (case.holder.mode, case.wanted.mode if case.wanted else None)
    return ask(case, "it is recommended") if "recommend" in modes else case


def stateful_set(case: Case) -> Case | Decision:
    """Pods with disks move data when they come and go: a person decides."""
    stateful = case.holder.workload.split("/")[2:3] == ["StatefulSet"]
    return ask(case, "it is a StatefulSet") if stateful else case


def large_change(case: Case) -> Case | Decision:
    """A jump is a person's to allow, judged on all that the plan wants and not on its steps; what
    stood on enough days without harm is none."""
    wanted = min(case.wanted.floor if case.wanted else 0, case.ceiling)
    share, pods = case.params.approve_above_share, case.params.approve_above_pods
    base = max(case.there, case.stood)
    if case.aim <= case.floor or wanted - base <= max(share * case.there, pods):
        return case
    return ask(case, f"{case.there} to {wanted:g} is more than {share:.0%}", renew=True)


def day_budget(case: Case) -> Case | Decision:
    """So many climbs a day: a plan that flaps is stopped, its way down and its steps up are not."""
    made = case.made_since(_DAY_S)
    spent, climbing = climbs(made, case.params)
    on_its_way = climbing and case.floor >= made[-1].after
    if case.aim > case.floor and spent >= case.params.raises_per_day and not on_its_way:
        return case.ends("keep", f"raised {spent} times in a day", renew=True)
    return case


def too_soon(case: Case) -> Case | Decision:
    """Time to see what the last change did; also what makes a run told twice do nothing twice.

    A person's order waits for no raise, only for its own last step.
    """
    fast = case.aim > case.floor or case.by_hand
    wait_s = case.params.between_up_s if fast else case.params.between_down_s
    made = [p for p in case.made_since(wait_s) if not (case.by_hand and p.raised)]
    if case.aim != case.floor and made:
        return case.ends("keep", f"changed less than {wait_s:g} s ago", renew=True)
    return case


def reactive_need(case: Case) -> Case | Decision:
    """No floor is taken from beneath what the HPA itself asks for."""
    return case.down_to(case.needed, "the HPA asks for as many by itself")


def step_up(case: Case) -> Case | Decision:
    """So many pods a run, so that a wrong floor is small when it is seen."""
    most = max(case.params.step_up_share * case.there, case.params.step_up_pods)
    return case.up_to(case.there + most, "a step at a time")


def step_down(case: Case) -> Case | Decision:
    """A lowered floor drops the HPA at once, past its own window: so in steps."""
    most = max(case.params.step_down_share * case.floor, case.params.step_down_pods)
    return case.down_to(case.floor - most, "a step at a time")


def hour_up(case: Case) -> Case | Decision:
    """Steps must not add up: at most so much in an hour, unless a person approved the number."""
    made = case.made_since(3600)
    start = max(made[0].before, made[0].replicas) if made else case.there
    start = max(start, case.needed, case.stood)
    most = max(case.params.up_per_hour_share * start, case.params.step_up_pods)
    return case if case.approved else case.up_to(start + most, "as much as an hour allows")


def hour_down(case: Case) -> Case | Decision:
    """And not all given back in an hour."""
    top = max(case.floor, *(max(p.before, p.after) for p in case.made_since(3600)), 0)
    most = max(case.params.down_per_hour_share * top, case.params.step_down_pods)
    return case.down_to(top - most, "as much as an hour allows")


def canary(case: Case) -> Case | Decision:
    """What was never raised before goes after a few others, or with a share of its pods."""
    if case.stage is None or case.aim <= case.floor or case.trusted:
        return case
    if case.holder.workload not in case.stage.workloads:
        return case.ends("wait", case.stage.reason, renew=True, stage=case.stage.name)
    hours = case.params.canary.rollout_h
    before = [p for p in case.made_since(hours * 3600) if p.raised][:1]
    start = max(before[0].before, before[0].replicas) if before else case.there
    whole = min(case.wanted.floor if case.wanted else 0, case.ceiling) - start
    return case.up_to(start + math.ceil(case.stage.share * max(whole, 0)), case.stage.reason)


def user_floor(case: Case) -> Case | Decision:
    """Never below the user's own floor."""
    return replace(case, aim=max(case.aim, case.holder.user_floor))


def ceiling(case: Case) -> Case | Decision:
    """Never above maxReplicas, which the API server would refuse anyway."""
    return replace(case, aim=int(min(case.aim, case.ceiling)))


def run_budget(case: Case) -> Case | Decision:
    """A plan gone wrong everywhere reaches so many workloads before somebody can look; what is
    trusted, and about as high as it has been, is not counted."""
    if case.aim <= case.floor or case.known or case.raises < case.params.raises_per_run:
        return case
    return case.ends("keep", f"{case.raises} others are raised in this run", renew=True)


RULES: tuple[Rule, ...] = (
    holder_can, others_win, kill_switch, mode, owned,  # whose it is
    errors_rose, pods_pending,  # harm
    gate, stale_forecast, accuracy, cool_down,  # whether the forecast may raise
    recommend, stateful_set, large_change,  # whether a person has to
    day_budget, too_soon, reactive_need, step_up, step_down, hour_up, hour_down,  # how fast
    canary, user_floor, ceiling, run_budget,
)  # fmt: skip


def decide(
    wanted: Sequence[Wanted],
    holders: Mapping[str, Holder],
    past: Sequence[Past],
    health: Mapping[str, Health],
    now: pd.Timestamp,
    params: GuardParams,
    *,
    approved: str = "",
    force_owners: Sequence[str] | None = None,
    rules: Sequence[Rule] = RULES,
) -> list[Decision]:
    """A decision for each workload that is wanted or held, wanted ones first, the earliest due.

    Parameters
    ----------
    wanted
        Of the newest plan that is valid. What is held and not wanted is on its way back.
    holders
        Workload → who holds its floor, as just read.
    past
        The ledger's actions of the last ``params.memory_h``, each as it stands now.
    health
        Of every workload that is wanted or held. One that it lacks raises nothing.
    approved
        Id of a plan that a person has approved, beside what ``Wanted`` says.
    force_owners
        Globs of managers that a floor may be taken from; None where floors go to files.
    """
    names, cases = cases_of(wanted, holders, past, health, now, params, approved, force_owners)
    alone = [r for r in rules if r not in (canary, run_budget)]
    found = decided(cases, past, health, now, params, alone=alone, rules=rules)
    lacking = "no HPA or ScaledObject holds its floor"
    return [found.get(n) or Decision(n, "refuse", 0, "", lacking) for n in names]
