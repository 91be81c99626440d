"""Autoscalers as manifests say them: HorizontalPodAutoscalers, and KEDA's ScaledObjects.

Sources: Kubernetes API reference, HorizontalPodAutoscaler v2, with the API server's own defaults;
KEDA, ScaledObject specification. What a manifest holds is data of others: whatever is wrong in it
is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from models.hpa_behavior import behavior_of
from models.hpa_quantity import quantity
from models.hpa_spec import DOWN, UP, HpaMetric, HpaSpec, MetricSource, TargetType
from models.keda_triggers import trigger_metrics

__all__ = ["Autoscalers", "autoscalers", "hpa_spec", "quantity", "scaled_object_spec", "target_of"]

_MOST = 2**31 - 1
"""The API's own type is int32."""
_SOURCES: Mapping[str, tuple[str, MetricSource]] = {
    "Resource": ("resource", "resource"),
    "ContainerResource": ("containerResource", "container_resource"),
    "Pods": ("pods", "pods"),
    "Object": ("object", "object"),
    "External": ("external", "external"),
}
_TARGETS: Mapping[str, tuple[str, TargetType]] = {
    "Utilization": ("averageUtilization", "utilization"),
    "AverageValue": ("averageValue", "average_value"),
    "Value": ("value", "value"),
}
_DEFAULT_CPU = HpaMetric("resource", "cpu", "utilization", 0.8)
"""What the API server fills in where no metric is named."""
_OURS = "foretide.dev/original-floor"


@dataclass(frozen=True, slots=True)
class Autoscalers:
    """What was understood of many manifests, by ``namespace/kind/name`` of the scale target.

    Attributes
    ----------
    specs : the understood ones
    refused : target, or the object's own name where it has no target → why
    """

    specs: Mapping[str, HpaSpec]
    refused: Mapping[str, str]


def autoscalers(manifests: Iterable[Any]) -> Autoscalers:
    """All autoscalers of what ``kubectl get hpa,scaledobject -A -o yaml`` prints: documents, or
    Lists of them; other kinds are passed over.

    A ScaledObject stands for the HPA that it owns. A target with two autoscalers is refused: the
    HPA controller itself stops there.
    """
    specs: dict[str, HpaSpec] = {}
    refused: dict[str, str] = {}
    for manifest in _each(manifests):
        kind, name = str(manifest.get("kind")), _name(manifest)
        if kind not in ("HorizontalPodAutoscaler", "ScaledObject") or _is_kedas(manifest):
            continue
        key = f"{kind} {name}"
        try:
            key = "/".join(target_of(manifest))
            read = hpa_spec if kind == "HorizontalPodAutoscaler" else scaled_object_spec
            spec = read(manifest)
        except ValueError as error:
            refused[key] = str(error)
            continue
        if key in specs:
            refused[key] = f"two autoscalers have one target: {specs[key].name} and {spec.name}"
        specs[key] = spec
    return Autoscalers({k: s for k, s in specs.items() if k not in refused}, refused)


