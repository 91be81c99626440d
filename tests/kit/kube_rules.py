"""What the fake API server knows of kinds: defaults, fields, and when content is refused."""

from __future__ import annotations

import copy
import re
from typing import Any

from kube_status import Cause, RefusedError, invalid, quoted, status_of

from pipelines.adapters.kube import (
    CAPACITY_BUFFER,
    DEPLOYMENT,
    HPA,
    KINDS,
    NODE_POOL,
    SCALED_OBJECT,
    STATEFUL_SET,
    Kind,
)

__all__ = ["BUILT_IN", "SCALED", "defaulted", "generations", "undeclared", "validate"]

Object = dict[str, Any]

SCALED = {DEPLOYMENT, STATEFUL_SET, NODE_POOL}
"""Kinds with a scale subresource."""
_CUSTOM = {"keda.sh", "karpenter.sh", "autoscaling.x-k8s.io"}
BUILT_IN = {kind for kind in KINDS if kind.group not in _CUSTOM}
_NO_GENERATION = {HPA}
_STRATEGY = "buffer.x-k8s.io/active-capacity"
_BUDGET_NODES = "^((100|[0-9]{1,2})%|[0-9]+)$"
_BUDGET_DURATION = "^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$"
_SPEC = {
    HPA: {"scaleTargetRef", "minReplicas", "maxReplicas", "metrics", "behavior"},
    NODE_POOL: {"template", "disruption", "limits", "weight", "replicas"},
    SCALED_OBJECT: {
        "scaleTargetRef",
        "pollingInterval",
        "cooldownPeriod",
        "initialCooldownPeriod",
        "idleReplicaCount",
        "minReplicaCount",
        "maxReplicaCount",
        "advanced",
        "triggers",
        "fallback",
    },
    CAPACITY_BUFFER: {
        "provisioningStrategy",
        "podTemplateRef",
        "scalableRef",
        "replicas",
        "percentage",
        "limits",
    },
}


def generations(kind: Kind) -> bool:
    """Whether objects count the changes of their spec."""
    return kind not in _NO_GENERATION


def undeclared(kind: Kind, obj: Object) -> str:
    """The first field of spec that the kind does not have; empty where all are known."""
    known = _SPEC.get(kind)
    spec = obj.get("spec")
    if known is None or not isinstance(spec, dict):
        return ""
    return next((f"spec.{key}" for key in spec if key not in known), "")


def defaulted(kind: Kind, obj: Object) -> Object:
    """The object with what the server fills in."""
    fill = {
        HPA: _default_hpa,
        DEPLOYMENT: _default_deployment,
        NODE_POOL: _default_node_pool,
        CAPACITY_BUFFER: _default_buffer,
    }.get(kind)
    if fill is None:
        return obj
    obj = copy.deepcopy(obj)
    obj["spec"] = obj.get("spec") or {}
    fill(obj)
    return obj


def _default_hpa(obj: Object) -> None:
    spec = obj["spec"]
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    obj.setdefault("status", {"desiredReplicas": 0, "currentMetrics": None})


def _default_deployment(obj: Object) -> None:
    spec = obj["spec"]
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    pod = spec.setdefault("template", {}).setdefault("spec", {})
    if pod.get("priorityClassName") == "":
        del pod["priorityClassName"]
    for container in pod.get("containers") or []:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("resources", {})
    for key, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }.items():
        pod.setdefault(key, value)
    rolling = {"maxUnavailable": "25%", "maxSurge": "25%"}
    spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    obj.setdefault("status", {})


def _default_node_pool(obj: Object) -> None:
    disruption = obj["spec"].setdefault("disruption", {})
    disruption.setdefault("budgets", [{"nodes": "10%"}])
    disruption.setdefault("consolidateAfter", "0s")
    disruption.setdefault("consolidationPolicy", "WhenEmptyOrUnderutilized")
    template = obj["spec"].get("template")
    if isinstance(template, dict):
        template.setdefault("spec", {}).setdefault("expireAfter", "720h")


def _default_buffer(obj: Object) -> None:
    obj["spec"].setdefault("provisioningStrategy", _STRATEGY)


def validate(kind: Kind, obj: Object, before: Object | None) -> None:
    """Raise what a real server answers to content like this; ``before`` None: it is created."""
    name = obj["metadata"]["name"]
    if kind == HPA:
        causes = _check_hpa(obj["spec"])
    elif kind == DEPLOYMENT:
        causes = _check_deployment(obj["spec"], before)
    elif kind == NODE_POOL:
        causes = _check_node_pool(obj["spec"], before)
    elif kind == SCALED_OBJECT:
        causes = _check_scaled_object(obj.get("spec") or {})
    elif kind == CAPACITY_BUFFER:
        causes = _check_buffer(obj["spec"])
    else:
        return
    if causes:
        raise invalid(kind, name, causes)


