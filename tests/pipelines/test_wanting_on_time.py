"""A jump at 09:00 of every weekday: the floor stands, whole, a lead time before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from models.actions import Floor, Plan
from models.guard_params import GuardParams
from models.guardrails import Health, Past, decide
from models.holders import Holder
from pipelines.approvals import Approval
from pipelines.wanting import wanted_now

MONDAY = pd.Timestamp("2026-06-08", tz="UTC")
DUE = pd.Timedelta("8h55min")
"""The peak at 09:00, less the lead time of 300 s."""
OVER = pd.Timedelta("11h")
RUN = pd.Timedelta(5, "min")
PARAMS = GuardParams()


@dataclass(frozen=True, slots=True)
class Case:
    low: int
    peak: int
    names: Sequence[str] = ("prod/shop/Deployment/web",)
    approved: int = 0


def a_plan(case: Case, now: pd.Timestamp) -> Plan:
    """Made anew every 15 minutes, each with its own name."""
    day = now.floor("D")
    floors = [
        Floor(
            workload=name, hpa=name, original=case.low, before=case.low, after=case.peak,
            starts_at=day + DUE, ends_at=day + OVER, gate="act", reason="peak", mode="act",
        )
        for name in case.names
    ]  # fmt: skip
    return Plan(now, now + pd.Timedelta(26, "h"), "act", tuple(floors), (), (), 300.0)


def late_on(
    case: Case, days: Sequence[int], *, seconds: int = 0, seed: int = 0, every: pd.Timedelta = RUN
) -> dict[int, int]:  # fmt: skip
    """Day → workloads whose floor was not whole when it was due. Runs come ``every``, up to
    ``seconds`` earlier or later than that."""
    past: list[Past] = []
    rng = np.random.default_rng(seed)
    said = Approval("p", MONDAY, MONDAY + pd.Timedelta(28, "D"), dict.fromkeys(
        case.names, case.approved))  # fmt: skip
    found: dict[int, int] = {}
    for number in range(1, max(days) + 1):
        day = MONDAY + pd.Timedelta(number - 1, "D")
        there = {n: a_holder(n, case) for n in case.names}
        runs = int((DUE - pd.Timedelta("7h58min")) / every) + 1
        for run in range(runs):
            about = day + pd.Timedelta("7h58min") + run * every
            now = about + pd.Timedelta(int(rng.integers(-seconds, seconds + 1)), "s")
            if now > day + DUE:
                break
            plan = a_plan(case, about.floor("15min"))
            wants = wanted_now(plan, now, past, (said,), PARAMS, every_min=every / RUN * 5)
            well = {n: Health(0, 0.0, 0.0, 60.0, needed=case.low) for n in case.names}
            for d in decide(wants, there, past, well, now, PARAMS):
                if d.what == "raise":
                    h = there[d.workload]
                    past.append(
                        Past(d.workload, now, h.floor or 0, d.floor, "done", "p", h.replicas)
                    )
                    there[d.workload] = replace(
                        h, floor=d.floor, replicas=d.floor, desired=d.floor, value=d.floor,
                        original=case.low, plan_id="p", ours=True,
                    )  # fmt: skip
        found[number] = sum((h.floor or 0) < case.peak for h in there.values())
    return {n: late for n, late in found.items() if n in days}


def a_holder(name: str, case: Case) -> Holder:
    low = case.low
    return Holder(name, "hpa", name.split("/")[-1], "shop", "u", "7", low, 400, low, low)


STATEFUL = ("prod/shop/StatefulSet/db",)
CASES = {
    "10 to 15": Case(10, 15),
    "10 to 25": Case(10, 25, approved=25),
    "2 to 40": Case(2, 40, approved=40),
    "stateful": Case(10, 14, STATEFUL, approved=14),
    "ten at once": Case(10, 15, tuple(f"prod/shop/Deployment/w{i}" for i in range(10))),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seconds", [0, 20])
def test_on_the_first_day_and_on_the_fifth(name: str, seconds: int) -> None:
    assert late_on(CASES[name], (1, 5), seconds=seconds) == {1: 0, 5: 0}


@pytest.mark.parametrize("seed", range(12))
def test_though_no_run_is_to_the_second(seed: int) -> None:
    assert late_on(CASES["10 to 15"], (1, 2), seconds=20, seed=seed) == {1: 0, 2: 0}


def test_where_apply_runs_more_seldom_it_begins_earlier() -> None:
    assert late_on(Case(10, 15), (1, 5), every=2 * RUN) == {1: 0, 5: 0}


def test_without_a_yes_the_first_days_wait_and_none_is_made_up() -> None:
    assert late_on(Case(10, 25), (1, 5)) == {1: 1, 5: 1}


def test_a_thousand_trusted_ones_are_all_there() -> None:
    names = tuple(f"prod/shop/Deployment/w{i:04d}" for i in range(1000))
    days = [
        Past(n, MONDAY - pd.Timedelta(d, "D") + DUE, 4, 6, "done", "p", 4)
        for n in names for d in (3, 4, 5)
    ]  # fmt: skip
    now = MONDAY + DUE - RUN
    wants = wanted_now(a_plan(Case(4, 6, names), now), now, days, (), PARAMS)
    there = {n: a_holder(n, Case(4, 6)) for n in names}
    well = dict.fromkeys(names, Health(0, 0.0, 0.0, 60.0, needed=4.0))
    found = decide(wants, there, days, well, now, PARAMS)
    assert {(d.what, d.floor) for d in found} == {("raise", 6)}
    assert len(found) == 1000
