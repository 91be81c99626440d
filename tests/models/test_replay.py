"""The replayed HPA behaves like the one on a real control plane; policies keep their order."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.floors import last_week_floors, oracle_floors
from models.replay import ReplayParams, compare, replay, totals

HELD = ReplayParams(interpolate=False, pod_start_s=0)
POD = {"pod_capacity_cores": 1.0, "target_ratio": 0.5}
demands = arrays(np.float64, (3, 24), elements=st.floats(0, 60) | st.just(np.nan))
# a first example compiles, and machines are shared: time is no law
law = settings(deadline=None, max_examples=40)


def one(demand, *, step_s=15.0, low=1, high=100, floors=None, params=HELD, **pod):
    """One workload on a grid of one sync a step, so that every step shows one decision."""
    given_floors = None if floors is None else np.array([floors], float)
    return replay(
        np.array([demand], float),
        step_s,
        min_replicas=low,
        max_replicas=high,
        floors=given_floors,
        params=params,
        **(POD | pod),
    )


def test_a_raised_floor_is_reached_in_one_step_past_the_policies():
    out = one([1.0] * 4, floors=[1, 50, 50, 50])
    assert out.replicas[0].tolist() == [2, 50, 50, 50]


def test_a_lowered_floor_drops_at_once_to_what_the_metrics_need():
    out = one([1.0] * 60, floors=[8] * 50 + [1] * 10)
    assert out.replicas[0, 45:55].tolist() == [8] * 5 + [2] * 5


def test_without_metrics_nothing_scales_down_and_a_floor_still_lifts():
    out = one([5.0] * 5 + [np.nan] * 60, floors=[1] * 30 + [20] * 35)
    assert out.replicas[0, :30].tolist() == [10] * 30
    assert out.replicas[0, 30:].tolist() == [20] * 35
    assert out.demand_core_h == pytest.approx(5 * 5 * 15 / 3600)


def test_scaling_up_adds_four_pods_or_doubles_whichever_is_more():
    out = one([0.5] + [40.0] * 6, pod_capacity_cores=100.0, target_ratio=0.005)
    assert out.replicas[0].tolist() == [1, 5, 10, 20, 40, 80, 80]


def test_a_recommendation_holds_scaling_down_for_five_minutes():
    out = one([10.0] * 5 + [1.0] * 40)
    low = np.flatnonzero(out.replicas[0] < 20)[0]
    assert (low - 4) * 15 == 300
    assert out.replicas[0, low] == 2


def test_within_ten_percent_nothing_moves():
    out = one([5.0] * 5 + [5.49] * 30 + [4.51] * 30)
    assert set(out.replicas[0]) == {10}
    assert one([5.0] * 5 + [5.51] * 5).replicas[0, -1] == 12


def test_usage_is_capped_by_what_ready_pods_burn():
    # 2 pods at a target of a half: however large the demand, usage says at most twice as many
    out = one([1.0] + [1000.0] * 5, params=ReplayParams(interpolate=False, pod_start_s=60))
    assert out.replicas[0].tolist() == [2, 4, 4, 4, 4, 8]


def test_pods_are_ready_a_start_time_after_the_decision():
    params = ReplayParams(interpolate=False, pod_start_s=180)
    out = one([1.0] * 40, floors=[1] * 10 + [6] * 30, params=params)
    assert out.replicas[0, 9:11].tolist() == [2, 6]
    assert np.flatnonzero(out.ready[0] == 6)[0] == 10 + 180 / 15


def test_the_youngest_pods_go_first():
    params = ReplayParams(interpolate=False, pod_start_s=180)
    out = one([0.7] * 30, floors=[1] * 10 + [6] * 5 + [1] * 15, params=params)
    assert set(out.ready[0]) == {2}


def test_a_floor_never_lifts_above_max_replicas():
    assert one([1.0] * 3, floors=[50] * 3, high=7).replicas.max() == 7


def test_measures_are_in_core_hours():
    out = one([1.0] * 4 + [10.0] * 4, step_s=3600, low=4, high=4)
    assert out.demand_core_h.tolist() == [44]
    assert out.unserved_core_h.tolist() == [4 * (10 - 4)]
    assert out.over_target_core_h.tolist() == [4 * (10 - 2)]
    assert out.replica_hours.tolist() == [32]
    # minReplicas = maxReplicas: nobody could have had more than 4 pods, so none is missing
    assert out.short_pod_min.tolist() == [0]


def test_demand_between_two_steps_is_a_straight_line():
    params = ReplayParams(pod_start_s=0)
    out = one([0.0, 10.0], step_s=300, low=1, high=1, params=params)
    # 0 for half a step, a ramp of a whole step to 10, 10 for half a step
    assert out.demand_core_h[0] == pytest.approx((5 * 300 + 10 * 150) / 3600)


@law
@given(
    demand=demands, floors=arrays(np.float64, (3, 24), elements=st.floats(0, 80) | st.just(np.nan))
)
def test_pods_stay_within_bounds_and_measures_are_finite(demand, floors):
    out = replay(demand, 300, min_replicas=2, max_replicas=50, floors=floors, **POD)
    assert out.replicas.min() >= 2
    assert out.replicas.max() <= 50
    assert (out.ready <= out.replicas + 1e-9).all()
    assert (out.unserved_core_h <= out.over_target_core_h + 1e-9).all()
    assert (out.over_target_core_h <= out.demand_core_h + 1e-9).all()
    for measure in (out.unserved_core_h, out.replica_hours, out.short_pod_min):
        assert (np.isfinite(measure) & (measure >= 0)).all()


@law
@given(demand=demands)
def test_workloads_do_not_touch_each_other(demand):
    together = replay(demand, 300, min_replicas=1, max_replicas=50, **POD)
    alone = replay(demand[1:2], 300, min_replicas=1, max_replicas=50, **POD)
    assert (together.replicas[1] == alone.replicas[0]).all()


def monday(n_weeks=2, seed=0):
    """Working hours that begin at nine, sharply, (4, steps of 5 minutes)."""
    rng = np.random.default_rng(seed)
    t = np.arange(2016 * n_weeks)
    busy = (t % 288 >= 108) & (t % 288 < 204) & (t // 288 % 7 < 5)
    return (
        np.array([[3.0], [8.0], [20.0], [60.0]])
        * np.where(busy, 1.0, 0.2)
        * rng.lognormal(0, 0.03, (4, len(t)))
    )


def week(**more):
    demand = monday()
    names = [f"c/n/Deployment/w{i}" for i in range(4)]
    return compare(
        demand[:, 2016:],
        300,
        workloads=names,
        history=demand[:, :2016],
        min_replicas=2,
        max_replicas=300,
        **(POD | more),
    )


def test_knowing_the_demand_serves_it_and_the_reactive_hpa_does_not():
    whole = totals(week()).set_index("policy")
    assert whole.loc["reactive", "unserved"] > 0
    assert whole.loc["oracle", "unserved"] == 0
    assert whole.loc["oracle", "over_target"] < 0.05 * whole.loc["reactive", "over_target"]
    assert whole.loc["oracle", "unserved_cut_share"] == 1
    assert whole.loc["last_week", "over_target_cut_share"] > 0.5
    assert whole.loc["reactive", "replica_hours_ratio"] == 1


def test_floors_of_the_oracle_given_as_ours_do_as_well_as_the_oracle():
    demand = monday()[:, 2016:]
    floors = oracle_floors(demand, 300, target_per_pod_cores=0.5, pod_start_s=180)
    rows = week(floors=floors).set_index(["policy", "workload"])
    pd.testing.assert_frame_equal(rows.loc["foretide"], rows.loc["oracle"])


def test_a_share_of_nothing_is_no_number():
    calm = compare(np.ones((1, 50)), 300, workloads=["w"], min_replicas=9, max_replicas=9, **POD)
    assert calm["unserved_cut_share"].isna().all()
    assert (calm["replica_hours_ratio"] == 1).all()


def test_last_weeks_rule_looks_at_the_half_hour_after_now_a_week_ago():
    history = np.zeros((1, 2016))
    history[0, 100] = 5.0
    floors = last_week_floors(np.zeros((1, 200)), history, 300, target_per_pod_cores=0.5)
    assert np.flatnonzero(floors[0] == 10).tolist() == [95, 96, 97, 98, 99, 100]
    short = last_week_floors(
        np.full((1, 200), 9.0), history[:, -50:], 300, target_per_pod_cores=0.5
    )
    assert not short.any()


@pytest.mark.parametrize("fill", [0.0, 1e15, -5.0, np.nan, np.inf])
def test_degenerate_demand_gives_finite_answers(fill):
    out = compare(
        np.full((2, 9), fill),
        300,
        workloads=["a", "b"],
        min_replicas=np.nan,
        max_replicas=np.nan,
        history=np.full((2, 3), fill),
        **POD,
    )
    assert np.isfinite(
        out[["demand", "unserved", "over_target", "replica_hours", "short_pod_min"]]
    ).all(axis=None)


@pytest.mark.parametrize(("name", "value"), [("pod_capacity_cores", 0.0), ("target_ratio", np.nan)])
def test_a_pod_without_capacity_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"replay: {name} must be above 0"):
        one([1.0], **{name: value})


@pytest.mark.parametrize(("key", "value"), [("sync_s", 0), ("tolerance", -1), ("scale_up_pods", 0)])
def test_a_knob_without_meaning_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"replay: {key} must be"):
        ReplayParams(**{key: value})


def test_forty_workloads_and_a_week_take_under_two_seconds():
    import time

    demand = np.tile(monday(1), (10, 1))
    replay(demand[:, :10], 300, min_replicas=1, max_replicas=300, **POD)
    began = time.process_time()
    replay(demand, 300, min_replicas=1, max_replicas=300, **POD)
    assert time.process_time() - began < 2
