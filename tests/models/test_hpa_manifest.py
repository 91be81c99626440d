"""Autoscalers as manifests say them, with the API server's defaults, and quantities."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from models.hpa_manifest import autoscalers, hpa_spec, quantity, scaled_object_spec, target_of
from models.hpa_spec import DOWN, UP, HpaMetric, ScalingPolicy, ScalingRules

SUFFIXES = ["", *"numkMGTPE", *(f"{c}i" for c in "KMGTPE")]
RECORDED = Path(__file__).parents[3] / "shared" / "kubernetes" / "transcripts.jsonl"


def hpa(name="web", target="web", namespace="shop", annotations=None, owner=None, **spec):
    meta = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    if owner:
        meta["ownerReferences"] = [{"kind": owner, "name": "x"}]
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {"scaleTargetRef": reference, "maxReplicas": 10} | spec,
    }


def scaled(triggers, name="so", target="web", **spec):
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": target}, "triggers": triggers} | spec,
    }


def metric(kind, field, told):
    return {"type": kind, field: told}


def pods(value="100", name="http_requests"):
    target = {"type": "AverageValue", "averageValue": value}
    return metric("Pods", "pods", {"metric": {"name": name}, "target": target})


PROMETHEUS = {"type": "prometheus", "metadata": {"threshold": "50", "query": "sum(x)"}}
CPU_60 = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}


@given(
    number=st.decimals(-10_000, 10_000, places=3),
    suffix=st.sampled_from(
        ["n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
    )
    | st.just(""),
)
def test_a_quantity_is_what_the_kubernetes_package_reads(number, suffix):
    text = f"{number:f}{suffix}"
    assert quantity(text) == float(parse_quantity(text))


@given(number=st.decimals(-1000, 1000, places=2), exponent=st.integers(-12, 12))
def test_a_decimal_exponent_is_none_of_the_suffixes(number, exponent):
    assert quantity(f"{number:f}e{exponent}") == float(number.scaleb(exponent))
    assert quantity(f"{number:f}E{exponent}") == float(Decimal(number).scaleb(exponent))


def test_quantities_that_people_write():
    told = ["100m", "1", "1.5", ".5", "2Gi", "1e3", "1E", "+3k", 7, 0.25]
    assert [quantity(t) for t in told] == [0.1, 1, 1.5, 0.5, 2**31, 1000, 1e18, 3000, 7, 0.25]


@given(text=st.text(max_size=8) | st.booleans())
def test_what_is_no_quantity_is_refused(text):
    try:
        parse_quantity(text)
    except ValueError:
        pass
    else:
        assume(isinstance(text, bool))
    with pytest.raises(ValueError, match="expected a quantity"):
        quantity(text)


def test_an_hpa_that_says_nothing_has_the_api_servers_defaults():
    spec = hpa_spec(hpa())
    assert (spec.name, spec.min_replicas, spec.max_replicas) == ("web", 1, 10)
    assert spec.metrics == (HpaMetric("resource", "cpu", "utilization", 0.8),)
    assert (spec.up, spec.down) == (UP, DOWN)


def test_every_type_of_metric_and_target():
    share = {"type": "Utilization", "averageUtilization": 65}
    value = {"type": "Value", "value": "10k"}
    spec = hpa_spec(
        hpa(
            metrics=[
                metric("Resource", "resource", {"name": "cpu", "target": share}),
                metric(
                    "ContainerResource",
                    "containerResource",
                    {"name": "memory", "container": "app", "target": share},
                ),
                pods("1500m"),
                metric("Object", "object", {"metric": {"name": "hits"}, "target": value}),
                metric(
                    "External",
                    "external",
                    {"metric": {"name": "lag"}, "target": {"averageValue": "30"}},
                ),
            ]
        )
    )
    assert spec.metrics == (
        HpaMetric("resource", "cpu", "utilization", 0.65),
        HpaMetric("container_resource", "memory", "utilization", 0.65, "app"),
        HpaMetric("pods", "http_requests", "average_value", 1.5),
        HpaMetric("object", "hits", "value", 10_000),
        HpaMetric("external", "lag", "average_value", 30),
    )


def test_a_behavior_is_laid_over_the_defaults_of_its_direction():
    told = {
        "scaleUp": {"stabilizationWindowSeconds": 60, "selectPolicy": "Disabled"},
        "scaleDown": {
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}],
            "selectPolicy": "Min",
            "tolerance": "50m",
        },
    }
    spec = hpa_spec(hpa(behavior=told))
    assert spec.up == ScalingRules(60, UP.policies, "disabled")
    assert spec.down == ScalingRules(300, (ScalingPolicy("pods", 2, 15),), "min", 0.05)


def test_the_users_own_floor_counts_while_we_hold_one():
    key = "foretide.dev/original-floor"
    assert hpa_spec(hpa(minReplicas=8, annotations={key: "3"})).min_replicas == 3
    assert hpa_spec(hpa(minReplicas=8, annotations={key: "unset"})).min_replicas == 1


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"maxReplicas": None}, "the most replicas"),
        ({"maxReplicas": "ten"}, "expected a quantity"),
        ({"minReplicas": 11}, "got 11 and 10"),
        ({"minReplicas": 1.5}, "expected a whole number"),
        ({"metrics": [{"type": "Magic"}]}, "'Magic' is not known"),
        ({"metrics": ["cpu"]}, "None is not known"),
        ({"metrics": [pods("0")]}, "expected more than 0"),
        ({"metrics": [metric("Pods", "pods", {"metric": {}})]}, "names no metric"),
        ({"metrics": [metric("Resource", "resource", {"name": "cpu"})]}, "has no value"),
        ({"behavior": {"scaleUp": {"selectPolicy": "Most"}}}, "'Most' is not known"),
        ({"behavior": {"scaleDown": {"policies": [{"type": "Pods"}]}}}, "value must be"),
        ({"behavior": {"scaleDown": {"policies": "all"}}}, "policy type None"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(spec, why):
    with pytest.raises(ValueError, match=f"shop/web: .*{why}"):
        hpa_spec(hpa(**spec))


def test_kedas_triggers_become_metrics_with_kedas_defaults():
    spec = scaled_object_spec(
        scaled(
            [
                CPU_60,
                {"type": "memory", "metricType": "AverageValue", "metadata": {"value": "512Mi"}},
                PROMETHEUS | {"name": "rps"},
                {"type": "kafka", "metadata": {"topic": "orders"}},
                {"type": "cron", "metadata": {"desiredReplicas": "9"}},
            ]
        )
    )
    assert (spec.name, spec.min_replicas, spec.max_replicas) == ("so", 1, 100)
    assert spec.metrics == (
        HpaMetric("resource", "cpu", "utilization", 0.6),
        HpaMetric("resource", "memory", "average_value", 2**29),
        HpaMetric("external", "rps", "average_value", 50),
        HpaMetric("external", "kafka", "average_value", 10),
    )


@pytest.mark.parametrize(
    ("triggers", "spec", "why"),
    [
        ([], {}, "no trigger"),
        ([{"type": "cron"}], {}, "no trigger"),
        ([{"type": "moon-phase"}], {}, "'moon-phase' is not known"),
        ([{"type": "prometheus", "metadata": {}}], {}, "threshold: expected more than 0"),
        ([PROMETHEUS | {"metricType": "Utilization"}], {}, "for cpu and memory only"),
        ([CPU_60], {"minReplicaCount": 3, "maxReplicaCount": 2}, "got 3 and 2"),
        ([CPU_60], {"advanced": {"scalingModifiers": {"formula": "a + b"}}}, "is a formula"),
    ],
)
def test_a_scaled_object_that_is_not_understood_is_refused(triggers, spec, why):
    with pytest.raises(ValueError, match=f"shop/so: .*{why}"):
        scaled_object_spec(scaled(triggers, **spec))


def test_lists_documents_and_the_hpa_that_keda_owns():
    listed = {
        "kind": "List",
        "items": [
            hpa("keda-hpa-so", owner="ScaledObject"),
            scaled([PROMETHEUS]),
            hpa("bad", "bad", maxReplicas=0),
            {"kind": "Deployment", "metadata": {"name": "other"}},
        ],
    }
    bare = hpa("api", "api")
    del bare["kind"]
    found = autoscalers([listed, {"kind": "HorizontalPodAutoscalerList", "items": [bare]}, None])
    assert set(found.specs) == {"shop/Deployment/web", "shop/Deployment/api"}
    assert found.specs["shop/Deployment/web"].name == "so"
    assert list(found.refused) == ["shop/Deployment/bad"]


def test_two_autoscalers_of_one_target_are_both_refused():
    found = autoscalers([hpa("one"), hpa("two"), hpa("three")])
    assert not found.specs
    assert "two autoscalers have one target" in found.refused["shop/Deployment/web"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(spec=JSON, meta=JSON, part=st.sampled_from(["metrics", "behavior", "scaleTargetRef"]))
def test_nothing_in_a_manifest_breaks_the_reading(spec, meta, part):
    broken = hpa(**{part: spec})
    autoscalers([broken | {"metadata": meta}, {**broken, "spec": spec}, spec, meta])
    autoscalers([scaled(spec) | {"metadata": meta}])


def test_the_target_of_a_scaled_object_is_a_deployment_unless_it_says_so():
    assert target_of(scaled([])) == ("shop", "Deployment", "web")
    with pytest.raises(ValueError, match="scaleTargetRef"):
        target_of({"spec": {}})


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded answers are not here")
def test_recorded_autoscalers_are_understood():
    seen = 0
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        told = json.loads(line).get("response")
        body = json.loads(told) if isinstance(told, str) and told.startswith("{") else told
        kind = body.get("kind") if isinstance(body, dict) else None
        if kind in ("HorizontalPodAutoscaler", "ScaledObject") and body.get("spec"):
            found = autoscalers([body])
            seen += len(found.specs)
            assert not found.refused
    assert seen
