"""Each rule of the guardrails forbids something, and without it that would be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from guard_cases import (
    FINE,
    NAME,
    NOW,
    ago,
    decided,
    held,
    holder,
    known,
    raised,
    wanted,
)

from models.guard_params import CanaryParams
from models.guardrails import RULES, GuardParams, Health, Past, Wanted, decide
from models.holders import Holder

WRITES = {"raise", "step_down", "give_back"}
STATEFUL = "prod/shop/StatefulSet/db"
ILL = replace(FINE, error_ratio=0.08)
NO_STAGES = GuardParams(canary=CanaryParams(trusted_days=0))
ROLLED_BACK = raised(ago(minutes=30), 14, 10, status="rolled_back")


Row = tuple[str, tuple[str, int], tuple[str, int], dict[str, Any]]


def case(*, rule: str, good: tuple[str, int], bad: tuple[str, int], **given: Any) -> Row:
    """With all rules the first comes out, without the one named the second."""
    return (rule, good, bad, given)


CASES = [
    case(
        rule="holder_can", good=("refuse", 3), bad=("raise", 14),
        want=wanted(14), there=holder(problem="KEDA is paused"),
    ),
    case(
        rule="others_win", good=("refuse", 12), bad=("raise", 14),
        want=wanted(14), there=held(12, ours=False, owners=("argocd",)),
    ),
    case(
        rule="others_win", good=("refuse", 3), bad=("raise", 14),
        want=wanted(14), there=holder(reverts=2, owners=("argocd",)),
    ),
    case(
        rule="others_win", good=("refuse", 3), bad=("raise", 14), want=wanted(14), there=holder(),
        past=[raised(ago(hours=h), 3, 9, status="reverted") for h in (5, 4)],
        params=NO_STAGES,
    ),
    case(
        rule="kill_switch", good=("refuse", 3), bad=("raise", 14),
        want=wanted(14), there=holder(mode="off"),
    ),
    case(
        rule="kill_switch", good=("step_down", 7), bad=("raise", 20),
        want=wanted(20), there=held(14, mode="off"),
    ),
    case(
        rule="mode", good=("show", 14), bad=("raise", 14),
        want=wanted(14, mode="shadow"), there=holder(),
    ),
    case(
        rule="recommend", good=("wait", 3), bad=("raise", 14),
        want=wanted(14), there=holder(mode="recommend"),
    ),
    case(
        rule="others_win", good=("refuse", 12), bad=("raise", 14),
        want=wanted(14), there=held(12, value=11),
    ),
    case(
        rule="recommend", good=("wait", 3), bad=("raise", 14),
        want=wanted(14, mode="recommend"), there=holder(),
    ),
    case(
        rule="mode", good=("refuse", 3), bad=("raise", 14),
        want=wanted(14, mode="off"), there=holder(),
    ),
    case(
        rule="errors_rose", good=("give_back", 10), bad=("keep", 14),
        want=wanted(14), there=held(14), health=ILL, past=[raised(ago(minutes=20), 10, 14)],
    ),
    case(
        rule="pods_pending", good=("give_back", 11), bad=("keep", 14),
        want=wanted(14), there=held(14), health=replace(FINE, pending_pods=3),
    ),
    case(
        rule="pods_pending", good=("keep", 14), bad=("raise", 18),
        want=wanted(18), there=held(14, desired=16, replicas=16),
        health=replace(FINE, pending_pods=3),
    ),
    case(
        rule="gate", good=("show", 14), bad=("raise", 14),
        want=wanted(14, gate="shadow"), there=holder(),
    ),
    case(
        rule="gate", good=("keep", 14), bad=("step_down", 10),
        want=wanted(10, gate="shadow"), there=held(14),
    ),
    case(
        rule="stale_forecast", good=("refuse", 3), bad=("raise", 14),
        want=wanted(14), there=holder(), health=replace(FINE, forecast_age_s=27 * 3600.0),
    ),
    case(
        rule="stale_forecast", good=("keep", 14), bad=("step_down", 7),
        want=None, there=held(14), health=replace(FINE, forecast_age_s=float("nan")),
    ),
    case(
        rule="owned", good=("refuse", 3), bad=("raise", 14), want=wanted(14),
        there=holder(owners=("helm", "argocd-server")), force_owners=("argocd-*",),
    ),
    case(
        rule="pods_pending", good=("refuse", 3), bad=("raise", 14), want=wanted(14),
        there=holder(), health=replace(FINE, pending_pods=float("nan")),
    ),
    case(
        rule="pods_pending", good=("keep", 14), bad=("raise", 18),
        want=wanted(18), there=held(14), health=replace(FINE, pending_pods=2, pending_before=2),
    ),
    case(
        rule="accuracy", good=("refuse", 3), bad=("raise", 14),
        want=wanted(14), there=holder(), health=replace(FINE, accuracy_ok=False),
    ),
    case(
        rule="accuracy", good=("keep", 14), bad=("step_down", 10),
        want=wanted(10), there=held(14), health=replace(FINE, accuracy_ok=False),
    ),
    case(
        rule="cool_down", good=("keep", 3), bad=("raise", 14), want=wanted(14), there=holder(),
        past=[ROLLED_BACK], params=NO_STAGES,
    ),
    case(
        rule="stateful_set", good=("wait", 3), bad=("raise", 14),
        want=wanted(14, workload=STATEFUL), there=holder(workload=STATEFUL),
    ),
    case(
        rule="stateful_set", good=("wait", 3), bad=("raise", 4),
        want=wanted(4, workload=STATEFUL), there=holder(workload=STATEFUL, replicas=3, desired=3),
    ),
    case(
        rule="large_change", good=("wait", 3), bad=("raise", 16), want=wanted(16), there=holder(),
    ),
    case(
        rule="large_change", good=("wait", 3), bad=("raise", 20), want=wanted(90), there=holder(),
    ),
    case(
        rule="day_budget", good=("keep", 3), bad=("raise", 14), want=wanted(14), there=holder(),
        past=[raised(ago(hours=2 + h), 3, 9) for h in range(12)],
    ),
    case(
        rule="too_soon", good=("keep", 10), bad=("raise", 14),
        want=wanted(14), there=held(10), past=[raised(ago(seconds=59), 9, 10)],
    ),
    case(
        rule="too_soon", good=("keep", 14), bad=("step_down", 10),
        want=wanted(10), there=held(14), past=[raised(ago(seconds=299), 10, 14)],
    ),
    case(
        rule="reactive_need", good=("keep", 14), bad=("step_down", 10),
        want=wanted(10), there=held(14, desired=15, replicas=15),
    ),
    case(
        rule="reactive_need", good=("step_down", 12), bad=("step_down", 10),
        want=wanted(10), there=held(14), health=replace(FINE, needed=11.2),
    ),
    case(
        rule="step_up", good=("raise", 20), bad=("raise", 90),
        want=wanted(90, approved=True), there=holder(),
    ),
    case(
        rule="step_down", good=("step_down", 20), bad=("step_down", 4),
        want=None, there=held(40),
    ),
    case(
        rule="hour_up", good=("raise", 12), bad=("raise", 14), want=wanted(14),
        there=held(11), past=[raised(ago(minutes=50), 4, 8), raised(ago(minutes=20), 8, 11)],
    ),
    case(
        rule="hour_down", good=("step_down", 4), bad=("give_back", 3), want=None,
        there=held(6), past=[
            raised(ago(minutes=m), b, a) for m, b, a in ((50, 40, 20), (30, 20, 10), (10, 10, 6))
        ],
    ),
    case(
        rule="canary", good=("raise", 11), bad=("raise", 14),
        want=wanted(14), there=holder(), new=True,
    ),
    case(
        rule="user_floor", good=("keep", 8), bad=("give_back", 4), want=wanted(4),
        there=holder(floor=8, replicas=8, desired=8),
    ),
    case(
        rule="user_floor", good=("give_back", 3), bad=("give_back", 1),
        want=wanted(1), there=held(4),
    ),
    case(
        rule="ceiling", good=("raise", 12), bad=("raise", 14),
        want=wanted(14), there=holder(ceiling=12),
    ),
    case(
        rule="run_budget", good=("keep", 3), bad=("raise", 14),
        want=wanted(14), there=holder(), params=GuardParams(raises_per_run=0),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "good", "bad", "given"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)]
)
def test_a_rule_forbids_what_would_be_done_without_it(
    rule: str, good: tuple[str, int], bad: tuple[str, int], given: Mapping[str, Any]
) -> None:
    found, unguarded = decided(**given), decided(**given, without=rule)
    assert (found.what, found.floor) == good, found.reason
    assert (unguarded.what, unguarded.floor) == bad, unguarded.reason
    assert found.reason


def test_every_rule_is_tested_so() -> None:
    assert {c[0] for c in CASES} == {r.__name__ for r in RULES}


def test_where_all_is_well_it_is_raised() -> None:
    found = decided(wanted(14), holder())
    assert (found.what, found.floor, found.stage) == ("raise", 14, "trusted")


def test_bounds_that_exclude_each_other_are_refused() -> None:
    found = decided(wanted(31), holder(floor=30, ceiling=20))
    assert (found.what, found.floor) == ("refuse", 30)
    assert "above its ceiling of 20" in found.reason


def test_who_has_taken_the_floor_over_is_named() -> None:
    assert "argocd-controller" in decided(wanted(14), holder(
        reverts=2, owners=("argocd-controller",))).reason  # fmt: skip


@pytest.mark.parametrize("mode", ["act", "recommend"])
def test_what_a_person_approved_is_done(mode: Any) -> None:
    by_id = decided(wanted(14, mode=mode), holder(), approved="p-1")
    by_floor = decided(wanted(14, mode=mode, approved=True), holder())
    assert by_id.what == by_floor.what == "raise"
    assert decided(wanted(14, mode="recommend"), holder(), approved="p-0").what == "wait"
    assert "p-1" in decided(wanted(14, mode="recommend"), holder()).reason


def test_an_approval_is_for_who_may_be_asked() -> None:
    """It does not open a gate, and it does not undo a kill switch."""
    assert decided(wanted(14, gate="shadow", approved=True), holder()).what == "show"
    assert decided(wanted(14, approved=True), holder(mode="shadow")).what == "show"
    assert decided(wanted(14, approved=True), holder(), health=Health()).what == "refuse"


def test_an_approval_of_no_plan_approves_none() -> None:
    assert decided(wanted(14, mode="recommend", plan_id=""), holder(), approved="").what == "wait"


def test_an_annotation_can_only_make_us_more_careful() -> None:
    assert decided(wanted(14, mode="shadow"), holder(mode="act")).what == "show"
    assert decided(wanted(14, mode="off"), holder(mode="recommend")).what == "refuse"


def test_a_kill_switch_brings_everything_back_in_steps_though_gates_fail() -> None:
    floors, there = [], held(40, mode="off")
    for _ in range(20):
        found = decided(wanted(40), there, health=Health())
        assert found.what in WRITES
        floors.append(found.floor)
        if found.what == "give_back":
            break
        there = held(found.floor, mode="off")
    assert floors == [20, 10, 5, 3]


@pytest.mark.parametrize(
    "health",
    [
        Health(),
        replace(FINE, accuracy_ok=False),
        replace(FINE, forecast_age_s=1e6),
        replace(FINE, forecast_age_s=1e6, needed=2.5),
        replace(FINE, pending_pods=float("nan")),
    ],
)
def test_a_gate_that_fails_prolongs_what_the_plan_backs_and_raises_nothing(health: Health) -> None:
    for floor, renew in ((18, True), (14, True), (10, False)):
        found = decided(wanted(floor), held(14), health=replace(health, needed=5))
        assert (found.what, found.floor, found.renew) == ("keep", 14, renew)
    assert not decided(None, held(14), health=replace(health, needed=5)).renew
    shut = decided(wanted(14, gate="shadow"), held(14))
    assert (shut.what, shut.floor, shut.renew) == ("keep", 14, True)


def test_before_the_peak_a_gate_that_fails_takes_nothing_back() -> None:
    """The HPA needs no more than the user's floor yet; the plan says that it soon will."""
    idle = replace(FINE, forecast_age_s=1e6, needed=2.5)
    found = decided(wanted(14), held(14), health=idle)
    assert (found.what, found.floor, found.renew) == ("keep", 14, True)


