"""A cluster for each test: always the fake one; a real one too where a kubeconfig is named.

``FORETIDE_TEST_KUBECONFIG`` names it. Every test gets a namespace of its own there, which is
deleted afterwards with all that the fixtures made outside of it. Nothing else is touched.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pandas as pd
import pytest
from kube_objects import acting_as, deployment, hpa, node_pool, scaled_object
from kube_server import KubeServer, serve_kube

from pipelines.adapters.kube import (
    DEPLOYMENT,
    HPA,
    NAMESPACE,
    NODE_POOL,
    SCALED_OBJECT,
    Kind,
    Kube,
    connect,
)
from pipelines.errors import ClusterForbidden, ClusterUnreachable, ObjectMissing

_VARIABLE = "FORETIDE_TEST_KUBECONFIG"
_WHERE = ["fake", *(["real"] if os.environ.get(_VARIABLE) else [])]

Object = dict[str, Any]
Make = Callable[..., Object]


@pytest.fixture(params=_WHERE)
def where(request: pytest.FixtureRequest) -> str:
    """``fake`` or ``real``."""
    return request.param


@pytest.fixture
def server(where: str) -> Iterator[KubeServer | None]:
    """The fake API server; None on a real cluster."""
    if where == "real":
        yield None
        return
    with serve_kube() as server:
        yield server


@pytest.fixture
def fake(server: KubeServer | None) -> KubeServer:
    """The fake API server, for tests that make it fail or act for other parties."""
    if server is None:
        pytest.skip("a real cluster does not fail on request")
    return server


@pytest.fixture
def real(where: str) -> None:
    """For tests of controllers that the fake server does not run."""
    if where == "fake":
        pytest.skip(f"needs a real cluster's controllers; name one by {_VARIABLE}")


@pytest.fixture
def kube(server: KubeServer | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A client that may do everything."""
    if server is None:
        with connect("kubeconfig", os.environ[_VARIABLE], "", 30.0) as kube:
            yield kube
        return
    with server.kube(tmp_path_factory.mktemp("kube")) as kube:
        yield kube


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A new one."""
    name = f"foretide-test-{uuid.uuid4().hex[:8]}"
    made = kube.create(NAMESPACE, {"metadata": {"name": name}})
    yield name
    kube.delete(NAMESPACE, name, "", made["metadata"]["uid"])


@pytest.fixture
def now(kube: Kube, namespace: str) -> pd.Timestamp:
    """The server's time, when the test began."""
    made = kube.get(NAMESPACE, namespace)["metadata"]["creationTimestamp"]
    return pd.Timestamp(made).tz_convert("UTC")


@pytest.fixture
def make_hpa(kube: Kube, namespace: str) -> Make:
    """``make_hpa(name, min, max, manager="gitops", target=name)`` -> the object."""

    def make(
        name: str, least: int | None, most: int, manager: str = "gitops", *, target: str = ""
    ) -> Object:
        body = hpa(name, namespace, least, most, target=target)
        return acting_as(kube, manager).apply(HPA, body, create=True)

    return make


@pytest.fixture
def make_scaled_object(kube: Kube, namespace: str) -> Make:
    """``make_scaled_object(name, min, max, manager="gitops")``; skips without KEDA."""
    _need(kube, SCALED_OBJECT)

    def make(name: str, least: int | None, most: int, manager: str = "gitops") -> Object:
        body = scaled_object(name, namespace, least, most)
        return acting_as(kube, manager).apply(SCALED_OBJECT, body, create=True)

    return make


@pytest.fixture
def make_deployment(kube: Kube, namespace: str) -> Make:
    """``make_deployment(name, replicas, manager="gitops", cpu="100m")``."""

    def make(name: str, replicas: int, manager: str = "gitops", *, cpu: str = "100m") -> Object:
        body = deployment(name, namespace, replicas, cpu=cpu)
        return acting_as(kube, manager).apply(DEPLOYMENT, body, create=True)

    return make


@pytest.fixture
def make_nodepool(kube: Kube, namespace: str) -> Iterator[Make]:
    """``make_nodepool(name, replicas=None, limits=None, budgets=None, manager="gitops")``.

    Its real name begins with the namespace's; it is deleted afterwards. Skips without Karpenter.
    """
    _need(kube, NODE_POOL)
    with ExitStack() as made:

        def make(name: str, manager: str = "gitops", **spec: Any) -> Object:
            body = node_pool(f"{namespace}-{name}", **spec)
            pool = acting_as(kube, manager).apply(NODE_POOL, body, create=True)
            made.callback(_delete, kube, NODE_POOL, pool)
            return pool

        yield make


@pytest.fixture
def until() -> Callable[..., Any]:
    """``until(check, timeout_s=60)``: what ``check`` gives as soon as it is true."""

    def wait(check: Callable[[], Any], timeout_s: float = 60.0, pause_s: float = 0.5) -> Any:
        end = time.monotonic() + timeout_s
        while True:
            got = check()
            if got:
                return got
            if time.monotonic() > end:
                pytest.fail(f"{check.__name__}: not within {timeout_s:g} s")
            time.sleep(pause_s)

    return wait


def _need(kube: Kube, kind: Kind) -> None:
    if not kube.serves(kind):
        pytest.skip(f"the cluster does not serve {kind.api_version} {kind.kind}")


def _delete(kube: Kube, kind: Kind, obj: Object) -> None:
    meta = obj["metadata"]
    try:
        kube.delete(kind, meta["name"], meta.get("namespace", ""), meta["uid"])
    except (ObjectMissing, ClusterForbidden, ClusterUnreachable):
        return
