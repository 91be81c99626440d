"""What cannot be held is said before it is needed, with what to change; what is not known is not
said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.actions import Floor
from models.cluster_facts import (
    ClusterFacts,
    NodePoolFacts,
    NodeShape,
    PdbFacts,
    PodShape,
    QuotaFacts,
    QuotaScope,
    Room,
    Selector,
    cluster_wide,
)
from models.headroom import shortfalls

GIB = 2.0**30
AS_OF = pd.Timestamp("2026-06-08 05:40", tz="UTC").as_unit("ms")
PEAK = pd.Timestamp("2026-06-08 08:52", tz="UTC").as_unit("ms")
END = pd.Timestamp("2026-06-08 11:00", tz="UTC").as_unit("ms")
law = settings(deadline=None, max_examples=50)


def floor(name="checkout", after=24, *, start=PEAK, end=END, original=4, **more):
    workload = f"prod/shop/Deployment/{name}"
    return Floor(workload, name, original, original, after, start, end, "act", "carries it", **more)


def pod(name="checkout", now=4, *, cores=1.0, nodepool="general", **more):
    shape = PodShape(f"prod/shop/Deployment/{name}", cores, 2 * GIB, nodepool, now, now)
    return replace(shape, **{"labels": {"app": name}} | more)


def general(**more):
    shape = NodeShape("m6i.2xlarge", 7.5, 28 * GIB, 58.0, 8.0, 32 * GIB, 10)
    base = {
        "shapes": (shape,),
        "cpu_cores_limit": 100.0,
        "memory_bytes_limit": np.inf,
        "nodes_limit": np.inf,
        "used_cpu_cores": 80.0,
        "used_memory_bytes": 320 * GIB,
        "used_nodes": 10.0,
        "daemon_cpu_cores": 0.5,
        "daemon_memory_bytes": GIB,
        "daemon_pods": 4.0,
    }
    return NodePoolFacts("general", **base | more)


def facts(*, pool=None, pods=(), **more):
    pools = (pool or general(),)
    return ClusterFacts("prod", pools, cluster_wide(pools, (), ()), pods=tuple(pods), **more)


def only(found):
    (one,) = found
    return one


def test_a_nodepool_limit_is_said_with_when_how_much_and_what_to_raise():
    got = only(shortfalls([floor()], None, facts(pods=[pod()]), AS_OF))
    assert got.what == "NodePool prod/general"
    assert (got.at, got.wanted, got.held) == (PEAK, 20, 14)
    assert got.reason == (
        "limits.cpu 100 allows 14 more pods, 20 are wanted at 2026-06-08 08:52 UTC (in 3.2 h); "
        "raise limits.cpu to 104"
    )


@law
@given(after=st.integers(1, 400), limit=st.integers(80, 400), free=st.integers(0, 30))
def test_raised_as_it_says_the_limit_holds_the_plan(after, limit, free):
    known = facts(
        pool=general(cpu_cores_limit=float(limit), rooms=(Room(float(free), 99 * GIB, 99.0),)),
        pods=[pod()],
    )
    for found in shortfalls([floor(after=after)], None, known, AS_OF):
        assert found.held < found.wanted == after - 4
        raised = float(found.reason.rsplit(" ", 1)[1])
        enough = replace(known, nodepools=(replace(known.nodepools[0], cpu_cores_limit=raised),))
        assert shortfalls([floor(after=after)], None, enough, AS_OF) == []
        scarce = replace(
            known, nodepools=(replace(known.nodepools[0], cpu_cores_limit=raised - 1),)
        )
        assert shortfalls([floor(after=after)], None, scarce, AS_OF)


@law
@given(limit=st.integers(80, 200), more=st.integers(0, 100), after=st.integers(4, 200))
def test_a_higher_limit_never_holds_fewer(limit, more, after):
    def short(cores):
        found = shortfalls(
            [floor(after=after)],
            None,
            facts(pool=general(cpu_cores_limit=float(cores)), pods=[pod()]),
            AS_OF,
        )
        return found[0].wanted - found[0].held if found else 0

    assert short(limit + more) <= short(limit)


def test_workloads_that_share_a_nodepool_are_summed_at_each_moment():
    later = PEAK + pd.Timedelta("1h")
    floors = [
        floor("a", 12, end=END),
        floor("b", 12, start=later, end=END),
        floor("c", 40, start=END, end=END + pd.Timedelta("1h")),
    ]
    pods = [pod("a"), pod("b"), pod("c", now=40)]
    got = only(shortfalls(floors, None, facts(pods=pods), AS_OF))
    assert (got.at, got.wanted, got.held) == (later, 16, 14)


def test_memory_and_nodes_have_limits_too():
    memory = general(cpu_cores_limit=np.inf, memory_bytes_limit=352 * GIB)
    assert (
        "limits.memory 352Gi allows 7 more pods"
        in only(shortfalls([floor()], None, facts(pool=memory, pods=[pod()]), AS_OF)).reason
    )
    nodes = general(cpu_cores_limit=np.inf, nodes_limit=12.0)
    reason = only(shortfalls([floor()], None, facts(pool=nodes, pods=[pod()]), AS_OF)).reason
    assert reason.startswith("limits.nodes 12 allows 14 more")
    assert reason.endswith("raise limits.nodes to 13")


def test_a_static_nodepool_starts_nothing_by_itself():
    static = general(static_replicas=10, cpu_cores_limit=np.inf, nodes_limit=11.0)
    reason = only(shortfalls([floor()], None, facts(pool=static, pods=[pod()]), AS_OF)).reason
    assert "the 10 nodes of a static NodePool allow 0 more pods" in reason
    assert reason.endswith("raise spec.replicas and limits.nodes (now 11) to 13")


def test_a_pod_that_fits_no_node_is_said_once_and_not_where_it_runs():
    big = pod(cores=12.0, now=0)
    got = only(shortfalls([floor()], None, facts(pods=[big]), AS_OF))
    assert got.what == "prod/shop/Deployment/checkout"
    assert (got.wanted, got.held, got.at) == (24, 0, PEAK)
    assert "12 cores and 2Gi" in got.reason
    assert "m6i.2xlarge with 7.5 cores" in got.reason
    assert "see whether it may start larger ones" in got.reason
    pinned = facts(pool=general(shapes_from="requirements"), pods=[big])
    assert "allow no other" in only(shortfalls([floor()], None, pinned, AS_OF)).reason
    runs = replace(big, placed=2, pods=2)
    assert shortfalls([floor()], None, facts(pods=[runs]), AS_OF) == []


def quota(hard, used, **more):
    return QuotaFacts("shop", "compute", hard, used, **more)


@pytest.mark.parametrize(
    ("resource", "hard", "used", "held", "raised"),
    [
        ("pods", 20.0, 8.0, 12, "28"),
        ("count/pods", 20.0, 8.0, 12, "28"),
        ("requests.cpu", 20.0, 4.5, 15, "24.5"),
        ("cpu", 20.0, 4.5, 15, "24.5"),
        ("requests.memory", 20 * GIB, 8 * GIB, 6, "48Gi"),
        ("limits.cpu", 20.0, 8.0, 6, "48"),
        ("limits.memory", 20 * GIB, 8 * GIB, 3, "88Gi"),
    ],
)
def test_a_quota_is_said(resource, hard, used, held, raised):
    known = facts(
        pool=general(cpu_cores_limit=np.inf),
        pods=[pod(cpu_limit_cores=2.0, memory_limit_bytes=4 * GIB)],
        quotas=(quota({resource: hard, "configmaps": 1.0}, {resource: used}),),
    )
    got = only(shortfalls([floor()], None, known, AS_OF))
    assert got.what == "ResourceQuota prod/shop/compute"
    assert (got.at, got.wanted, got.held) == (PEAK, 20, held)
    assert got.reason.endswith(f"raise {resource} to {raised}")
    enough = replace(known, quotas=(quota({resource: hard * 10}, {resource: used}),))
    assert shortfalls([floor()], None, enough, AS_OF) == []


def test_a_quota_counts_only_what_its_scopes_select():
    def found(*scopes, cls="critical", cores=1.0):
        known = facts(
            pool=general(cpu_cores_limit=np.inf),
            pods=[pod(priority_class=cls, cores=cores, memory_bytes=cores * GIB)],
            quotas=(quota({"pods": 10.0}, {"pods": 5.0}, scopes=scopes),),
        )
        return len(shortfalls([floor()], None, known, AS_OF))

    assert found(QuotaScope("NotTerminating")) == 1
    assert found(QuotaScope("Terminating")) == 0
    assert found(QuotaScope("NotBestEffort")) == 1
    assert found(QuotaScope("BestEffort")) == 0
    assert found(QuotaScope("BestEffort"), cores=0.0) == 1
    assert found(QuotaScope("PriorityClass", "In", ("critical",))) == 1
    assert found(QuotaScope("PriorityClass", "NotIn", ("critical",))) == 0
    assert found(QuotaScope("PriorityClass", "Exists"), cls="") == 0


def test_a_quota_of_another_namespace_or_without_its_usage_says_nothing():
    other = replace(quota({"pods": 1.0}, {"pods": 1.0}), namespace="pay")
    unknown = quota({"pods": 1.0}, {})
    known = facts(pool=general(cpu_cores_limit=np.inf), pods=[pod()], quotas=(other, unknown))
    assert shortfalls([floor()], None, known, AS_OF) == []


def test_max_replicas_below_what_the_forecast_asks_for():
    state = pd.DataFrame(
        {"workload": ["prod/shop/Deployment/checkout"], "hpa_max": [24.0], "asked": [31.0]}
    )
    known = facts(pool=general(cpu_cores_limit=np.inf), pods=[pod()])
    got = only(shortfalls([floor()], state.assign(asked_at=PEAK), known, AS_OF))
    assert (got.what, got.wanted, got.held) == ("prod/shop/Deployment/checkout", 31, 24)
    assert "raise maxReplicas to 31" in got.reason
    assert shortfalls([floor()], state.assign(asked=24.0), known, AS_OF) == []


def budget(**bounds):
    return PdbFacts("shop", "checkout", Selector({"app": "checkout"}), **bounds)


@pytest.mark.parametrize(
    ("bounds", "blocks"),
    [
        ({"max_unavailable": 0}, True),
        ({"max_unavailable": "0%"}, True),
        ({"max_unavailable": "1%"}, False),  # rounded up: one pod
        ({"max_unavailable": 1}, False),
        ({"min_available": 4}, True),
        ({"min_available": 3}, False),
        ({"min_available": "100%"}, True),
        ({"min_available": "76%"}, True),  # 3.04 of 4, rounded up
        ({"min_available": "75%"}, False),
        ({}, False),
    ],
)
def test_a_budget_that_lets_no_pod_go_keeps_the_nodes(bounds, blocks):
    known = facts(pool=general(cpu_cores_limit=np.inf), pods=[pod()], pdbs=(budget(**bounds),))
    found = shortfalls([floor()], None, known, AS_OF)
    assert bool(found) == blocks
    for got in found:
        assert got.at == END
        assert got.what == "PodDisruptionBudget prod/shop/checkout"
        assert "not given back after 2026-06-08 11:00 UTC (in 5.3 h)" in got.reason


def test_a_budget_counts_all_pods_it_selects_and_two_of_them_block():
    wide = replace(budget(min_available=6), selector=Selector())
    known = facts(pool=general(cpu_cores_limit=np.inf), pods=[pod(), pod("cart", 4)], pdbs=(wide,))
    assert shortfalls([floor()], None, known, AS_OF) == []
    two = replace(known, pdbs=(wide, budget(max_unavailable=1)))
    assert len(shortfalls([floor()], None, two, AS_OF)) == 2
    nothing = replace(known, pdbs=(replace(budget(max_unavailable=0), selector=None),))
    assert shortfalls([floor()], None, nothing, AS_OF) == []


def test_what_is_not_known_is_not_said():
    assert shortfalls([floor()], None, ClusterFacts("prod"), AS_OF) == []
    blank = facts(pool=NodePoolFacts("general"), pods=[pod()])
    assert shortfalls([floor()], None, blank, AS_OF) == []
    # where its pods run is not known, and the sum over all pools has room
    roomy = facts(pool=general(cpu_cores_limit=200.0), pods=[pod(nodepool=None)])
    assert shortfalls([floor()], None, roomy, AS_OF) == []
    # how many stand now is not known
    assert shortfalls([floor(nodepool="general")], None, facts(), AS_OF) == []


def test_all_pools_together_bound_pods_that_may_run_anywhere():
    got = only(shortfalls([floor()], None, facts(pods=[pod(nodepool=None)]), AS_OF))
    assert got.what == "nodes of prod"
    assert got.reason.startswith(
        "limits.cpu 100 of all NodePools together, and what is free, allows 14 more pods"
    )


def test_samples_stand_in_where_no_cluster_is_connected():
    state = pd.DataFrame(
        {
            "workload": ["prod/shop/Deployment/checkout"],
            "replicas": [4.0],
            "request_cores": [1.0],
            "request_bytes": [2 * GIB],
            "hpa_max": [50.0],
        }
    )
    assert only(shortfalls([floor()], state, facts(), AS_OF)).held == 14


def test_other_clusters_and_floors_that_ended_are_left_out():
    elsewhere = replace(floor(), workload="stage/shop/Deployment/checkout")
    over = floor(start=AS_OF - pd.Timedelta("2h"), end=AS_OF)
    assert shortfalls([elsewhere, over], None, facts(pods=[pod()]), AS_OF) == []


def test_a_floor_that_stands_already_is_short_now():
    began = floor(start=AS_OF - pd.Timedelta("1h"))
    got = only(shortfalls([began], None, facts(pods=[pod()]), AS_OF))
    assert got.at == AS_OF
    assert "UTC (now)" in got.reason


odd = st.sampled_from([np.nan, np.inf, -1.0, 0.0, 1e-9, 3.0, 1e18])


@st.composite
def any_pool(draw):
    shape = NodeShape("", *(draw(odd) for _ in range(5)), nodes=1)
    return NodePoolFacts(
        "general",
        *(draw(odd) for _ in range(6)),
        static_replicas=draw(st.sampled_from([None, 0, 2])),
        shapes=(shape,) * draw(st.integers(0, 2)),
        rooms=(Room(draw(odd), draw(odd), draw(odd)),) * draw(st.integers(0, 2)),
        daemon_cpu_cores=draw(odd),
    )


@law
@given(pool=any_pool(), cores=odd, memory=odd, hard=odd, used=odd, now=st.integers(0, 3))
def test_whatever_the_facts_it_answers_in_pods_and_words(pool, cores, memory, hard, used, now):
    known = facts(
        pool=pool,
        pods=[pod(now=now, cores=cores, memory_bytes=memory)],
        quotas=(quota({"cpu": hard, "pods": hard, "memory": hard}, {"cpu": used, "pods": used}),),
        pdbs=(budget(min_available="many", max_unavailable=-1),),
    )
    for found in shortfalls([floor()], None, known, AS_OF):
        assert 0 <= found.held < found.wanted <= 24
        assert "raise" in found.reason or "start larger ones" in found.reason