def test_a_gate_that_fails_gives_back_what_is_known_not_to_be_needed() -> None:
    stale = replace(FINE, forecast_age_s=1e6)
    for want in (wanted(10), None):
        found = decided(want, held(14), health=replace(stale, needed=2.5))
        assert (found.what, found.floor) == ("give_back", 3)
        assert decided(want, held(14), health=replace(stale, needed=3.5)).what == "keep"
    busy = held(14, desired=15, replicas=15)
    assert decided(wanted(14), busy, health=replace(stale, needed=2.5)).what == "keep"


def test_what_the_plan_still_wants_is_prolonged() -> None:
    assert decided(wanted(14), held(14)).renew
    assert decided(wanted(16, workload=STATEFUL), held(14, workload=STATEFUL)).renew is False
    assert not decided(wanted(10), held(14, desired=15, replicas=15)).renew
    soon = [raised(ago(seconds=60), 13, 14)]
    assert decided(wanted(20), held(14), soon).renew
    assert not decided(wanted(14, mode="recommend"), held(14)).renew


def test_errors_with_more_load_are_not_our_doing() -> None:
    """The HPA asks for more than the floor: fewer pods would not help."""
    busy = held(14, desired=18, replicas=18)
    found = decided(wanted(16), busy, [raised(ago(minutes=20), 10, 14)], ILL)
    assert (found.what, found.floor, found.renew) == ("keep", 14, True)


