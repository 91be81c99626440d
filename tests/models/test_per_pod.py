"""What a pod carries: the curve from its requests to its CPU, and when it is not believed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.per_pod import CurveParams, per_pod_curve

# a first example compiles, and machines are shared: time is no law
law = settings(deadline=None, max_examples=40)
ANY = CurveParams(wape_max=1e9, error_share_max=1e9)


def curve_history(seed=0, n=1000):
    rng = np.random.default_rng(seed)
    requests = 50 + 40 * np.sin(np.arange(n) / 288 * 2 * np.pi) + rng.normal(0, 1, n)
    return requests, 0.5 + requests * 0.02


def test_a_true_relation_is_found_in_spite_of_outliers_and_gaps():
    requests, cores = curve_history()
    dirty = cores.copy()
    dirty[::37] *= 20
    dirty[5:50] = np.nan
    curves = per_pod_curve(
        requests[None], dirty[None], CurveParams(wape_max=2.0, error_share_max=1.0)
    )
    assert curves.refusal == [""]
    asked = np.array([[20.0, 50.0, 85.0, np.nan]])
    assert curves.cores_at(asked)[0, :3] == pytest.approx([0.9, 1.5, 2.2], rel=0.1)
    assert np.isnan(curves.cores_at(asked)[0, 3])


@law
@given(seed=st.integers(0, 1000))
def test_a_curve_never_falls_and_grows_without_end(seed):
    rng = np.random.default_rng(seed)
    requests, cores = rng.gamma(2, 10, (1, 400)), rng.gamma(2, 1, (1, 400))
    curves = per_pod_curve(requests, cores, ANY)
    told = curves.cores_at(np.linspace(0, 1e4, 500)[None])
    assert (np.diff(told) >= 0).all()
    assert told[0, -1] > 10 * told[0, 0]


@pytest.mark.parametrize(
    ("requests", "cores", "why"),
    [
        (np.full(1000, np.nan), np.ones(1000), "seen together in 0 steps"),
        (np.arange(1.0, 100.0), np.ones(99), "seen together in 99 steps"),
        (curve_history()[0], np.random.default_rng(1).pareto(1, 1000), "requests explain CPU"),
        (curve_history()[0], np.zeros(1000), "requests explain CPU"),
        (curve_history()[0], np.full(1000, 1e300) * (np.arange(1000) % 2), "requests explain CPU"),
    ],
)
def test_a_curve_that_cannot_prove_itself_is_refused_with_the_reason(requests, cores, why):
    curves = per_pod_curve(requests[None], cores[None])
    assert why in curves.refusal[0]
    assert np.isnan(curves.cores_at(requests[None])).all()


@law
@given(seed=st.integers(0, 1000), share=st.floats(0.01, 0.999))
def test_what_a_pod_carries_is_the_most_that_stays_at_the_target(seed, share):
    rng = np.random.default_rng(seed)
    requests = rng.gamma(2, 10, (1, 400))
    curves = per_pod_curve(requests, requests * 0.1 + rng.gamma(2, 0.1, (1, 400)), ANY)
    low, high = curves.cores[0, 0], curves.cores[0, -1]
    target = np.array([low + share * (high - low)])
    carries = curves.requests_at(target)
    assert curves.cores_at(carries[None])[0] == pytest.approx(target)
    assert curves.cores_at(carries[None] * 1.01 + 1e-9)[0] > target


def test_a_pod_that_was_never_busy_is_followed_by_its_slope_and_not_too_far():
    requests, _ = curve_history()
    cores = 0.2 + requests * 0.005  # busiest at 0.65 of what the target of 0.85 allows
    curves = per_pod_curve(requests[None], cores[None])
    assert curves.requests_at(np.array([0.85])) == pytest.approx([130.0], rel=0.03)
    assert np.isnan(curves.requests_at(np.array([1.3]))).all()  # 220 requests/s: over twice as far


def test_a_target_below_an_idle_pod_has_no_answer():
    requests, _ = curve_history()
    curves = per_pod_curve(requests[None], (0.5 + requests * 0.005)[None])
    assert np.isnan(curves.requests_at(np.array([0.4]))).all()


def test_cpu_that_does_not_follow_requests_is_no_curve_however_small_the_error():
    requests, _ = curve_history()
    cores = 1 + np.random.default_rng(2).normal(0, 0.02, len(requests))
    curves = per_pod_curve(requests[None], cores[None])
    assert curves.refusal == ["CPU does not follow requests: its usual value predicts it as well"]
    assert np.isnan(curves.requests_at(np.array([1.5]))).all()


@pytest.mark.parametrize(
    ("key", "value"), [("knots", 1), ("wape_max", 0), ("error_share_max", 0), ("reach", 0.5)]
)
def test_a_knob_without_meaning_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"curve: {key} must be"):
        CurveParams(**{key: value})
