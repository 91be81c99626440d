"""Who holds a floor, and whether moving it would do anything."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kube_objects import deployment, hpa, scaled_object
from kube_server import KubeServer, Rule

from models.modes import Mode
from pipelines.adapters.kube import DEPLOYMENT, HPA, NAMESPACE, SCALED_OBJECT, STATEFUL_SET, Kube
from pipelines.errors import ClusterForbidden
from pipelines.rungs import raise_floor, read_holders
from pipelines.rungs.annotations import Mark, careful, read_mode, stamp_of
from pipelines.rungs.owners import owners_of

UNTIL = pd.Timestamp("2026-03-02T08:00Z")
PAUSED = "autoscaling.keda.sh/paused"


def test_an_hpa_is_read_with_its_owners_and_bounds(shop: Any) -> None:
    shop.hpa(2, 20, replicas=4)
    shop.server.demand[("shop", "web")] = 5
    shop.server.advance()
    holder = shop.holder()
    assert (holder.workload, holder.rung) == ("prod/shop/Deployment/web", "hpa")
    assert (holder.floor, holder.ceiling, holder.desired) == (2, 20, 5)
    assert (holder.owners, holder.ours, holder.held) == (("gitops",), False, False)
    assert (holder.problem, holder.mode, holder.target_kind) == ("", None, "Deployment")


def test_kedas_own_hpa_is_the_scaled_objects_holder(shop: Any) -> None:
    shop.keda(3, 12, replicas=4)
    shop.server.demand[("shop", "keda-hpa-web")] = 6
    shop.server.advance()
    assert shop.server.all(HPA)
    holder = shop.holder()
    assert (holder.rung, holder.name, holder.floor, holder.ceiling) == ("keda", "web", 3, 12)
    assert (holder.workload, holder.desired) == ("prod/shop/Deployment/web", 6)


def test_a_scaled_object_without_bounds_has_kedas(shop: Any) -> None:
    shop.keda(None, 20)
    body = scaled_object("web", "shop", None, 20)
    del body["spec"]["maxReplicaCount"]
    shop.server.put(SCALED_OBJECT, body)
    holder = shop.holder()
    assert (holder.floor, holder.ceiling, holder.user_floor) == (None, 100, 0)


def test_kedas_hpa_whose_scaled_object_cannot_be_read_is_no_floor_to_raise(shop: Any) -> None:
    shop.hpa(labels={"app.kubernetes.io/managed-by": "keda-operator"})
    assert "KEDA owns it" in shop.holder().problem


@pytest.mark.parametrize(
    ("note", "value", "problem"),
    [
        (PAUSED, "true", True),
        (PAUSED, "yes please", True),
        (PAUSED, "false", False),
        (PAUSED + "-replicas", "0", True),
        (PAUSED + "-scale-in", "true", False),
    ],
)
def test_a_paused_keda_is_told_and_not_written_to(
    shop: Any, note: str, value: str, problem: bool
) -> None:
    shop.keda(annotations={note: value})
    holder = shop.holder()
    assert bool(holder.problem) == problem
    ended = raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p", force_owners=("*",))
    assert ended.status == ("refused" if problem else "done")
    assert shop.floor("keda") == (2 if problem else 8)
    assert ("paused-scale-in" in holder.note) == (note == PAUSED + "-scale-in")


def test_a_target_at_zero_is_told_and_not_written_to(shop: Any) -> None:
    shop.hpa(replicas=0)
    holder = shop.holder()
    assert "0 replicas" in holder.problem
    assert raise_floor(shop.kube, holder, 8, until=UNTIL, plan_id="p").status == "refused"
    assert shop.floor() == 2


def test_a_target_that_is_not_there_is_told(shop: Any) -> None:
    shop.server.put(HPA, hpa("web", "shop", 2, 20))
    assert "is not there" in shop.holder().problem


def test_two_that_scale_one_target_are_both_told(shop: Any, kube: Kube) -> None:
    shop.hpa()
    shop.server.put(HPA, hpa("other", "shop", 3, 30, target="web"))
    holders = read_holders(kube, "prod")
    assert [h.name for h in holders] == ["other", "web"]
    assert all("more than one" in h.problem and "other" in h.problem for h in holders)


@pytest.mark.parametrize(
    ("object_", "target", "space", "counts"),
    [
        (None, None, None, None),
        ("act", None, None, "act"),
        ("act", "shadow", None, "shadow"),
        ("act", "recommend", "off", "off"),
        (" Off ", "act", "act", "off"),
        ("act", "act", "stop!", "shadow"),
    ],
)
def test_the_most_careful_kill_switch_counts(
    shop: Any, object_: str | None, target: str | None, space: str | None, counts: Mode | None
) -> None:
    shop.hpa()
    for kind, name, value in (
        (HPA, "web", object_),
        (DEPLOYMENT, "web", target),
        (NAMESPACE, "shop", space),
    ):
        if value is not None:
            note = {"metadata": {"annotations": {"foretide.dev/mode": value}}}
            shop.server.patch(kind, name, note, "" if kind == NAMESPACE else "shop")
    holder = shop.holder()
    assert holder.mode == counts
    assert ("stop!" in holder.problem) == (space == "stop!")
    assert not holder.held  # a kill switch is not one of the marks of holding


def test_a_rollout_is_seen(shop: Any) -> None:
    shop.hpa()
    assert not shop.holder().rolling
    generation = shop.server.read(DEPLOYMENT, "web", "shop")["metadata"].get("generation", 1)
    status = {"observedGeneration": generation, "replicas": 3, "updatedReplicas": 1}
    body = {"status": status}
    shop.server.patch(DEPLOYMENT, "web", body, "shop", subresource="status")
    assert shop.holder().rolling


def test_a_stateful_set_is_a_target_too(shop: Any) -> None:
    body = deployment("db", "shop", 3)
    body["spec"]["serviceName"] = "db"
    shop.server.put(STATEFUL_SET, body)
    scaler = hpa("db", "shop", 2, 9)
    scaler["spec"]["scaleTargetRef"]["kind"] = "StatefulSet"
    shop.server.put(HPA, scaler)
    assert shop.holder().target_kind == "StatefulSet"
    assert shop.holder().problem == ""


def test_a_listing_that_is_forbidden_is_no_cluster_without_kill_switches(
    server: KubeServer, tmp_path: Any, shop: Any
) -> None:
    shop.hpa()
    server.users["blind"] = (Rule(("list",), ("horizontalpodautoscalers", "deployments")),)
    with server.kube(tmp_path, "blind") as kube, pytest.raises(ClusterForbidden):
        read_holders(kube, "prod")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Mark("floor").names, "other"]), st.text(), max_size=8))
def test_no_annotation_breaks_the_reading(notes: dict[str, str]) -> None:
    state = Mark("floor").read({"metadata": {"annotations": notes}})
    assert state.held == any(name in notes for name in Mark("floor").names)
    assert state.held or not state.broken
    if state.held and not state.known:
        assert state.broken


@given(JSON)
def test_no_shape_of_an_object_breaks_the_reading(value: Any) -> None:
    for obj in (value, {"metadata": value}, {"metadata": {"annotations": value}}):
        Mark("floor").read(obj)
        read_mode(obj)
        owners_of(obj, ("f:spec", "f:minReplicas"))
    owners_of({"metadata": {"managedFields": value}}, ("f:spec",))
    owners_of({"metadata": {"managedFields": [{"manager": value, "fieldsV1": value}]}}, ("f:a",))


@given(st.none() | st.integers(0, 10**6) | st.lists(st.dictionaries(st.text(), st.text())))
def test_what_is_written_is_read_again(value: Any) -> None:
    mark = Mark("floor", "x-")
    notes = mark.write(original=value, value=7, uid="u", until=UNTIL, plan_id="p", reverts=1)
    state = mark.read({"metadata": {"annotations": notes}})
    assert (state.original, state.known, state.broken) == (value, True, "")
    assert (state.value, state.uid, state.until, state.reverts) == (7, "u", UNTIL, 1)
    assert all(isinstance(v, str) for v in notes.values())


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-03-02", "9999-99-99T00:00:00Z", "NaT"])
def test_a_moment_that_cannot_be_read_is_none(text: str) -> None:
    assert stamp_of(text) is None


def test_care_is_ordered() -> None:
    assert careful("act", "off", "shadow") == "off"
    assert careful(None, "recommend", "act") == "recommend"
    assert careful(None) is None


def test_a_maximum_below_the_minimum_is_told(shop: Any) -> None:
    """No API server takes such an HPA, but one may come from an older version's storage."""
    shop.hpa(5, 20)

    class Odd:
        """The same cluster, whose HPAs say a smaller maximum."""

        serves = shop.kube.serves

        @staticmethod
        def list(kind: Any) -> Any:
            for obj in shop.kube.list(kind):
                if kind == HPA:
                    obj["spec"]["maxReplicas"] = 3
                yield obj

    odd: Any = Odd
    (holder,) = read_holders(odd, "prod")
    assert "maximum of 3 replicas is below its minimum of 5" in holder.problem


def test_a_target_that_is_not_read_may_have_a_kill_switch(shop: Any, server: KubeServer) -> None:
    shop.hpa()
    target = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"}
    server.patch(HPA, "web", {"spec": {"scaleTargetRef": target}}, "shop")
    assert "Rollout web is not read" in shop.holder().problem
    until = pd.Timestamp("2026-03-02T08:00Z")
    ended = raise_floor(shop.kube, shop.holder(), 8, until=until, plan_id="p", force_owners=("*",))
    assert (ended.status, shop.floor()) == ("refused", 2)
