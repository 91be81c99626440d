"""The facts that the safe protocol stands on: raise a floor, keep out of others' way, restore."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kube_objects import acting_as, deployment, hpa, node_pool, patch_of, scaled_object, write

from pipelines.adapters.kube import (
    DEPLOYMENT,
    HPA,
    NODE_POOL,
    POD_TEMPLATE,
    SCALED_OBJECT,
    Kind,
    Kube,
)
from pipelines.errors import FieldConflict, ObjectChanged, ObjectMissing, ObjectRefused

Make = Callable[..., dict[str, Any]]

NOTE = {"foretide.dev/original-floor": "2"}


def owners_of(obj: dict[str, Any], field: str) -> set[str]:
    """Managers of a field of spec."""
    return {
        entry["manager"]
        for entry in obj["metadata"]["managedFields"]
        if f"f:{field}" in entry["fieldsV1"].get("f:spec", {})
    }


def test_a_conflict_names_the_manager_and_the_field(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20, manager="argo cd")
    with pytest.raises(FieldConflict, match='conflict with "argo cd"') as caught:
        kube.apply(HPA, patch_of(made, {"minReplicas": 8}))
    assert caught.value.owners == {"argo cd": (".spec.minReplicas",)}


def test_a_conflict_names_every_manager(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    other = acting_as(kube, "kubectl-edit")
    made = write(other, HPA, made, {"minReplicas": 3})
    with pytest.raises(FieldConflict) as caught:
        kube.apply(HPA, patch_of(made, {"minReplicas": 8, "maxReplicas": 30}))
    assert caught.value.owners == {
        "gitops": (".spec.maxReplicas",),
        "kubectl-edit": (".spec.minReplicas",),
    }


def test_the_writer_of_scale_is_named(kube: Kube, namespace: str, make_deployment: Make) -> None:
    make_deployment("web", 0)
    scale = {"spec": {"replicas": 1}}
    acting_as(kube, "somebody").merge(DEPLOYMENT, "web", scale, namespace, subresource="scale")
    body = deployment("web", namespace, 0)
    body["metadata"]["uid"] = kube.get(DEPLOYMENT, "web", namespace)["metadata"]["uid"]
    with pytest.raises(FieldConflict, match='with subresource "scale"') as caught:
        acting_as(kube, "gitops").apply(DEPLOYMENT, body)
    assert caught.value.owners == {"somebody": (".spec.replicas",)}


def test_the_same_value_is_shared(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    after = write(kube, HPA, made, {"minReplicas": 2}, force=False)
    assert owners_of(after, "minReplicas") == {"gitops", "foretide"}


def test_force_takes_only_that_field(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    after = write(kube, HPA, made, {"minReplicas": 8})
    assert owners_of(after, "minReplicas") == {"foretide"}
    assert owners_of(after, "maxReplicas") == {"gitops"}
    assert after["spec"] == made["spec"] | {"minReplicas": 8}


def test_the_same_apply_again_changes_nothing(kube: Kube, namespace: str) -> None:
    pod = deployment("x", namespace, 0)["spec"]["template"]
    meta = {"name": "room", "namespace": namespace, "annotations": NOTE}
    made = kube.apply(POD_TEMPLATE, {"metadata": meta, "template": pod}, create=True)
    again = patch_of(made, {}, NOTE) | {"template": pod}
    del again["spec"]
    after = kube.apply(POD_TEMPLATE, again)
    assert after["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_releasing_as_the_only_owner_makes_the_floor_one(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    held = write(kube, HPA, made, {"minReplicas": 8})
    assert write(kube, HPA, held, {}, force=False)["spec"]["minReplicas"] == 1


def test_releasing_for_keda_takes_the_field_away(kube: Kube, make_scaled_object: Make) -> None:
    made = make_scaled_object("web", 2, 10)
    held = write(kube, SCALED_OBJECT, made, {"minReplicaCount": 6})
    assert "minReplicaCount" not in write(kube, SCALED_OBJECT, held, {}, force=False)["spec"]


@pytest.mark.parametrize("original", [2, 7])
def test_the_original_is_restored_by_one_forced_apply(
    kube: Kube, namespace: str, make_hpa: Make, original: int
) -> None:
    made = make_hpa("web", original, 20)
    raised = write(kube, HPA, made, {"minReplicas": 9}, NOTE)
    assert raised["metadata"]["annotations"] == NOTE
    write(kube, HPA, raised, {"minReplicas": original})
    after = kube.get(HPA, "web", namespace)
    assert after["spec"] == made["spec"]
    assert not after["metadata"].get("annotations")
    body = hpa("web", namespace, original, 20)
    body["metadata"]["uid"] = after["metadata"]["uid"]
    healed = acting_as(kube, "gitops").apply(HPA, body)
    assert "gitops" in owners_of(healed, "minReplicas")


def test_an_annotation_of_ours_goes_and_those_of_others_stay(
    kube: Kube, namespace: str, make_hpa: Make
) -> None:
    make_hpa("web", 2, 20)
    other = {"metadata": {"annotations": {"team": "shop"}}}
    made = acting_as(kube, "kubectl").merge(HPA, "web", other, namespace)
    raised = write(kube, HPA, made, {"minReplicas": 9}, NOTE)
    assert raised["metadata"]["annotations"] == NOTE | {"team": "shop"}
    after = write(kube, HPA, raised, {"minReplicas": 2})
    assert after["metadata"]["annotations"] == {"team": "shop"}


def test_an_apply_never_creates(kube: Kube, namespace: str, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    body = hpa("web", namespace, 8, 20)
    with pytest.raises(ValueError, match=r"metadata\.uid is missing"):
        kube.apply(HPA, body, force=True)
    kube.delete(HPA, "web", namespace, made["metadata"]["uid"])
    body["metadata"]["uid"] = made["metadata"]["uid"]
    with pytest.raises(ObjectMissing, match="no existing object was found"):
        kube.apply(HPA, body, force=True)
    assert not list(kube.list(HPA, namespace))


def test_an_object_that_was_recreated_is_not_touched(
    kube: Kube, namespace: str, make_hpa: Make
) -> None:
    old = make_hpa("web", 2, 20)
    kube.delete(HPA, "web", namespace, old["metadata"]["uid"])
    new = make_hpa("web", 2, 20)
    with pytest.raises(ObjectChanged):
        kube.apply(HPA, patch_of(old, {"minReplicas": 8}), force=True)
    only_uid = patch_of(old, {"minReplicas": 8})
    del only_uid["metadata"]["resourceVersion"]
    with pytest.raises(ObjectChanged, match="recreated"):
        kube.apply(HPA, only_uid, force=True)
    after = kube.get(HPA, "web", namespace)
    assert (after["metadata"]["uid"], after["spec"]) == (new["metadata"]["uid"], new["spec"])


def test_a_stale_version_is_not_written_even_by_force(
    kube: Kube, namespace: str, make_hpa: Make
) -> None:
    made = make_hpa("web", 2, 20)
    acting_as(kube, "kubectl").merge(HPA, "web", {"spec": {"maxReplicas": 30}}, namespace)
    with pytest.raises(ObjectChanged, match="has been modified"):
        kube.apply(HPA, patch_of(made, {"minReplicas": 8}), force=True)
    assert kube.get(HPA, "web", namespace)["spec"]["minReplicas"] == 2


def test_a_floor_above_the_ceiling_is_refused(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    with pytest.raises(ObjectRefused, match="must be greater than or equal to `minReplicas`"):
        write(kube, HPA, made, {"minReplicas": 21})


def test_gitops_by_merge_patch_takes_the_field_back_without_a_conflict(
    kube: Kube, namespace: str, make_hpa: Make
) -> None:
    made = make_hpa("web", 2, 20)
    write(kube, HPA, made, {"minReplicas": 8})
    after = acting_as(kube, "argocd-controller").merge(
        HPA, "web", {"spec": {"minReplicas": 2}}, namespace
    )
    assert owners_of(after, "minReplicas") == {"argocd-controller"}


def test_an_unset_floor_is_one_and_nobodys(kube: Kube, make_hpa: Make) -> None:
    made = make_hpa("web", None, 20)
    assert made["spec"]["minReplicas"] == 1
    assert owners_of(made, "minReplicas") == set()
    after = write(kube, HPA, made, {"minReplicas": 4}, force=False)
    assert owners_of(after, "minReplicas") == {"foretide"}


def test_a_nodepools_budgets_are_one_value(kube: Kube, make_nodepool: Make) -> None:
    pool = make_nodepool("dyn", limits={"cpu": "10"}, budgets=[{"nodes": "10%"}])
    wanted = {"disruption": {"budgets": [{"nodes": "0", "reasons": ["Underutilized"]}]}}
    with pytest.raises(FieldConflict) as caught:
        kube.apply(NODE_POOL, patch_of(pool, wanted))
    assert caught.value.owners == {"gitops": (".spec.disruption.budgets",)}
    after = write(kube, NODE_POOL, pool, wanted)
    assert after["spec"]["disruption"]["budgets"] == wanted["disruption"]["budgets"]


@pytest.mark.parametrize(
    "budget",
    [
        {"nodes": "0", "schedule": "0 9 * * *"},
        {"nodes": "ten"},
        {"nodes": "0", "schedule": "0 9 * * *", "duration": "30s"},
    ],
)
def test_a_budget_that_karpenter_cannot_read_is_refused(
    kube: Kube, make_nodepool: Make, budget: dict[str, Any]
) -> None:
    pool = make_nodepool("dyn")
    with pytest.raises(ObjectRefused, match="budgets"):
        write(kube, NODE_POOL, pool, {"disruption": {"budgets": [budget]}})


def test_a_static_pool_stays_static_and_is_moved_by_scale(kube: Kube, make_nodepool: Make) -> None:
    static = make_nodepool("static", replicas=0, limits={"nodes": "5"})
    dynamic = make_nodepool("dyn", limits={"cpu": "10"})
    name, other = static["metadata"]["name"], dynamic["metadata"]["name"]
    with pytest.raises(ObjectRefused, match="Cannot transition NodePool"):
        kube.merge(NODE_POOL, name, {"spec": {"replicas": None}})
    with pytest.raises(ObjectRefused, match="Cannot transition NodePool"):
        kube.merge(NODE_POOL, other, {"spec": {"replicas": 1}})
    kube.merge(NODE_POOL, name, {"spec": {"replicas": 1}}, subresource="scale")
    assert kube.get(NODE_POOL, name)["spec"]["replicas"] == 1


def test_a_pool_or_a_scaled_object_that_is_gone_is_not_made(
    kube: Kube, namespace: str, make_nodepool: Make, make_scaled_object: Make, until: Make
) -> None:
    for kind, made, body in (
        (NODE_POOL, make_nodepool("x", replicas=0), node_pool(f"{namespace}-x", replicas=1)),
        (SCALED_OBJECT, make_scaled_object("x", 1, 5), scaled_object("x", namespace, 3, 5)),
    ):
        meta = made["metadata"]
        kube.delete(kind, meta["name"], meta.get("namespace", ""), meta["uid"])
        body["metadata"]["uid"] = meta["uid"]
        until(lambda: not _there(kube, kind, meta))  # noqa: B023 - called here
        with pytest.raises((ObjectMissing, ObjectChanged)):
            kube.apply(kind, body, force=True)


def _there(kube: Kube, kind: Kind, meta: dict[str, Any]) -> bool:
    try:
        kube.get(kind, meta["name"], meta.get("namespace", ""))
    except ObjectMissing:
        return False
    return True
