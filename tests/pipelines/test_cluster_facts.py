"""A cluster's facts as its API tells them; the objects are shaped as real ones are."""

import json
from math import inf, isnan
from pathlib import Path

import pandas as pd
import pytest
from cluster_world import POOL, TYPE, Cluster, claim, daemon, node, nodepool, pod, spec
from kube_server import serve_kube

from models.actions import Floor
from models.headroom import shortfalls
from pipelines.adapters import kube as k
from pipelines.cluster_facts import read_facts
from pipelines.errors import ClusterForbidden, ClusterUnreachable, ObjectMissing

GIB = 2.0**30
RECORDED = Path(__file__).parents[3] / "shared" / "kubernetes" / "transcripts.jsonl"


def read(**kinds):
    objects = {getattr(k, kind): rows for kind, rows in kinds.items()}
    return read_facts(Cluster(objects), "prod")


def test_a_nodepool_with_its_limits_use_sizes_and_free_room():
    facts = read(
        NODE_POOL=[nodepool(limits={"cpu": "100", "memory": "400Gi"})],
        NODE=[node("n1"), node("n2"), node("n3", spec={"unschedulable": True})],
        POD=[pod("a", on="n1"), pod("b", on="n1", cpu="2"), pod("c", on="n1", phase="Succeeded")],
    )
    (pool,) = facts.nodepools
    assert (pool.cpu_cores_limit, pool.memory_bytes_limit) == (100, 400 * GIB)
    assert pool.nodes_limit == inf
    assert (pool.used_cpu_cores, pool.used_memory_bytes, pool.used_nodes) == (16, 64 * GIB, 2)
    (shape,) = pool.shapes
    assert (shape.name, shape.nodes, shape.cpu_cores, shape.pods) == ("s-8x", 3, 7.91, 110)
    assert (shape.capacity_cpu_cores, shape.capacity_memory_bytes) == (8, 32 * GIB)
    rooms = [(r.cpu_cores, r.memory_bytes, r.pods) for r in pool.rooms]
    assert rooms == [(pytest.approx(5.41), 29 * GIB, 108), (7.91, 31 * GIB, 110)]
    assert pool.static_replicas is None
    assert pool.budgets == ({"nodes": "10%"},)
    assert facts.problems == ()


def test_what_pods_ask_for_and_where_they_run():
    facts = read(
        NODE_POOL=[nodepool("a"), nodepool("b")],
        NODE=[node("n1", "a"), node("n2", "b"), node("n3", "")],
        POD=[
            pod("1", on="n1", cpu="1"),
            pod("2", on="n2", made="2026-06-02T00:00:00Z"),
            pod("3", on="n2"),
            pod("4"),
            pod("5", "fixed", on="n3", priorityClassName="high"),
        ],
    )
    checkout, fixed = facts.pods
    assert checkout.workload == "prod/shop/Deployment/checkout"
    assert (checkout.cpu_cores, checkout.memory_bytes) == (0.5, GIB)  # the newest
    assert (checkout.nodepool, checkout.pods, checkout.placed) == ("b", 4, 3)
    assert isnan(checkout.cpu_limit_cores)
    assert checkout.labels["app"] == "checkout"
    assert (fixed.nodepool, fixed.priority_class) == ("", "high")


def test_placeholders_give_their_room_to_any_other_pod():
    facts = read(
        NODE_POOL=[nodepool()],
        NODE=[node("n1")],
        POD=[pod("a", on="n1", cpu="1"), pod("p", "room", on="n1", cpu="6", priority=-10)],
    )
    assert facts.nodepools[0].rooms[0].cpu_cores == pytest.approx(6.91)


def test_daemonsets_count_where_they_would_run():
    taint = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
    everywhere = spec("100m", "128Mi", tolerations=[{"operator": "Exists"}])
    windows = spec("1", "1Gi", nodeSelector={"kubernetes.io/os": "windows"})
    gone = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {"key": POOL, "operator": "NotIn", "values": ["tainted"]}
                        ]
                    }
                ]
            }
        }
    }
    facts = read(
        NODE_POOL=[nodepool(), nodepool("tainted", taints=[taint])],
        NODE=[node("n1", **{"kubernetes.io/os": "linux"})],
        DAEMON_SET=[
            daemon("cni", everywhere),
            daemon("proxy", spec("50m", "64Mi")),
            daemon("win", windows),
            daemon(
                "apart", spec("10m", "1Mi", affinity=gone, tolerations=[{"operator": "Exists"}])
            ),
        ],
    )
    general, tainted = facts.nodepools
    assert general.daemon_cpu_cores == pytest.approx(0.16)
    assert general.daemon_pods == 3
    assert tainted.daemon_cpu_cores == pytest.approx(0.1)
    assert tainted.daemon_pods == 1


