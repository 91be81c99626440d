"""What a real cluster's controllers do when a floor moves; skipped where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kube_objects import deployment, write

from pipelines.adapters.kube import (
    DEPLOYMENT,
    HPA,
    NODE_POOL,
    POD,
    PRIORITY_CLASS,
    SCALED_OBJECT,
    Kube,
)

Make = Callable[..., dict[str, Any]]
Until = Callable[..., Any]

SYNC_S = 45.0
"""Three sync periods of the HPA controller."""
NODE_S = 300.0


@pytest.mark.usefixtures("real")
def test_replicas_jump_to_a_raised_floor_without_metrics(
    kube: Kube, namespace: str, make_deployment: Make, make_hpa: Make, until: Until
) -> None:
    make_deployment("web", 2)
    made = make_hpa("web", 2, 20)
    write(kube, HPA, made, {"minReplicas": 8})

    def jumped() -> bool:
        return kube.get(DEPLOYMENT, "web", namespace)["spec"]["replicas"] == 8

    until(jumped, SYNC_S)


@pytest.mark.usefixtures("real")
def test_a_target_at_zero_stays_there(
    kube: Kube, namespace: str, make_deployment: Make, make_hpa: Make, until: Until
) -> None:
    make_deployment("web", 0)
    made = make_hpa("web", 2, 20)
    write(kube, HPA, made, {"minReplicas": 8})

    def disabled() -> bool:
        conditions = kube.get(HPA, "web", namespace).get("status", {}).get("conditions") or []
        return any(c.get("reason") == "ScalingDisabled" for c in conditions)

    until(disabled, SYNC_S)
    assert kube.get(DEPLOYMENT, "web", namespace)["spec"]["replicas"] == 0


@pytest.mark.usefixtures("real")
def test_real_pods_push_placeholders_out(
    kube: Kube, namespace: str, make_deployment: Make, until: Until
) -> None:
    if not kube.serves(NODE_POOL) or not list(kube.list(NODE_POOL)):
        pytest.skip("no NodePool: nothing starts nodes here")
    classed = kube.create(
        PRIORITY_CLASS,
        {
            "metadata": {"name": f"{namespace}-low"},
            "value": -10,
            "preemptionPolicy": "Never",
            "globalDefault": False,
        },
    )
    try:
        low = classed["metadata"]["name"]
        kube.create(DEPLOYMENT, deployment("room", namespace, 3, cpu="3", priority=low))

        def running(app: str, count: int) -> bool:
            pods = list(kube.list(POD, namespace, f"app={app}"))
            return sum(bool(p["spec"].get("nodeName")) for p in pods) >= count

        until(lambda: running("room", 3), NODE_S)
        make_deployment("web", 3, cpu="3")
        until(lambda: running("web", 3), 30.0)
    finally:
        kube.delete(PRIORITY_CLASS, f"{namespace}-low", "", classed["metadata"]["uid"])


def test_the_fake_servers_controllers_jump_and_hold_at_zero(
    fake: Any, kube: Kube, namespace: str, make_deployment: Make, make_hpa: Make
) -> None:
    make_deployment("web", 2)
    made = make_hpa("web", 2, 20)
    write(kube, HPA, made, {"minReplicas": 8})
    fake.advance()
    assert kube.get(DEPLOYMENT, "web", namespace)["spec"]["replicas"] == 8
    make_deployment("off", 0)
    make_hpa("off", 5, 20)
    fake.advance()
    assert kube.get(DEPLOYMENT, "off", namespace)["spec"]["replicas"] == 0


def test_the_fake_keda_owns_its_hpa_and_reverts_a_patch(
    fake: Any, kube: Kube, namespace: str, make_deployment: Make, make_scaled_object: Make
) -> None:
    make_deployment("web", 1)
    made = make_scaled_object("web", 2, 10)
    fake.advance()
    kube.merge(HPA, "keda-hpa-web", {"spec": {"minReplicas": 7}}, namespace)
    fake.advance()
    owned = kube.get(HPA, "keda-hpa-web", namespace)
    assert owned["spec"]["minReplicas"] == 2
    assert owned["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    pause = {"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}}
    fake.patch(SCALED_OBJECT, "web", pause, namespace)
    fake.advance()
    assert not list(kube.list(HPA, namespace))