def wrong_type(obj: Object, why: str) -> RefusedError:
    """A body that is not of the kind's Go type."""
    value = quoted({key: obj[key] for key in sorted(obj)})
    message = f"Invalid value: {quoted(value)}: {why}"
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]
    return status_of(422, f' "" is invalid: patch: {message}', details={"causes": causes})


def _bad(field: str, value: Any, why: str) -> Cause:
    return field, "FieldValueInvalid", f"Invalid value: {quoted(value)}: {why}"


def _rule(field: str, why: str) -> Cause:
    """Of a validation rule of a CRD, which shows no value."""
    return field, "FieldValueInvalid", f"Invalid value: {why}"


def _required(field: str, why: str = "") -> Cause:
    return field, "FieldValueRequired", "Required value" + (f": {why}" if why else "")


def _check_hpa(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas") or 0
    if least < 1:
        causes.append(_bad("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        causes.append(_required("spec.maxReplicas", "must be set and greater than 0"))
    if most < least:
        causes.append(
            _bad("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
        )
    target = spec.get("scaleTargetRef") or {}
    causes += [_required(f"spec.scaleTargetRef.{k}") for k in ("kind", "name") if not target.get(k)]
    if not target.get("apiVersion"):
        causes.append(
            _bad("spec.scaleTargetRef.apiVersion", "", "apiVersion must specify API group")
        )
    outside = any(m.get("type") in ("Object", "External") for m in spec.get("metrics") or [])
    if least == 0 and not outside:
        why = "must specify at least one Object or External metric to support scaling to zero"
        causes.append(("spec.metrics", "FieldValueForbidden", f"Forbidden: {why} replicas"))
    return causes


def _check_deployment(spec: Object, before: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not wanted.items() <= labels.items():
        why = "`selector` does not match template `labels`"
        causes.append(_bad("spec.template.metadata.labels", labels, why))
    if before is not None and before["spec"].get("selector") != spec.get("selector"):
        causes.append(_bad("spec.selector", spec.get("selector"), "field is immutable"))
    return causes


def _check_node_pool(spec: Object, before: Object | None) -> list[Cause]:
    if not isinstance(spec.get("template"), dict):
        why = (
            "Invalid value: null: some validation rules were not checked because the object was "
            "invalid; correct the existing errors to complete validation"
        )
        return [_required("spec.template"), ("<nil>", "FieldValueInvalid", why)]
    causes: list[Cause] = []
    static, replicas = "replicas" in spec, spec.get("replicas")
    if static and replicas < 0:
        why = "spec.replicas in body should be greater than or equal to 0"
        causes.append(_bad("spec.replicas", replicas, why))
        causes.append(_bad(".spec.replicas", replicas, "should be a non-negative integer"))
        return causes
    if before is not None and static != ("replicas" in before["spec"]):
        why = (
            "Cannot transition NodePool between static (replicas set) and dynamic (replicas unset) "
            "provisioning modes"
        )
        causes.append(_rule("spec", why))
    if static and set(spec.get("limits") or {}) - {"nodes"}:
        causes.append(_rule("spec", "only 'limits.nodes' is supported on static NodePools"))
    if static and "weight" in spec:
        causes.append(_rule("spec", "'weight' is not supported on static NodePools"))
    return causes + _check_budgets(spec["disruption"]["budgets"])


def _check_budgets(budgets: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    for index, budget in enumerate(budgets):
        for key, form in (("nodes", _BUDGET_NODES), ("duration", _BUDGET_DURATION)):
            if key in budget and not re.fullmatch(form, budget[key]):
                field = f"spec.disruption.budgets[{index}].{key}"
                causes.append(_bad(field, budget[key], f"{field} in body should match '{form}'"))
    if any(("schedule" in budget) != ("duration" in budget) for budget in budgets):
        why = "'schedule' must be set with 'duration'"
        causes.append(_rule("spec.disruption.budgets", why))
    return causes


def _check_scaled_object(spec: Object) -> list[Cause]:
    causes = [_required(f"spec.{key}") for key in ("scaleTargetRef", "triggers") if key not in spec]
    if spec.get("minReplicaCount", 0) > spec.get("maxReplicaCount", 100):
        why = "minReplicaCount must be less than or equal to maxReplicaCount"
        causes.append(_rule("spec", why))
    return causes


def _check_buffer(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    template, scalable = "podTemplateRef" in spec, "scalableRef" in spec
    if template == scalable:
        why = "You must define either PodTemplateRef or ScalableRef, but not both"
        causes.append(_rule("spec", why))
    elif template and not {"replicas", "limits"} & set(spec):
        why = "If podTemplateRef is set, replicas or limits must also be set"
        causes.append(_rule("spec", why))
    return causes