def test_a_node_that_starts_has_room_and_one_that_is_leaving_has_none():
    leaving = node("n2") | {
        "metadata": {"name": "n2", "labels": {POOL: "general"}, "deletionTimestamp": "2026-06-01"}
    }
    disrupted = [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]
    unready = node("n4", ready="False")
    facts = read(
        NODE_POOL=[nodepool()],
        NODE=[node("n1"), leaving, node("n3", taints=disrupted), unready],
        NODE_CLAIM=[claim("c1", node_name="n1", initialized="True"), claim("c9")],
        DAEMON_SET=[daemon("cni", spec("910m", "1Gi"))],
    )
    rooms = facts.nodepools[0].rooms
    assert [r.cpu_cores for r in rooms] == [pytest.approx(7.0), 7.91]  # NodeClaim c9, then n1
    assert [r.pods for r in rooms] == [109, 110]


def test_a_pool_without_nodes_knows_its_pinned_types_from_elsewhere():
    pinned = {"key": TYPE, "operator": "In", "values": ["s-8x"]}
    both = {"key": TYPE, "operator": "In", "values": ["s-8x", "s-16x"]}
    facts = read(
        NODE_POOL=[
            nodepool("a"),
            nodepool("b", requirements=[pinned], used={}),
            nodepool("c", requirements=[both], used={}),
        ],
        NODE=[node("n1", "a")],
    )
    a, b, c = facts.nodepools
    assert (a.shapes_from, b.shapes_from, c.shapes_from) == ("seen", "requirements", "seen")
    assert b.shapes[0].cpu_cores == 7.91
    assert (b.shapes[0].nodes, b.used_nodes, b.used_cpu_cores) == (0, 0, 0)


def test_workloads_without_pods_go_by_their_templates():
    taint = {"key": "dedicated", "effect": "NoSchedule"}

    def deployment(name, **template):
        meta = {"name": name, "namespace": "shop"}
        return {"metadata": meta, "spec": {"template": {"metadata": {}, "spec": spec(**template)}}}

    arm = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}
    gpu = {
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "nodeSelector": {"t": "gpu"},
    }
    facts = read(
        NODE_POOL=[
            nodepool("general", requirements=[arm | {"values": ["amd64"]}]),
            nodepool("arm", requirements=[arm]),
            nodepool("gpu", taints=[taint], labels={"t": "gpu"}),
        ],
        NODE=[node("n1")],
        DEPLOYMENT=[
            deployment("any"),
            deployment("arm", nodeSelector={"kubernetes.io/arch": "arm64"}),
            deployment("named", nodeSelector={POOL: "general"}),
            deployment("gpu", **gpu),
            deployment("nowhere", nodeSelector={"team": "x"}),
            deployment("zone", nodeSelector={"topology.kubernetes.io/zone": "a"}),
        ],
    )
    where = {p.workload.rsplit("/", 1)[1]: p.nodepool for p in facts.pods}
    assert where == {
        "any": None,
        "arm": "arm",
        "named": "general",
        "gpu": "gpu",
        "nowhere": None,
        "zone": None,
    }


