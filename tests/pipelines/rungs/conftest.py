"""A fake API server, a client of it, and the objects that a shop has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kube_objects import deployment, hpa, scaled_object
from kube_server import KubeServer, serve_kube

from models.holders import Holder
from pipelines.adapters.kube import DEPLOYMENT, HPA, KINDS, SCALED_OBJECT, Kube
from pipelines.rungs import read_holders
from pipelines.rungs.installed import room_objects


@pytest.fixture
def server() -> Iterator[KubeServer]:
    with serve_kube(namespaces=("shop", "foretide")) as server:
        yield server


@pytest.fixture
def kube(server: KubeServer, tmp_path: Any) -> Iterator[Kube]:
    with server.kube(tmp_path) as kube:
        yield kube


class Shop:
    """Puts what users put there, and reads it again."""

    def __init__(self, server: KubeServer, kube: Kube) -> None:
        self.server, self.kube = server, kube

    def hpa(self, least: int | None = 2, most: int = 20, replicas: int = 2, **meta: Any) -> None:
        self.server.put(DEPLOYMENT, deployment("web", "shop", replicas), "kubectl")
        body = hpa("web", "shop", least, most)
        body["metadata"] |= meta
        self.server.put(HPA, body)

    def keda(self, least: int | None = 2, most: int = 20, replicas: int = 2, **meta: Any) -> None:
        self.server.put(DEPLOYMENT, deployment("web", "shop", replicas), "kubectl")
        body = scaled_object("web", "shop", least, most)
        body["metadata"] |= meta
        self.server.put(SCALED_OBJECT, body)

    def floor(self, rung: str = "hpa") -> int | None:
        return self.read(rung)["spec"].get("minReplicas" if rung == "hpa" else "minReplicaCount")

    def read(self, rung: str = "hpa") -> dict[str, Any]:
        return self.server.read(HPA if rung == "hpa" else SCALED_OBJECT, "web", "shop")

    def notes(self, rung: str = "hpa") -> dict[str, str]:
        return self.read(rung)["metadata"].get("annotations") or {}

    def holder(self) -> Holder:
        (holder,) = read_holders(self.kube, "prod")
        return holder


@pytest.fixture
def shop(server: KubeServer, kube: Kube) -> Shop:
    return Shop(server, kube)


@pytest.fixture
def installed(server: KubeServer) -> None:
    kinds = {kind.kind: kind for kind in KINDS}
    for obj in [*room_objects(), *room_objects(buffer=True)]:
        server.put(kinds[obj["kind"]], obj, "kubectl")
