"""Laws of the capacity forecast: monotone, bounded, early by the lead time, and honest."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.frames import CAPACITY, conform
from features.panel import Panel
from models.capacity import CapacityParams, capacity_forecast, capacity_frame, lead_time_s
from models.hpa import hpa_replicas, rolling_max, step_down
from models.per_pod import CurveParams, per_pod_curve
from models.state import workload_state

STEP = pd.Timedelta(300, "s")
START = pd.Timestamp("2026-06-08", tz="UTC")
PLAIN = CapacityParams(hold_min=0, step_down_share=1.0)

demands = arrays(np.float64, (3, 24), elements=st.floats(0, 50))
# a first example compiles, and machines are shared: time is no law
law = settings(deadline=None, max_examples=40)


def ask(
    demand, *, low=1.0, high=40.0, lead=300.0, request=1.0, params=PLAIN, shadow=None, median=None
):
    n = len(demand)

    def each(value):
        return np.broadcast_to(np.asarray(value, dtype=float), (n,)).copy()

    return capacity_forecast(
        demand,
        demand if median is None else median,
        request_per_pod_cores=each(request),
        request_per_pod_bytes=each(2**30),
        target_ratio=each(0.7),
        min_replicas=each(low),
        max_replicas=each(high),
        lead_time_s=each(lead),
        step=STEP,
        params=params,
        shadow=shadow,
    )


@law
@given(demand=demands, factor=st.floats(1, 10), params=st.sampled_from([PLAIN, CapacityParams()]))
def test_more_demand_never_asks_for_fewer_replicas(demand, factor, params):
    more, less = ask(demand * factor, params=params), ask(demand, params=params)
    assert (more.replicas >= less.replicas).all()
    assert (more.reactive_replicas >= less.reactive_replicas).all()


@law
@given(
    demand=arrays(np.float64, (3, 24), elements=st.floats(allow_nan=True, allow_infinity=True)),
    low=st.integers(0, 20),
    more=st.integers(0, 20),
)
def test_replicas_stay_within_the_users_bounds_whatever_comes(demand, low, more):
    out = ask(demand, low=float(low), high=float(low + more), params=CapacityParams())
    for replicas in (out.replicas, out.reactive_replicas):
        assert replicas.min() >= low
        assert replicas.max() <= low + more


@law
@given(demand=demands, lead=st.floats(0, 7200), more=st.floats(0, 7200))
def test_a_longer_lead_time_never_lowers_a_floor(demand, lead, more):
    late = ask(demand, lead=lead, params=CapacityParams())
    early = ask(demand, lead=lead + more, params=CapacityParams())
    assert (early.replicas >= late.replicas).all()


@law
@given(demand=demands, steps=st.integers(0, 6))
def test_the_floor_is_the_need_of_the_lead_time_ahead(demand, steps):
    out = ask(demand, lead=steps * 300.0)
    need = np.clip(hpa_replicas(demand, 0.7), 1, 40)
    for t in range(24):
        assert (out.replicas[:, t] == need[:, t : t + steps + 1].max(axis=1)).all()


@law
@given(demand=demands, shift=st.integers(1, 12))
def test_demand_that_comes_later_moves_the_floor_by_as_much(demand, shift):
    quiet = np.zeros((3, 12))
    whole = np.concatenate([quiet, demand, quiet, quiet], axis=1)
    later = np.concatenate([np.zeros((3, shift)), whole[:, :-shift]], axis=1)
    here, there = (ask(d, params=CapacityParams()).replicas for d in (whole, later))
    assert (there[:, shift:] == here[:, :-shift]).all()


def test_a_lead_time_is_rounded_up_to_whole_steps():
    demand = np.zeros((1, 6))
    demand[0, 4] = 7.0
    assert ask(demand, lead=301.0).replicas.tolist() == [[1, 1, 10, 10, 10, 1]]


def test_ten_pods_carry_seven_cores_at_seventy_percent():
    assert hpa_replicas(np.array([7.0, 7.0001]), 0.7).tolist() == [10, 11]


def test_within_the_tolerance_the_replicas_stay():
    usage = np.array([7.0, 7.69, 6.31, 7.71, 6.29])
    assert hpa_replicas(usage, 0.7, current=10).tolist() == [10, 10, 10, 12, 9]


@law
@given(
    values=arrays(np.float64, (2, 17), elements=st.floats(-9, 9) | st.just(np.nan)),
    back=st.integers(0, 20),
    ahead=st.integers(0, 20),
)
def test_rolling_max_is_the_largest_of_its_window(values, back, ahead):
    out = rolling_max(values, back, ahead)
    for t in range(17):
        window = values[:, max(t - back, 0) : t + ahead + 1]
        assert (out[:, t] == np.where(np.isnan(window), -np.inf, window).max(axis=1)).all()


def test_a_floor_is_held_and_then_given_back_in_parts():
    demand = np.zeros((1, 12))
    demand[0, 2] = 11.2
    out = ask(demand, lead=0.0, params=CapacityParams(hold_min=10, step_down_share=0.25))
    assert out.replicas.tolist() == [[1, 1, 16, 16, 16, 12, 9, 6, 4, 3, 2, 1]]


@law
@given(floors=arrays(np.int64, (2, 20), elements=st.integers(1, 50)), share=st.floats(0.01, 1))
def test_stepping_down_never_lowers_and_is_itself_a_step_down(floors, share):
    out = step_down(floors.astype(float), share)
    assert (out >= floors).all()
    assert (step_down(out, share) == out).all()


def test_every_workload_says_why_it_may_or_may_not_be_acted_on():
    demand = np.full((8, 4), 7.0)
    demand[2] = np.nan
    demand[3, :1] = np.nan
    nan = np.nan
    out = ask(
        demand,
        low=[1, 1, 1, 1, 1, 1, 0, 9],
        high=[40, nan, 40, 40, 40, 6, 40, 3],
        request=[1, 1, 1, 1, nan, 1, 1, 1],
        shadow=["forecast is stale", "", "", "", "", "", "", ""],
    )
    assert out.gate == ["shadow"] * 5 + ["act"] + ["shadow"] * 2
    assert out.gate_reason == [
        "forecast is stale",
        "no HPA: nothing holds a floor for this workload",
        "no CPU forecast",
        "1 of 4 steps have no forecast",
        "no CPU request of a pod: utilisation has no meaning",
        "forecast asks for 10 replicas, maxReplicas is 6: 4 short",
        "minReplicas is 0: an HPA at zero replicas does not follow its floor",
        "the HPA's minReplicas is above its maxReplicas",
    ]
    assert ask(demand[:1]).gate_reason == ["carries the 95% quantile of the forecast"]


def test_the_frame_keeps_the_contract():
    out = ask(np.full((2, 3), 7.0))
    names = ["prod/shop/Deployment/a", "prod/shop/Deployment/b"]
    times = pd.date_range(START, periods=3, freq=STEP).as_unit("ms")
    frame = capacity_frame(
        out, names, times, issued_at=START, valid_until=START + pd.Timedelta(1, "D")
    )
    table = conform(frame.assign(run_id="r"), CAPACITY)
    assert isinstance(table, pa.Table)
    assert frame["workload"].tolist() == [names[0]] * 3 + [names[1]] * 3
    assert frame["cpu_cores"].tolist() == [10.0] * 6
    assert frame["memory_bytes"].tolist() == [10.0 * 2**30] * 6


def test_the_lead_time_is_a_high_quantile_of_what_was_measured():
    starts = np.full((3, 100), np.nan)
    starts[0] = np.arange(1, 101)
    starts[1, :3] = [-5, 0, np.inf]
    assert lead_time_s(starts).tolist() == [95, 300, 300]
    assert lead_time_s(np.empty((2, 0))).tolist() == [300, 300]


def test_the_state_is_the_newest_and_old_settings_are_gone():
    ts = pd.date_range(START, periods=3, freq="20h").as_unit("ms")
    w = "c/n/Deployment/a"
    rows = [(w, "hpa_max_replicas", ts[0], 9.0), (w, "hpa_min_replicas", ts[2], 2.0)]
    for at, cores, replicas in ((ts[1], 8.0, 4.0), (ts[2], 6.0, 4.0)):
        rows += [(w, "cpu_request_cores", at, cores), (w, "replicas", at, replicas)]
    rows += [(w, "pod_start_seconds", ts[0], 77.0)]
    frame = pd.DataFrame(rows, columns=["workload", "metric", "ts", "value"])
    panel = Panel.from_frame(frame, step=pd.Timedelta(1, "h"))
    state = workload_state(panel, [w, "c/n/Deployment/gone"])
    first = state.iloc[0]
    assert np.isnan(first["hpa_max"])
    assert first[["hpa_min", "replicas", "request_cores", "lead_time_s"]].tolist() == [
        2,
        4,
        1.5,
        77,
    ]
    assert state.iloc[1][["hpa_min", "replicas", "request_cores"]].isna().all()
    assert state.iloc[1]["lead_time_s"] == 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quantile", 0),
        ("quantile", 1.1),
        ("lead_time_s", -1),
        ("step_down_min", 0),
        ("hold_min", np.nan),
    ],
)
def test_a_knob_without_meaning_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"capacity: {key} must be"):
        CapacityParams(**{key: value})


def curve_history(seed=0, n=1000):
    rng = np.random.default_rng(seed)
    requests = 50 + 40 * np.sin(np.arange(n) / 288 * 2 * np.pi) + rng.normal(0, 1, n)
    return requests, 0.5 + requests * 0.02


def test_a_true_relation_is_found_in_spite_of_outliers_and_gaps():
    requests, cores = curve_history()
    dirty = cores.copy()
    dirty[::37] *= 20
    dirty[5:50] = np.nan
    curves = per_pod_curve(requests[None], dirty[None], CurveParams(wape_max=2.0))
    assert curves.refusal == [""]
    asked = np.array([[20.0, 50.0, 85.0, np.nan]])
    assert curves.cores_at(asked)[0, :3] == pytest.approx([0.9, 1.5, 2.2], rel=0.1)
    assert np.isnan(curves.cores_at(asked)[0, 3])


@law
@given(seed=st.integers(0, 1000))
def test_a_curve_never_falls_and_grows_without_end(seed):
    rng = np.random.default_rng(seed)
    requests, cores = rng.gamma(2, 10, (1, 400)), rng.gamma(2, 1, (1, 400))
    curves = per_pod_curve(requests, cores, CurveParams(wape_max=1e9))
    asked = np.linspace(0, 1e4, 500)[None]
    assert (np.diff(curves.cores_at(asked)) >= 0).all()


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
