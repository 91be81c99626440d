"""What a cluster can hold, where only its samples are known."""

from math import isnan

import numpy as np
import pandas as pd

from features.panel import Panel
from models.actions import Floor
from models.headroom import shortfalls
from pipelines.cluster_facts import facts_of_panel

GIB = 2.0**30
AS_OF = pd.Timestamp("2026-06-08", tz="UTC")
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


def panel(**nodes):
    """Two steps; the second is the newest."""
    rows = [
        ("prod/_cluster/" + name.replace("_", "/", 1), metric, [value * 9, value])
        for name, metrics in nodes.items()
        for metric, value in metrics.items()
    ]
    keys = pd.DataFrame([r[:2] for r in rows], columns=["workload", "metric"], dtype="str")
    start = pd.Timestamp("2026-06-08", tz="UTC")
    return Panel(keys, start, pd.Timedelta("5min"), np.array([r[2] for r in rows], dtype=float))


GENERAL = {
    "nodes": 4.0,
    "allocatable_cpu_cores": 30.0,
    "allocatable_memory_bytes": 120 * GIB,
    "requested_cpu_cores": 20.0,
    "requested_memory_bytes": 60 * GIB,
    "nodepool_used_cpu_cores": 32.0,
    "nodepool_limit_cpu_cores": 64.0,
}
WHOLE = {k: v for k, v in GENERAL.items() if not k.startswith("nodepool")}


def test_samples_tell_limits_and_free_room_where_no_cluster_is_connected():
    facts = facts_of_panel(panel(NodePool_general=GENERAL, Cluster_all=WHOLE | {"nodes": 5.0}))
    (pool,) = facts.nodepools
    assert (facts.cluster, pool.name) == ("prod", "general")
    assert (pool.cpu_cores_limit, pool.used_cpu_cores, pool.used_nodes) == (64, 32, 4)
    assert isnan(pool.memory_bytes_limit)
    assert pool.shapes[0].cpu_cores == 7.5
    assert pool.shapes[0].capacity_cpu_cores == 8
    assert [r.cpu_cores for r in pool.rooms] == [10]
    assert facts.everywhere.cpu_cores_limit == 64
    assert "no cluster is connected" in facts.problems[0]
    state = pd.DataFrame(
        {"workload": [FLOOR.workload], "replicas": [1.0], "request_cores": [1.0]}
        | {"request_bytes": [GIB], "hpa_max": [2000.0]}
    )
    (short,) = shortfalls([FLOOR], state, facts, AS_OF)
    assert (short.what, short.held) == ("nodes of prod", 10 + 4 * 7)


def test_samples_without_nodes_or_of_several_clusters_say_so():
    bare = panel(Deployment_x={"cpu_usage_cores": 1.0})
    assert facts_of_panel(bare).problems[1] == "the samples know no NodePool"
    assert facts_of_panel(bare).everywhere is None
    two = panel(NodePool_general=GENERAL)
    two.keys.loc[0, "workload"] = "stage/_cluster/NodePool/general"
    assert facts_of_panel(two).nodepools == ()
    assert facts_of_panel(two, "prod").nodepools[0].name == "general"
