"""Nodes that are held over a peak: a budget is added, and the exact list is set again."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from kube_objects import node_pool
from kube_server import KubeServer

from models.node_budgets import hold_budget
from pipelines.adapters.kube import NODE_POOL, Kube
from pipelines.rungs import (
    Room,
    RungParams,
    hold_nodes,
    hold_room,
    nodepools,
    release_nodes,
    release_room,
    same_as_before,
)

UNTIL = pd.Timestamp("2026-03-02T08:00Z")
LEASE: dict[str, Any] = {"until": UNTIL, "plan_id": "p1"}
STATIC = RungParams(room="static_nodepool", static_nodepool="warm")


def room(pods: int, cores: float = 0.5, mib: int = 512, **more: Any) -> Room:
    return Room(pods, cores, mib * 2**20, **more)


def static(server: KubeServer, replicas: int = 1, limit: str = "5") -> None:
    server.put(NODE_POOL, node_pool("warm", replicas=replicas, limits={"nodes": limit}))


def nodes(server: KubeServer) -> int:
    return server.read(NODE_POOL, "warm")["spec"]["replicas"]


OWN = [{"nodes": "10%"}, {"nodes": "0", "schedule": "0 9 * * 1-5", "duration": "8h"}]
START, END = pd.Timestamp("2026-03-02T06:30:40Z"), pd.Timestamp("2026-03-02T09:00:10Z")


@pytest.mark.parametrize("budgets", [OWN, None])
def test_a_hold_is_added_to_the_budgets_and_taken_from_them(
    server: KubeServer, kube: Kube, budgets: Any
) -> None:
    server.put(NODE_POOL, node_pool("general", budgets=budgets))
    before = server.read(NODE_POOL, "general")
    users = before["spec"]["disruption"]["budgets"]
    for end in (END, END + pd.Timedelta(1, "h")):
        ended = hold_nodes(
            kube, "general", start=START, end=end, plan_id="p1", force_owners=("gitops",)
        )
        assert ended.status == "done"
        *rest, ours = server.read(NODE_POOL, "general")["spec"]["disruption"]["budgets"]
        assert (rest, ours) == (users, hold_budget(START, end))
    assert release_nodes(kube, "general").status == "done"
    assert same_as_before(before, server.read(NODE_POOL, "general")) == []
    assert nodepools(kube) == ["general"]


def test_whoever_owns_the_budgets_keeps_all_of_them(server: KubeServer, kube: Kube) -> None:
    server.put(NODE_POOL, node_pool("general", budgets=OWN))
    before = server.read(NODE_POOL, "general")
    ended = hold_nodes(kube, "general", start=START, end=END, plan_id="p1")
    assert (ended.status, "gitops owns" in ended.detail) == ("conflict", True)
    assert server.read(NODE_POOL, "general") == before


def test_budgets_that_somebody_changed_meanwhile_stay(server: KubeServer, kube: Kube) -> None:
    server.put(NODE_POOL, node_pool("general"))
    hold_nodes(kube, "general", start=START, end=END, plan_id="p1")
    theirs = {"spec": {"disruption": {"budgets": [{"nodes": "3"}]}}}
    server.patch(NODE_POOL, "general", theirs)
    assert release_nodes(kube, "general").status == "changed"
    after = server.read(NODE_POOL, "general")
    assert after["spec"]["disruption"]["budgets"] == [{"nodes": "3"}]
    assert not after["metadata"].get("annotations")


def test_a_pool_can_be_scaled_and_held_and_either_given_back_alone(
    server: KubeServer, kube: Kube
) -> None:
    static(server)
    before = server.read(NODE_POOL, "warm")
    hold_room(kube, room(9, nodes=3), params=STATIC, **LEASE)
    hold_nodes(kube, "warm", start=START, end=END, plan_id="p1")
    hold_room(kube, room(9, nodes=2), params=STATIC, **LEASE)
    assert release_nodes(kube, "warm").status == "done"
    assert nodes(server) == 3
    hold_nodes(kube, "warm", start=START, end=END, plan_id="p1")
    assert [w.status for w in release_room(kube)] == ["done"]
    assert len(server.read(NODE_POOL, "warm")["spec"]["disruption"]["budgets"]) == 2
    assert release_nodes(kube, "warm").status == "done"
    assert same_as_before(before, server.read(NODE_POOL, "warm")) == []


@pytest.mark.parametrize(
    ("start", "end", "schedule", "duration"),
    [
        ("2026-03-02T06:30:40Z", "2026-03-02T09:00:10Z", "30 6 2 3 *", "2h31m"),
        ("2026-03-02T23:59:00Z", "2026-03-03T00:59:00Z", "59 23 2 3 *", "1h"),
        ("2026-03-02T06:00:00Z", "2026-03-02T06:00:01Z", "0 6 2 3 *", "1m"),
        # 09:00 in Berlin before and after the clocks change
        ("2026-03-27T09:00+01:00", "2026-03-27T11:00+01:00", "0 8 27 3 *", "2h"),
        ("2026-03-30T09:00+02:00", "2026-03-30T11:00+02:00", "0 7 30 3 *", "2h"),
    ],
)
def test_a_schedule_is_in_utc(start: str, end: str, schedule: str, duration: str) -> None:
    budget = hold_budget(pd.Timestamp(start), pd.Timestamp(end))
    assert (budget["schedule"], budget["duration"]) == (schedule, duration)
    assert budget["nodes"] == "0"


def test_a_hold_without_a_zone_or_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        hold_budget(pd.Timestamp("2026-03-02T06:30"), END)
    with pytest.raises(ValueError, match="less than a year"):
        hold_budget(END, START)
