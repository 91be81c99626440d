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
from models.replay_case import ReplayCaseParams, assumed_case, measured_case


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


def measured(**metrics: float) -> Panel:
    keys = pd.DataFrame({"workload": "w", "metric": sorted(metrics)}, dtype="str")
    values = np.array([[metrics[m]] * 24 for m in sorted(metrics)])
    return Panel(keys, pd.Timestamp("2026-06-01T00:00Z"), pd.Timedelta(1, "h"), values)


SETTINGS = {
    "replicas": 4.0, "cpu_request_cores": 2.0, "hpa_min_replicas": 3.0, "hpa_max_replicas": 9.0,
    "hpa_target_cpu_ratio": 0.6, "pod_start_seconds": 50.0,
}  # fmt: skip


def test_a_pod_burns_its_request_or_its_limit_where_it_has_one() -> None:
    case = measured_case(measured(**SETTINGS), ["w"])
    assert (case.pod_capacity_cores[0], case.target_ratio[0]) == pytest.approx((0.5, 0.6))
    assert (case.min_replicas[0], case.max_replicas[0], case.pod_start_s[0]) == (3, 9, 50)
    roomy = measured_case(measured(**SETTINGS, cpu_limit_cores=8.0), ["w"])
    assert (roomy.pod_capacity_cores[0], roomy.target_ratio[0]) == pytest.approx((2.0, 0.15))


def test_an_unknown_target_is_the_usual_one() -> None:
    known = {k: v for k, v in SETTINGS.items() if k != "hpa_target_cpu_ratio"}
    assert measured_case(measured(**known), ["w"]).target_ratio[0] == pytest.approx(0.7)


def test_no_hpa_and_no_request_are_reasons() -> None:
    case = measured_case(measured(cpu_request_cores=2.0, replicas=1.0), ["w", "gone"])
    assert case.refusal == ["no HPA", "no HPA"]
    case = measured_case(measured(hpa_max_replicas=5.0, replicas=1.0), ["w"])
    assert case.refusal == ["no CPU request or limit of a pod"]
