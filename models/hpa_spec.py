"""What a Horizontal Pod Autoscaler asks for: its bounds, its metrics, how fast it may move.

Source: Kubernetes API reference, HorizontalPodAutoscaler v2. Where a manifest leaves a field out,
the API server's own default stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["HpaMetric", "HpaSpec", "ScalingPolicy", "ScalingRules"]

MetricSource = Literal["resource", "container_resource", "pods", "object", "external"]
TargetType = Literal["utilization", "average_value", "value"]


@dataclass(frozen=True, slots=True)
class HpaMetric:
    """One metric and its target.

    ``target`` is a ratio of the request for ``utilization`` (0.7 for 70 %), else a plain number in
    the metric's unit: of one pod for ``average_value``, of the whole for ``value``.
    """

    source: MetricSource
    name: str
    target_type: TargetType
    target: float
    container: str = ""


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """At most ``value`` pods, or percent of the pods there, in ``period_s``."""

    kind: Literal["pods", "percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of an HPA's behavior."""

    stabilisation_s: int
    policies: tuple[ScalingPolicy, ...]
    select: Literal["max", "min", "disabled"] = "max"
    tolerance: float = 0.1


UP = ScalingRules(0, (ScalingPolicy("percent", 100, 15), ScalingPolicy("pods", 4, 15)))
DOWN = ScalingRules(300, (ScalingPolicy("percent", 100, 15),))


@dataclass(frozen=True, slots=True)
class HpaSpec:
    """An HPA by its object's name; ``min_replicas`` unset in the manifest is 1."""

    name: str
    min_replicas: int
    max_replicas: int
    metrics: tuple[HpaMetric, ...]
    up: ScalingRules = UP
    down: ScalingRules = DOWN
