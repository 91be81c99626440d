"""Everything is found again, and everything is given back, by the cluster alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from kube_objects import acting_as, deployment, hpa, node_pool, patch_of
from kube_server import KubeServer, Rule

from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    HPA,
    KINDS,
    NODE_POOL,
    POD_TEMPLATE,
    SCALED_OBJECT,
    Kube,
)
from pipelines.rungs import (
    Room,
    RungParams,
    held,
    hold_nodes,
    hold_room,
    raise_floor,
    read_holders,
    release_everything,
    same_as_before,
)
from pipelines.rungs.installed import room_objects

NOW = pd.Timestamp("2026-03-02T07:00Z")
SOON, LATER = NOW - pd.Timedelta(1, "s"), NOW + pd.Timedelta(1, "h")
NAME = "foretide-placeholder"

RELEASE = (
    Rule(("get", "list", "patch"), ("horizontalpodautoscalers", "scaledobjects", "nodepools")),
    Rule(("get", "patch"), ("nodepools/scale",)),
    Rule(
        ("get", "list", "patch"), ("deployments", "podtemplates", "capacitybuffers"), ("foretide",)
    ),
)
"""What the release job may do, as config/deploy/rbac-release.yaml has it."""


@pytest.fixture
def everything(server: KubeServer, kube: Kube, shop: Any) -> list[tuple[Any, dict[str, Any]]]:
    """One of each rung is held, and how all of it was before."""
    shop.keda()
    server.put(DEPLOYMENT, deployment("api", "shop", 2))
    server.put(HPA, hpa("api", "shop", 3, 30))
    kinds = {kind.kind: kind for kind in KINDS}
    for obj in [*room_objects(), *room_objects(buffer=True)]:
        server.put(kinds[obj["kind"]], obj, "kubectl")
    server.put(NODE_POOL, node_pool("warm", replicas=1, limits={"nodes": "9"}))
    server.put(NODE_POOL, node_pool("general"))
    before = [
        (kind, server.read(kind, name, namespace))
        for kind, name, namespace in (
            (HPA, "api", "shop"),
            (SCALED_OBJECT, "web", "shop"),
            (DEPLOYMENT, NAME, "foretide"),
            (CAPACITY_BUFFER, NAME, "foretide"),
            (POD_TEMPLATE, NAME, "foretide"),
            (NODE_POOL, "warm", ""),
            (NODE_POOL, "general", ""),
        )
    ]
    hold_all(kube, {})
    return before


def hold_all(kube: Kube, until: dict[str, pd.Timestamp]) -> None:
    """Each until LATER, but for those named."""
    room = Room(3, 0.5, 2.0**29, nodes=2)
    for holder in read_holders(kube, "prod"):
        end = until.get(holder.name, LATER)
        ended = raise_floor(kube, holder, 8, until=end, plan_id="p", force_owners=("*",))
        assert ended.status == "done"
    for rung in ("placeholders", "buffer", "static_nodepool"):
        params = RungParams(room=rung, static_nodepool="warm")  # type: ignore[arg-type]
        end = until.get(rung, LATER)
        assert hold_room(kube, room, until=end, plan_id="p", params=params).status == "done"
    end = until.get("general", LATER)
    start = end - pd.Timedelta(1, "h")
    assert hold_nodes(kube, "general", start=start, end=end, plan_id="p").status == "done"


def differences(server: KubeServer, before: list[tuple[Any, dict[str, Any]]]) -> list[str]:
    return [
        line
        for kind, obj in before
        for line in same_as_before(
            obj, server.read(kind, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        )
    ]


def test_all_that_is_held_is_listed(kube: Kube, everything: Any) -> None:
    found = {(h.what, h.workload, h.original, h.value) for h in held(kube, "prod")}
    assert ("floor", "prod/shop/Deployment/api", "3", "8") in found
    assert ("floor", "prod/shop/Deployment/web", "2", "8") in found
    assert ("room", "prod/-/NodePool/warm", "1", "3") in found
    assert len(found) == 7
    assert all(h.ours and h.until == LATER and h.plan_id == "p" for h in held(kube, "prod"))
    assert not any(h.problem for h in held(kube, "prod"))


def test_the_release_job_gives_everything_back_with_its_own_rights(
    server: KubeServer, everything: Any, tmp_path: Any
) -> None:
    server.users["release"] = RELEASE
    assert differences(server, everything)
    with server.kube(tmp_path, "release") as kube:
        ended = release_everything(kube, now=NOW)
    assert [w.status for w in ended] == ["done"] * 7
    assert differences(server, everything) == []


def test_only_what_has_expired_is_given_back(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    assert release_everything(kube, now=NOW, expired_only=True) == []
    hold_all(kube, {"web": SOON, "placeholders": SOON, "general": NOW})
    ended = release_everything(kube, now=NOW, expired_only=True)
    assert sorted(w.what for w in ended) == [
        "Deployment foretide/foretide-placeholder",
        "NodePool general",
        "ScaledObject shop/web",
    ]
    assert release_everything(kube, now=NOW, expired_only=True) == []
    assert len(release_everything(kube, now=LATER, expired_only=True)) == 4
    assert differences(server, everything) == []
    assert held(kube, "prod") == []


def test_a_glob_names_what_is_given_back(kube: Kube, everything: Any) -> None:
    ended = release_everything(kube, now=NOW, match="prod/shop/*", cluster="prod")
    assert sorted(w.what for w in ended) == [
        "HorizontalPodAutoscaler shop/api",
        "ScaledObject shop/web",
    ]


def test_one_that_fails_does_not_stop_the_others(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    server.fail("PATCH", "horizontalpodautoscalers/api", 403, times=99)
    server.fail("GET", "nodepools/warm", 503, times=99)
    server.fail("GET", "/podtemplates[?]", 403, times=99)
    statuses = {w.what: w.status for w in release_everything(kube, now=NOW)}
    assert statuses["HorizontalPodAutoscaler shop/api"] == "forbidden"
    assert statuses["NodePool warm"] == "unreachable"
    assert statuses["PodTemplate"] == "unreachable"
    assert list(statuses.values()).count("done") == 4
    server.faults.clear()
    assert all(w.status == "done" for w in release_everything(kube, now=NOW))
    assert differences(server, everything) == []


def test_an_expiry_that_cannot_be_read_is_told_and_is_over(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    note = {"metadata": {"annotations": {"foretide.dev/valid-until": "soon"}}}
    server.patch(HPA, "api", note, "shop")
    (one,) = (h for h in held(kube, "prod") if h.name == "api")
    assert (one.until, "valid-until" in one.problem) == (None, True)
    (ended,) = release_everything(kube, now=NOW, expired_only=True)
    assert (ended.what, ended.status) == ("HorizontalPodAutoscaler shop/api", "done")
    far = NOW + pd.Timedelta(365, "D")
    assert len(release_everything(kube, now=far, expired_only=True)) == 6
    assert differences(server, everything) == []


def test_a_cluster_without_keda_or_karpenter_has_nothing_there(kube: Kube, shop: Any) -> None:
    shop.server.without = frozenset({"keda.sh", "karpenter.sh", "autoscaling.x-k8s.io"})
    shop.hpa()
    raise_floor(
        kube, shop.holder(), 8, until=LATER, plan_id="p", force_owners=("*",), reason="Monday"
    )
    (one,) = held(kube, "prod")
    assert (one.reason, one.workload) == ("Monday", "prod/shop/Deployment/web")
    assert [w.status for w in release_everything(kube, now=NOW)] == ["done"]


def test_a_webhook_that_fails_is_asked_once_and_keeps_nobody_waiting(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    why = 'Internal error occurred: failed calling webhook "x.example": context deadline exceeded'
    server.fail("PATCH", "nodepools|deployments|scaledobjects", 500, times=99, message=why)
    server.asked.clear()
    statuses = {w.what: w.status for w in release_everything(kube, now=NOW)}
    assert statuses["HorizontalPodAutoscaler shop/api"] == "done"
    assert statuses["ScaledObject shop/web"] == "refused"
    patched = [a.path.rsplit("/", 1)[-1] for a in server.asked if a.method == "PATCH"]
    assert patched.count("web") == 2, "and once more after the others"
    assert patched[-1] != "api"
    server.faults.clear()
    assert all(w.status == "done" for w in release_everything(kube, now=NOW))
    assert differences(server, everything) == []


def test_an_object_that_stumbles_is_given_back_after_the_others(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    server.fail("PATCH", "scaledobjects/web", 503, times=3)
    assert [w.status for w in release_everything(kube, now=NOW)] == ["done"] * 7
    assert differences(server, everything) == []


def test_a_nodepool_that_was_given_back_is_its_owners_to_change(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    release_everything(kube, now=NOW)
    for name, spec in (
        ("warm", node_pool("warm", replicas=4, limits={"nodes": "9"})),
        ("general", node_pool("general", budgets=[{"nodes": "1"}])),
    ):
        found = server.read(NODE_POOL, name)
        acting_as(kube, "gitops").apply(NODE_POOL, patch_of(found, spec["spec"]))
    assert server.read(NODE_POOL, "warm")["spec"]["replicas"] == 4
    assert held(kube, "prod") == []


def test_a_nodepool_whose_owners_cannot_be_changed_is_given_back_all_the_same(
    server: KubeServer, kube: Kube, everything: Any
) -> None:
    server.fail("PATCH", "nodepools/warm", 422, skip=1)  # the scale before it
    ended = {w.what: w for w in release_everything(kube, now=NOW, match="*/NodePool/warm")}
    assert "still named as its owner" in ended["NodePool warm"].detail
    assert server.read(NODE_POOL, "warm")["spec"]["replicas"] == 1
    assert not server.read(NODE_POOL, "warm")["metadata"].get("annotations")


@pytest.mark.parametrize("kind", ["warm", "general"])
def test_a_nodepools_original_that_another_wrote_lowers_nothing(
    server: KubeServer, kube: Kube, everything: Any, kind: str
) -> None:
    said = {"warm": ("nodes", "0"), "general": ("budgets", "[]")}[kind]
    note = {"metadata": {"annotations": {f"foretide.dev/original-{said[0]}": said[1]}}}
    server.patch(NODE_POOL, kind, note)
    before = server.read(NODE_POOL, kind)["spec"]
    statuses = {w.what: w for w in release_everything(kube, now=NOW)}
    assert statuses[f"NodePool {kind}"].status == "refused"
    assert "written by kubectl-edit" in statuses[f"NodePool {kind}"].detail
    assert server.read(NODE_POOL, kind)["spec"] == before
