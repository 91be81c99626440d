"""What a plan wants now."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from apply_world import NOW, a_floor, a_plan
from hypothesis import given
from hypothesis import strategies as st

from models.actions import Floor, floors_at
from models.guard_params import CanaryParams, GuardParams
from models.modes import Rule
from pipelines.approvals import Approval
from pipelines.wanting import wanted_now

AT_ONCE = GuardParams(canary=CanaryParams(trusted_days=0))
MINUTE = pd.Timedelta(1, "min")
steps = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 30)), min_size=1, max_size=6)


def windows(parts: list[tuple[int, int]]) -> list[Floor]:
    """Windows after each other; a floor of 0 is a gap."""
    found: list[Floor] = []
    at = NOW
    for minutes, after in parts:
        if after > 2:
            found.append(a_floor("web", after, starts=at, minutes=minutes))
        at += minutes * MINUTE
    return found


@given(parts=steps, minute=st.integers(-60, 600))
def test_it_is_the_plans_own_floor_until_the_users_comes_back(
    parts: list[tuple[int, int]], minute: int
) -> None:
    plan, now = a_plan(*windows(parts)), NOW + minute * MINUTE
    found = {w.workload: w for w in wanted_now(plan, now, (), (), AT_ONCE)}
    due = floors_at(plan, now) if now >= plan.as_of else {}
    for workload, floor in due.items():
        assert found[workload].floor >= floor.after
    for want in found.values():
        ahead = [f for f in plan.floors if now < f.starts_at <= now + 20 * MINUTE]
        assert want.floor in {f.after for f in (*due.values(), *ahead)}
        assert now < want.until <= plan.expires_at
        last = want.until - MINUTE
        assert floors_at(plan, last), "up to its end there is a floor"
        assert want.until == plan.expires_at or not floors_at(plan, want.until)


def test_it_is_wanted_as_much_earlier_as_its_steps_and_stages_take() -> None:
    plan = a_plan(a_floor("web", 9), as_of=NOW - 60 * MINUTE)
    for params, runs in ((AT_ONCE, 2), (GuardParams(), 2 + 2 * 3)):
        early = NOW - 5 * runs * MINUTE
        assert wanted_now(plan, early - MINUTE, (), (), params) == []
        assert [w.floor for w in wanted_now(plan, early, (), (), params)] == [9]
        early = NOW - 10 * runs * MINUTE
        if runs == 2:
            assert wanted_now(plan, early - MINUTE, (), (), params, every_min=10) == []
            assert wanted_now(plan, early, (), (), params, every_min=10)


def test_a_floor_ahead_that_may_not_act_leaves_that_of_now_in_its_place() -> None:
    now_, later = a_floor("web", 5, minutes=10), a_floor("web", 9, starts=NOW + 10 * MINUTE)
    shut = replace(later, gate="shadow")
    (want,) = wanted_now(a_plan(now_, shut), NOW + 5 * MINUTE, (), (), AT_ONCE)
    assert (want.floor, want.gate) == (5, "act")
    (want,) = wanted_now(a_plan(now_, later), NOW + 5 * MINUTE, (), (), AT_ONCE)
    assert (want.floor, want.due) == (9, later.starts_at)


def test_the_settings_of_now_make_a_plan_of_before_more_careful_and_never_less() -> None:
    plan = a_plan(a_floor("web", 9, mode="recommend"))
    found = {
        mode: wanted_now(plan, NOW, (), (), AT_ONCE, mode=mode)[0].mode
        for mode in ("off", "shadow", "recommend", "act")
    }
    assert found == {"off": "off", "shadow": "shadow", "recommend": "recommend", "act": "recommend"}
    rules = (Rule("prod/shop/*", mode="off"),)
    assert wanted_now(plan, NOW, (), (), AT_ONCE, rules=rules)[0].mode == "off"


def test_an_expired_plan_wants_nothing() -> None:
    plan = a_plan(a_floor("web", 9, minutes=5000))
    assert wanted_now(plan, plan.expires_at, (), (), AT_ONCE) == []
    assert wanted_now(plan, plan.expires_at - MINUTE, (), (), AT_ONCE)


def test_approved_is_what_somebody_saw_and_no_more() -> None:
    plan = a_plan(a_floor("web", 9))
    for seen, yes in ((9, True), (10, True), (8, False)):
        known = Approval("p", NOW, plan.expires_at, {"prod/shop/Deployment/web": seen})
        (want,) = wanted_now(plan, NOW, (), (known,), AT_ONCE)
        assert want.approved is yes
        assert (want.approved_floor, want.approved_plan) == (seen, "p")
