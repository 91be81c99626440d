"""KEDA's triggers as an HPA's metrics.

Source: KEDA documentation, scalers. KEDA makes a Resource metric of ``cpu`` and ``memory``, and an
External one of everything else, with the trigger's own threshold as its target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from models.hpa_quantity import quantity
from models.hpa_spec import HpaMetric, TargetType

__all__ = ["trigger_metrics"]

_TYPES: Mapping[str, TargetType] = {
    "Utilization": "utilization",
    "AverageValue": "average_value",
    "Value": "value",
}
_THRESHOLDS: Mapping[str, tuple[str, float | None]] = {
    "prometheus": ("threshold", None),
    "kafka": ("lagThreshold", 10),
    "apache-kafka": ("lagThreshold", 10),
    "rabbitmq": ("value", 20),
    "aws-sqs-queue": ("queueLength", 5),
    "aws-cloudwatch": ("targetMetricValue", None),
    "aws-kinesis-stream": ("shardCount", 2),
    "datadog": ("queryValue", None),
    "redis": ("listLength", 5),
    "redis-streams": ("pendingEntriesCount", 5),
    "postgresql": ("targetQueryValue", None),
    "mysql": ("queryValue", None),
    "metrics-api": ("targetValue", None),
    "graphite": ("threshold", None),
    "loki": ("threshold", None),
    "gcp-pubsub": ("value", 10),
    "azure-servicebus": ("messageCount", 5),
    "azure-queue": ("queueLength", 5),
    "nats-jetstream": ("lagThreshold", None),
}
"""Which key of a trigger's metadata is its target, and KEDA's default."""


def trigger_metrics(triggers: Sequence[Mapping[str, Any]]) -> tuple[HpaMetric, ...]:
    """The metrics of a ScaledObject's triggers; a metric is called as its trigger's ``name``, else
    as its ``metricName``, else as its type.

    Raises
    ------
    ValueError
        A trigger is of a type that is not known, or has no target.
    """
    found = tuple(_metric(t) for t in triggers if t.get("type") != "cron")
    if not found:
        raise ValueError("no trigger that measures anything")
    return found


def _metric(trigger: Mapping[str, Any]) -> HpaMetric:
    kind, given = str(trigger.get("type")), trigger.get("metadata")
    told = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    if kind in ("cpu", "memory"):
        type_ = str(trigger.get("metricType") or told.get("type") or "Utilization")
        target = _target(told.get("value"), f"trigger {kind}: value")
        container = str(told.get("containerName") or "")
        source = "container_resource" if container else "resource"
        share = target / 100 if type_ == "Utilization" else target
        return HpaMetric(source, kind, _type(type_, kind), share, container)
    if kind not in _THRESHOLDS:
        raise ValueError(f"trigger of type {kind!r} is not known")
    key, usual = _THRESHOLDS[kind]
    value = told.get(key, usual)
    name = str(trigger.get("name") or told.get("metricName") or kind)
    type_ = _type(str(trigger.get("metricType") or "AverageValue"), kind)
    if type_ == "utilization":
        raise ValueError(f"trigger {kind}: metricType Utilization is for cpu and memory only")
    return HpaMetric("external", name, type_, _target(value, f"trigger {kind}: {key}"))


def _type(text: str, kind: str) -> TargetType:
    if text not in _TYPES:
        raise ValueError(f"trigger {kind}: metricType {text!r} is not known")
    return _TYPES[text]


def _target(value: Any, what: str) -> float:
    number = quantity(value) if isinstance(value, str | int | float) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{what}: expected more than 0, got {value!r}")
    return number
