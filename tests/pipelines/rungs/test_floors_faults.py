"""Objects that change or go, servers that fail, annotations that are broken: nothing is lowered,
created or left behind."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from kube_server import KubeServer
from rungs_floor import FIELDS, KINDS, RUNGS, UNTIL, place, raised, writes

from pipelines.adapters.kube import HPA
from pipelines.release import release
from pipelines.rungs import (
    give_back,
    held,
    raise_floor,
    read_holders,
    same_as_before,
)
from pipelines.rungs.floors import SLOTS
from pipelines.rungs.owners import is_our_apply
from pipelines.rungs.protocol import look
from pipelines.rungs.slots import HOLD_LONGEST


@RUNGS
def test_a_recreated_object_is_left_alone(shop: Any, rung: str) -> None:
    place(shop, rung)
    old = shop.holder()
    shop.server.recreate(KINDS[rung], "web", "shop")
    ended = raise_floor(shop.kube, old, 8, until=UNTIL, plan_id="p1", force_owners=("gitops",))
    assert ended.status == "changed"
    assert (shop.floor(rung), writes(shop.server)) == (2, 0)


@RUNGS
def test_annotations_that_were_copied_onto_another_object_lower_nothing(
    shop: Any, rung: str
) -> None:
    place(shop, rung)
    raised(shop)
    shop.server.recreate(KINDS[rung], "web", "shop")
    holder = shop.holder()
    assert (shop.floor(rung), holder.user_floor, holder.held) == (8, 8, False)
    assert "copied" in holder.problem
    notes = shop.notes(rung)
    ended = give_back(shop.kube, holder)
    # as from a backup that was taken at the peak: what it was before is on record there alone
    assert (ended.status, shop.floor(rung), shop.notes(rung)) == ("refused", 8, notes)
    assert "the original was 2" in ended.detail
    (left,) = release(shop.kube, "prod", UNTIL).left
    assert "the original was 2" in left.problem
    assert raised(shop, 5).status == "refused"


@RUNGS
def test_copied_annotations_that_say_nothing_of_the_value_that_stands_are_removed(
    shop: Any, rung: str
) -> None:
    place(shop, rung)
    raised(shop)
    shop.server.recreate(KINDS[rung], "web", "shop")
    shop.server.patch(KINDS[rung], "web", {"spec": {FIELDS[rung]: 4}}, "shop")
    ended = give_back(shop.kube, shop.holder())
    assert (ended.status, shop.floor(rung), shop.notes(rung)) == ("changed", 4, {})


@RUNGS
@pytest.mark.parametrize("said", ["1", "unset", "0", "3"])
def test_an_original_that_another_wrote_lowers_nothing(shop: Any, rung: str, said: str) -> None:
    place(shop, rung)
    raised(shop)
    note = {"metadata": {"annotations": {"foretide.dev/original-floor": said}}}
    shop.server.patch(KINDS[rung], "web", note, "shop", manager="kubectl-annotate")
    assert "kubectl-annotate" in shop.holder().problem
    ended = give_back(shop.kube, shop.holder())
    assert (ended.status, shop.floor(rung)) == ("refused", 8)
    assert "written by kubectl-annotate" in ended.detail
    (left,) = release(shop.kube, "prod", UNTIL).left
    assert "kubectl-annotate" in left.problem
    assert raised(shop, 5).status == "refused"
    assert shop.floor(rung) == 8


@RUNGS
@pytest.mark.parametrize("until", [None, "soon", "2999-01-01T00:00:00Z"])
def test_an_end_that_is_none_of_ours_holds_nothing_longer(
    shop: Any, rung: str, until: str | None
) -> None:
    place(shop, rung)
    before = shop.read(rung)
    raised(shop)
    note = {"metadata": {"annotations": {"foretide.dev/valid-until": until}}}
    shop.server.patch(KINDS[rung], "web", note, "shop")
    assert shop.holder().problem == ""
    assert not release(shop.kube, "prod", UNTIL).failed
    assert same_as_before(before, shop.read(rung)) == []


def test_no_lease_is_believed_for_longer_than_the_longest(shop: Any) -> None:
    shop.hpa()
    raised(shop)
    (at,) = (e["time"] for e in shop.read()["metadata"]["managedFields"] if is_our_apply(e))
    note = {"metadata": {"annotations": {"foretide.dev/valid-until": "2999-01-01T00:00:00Z"}}}
    shop.server.patch(HPA, "web", note, "shop")
    (one,) = held(shop.kube, "prod")
    assert one.until == shop.holder().held_until == pd.Timestamp(at) + HOLD_LONGEST
    assert one.expired(one.until)
    assert not one.expired(one.until - pd.Timedelta(1, "s"))


@RUNGS
def test_a_floor_whose_annotations_are_all_gone_is_reported_until_somebody_sets_it(
    shop: Any, rung: str
) -> None:
    place(shop, rung)
    raised(shop)
    notes = dict.fromkeys(shop.notes(rung))
    shop.server.patch(KINDS[rung], "web", {"metadata": {"annotations": notes}}, "shop")
    (one,) = held(shop.kube, "prod")
    assert (one.value, one.original) == ("8", "")
    assert "foretide alone owns" in one.problem
    told = release(shop.kube, "prod", UNTIL)
    assert ([w.status for w in told.written], len(told.left)) == (["refused"], 1)
    assert raised(shop, 9).status == "refused"
    assert shop.floor(rung) == 8
    place(shop, rung, 8)
    assert (held(shop.kube, "prod"), shop.holder().problem) == ([], "")


@RUNGS
def test_an_object_that_changes_between_read_and_write_is_read_again(shop: Any, rung: str) -> None:
    place(shop, rung)
    holder, left = shop.holder(), [1]

    def bump(asked: Any) -> None:
        if asked.method == "PATCH" and left[0]:
            left[0] -= 1
            shop.server.patch(KINDS[rung], "web", {"spec": {FIELDS[rung]: 4}}, "shop")

    shop.server.before(bump)
    ended = raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p1", force_owners=("*",))
    assert (ended.status, ended.before, shop.floor(rung)) == ("done", "4", 8)
    assert shop.notes(rung)["foretide.dev/original-floor"] == "4"


@RUNGS
def test_a_raise_that_is_no_longer_needed_when_read_again_is_not_written(
    shop: Any, rung: str
) -> None:
    place(shop, rung)
    holder, left = shop.holder(), [1]

    def bump(asked: Any) -> None:
        if asked.method == "PATCH" and left[0]:
            left[0] -= 1
            shop.server.patch(KINDS[rung], "web", {"spec": {FIELDS[rung]: 9}}, "shop")

    shop.server.before(bump)
    ended = raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p1", force_owners=("*",))
    assert (ended.status, shop.floor(rung), shop.notes(rung)) == ("done", 9, {})


def test_an_object_that_never_stands_still_is_given_up(shop: Any) -> None:
    shop.hpa()
    count = [0]

    def bump(asked: Any) -> None:
        if asked.method == "PATCH":
            count[0] += 1
            shop.server.patch(HPA, "web", {"spec": {"maxReplicas": 20 + count[0]}}, "shop")

    shop.server.before(bump)
    assert raised(shop).status == "changed"
    assert (shop.floor(), count[0]) == (2, 6)  # three tries, each without and with force


@pytest.mark.parametrize(
    ("status", "ended"),
    [(409, "changed"), (422, "refused"), (400, "refused"), (403, "forbidden"), (401, "forbidden")],
)
def test_what_the_server_says_no_to_changes_nothing(shop: Any, status: int, ended: str) -> None:
    shop.hpa()
    before = shop.read()
    holder = shop.holder()
    shop.server.fail("PATCH", "horizontalpodautoscalers", status, times=9)
    got = raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p1", force_owners=("*",))
    assert got.status == ended
    assert shop.read() == before


@RUNGS
@pytest.mark.parametrize("status", [429, 500, 503, 0])
@pytest.mark.parametrize("after", [False, True])
def test_a_server_that_is_away_for_a_moment_is_asked_again(
    shop: Any, rung: str, status: int, after: bool
) -> None:
    place(shop, rung)
    before = shop.read(rung)
    shop.server.fail("PATCH", ".", status, after=after)
    assert raised(shop).status == "done"
    assert (shop.floor(rung), shop.notes(rung)["foretide.dev/original-floor"]) == (8, "2")
    shop.server.fail("PATCH", ".", status, after=after)
    assert give_back(shop.kube, shop.holder()).status == "done"
    assert same_as_before(before, shop.read(rung)) == []


@RUNGS
@pytest.mark.parametrize("status", [503, 0])
@pytest.mark.parametrize("after", [False, True])
def test_a_server_that_goes_away_in_mid_apply_is_no_trap(
    shop: Any, rung: str, status: int, after: bool
) -> None:
    """Whether the write was done or not: the next run finds either, and both ends are clean."""
    place(shop, rung)
    before, holder = shop.read(rung), shop.holder()
    shop.server.fail("PATCH", ".", status, after=after)
    shop.server.fail("", ".", status, times=99)
    ended = raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p1", force_owners=("*",))
    assert ended.status == "unreachable"
    shop.server.faults.clear()
    assert raised(shop, 6).status == "done"
    assert (shop.floor(rung), shop.notes(rung)["foretide.dev/original-floor"]) == (6, "2")
    holder = shop.holder()
    shop.server.fail("PATCH", ".", status, after=after)
    shop.server.fail("", ".", status, times=99)
    assert give_back(shop.kube, holder).status == "unreachable"
    shop.server.faults.clear()
    assert give_back(shop.kube, holder).status == "done"
    assert same_as_before(before, shop.read(rung)) == []


def test_an_object_that_is_gone_is_never_created(shop: Any, server: KubeServer) -> None:
    shop.hpa()
    raised(shop)
    holder = shop.holder()
    server.remove(HPA, "web", "shop")
    more: Any = {"until": UNTIL, "plan_id": "p1"}
    assert raise_floor(shop.kube, holder, 9, **more).status == "gone"
    assert give_back(shop.kube, holder).status == "gone"
    assert server.all(HPA) == []


def test_an_object_that_goes_between_read_and_write_is_never_created(
    shop: Any, server: KubeServer
) -> None:
    shop.hpa()
    holder, left = shop.holder(), [1]

    def vanish(asked: Any) -> None:
        if asked.method == "PATCH" and left[0]:
            left[0] -= 1
            server.remove(HPA, "web", "shop")

    server.before(vanish)
    ended = raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p1", force_owners=("*",))
    assert (ended.status, server.all(HPA)) == ("gone", [])


@pytest.mark.parametrize(
    "broken",
    ["", "many", "-1", "2.5", "true", "null", "[2]", "NaN", "9" * 5000, "99", "[" * 99999, "Ünset"],
    ids=lambda text: repr(text[:6]),
)
def test_a_broken_original_lowers_nothing_and_is_told(shop: Any, broken: str) -> None:
    shop.hpa()
    raised(shop)
    note = {"metadata": {"annotations": {"foretide.dev/original-floor": broken}}}
    shop.server.patch(HPA, "web", note, "shop")
    (holder,) = read_holders(shop.kube, "prod")
    ended = give_back(shop.kube, holder)
    assert (ended.status, shop.floor()) == ("refused", 8)
    assert "foretide.dev/original-floor" in ended.detail
    assert raised(shop, 5).status == "refused"
    assert shop.floor() == 8


@RUNGS
def test_a_field_that_is_ours_alone_is_not_reset_with_marks_that_are_not_believed(
    shop: Any, rung: str
) -> None:
    """Leaving it out of an apply would make the floor 1, or take it away."""
    place(shop, rung)
    raised(shop)
    note = {"metadata": {"annotations": {"foretide.dev/object-uid": "another"}}}
    shop.server.patch(KINDS[rung], "web", note, "shop")
    assert give_back(shop.kube, shop.holder()).status == "refused"
    assert shop.floor(rung) == 8


def test_a_floor_above_the_ceiling_is_refused_before_anything_is_written(shop: Any) -> None:
    shop.hpa(2, 6)
    assert raised(shop, 7).status == "refused"
    assert writes(shop.server) == 0


def test_an_object_whose_field_managers_were_stripped_is_known_by_its_value(shop: Any) -> None:
    shop.hpa()
    raised(shop)
    obj = shop.read()
    obj["metadata"].pop("managedFields")
    assert look(SLOTS["hpa"], obj).mine
    obj["spec"]["minReplicas"] = 7
    assert look(SLOTS["hpa"], obj).taken


def test_differences_are_named_and_the_servers_own_are_not() -> None:
    before = {
        "metadata": {"name": "a", "resourceVersion": "1", "annotations": {}},
        "spec": {"x": 1},
    }
    after = {"metadata": {"name": "a", "resourceVersion": "2"}, "spec": {"x": True}, "status": {}}
    assert same_as_before(before, before) == []
    assert same_as_before(before, after) == [".spec.x: 1 -> True"]
    assert same_as_before({"spec": {}}, {"spec": {"y": 0}}) == [".spec.y: nothing -> 0"]
