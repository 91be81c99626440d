"""Corners of applying: time that is off, clusters that changed, people who say stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apply_world import NOW, World, a_floor, a_plan, a_world

from models.actions import Hold, Placeholder
from pipelines.adapters.kube import DEPLOYMENT, HPA, NAMESPACE, NODE_POOL
from pipelines.apply import apply
from pipelines.cli import _run_cli
from pipelines.errors import ConfigError
from pipelines.rungs.installed import room_objects
from pipelines.rungs.same import same_as_before
from pipelines.status import status
from pipelines.switch import read_switch, set_switch

MINUTE = pd.Timedelta(1, "min")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


def whats(told: dict[str, Any]) -> dict[str, str]:
    return {row["workload"].split("/", 1)[1]: row["what"] for row in told["rows"]}


def until(world: World, name: str) -> pd.Timestamp:
    return pd.Timestamp(world.notes(name)["foretide.dev/valid-until"])


# -- time


def test_a_plan_of_yesterday_holds_until_it_expires_and_no_longer(world: World) -> None:
    before = world.hpa("web")
    plan = world.keep(a_plan(a_floor("web", 12, minutes=5000), as_of=NOW - 1500 * MINUTE))
    assert plan.expires_at == NOW + 60 * MINUTE
    for minute in (0, 20, 40):
        world.apply(minute)
        assert world.floor("web") == 12
        assert until(world, "web") <= plan.expires_at
    for minute in (60, 66, 72):
        told = world.apply(minute)
        assert "no plan is valid now" in "\n".join(told["notes"])
        assert until(world, "web") <= plan.expires_at
    assert world.floor("web") < 12, "on its way down"
    assert not world.release(73).failed
    assert same_as_before(before, world.read("web")) == []


def test_what_nobody_wants_is_stepped_down_and_stands_no_longer_for_it(world: World) -> None:
    world.settings["guard"] = {"canary": {"trusted_days": 0}, "approve_above_share": 100.0,
                               "step_up_share": 100.0, "up_per_hour_share": 100.0,
                               "step_down_share": 0.25}  # fmt: skip
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 40)))
    world.apply(0)
    held = until(world, "web")
    world.keep(a_plan(a_floor("cart", 9), as_of=NOW + MINUTE))
    for minute in (6, 12, 18):
        world.apply(minute)
        assert 2 < world.floor("web") < 40
        assert until(world, "web") <= held
    world.release(30)
    assert world.floor("web") == 2


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_clock_that_is_not_the_present_writes_nothing(world: World, hours: float) -> None:
    """As-of in the future would hold a floor until then; in the past release takes it at once."""
    world.hpa("web")
    at = pd.Timestamp.now("UTC").floor("s") + pd.Timedelta(hours, "h")
    world.keep(a_plan(a_floor("web", 12, starts=at), as_of=at))
    with pytest.raises(ConfigError, match="apply acts at the present"):
        apply.fn(config=world.config(), as_of=at.isoformat())
    told = apply.fn(config=world.config(), as_of=at.isoformat(), dry_run=True)
    assert whats(told) == {"shop/Deployment/web": "raise"}
    assert world.writes() == []
    assert world.ledger() == []


# -- clusters


def test_an_hpa_that_vanished_since_the_plan_stops_no_other(tmp_path: Path) -> None:
    with a_world(tmp_path, rungs={"room": "placeholders"}) as world:
        install(world)
        for name in ("cart", "web"):
            world.hpa(name)
        world.keep(a_plan(a_floor("cart", 9), a_floor("web", 12), room_for("prod", 17)))
        world.server.remove(HPA, "web", "shop")
        told = world.apply(-4)
        # room for the pods of cart, and none for those that nobody can raise
        assert placeholders(world) == 7
        assert whats(told) == {"shop/Deployment/cart": "raise", "shop/Deployment/web": "refuse"}
        assert world.floor("cart") == 9
        world.server.remove(HPA, "cart", "shop")
        assert not world.apply(5)["failed"]
        assert not [a for a in world.server.asked if a.method == "POST"]


def test_of_two_clusters_in_a_plan_only_the_connected_one_is_touched(tmp_path: Path) -> None:
    with a_world(tmp_path, rungs={"room": "placeholders", "hold_nodes": True}) as world:
        install(world)
        world.settings["rungs"]["force_owners"] = ["helm", "terraform"]
        world.server.put(NODE_POOL, pool("general"), manager="terraform")
        for name in ("cart", "web"):
            world.hpa(name)
        there = replace(a_floor("web", 12), workload="stage/shop/Deployment/web")
        hold = Hold("stage", "", NOW - 5 * MINUTE, NOW + 60 * MINUTE, "act", "act", "the peak")
        world.keep(a_plan(a_floor("cart", 9), there, room_for("stage", 10), hold))
        for minute in (-4, 0):
            world.apply(minute)
        assert (world.floor("cart"), world.floor("web")) == (9, 2)
        assert placeholders(world) == 0
        assert all("cart" in path or path.startswith("GET") for path in world.writes())
        assert {r["cluster"] for r in world.ledger()} == {"prod"}


# -- people


def test_a_namespace_that_says_stop_in_a_peak_gets_floors_and_room_back(tmp_path: Path) -> None:
    with a_world(tmp_path, rungs={"room": "placeholders"}) as world:
        install(world)
        before = {name: world.hpa(name) for name in ("cart", "web")}
        later = a_floor("cart", 9, starts=NOW + 8 * MINUTE)
        room = replace(room_for("prod", 7), starts_at=NOW, ends_at=NOW + 8 * MINUTE)
        world.keep(a_plan(a_floor("web", 12), later, room))
        world.apply(4)
        assert (world.floor("web"), placeholders(world)) == (12, 7)
        off = {"metadata": {"annotations": {"foretide.dev/mode": "off"}}}
        world.server.patch(NAMESPACE, "shop", off)
        for minute in (6, 12, 18):
            world.apply(minute)
        assert placeholders(world) == 0
        assert [same_as_before(was, world.read(n)) for n, was in before.items()] == [[], []]


def test_release_alone_is_undone_by_the_next_apply_and_with_stop_it_is_not(
    world: World, tmp_path: Path
) -> None:
    before = world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    kubeconfig = ["--kubeconfig", str(world.server.kubeconfig(tmp_path))]
    assert _run_cli(["release", "--all", *kubeconfig]) == 0
    assert same_as_before(before, world.read("web")) == []
    world.apply(5)
    assert world.floor("web") == 12
    assert _run_cli(["release", "--stop", *kubeconfig]) == 2
    assert _run_cli(["release", "--all", "--stop", *kubeconfig]) == 0
    for minute in (10, 15, 40):
        told = world.apply(minute)
        assert whats(told) == {"shop/Deployment/web": "refuse"}
        assert "the cluster's switch is off" in "\n".join(told["notes"])
    # no trace of it on what is the user's
    assert same_as_before(before, world.read("web")) == []
    with world.kube() as kube:
        assert "--resume" in "\n".join(status(kube, "prod", NOW).lines())
    assert _run_cli(["apply", "--resume", "--config", world.config()]) == 0
    world.apply(45)
    assert world.floor("web") == 12


def test_a_switch_that_cannot_be_set_is_told_and_everything_is_released(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    world.server.fail("PATCH", "/namespaces/foretide", status=403, times=1000)
    kubeconfig = ["--kubeconfig", str(world.server.kubeconfig(tmp_path))]
    assert _run_cli(["release", "--all", "--stop", *kubeconfig]) == 1
    assert "prescale.apply.enabled" in capsys.readouterr().out
    assert world.floor("web") == 2


def test_the_switch_only_makes_more_careful(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12, mode="shadow")))
    with world.kube() as kube:
        assert set_switch(kube, "foretide", "act").status == "done"
        world.apply(0)
        assert world.floor("web") == 2
        assert set_switch(kube, "foretide", None).status == "done"
        assert read_switch(kube, "foretide") is None
        assert read_switch(kube, "absent") is None
        assert set_switch(kube, "absent", "off").status == "gone"


def test_room_and_nodes_of_what_is_recommended_wait_for_a_person_too(tmp_path: Path) -> None:
    with a_world(tmp_path, rungs={"room": "placeholders", "hold_nodes": True}) as world:
        install(world)
        world.settings["rungs"]["force_owners"] = ["helm", "terraform"]
        world.server.put(NODE_POOL, pool("general"), manager="terraform")
        world.hpa("web")
        world.hpa("cart")
        room = replace(room_for("prod", 10), mode="recommend")
        hold = Hold("prod", "", NOW - 5 * MINUTE, NOW + 60 * MINUTE, "act", "recommend", "peak")
        plan = world.keep(a_plan(a_floor("web", 12, mode="recommend"), room, hold))
        world.apply(-4)
        assert (placeholders(world), len(budgets(world))) == (0, 1)
        world.apply(-3, approve=plan.plan_id)
        assert (placeholders(world), len(budgets(world))) == (10, 2)


def test_room_of_pools_without_objects_of_their_own_is_held_once(tmp_path: Path) -> None:
    with a_world(tmp_path, rungs={"room": "placeholders"}) as world:
        install(world)
        pools = {"cart": "spot", "web": "general"}
        for name in pools:
            world.hpa(name)
        floors = [replace(a_floor(n, 5), nodepool=pool) for n, pool in pools.items()]
        rooms = [replace(room_for("prod", 3), nodepool=pool) for pool in pools.values()]
        world.keep(a_plan(*floors, *rooms))
        assert not world.apply(-4)["failed"]
        assert placeholders(world) == 6


def test_our_share_is_dropped_once_the_owner_has_claimed_the_field_again(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    world.release(30)
    world.server.put(HPA, {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 40,
        },
    }, manager="helm")  # fmt: skip
    world.apply(130)
    mine = {f["manager"] for f in world.read("web")["metadata"]["managedFields"]}
    assert "foretide" not in mine
    assert world.floor("web") == 2
    quiet = len(world.writes())
    world.apply(135)
    assert len(world.writes()) == quiet


def install(world: World) -> None:
    for body in room_objects():
        if body["kind"] == "Deployment":
            world.server.put(DEPLOYMENT, body, manager="kubectl")


def placeholders(world: World) -> int:
    held = world.server.read(DEPLOYMENT, "foretide-placeholder", "foretide")
    return int(held["spec"]["replicas"])


def budgets(world: World) -> list[Any]:
    return list(world.server.read(NODE_POOL, "general")["spec"]["disruption"]["budgets"])


def pool(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"template": {"spec": {}}, "disruption": {"budgets": [{"nodes": "10%"}]}},
    }


def room_for(cluster: str, count: int) -> Placeholder:
    return Placeholder(cluster, 0, count, 1.0, 2.0**30, NOW - 5 * MINUTE, NOW, "act", "soon", "act")
