"""The manifests of config/deploy: least rights, and enough of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
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


RBAC = [
    document
    for name in ("rbac-release.yaml", "rbac-apply.yaml", "pipeline/account.yaml")
    for document in documents(name)
]
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


# -- what kustomize makes of it

KUSTOMIZATIONS = (".", "prefect", "cronjobs", "servers")
VARIANTS = {
    "acting": ("prefect", ("acting",)),
    "jobs": ("prefect", ("kubernetes-pool",)),
    "irsa": ("cronjobs", ("irsa",)),
}


def has_kustomize() -> bool:
    """Debian's own kubectl is too old for components."""
    if shutil.which("kubectl") is None:
        return False
    told = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    minor = re.search(r'"minor": "(\d+)', told.stdout)
    return minor is not None and int(minor[1]) >= 27


needs_kustomize = pytest.mark.skipif(
    not has_kustomize(), reason="needs kubectl 1.27 or newer for `kubectl kustomize`"
)


@lru_cache(maxsize=32)
def built(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """As a user composes them: a folder of their own beside a copy of ours."""
    root = tmp_path_factory.mktemp("overlays")
    shutil.copytree(DEPLOY, root / "deploy")
    found: dict[str, Path] = {}
    for name, (base, components) in VARIANTS.items():
        found[name] = root / name
        found[name].mkdir()
        spec = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["../deploy", f"../deploy/{base}"],
            "components": [f"../deploy/components/{c}" for c in components],
        }
        (found[name] / "kustomization.yaml").write_text(yaml.safe_dump(spec))
    return found


def pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod specs in a manifest."""
    spec = document.get("spec") or {}
    if "jobTemplate" in spec:
        spec = spec["jobTemplate"]["spec"]
    if "containers" in spec.get("template", {}).get("spec", {}):
        yield spec["template"]["spec"]


def bound(documents: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Role and account of each binding."""
    bindings = (d for d in documents if d["kind"].endswith("Binding"))
    return {(d["roleRef"]["name"], s["name"]) for d in bindings for s in d["subjects"]}


def all_built() -> list[dict[str, Any]]:
    return [d for name in KUSTOMIZATIONS for d in built(DEPLOY / name)]


@needs_kustomize
def test_every_overlay_builds_and_does_what_it_is_for(overlays: dict[str, Path]) -> None:
    acting = ("foretide-apply", "foretide-pipeline")
    assert {acting, ("foretide-room", "foretide-pipeline")} <= bound(built(overlays["acting"]))
    assert acting not in bound(all_built())
    (worker,) = (
        pod
        for d in built(overlays["jobs"])
        if d["metadata"]["name"] == "foretide-worker"
        for pod in pods(d)
    )
    assert worker["serviceAccountName"] == "foretide-worker"
    assert worker["containers"][0]["command"][-1] == "foretide-kubernetes"
    role = "eks.amazonaws.com/role-arn"
    arn = {
        d["metadata"]["name"]: d["metadata"].get("annotations", {}).get(role)
        for d in built(overlays["irsa"])
        if d["kind"] == "ServiceAccount"
    }
    assert arn.pop("foretide-release") is None
    assert set(arn) == {"foretide-apply", "foretide-pipeline"}
    assert all(arn.values())
    for folder in overlays.values():
        names = [(d["kind"], d["metadata"]["name"]) for d in built(folder)]
        assert len(names) == len(set(names))


@needs_kustomize
def test_every_field_is_one_that_kubernetes_knows(overlays: dict[str, Path]) -> None:
    from kubernetes.client import ApiClient

    client = ApiClient()
    documents = [*all_built(), *(d for folder in overlays.values() for d in built(folder))]
    for document in documents:
        group, _, version = document["apiVersion"].rpartition("/")
        assert version == "v1"
        assert not group.endswith(".x-k8s.io")
        known = client.sanitize_for_serialization(
            client.deserialize(json.dumps(document), f"V1{document['kind']}", "application/json")
        )
        assert known == without_empty(document), (document["kind"], document["metadata"]["name"])


def without_empty(value: Any) -> Any:
    """An empty map or list of a manifest means something, an absent one of a model does not."""
    if isinstance(value, dict):
        return {k: without_empty(v) for k, v in value.items()}
    return [without_empty(v) for v in value] if isinstance(value, list) else value


@needs_kustomize
def test_every_pod_is_restricted_and_asks_for_what_it_needs() -> None:
    seen = 0
    for document in all_built():
        for pod in pods(document):
            name = document["metadata"]["name"]
            placeholder = name == "foretide-placeholder"
            seen += 1
            assert pod["securityContext"]["runAsNonRoot"] is True, name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }, name
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
                mounts = {m["mountPath"] for m in container.get("volumeMounts", [])}
                assert placeholder or "/tmp" in mounts, name  # noqa: S108
            assert not pod.get("hostNetwork")
            assert not any("hostPath" in v for v in pod.get("volumes", ()))
    assert seen == 2 + 1 + 11 + 2


