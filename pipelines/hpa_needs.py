"""How many replicas an HPA's metrics ask for, whatever its floor: from its own status.

``status.desiredReplicas`` does not say it: where the floor holds, it is the floor. So what the
controller computes is computed again from the values that it saw.

Source: Kubernetes documentation, "Horizontal Pod Autoscaling, Algorithm details".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from models.hpa_quantity import quantity
from pipelines.rungs.reading import dig, items, mapping, text, whole

__all__ = ["needed_replicas"]

_TOLERANCE = 0.1
_KEYS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
_VALUES = ("averageUtilization", "averageValue", "value")


def needed_replicas(hpa: Mapping[str, Any]) -> float:
    """The most that any metric asks for; NaN where one of them was not seen.

    Pods that are not ready yet count as the others do: that is never too few.
    """
    replicas = whole(hpa, "status", "currentReplicas")
    wanted = items(hpa, "spec", "metrics")
    if replicas is None or not wanted:
        return math.nan
    seen = {_name(m): m for m in items(hpa, "status", "currentMetrics")}
    ratios = [_ratio(m, seen.get(_name(m))) for m in wanted]
    if not all(math.isfinite(r) for r in ratios):
        return math.nan
    most = max(ratios)
    return float(replicas if abs(most - 1) <= _TOLERANCE else math.ceil(most * replicas - 1e-9))


def _name(metric: Any) -> tuple[str, ...]:
    kind = text(metric, "type")
    body = mapping(metric, _KEYS.get(kind, ""))
    name = text(body, "name") or text(body, "metric", "name")
    of = mapping(body, "describedObject")
    return kind, name, text(body, "container"), text(of, "kind"), text(of, "name")


def _ratio(metric: Any, seen: Any) -> float:
    """What was seen over what is aimed at; NaN where either is not known."""
    key = _KEYS.get(text(metric, "type"), "")
    target, current = mapping(metric, key, "target"), mapping(seen, key, "current")
    for value in _VALUES:
        aim, now = _number(dig(target, value)), _number(dig(current, value))
        if aim > 0:
            return now / aim
    return math.nan


def _number(value: Any) -> float:
    try:
        return quantity(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return math.nan
