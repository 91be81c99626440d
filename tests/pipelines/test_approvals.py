"""What a person said yes to: of the newest plan, so high, for some weeks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from apply_world import NO_STAGES, NOW, World, a_floor, a_plan, a_world

from pipelines.adapters.store import Store
from pipelines.approvals import approvals, approve, approved_floor, broken_approvals
from pipelines.errors import ConfigError
from pipelines.run import Run, RunRef

WEB = "prod/shop/Deployment/web"
MINUTE = pd.Timedelta(1, "min")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path, guard=NO_STAGES | {"approve_above_share": 0.5}) as world:
        yield world


def run_at(world: World, at: pd.Timestamp) -> Run:
    return RunRef.resolve(world.config(), None, None, at.isoformat(), at).open()


def test_a_plan_that_was_replaced_cannot_be_approved(world: World) -> None:
    old = world.keep(a_plan(a_floor("web", 12)))
    new = world.keep(a_plan(a_floor("web", 20), as_of=NOW - 5 * MINUTE))
    with pytest.raises(ConfigError, match=f"plan {new.plan_id} of 2026-06-08 06:55 UTC is in its"):
        approve(run_at(world, NOW), old.plan_id)
    assert approvals(run_at(world, NOW)) == []
    approve(run_at(world, NOW), new.plan_id)
    assert approved_floor(approvals(run_at(world, NOW)), WEB) == (20, new.plan_id)


def test_a_yes_is_good_for_its_days_up_to_its_height(world: World) -> None:
    plan = world.keep(a_plan(a_floor("web", 12)))
    approve(run_at(world, NOW), plan.plan_id)
    later = NOW + pd.Timedelta(27, "D")
    assert approved_floor(approvals(run_at(world, later)), WEB) == (12, plan.plan_id)
    assert approvals(run_at(world, NOW + pd.Timedelta(28, "D"))) == []
    approve(run_at(world, NOW + MINUTE), plan.plan_id, days=1)
    assert approvals(run_at(world, NOW + pd.Timedelta(2, "D"))) == []


@pytest.mark.parametrize("days", [0, -1, 400, float("nan")])
def test_days_without_meaning_are_refused(world: World, days: float) -> None:
    plan = world.keep(a_plan(a_floor("web", 12)))
    with pytest.raises(ConfigError, match="--days must be more than 0"):
        approve(run_at(world, NOW), plan.plan_id, days=days)


def test_on_the_next_day_the_same_jump_needs_no_new_yes(world: World) -> None:
    world.hpa("web")
    world.hpa("db", kind="StatefulSet")
    floors = a_floor("web", 12), a_floor("db", 3, kind="StatefulSet")
    plan = world.keep(a_plan(*floors))
    world.apply(0, approve=plan.plan_id)
    world.release(200)
    assert (world.floor("web"), world.floor("db")) == (2, 2)
    day = NOW + pd.Timedelta(1, "D")
    again = a_floor("web", 12, starts=day), a_floor("db", 3, kind="StatefulSet", starts=day)
    world.keep(a_plan(*again, as_of=day - 20 * MINUTE))
    told = world.apply(1440)
    assert (world.floor("web"), world.floor("db")) == (12, 3)
    assert f"as approved with plan {plan.plan_id}" in str(told)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"plan_id": "p", "approved_at": "x", "expires_at": "y", "floors": {}}',
        b'{"plan_id": "p", "approved_at": "2026-06-08", "expires_at": "2026-07-08", "floors": {}}',
        b'{"plan_id": "p", "approved_at": "2026-06-08T06:00Z", "expires_at": null, "floors": {}}',
        b'{"plan_id": "p", "approved_at": "2026-06-08T06:00Z", "expires_at": "2026-07-08T06:00Z",'
        b' "floors": {"prod/shop/Deployment/web": "many"}}',
    ],
)
def test_a_broken_file_approves_nothing_and_stops_nothing(world: World, text: bytes) -> None:
    plan = world.keep(a_plan(a_floor("web", 12)))
    approve(run_at(world, NOW), plan.plan_id)
    Store(world.out).put_file("approvals/0123456789ab.json", text)
    run = run_at(world, NOW)
    assert [a.plan_id for a in approvals(run)] == [plan.plan_id]
    (note,) = broken_approvals(run)
    assert "0123456789ab.json is broken" in note
