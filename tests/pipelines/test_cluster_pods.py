"""What a pod asks for, and whose it is, as its object says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cluster_pods import amount, amounts, owner

GIB = 2.0**30


def test_a_pod_asks_for_what_runs_together_or_for_the_start_whichever_is_more():
    def asks(apps, inits=(), **more):
        def container(cpu):
            sidecar = isinstance(cpu, tuple)
            each = {"resources": {"requests": {"cpu": cpu[0] if sidecar else cpu}}}
            return each | ({"restartPolicy": "Always"} if sidecar else {})

        return amounts(
            {"containers": [container(c) for c in apps]}
            | {"initContainers": [container(c) for c in inits]}
            | more
        ).cpu_cores

    assert asks(["1", "500m"]) == 1.5
    assert asks(["1"], ["3"]) == 3
    assert asks(["1"], ["3", "2"]) == 3  # one after the other
    assert asks(["1"], [("1",)]) == 2  # a sidecar runs beside
    assert asks(["1"], [("1",), "3"]) == 4  # it runs when the next one starts
    assert asks(["1"], ["3", ("1",)]) == 3  # and did not yet when the first did
    assert asks(["1"], overhead={"cpu": "250m"}) == 1.25
    assert asks(["1"], resources={"requests": {"cpu": "5"}}) == 5  # of the pod itself
    assert asks([]) == 0
    limited = {"containers": [{"resources": {"limits": {"cpu": "2"}}}]}
    assert (amounts(limited).cpu_cores, amounts(limited).cpu_limit_cores) == (2, 2)


@settings(deadline=None)
@given(
    value=st.one_of(
        st.text(), st.none(), st.integers(), st.floats(), st.booleans(), st.lists(st.none())
    )
)
def test_any_quantity_gives_a_number_or_nan(value):
    assert not np.isinf(amount(value))


@pytest.mark.parametrize(
    ("text", "number"),
    [("100m", 0.1), ("2", 2), (3, 3), ("1Gi", GIB), ("1500M", 1.5e9), ("1e3", 1000), ("5n", 5e-9)],
)
def test_quantities(text, number):
    assert amount(text) == pytest.approx(number)


def test_whose_a_pod_is():
    def of(kind, name, **labels):
        refs = [{"kind": kind, "name": name, "controller": True}]
        meta = {"namespace": "shop", "labels": labels, "ownerReferences": refs}
        return owner("prod", {"metadata": meta})

    hashed = {"pod-template-hash": "5d8f6c"}
    assert of("ReplicaSet", "web-5d8f6c", **hashed) == "prod/shop/Deployment/web"
    assert of("ReplicaSet", "web-5d8f6c") == "prod/shop/ReplicaSet/web-5d8f6c"
    assert of("StatefulSet", "db") == "prod/shop/StatefulSet/db"
    rollout = {"rollouts-pod-template-hash": "77"}
    assert of("ReplicaSet", "web-77", **rollout) == "prod/shop/Rollout/web"
    assert of("Node", "ip-10") is None
    assert owner("prod", {"metadata": {"name": "bare"}}) is None
