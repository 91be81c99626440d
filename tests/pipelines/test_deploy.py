"""The manifests of config/deploy: least rights, and enough of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from apply_world import NOW, World, a_floor, a_plan, a_world
from kube_objects import node_pool
from kube_server import Rule

from models.actions import Hold, Placeholder, Plan
from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    NODE,
    NODE_POOL,
    POD_TEMPLATE,
    PRIORITY_CLASS,
)
from pipelines.clusters import Reach, reach
from pipelines.doctor.cluster import check_cluster, needs
from pipelines.release import release
from pipelines.rungs.installed import room_objects, room_yaml
from pipelines.rungs.params import RungParams

DEPLOY = Path(__file__).parents[2] / "config" / "deploy"
KINDS = {k.kind: k for k in (CAPACITY_BUFFER, DEPLOYMENT, POD_TEMPLATE, PRIORITY_CLASS)}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


RBAC = [*documents("rbac-release.yaml"), *documents("rbac-apply.yaml")]
ROLES = {(d["kind"], d["metadata"]["name"]): d for d in RBAC if d["kind"].endswith("Role")}


def rules_of(account: str) -> tuple[Rule, ...]:
    """What the files let an account do, as the fake API server enforces it."""
    found: list[Rule] = []
    for binding in (d for d in RBAC if d["kind"].endswith("Binding")):
        if any(s["name"] == account for s in binding["subjects"]):
            role = ROLES[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
            place = role["metadata"].get("namespace", "*")
            found += [
                Rule(tuple(rule["verbs"]), tuple(rule["resources"]), (place,))
                for rule in role["rules"]
            ]
    return tuple(found)


def world_with_accounts(world: World) -> None:
    for account in ("foretide-apply", "foretide-release"):
        world.server.users[account] = rules_of(account)


@pytest.mark.parametrize("role", ROLES.values(), ids=[n for _, n in ROLES])
def test_no_create_no_delete_no_secrets_no_wildcard(role: dict[str, Any]) -> None:
    for rule in role["rules"]:
        assert set(rule["verbs"]) <= {"get", "list", "watch", "patch"}
        assert not {"secrets", "*"} & {*rule["resources"], *rule["apiGroups"]}


def test_patch_is_for_what_is_raised_and_outside_our_namespace_for_autoscalers_and_pools() -> None:
    patched: dict[str, set[str]] = defaultdict(set)
    for (kind, _), role in ROLES.items():
        for rule in role["rules"]:
            if "patch" in rule["verbs"]:
                patched[kind] |= set(rule["resources"])
    assert patched == {
        "ClusterRole": {
            "horizontalpodautoscalers", "scaledobjects", "nodepools", "nodepools/scale",
        },
        "Role": {"deployments", "podtemplates", "capacitybuffers"},
    }  # fmt: skip
    room = ROLES["Role", "foretide-room"]
    assert room["metadata"]["namespace"] == "foretide"


def a_peak() -> Plan:
    ahead, end = NOW - pd.Timedelta(5, "min"), NOW + pd.Timedelta(60, "min")
    room = Placeholder("prod", 0, 3, 1.0, 2.0**30, ahead, NOW, "act", "soon", "act")
    hold = Hold("prod", "general", ahead, end, "act", "act", "the peak")
    early = a_floor("cart", 6, starts=ahead, minutes=60)
    return a_plan(
        early, a_floor("jobs", 4, starts=ahead, original=1), a_floor("web", 5), room, hold
    )


@pytest.mark.parametrize("room", ["placeholders", "buffer", "static_nodepool"])
def test_the_accounts_can_do_all_that_apply_and_release_do(tmp_path: Path, room: str) -> None:
    rungs = {
        "room": room,
        "static_nodepool": "spare",
        "hold_nodes": True,
        "force_owners": ["helm", "terraform"],
    }
    with a_world(tmp_path, rungs=rungs, user="foretide-apply") as world:
        world_with_accounts(world)
        world.hpa("cart")
        world.hpa("web")
        world.scaled_object("jobs", 1)
        for body in [*room_objects(), *room_objects(buffer=True)]:
            world.server.put(KINDS[body["kind"]], body, manager="kubectl")
        world.server.put(NODE_POOL, node_pool("general"), manager="terraform")
        world.server.put(NODE_POOL, node_pool("spare", replicas=1), manager="terraform")
        node = {"name": "n1", "labels": {"karpenter.sh/nodepool": "spare"}}
        world.server.put(NODE, {"metadata": node})
        there = {"allocatable": {"cpu": "4", "memory": "16Gi"}}
        world.server.patch(NODE, "n1", {"status": there}, subresource="status")
        world.keep(a_peak())
        told = world.apply(-4)
        assert told["failed"] == ()
        assert {r["status"] for r in world.ledger()} == {"intended", "done"}
        assert world.floor("cart") == 6
        with world.kube("foretide-release") as kube:
            ended = release(kube, "prod", NOW + pd.Timedelta(30, "min"))
        assert not ended.failed, ended.lines()
        assert len(ended.written) >= 3
        assert world.floor("cart") == 2
        assert [a.path for a in world.server.asked if a.method not in ("GET", "PATCH")] == []


def test_the_doctor_finds_the_rights_and_misses_the_rest(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        world_with_accounts(world)
        world.hpa("web")
        there = Reach(
            "kubeconfig", "prod", str(world.server.kubeconfig(tmp_path, "foretide-apply"))
        )
        checks = {c.name: c for c in check_cluster(there, RungParams())}
        assert checks["cluster"].status == "ok"
        assert checks["cluster rights"].status == "ok", checks["cluster rights"]
        assert checks["owners"].status == "warn"
        assert "helm" in checks["owners"].detail
        assert "ignoreDifferences" in checks["owners"].remedy
        assert checks["release job"].status == "warn"
        assert world.writes() == []
        there = Reach(
            "kubeconfig", "prod", str(world.server.kubeconfig(tmp_path, "foretide-release"))
        )
        checks = {c.name: c for c in check_cluster(there, RungParams())}
        assert checks["cluster rights"].status == "fail"
        assert "list pods" in checks["cluster rights"].remedy


@pytest.mark.parametrize("room", ["none", "placeholders", "buffer", "static_nodepool"])
def test_every_right_that_the_doctor_asks_for_is_in_the_files(room: Any) -> None:
    rules = rules_of("foretide-apply")
    params = RungParams(room=room, static_nodepool="spare", hold_nodes=True)
    for need in needs(params):
        resource = need.kind.plural + (f"/{need.subresource}" if need.subresource else "")
        assert any(r.allows(need.verb, resource, need.namespace or "*") for r in rules), need


def test_the_release_job_is_careful() -> None:
    (job,) = documents("release-cronjob.yaml")
    spec = job["spec"]
    assert (spec["concurrencyPolicy"], spec["schedule"]) == ("Forbid", "*/5 * * * *")
    assert job["metadata"]["labels"]["app.kubernetes.io/name"] == "foretide-release"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "foretide-release"
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    assert container["args"] == ["release", "--expired", "--in-cluster"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]


def test_what_kustomize_installs_is_there_and_raises_nothing() -> None:
    (kustomization,) = documents("kustomization.yaml")
    for name in kustomization["resources"]:
        assert (DEPLOY / name).is_file()
    assert {d["metadata"].get("namespace", "foretide") for d in RBAC} == {"foretide"}


@pytest.mark.parametrize(("file", "buffer"), [("room.yaml", False), ("room-buffer.yaml", True)])
def test_the_room_is_what_the_rungs_expect_and_empty(file: str, buffer: bool) -> None:
    text = (DEPLOY / file).read_text()
    assert list(yaml.safe_load_all(text)) == list(yaml.safe_load_all(room_yaml(buffer=buffer)))
    assert {d["spec"]["replicas"] for d in documents(file) if "spec" in d} == {0}


def test_outside_its_own_namespace_the_release_reads_nothing_but_what_it_gives_back() -> None:
    (role,) = (
        d for d in RBAC if (d["kind"], d["metadata"]["name"]) == ("ClusterRole", "foretide-release")
    )
    resources = {name for rule in role["rules"] for name in rule["resources"]}
    assert resources == {
        "horizontalpodautoscalers", "scaledobjects", "nodepools", "nodepools/scale",
    }  # fmt: skip


def test_in_a_cluster_the_namespace_is_the_pods_own(tmp_path: Path) -> None:
    mounted = tmp_path / "namespace"
    assert reach(None, in_cluster=True, mounted=mounted).rungs.namespace == "foretide"
    mounted.write_text("ops\n")
    assert reach(None, in_cluster=True, mounted=mounted).rungs.namespace == "ops"
    there = reach(None, in_cluster=True, namespace="room", mounted=mounted)
    assert there.rungs.namespace == "room"
    assert reach(None, context="prod", mounted=mounted).rungs.namespace == "foretide"
