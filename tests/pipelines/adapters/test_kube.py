"""The Kubernetes client when the server is slow, overloaded, cut off, replaced or refuses us."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kube_objects import deployment, hpa, patch_of
from kube_server import KubeServer, Rule, serve_kube

from pipelines.adapters.kube import DEPLOYMENT, HPA, SCALED_OBJECT, Kube, RetryParams
from pipelines.errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnreachable,
    ObjectChanged,
    ObjectMissing,
)

NOTE = {"foretide.dev/original-floor": "2"}
SHOWN_NOWHERE = "token-of-admin"


@pytest.fixture
def server() -> Iterator[KubeServer]:
    with serve_kube(namespaces=("shop",)) as server:
        server.put(HPA, hpa("web", "shop", 2, 20))
        yield server


@pytest.fixture
def kube(server: KubeServer, tmp_path: Path) -> Iterator[Kube]:
    with server.kube(tmp_path, timeout_s=0.5) as kube:
        yield kube


def writes(server: KubeServer) -> int:
    """How often the HPA was written by us."""
    return sum(
        obj["metadata"]["name"] == "web"
        and any(e["manager"] == "foretide" for e in obj["metadata"]["managedFields"])
        for _, kind, what, obj in server.store.events
        if kind == HPA and what == "MODIFIED"
    )


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 0])
def test_what_passes_is_waited_for(server: KubeServer, kube: Kube, status: int) -> None:
    server.fail(status=status, times=2)
    assert kube.get(HPA, "web", "shop")["spec"]["minReplicas"] == 2
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("html", [False, True])
def test_what_does_not_pass_is_said_in_one_line(
    server: KubeServer, kube: Kube, status: int, html: bool
) -> None:
    server.fail(status=status, times=9, html=html)
    with pytest.raises(ClusterUnreachable) as caught:
        kube.get(HPA, "web", "shop")
    text = str(caught.value)
    said = "Bad gateway" if html else "told to fail"
    assert text.startswith("get horizontalpodautoscalers.autoscaling shop/web: ")
    assert said in text
    assert text.endswith("(3 attempts)")
    assert "\n" not in text
    assert len(server.asked) == 3


def test_retry_after_is_kept(server: KubeServer, tmp_path: Path) -> None:
    server.fail(status=429, retry_after=0.3)
    retry = RetryParams(attempts=2, wait_s=0.0, wait_max_s=1.0)
    with server.kube(tmp_path, retry=retry) as kube:
        began = time.monotonic()
        kube.get(HPA, "web", "shop")
        assert time.monotonic() - began >= 0.3


def test_retry_after_is_bounded(server: KubeServer, kube: Kube) -> None:
    server.fail(status=503, retry_after=86_400)
    began = time.monotonic()
    kube.get(HPA, "web", "shop")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("header", ["soon", "nan", "Wed, 99 Foo", ""])
def test_a_retry_after_that_says_nothing_is_passed_over(
    server: KubeServer, kube: Kube, header: str
) -> None:
    server.fail(status=503, retry_after=header)
    assert kube.get(HPA, "web", "shop")["spec"]["minReplicas"] == 2


def test_a_proxys_page_with_status_200_is_no_answer(server: KubeServer, kube: Kube) -> None:
    server.fail(status=202, html=True)
    with pytest.raises(ClusterUnreachable, match=r"no Kubernetes answer, but '<html>.*is there a"):
        kube.get(HPA, "web", "shop")


def test_a_body_that_is_cut_is_read_again(server: KubeServer, kube: Kube) -> None:
    server.fail(status=200, cut=100)
    assert kube.get(HPA, "web", "shop")["spec"]["minReplicas"] == 2
    server.fail(status=200, cut=100, times=9)
    with pytest.raises(ClusterUnreachable, match="no answer from http://127"):
        kube.get(HPA, "web", "shop")


def test_a_server_that_is_too_slow_is_unreachable(server: KubeServer, tmp_path: Path) -> None:
    server.fail(status=200, delay_s=0.4, times=3)
    said = pytest.raises(ClusterUnreachable, match=r"timed out.*3 attempts")
    with server.kube(tmp_path, timeout_s=0.1) as kube, said:
        kube.get(HPA, "web", "shop")


def test_a_server_that_is_gone_is_unreachable(tmp_path: Path) -> None:
    with serve_kube() as server:
        kube = server.kube(tmp_path)
    with kube, pytest.raises(ClusterUnreachable, match=rf"no answer from {server.url}: no connect"):
        kube.get(HPA, "web", "shop")


def test_a_write_whose_answer_is_lost_is_done_once(server: KubeServer, kube: Kube) -> None:
    read = kube.get(HPA, "web", "shop")
    server.fail("PATCH", status=0, after=True)
    after = kube.apply(HPA, patch_of(read, {"minReplicas": 8}, NOTE), force=True)
    assert after == server.read(HPA, "web", "shop")
    assert after["spec"]["minReplicas"] == 8
    assert writes(server) == 1


@pytest.mark.parametrize("status", [0, 502, 504])
def test_a_restore_whose_answer_is_lost_is_done_once(
    server: KubeServer, kube: Kube, status: int
) -> None:
    read = kube.get(HPA, "web", "shop")
    raised = kube.apply(HPA, patch_of(read, {"minReplicas": 8}, NOTE), force=True)
    server.fail("PATCH", status=status, after=True)
    after = kube.apply(HPA, patch_of(raised, {"minReplicas": 2}), force=True)
    assert after["spec"]["minReplicas"] == 2
    assert not after["metadata"].get("annotations")
    assert writes(server) == 2


def test_a_lost_restore_is_not_done_because_somebody_set_the_same_value(
    server: KubeServer, kube: Kube
) -> None:
    read = kube.get(HPA, "web", "shop")
    raised = kube.apply(HPA, patch_of(read, {"minReplicas": 8}, NOTE), force=True)
    server.fail("PATCH", status=0)
    once = [True]

    def heal(asked: Any) -> None:
        if asked.method == "PATCH" and once.pop():
            server.patch(HPA, "web", {"spec": {"minReplicas": 2}}, "shop")

    server.before(heal)
    with pytest.raises(ObjectChanged):
        kube.apply(HPA, patch_of(raised, {"minReplicas": 2}), force=True)
    assert server.read(HPA, "web", "shop")["metadata"]["annotations"] == NOTE


def test_what_others_changed_before_a_repetition_stands(server: KubeServer, kube: Kube) -> None:
    read = kube.get(HPA, "web", "shop")
    server.fail("PATCH", status=0, after=True)
    server.after_write(
        lambda *_: server.patch(HPA, "web", {"spec": {"minReplicas": 3}}, "shop") and None
    )
    with pytest.raises(ObjectChanged, match="has been modified"):
        kube.apply(HPA, patch_of(read, {"minReplicas": 8}), force=True)
    assert server.read(HPA, "web", "shop")["spec"]["minReplicas"] == 3


def test_a_creation_and_a_deletion_are_done_once(server: KubeServer, kube: Kube) -> None:
    server.fail("POST", "deployments", 0, after=True)
    made = kube.create(DEPLOYMENT, deployment("room", "shop", 3))
    assert [o["metadata"]["uid"] for o in server.all(DEPLOYMENT)] == [made["metadata"]["uid"]]
    server.fail("DELETE", "deployments", 0, after=True)
    kube.delete(DEPLOYMENT, "room", "shop", made["metadata"]["uid"])
    assert not server.all(DEPLOYMENT)


def test_a_creation_that_meets_another_object_is_refused(server: KubeServer, kube: Kube) -> None:
    server.fail("POST", "deployments", 0)
    server.put(DEPLOYMENT, deployment("room", "shop", 5))
    with pytest.raises(ObjectChanged, match="already exists"):
        kube.create(DEPLOYMENT, deployment("room", "shop", 3))


def test_an_object_recreated_between_read_and_write_is_left_alone(
    server: KubeServer, kube: Kube
) -> None:
    read = kube.get(HPA, "web", "shop")
    new = server.recreate(HPA, "web", "shop")
    with pytest.raises(ObjectChanged):
        kube.apply(HPA, patch_of(read, {"minReplicas": 8}), force=True)
    assert server.read(HPA, "web", "shop") == new


def test_a_list_that_expires_starts_over_and_gives_each_once(
    server: KubeServer, kube: Kube
) -> None:
    for name in ("a", "b", "c"):
        server.put(HPA, hpa(name, "shop", 1, 5))
    server.fail("GET", "continue=", 410, skip=1)
    names = [o["metadata"]["name"] for o in kube.list(HPA, "shop", limit=1)]
    assert sorted(names) == ["a", "b", "c", "web"]


def test_a_list_that_always_expires_ends(server: KubeServer, kube: Kube) -> None:
    server.put(HPA, hpa("a", "shop", 1, 5))
    server.fail("GET", "continue=", 410, times=99)
    with pytest.raises(ClusterUnreachable, match="expired 5 times"):
        list(kube.list(HPA, "shop", limit=1))


def test_one_connection_serves_many_requests(server: KubeServer, kube: Kube) -> None:
    for _ in range(20):
        kube.get(HPA, "web", "shop")
    with pytest.raises(ObjectMissing):
        kube.get(HPA, "nope", "shop")
    list(kube.list(HPA, limit=1))
    assert server.connections == 1


def test_what_we_may_not_is_said_with_verb_resource_and_who(
    server: KubeServer, tmp_path: Path
) -> None:
    server.users["reader"] = (Rule(("get", "list"), namespaces=("shop",)),)
    with server.kube(tmp_path, "reader") as kube:
        read = kube.get(HPA, "web", "shop")
        with pytest.raises(ClusterForbidden) as caught:
            kube.apply(HPA, patch_of(read, {"minReplicas": 8}))
        for word in ("patch", "horizontalpodautoscalers", '"reader"', '"shop"', "current context"):
            assert word in str(caught.value)
        with pytest.raises(ClusterForbidden, match="cannot list"):
            list(kube.list(HPA))
        assert kube.may("get", HPA, "shop")
        assert not kube.may("patch", HPA, "shop")
        assert not kube.may("get", HPA)
        assert kube.whoami() == "reader"


def test_a_right_to_a_subresource_is_one_of_its_own(server: KubeServer, tmp_path: Path) -> None:
    server.users["scaler"] = (Rule(("patch",), ("deployments/scale",)),)
    with server.kube(tmp_path, "scaler") as kube:
        assert kube.may("patch", DEPLOYMENT, "shop", "scale")
        assert not kube.may("patch", DEPLOYMENT, "shop")


def test_an_unknown_user_is_told_so(server: KubeServer, tmp_path: Path) -> None:
    with server.kube(tmp_path, "nobody") as kube:
        with pytest.raises(ClusterForbidden, match=r"get .* shop/web: Unauthorized \(as the curr"):
            kube.get(HPA, "web", "shop")
        assert kube.whoami().startswith("the current context of ")


def test_a_kind_that_is_not_installed_is_not_served(tmp_path: Path) -> None:
    with serve_kube(without={"keda.sh"}) as server, server.kube(tmp_path) as kube:
        assert not kube.serves(SCALED_OBJECT)
        assert kube.serves(HPA)
        with pytest.raises(ObjectMissing, match="ScaledObject is not served here"):
            list(kube.list(SCALED_OBJECT))


def test_every_write_names_us_and_is_strict(server: KubeServer, kube: Kube) -> None:
    read = kube.get(HPA, "web", "shop")
    server.asked.clear()
    kube.apply(HPA, patch_of(read, {"minReplicas": 2}))
    kube.merge(HPA, "web", {"spec": {"minReplicas": 3}}, "shop")
    kube.create(DEPLOYMENT, deployment("room", "shop", 0))
    for asked in server.asked:
        assert asked.query == {"fieldManager": "foretide", "fieldValidation": "Strict"}
    assert [a.content_type for a in server.asked] == [
        "application/apply-patch+yaml",
        "application/merge-patch+json",
        "application/json",
    ]


BROKEN: dict[str, Callable[[KubeServer], None]] = {
    "unknown": lambda server: server.users.clear(),
    "forbidden": lambda server: server.users.update(admin=()),
    "overloaded": lambda server: server.fail(status=503, times=9),
    "dropped": lambda server: server.fail(status=0, times=9),
    "proxy": lambda server: server.fail(status=502, times=9, html=True),
    "cut": lambda server: server.fail(status=200, times=9, cut=3),
    "refused": lambda server: server.fail(status=400),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_no_error_and_no_log_shows_the_token(
    server: KubeServer, kube: Kube, caplog: pytest.LogCaptureFixture, broken: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    broken(server)
    with pytest.raises(ClusterError) as caught:
        kube.merge(HPA, "web", {"spec": {"minReplicas": 8}}, "shop")
    error: BaseException | None = caught.value
    while error is not None:
        assert SHOWN_NOWHERE not in f"{error!r} {error}"
        assert not error.__suppress_context__ or error.__cause__ is None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert SHOWN_NOWHERE not in caplog.text


def test_a_body_of_another_kind_or_without_a_name_is_refused(kube: Kube) -> None:
    with pytest.raises(ValueError, match="expected autoscaling/v2 HorizontalPodAutoscaler"):
        kube.create(HPA, {"kind": "Deployment", "metadata": {"name": "x"}})
    with pytest.raises(ValueError, match="metadata with a name"):
        kube.apply(HPA, {"metadata": {}}, create=True)
    with pytest.raises(ValueError, match="uid is missing"):
        kube.delete(HPA, "web", "shop", "")


@pytest.mark.parametrize(
    "bad", [{"attempts": 0}, {"wait_s": -1.0}, {"total_s": float("nan")}, {"wait_max_s": 1e400}]
)
def test_retries_without_meaning_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"retry: {next(iter(bad))} must be"):
        RetryParams(**bad)


def test_gitops_takes_a_field_back_after_each_write(server: KubeServer, kube: Kube) -> None:
    server.gitops(HPA, hpa("web", "shop", 2, 20), times=2)
    for floor in (7, 8, 9):
        read = kube.get(HPA, "web", "shop")
        kube.apply(HPA, patch_of(read, {"minReplicas": floor}), force=True)
    assert server.read(HPA, "web", "shop")["spec"]["minReplicas"] == 9
    taken = [
        obj["spec"]["minReplicas"]
        for _, kind, _, obj in server.store.events
        if kind == HPA and obj["metadata"]["name"] == "web"
    ]
    assert taken[-5:] == [7, 2, 8, 2, 9]


def test_an_apply_that_would_create_needs_the_right_to(server: KubeServer, tmp_path: Path) -> None:
    server.users["patcher"] = (Rule(("get", "list", "watch", "patch")),)
    with server.kube(tmp_path, "patcher") as kube:
        read = kube.get(HPA, "web", "shop")
        assert kube.apply(HPA, patch_of(read, {"minReplicas": 4}), force=True)
        with pytest.raises(ClusterForbidden, match="cannot create"):
            kube.apply(HPA, hpa("other", "shop", 1, 2), create=True)