def test_errors_and_pods_of_a_rollout_are_not_our_doing() -> None:
    past, rolling = [raised(ago(minutes=20), 10, 14)], held(14, rolling=True)
    assert decided(wanted(16), rolling, past, ILL).what == "keep"
    assert decided(wanted(16), rolling, health=replace(FINE, pending_pods=3)).what == "keep"


def test_a_rollback_stops_at_what_the_metrics_ask_for() -> None:
    past = [raised(ago(minutes=20), 10, 14)]
    found = decided(wanted(14), held(14), past, replace(ILL, needed=12))
    assert (found.what, found.floor, found.stage) == ("give_back", 12, "rollback")


def test_a_rollback_takes_all_raises_of_the_window_back() -> None:
    past = [raised(ago(minutes=50), 3, 12), raised(ago(minutes=20), 12, 14)]
    found = decided(wanted(14), held(14), past, ILL)
    assert (found.what, found.floor) == ("give_back", 3)


def test_pods_that_run_stay_when_the_pending_ones_go_back() -> None:
    found = decided(wanted(14), held(14), health=replace(FINE, pending_pods=13))
    assert (found.what, found.floor, found.stage) == ("give_back", 3, "rollback")


def test_a_raise_of_a_moment_ago_is_not_judged_yet() -> None:
    found = decided(wanted(14), held(14), [raised(ago(seconds=90), 10, 14)], ILL)
    assert (found.what, found.floor) == ("keep", 14)


