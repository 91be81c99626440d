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
from models.capacity import CapacityParams, capacity_forecast, capacity_frame
from models.capacity_params import quantiles_of
from models.hpa import hpa_replicas, rolling_max, step_down
from models.hpa_answers import _basis, carried_by
from models.hpa_demand import resting_replicas
from models.hpa_spec import HpaMetric, HpaSpec
from models.lead_times import lead_time_s
from models.modes import Rule
from models.state import workload_state

STEP = pd.Timedelta(300, "s")
START = pd.Timestamp("2026-06-08", tz="UTC")
PLAIN = CapacityParams(floor_step_min=5, hold_min=0, step_down_share=1.0)
GENTLE = CapacityParams(floor_step_min=5, hold_min=10, step_down_share=0.25)

ONES = {
    "request_per_pod_cores": 1.0,
    "request_per_pod_bytes": np.nan,
    "target_ratio": 0.7,
    "min_replicas": 1.0,
    "max_replicas": 40.0,
    "lead_time_s": 300.0,
}

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
    assert (more.ready_replicas >= less.ready_replicas).all()


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


def carried(demand, begin_s, end_s):
    """The most that straight lines between the middles of the steps reach, (3,)."""
    at = (np.arange(demand.shape[1]) + 0.5) * 300
    inside = demand[:, (at > begin_s) & (at < end_s)]
    ends = [[np.interp(t, at, row) for t in (begin_s, end_s)] for row in demand]
    return np.concatenate([inside, np.array(ends)], axis=1).max(axis=1)


@law
@given(
    demand=demands,
    lead=st.floats(0, 3600),
    floor_min=st.sampled_from([5, 15, 20]),
    hold_min=st.sampled_from([0, 7]),
)
def test_a_floor_carries_what_comes_while_it_stands_and_its_lead_time_after(
    demand, lead, floor_min, hold_min
):
    params = CapacityParams(floor_step_min=floor_min, hold_min=hold_min, step_down_share=1.0)
    out = ask(demand, lead=lead, params=params)
    length = floor_min * 60
    assert out.replicas.shape == (3, np.ceil(24 * 300 / length))
    assert out.step == pd.Timedelta(floor_min, "min")
    for j in range(out.replicas.shape[1]):
        begin = j * length - hold_min * 60
        for found, further in ((out.replicas, lead), (out.ready_replicas, 0.0)):
            need = hpa_replicas(carried(demand, begin, (j + 1) * length + further), 0.7)
            assert (found[:, j] == np.clip(need, 1, 40)).all()


def test_floors_stand_by_the_clock_whenever_a_forecast_begins():
    params = CapacityParams(floor_step_min=15)
    begin = pd.Timestamp("2026-06-08T09:07", tz="UTC")
    one = {k: np.full(1, v) for k, v in ONES.items()}
    demand = np.full((1, 5), 4.2)
    out = capacity_forecast(demand, demand, **one, step=STEP, start=begin, params=params)
    assert out.start == pd.Timestamp("2026-06-08T09:00", tz="UTC")
    assert out.replicas.shape == (1, 3)  # 09:00, 09:15 and 09:30 to 09:32


@law
@given(demand=demands, shift=st.integers(1, 12))
def test_demand_that_comes_later_moves_the_floor_by_as_much(demand, shift):
    quiet = np.zeros((3, 12))
    whole = np.concatenate([quiet, demand, quiet, quiet], axis=1)
    later = np.concatenate([np.zeros((3, shift)), whole[:, :-shift]], axis=1)
    params = CapacityParams(floor_step_min=5)
    here, there = (ask(d, params=params).replicas for d in (whole, later))
    assert (there[:, shift:] == here[:, :-shift]).all()


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
    out = ask(demand, lead=0.0, params=GENTLE)
    assert out.replicas.tolist() == [[1, 8, 16, 16, 16, 12, 9, 6, 4, 3, 2, 1]]


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
        ("under_cost", 0),
        ("over_cost", np.inf),
        ("lead_time_s", -1),
        ("step_down_min", 0),
        ("hold_min", np.nan),
    ],
)
def test_a_knob_without_meaning_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"capacity: {key} must be"):
        CapacityParams(**{key: value})


@law
@given(demand=demands, lead=st.floats(0, 3600))
def test_ready_pods_are_held_and_stepped_down_and_know_no_lead_time(demand, lead):
    out = ask(demand, lead=lead, params=CapacityParams())
    assert (out.ready_replicas == ask(demand, lead=0.0, params=CapacityParams()).replicas).all()
    assert (out.replicas >= out.ready_replicas).all()


