"""Stages of a rollout follow from the ledger alone, and from how what was raised does."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from guard_cases import FINE, NOW, held, holder, wanted

from models.canary import Stage, is_trusted, lead_in_s, runs_up, stage_of, stood
from models.guard_params import CanaryParams, GuardParams
from models.guardrails import Health, Past, decide

PARAMS = GuardParams()
RULES = PARAMS.canary
NAMES = [f"prod/shop/Deployment/w{i}" for i in range(20)]
WANTING = dict.fromkeys(NAMES, 4)
WELL = dict.fromkeys(NAMES, FINE)


def done(name: str, minutes: float, status: str = "done", to: int = 14) -> Past:
    at = NOW - pd.Timedelta(minutes, "min")
    return Past(name, at, 10, to, status, f"p-{minutes:g}", replicas=10)


def stage(past: list[Past], health: dict[str, Health] | None = None, **wanting: int) -> Stage:
    return stage_of(past, health or WELL, NOW, PARAMS, wanting=wanting or WANTING)


def test_a_tenth_then_half_then_all() -> None:
    first = stage([])
    assert (first.name, first.share, len(first.workloads)) == ("canary", 1.0, 2)
    half = stage([done(n, 11) for n in first.workloads])
    assert (half.name, len(half.workloads)) == ("half", 10)
    assert first.workloads < half.workloads
    rest = stage([done(n, 11) for n in half.workloads])
    assert (rest.name, rest.workloads) == ("all", frozenset(NAMES))


def test_the_next_stage_waits_until_the_one_before_is_judged() -> None:
    first = sorted(stage([]).workloads)
    young = [done(first[0], 11), done(first[1], 9)]
    assert stage(young).workloads == frozenset(first)
    unknown = WELL | {first[1]: Health(forecast_age_s=60)}
    assert stage([done(n, 11) for n in first], unknown).workloads == frozenset(first)


@pytest.mark.parametrize(
    "ill", [replace(FINE, pending_pods=1), replace(FINE, error_ratio=0.05)], ids=["pods", "errors"]
)
def test_one_that_is_ill_stops_the_rollout_and_is_named(ill: Health) -> None:
    first = sorted(stage([]).workloads)
    found = stage([done(n, 5) for n in first], WELL | {first[0]: ill})
    assert (found.name, found.workloads) == ("stopped", frozenset())
    assert first[0] in found.reason


def test_what_comes_hours_after_a_raise_is_no_word_on_it() -> None:
    first = sorted(stage([]).workloads)
    ill = WELL | {first[0]: replace(FINE, pending_pods=1)}
    assert stage([done(n, 300) for n in first], ill).name == "half"


def test_a_rollback_stops_the_rollout_for_the_day() -> None:
    first = sorted(stage([]).workloads)
    assert stage([done(first[0], 300, "rolled_back", to=10)]).name == "stopped"
    assert stage([done(first[0], 800, "rolled_back", to=10)]).name == "canary"


def test_who_is_first_does_not_change_with_the_plan() -> None:
    first = stage([]).workloads
    backwards = dict.fromkeys(reversed(NAMES), 4)
    assert stage_of([], WELL, NOW, PARAMS, wanting=backwards).workloads == first
    later = stage_of([], WELL, NOW + pd.Timedelta(3, "D"), PARAMS, wanting=WANTING)
    assert later.workloads == first


def test_small_raises_go_first() -> None:
    small = dict.fromkeys(NAMES[5:7], 1)
    assert stage_of([], WELL, NOW, PARAMS, wanting=WANTING | small).workloads == set(small)


def test_one_that_cannot_be_raised_does_not_hold_up_the_others() -> None:
    first = sorted(stage([]).workloads)
    for status in ("conflict", "forbidden", "reverted"):
        found = stage([done(first[0], 5, status)])
        assert first[0] not in found.workloads
        assert len(found.workloads) == 2


def test_very_few_begin_with_a_share_of_their_pods() -> None:
    few = {NAMES[0]: 8, NAMES[1]: 8}
    shares = [
        stage_of(past, WELL, NOW, PARAMS, wanting=few).share
        for past in (
            [],
            [done(NAMES[0], 5)],
            [done(NAMES[0], 11), done(NAMES[1], 11)],
            [done(NAMES[0], 25), done(NAMES[0], 20), done(NAMES[0], 11)],
        )
    ]
    assert shares == [0.25, 0.25, 0.5, 1.0]


def test_a_workload_is_trusted_after_days_without_harm() -> None:
    name = NAMES[0]
    days = [done(name, 1440 * d) for d in (3, 2, 1)]
    assert is_trusted(name, days, NOW, RULES)
    assert not is_trusted(name, days[1:], NOW, RULES)
    assert not is_trusted(name, [*days[1:], done(name, 5)], NOW, RULES)  # today is not over
    assert not is_trusted(name, [*days, done(name, 600, "rolled_back", to=10)], NOW, RULES)
    assert not is_trusted(name, [replace(p, status="conflict") for p in days], NOW, RULES)
    assert not is_trusted(NAMES[1], days, NOW, RULES)


def test_one_raised_on_mondays_alone_becomes_trusted() -> None:
    mondays = [done(NAMES[0], 1440 * 7 * w) for w in (1, 2, 3)]
    assert is_trusted(NAMES[0], mondays, NOW, RULES)


def test_a_way_is_as_long_as_its_steps_take() -> None:
    assert [runs_up(2, n, PARAMS) for n in (2, 6, 7, 12, 24, 40)] == [0, 1, 2, 2, 3, 4]
    assert lead_in_s(True, 2, 40, PARAMS, every_s=300) == 4 * 300
    assert lead_in_s(True, 2, 40, PARAMS, every_s=60) == 4 * PARAMS.between_up_s


def test_a_height_stands_once_it_was_reached_on_enough_days() -> None:
    name = NAMES[0]
    days = [done(name, 1440 * d, to=10 + d) for d in (4, 3, 2, 1)]
    assert stood(days, NOW, RULES) == 12
    assert stood([*days, done(name, 5, to=99)], NOW, RULES) == 12
    assert stood(days[2:], NOW, RULES) == 0
    assert stood([*days, done(name, 1500, "rolled_back", to=11)], NOW, RULES) == 0


def test_one_new_workload_is_one() -> None:
    assert stage([], **{NAMES[0]: 4}).reason == "25% of the pods of 1 new workload"


def test_a_trusted_one_needs_no_stage() -> None:
    assert lead_in_s(True, 10, 15, PARAMS, every_s=300) == 300
    assert lead_in_s(False, 10, 15, PARAMS, every_s=300) == 300 + 2 * 900
    past = [done(n, 1440 * d) for n in NAMES for d in (3, 2, 1)]
    there = {n: holder(workload=n) for n in NAMES}
    found = decide([wanted(14, workload=n) for n in NAMES], there, past, WELL, NOW, PARAMS)
    assert {(d.what, d.stage) for d in found} == {("raise", "trusted")}


def test_a_rollout_reaches_every_floor_in_its_lead_time() -> None:
    """Runs come every five minutes; what is begun ``lead_in_s`` ahead is there when it is due."""
    for names in (NAMES, NAMES[:2]):
        there = {n: holder(workload=n) for n in names}
        past: list[Past] = []
        minutes = int(lead_in_s(False, 10, 14, PARAMS, every_s=300) / 60)
        for minute in range(0, minutes + 1, 5):
            now = NOW + pd.Timedelta(minute, "min")
            wants = [wanted(14, workload=n) for n in names]
            for d in decide(wants, there, past, WELL, now, PARAMS):
                if d.what == "raise":
                    h = there[d.workload]
                    past.append(Past(d.workload, now, h.floor or 0, d.floor, "done", "p", 10))
                    there[d.workload] = replace(held(d.floor), workload=d.workload)
            if minute < 10:
                assert max(h.floor or 0 for h in there.values()) <= 14
                assert sum(h.held for h in there.values()) <= 2
        assert {h.floor for h in there.values()} == {14}


def test_what_waits_for_others_says_so() -> None:
    there = {n: holder(workload=n) for n in NAMES}
    found = decide([wanted(14, workload=n) for n in NAMES], there, [], WELL, NOW, PARAMS)
    waits = [d for d in found if d.what == "wait"]
    assert len(waits) == 18
    assert {d.stage for d in waits} == {"canary"}
    assert "2 of 20 new workloads" in waits[0].reason


@pytest.mark.parametrize(
    ("key", "value"), [("share", 0), ("soak_min", 0), ("few", 0), ("trusted_days", 40)]
)
def test_knobs_without_meaning_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"canary: {key} must be"):
        CanaryParams(**{key: value})  # pyright: ignore[reportArgumentType]