def test_quotas_and_budgets():
    quota = {
        "metadata": {"namespace": "shop", "name": "compute"},
        "spec": {
            "hard": {"requests.cpu": "20", "pods": "50"},
            "scopes": ["NotTerminating"],
            "scopeSelector": {
                "matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
                ]
            },
        },
        "status": {
            "hard": {"requests.cpu": "20", "limits.memory": "1Gi", "odd": "many"},
            "used": {"requests.cpu": "4500m"},
        },
    }
    budget = {
        "metadata": {"namespace": "shop", "name": "checkout"},
        "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "checkout"}}},
        "status": {"disruptionsAllowed": 1},
    }
    facts = read(RESOURCE_QUOTA=[quota], POD_DISRUPTION_BUDGET=[budget])
    (found,) = facts.quotas
    assert found.hard == {"requests.cpu": 20, "limits.memory": GIB}
    assert found.used == {"requests.cpu": 4.5}
    assert [s.name for s in found.scopes] == ["NotTerminating", "PriorityClass"]
    (pdb,) = facts.pdbs
    assert (pdb.max_unavailable, pdb.min_available, pdb.disruptions_allowed) == ("25%", None, 1)
    assert pdb.selector.matches({"app": "checkout", "x": "y"})
    assert not pdb.selector.matches({"app": "cart"})


READ = (
    k.NODE_POOL,
    k.NODE,
    k.NODE_CLAIM,
    k.POD,
    k.DAEMON_SET,
    k.RESOURCE_QUOTA,
    k.POD_DISRUPTION_BUDGET,
    k.DEPLOYMENT,
    k.STATEFUL_SET,
)
FLOOR = Floor(
    "prod/shop/Deployment/checkout",
    "checkout",
    1,
    1,
    2000,
    pd.Timestamp("2026-06-08 08:52", tz="UTC"),
    pd.Timestamp("2026-06-08 11:00", tz="UTC"),
    "act",
    "carries it",
)
AS_OF = pd.Timestamp("2026-06-08", tz="UTC")
WORLD = {
    k.NODE_POOL: [nodepool()],
    k.NODE: [node("n1"), node("n2")],
    k.NODE_CLAIM: [claim("c1", node_name="n1"), claim("c2", node_name="n2")],
    k.POD: [pod("a", on="n1")],
}


def test_the_same_is_read_over_http(tmp_path):
    with serve_kube() as server:
        for kind, bodies in WORLD.items():
            for body in bodies:
                meta = body["metadata"]
                server.put(kind, body)
                status = {"status": body["status"]}
                place = meta.get("namespace", "")
                server.patch(kind, meta["name"], status, place, subresource="status")
        with server.kube(tmp_path) as client:
            over_http = read_facts(client, "prod")
    assert over_http == read_facts(Cluster(WORLD), "prod")


def test_the_facts_carry_the_shortfall():
    (short,) = shortfalls([FLOOR], None, read_facts(Cluster(WORLD), "prod"), AS_OF)
    assert short.what == "NodePool prod/general"
    # two nodes with 15.3 cores free, and ten more of 8 up to 100
    assert short.held == 14 + 15 + 10 * 15


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.plural)
@pytest.mark.parametrize("error", [ClusterForbidden("no list for viewer"), ObjectMissing("404")])
def test_a_kind_that_cannot_be_read_is_a_problem_in_words_and_makes_nothing_worse(kind, error):
    facts = read_facts(Cluster(WORLD, {kind: error}), "prod")
    (problem,) = facts.problems
    assert kind.plural in problem
    held = {s.what: s.held for s in shortfalls([FLOOR], None, facts, AS_OF)}
    assert held.get("NodePool prod/general", 179) >= 179


def test_a_cluster_that_may_show_nothing_is_all_problems_and_no_shortfall():
    facts = read_facts(Cluster({}, dict.fromkeys(READ, ClusterForbidden("no"))), "prod")
    assert len(facts.problems) == len(READ)
    assert shortfalls([FLOOR], None, facts, AS_OF) == []


def test_a_server_that_is_gone_is_an_error():
    with pytest.raises(ClusterUnreachable):
        read_facts(Cluster({}, {k.NODE: ClusterUnreachable("no answer")}), "prod")


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded transcripts are not here")
def test_nodepools_as_a_real_server_gave_them():
    rows = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    bodies = [r["response"] for r in rows if r["response"].get("kind") == "NodePool"]
    assert bodies
    for body in bodies:
        (pool,) = read_facts(Cluster({k.NODE_POOL: [body]}), "prod").nodepools
        static = body["metadata"]["name"] == "tr-static"
        assert pool.static_replicas == (0 if static else None)
        assert pool.nodes_limit == (5 if static else inf)
        assert pool.cpu_cores_limit == (inf if static else 10)
        assert pool.used_nodes == 0
        assert pool.requirements[0]["values"] == ["s-4x-amd64-linux"]
