"""What a client of a cluster must do, on the fake API server and on any real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kube_objects import acting_as, hpa, patch_of, write

from pipelines.adapters.kube import (
    DEPLOYMENT,
    HPA,
    NODE_POOL,
    POD,
    SCALED_OBJECT,
    Kind,
    Kube,
)
from pipelines.errors import (
    ClusterError,
    ObjectChanged,
    ObjectMissing,
    ObjectRefused,
)

Make = Callable[..., dict[str, Any]]

NOTHING = Kind("nobody.example", "v1", "nothings", "Nothing")
NO_UID = "00000000-0000-0000-0000-000000000000"


def test_what_is_created_can_be_read_and_deleted(kube: Kube, namespace: str) -> None:
    made = kube.create(HPA, hpa("web", namespace, 2, 20))
    read = kube.get(HPA, "web", namespace)
    assert read["metadata"]["uid"] == made["metadata"]["uid"]
    assert (read["spec"]["minReplicas"], read["kind"]) == (2, "HorizontalPodAutoscaler")
    kube.delete(HPA, "web", namespace, made["metadata"]["uid"])
    with pytest.raises(ObjectMissing, match=rf"get .* {namespace}/web: .*not found"):
        kube.get(HPA, "web", namespace)
    with pytest.raises(ObjectMissing):
        kube.delete(HPA, "web", namespace, made["metadata"]["uid"])


def test_a_name_is_created_once(kube: Kube, namespace: str, make_hpa: Make) -> None:
    make_hpa("web", 2, 20)
    with pytest.raises(ObjectChanged, match="already exists"):
        kube.create(HPA, hpa("web", namespace, 2, 20))


def test_only_the_object_of_the_uid_is_deleted(kube: Kube, namespace: str, make_hpa: Make) -> None:
    make_hpa("web", 2, 20)
    with pytest.raises(ObjectChanged, match="Precondition failed"):
        kube.delete(HPA, "web", namespace, NO_UID)
    assert kube.get(HPA, "web", namespace)["spec"]["minReplicas"] == 2


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_a_list_gives_each_object_once_however_it_is_paged(
    kube: Kube, namespace: str, make_hpa: Make, limit: int
) -> None:
    for name in ("a", "b", "c", "d"):
        make_hpa(name, 1, 5)
    found = list(kube.list(HPA, namespace, limit=limit))
    assert [o["metadata"]["name"] for o in found] == ["a", "b", "c", "d"]
    assert {(o["apiVersion"], o["kind"]) for o in found} == {
        ("autoscaling/v2", "HorizontalPodAutoscaler")
    }


def test_a_list_can_be_of_all_namespaces_and_of_some_labels(
    kube: Kube, namespace: str, make_deployment: Make
) -> None:
    make_deployment("web", 0)
    make_deployment("api", 0)
    everywhere = {
        (o["metadata"]["namespace"], o["metadata"]["name"]) for o in kube.list(DEPLOYMENT)
    }
    assert {(namespace, "web"), (namespace, "api")} <= everywhere
    some = kube.list(DEPLOYMENT, namespace, "app=web")
    assert [o["metadata"]["name"] for o in some] == ["web"]
    assert not list(kube.list(DEPLOYMENT, namespace, "app=nobody"))


def test_discovery_knows_what_is_served(kube: Kube) -> None:
    assert kube.serves(HPA)
    assert kube.serves(POD)
    assert not kube.serves(NOTHING)
    assert kube.version().startswith("v1.")


def test_a_kind_that_is_not_served_is_said_to_be(kube: Kube) -> None:
    with pytest.raises(ObjectMissing, match=r"nobody.example/v1 Nothing is not served here"):
        list(kube.list(NOTHING))


def test_the_server_says_who_we_are_and_what_we_may(kube: Kube, namespace: str) -> None:
    assert kube.whoami()
    assert kube.may("patch", HPA, namespace)
    assert kube.may("list", POD)


def test_a_merge_patch_changes_what_it_names(kube: Kube, namespace: str, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    after = kube.merge(HPA, "web", {"spec": {"minReplicas": 5}}, namespace)
    assert after["spec"] == made["spec"] | {"minReplicas": 5}
    owners = {
        entry["manager"]
        for entry in after["metadata"]["managedFields"]
        if "f:minReplicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert owners == {"foretide"}


def test_a_merge_patch_of_a_stale_version_changes_nothing(
    kube: Kube, namespace: str, make_hpa: Make
) -> None:
    made = make_hpa("web", 2, 20)
    kube.merge(HPA, "web", {"spec": {"minReplicas": 5}}, namespace)
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(ObjectChanged, match="has been modified"):
        kube.merge(HPA, "web", stale | {"spec": {"minReplicas": 9}}, namespace)
    assert kube.get(HPA, "web", namespace)["spec"]["minReplicas"] == 5


def test_scale_is_read_and_written(kube: Kube, namespace: str, make_deployment: Make) -> None:
    make_deployment("web", 0)
    assert kube.get(DEPLOYMENT, "web", namespace, subresource="scale")["spec"] == {}
    scale = {"spec": {"replicas": 1}}
    said = kube.merge(DEPLOYMENT, "web", scale, namespace, subresource="scale")
    assert (said["kind"], said["spec"]) == ("Scale", {"replicas": 1})
    assert kube.get(DEPLOYMENT, "web", namespace)["spec"]["replicas"] == 1


def test_a_dry_run_keeps_nothing(kube: Kube, namespace: str, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    wanted = patch_of(made, {"minReplicas": 8})
    del wanted["metadata"]["resourceVersion"]  # a controller may have written the status
    shown = kube.apply(HPA, wanted, force=True, dry_run=True)
    assert shown["spec"]["minReplicas"] == 8
    shown = kube.merge(HPA, "web", {"spec": {"minReplicas": 9}}, namespace, dry_run=True)
    assert shown["spec"]["minReplicas"] == 9
    kube.create(HPA, hpa("other", namespace, 1, 2), dry_run=True)
    assert [o["metadata"]["name"] for o in kube.list(HPA, namespace)] == ["web"]
    after = kube.get(HPA, "web", namespace)
    assert after["spec"] == made["spec"]
    assert "foretide" not in {e["manager"] for e in after["metadata"]["managedFields"]}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"minReplicas": 21}, "must be greater than or equal to `minReplicas`"),
        ({"minReplicas": 0}, "must be greater than or equal to 1"),
        ({"minReplicas": "8"}, "cannot unmarshal string"),
        ({"minReplica": 8}, 'unknown field "spec.minReplica"'),
    ],
)
def test_what_the_server_finds_wrong_is_refused_with_its_words(
    kube: Kube, namespace: str, make_hpa: Make, spec: dict[str, Any], said: str
) -> None:
    make_hpa("web", 2, 20)
    with pytest.raises(ObjectRefused, match=f"^patch horizontal.* {namespace}/web: .*{said}"):
        kube.merge(HPA, "web", {"spec": spec}, namespace)


def test_an_apply_of_an_unknown_field_is_refused_at_once(
    kube: Kube, namespace: str, make_hpa: Make
) -> None:
    made = make_hpa("web", 2, 20)
    with pytest.raises(ObjectRefused, match=r"spec\.minReplica: field not declared in schema"):
        kube.apply(HPA, patch_of(made, {"minReplica": 8}), force=True)


def test_names_are_data(kube: Kube, namespace: str) -> None:
    for name in ("web?force=true", "a/b", "ü x", "%2e%2e"):
        with pytest.raises(ClusterError):
            kube.get(HPA, name, namespace)
    for name in ("", ".", ".."):
        with pytest.raises(ValueError, match="name"):
            kube.get(HPA, name, namespace)
    with pytest.raises(ValueError, match="namespace is missing"):
        kube.get(HPA, "web")
    with pytest.raises(ValueError, match="no namespace"):
        kube.get(NODE_POOL, "web", namespace)


def test_two_managers_are_two(kube: Kube, namespace: str, make_hpa: Make) -> None:
    made = make_hpa("web", 2, 20)
    after = write(acting_as(kube, "somebody"), HPA, made, {"minReplicas": 3})
    assert {"gitops", "somebody"} <= {e["manager"] for e in after["metadata"]["managedFields"]}


def test_keda_refuses_a_floor_above_the_ceiling(
    kube: Kube, namespace: str, make_scaled_object: Make
) -> None:
    made = make_scaled_object("web", 2, 10)
    with pytest.raises(ObjectRefused, match="must be less than or equal to maxReplicaCount"):
        kube.apply(SCALED_OBJECT, patch_of(made, {"minReplicaCount": 11}), force=True)
