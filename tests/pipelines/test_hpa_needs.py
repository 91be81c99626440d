"""What an HPA's metrics ask for, from its own status."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipelines.hpa_needs import needed_replicas


def resource(target: int | None, now: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted = {"type": "Utilization", "averageUtilization": target}
    return (
        {"type": "Resource", "resource": {"name": "cpu", "target": wanted}},
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}},
    )


def pods(target: str, now: str) -> tuple[dict[str, Any], dict[str, Any]]:
    name = {"name": "requests"}
    wanted = {"type": "AverageValue", "averageValue": target}
    return (
        {"type": "Pods", "pods": {"metric": name, "target": wanted}},
        {"type": "Pods", "pods": {"metric": name, "current": {"averageValue": now}}},
    )


def hpa(replicas: int, *metrics: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    status = {"currentReplicas": replicas, "currentMetrics": [now for _, now in metrics]}
    return {"spec": {"metrics": [wanted for wanted, _ in metrics]}, "status": status}


@pytest.mark.parametrize(
    ("metrics", "needed"),
    [
        ([resource(70, 140)], 8),
        ([resource(70, 35)], 2),
        ([resource(70, 75)], 4),  # within the tolerance
        ([resource(70, 35), pods("100", "250")], 10),
        ([pods("500m", "1")], 8),
        ([resource(70, 0)], 0),
    ],
)
def test_the_largest_ratio_counts(metrics: list[Any], needed: int) -> None:
    assert needed_replicas(hpa(4, *metrics)) == needed


@pytest.mark.parametrize(
    "given",
    [
        {},
        hpa(4),
        hpa(4, resource(70, None)),
        hpa(4, resource(None, 70)),
        hpa(4, pods("100", "much")),
        hpa(4, resource(70, 35)) | {"status": {"currentReplicas": 4, "currentMetrics": None}},
        {"spec": {"metrics": "none"}, "status": []},
    ],
)
def test_what_was_not_seen_is_not_known(given: dict[str, Any]) -> None:
    assert math.isnan(needed_replicas(given))
