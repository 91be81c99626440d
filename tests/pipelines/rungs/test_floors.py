"""A floor is raised only where nobody minds, and is always given back as it was."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import yaml
from kube_objects import acting_as, patch_of
from rungs_floor import FIELDS, KINDS, RUNGS, UNTIL, place, raised, writes

from pipelines.adapters.kube import HPA
from pipelines.rungs import (
    give_back,
    held,
    ignore_differences,
    release_everything,
    same_as_before,
)


@RUNGS
@pytest.mark.parametrize("least", [2, None])
def test_given_back_is_byte_identical_to_before(shop: Any, rung: str, least: int | None) -> None:
    place(shop, rung, least)
    before = shop.read(rung)
    assert raised(shop).status == "done"
    assert shop.floor(rung) == 8
    holder = shop.holder()
    assert (holder.held, holder.ours, holder.original) == (True, True, before_floor(before, rung))
    assert (holder.plan_id, holder.held_until, holder.value) == ("p1", UNTIL, 8)
    assert give_back(shop.kube, holder).status == "done"
    assert same_as_before(before, shop.read(rung)) == []
    assert not shop.holder().held


def before_floor(obj: dict[str, Any], rung: str) -> int | None:
    return obj["spec"].get(FIELDS[rung])


@RUNGS
def test_an_owner_that_policy_does_not_name_keeps_the_field(shop: Any, rung: str) -> None:
    place(shop, rung)
    before = shop.read(rung)
    ended = raised(shop, force_owners=("argo*",))
    assert (ended.status, ended.before, ended.after) == ("conflict", "2", "2")
    assert "gitops owns" in ended.detail
    assert shop.read(rung) == before


@RUNGS
def test_only_later_is_all_that_a_repeated_raise_writes(shop: Any, rung: str) -> None:
    place(shop, rung)
    raised(shop)
    count = writes(shop.server)
    assert raised(shop).status == "done"
    assert writes(shop.server) == count
    before = shop.read(rung)
    later = UNTIL + pd.Timedelta(10, "min")
    assert raised(shop, until=later).status == "done"
    (difference,) = same_as_before(before, shop.read(rung))
    assert difference.startswith(".metadata.annotations.foretide.dev/valid-until")
    assert shop.notes(rung)["foretide.dev/original-floor"] == "2"


@RUNGS
def test_our_own_floor_steps_down_and_never_below_the_users(shop: Any, rung: str) -> None:
    place(shop, rung)
    before = shop.read(rung)
    for floor in (8, 10, 6, 3):
        assert raised(shop, floor).status == "done"
        assert shop.floor(rung) == floor
        assert shop.notes(rung)["foretide.dev/original-floor"] == "2"
    assert raised(shop, 2).status == "done"
    assert same_as_before(before, shop.read(rung)) == []


@RUNGS
def test_a_floor_at_or_below_the_users_is_never_written(shop: Any, rung: str) -> None:
    place(shop, rung, 5)
    for floor in (1, 5):
        assert raised(shop, floor).status == "done"
    assert writes(shop.server) == 0


@RUNGS
def test_what_somebody_set_meanwhile_stays(shop: Any, rung: str) -> None:
    place(shop, rung)
    raised(shop)
    shop.server.patch(KINDS[rung], "web", {"spec": {FIELDS[rung]: 5}}, "shop")
    ended = give_back(shop.kube, shop.holder())
    assert (ended.status, ended.after) == ("changed", "5")
    assert "kubectl-edit" in ended.detail
    assert shop.floor(rung) == 5
    assert shop.notes(rung) == {}
    assert not shop.holder().held


@RUNGS
def test_a_value_that_gitops_shares_stays_and_our_share_goes(shop: Any, rung: str) -> None:
    place(shop, rung)
    raised(shop)
    body = shop.read(rung)
    body = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": body["spec"],
    }
    shop.server.put(KINDS[rung], body, "gitops")
    assert shop.holder().owners == ("gitops",)
    assert shop.holder().ours
    # their 8 is the user's own floor now
    assert shop.holder().user_floor == 8
    ended = give_back(shop.kube, shop.holder())
    assert (ended.status, shop.floor(rung)) == ("changed", 8)
    assert (shop.holder().ours, shop.notes(rung)) == (False, {})


@RUNGS
@pytest.mark.parametrize("least", [2, None])
def test_a_floor_that_was_given_back_is_nobodys_and_its_owner_may_change_it(
    shop: Any, rung: str, least: int | None
) -> None:
    place(shop, rung, least)
    before = shop.floor(rung)
    raised(shop)
    assert give_back(shop.kube, shop.holder()).detail == ""
    assert (shop.holder().ours, shop.holder().owners, shop.floor(rung)) == (False, (), before)
    assert all(e["manager"] == "gitops" for e in shop.read(rung)["metadata"]["managedFields"])
    count = writes(shop.server)
    assert give_back(shop.kube, shop.holder()).status == "done"
    assert writes(shop.server) == count
    spec = shop.read(rung)["spec"] | {FIELDS[rung]: 4}
    body = {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}
    acting_as(shop.kube, "gitops").apply(KINDS[rung], patch_of(shop.read(rung), body["spec"]))
    assert (shop.floor(rung), shop.holder().owners) == (4, ("gitops",))


@RUNGS
@pytest.mark.parametrize("status", [403, 422])
def test_where_our_name_cannot_be_taken_off_the_floor_is_given_back_and_it_is_said(
    shop: Any, rung: str, status: int
) -> None:
    place(shop, rung)
    before = shop.read(rung)
    raised(shop)
    shop.server.fail("PATCH", ".", status, skip=1)
    ended = give_back(shop.kube, shop.holder())
    assert (ended.status, ended.after, shop.floor(rung)) == ("done", "2", 2)
    assert "still named as its owner" in ended.detail
    assert (held(shop.kube, "prod"), shop.holder().problem) == ([], "")
    # the next release does the rest
    assert [w.status for w in release_everything(shop.kube, now=UNTIL)] == ["done"]
    assert same_as_before(before, shop.read(rung)) == []
    assert not shop.holder().ours


@RUNGS
def test_a_controllers_status_between_the_two_requests_stops_nothing(shop: Any, rung: str) -> None:
    place(shop, rung)
    raised(shop)
    left = [2]

    def status(asked: Any) -> None:
        if "merge-patch" in asked.content_type and left[0]:
            left[0] -= 1
            body = {"status": {"desiredReplicas": 5 + left[0]}}
            shop.server.patch(KINDS[rung], "web", body, "shop", subresource="status")

    holder = shop.holder()
    shop.server.before(status)
    assert give_back(shop.kube, holder).detail == ""
    assert (left, shop.notes(rung), shop.holder().ours) == ([0], {}, False)


@RUNGS
def test_two_reverts_and_we_stop(shop: Any, rung: str) -> None:
    place(shop, rung)
    body = {"metadata": {"name": "web", "namespace": "shop"}, "spec": shop.read(rung)["spec"]}
    shop.server.gitops(KINDS[rung], body, manager="gitops")
    first = raised(shop)
    assert (first.status, first.after) == ("conflict", "2")
    second = raised(shop)
    assert second.status == "reverted"
    assert "gitops took it back 2 times" in second.detail
    assert raised(shop).status == "reverted"
    count = writes(shop.server)
    assert raised(shop).status == "reverted"
    assert writes(shop.server) == count
    assert (shop.floor(rung), shop.holder().reverts) == (2, 2)
    ended = give_back(shop.kube, shop.holder())
    assert (ended.status, ended.taken) == ("reverted", "gitops")
    assert (shop.floor(rung), shop.notes(rung)) == (2, {})


def test_a_revert_that_comes_between_two_runs_counts_too(shop: Any) -> None:
    shop.hpa()
    for status, taken in (("done", ""), ("done", "gitops"), ("reverted", "gitops")):
        ended = raised(shop)
        assert (ended.status, ended.taken) == (status, taken)
        shop.server.patch(HPA, "web", {"spec": {"minReplicas": 2}}, "shop", manager="gitops")
    assert shop.floor() == 2


def test_argo_cd_is_told_to_leave_the_field_alone(shop: Any) -> None:
    shop.keda()
    spec = yaml.safe_load(ignore_differences(shop.holder()))["spec"]
    (left,) = spec["ignoreDifferences"]
    assert (left["kind"], left["jqPathExpressions"]) == ("ScaledObject", [".spec.minReplicaCount"])
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]
