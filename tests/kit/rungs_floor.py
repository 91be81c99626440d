"""What tests of floors share: a workload on either rung, raised, and the writes counted."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from kube_server import KubeServer

from pipelines.adapters.kube import HPA, SCALED_OBJECT
from pipelines.rungs import Written, raise_floor

__all__ = ["FIELDS", "KINDS", "RUNGS", "UNTIL", "place", "raised", "writes"]

UNTIL = pd.Timestamp("2026-03-02T08:00Z")
RUNGS = pytest.mark.parametrize("rung", ["hpa", "keda"])
KINDS = {"hpa": HPA, "keda": SCALED_OBJECT}
FIELDS = {"hpa": "minReplicas", "keda": "minReplicaCount"}
WRITES = ("PATCH", "PUT", "POST", "DELETE")


def place(shop: Any, rung: str, least: int | None = 2) -> None:
    (shop.hpa if rung == "hpa" else shop.keda)(least)


def raised(shop: Any, floor: int = 8, **more: Any) -> Written:
    more = {"until": UNTIL, "plan_id": "p1", "force_owners": ("gitops",)} | more
    return raise_floor(shop.kube, shop.holder(), floor, **more)


def writes(server: KubeServer) -> int:
    return sum(a.method in WRITES for a in server.asked)