def test_where_pods_find_no_room_none_are_added() -> None:
    found = decided(wanted(14), holder(), health=replace(FINE, pending_pods=2))
    assert (found.what, found.floor) == ("keep", 3)


def test_errors_that_are_not_measured_stop_nothing() -> None:
    unknown = Health(pending_pods=0, forecast_age_s=600)
    assert decided(wanted(14), holder(), health=unknown).what == "raise"


def test_one_pod_more_is_never_a_large_change() -> None:
    small = holder(floor=1, replicas=1, desired=1)
    assert decided(wanted(2), small).what == "raise"
    assert decided(wanted(5), small).what == "raise"  # 4 stood, and it is one more than that
    assert decided(wanted(6), small).what == "wait"
    assert decided(wanted(3), small, new=True).what == "wait"


def test_a_floor_that_adds_no_pod_is_no_change() -> None:
    """Half the pods of the floor, and all of them there already."""
    assert decided(wanted(10), holder(floor=2)).floor == 10


def test_keda_without_bounds_has_those_of_keda() -> None:
    there = holder(rung="keda", floor=None, ceiling=None, replicas=80, desired=80)
    assert decided(wanted(110), there).floor == 100
    assert decided(wanted(0), there).what == "keep"


def test_what_nobody_holds_is_refused_and_what_nobody_wants_goes_back() -> None:
    other = "prod/shop/Deployment/other"
    found = decide(
        [wanted(5, workload="prod/shop/Deployment/gone")],
        {other: replace(held(6), workload=other), NAME: holder()},
        [], {other: FINE}, NOW, GuardParams(),
    )  # fmt: skip
    assert [(d.what, d.workload.split("/")[-1]) for d in found] == [
        ("refuse", "gone"), ("give_back", "other"),
    ]  # fmt: skip