@needs_kustomize
def test_no_manifest_holds_a_secret() -> None:
    for document in all_built():
        assert document["kind"] != "Secret"
        text = json.dumps(document)
        assert not re.search(
            r"(?i)(password|secret_?key|api_?key|(?<!serviceaccount)token)\"?\s*[:=]\s*\"?[^\s\"{]",
            text,
        ), text
    references = {
        source["secretRef"]["name"]
        for document in all_built()
        for pod in pods(document)
        for container in pod["containers"]
        for source in container.get("envFrom", ())
        if "secretRef" in source
    }
    assert references == {"foretide-secrets", "foretide-servers-secrets"}


@needs_kustomize
def test_every_account_volume_and_configuration_that_is_named_is_there() -> None:
    documents = all_built()
    there = {(d["kind"], d["metadata"]["name"]) for d in documents}
    for document in documents:
        assert document["metadata"].get("namespace", "foretide") == "foretide"
        for pod in pods(document):
            if account := pod.get("serviceAccountName"):
                assert ("ServiceAccount", account) in there
            for volume in pod.get("volumes", ()):
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in there
                if "persistentVolumeClaim" in volume:
                    claim = volume["persistentVolumeClaim"]["claimName"]
                    assert ("PersistentVolumeClaim", claim) in there
            for container in pod["containers"]:
                for source in container.get("envFrom", ()):
                    if "configMapRef" in source:
                        assert ("ConfigMap", source["configMapRef"]["name"]) in there


@needs_kustomize
def test_the_job_template_of_prefect_names_what_is_installed() -> None:
    template = json.loads((DEPLOY.parent / "prefect" / "kubernetes.json").read_text())
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    there = {(d["kind"], d["metadata"]["name"]) for d in all_built()}
    usual = {k: v.get("default") for k, v in template["variables"]["properties"].items()}
    assert ("ServiceAccount", usual["service_account_name"]) in there
    (config,) = (v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v)
    assert ("ConfigMap", config) in there
    assert usual["namespace"] == "foretide"


@needs_kustomize
def test_every_step_is_a_command_and_only_apply_has_rights_to_change_anything() -> None:
    from pipelines.cli import cli

    crons = [d for d in built(DEPLOY / "cronjobs") if d["kind"] == "CronJob"]
    assert len(crons) == 11
    for cron in crons:
        (pod,) = pods(cron)
        args = pod["containers"][0]["args"]
        command = cli.commands[args[0]]
        context = command.make_context(args[0], list(args[1:]))
        assert context.params["config"] == "config/foretide.yaml"
        acts = cron["metadata"]["name"] == "foretide-apply"
        assert pod["serviceAccountName"] == ("foretide-apply" if acts else "foretide-pipeline")
        assert cron["spec"]["concurrencyPolicy"] == "Forbid"
        assert cron["spec"]["timeZone"] == "Etc/UTC"


def test_the_pipelines_account_changes_nothing() -> None:
    rules = rules_of("foretide-pipeline")
    assert rules
    assert all(set(rule.verbs) <= {"get", "list", "watch"} for rule in rules)


def test_the_installed_configuration_is_one_and_names_the_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipelines.settings import load_settings

    settings = load_settings(DEPLOY / "pipeline" / "foretide.yaml")
    assert settings.cluster.connect == "in_cluster"
    assert settings.prescale.plan.mode == "shadow"
    services = {
        f"{d['metadata']['name']}:{d['spec']['ports'][0]['port']}"
        for name in ("servers/prefect.yaml", "servers/mlflow.yaml")
        for d in documents(name)
        if d["kind"] == "Service"
    }
    (env,) = (
        g["literals"]
        for g in documents("pipeline/kustomization.yaml")[0]["configMapGenerator"]
        if g["name"] == "foretide-env"
    )
    assert services == {
        settings.tracking.uri.removeprefix("http://"),
        env[0].removeprefix("PREFECT_API_URL=http://").removesuffix("/api"),
    }


def test_the_mlflow_server_begins_no_processes_that_its_memory_cannot_hold() -> None:
    """Its job runner's would take 1.9 GiB of the 2 that the pod may have."""
    (server,) = (d for d in documents("servers/mlflow.yaml") if d["kind"] == "Deployment")
    (pod,) = pods(server)
    (container,) = pod["containers"]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def test_only_the_kubernetes_pools_worker_may_create_and_only_at_home() -> None:
    (role,) = (d for d in documents("components/kubernetes-pool/rbac.yaml") if d["kind"] == "Role")
    creating = [r for r in role["rules"] if {"create", "delete"} & set(r["verbs"])]
    assert [r["resources"] for r in creating] == [["jobs"]]
    assert all("secrets" not in r["resources"] for r in role["rules"])
    # Prefect's watch of jobs that crash is of the whole cluster where it is not told otherwise
    (component,) = documents("components/kubernetes-pool/kustomization.yaml")
    steps = yaml.safe_load(component["patches"][0]["patch"])
    (told,) = (s["value"] for s in steps if s["path"].endswith("/env/-"))
    assert told == {
        "name": "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES",
        "value": role["metadata"]["namespace"],
    }
