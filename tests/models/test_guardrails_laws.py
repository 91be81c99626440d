"""Laws of the guardrails over random plans, holders and histories, and over runs that follow each
other."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from guard_cases import NOW

from models.guard_params import CanaryParams
from models.guardrails import RULES, Decision, GuardParams, Health, Past, Wanted, decide
from models.holders import Holder

WRITES = ("raise", "step_down", "give_back")
DEFAULT = GuardParams()


def pick(rng: np.random.Generator, *of: Any) -> Any:
    return of[int(rng.integers(len(of)))]


def a_holder(rng: np.random.Generator, name: str) -> Holder:
    user = int(rng.integers(1, 20))
    ceiling = user + int(rng.integers(0, 80))
    is_held = rng.random() < 0.5
    floor = int(rng.integers(user, ceiling + 1)) if is_held else user
    desired = max(floor, min(int(rng.integers(1, 100)), ceiling))
    return Holder(
        name, "hpa", "x", "shop", "u-1", "7", floor, ceiling,
        replicas=max(desired - int(rng.integers(0, 4)), 0), desired=desired,
        ours=is_held and rng.random() < 0.95, owners=pick(rng, (), ("argocd",)),
        original=user if is_held else None, plan_id="p-0" if is_held else "",
        reverts=int(rng.random() < 0.1) * 2, mode=pick(rng, None, None, None, "off", "recommend"),
        problem=pick(rng, *[""] * 9, "KEDA is paused"), rolling=rng.random() < 0.1,
    )  # fmt: skip


def some_past(rng: np.random.Generator, name: str) -> list[Past]:
    return [
        Past(
            name, NOW - pd.Timedelta(float(rng.exponential(200)), "min"),
            int(rng.integers(1, 60)), int(rng.integers(1, 60)),
            pick(rng, "done", "done", "done", "given_back", "rolled_back", "conflict", "intended"),
            "p-0", int(rng.integers(0, 60)),
        )
        for _ in range(int(rng.integers(0, 6)))
    ]  # fmt: skip


def some_health(rng: np.random.Generator) -> Health:
    return Health(
        pending_pods=pick(rng, 0, 0, 0, math.nan, int(rng.integers(0, 30))),
        error_ratio=pick(rng, math.nan, 0.001, 0.001, float(rng.random())),
        error_ratio_before=pick(rng, math.nan, 0.001, float(rng.random())),
        forecast_age_s=pick(rng, 600.0, 600.0, 600.0, 1e6, math.nan),
        accuracy_ok=rng.random() < 0.9,
        needed=pick(rng, math.nan, float(rng.integers(1, 60))),
    )


def a_wanted(rng: np.random.Generator, name: str) -> Wanted:
    return Wanted(
        name, int(rng.integers(0, 150)), NOW + pd.Timedelta(1, "h"),
        pick(rng, "act", "act", "act", "shadow", "off", "recommend"),
        pick(rng, "act", "act", "act", "shadow"), pick(rng, "p-1", "p-2"),
        approved=rng.random() < 0.2,
        approved_floor=int(rng.random() < 0.3) * int(rng.integers(150)),
    )  # fmt: skip


def params_of(rng: np.random.Generator) -> GuardParams:
    return GuardParams(
        step_up_share=float(rng.uniform(0.1, 2)),
        step_up_pods=int(rng.integers(1, 10)),
        step_down_share=float(rng.uniform(0.1, 1)),
        step_down_pods=int(rng.integers(1, 10)),
        approve_above_share=float(rng.uniform(0.1, 9)),
        canary=pick(rng, CanaryParams(), CanaryParams(trusted_days=0)),
    )


def check(
    d: Decision, h: Holder, w: Wanted | None, health: Health, p: GuardParams, past: list[Past]
) -> None:
    """What no decision may break."""
    floor = h.floor or 0
    if d.what not in WRITES:
        assert d.floor == floor or d.what == "show"
        assert not (d.renew and (w is None or w.floor < floor))
        return
    assert h.user_floor <= d.floor <= (h.ceiling or 0)
    assert (d.what == "raise") == (d.floor > floor)
    known = math.ceil(health.needed) if math.isfinite(health.needed) else 0
    reactive = max(known, h.desired if h.desired > floor else 0)
    assert d.floor >= min(floor, reactive)
    there = max(floor, h.replicas)
    stood = max((x.after for x in past if x.workload == d.workload), default=0)
    if d.what == "raise":
        assert w is not None
        assert d.floor <= w.floor or d.floor == h.user_floor
        assert d.floor - there <= max(p.step_up_share * there, p.step_up_pods)
        assert w.mode in ("act", "recommend")
        assert w.gate == "act"
        assert h.mode != "off"
        yes = w.approved or w.plan_id == "p-1" or d.floor <= w.approved_floor
        assert yes or ("/StatefulSet/" not in d.workload and "recommend" not in (w.mode, h.mode))
        allowed = max(p.approve_above_share * there, p.approve_above_pods)
        assert yes or min(w.floor, h.ceiling or 0) - max(there, stood) <= allowed
    elif d.stage != "rollback" and "are enough" not in d.reason:
        assert floor - d.floor <= max(p.step_down_share * floor, p.step_down_pods)


def test_over_ten_thousand_random_plans() -> None:
    rng = np.random.default_rng(7)
    seen: dict[str, int] = {}
    for _ in range(10_000):
        kind = pick(rng, "Deployment", "Deployment", "StatefulSet")
        names = [f"prod/shop/{kind}/w{i}" for i in range(int(rng.integers(1, 3)))]
        wants = {n: a_wanted(rng, n) for n in names if rng.random() < 0.9}
        holders = {n: a_holder(rng, n) for n in names}
        past = [row for n in names for row in some_past(rng, n)]
        health = {n: some_health(rng) for n in names}
        params = params_of(rng)
        found = decide(list(wants.values()), holders, past, health, NOW, params, approved="p-1")
        for d in found:
            seen[d.what] = seen.get(d.what, 0) + 1
            check(d, holders[d.workload], wants.get(d.workload), health[d.workload], params, past)
        again = decide(
            list(wants.values()),
            {n: written(h, found) for n, h in holders.items()},
            [*past, *(row for n, h in holders.items() for row in rows_of(h, found, NOW))],
            health,
            NOW + pd.Timedelta(30, "s"),
            params,
            approved="p-1",
        )
        done = {d.workload for d in found if d.what in WRITES}
        assert not [d for d in again if d.workload in done and d.what in WRITES]
    assert min(seen[w] for w in ("raise", "step_down", "keep", "wait", "refuse", "give_back")) > 100


def written(h: Holder, found: list[Decision], need: int | None = None) -> Holder:
    """The holder after the decision was carried out, and after the HPA has looked."""
    for d in found:
        if d.workload == h.workload and d.what in WRITES:
            gone = d.floor <= h.user_floor
            h = replace(
                h, floor=h.user_floor if gone else d.floor, plan_id="" if gone else "p-1",
                original=None if gone else h.user_floor, ours=not gone,
            )  # fmt: skip
    desired = max(h.floor or 0, min(h.desired if need is None else need, h.ceiling or 0))
    return replace(h, desired=desired, replicas=desired if need is not None else h.replicas)


def climbs_of(rows: list[Past], params: GuardParams) -> int:
    """The largest number of climbs by what is news that began within a day."""
    began: list[pd.Timestamp] = []
    start: Past | None = None
    counted = False
    for a, b in zip([None, *rows], rows, strict=False):
        if not b.raised:
            start = None
            continue
        if start is None or (a is not None and b.before < a.after):
            start, counted = b, False
        if not counted and b.after - start.before >= max(
            params.news_share * start.before, params.news_pods
        ):
            began.append(start.at)
            counted = True
    day = pd.Timedelta(1, "D")
    return max((sum(t - day < x <= t for x in began) for t in began), default=0)


def rows_of(h: Holder, found: list[Decision], now: pd.Timestamp) -> list[Past]:
    return [
        Past(
            d.workload, now, h.floor or 0, d.floor,
            "rolled_back" if d.stage == "rollback" else "done", "p-1", h.replicas,
        )
        for d in found
        if d.workload == h.workload and d.what in WRITES
    ]  # fmt: skip


class World:
    """A few workloads over fifty runs: needs that come and go, plans that are right or wild."""

    def __init__(self, seed: int, params: GuardParams) -> None:
        self.rng = np.random.default_rng(seed)
        self.params, self.past = params, list[Past]()
        self.now = NOW
        self.names = [f"prod/shop/Deployment/w{i}" for i in range(6)]
        self.holders = {n: Holder(n, "hpa", "x", "shop", "u", "1", 3, 60, 5, 5) for n in self.names}
        self.floors: dict[str, list[tuple[pd.Timestamp, int]]] = {
            n: [(NOW - pd.Timedelta(1, "D"), 3)] for n in self.names
        }

    def run(self, rules: Any = RULES) -> list[Decision]:
        rng = self.rng
        wants = [
            Wanted(n, int(rng.integers(3, 70)), self.now, "act", "act", "p-1")
            for n in self.names if rng.random() < 0.9
        ]  # fmt: skip
        fine = Health(pending_pods=0, forecast_age_s=60)
        ill = Health(pending_pods=2, forecast_age_s=60)
        health = {n: ill if rng.random() < 0.01 else fine for n in self.names}
        found = decide(wants, self.holders, self.past, health, self.now, self.params, rules=rules)
        need = {n: int(rng.integers(1, 30)) for n in self.names}
        for n, h in list(self.holders.items()):
            rows = rows_of(h, found, self.now)
            self.past += rows
            self.floors[n] += [(self.now, p.after) for p in rows]
            self.holders[n] = written(h, found, need[n])
        self.now += pd.Timedelta(int(rng.integers(30, 600)), "s")
        return found


@pytest.mark.parametrize("seed", range(8))
def test_over_fifty_runs_nothing_adds_up_to_more_than_is_allowed(seed: int) -> None:
    params = GuardParams(
        approve_above_share=9, raises_per_day=5, raises_per_run=2,
        canary=CanaryParams(trusted_days=0),
    )  # fmt: skip
    world = World(seed, params)
    for _ in range(50):
        found = world.run()
        assert sum(d.what == "raise" for d in found) <= params.raises_per_run
    for name in world.names:
        rows = [p for p in world.past if p.workload == name]
        assert climbs_of(rows, params) <= params.raises_per_day
        for a, b in pairwise(rows):
            least = params.between_up_s if b.raised else params.between_down_s
            assert b.status == "rolled_back" or (b.at - a.at).total_seconds() >= least
        for p in rows:
            hour = [q for q in rows if p.at - pd.Timedelta(1, "h") < q.at <= p.at]
            start = max(hour[0].before, hour[0].replicas, 30)  # the HPA asks for at most 30
            allowed = max(params.up_per_hour_share * start, params.step_up_pods)
            assert not p.raised or p.after <= start + allowed
            top = max(q.before for q in hour)
            given = max(params.down_per_hour_share * top, params.step_down_pods)
            assert p.status == "rolled_back" or p.after >= top - given - 1e-9
    assert any(p.raised for p in world.past)


@pytest.mark.parametrize("rule", ["day_budget", "too_soon", "run_budget"])
def test_without_its_rule_a_sequence_breaks_its_bound(rule: str) -> None:
    params = GuardParams(
        approve_above_share=9, raises_per_day=5, raises_per_run=2,
        canary=CanaryParams(trusted_days=0),
    )  # fmt: skip
    broken = False
    world = World(1, params)
    for _ in range(50):
        found = world.run([r for r in RULES if r.__name__ != rule])
        broken |= rule == "run_budget" and sum(d.what == "raise" for d in found) > 2
    for name in world.names:
        rows = [p for p in world.past if p.workload == name]
        broken |= rule == "day_budget" and climbs_of(rows, params) > 5
        gaps = [b.at - a.at for a, b in pairwise(rows)]
        broken |= rule == "too_soon" and min(gaps).total_seconds() < params.between_up_s
    assert broken


def test_the_order_of_what_is_given_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    names = [f"prod/shop/Deployment/w{i}" for i in range(20)]
    wants = [a_wanted(rng, n) for n in names]
    holders = {n: a_holder(rng, n) for n in names}
    past = [row for n in names for row in some_past(rng, n)]
    health = {n: some_health(rng) for n in names}
    found = decide(wants, holders, past, health, NOW, DEFAULT)
    other = decide(wants[::-1], holders, past[::-1], health, NOW, DEFAULT)
    assert sorted(found, key=lambda d: d.workload) == sorted(other, key=lambda d: d.workload)
