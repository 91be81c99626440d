"""Kill it at any moment: within one TTL every floor is the user's own again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apply_world import NOW, World, a_floor, a_plan, a_world
from kube_objects import node_pool

from models.actions import Hold, Placeholder, Plan
from pipelines.adapters.kube import DEPLOYMENT, HPA, NODE_POOL, SCALED_OBJECT, Kind, Kube
from pipelines.errors import ClusterUnreachable
from pipelines.rungs.installed import room_objects
from pipelines.rungs.same import same_as_before

NAMES = ("cart", "pay", "web")


class KilledError(BaseException):
    """What a process feels of SIGKILL: nothing runs after it."""


class Dying:
    """A client whose process is killed at its n-th write, before it is sent or after it."""

    def __init__(self, kube: Kube, at: int, *, after: bool) -> None:
        self._kube, self._left, self._after = kube, at, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    def apply(self, kind: Kind, body: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        if not how.get("force"):  # helm owns the field: that is a conflict, and writes nothing
            return self._kube.apply(kind, body, **how)
        return self._write(lambda: self._kube.apply(kind, body, **how))

    def merge(self, *what: Any, **how: Any) -> dict[str, Any]:
        return self._write(lambda: self._kube.merge(*what, **how))

    def _write(self, send: Any) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise KilledError
        done = send()
        if self._left < 0:
            raise KilledError
        return done


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


@pytest.fixture
def before(world: World) -> dict[str, dict[str, Any]]:
    """Three workloads as they are before anything is raised."""
    found = {name: world.hpa(name) for name in NAMES}
    world.keep(a_plan(*(a_floor(name, 12) for name in NAMES)))
    return found


def assert_as_before(world: World, before: Mapping[str, Mapping[str, Any]]) -> None:
    assert {n: same_as_before(body, world.read(n)) for n, body in before.items()} == {
        n: [] for n in before
    }


def test_a_floor_is_raised_renewed_and_given_back_when_nobody_renews_it(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    world.apply(0)
    assert [world.floor(n) for n in NAMES] == [12, 12, 12]
    assert world.notes("web")["foretide.dev/valid-until"] == "2026-06-08T07:30:00Z"
    world.apply(20)
    assert world.notes("web")["foretide.dev/valid-until"] == "2026-06-08T07:50:00Z"
    assert not world.release(40).written, "nothing has expired"
    told = world.release(50)
    assert [w.status for w in told.written] == ["done"] * 3
    assert not told.failed
    assert_as_before(world, before)
    assert not world.release(60).written


def test_what_keda_holds_expires_alike(world: World) -> None:
    before = world.scaled_object("jobs", 1)
    world.keep(a_plan(a_floor("jobs", 7, original=1)))
    world.apply(0)
    held = world.server.read(SCALED_OBJECT, "jobs", "shop")
    assert held["spec"]["minReplicaCount"] == 7
    assert not world.release(30).failed
    assert same_as_before(before, world.server.read(SCALED_OBJECT, "jobs", "shop")) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_killed_at_any_write(
    world: World, before: dict[str, dict[str, Any]], at: int, after: bool
) -> None:
    with world.kube() as kube, pytest.raises(KilledError):
        world.apply_with(Dying(kube, at, after=after), 0)  # pyright: ignore[reportArgumentType]
    raised = sum(world.floor(n) == 12 for n in NAMES)
    assert raised == at + after
    assert [s["status"] for s in world.ledger()] == ["intended"] * 3
    assert not world.release(30).failed
    assert_as_before(world, before)


def test_the_next_run_says_what_became_of_a_killed_one(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    with world.kube() as kube, pytest.raises(KilledError):
        world.apply_with(Dying(kube, 1, after=False), 0)  # pyright: ignore[reportArgumentType]
    world.apply(5)
    assert world.states("cart")[:2] == ["intended", "done"]
    assert world.states("pay")[:2] == ["intended", "not_done"]
    assert [world.floor(n) for n in NAMES] == [12, 12, 12], "and goes on"


def test_the_api_server_goes_away_in_mid_apply(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    world.server.fail("PATCH", "cart|pay", status=0, times=1000)
    with world.kube() as kube:
        rows = world.apply_with(kube, 0)
    assert [r.status for r in rows] == ["unreachable", "unreachable", "not_done"]
    assert [r["status"] for r in world.ledger()] == [
        "intended", "intended", "intended", "unreachable", "unreachable", "not_done",
    ]  # fmt: skip
    world.server.faults.clear()
    world.apply(5)
    assert [world.floor(n) for n in NAMES] == [12, 12, 12]
    assert not world.release(40).failed
    assert_as_before(world, before)


def test_a_server_that_stumbles_stops_nothing(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    world.server.fail("PATCH", "cart", status=429, retry_after=0)
    world.server.fail("PATCH", "pay", status=500)
    world.server.fail("PATCH", "web", status=0, after=True)  # done, and the answer lost
    with world.kube() as kube:
        rows = world.apply_with(kube, 0)
    assert [r.status for r in rows] == ["done"] * 3
    world.server.fail("PATCH", "cart", status=503)
    assert not world.release(30).failed
    assert_as_before(world, before)


def test_an_apply_that_cannot_read_the_cluster_is_red_and_writes_nothing(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    world.server.fail("GET", "", status=0, times=1000)
    with world.kube() as kube, pytest.raises(ClusterUnreachable):
        world.apply_with(kube, 0)
    assert world.writes() == []
    assert world.ledger() == []


def test_floors_that_follow_each_other_are_one_hold(world: World) -> None:
    """A release between two windows would drop the HPA to its metrics at once."""
    before = {"web": world.hpa("web")}
    first = a_floor("web", 12, minutes=30)
    second = a_floor("web", 8, starts=NOW + pd.Timedelta(30, "min"), minutes=60)
    world.keep(a_plan(first, second))
    world.apply(0)
    world.apply(20)
    assert world.notes("web")["foretide.dev/valid-until"] == "2026-06-08T07:50:00Z"
    assert not world.release(31).written
    world.apply(33)
    assert world.floor("web") == 8
    world.apply(80)
    world.apply(88)
    assert world.notes("web")["foretide.dev/valid-until"] == "2026-06-08T08:30:00Z"
    world.apply(93)
    assert world.floor("web") == 4, "in steps"
    out = world.apply(98)
    assert world.floor("web") == 2
    assert "as it was, by the snapshot" in "\n".join(out["notes"])
    assert_as_before(world, before)


def test_room_and_nodes_expire_too(tmp_path: Path) -> None:
    rungs = {"room": "placeholders", "hold_nodes": True}
    with a_world(tmp_path, rungs=rungs) as world:
        world.hpa("web")
        for body in room_objects():
            if body["kind"] == "Deployment":
                world.server.put(DEPLOYMENT, body, manager="kubectl")
        world.server.put(NODE_POOL, node_pool("general"), manager="terraform")
        world.settings["rungs"]["force_owners"] = ["helm", "terraform"]
        room = world.server.read(DEPLOYMENT, "foretide-placeholder", "foretide")
        nodes = world.server.read(NODE_POOL, "general")
        world.keep(plan_with_room())
        world.apply(-4)
        held = world.server.read(DEPLOYMENT, "foretide-placeholder", "foretide")
        assert held["spec"]["replicas"] == 3
        budgets = world.server.read(NODE_POOL, "general")["spec"]["disruption"]["budgets"]
        assert {b["nodes"] for b in budgets} == {"10%", "0"}
        quiet = len(world.writes())
        world.apply(-3)
        assert len(world.writes()) == quiet, "it stands"
        assert not world.release(30).failed
        after = world.server.read(DEPLOYMENT, "foretide-placeholder", "foretide")
        assert same_as_before(room, after) == []
        assert same_as_before(nodes, world.server.read(NODE_POOL, "general")) == []


def plan_with_room() -> Plan:
    ahead, end = NOW - pd.Timedelta(5, "min"), NOW + pd.Timedelta(60, "min")
    room = Placeholder("prod", 0, 3, 1.0, 2.0**30, ahead, NOW, "act", "soon", "act")
    hold = Hold("prod", "", ahead, end, "act", "act", "the peak")
    return a_plan(a_floor("web", 5), room, hold)


def test_what_cannot_be_given_back_is_named_and_stops_nothing_else(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    world.apply(0)
    world.server.fail("PATCH", "pay", status=422, times=1000)
    told = world.release(30)
    assert [h.name for h in told.left] == ["pay"]
    assert told.failed
    assert "LEFT HorizontalPodAutoscaler shop/pay" in "\n".join(told.lines())
    assert (world.floor("cart"), world.floor("pay"), world.floor("web")) == (2, 12, 2)


def test_an_hpa_that_is_gone_or_another_one_is_left_alone(
    world: World, before: dict[str, dict[str, Any]]
) -> None:
    world.apply(0)
    world.server.remove(HPA, "cart", "shop")
    world.server.recreate(HPA, "pay", "shop")
    told = world.release(30)
    assert [h.name for h in told.left] == ["pay"], "what it was is on record there alone"
    assert "the original was 2" in told.left[0].problem
    gone = [a for a in world.server.asked if a.method == "POST"]
    assert not gone, "nothing is created"
    assert world.floor("web") == 2
    assert world.floor("pay") == 12
