"""The replayed HPA does what was seen on a real control plane (shared/kubernetes, "HPA"), and what
the controller's source says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.hpa_spec import DOWN, UP, HpaMetric, HpaSpec, ScalingPolicy, ScalingRules
from models.replay import ReplayParams, ReplayResult, replay

HELD = ReplayParams(interpolate=False, pod_start_s=0)
law = settings(deadline=None, max_examples=40)  # a first example compiles: time is no law


def one(
    demand: list[float],
    *,
    floors: list[int] | None = None,
    up: ScalingRules = UP,
    down: ScalingRules = DOWN,
    percent: float = 0.0,
    params: ReplayParams = HELD,
    **more: Any,
) -> ReplayResult:
    """One workload of pods that carry one core at the target; every step is one sync."""
    metrics = (HpaMetric("resource", "cpu", "utilization", percent),) if percent else ()
    case = {"pod_capacity_cores": 100.0, "target_ratio": 0.01, "min_replicas": 1}
    return replay(
        np.array([demand], float),
        15,
        floors=None if floors is None else np.array([floors], float),
        hpas=[HpaSpec("web", 1, 100, metrics, up, down)],
        params=params,
        **({"max_replicas": 100} | case | more),
    )


def replicas(*args: Any, **kwargs: Any) -> list[float]:
    return one(*args, **kwargs).replicas[0].tolist()


def test_below_its_floor_it_jumps_there_in_one_sync_past_policies_and_windows() -> None:
    slow = ScalingRules(3600, (ScalingPolicy("pods", 1, 1800),))
    assert replicas([2] * 4, floors=[1, 40, 40, 40], up=slow) == [2, 40, 40, 40]
    off = ScalingRules(0, UP.policies, "disabled")
    assert replicas([2] * 3, floors=[1, 40, 40], up=off) == [2, 40, 40]


def test_a_jump_needs_no_metrics() -> None:
    assert replicas([2, np.nan, np.nan], floors=[1, 1, 8]) == [2, 2, 8]


def test_a_lowered_floor_drops_to_what_the_metrics_need_in_one_sync() -> None:
    assert replicas([2] * 40, floors=[8] * 35 + [1] * 5)[33:37] == [8, 8, 2, 2]


def test_scale_down_policies_make_it_glide() -> None:
    two = ScalingRules(300, (ScalingPolicy("pods", 2, 15),))
    told = replicas([2] * 40, floors=[8] * 35 + [1] * 5, down=two)
    assert told[34:] == [8, 6, 4, 2, 2, 2]


def test_within_a_period_after_a_scale_up_nothing_glides() -> None:
    # what was added within the period is undone first: 2 → 8 may go back to 2 at once
    two = ScalingRules(0, (ScalingPolicy("pods", 2, 60),))
    floors = [1] * 5 + [8] * 3 + [1] * 5
    assert replicas([2] * 13, floors=floors, down=two)[5:10] == [8, 8, 8, 2, 2]
    later = [1] * 5 + [8] * 6 + [1] * 9
    assert replicas([2] * 20, floors=later, down=two)[10:20] == [8] + [6] * 4 + [4] * 4 + [2]


def test_metrics_down_nothing_scales_down() -> None:
    assert set(replicas([9] + [np.nan] * 60)) == {9}


def test_at_zero_replicas_a_raised_floor_does_nothing() -> None:
    out = one([5] * 4, floors=[8] * 4, initial_replicas=0)
    assert not out.replicas.any()
    assert out.unserved_core_h[0] == pytest.approx(5 * 4 * 15 / 3600)


@pytest.mark.parametrize("unset", [np.nan, 0, 1])
def test_an_unset_minimum_is_one(unset: float) -> None:
    assert replicas([0] * 40, min_replicas=unset)[-1] == 1


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be above max_replicas, got 9 and 3"):
        one([1], min_replicas=9, max_replicas=3)


def test_above_its_maximum_it_falls_there_at_once() -> None:
    slow = ScalingRules(3600, (ScalingPolicy("pods", 1, 1800),))
    assert replicas([9] * 2, max_replicas=7, initial_replicas=9, down=slow) == [7, 7]


def test_a_period_longer_than_a_sync_counts_what_was_added_in_it() -> None:
    four = ScalingRules(0, (ScalingPolicy("pods", 4, 60),))
    assert replicas([1] + [30] * 9, up=four) == [1] + [5] * 4 + [9] * 4 + [13]


def test_the_largest_or_the_smallest_of_several_policies_counts() -> None:
    each = (ScalingPolicy("pods", 1, 15), ScalingPolicy("percent", 50, 15))
    assert replicas([4] + [30] * 3, up=ScalingRules(0, each)) == [4, 6, 9, 14]
    assert replicas([4] + [30] * 3, up=ScalingRules(0, each, "min")) == [4, 5, 6, 7]
    assert replicas([20] + [1] * 3, down=ScalingRules(0, each)) == [20, 10, 5, 2]
    assert replicas([20] + [1] * 3, down=ScalingRules(0, each, "min")) == [20, 19, 18, 17]


def test_disabled_is_disabled() -> None:
    off = ScalingRules(0, DOWN.policies, "disabled")
    assert replicas([9] + [1] * 30, down=off)[-1] == 9
    assert replicas([1] + [9] * 30, up=off)[-1] == 1


def test_an_upward_window_takes_the_lowest_recommendation() -> None:
    calm = ScalingRules(60, UP.policies)
    assert replicas([2, 6, 2, 6, 6, 6, 6, 6], up=calm) == [2, 2, 2, 2, 2, 2, 6, 6]


def test_each_direction_has_its_tolerance() -> None:
    wide, none = ScalingRules(0, UP.policies, "max", 0.5), ScalingRules(0, DOWN.policies, "max", 0)
    assert replicas([10, 14.9, 15.1], up=wide, down=none) == [10, 10, 16]
    assert replicas([10, 9.9, 8.9], up=wide, down=none) == [10, 10, 9]


def test_utilisation_is_counted_in_whole_percent() -> None:
    # 77.9 % of a target of 70 % reads 77 %: within the tolerance
    assert replicas([10, 11.12], percent=0.7) == [10, 10]
    assert replicas([10, 11.12]) == [10, 12]
    assert replicas([10, 11.15], percent=0.7) == [10, 12]  # 78 / 70 of ten pods


def test_pods_that_start_count_as_idle_on_the_way_up_and_are_left_out_on_the_way_down() -> None:
    params = ReplayParams(interpolate=False, pod_start_s=600)
    # ten ready at 1.5 times their target, ten starting: 15 of 20, which would turn round
    assert replicas([10, 10, 15], floors=[1, 20, 20], params=params)[2] == 20
    # 25 of 20 asks for 25
    assert replicas([10, 10, 25], floors=[1, 20, 20], params=params)[2] == 25
    # 5 of the ten ready ones: half of those, not of all
    down = ScalingRules(0, DOWN.policies)
    assert replicas([10, 10, 5], floors=[1, 20, 1], down=down, params=params)[2] == 5


def test_a_young_pods_usage_counts_a_metric_window_later() -> None:
    asks = {"floors": [1, 20] + [1] * 8, "down": ScalingRules(0, DOWN.policies)}
    for window_s, seen_at in ((0, 3), (30, 5)):
        params = ReplayParams(interpolate=False, pod_start_s=30, metric_window_s=window_s)
        up = ScalingRules(0, (ScalingPolicy("pods", 100, 15),))
        # 40 cores: with only ten pods counted their usage is 20 of 20, so nothing moves
        asks = {"floors": [1] + [20] * 9, "up": up}
        told = replicas([10] + [40] * 9, params=params, pod_capacity_cores=2.0, target_ratio=0.5,
                        **asks)  # fmt: skip
        assert np.flatnonzero(np.array(told) == 40)[0] == seen_at
    old = ReplayParams(interpolate=False, pod_start_s=300, metric_window_s=30)
    told = replicas([10] + [40] * 25, params=old, pod_capacity_cores=2.0, target_ratio=0.5, **(
        asks | {"floors": [1] + [20] * 25}))  # fmt: skip
    assert np.flatnonzero(np.array(told) == 40)[0] == 1 + 300 / 15  # no longer young


def test_floors_may_change_within_a_step() -> None:
    out = replay(
        np.full((1, 2), 2.0), 60, floors=np.array([[0, 0, 0, 8, 8, 0, 0, 0.0]]), params=HELD,
        pod_capacity_cores=100.0, target_ratio=0.01, min_replicas=1, max_replicas=100,
    )  # fmt: skip
    assert out.replicas[0].tolist() == [(2 * 3 + 8) / 4, (8 + 2 * 3) / 4]
    with pytest.raises(ValueError, match="floors must be of 1 rows and k × 2 steps"):
        replay(np.ones((1, 2)), 60, floors=np.ones((1, 3)), pod_capacity_cores=1, target_ratio=1,
               min_replicas=1, max_replicas=2)  # fmt: skip


demands = arrays(np.float64, (2, 24), elements=st.floats(0, 60) | st.just(np.nan))
behaviours = st.builds(
    ScalingRules,
    st.integers(0, 600),
    st.lists(
        st.builds(
            ScalingPolicy, st.sampled_from(["pods", "percent"]), st.integers(1, 200),
            st.integers(1, 1800),
        ),
        min_size=1, max_size=3,
    ).map(tuple),
    st.sampled_from(["max", "min", "disabled"]),
    st.floats(0, 0.5),
)  # fmt: skip


@law
@given(
    demand=demands,
    up=behaviours,
    down=behaviours,
    lift=st.integers(0, 20),
    start=st.integers(0, 400),
)
def test_what_comes_later_changes_nothing_before(
    demand: np.ndarray, up: ScalingRules, down: ScalingRules, lift: int, start: int
) -> None:
    """Causal, within its bounds, and each workload alone, whatever the behaviour."""
    spec = HpaSpec("web", 2, 50, (), up, down)
    case: dict[str, Any] = {
        "pod_capacity_cores": 1.0, "target_ratio": 0.5, "min_replicas": 2, "max_replicas": 50,
        "params": ReplayParams(interpolate=False, pod_start_s=start, metric_window_s=15),
    }  # fmt: skip
    floors = np.full(demand.shape, float(lift))
    whole = replay(demand, 60, floors=floors, hpas=[spec, None], **case)
    other = demand.copy()
    other[:, 12:], floors[:, 12:] = 7.0, 0.0
    changed = replay(other, 60, floors=floors, hpas=[spec, None], **case)
    first = np.isfinite(demand[:, :12]).any(axis=1)  # pods rest at the first demand that is seen
    assert (whole.replicas[first, :12] == changed.replicas[first, :12]).all()
    assert whole.replicas.min() >= 2
    assert whole.replicas.max() <= 50
    assert (whole.ready <= whole.replicas + 1e-9).all()
    assert (whole.ready >= 0).all()
    alone = replay(demand[:1], 60, floors=np.full((1, 24), float(lift)), hpas=[spec], **case)
    assert (alone.replicas[0] == whole.replicas[0]).all()


@law
@given(demand=demands, low=st.integers(0, 40), lift=st.integers(0, 40))
def test_a_higher_floor_never_serves_less(demand: np.ndarray, low: int, lift: int) -> None:
    """Where pods are ready at once: ones that start may hold a scale-up back, as on a cluster."""
    case: dict[str, Any] = {
        "pod_capacity_cores": 1.0, "target_ratio": 0.5, "min_replicas": 1, "max_replicas": 80,
        "params": ReplayParams(pod_start_s=0, tolerance=0, interpolate=False),
    }  # fmt: skip
    floors = np.full(demand.shape, float(low))
    less, more = (replay(demand, 60, floors=f, **case) for f in (floors, floors + lift))
    assert (more.unserved_core_h <= less.unserved_core_h + 1e-9).all()
    assert (more.over_target_core_h <= less.over_target_core_h + 1e-9).all()
    assert (more.replica_hours >= less.replica_hours - 1e-9).all()