def target_of(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    """Namespace, kind and name of what an HPA or a ScaledObject scales.

    Raises
    ------
    ValueError
        It names no target.
    """
    target = _map(_map(manifest.get("spec")).get("scaleTargetRef"))
    kind, name = target.get("kind") or "Deployment", target.get("name")
    if not isinstance(kind, str) or not isinstance(name, str) or not name:
        raise ValueError(f"{_name(manifest)}: expected a scaleTargetRef with a kind and a name")
    namespace = _map(manifest.get("metadata")).get("namespace") or "default"
    return str(namespace), kind, name


def hpa_spec(manifest: Mapping[str, Any]) -> HpaSpec:
    """An HPA; where our annotation says what the user's own minReplicas was, that one counts.

    Raises
    ------
    ValueError
        A field is missing or makes no sense; the text names it.
    """
    name, spec = _name(manifest), _map(manifest.get("spec"))
    try:
        behavior = _map(spec.get("behavior"))
        return HpaSpec(
            name=_map(manifest.get("metadata")).get("name") or "",
            **_bounds(spec.get("minReplicas"), spec.get("maxReplicas"), manifest),
            metrics=_metrics(spec),
            up=behavior_of(_map(behavior.get("scaleUp")), UP),
            down=behavior_of(_map(behavior.get("scaleDown")), DOWN),
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def scaled_object_spec(manifest: Mapping[str, Any]) -> HpaSpec:
    """The HPA that KEDA makes of a ScaledObject: at least one pod, at most 100 unless it says so.

    Scaling from and to zero is KEDA's own and no part of it; a cron trigger, which only ever adds,
    is passed over.

    Raises
    ------
    ValueError
        A field makes no sense, or a trigger is not known; the text names it.
    """
    name, spec = _name(manifest), _map(manifest.get("spec"))
    advanced = _map(_map(spec.get("advanced")).get("horizontalPodAutoscalerConfig"))
    behavior, most = _map(advanced.get("behavior")), spec.get("maxReplicaCount")
    try:
        bounds = _bounds(spec.get("minReplicaCount"), 100 if most is None else most, manifest)
        return HpaSpec(
            name=_map(manifest.get("metadata")).get("name") or "",
            min_replicas=max(bounds["min_replicas"], 1),
            max_replicas=bounds["max_replicas"],
            metrics=_triggers(spec),
            up=behavior_of(_map(behavior.get("scaleUp")), UP),
            down=behavior_of(_map(behavior.get("scaleDown")), DOWN),
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _triggers(spec: Mapping[str, Any]) -> tuple[HpaMetric, ...]:
    if _map(_map(spec.get("advanced")).get("scalingModifiers")).get("formula"):
        raise ValueError("advanced.scalingModifiers is a formula over its metrics: not known")
    return trigger_metrics([_map(t) for t in _list(spec.get("triggers"))])


def _metrics(spec: Mapping[str, Any]) -> tuple[HpaMetric, ...]:
    given = [_metric(_map(m)) for m in _list(spec.get("metrics"))]
    if given:
        return tuple(given)
    percent = spec.get("targetCPUUtilizationPercentage")  # autoscaling/v1
    if percent is None:
        return (_DEFAULT_CPU,)
    return (HpaMetric("resource", "cpu", "utilization", _positive(percent, "target") / 100),)


def _metric(entry: Mapping[str, Any]) -> HpaMetric:
    kind = entry.get("type")
    if kind not in _SOURCES:
        raise ValueError(f"metric type {kind!r} is not known, expected {', '.join(_SOURCES)}")
    field, source = _SOURCES[cast("str", kind)]
    told = _map(entry.get(field))
    name = told.get("name") or _map(told.get("metric")).get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"a metric of type {kind} names no metric")
    target = _map(told.get("target"))
    # the API server asks for the type; old clients leave it out
    types = [t for t in _TARGETS if target.get("type", t) == t and target.get(_TARGETS[t][0])]
    if not types:
        raise ValueError(f"metric {name}: its target has no value")
    key, target_type = _TARGETS[types[0]]
    value = _positive(target[key], f"metric {name}: {key}")
    share = value / 100 if target_type == "utilization" else value
    return HpaMetric(source, name, target_type, share, str(told.get("container") or ""))


def _bounds(low: Any, high: Any, manifest: Mapping[str, Any]) -> dict[str, int]:
    notes = _map(_map(manifest.get("metadata")).get("annotations"))
    own = notes.get(_OURS)
    if isinstance(own, str):  # we hold a floor now; what the user had is in the annotation
        low = None if own == "unset" else own
    floor = _whole(1 if low is None else low, "the least replicas")
    most = _whole(high, "the most replicas")
    if most < max(floor, 1):
        raise ValueError(f"expected 1 ≤ least ≤ most replicas, got {floor} and {most}")
    return {"min_replicas": floor, "max_replicas": most}


def _whole(value: Any, what: str) -> int:
    number = quantity(value) if isinstance(value, str | int | float) else math.nan
    if not (number == number // 1 and 0 <= number <= _MOST):
        raise ValueError(f"{what}: expected a whole number, got {value!r}")
    return int(number)


def _positive(value: Any, what: str) -> float:
    number = quantity(value) if isinstance(value, str | int | float) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{what}: expected more than 0, got {value!r}")
    return number


def _each(manifests: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for given in manifests:
        manifest = _map(given)
        if str(manifest.get("kind", "")).endswith("List") or "items" in manifest:
            kind = str(manifest.get("kind", "")).removesuffix("List")
            items = [_map(i) for i in _list(manifest.get("items"))]
            # the API's own lists leave the kind of their items out
            yield from _each({"kind": kind, **i} if kind else i for i in items)
        else:
            yield manifest


def _is_kedas(manifest: Mapping[str, Any]) -> bool:
    owners = _list(_map(manifest.get("metadata")).get("ownerReferences"))
    return any(_map(o).get("kind") == "ScaledObject" for o in owners)


def _name(manifest: Mapping[str, Any]) -> str:
    meta = _map(manifest.get("metadata"))
    return f"{meta.get('namespace') or 'default'}/{meta.get('name') or '(no name)'}"


def _map(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