def test_the_quantile_is_the_newsvendors():
    assert CapacityParams().quantile == 0.95
    assert CapacityParams(under_cost=3, over_cost=1).quantile == 0.75
    rules = [Rule("c/n/*/a", under_cost=99), Rule("c/n/*/b", over_cost=19), Rule("c/*", mode="off")]
    names = ["c/n/Deployment/a", "c/n/Deployment/b", "c/n/Deployment/c", "d/n/Deployment/a"]
    assert quantiles_of(names, rules) == [0.99, 0.5, 0.95, 0.95]


@law
@given(under=st.floats(1e-300, 1e300), over=st.floats(1e-300, 1e300), more=st.floats(1, 1e6))
def test_a_dearer_miss_never_lowers_the_quantile(under, over, more):
    less = CapacityParams(under_cost=under, over_cost=over).quantile
    assert 0 < less < 1
    assert CapacityParams(under_cost=min(under * more, 1e300), over_cost=over).quantile >= less


def test_a_workloads_own_quantile_and_basis_are_told():
    out = capacity_forecast(
        np.full((2, 3), 4.2),
        np.full((2, 3), 3.0),
        **{k: np.full(2, v) for k, v in ONES.items()},
        step=STEP,
        params=PLAIN,
        per_pod=np.ones(2),
        quantile=np.array([0.95, 0.995]),
        basis=["", "requests_per_second at 20 a pod"],
        lead_time_source=["p95 of its pods' starts", ""],
    )
    assert out.gate_reason == [
        "carries the 95% quantile of the forecast",
        "carries the 99.5% quantile of the forecast; requests_per_second at 20 a pod",
    ]
    assert (out.replicas == 5).all()
    frame = capacity_frame(
        out,
        ["c/n/Deployment/a", "c/n/Deployment/b"],
        pd.date_range(START, periods=3, freq=STEP).as_unit("ms"),
        issued_at=START,
        valid_until=START,
    )
    assert frame["quantile"].tolist() == [0.95] * 3 + [0.995] * 3
    assert frame["lead_time_source"].iloc[0] == "p95 of its pods' starts"


@law
@given(
    pods=arrays(np.float64, (2, 30), elements=st.floats(0, 50) | st.just(np.nan)),
    up=st.floats(0, 0.5),
    down=st.floats(0, 0.5),
)
def test_an_hpa_alone_moves_only_beyond_its_tolerance(pods, up, down):
    low, high = np.ones(2), np.full(2, 40.0)
    rest = resting_replicas(pods, low, high, (np.full(2, up), np.full(2, down)))
    before, now, need = rest[:, :-1], rest[:, 1:], pods[:, 1:]
    moved = before != now
    first = np.isnan(pods[:, :1]) & (before == low[:, None])
    beyond = (need > before * (1 + up)) | (need < before * (1 - down)) | first
    assert (beyond | ~moved).all()
    assert (now[moved] == np.clip(np.ceil(need * (1 - 1e-12)), 1, 40)[moved]).all()


def test_the_smallest_floor_of_the_day_is_the_users_and_an_hpa_read_wins_over_samples():
    w = "c/n/Deployment/a"
    ts = pd.date_range(START, periods=4, freq="6h").as_unit("ms")
    seen = [("hpa_min_replicas", at, v) for at, v in zip(ts, (2, 9, 9, 9), strict=True)]
    seen += [("hpa_max_replicas", ts[3], 20.0)]
    frame = pd.DataFrame([(w, *row) for row in seen], columns=["workload", "metric", "ts", "value"])
    panel = Panel.from_frame(frame, step=pd.Timedelta(1, "h"))
    assert workload_state(panel, [w])[["hpa_min", "hpa_max"]].iloc[0].tolist() == [2, 20]
    cpu = HpaMetric("resource", "cpu", "utilization", 0.6)
    told = workload_state(panel, [w], specs={w: HpaSpec("its-hpa", 3, 30, (cpu,))}).iloc[0]
    assert told[["hpa", "hpa_min", "hpa_max", "target_ratio"]].tolist() == ["its-hpa", 3, 30, 0.6]


@given(st.floats(1e-9, 1e12))
def test_what_a_pod_carries_is_read_back_from_the_gates_words(carries):
    told = f"carries the 95% quantile of the forecast; {_basis('requests_per_second', carries)}"
    assert carried_by(told) == {"requests_per_second": float(f"{carries:.3g}")}
