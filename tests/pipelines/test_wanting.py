"""What a plan wants now."""

from __future__ import annotations

import pandas as pd
from apply_world import NOW, a_floor, a_plan
from hypothesis import given
from hypothesis import strategies as st

from models.actions import Floor, floors_at
from models.guard_params import CanaryParams
from pipelines.approvals import Approval
from pipelines.wanting import wanted_now

AT_ONCE = CanaryParams(trusted_days=0)
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
    found = wanted_now(plan, now, (), (), AT_ONCE)
    due = floors_at(plan, now) if now >= plan.as_of else {}
    assert {w.workload: w.floor for w in found} == {w: f.after for w, f in due.items()}
    for want in found:
        assert now < want.until <= plan.expires_at
        last = want.until - MINUTE
        assert floors_at(plan, last), "up to its end there is a floor"
        assert want.until == plan.expires_at or not floors_at(plan, want.until)


def test_a_new_workload_is_wanted_as_much_earlier_as_its_stages_take() -> None:
    plan = a_plan(a_floor("web", 9))
    params = CanaryParams()
    early = NOW - 2 * params.soak_min * MINUTE
    assert wanted_now(plan, early - MINUTE, (), (), params) == []
    assert [w.floor for w in wanted_now(plan, early, (), (), params)] == [9]


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
