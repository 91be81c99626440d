"""Lead times: from the objects' own times, best source first, and never from a relapse."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.capacity_params import CapacityParams
from models.lead_times import lead_times, node_starts, start_times

BORN = pd.Timestamp("2026-06-08 08:00:00", tz="UTC")
W = "prod/shop/Deployment/web"


def at(seconds):
    return f"{BORN + pd.Timedelta(seconds, 's'):%Y-%m-%dT%H:%M:%SZ}"


def condition(kind, seconds, status="True"):
    return {"type": kind, "status": status, "lastTransitionTime": at(seconds)}


def pod(scheduled=1, ready=31, born=0, node="n1", owner="ReplicaSet", name="web-5d7f", **more):
    return {
        "metadata": {
            "namespace": "shop",
            "creationTimestamp": at(born),
            "labels": {"pod-template-hash": "5d7f"},
            "ownerReferences": [{"kind": owner, "name": name, "controller": True}],
        },
        "spec": {"nodeName": node},
        "status": {"conditions": [condition("PodScheduled", scheduled), condition("Ready", ready)]},
    } | more


def claim(done=90, born=0, node="n1", pool="default"):
    return {
        "metadata": {
            "creationTimestamp": at(born),
            "labels": {"karpenter.sh/nodepool": pool},
        },
        "status": {
            "nodeName": node,
            "conditions": [condition("Launched", 20), condition("Initialized", done)],
        },
    }


def test_a_pod_on_a_running_node_waited_for_none():
    starts = start_times([pod()], [claim(born=-9000, done=-8900)])
    row = starts[starts["workload"] == "shop/Deployment/web"].iloc[0]
    assert row[["wait_s", "ready_s", "whole_s", "waited"]].tolist() == [1, 30, 31, False]
    node = starts[starts["workload"] == "_cluster/NodePool/default"].iloc[0]
    assert node["whole_s"] == 100


def test_a_pod_whose_node_was_claimed_after_it_waited_for_it():
    starts = start_times([pod(scheduled=95, ready=140)], [claim(born=2, done=92)])
    assert starts.set_index("workload").loc["shop/Deployment/web", "waited"]
    assert starts.set_index("workload").loc["shop/Deployment/web", "whole_s"] == 140


def test_without_claims_a_long_wait_for_a_node_is_one():
    starts = start_times([pod(scheduled=60, ready=80), pod(scheduled=2, ready=20)])
    assert starts["waited"].tolist() == [True, False]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"metadata": None, "status": []},
        pod(metadata={}),
        pod(status={"conditions": [condition("Ready", 5, "False")]}),
        pod(status={"conditions": "nonsense"}),
        pod(owner="Job"),
        pod(ready=2000),
        pod(scheduled=50, ready=10),
        pod(status={"conditions": [{"type": "Ready", "status": "True"}, "x", None]}),
    ],
)
def test_what_is_no_start_is_left_out(broken):
    assert start_times([broken], [broken]).empty


def test_whose_pod_it_is():
    given_pods = [
        pod(),
        pod(owner="StatefulSet", name="db"),
        pod(owner="ReplicaSet", name="alone"),
    ]
    assert start_times(given_pods)["workload"].tolist() == [
        "shop/Deployment/web",
        "shop/StatefulSet/db",
        "shop/ReplicaSet/alone",
    ]


def of_cluster(pods, claims=()):
    starts = start_times(pods, claims)
    return starts.assign(workload="prod/" + starts["workload"])


def test_the_best_source_that_is_there_counts():
    nothing = np.full((1, 3), np.nan)
    waited = [pod(scheduled=100 + s, ready=150 + s) for s in range(20)]
    claims = [claim(done=60 + i, node=f"x{i}") for i in range(20)]
    cold = of_cluster([*waited, pod()], claims)
    warm = of_cluster([pod(ready=31)], claims)
    assert lead_times([W], nothing, starts=cold)[0].tolist() == [169]
    assert lead_times([W], nothing, starts=warm)[0].tolist() == [79 + 30]
    measured = np.array([[20.0, np.nan, 40.0]])
    assert lead_times([W], measured, node_start_s={"prod": 70.0})[0].tolist() == [110]
    assert lead_times([W], measured, node_start_s={"other": 70.0})[0].tolist() == [40]
    assert lead_times([W], nothing, node_start_s={"prod": 70.0})[0].tolist() == [300]
    sources = [
        lead_times([W], nothing, starts=cold)[1],
        lead_times([W], nothing, starts=warm)[1],
        lead_times([W], measured)[1],
        lead_times([W], nothing)[1],
    ]
    assert sources == [
        ["p95 of its pods' starts that waited for a node"],
        ["p95 of node launches and p95 of its pods' starts"],
        ["p95 of its pods' starts, none was seen to wait for a node"],
        ["default"],
    ]


@settings(deadline=None, max_examples=40)
@given(
    starts=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30),
    node=st.floats(0, 1800),
)
def test_every_workload_has_a_lead_time_and_a_source(starts, node):
    params = CapacityParams(lead_time_s=123)
    found, source = lead_times([W], np.array([starts]), node_start_s={"prod": node}, params=params)
    real = [s for s in starts if np.isfinite(s) and s > 0]
    if real:
        assert min(real) + node <= found[0] <= max(real) + node
    else:
        assert (found[0], source) == (123, ["default"])


def test_no_workload_has_no_lead_time():
    assert lead_times([], np.empty((0, 4)))[0].shape == (0,)


def test_node_launches_by_cluster_without_what_cannot_be_one():
    samples = pd.DataFrame(
        {
            "workload": ["a/_cluster/Cluster/all"] * 4 + ["b/_cluster/Cluster/all"] * 2,
            "value": [50, 60, np.nan, 9000, 0, -1],
        }
    )
    assert node_starts(samples) == {"a": 60.0}
    assert node_starts(samples[:0]) == {}
