"""One direction of an HPA's ``behavior``, with the API server's defaults where it is silent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from models.hpa_quantity import quantity
from models.hpa_spec import ScalingPolicy, ScalingRules

__all__ = ["behavior_of"]

_KINDS: Mapping[str, Literal["pods", "percent"]] = {"Pods": "pods", "Percent": "percent"}
_SELECT: Mapping[str, Literal["max", "min", "disabled"]] = {
    "Max": "max",
    "Min": "min",
    "Disabled": "disabled",
}


def behavior_of(told: Mapping[str, Any], default: ScalingRules) -> ScalingRules:
    """What a manifest says, over the default of its direction.

    Raises
    ------
    ValueError
        A field makes no sense; the text names it.
    """
    window, tolerance = told.get("stabilizationWindowSeconds"), told.get("tolerance")
    select = told.get("selectPolicy") or "Max"
    if not isinstance(select, str) or select not in _SELECT:
        raise ValueError(f"behavior: selectPolicy {select!r} is not known")
    policies = told.get("policies")
    return ScalingRules(
        default.stabilisation_s if window is None else int(_number(window, "window", 0, 3600)),
        _policies(policies) if policies else default.policies,
        _SELECT[select],
        default.tolerance if tolerance is None else _number(tolerance, "tolerance", 0, 2**31),
    )


def _policies(given: Any) -> tuple[ScalingPolicy, ...]:
    each = cast("list[Any]", given) if isinstance(given, list) else [given]
    return tuple(_policy(p) for p in each)


def _policy(given: Any) -> ScalingPolicy:
    told = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    kind = told.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"behavior: policy type {kind!r} is not known")
    value = _number(told.get("value"), "value", 1, 2**31 - 1)
    period_s = _number(told.get("periodSeconds"), "periodSeconds", 1, 1800)
    return ScalingPolicy(_KINDS[kind], int(value), int(period_s))


def _number(value: Any, what: str, least: float, most: float) -> float:
    number = quantity(value) if isinstance(value, str | int | float) else math.nan
    if not least <= number <= most:
        raise ValueError(f"behavior: {what} must be from {least} to {most}, got {value!r}")
    return number
