"""What a workload is replayed with, measured or assumed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.panel import Panel
from models.hpa import hpa_replicas
from models.hpa_spec import HpaMetric, HpaSpec
from models.replay_case import ReplayCaseParams, assumed_case, measured_case, with_hpas


@given(scale=st.floats(1e-6, 1e15), pods=st.integers(1, 300))
def test_the_busy_level_needs_the_busy_pods(scale: float, pods: int) -> None:
    history = scale * np.linspace(0, 1, 101)[None, :]
    case = assumed_case(history, ReplayCaseParams(busy_pods=pods, busy_quantile=1.0))
    per_pod = case.pod_capacity_cores * case.target_ratio
    assert hpa_replicas(np.array([scale * (1 - 1e-9)]), per_pod)[0] == pods


@pytest.mark.parametrize(
    "values", [np.full(5, np.nan), np.zeros(5), -np.ones(5), np.empty(0)], ids=str
)
def test_what_carries_no_load_is_refused(values: np.ndarray) -> None:
    case = assumed_case(values[None, :])
    assert case.refusal[0].startswith("no load")
    assert not case.usable.any()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("busy_pods", 0), ("busy_quantile", 1.5), ("target_ratio", 0.0), ("min_replicas", 0),
        ("max_replicas", 1), ("pod_start_s", -1.0),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        ReplayCaseParams(**{key: value})


W = "c/n/Deployment/w"


def measured(**metrics: float) -> Panel:
    keys = pd.DataFrame({"workload": W, "metric": sorted(metrics)}, dtype="str")
    values = np.array([[metrics[m]] * 24 for m in sorted(metrics)])
    return Panel(keys, pd.Timestamp("2026-06-01T00:00Z"), pd.Timedelta(1, "h"), values)


SETTINGS = {
    "replicas": 4.0, "cpu_request_cores": 2.0, "hpa_min_replicas": 3.0, "hpa_max_replicas": 9.0,
    "hpa_target_cpu_ratio": 0.6, "pod_start_seconds": 50.0,
}  # fmt: skip


def test_a_pod_burns_its_request_or_its_limit_where_it_has_one() -> None:
    case = measured_case(measured(**SETTINGS), [W])
    assert (case.pod_capacity_cores[0], case.target_ratio[0]) == pytest.approx((0.5, 0.6))
    assert (case.min_replicas[0], case.max_replicas[0], case.pod_start_s[0]) == (3, 9, 50)
    roomy = measured_case(measured(**SETTINGS, cpu_limit_cores=8.0), [W])
    assert (roomy.pod_capacity_cores[0], roomy.target_ratio[0]) == pytest.approx((2.0, 0.15))


def test_an_unknown_target_is_the_usual_one() -> None:
    known = {k: v for k, v in SETTINGS.items() if k != "hpa_target_cpu_ratio"}
    assert measured_case(measured(**known), [W]).target_ratio[0] == pytest.approx(0.7)


def test_no_hpa_and_no_request_are_reasons() -> None:
    case = measured_case(measured(cpu_request_cores=2.0, replicas=1.0), [W, "c/n/Deployment/gone"])
    assert case.refusal == ["no HPA", "no CPU request or limit of a pod"]
    case = measured_case(measured(hpa_max_replicas=5.0, replicas=1.0), [W])
    assert case.refusal == ["no CPU request or limit of a pod"]


def spec(*metrics: HpaMetric) -> HpaSpec:
    return HpaSpec("web", 4, 12, metrics)


def test_a_manifest_gives_bounds_and_target() -> None:
    half = spec(HpaMetric("resource", "cpu", "utilization", 0.5))
    roomy = measured_case(measured(**SETTINGS, cpu_limit_cores=8.0), [W])
    keys = pd.DataFrame({"workload": [W], "metric": ["cpu_usage_cores"]})
    case, unknown = with_hpas(roomy, keys, {W: half})
    assert (case.min_replicas[0], case.max_replicas[0]) == (4, 12)
    assert case.target_ratio[0] == pytest.approx(0.5 * 0.5 / 2.0)  # of the request, burning 2 cores
    assert case.hpas == [half]
    assert not unknown
    bare = measured_case(measured(cpu_request_cores=2.0, replicas=4.0), [W])
    assert bare.refusal == ["no HPA"]
    assert with_hpas(bare, keys, {W: half})[0].refusal == [""]
    assert with_hpas(bare, keys, {})[0].refusal == ["no HPA"]


def test_an_average_value_of_the_load_says_what_a_pod_carries() -> None:
    history = np.full((2, 50), 300.0)
    keys = pd.DataFrame({"workload": ["a", "b"], "metric": ["hits", "misses"]})
    on_hits = spec(HpaMetric("pods", "hits", "average_value", 10.0))
    case, unknown = with_hpas(assumed_case(history), keys, {"a": on_hits, "b": on_hits})
    assert (case.pod_capacity_cores * case.target_ratio)[0] == pytest.approx(10.0)
    assert unknown == ["web scales on hits, which says nothing of misses"]
    assert case.pod_capacity_cores[1] == assumed_case(history).pod_capacity_cores[1]


def test_a_minimum_above_the_maximum_is_a_reason() -> None:
    case = measured_case(measured(**(SETTINGS | {"hpa_min_replicas": 30.0})), [W])
    assert case.refusal == ["the HPA's minReplicas is above its maxReplicas"]
