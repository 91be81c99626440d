"""Demand → pods by the workload's own HPA: the most that any metric asks for, with reasons."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.panel import Panel
from models.hpa_answers import CPU, MEMORY, REQUESTS, Told
from models.hpa_demand import needs, wanted_metrics
from models.hpa_spec import HpaMetric

W = "c/n/Deployment/web"
START = pd.Timestamp("2026-06-08", tz="UTC")
STEP = pd.Timedelta(300, "s")
M = 600
LEVELS = (0.5, 0.95)
CPU_70 = HpaMetric("resource", "cpu", "utilization", 0.7)
MEMORY_80 = HpaMetric("resource", "memory", "utilization", 0.8)
law = settings(deadline=None, max_examples=40)


def history(idle=0.1, slope=0.01, memory=(2e8, 1e7)):
    """A pod burns idle + slope × requests, and holds as much memory."""
    requests = 200 + 150 * np.sin(np.arange(M) / 288 * 2 * np.pi)
    pods = np.full(M, 5.0)
    return {
        REQUESTS: requests,
        CPU: idle * pods + slope * requests,
        MEMORY: memory[0] + memory[1] * requests / pods,
        "replicas": pods,
    }


def ask(forecasts, metrics, past=None, *, names=None, doubts=None, quantile=0.95, **state):
    """What one workload needs: forecasts are metric → (median, quantile) at 3 steps."""
    past = history() if past is None else past
    keys = pd.DataFrame({"workload": W, "metric": list(past)}, dtype="str")
    panel = Panel(keys, START, STEP, np.array(list(past.values())).reshape(len(past), -1))
    told = Told(
        pd.DataFrame({"workload": W, "metric": list(forecasts)}, dtype="str"),
        np.array([[np.full(3, float(v[i])) for v in forecasts.values()] for i in (0, 1)]),
        LEVELS,
        doubts or [""] * len(forecasts),
    )
    now = {"target_ratio": 0.7, "request_cores": 1.0, "request_bytes": 1e9} | state
    return needs(
        [W],
        {} if metrics is None else {W: metrics},
        told,
        panel=panel,
        state=pd.DataFrame({k: [float(v)] for k, v in now.items()}),
        quantiles=[quantile],
        names=names,
    )


def test_cpu_alone_is_usage_over_the_target():
    out = ask({CPU: (7, 14)}, None)
    assert (out.median[0, 0], out.quantile[0, 0]) == pytest.approx((10, 20))
    assert (out.against, out.basis) == ([""], [""])
    assert ask({CPU: (7, 14)}, None, quantile=0.5).quantile[0, 0] == pytest.approx(10)


def test_where_requests_are_forecast_they_decide_what_cpu_will_ask_for():
    out = ask({CPU: (999, 999), REQUESTS: (600, 1200)}, (CPU_70,))
    assert out.quantile[0, 0] == pytest.approx(1200 / 60, rel=0.02)  # (0.7 - 0.1) / 0.01
    assert "requests_per_second at " in out.basis[0]


def test_a_refused_curve_leaves_cpu_itself_and_says_so():
    past = history()
    past[CPU] = 5 + np.random.default_rng(0).normal(0, 0.1, M)
    out = ask({CPU: (7, 14), REQUESTS: (600, 1200)}, (CPU_70,), past)
    assert out.quantile[0, 0] == pytest.approx(20)
    assert out.against == [""]
    assert out.basis[0].startswith("by CPU itself: CPU does not follow requests")


def test_where_only_the_curve_could_have_answered_it_is_shadow():
    past = history()
    past[CPU] = 5 + np.random.default_rng(0).normal(0, 0.1, M)
    out = ask({REQUESTS: (600, 1200)}, (CPU_70,), past)
    assert np.isnan(out.quantile).all()
    assert out.against[0].startswith("no CPU forecast, and CPU does not follow requests")


def test_average_value_of_cpu_needs_no_request():
    metric = HpaMetric("resource", "cpu", "average_value", 0.5)
    assert ask({CPU: (7, 14)}, (metric,), request_cores=np.nan).quantile[0, 0] == 28
    out = ask({CPU: (7, 14)}, (CPU_70,), request_cores=np.nan)
    assert out.against == ["no CPU request of a pod: utilisation has no meaning"]


def test_a_pods_metric_by_its_own_name_or_the_configured_one():
    metric = HpaMetric("pods", "http_rps", "average_value", 50)
    assert ask({"http_rps": (100, 200)}, (metric,)).quantile[0, 0] == 4
    mapped = ask({REQUESTS: (100, 200)}, (metric,), names={"http_rps": REQUESTS})
    assert (mapped.quantile[0, 0], mapped.against) == (4, [""])


@pytest.mark.parametrize(
    ("metric", "names", "why"),
    [
        (
            HpaMetric("external", "lag", "average_value", 5),
            {},
            "the HPA scales on external metric 'lag': no metric of that name is forecast; "
            "set prescale.hpa_metrics: {lag: OUR_METRIC}",
        ),
        (HpaMetric("pods", "a", "average_value", 5), {"a": "b"}, "'b', which is not forecast"),
        (HpaMetric("object", "hits", "value", 5), {"hits": CPU}, "a target of type Value"),
        (
            HpaMetric("container_resource", "cpu", "utilization", 0.5, "app"),
            {},
            "prescale.hpa_metrics: {cpu/app: cpu_usage_cores}",
        ),
        (HpaMetric("resource", "hugepages", "average_value", 5), {}, "not measured by itself"),
    ],
)
def test_a_metric_that_nobody_forecasts_names_the_key_to_set(metric, names, why):
    out = ask({CPU: (7, 14)}, (CPU_70, metric), names=names)
    assert why in out.against[0]
    assert out.quantile[0, 0] == pytest.approx(20)  # what is known is still shown


def test_a_container_that_is_nearly_the_pod_can_be_named_so():
    metric = HpaMetric("container_resource", "cpu", "utilization", 0.7, "app")
    out = ask({CPU: (7, 14)}, (metric,), names={"cpu/app": CPU})
    assert (out.quantile[0, 0], out.against) == (pytest.approx(20), [""])


def test_memory_counts_by_requests_where_they_explain_it():
    out = ask({REQUESTS: (600, 1200), MEMORY: (3e8, 9e9)}, (MEMORY_80,))
    assert out.quantile[0, 0] == pytest.approx(1200 / 60, rel=0.03)  # (8e8 - 2e8) / 1e7
    out = ask({MEMORY: (3e8, 4e8), CPU: (7, 14)}, (CPU_70, MEMORY_80))
    assert (out.quantile[0, 0], out.against) == (pytest.approx(20), [""])


def test_memory_that_nothing_explains_never_becomes_pods():
    out = ask({MEMORY: (3e8, 9e8), CPU: (7, 14)}, (CPU_70, MEMORY_80))
    assert out.against[0].startswith("memory goes above its target, and how many pods")
    assert out.quantile[0, 0] == pytest.approx(20)


def test_a_doubt_about_any_series_that_counts_is_told():
    rps = HpaMetric("pods", "rps", "average_value", 1)
    forecasts = {CPU: (7, 14), "rps": (1, 1), REQUESTS: (1, 1)}
    out = ask(forecasts, (rps,), doubts=["cpu drifted", "rps drifted", "requests drifted"])
    assert out.doubts == ["rps drifted"]


@law
@given(
    values=arrays(np.float64, (2, 3, 4), elements=st.floats(0, 1e6) | st.just(np.nan)),
    targets=st.lists(st.floats(0.001, 1e3), min_size=3, max_size=3),
)
def test_several_metrics_ask_for_the_most_of_them(values, targets):
    names = ["a", "b", "c"]
    values.sort(axis=0)
    told = Told(
        pd.DataFrame({"workload": W, "metric": names}, dtype="str"), values, LEVELS, [""] * 3
    )
    metrics = [
        HpaMetric("external", m, "average_value", t) for m, t in zip(names, targets, strict=True)
    ]
    panel = Panel(
        pd.DataFrame({"workload": [W], "metric": ["a"]}, dtype="str"), START, STEP, np.ones((1, 9))
    )
    state = pd.DataFrame({"target_ratio": [0.7], "request_cores": [1.0], "request_bytes": [1.0]})

    def of(own):
        return needs([W], {W: own}, told, panel=panel, state=state, quantiles=[0.95]).quantile

    each = np.concatenate([of((m,)) for m in metrics])
    assert np.array_equal(of(tuple(metrics))[0], each.max(axis=0), equal_nan=True)


def test_only_what_somebody_scales_on_is_forecast_for_capacity():
    plain = wanted_metrics({W: (CPU_70,)}, {})
    assert plain == {CPU, REQUESTS}
    more = wanted_metrics({W: (MEMORY_80, HpaMetric("pods", "a", "value", 1))}, {"x": "y"})
    assert more == {CPU, REQUESTS, MEMORY, "a", "y"}
