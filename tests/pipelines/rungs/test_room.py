"""Room on nodes: installed with nothing, patched, and given back."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kube_objects import node_pool
from kube_server import KubeServer

from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD_TEMPLATE,
    Kube,
)
from pipelines.rungs import (
    Room,
    RungParams,
    hold_room,
    ladder,
    release_room,
    room_ready,
    same_as_before,
)
from pipelines.rungs.installed import room_objects, room_yaml
from pipelines.rungs.room import fitting, joined

UNTIL = pd.Timestamp("2026-03-02T08:00Z")
LEASE: dict[str, Any] = {"until": UNTIL, "plan_id": "p1"}
PLACEHOLDERS = RungParams(room="placeholders")
BUFFER = RungParams(room="buffer")
STATIC = RungParams(room="static_nodepool", static_nodepool="warm")
NAME = "foretide-placeholder"


def room(pods: int, cores: float = 0.5, mib: int = 512, **more: Any) -> Room:
    return Room(pods, cores, mib * 2**20, **more)


def whole(server: KubeServer) -> list[dict[str, Any]]:
    return [server.read(k, NAME, "foretide") for k in (DEPLOYMENT, POD_TEMPLATE, CAPACITY_BUFFER)]


@pytest.mark.usefixtures("installed")
def test_placeholders_rise_shrink_and_are_given_back_as_they_were(
    server: KubeServer, kube: Kube
) -> None:
    before = whole(server)
    for pods in (4, 6, 1):
        ended = hold_room(kube, room(pods), params=PLACEHOLDERS, **LEASE)
        assert (ended.status, ended.detail) == ("done", "")
        spec = server.read(DEPLOYMENT, NAME, "foretide")["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        assert spec["replicas"] == pods
        assert container["resources"]["requests"] == {"cpu": "500m", "memory": "512Mi"}
        assert container["image"]
    assert hold_room(kube, room(0), params=PLACEHOLDERS, **LEASE).status == "done"
    assert [same_as_before(a, b) for a, b in zip(before, whole(server), strict=True)] == [[]] * 3


@pytest.mark.usefixtures("installed")
def test_standing_placeholders_are_not_restarted_to_be_smaller(
    server: KubeServer, kube: Kube
) -> None:
    hold_room(kube, room(4, cores=1.0), params=PLACEHOLDERS, **LEASE)
    hold_room(kube, room(3, cores=0.25), params=PLACEHOLDERS, **LEASE)
    spec = server.read(DEPLOYMENT, NAME, "foretide")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert (spec["replicas"], container["resources"]["requests"]["cpu"]) == (3, "1")
    hold_room(kube, room(3, cores=2.0), params=PLACEHOLDERS, **LEASE)
    spec = server.read(DEPLOYMENT, NAME, "foretide")["spec"]
    assert spec["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "2"


@pytest.mark.usefixtures("installed")
def test_a_buffer_rises_shrinks_and_is_given_back_as_it_was(server: KubeServer, kube: Kube) -> None:
    before = whole(server)
    for pods in (4, 2):
        assert hold_room(kube, room(pods), params=BUFFER, **LEASE).status == "done"
        spec = server.read(CAPACITY_BUFFER, NAME, "foretide")["spec"]
        assert (spec["replicas"], "percentage" in spec) == (pods, False)
    template = server.read(POD_TEMPLATE, NAME, "foretide")["template"]["spec"]
    assert template["containers"][0]["resources"]["requests"]["memory"] == "512Mi"
    assert [w.status for w in release_room(kube)] == ["done", "done"]
    assert [same_as_before(a, b) for a, b in zip(before, whole(server), strict=True)] == [[]] * 3


@pytest.mark.parametrize("params", [PLACEHOLDERS, BUFFER])
def test_what_is_not_installed_is_never_created(
    server: KubeServer, kube: Kube, params: RungParams
) -> None:
    ended = hold_room(kube, room(3), params=params, **LEASE)
    assert ended.status == "gone"
    assert "yaml installs it" in ended.detail
    assert all(a.method == "GET" for a in server.asked)
    assert not ladder(kube, params).of(params.room).possible


@pytest.mark.usefixtures("installed")
def test_a_deployment_of_that_name_that_is_not_ours_is_left_alone(
    server: KubeServer, kube: Kube
) -> None:
    labels = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}
    server.patch(DEPLOYMENT, NAME, labels, "foretide")
    assert hold_room(kube, room(3), params=PLACEHOLDERS, **LEASE).status == "refused"
    assert server.read(DEPLOYMENT, NAME, "foretide")["spec"]["replicas"] == 0


@pytest.mark.usefixtures("installed")
def test_gitops_that_scales_placeholders_back_wins_at_the_second_time(
    server: KubeServer, kube: Kube
) -> None:
    body = next(o for o in room_objects() if o["kind"] == "Deployment")
    server.gitops(DEPLOYMENT, body)
    statuses = [hold_room(kube, room(3), params=PLACEHOLDERS, **LEASE).status for _ in range(3)]
    assert statuses == ["conflict", "reverted", "reverted"]


def test_placeholders_yield_to_every_pod() -> None:
    text = room_yaml(nodepools=("spot",)) + "---\n" + room_yaml(nodepools=("spot",), buffer=True)
    objects = {o["kind"]: o for o in yaml.safe_load_all(text)}
    assert objects["PriorityClass"]["value"] < 0
    assert objects["PriorityClass"]["preemptionPolicy"] == "Never"
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == objects["PriorityClass"]["metadata"]["name"]
    assert pod["terminationGracePeriodSeconds"] == 0
    assert pod["nodeSelector"] == {"karpenter.sh/nodepool": "spot"}
    assert objects["Deployment"]["spec"]["replicas"] == 0
    assert objects["CapacityBuffer"]["spec"] == {
        "podTemplateRef": {"name": "foretide-placeholder-spot"},
        "replicas": 0,
    }


def static(server: KubeServer, replicas: int = 1, limit: str = "5") -> None:
    server.put(NODE_POOL, node_pool("warm", replicas=replicas, limits={"nodes": limit}))


def nodes(server: KubeServer) -> int:
    return server.read(NODE_POOL, "warm")["spec"]["replicas"]


def test_a_static_nodepool_is_scaled_within_its_limit_and_back(
    server: KubeServer, kube: Kube
) -> None:
    static(server)
    before = server.read(NODE_POOL, "warm")
    ended = hold_room(kube, room(9, nodes=3), params=STATIC, **LEASE)
    assert (ended.status, ended.before, ended.after, nodes(server)) == ("done", "1", "4", 4)
    scaled = [a for a in server.asked if a.path.endswith("/scale")]
    assert len(scaled) == 1
    ended = hold_room(kube, room(9, nodes=9), params=STATIC, **LEASE)
    assert (ended.status, nodes(server)) == ("done", 5)
    assert "limits.nodes is 5" in ended.detail
    assert hold_room(kube, room(3, nodes=1), params=STATIC, **LEASE).status == "done"
    assert nodes(server) == 2
    assert [w.status for w in release_room(kube)] == ["done"]
    assert same_as_before(before, server.read(NODE_POOL, "warm")) == []


def test_pods_become_nodes_by_the_smallest_node_that_is_there(
    server: KubeServer, kube: Kube
) -> None:
    static(server, limit="50")
    assert hold_room(kube, room(9), params=STATIC, **LEASE).status == "refused"
    for name, cpu in (("a", "3920m"), ("b", "7910m")):
        labels = {"karpenter.sh/nodepool": "warm"}
        body = {"metadata": {"name": name, "labels": labels}, "spec": {}}
        server.put(NODE, body)
        there = {"allocatable": {"cpu": cpu, "memory": "14Gi"}}
        server.patch(NODE, name, {"status": there}, subresource="status")
    assert hold_room(kube, room(15), params=STATIC, **LEASE).status == "done"
    assert nodes(server) == 1 + 3  # 7 pods of half a core on 3.92 cores


def test_what_somebody_scaled_a_static_nodepool_to_stays(server: KubeServer, kube: Kube) -> None:
    static(server)
    hold_room(kube, room(9, nodes=3), params=STATIC, **LEASE)
    server.patch(NODE_POOL, "warm", {"spec": {"replicas": 2}}, subresource="scale")
    assert [w.status for w in release_room(kube)] == ["changed"]
    assert (nodes(server), nodes_notes(server)) == (2, {})
    for status in ("done", "done", "reverted", "reverted"):
        assert hold_room(kube, room(9, nodes=3), params=STATIC, **LEASE).status == status
        server.patch(NODE_POOL, "warm", {"spec": {"replicas": 2}}, subresource="scale")
    assert nodes(server) == 2


def nodes_notes(server: KubeServer) -> dict[str, str]:
    return server.read(NODE_POOL, "warm")["metadata"].get("annotations") or {}


@pytest.mark.parametrize("skip", [0, 1])
def test_an_answer_lost_while_a_static_nodepool_is_scaled_is_no_trap(
    server: KubeServer, kube: Kube, skip: int
) -> None:
    static(server)
    before = server.read(NODE_POOL, "warm")
    server.fail("PATCH", "nodepools", 0, after=True, skip=skip)
    server.fail("", "nodepools", 0, times=99, skip=3 + skip)
    hold_room(kube, room(9, nodes=3), params=STATIC, **LEASE)
    server.faults.clear()
    assert hold_room(kube, room(9, nodes=2), params=STATIC, **LEASE).status == "done"
    assert nodes(server) == 3
    assert [w.status for w in release_room(kube)] == ["done"]
    assert same_as_before(before, server.read(NODE_POOL, "warm")) == []


def test_a_dynamic_nodepool_is_never_made_a_static_one(server: KubeServer, kube: Kube) -> None:
    server.put(NODE_POOL, node_pool("warm", limits={"cpu": "10"}))
    ended = hold_room(kube, room(9, nodes=3), params=STATIC, **LEASE)
    assert (ended.status, "not a static" in ended.detail) == ("refused", True)
    assert all(a.method == "GET" for a in server.asked)


@pytest.mark.usefixtures("installed")
def test_room_is_ready_when_its_nodes_are_initialized(server: KubeServer, kube: Kube) -> None:
    hold_room(kube, room(2), params=BUFFER, **LEASE)
    assert not room_ready(kube, BUFFER).whole
    on = {"status": {"conditions": [{"type": "Provisioning", "status": "True"}]}}
    server.patch(CAPACITY_BUFFER, NAME, on, "foretide", subresource="status")
    claim = {"metadata": {"name": "c1", "labels": {"karpenter.sh/nodepool": "warm"}}, "spec": {}}
    server.put(NODE_CLAIM, claim)
    late = room_ready(kube, BUFFER)
    assert (late.ready, late.whole, "c1" in late.reason) == (0, False, True)
    up = {"status": {"conditions": [{"type": "Initialized", "status": "True"}]}}
    server.patch(NODE_CLAIM, "c1", up, subresource="status")
    assert room_ready(kube, BUFFER).whole
    static(server)
    assert room_ready(kube, STATIC).whole
    hold_room(kube, room(2), params=PLACEHOLDERS, **LEASE)
    assert not room_ready(kube, PLACEHOLDERS).whole
    ready = {"status": {"readyReplicas": 2}}
    server.patch(DEPLOYMENT, NAME, ready, "foretide", subresource="status")
    assert room_ready(kube, PLACEHOLDERS).whole


@given(
    st.lists(
        st.builds(
            Room,
            st.integers(0, 50),
            st.floats(0.01, 8),
            st.floats(1e6, 1e10),
            st.sampled_from(["", "a", "b"]),
        ),
        max_size=5,
    )
)
def test_joined_rooms_are_worth_what_they_were(rooms: list[Room]) -> None:
    one = joined(rooms)
    cores, memory = one.pods * one.cpu_cores, one.pods * one.memory_bytes
    assert cores >= sum(r.pods * r.cpu_cores for r in rooms) * (1 - 1e-6)
    assert memory >= sum(r.pods * r.memory_bytes for r in rooms) * (1 - 1e-6)
    assert one.pods <= sum(r.pods for r in rooms)


@pytest.mark.usefixtures("installed")
def test_every_object_is_asked_once_whatever_pools_a_plan_names(
    server: KubeServer, kube: Kube
) -> None:
    asked = [room(2, nodepool="spot"), room(3, nodepool="general"), room(4)]
    (one,) = fitting(kube, asked, PLACEHOLDERS)
    assert (one.pods, one.nodepool) == (9, "")
    assert [r.pods for r in fitting(kube, asked, STATIC)] == [9]
    for obj in room_objects(nodepools=("spot",)):
        if obj["metadata"]["name"].endswith("-spot"):
            server.put(DEPLOYMENT, obj, "kubectl")
    assert [(r.pods, r.nodepool) for r in fitting(kube, asked, PLACEHOLDERS)] == [
        (2, "spot"),
        (7, ""),
    ]
    assert fitting(kube, [], PLACEHOLDERS) == []