def test_a_write_that_may_have_been_made_counts_as_made() -> None:
    lost = raised(ago(seconds=30), 10, 12, status="intended")
    assert decided(wanted(14), held(12), [lost]).what == "keep"
    refused = replace(lost, status="conflict")
    assert decided(wanted(14), held(12), [refused]).what == "raise"


def test_one_stuck_pod_takes_one_pod_once() -> None:
    """Not pod by pod, at those that are left; and not in the minutes after a change."""
    stuck = replace(FINE, pending_pods=1)
    soon = [raised(ago(minutes=4), 10, 14)]
    assert decided(wanted(14), held(14), soon, stuck).what == "keep"
    past = [raised(ago(minutes=20), 10, 14)]
    found = decided(wanted(14), held(14), past, stuck)
    assert (found.what, found.floor, found.stage) == ("give_back", 13, "rollback")
    past.append(raised(ago(minutes=10), 14, 13, status="rolled_back"))
    found = decided(wanted(14), held(13), past, stuck)
    assert (found.what, found.floor, found.renew) == ("keep", 13, True)
    again = [*past, raised(ago(minutes=8), 13, 14)]
    assert decided(wanted(14), held(14), again, stuck).what == "give_back"


def test_pods_that_waited_before_our_raise_are_not_taken_back() -> None:
    past = [raised(ago(minutes=20), 10, 14)]
    found = decided(wanted(14), held(14), past, replace(FINE, pending_pods=3, pending_before=2))
    assert (found.what, found.floor) == ("give_back", 13)
    found = decided(wanted(14), held(14), past, replace(FINE, pending_pods=3, pending_before=3))
    assert (found.what, found.floor, found.renew) == ("keep", 14, True)


def test_what_was_approved_stands_while_the_plan_asks_for_one_more() -> None:
    """A StatefulSet at the approved 14, and the nowcast is one pod higher."""
    more = wanted(15, workload=STATEFUL, approved_floor=14, approved_plan="p-0")
    found = decided(more, held(14, workload=STATEFUL))
    assert (found.what, found.floor, found.renew) == ("wait", 14, True)
    assert "approve plan p-1" in found.reason
    found = decided(more, held(12, workload=STATEFUL))
    assert (found.what, found.floor, found.renew) == ("raise", 14, True)
    assert "14 are approved, for more it is a StatefulSet: approve plan p-1" in found.reason
    assert "as approved with plan p-0" in found.reason
    beyond = decided(more, held(15, workload=STATEFUL))
    assert (beyond.what, beyond.renew) == ("keep", False)


def test_an_approval_that_is_used_again_says_so() -> None:
    mode: Any = "recommend"
    old = wanted(14, mode=mode, approved=True, approved_floor=14, approved_plan="p-0")
    assert "as approved with plan p-0" in decided(old, holder()).reason
    now = replace(old, approved_plan="p-1")
    assert "as approved" not in decided(now, holder()).reason


def test_a_height_that_stood_on_enough_days_needs_no_new_yes() -> None:
    days = [raised(ago(days=d), 10, 40) for d in (3, 2, 1)]
    found = decided(wanted(40), holder(), days)
    assert (found.what, found.floor) == ("raise", 20)
    busy = raised(ago(minutes=10), 10, 20)  # 40 is more than an hour allows, but it stood
    assert decided(wanted(40), held(20), [*days, busy]).floor == 40
    assert decided(wanted(46), holder(), days).what == "wait"
    assert decided(wanted(40), holder(), days[1:]).what == "wait"
    taken = raised(ago(hours=20), 10, 40, status="rolled_back")
    assert decided(wanted(40), holder(), [*days, taken], new=True).what == "wait"


def test_steps_and_noise_are_no_climbs() -> None:
    """12 climbs a day are for a plan that flaps, not for one that is made anew each quarter hour"""
    steps = [raised(ago(minutes=5 * m), 90 - m, 91 - m) for m in range(60, 2, -1)]
    assert decided(wanted(95), held(88), steps).what == "raise"
    noise = [
        p
        for m in range(600, 10, -30)
        for p in (raised(ago(minutes=m), 58, 61), raised(ago(minutes=m - 15), 61, 58))
    ]
    assert decided(wanted(61), held(58), noise).what == "raise"
    flaps = [
        p
        for m in range(600, 10, -30)
        for p in (raised(ago(minutes=m), 50, 61), raised(ago(minutes=m - 15), 61, 50))
    ]
    assert decided(wanted(61), held(50, replicas=58), flaps).what == "keep"


