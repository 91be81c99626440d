"""Floors, nodes and room on a cluster, the fake one or a real one: raised, and given back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from kube_objects import acting_as, patch_of

from models.holders import Holder
from pipelines.adapters.kube import HPA, NODE_POOL, SCALED_OBJECT, Kind, Kube
from pipelines.errors import ObjectMissing
from pipelines.rungs import (
    Room,
    RungParams,
    Written,
    give_back,
    held,
    hold_nodes,
    hold_room,
    ladder,
    raise_floor,
    read_holders,
    release_everything,
    release_nodes,
    same_as_before,
)

Object = dict[str, Any]
Make = Callable[..., Object]
HOUR = pd.Timedelta(1, "h")
RUNGS = pytest.mark.parametrize("rung", ["hpa", "keda"])
FIELD = {"hpa": "minReplicas", "keda": "minReplicaCount"}


class Place:
    """One workload ``web`` whose floor is an HPA's or a ScaledObject's, in a namespace."""

    def __init__(self, kube: Kube, namespace: str, rung: str, now: pd.Timestamp) -> None:
        self.now, self.until = now, now + HOUR
        self.kube, self.namespace, self.rung = kube, namespace, rung
        self.kind: Kind = HPA if rung == "hpa" else SCALED_OBJECT

    def read(self) -> Object:
        return self.kube.get(self.kind, "web", self.namespace)

    def floor(self) -> int | None:
        return self.read()["spec"].get(FIELD[self.rung])

    def holder(self) -> Holder:
        here = [h for h in read_holders(self.kube, "c") if h.namespace == self.namespace]
        (holder,) = [h for h in here if h.rung == self.rung]
        return holder

    def raise_to(self, floor: int, **more: Any) -> Written:
        more = {"until": self.until, "plan_id": "p", "force_owners": ("gitops",)} | more
        return raise_floor(self.kube, self.holder(), floor, **more)

    def write(self, value: int, manager: str, *, force: bool = True) -> None:
        # the whole spec, as whoever keeps manifests does: what is left out would be removed
        found = self.read()
        body = patch_of(found, found["spec"] | {FIELD[self.rung]: value})
        body["metadata"].pop("resourceVersion")
        acting_as(self.kube, manager).apply(self.kind, body, force=force)


@pytest.fixture
def place(
    kube: Kube,
    namespace: str,
    now: pd.Timestamp,
    make_deployment: Make,
    request: pytest.FixtureRequest,
) -> Callable[..., Place]:
    def make(rung: str, least: int | None) -> Place:
        make_deployment("web", 1)
        fixture = "make_hpa" if rung == "hpa" else "make_scaled_object"
        request.getfixturevalue(fixture)("web", least, 20)
        return Place(kube, namespace, rung, now)

    return make


@RUNGS
@pytest.mark.parametrize("least", [2, None])
def test_a_floor_is_given_back_byte_identical(
    place: Callable[..., Place], rung: str, least: int | None
) -> None:
    here = place(rung, least)
    before = here.read()
    ended = here.raise_to(8)
    assert (ended.status, here.floor()) == ("done", 8), ended.detail
    assert here.raise_to(8, until=here.until + HOUR).status == "done"
    assert give_back(here.kube, here.holder()).status == "done"
    assert same_as_before(before, here.read()) == []


@RUNGS
def test_an_owner_that_is_not_named_keeps_its_floor(place: Callable[..., Place], rung: str) -> None:
    here = place(rung, 2)
    ended = here.raise_to(8, force_owners=())
    assert (ended.status, here.floor()) == ("conflict", 2)
    assert "gitops owns .spec." in ended.detail


@RUNGS
def test_what_another_applies_over_it_stays(place: Callable[..., Place], rung: str) -> None:
    here = place(rung, 2)
    here.raise_to(8)
    here.write(5, "somebody")
    ended = give_back(here.kube, here.holder())
    assert (ended.status, here.floor(), here.holder().ours) == ("changed", 5, False)
    assert "somebody" in ended.detail
    assert not here.read()["metadata"].get("annotations")


@RUNGS
def test_a_value_that_another_shares_stays(place: Callable[..., Place], rung: str) -> None:
    here = place(rung, 2)
    here.raise_to(8)
    here.write(8, "gitops", force=False)
    assert (here.holder().owners, here.holder().ours) == (("gitops",), True)
    assert give_back(here.kube, here.holder()).status == "changed"
    assert (here.floor(), here.holder().owners, here.holder().ours) == (8, ("gitops",), False)


@RUNGS
def test_the_second_revert_is_the_last(place: Callable[..., Place], rung: str) -> None:
    here = place(rung, 2)
    for status in ("done", "done", "reverted", "reverted"):
        ended = here.raise_to(8)
        assert ended.status == status
        here.write(2, "gitops")
    assert here.floor() == 2
    assert give_back(here.kube, here.holder()).status == "reverted"
    assert not here.holder().held


@RUNGS
def test_an_object_that_is_gone_stays_gone(place: Callable[..., Place], rung: str) -> None:
    here = place(rung, 2)
    holder = here.holder()
    here.kube.delete(here.kind, "web", here.namespace, holder.uid)
    ended = raise_floor(here.kube, holder, 8, until=here.until, plan_id="p", force_owners=("*",))
    assert ended.status == "gone"
    with pytest.raises(ObjectMissing):
        here.read()


@RUNGS
def test_what_has_expired_is_released_by_the_cluster_alone(
    place: Callable[..., Place], rung: str
) -> None:
    here = place(rung, 2)
    before = here.read()
    here.raise_to(8)
    glob = f"c/{here.namespace}/*"
    more: Any = {"expired_only": True, "match": glob, "cluster": "c"}
    assert release_everything(here.kube, now=here.now, **more) == []
    (one,) = (h for h in held(here.kube, "c") if h.namespace == here.namespace)
    assert (one.value, one.original, one.until) == ("8", "2", here.until)
    assert [w.status for w in release_everything(here.kube, now=here.until, **more)] == ["done"]
    assert same_as_before(before, here.read()) == []


@pytest.mark.usefixtures("real")
def test_a_raised_floor_reaches_the_target(
    place: Callable[..., Place], until: Callable[..., Any]
) -> None:
    here = place("hpa", 1)
    here.raise_to(3)
    until(lambda: here.read().get("status", {}).get("desiredReplicas") == 3)


@pytest.fixture
def pool(make_nodepool: Make, kube: Kube) -> Callable[..., tuple[str, Object]]:
    def make(name: str, **spec: Any) -> tuple[str, Object]:
        found = make_nodepool(name, **spec)["metadata"]["name"]
        return found, kube.get(NODE_POOL, found)

    return make


@pytest.mark.parametrize("budgets", [[{"nodes": "20%"}], None])
def test_nodes_are_held_and_the_exact_budgets_set_again(
    kube: Kube, now: pd.Timestamp, pool: Callable[..., tuple[str, Object]], budgets: Any
) -> None:
    name, before = pool("dynamic", budgets=budgets)
    more: Any = {"start": now, "end": now + HOUR, "plan_id": "p", "force_owners": ("gitops",)}
    ended = hold_nodes(kube, name, **more)
    assert ended.status == "done", ended.detail
    assert kube.get(NODE_POOL, name)["spec"]["disruption"]["budgets"][-1]["nodes"] == "0"
    assert release_nodes(kube, name).status == "done"
    assert same_as_before(before, kube.get(NODE_POOL, name)) == []


def test_a_static_nodepool_is_scaled_and_scaled_back(
    kube: Kube, now: pd.Timestamp, pool: Callable[..., tuple[str, Object]]
) -> None:
    name, before = pool("static", replicas=0, limits={"nodes": "2"})
    params = RungParams(room="static_nodepool", static_nodepool=name)
    room = Room(4, 0.1, 0.0, nodes=3)
    ended = hold_room(kube, room, until=now + HOUR, plan_id="p", params=params)
    assert (ended.status, ended.after) == ("done", "2"), ended.detail
    assert hold_nodes(kube, name, start=now, end=now + HOUR, plan_id="p").status == "done"
    match = f"c/-/NodePool/{name}"
    ended = release_everything(kube, now=now, match=match, cluster="c")
    assert [w.status for w in ended] == ["done", "done"]
    assert same_as_before(before, kube.get(NODE_POOL, name)) == []


def test_every_rung_is_judged(kube: Kube) -> None:
    states = ladder(kube).rungs
    assert len(states) == 8
    assert all(state.possible or state.reasons for state in states)
    assert states[0].possible
