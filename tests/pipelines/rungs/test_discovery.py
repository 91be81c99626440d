"""Which rungs a cluster has, and why not."""

from __future__ import annotations

from typing import Any

import pytest
from kube_objects import node_pool
from kube_server import KubeServer, Rule

from pipelines.adapters.kube import (
    NODE_POOL,
    PRIORITY_CLASS,
    Kube,
)
from pipelines.rungs import (
    RungParams,
    choose_room,
    ladder,
)

NAME = "foretide-placeholder"
STATIC = RungParams(room="static_nodepool", static_nodepool="warm")


def static(server: KubeServer) -> None:
    server.put(NODE_POOL, node_pool("warm", replicas=1, limits={"nodes": "5"}))


@pytest.mark.usefixtures("installed")
def test_every_rung_says_why_it_cannot_be_stood_on(
    server: KubeServer, kube: Kube, tmp_path: Any
) -> None:
    full = ladder(kube, STATIC)
    assert {s.rung for s in full.rungs if s.possible} == {
        "hpa", "keda", "placeholders", "buffer", "budgets", "gitops", "metric",
    }  # fmt: skip
    assert "no NodePool is static" in full.of("static_nodepool").reasons[0]
    static(server)
    assert ladder(kube, STATIC).of("static_nodepool").possible
    server.users["viewer"] = (Rule(("get", "list")),)
    with server.kube(tmp_path, "viewer") as viewer:
        states = ladder(viewer, STATIC)
        assert [s.rung for s in states.rungs if s.possible] == ["gitops", "metric"]
        assert "we may not patch" in states.of("hpa").reasons[0]
        assert choose_room(states, STATIC).rung is None
    server.without = frozenset({"keda.sh", "autoscaling.x-k8s.io"})
    with server.kube(tmp_path) as bare:
        assert "does not serve" in ladder(bare).of("keda").reasons[0]
        assert "does not serve" in ladder(bare).of("buffer").reasons[0]
    server.remove(PRIORITY_CLASS, NAME)
    assert not ladder(kube).of("placeholders").possible