def test_the_last_climb_of_a_day_may_go_on_to_its_end() -> None:
    flaps = [
        p
        for m in range(15 * 60, 200, -60)
        for p in (raised(ago(minutes=m), 30, 61), raised(ago(minutes=m - 15), 61, 30))
    ][-22:]
    begun = [*flaps, raised(ago(minutes=10), 30, 50)]
    assert decided(wanted(60), held(50), begun).what == "raise"
    assert decided(wanted(60), held(48), begun).what == "keep"  # it expired since: a new one
    assert decided(wanted(60), held(48), begun[2:]).what == "raise"


def test_a_kill_switch_waits_for_no_raise() -> None:
    just = [raised(ago(seconds=10), 10, 14)]
    found = decided(wanted(14), held(14, mode="off"), just)
    assert (found.what, found.floor) == ("step_down", 7)
    own = [*just, raised(ago(seconds=5), 14, 7)]
    assert decided(wanted(14), held(7, mode="off"), own).what == "keep"


def test_a_floor_that_nobody_else_writes_is_not_in_the_way() -> None:
    mine = holder(owners=("argocd-server",))
    assert decided(wanted(14), mine, force_owners=("argocd-*",)).what == "raise"
    assert decided(wanted(14), mine, force_owners=None).what == "raise"
    found = decided(wanted(14), mine, force_owners=())
    assert "argocd-server owns the floor: name it in prescale.rungs.force_owners" in found.reason
    shared = decided(wanted(14), held(12, owners=("helm",)), force_owners=())
    assert (shared.what, shared.renew) == ("refuse", True)


def test_two_reverts_of_a_day_stop_it_and_older_ones_do_not() -> None:
    def past(*hours: float) -> list[Past]:
        return [raised(ago(hours=h), 9, 3, status="reverted") for h in hours]

    assert "2 times" in decided(wanted(14), holder(), past(23, 5), params=NO_STAGES).reason
    assert decided(wanted(14), holder(), past(25, 5), params=NO_STAGES).what == "raise"


def test_trusted_ones_are_not_counted_and_the_earliest_due_go_first() -> None:
    names = [f"prod/shop/Deployment/w{i}" for i in range(6)]
    there = {n: holder(workload=n) for n in names}
    days = [raised(ago(days=d), 3, 14, workload=n) for n in names[:3] for d in (6, 5, 4)]
    past = [*days, *(p for n in names[3:] for p in known(n))]  # these rise to what is news
    wants = [
        wanted(14, workload=n, due=NOW + pd.Timedelta(30 - i, "min")) for i, n in enumerate(names)
    ]
    params = GuardParams(raises_per_run=1)
    found = decide(wants, there, past, dict.fromkeys(names, FINE), NOW, params)
    assert [d.workload for d in found] == names[::-1]
    assert [d.workload for d in found if d.what == "raise"] == [names[5], *names[2::-1]]


def test_the_others_have_their_turn_in_the_next_run() -> None:
    names = [f"prod/shop/Deployment/w{i}" for i in range(5)]
    there: dict[str, Holder] = {n: holder(workload=n) for n in names}
    wants: list[Wanted] = [wanted(14, workload=n) for n in names]
    past: list[Past] = [p for n in names for p in known(n)]
    params = GuardParams(raises_per_run=2)
    done: list[str] = []
    for run in range(3):
        now = NOW + pd.Timedelta(5 * run, "min")
        found = decide(wants, there, past, dict.fromkeys(names, FINE), now, params)
        rising = [d.workload for d in found if d.what == "raise"]
        assert len(rising) == min(2, 5 - len(done))
        done += rising
        there |= {n: replace(held(14), workload=n) for n in rising}
    assert sorted(done) == names


@pytest.mark.parametrize(
    ("key", "value"),
    [("between_up_s", 30), ("step_up_pods", 0), ("step_down_share", 1.5),
     ("raises_per_day", -1), ("errors_factor", 0.5), ("forecast_age_max_h", float("nan"))],
)  # fmt: skip
def test_knobs_without_meaning_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"guard: {key} must be"):
        GuardParams(**{key: value})
