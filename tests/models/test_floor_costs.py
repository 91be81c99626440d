"""Which floor pays: by what it would have cost beside the workload's own HPA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.floor_costs import CANDIDATES, IssueParams, block_means, cheapest, floor_costs
from models.floor_windows import carried, largest, straight
from models.nowcast import fit_nowcast
from models.replay_case import ReplayCase, assumed_case
from models.replayed_hpa import ReplayParams, replay

STEP_S = 300.0
DAYS = 14
N = DAYS * 288
law = settings(deadline=None, max_examples=30)


def steep(noise: float, seed: int = 1) -> np.ndarray:
    """Steep mornings on every day, (1, N)."""
    t = np.arange(N)
    day = 40 + 360 * ((t % 288 >= 108) & (t % 288 < 204))
    return (day * np.random.default_rng(seed).lognormal(0, noise, N))[None]


def costs_of(actual: np.ndarray, point: np.ndarray, case: ReplayCase | None = None) -> np.ndarray:
    known = fit_nowcast(actual, point, STEP_S / 3600)
    case = case or assumed_case(actual)
    return floor_costs(actual, actual, point, known, case, step_s=STEP_S)


def test_floors_of_a_good_forecast_pay_and_those_of_a_bad_one_do_not() -> None:
    actual = steep(0.02)
    rng = np.random.default_rng(5)
    good, bad = steep(0.0), rng.permuted(actual, axis=1)
    assert cheapest(costs_of(actual, good), np.array([19.0]))[0] >= 0.5
    assert cheapest(costs_of(actual, bad), np.array([1.0]))[0] == 0


def test_a_higher_floor_costs_more_pods_and_misses_less() -> None:
    found = costs_of(steep(0.1), steep(0.0))[0].astype(float)
    assert (np.diff(found[:, 0]) >= -1e-3 * found[0, 0]).all()
    assert (np.diff(found[:, 1]) <= 1e-3 * found[0, 1]).all()
    assert found[0, 1] > found[-1, 1]


def test_what_is_counted_is_what_a_replay_finds() -> None:
    actual, point = steep(0.08), steep(0.0)
    case = assumed_case(actual)
    found = costs_of(actual, point, case)[0]
    fine = straight(actual, 5)
    same = ReplayParams(interpolate=False)
    alone = replay(
        np.repeat(fine, 4, axis=1),
        15.0,
        pod_capacity_cores=case.pod_capacity_cores,
        target_ratio=case.target_ratio,
        min_replicas=2,
        max_replicas=400,
        pod_start_s=180.0,
        params=same,
    )
    assert found[0, 0] == pytest.approx(alone.replica_hours[0], rel=0.02)
    assert found[0, 1] == pytest.approx(alone.short_pod_min[0] / 60, rel=0.15)


def test_days_without_demand_cost_nothing() -> None:
    """Holidays are blanked: a floor of a usual day there is paid for by nobody."""
    actual, point = steep(0.02), steep(0.0)
    quiet = actual.copy()
    quiet[0, 5 * 288 : 8 * 288] = np.nan
    whole, less = costs_of(actual, point)[0], costs_of(quiet, point)[0]
    assert less[0, 0] == pytest.approx(whole[0, 0] * 11 / 14, rel=0.03)
    assert less[-1, 0] == pytest.approx(whole[-1, 0] * 11 / 14, rel=0.03)


@given(under=st.floats(0.01, 1e4), more=st.floats(1, 100))
@law
def test_a_dearer_miss_never_lowers_the_floor(under: float, more: float) -> None:
    rng = np.random.default_rng(3)
    costs = np.sort(rng.uniform(1, 5, (20, len(CANDIDATES), 2)), axis=1)
    costs[:, :, 1] = costs[:, ::-1, 1]
    low, high = (cheapest(costs, np.full(20, u)) for u in (under, under * more))
    assert (high >= low).all()


def test_who_has_no_hpa_or_no_forecast_has_no_costs() -> None:
    actual = np.concatenate([steep(0.02), steep(0.02, seed=2), steep(0.02, seed=3)])
    point = np.concatenate([steep(0.0)] * 3)
    point[1] = np.nan
    case = assumed_case(actual)
    found = costs_of(actual, point, replace(case, refusal=["", "", "no HPA"]))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()
    assert np.isnan(cheapest(found, np.full(3, 19.0))[1:]).all()
    alone = costs_of(actual[:1], point[:1], case.select(np.array([True, False, False])))
    np.testing.assert_array_equal(alone[0], found[0])


@given(
    values=arrays(np.float64, (2, 9), elements=st.floats(-50, 50) | st.just(np.nan)),
    begin=st.floats(-500, 3000),
    length=st.floats(0, 2000),
)
@law
def test_the_largest_value_of_a_window_is_that_of_the_straight_lines(
    values: np.ndarray, begin: float, length: float
) -> None:
    found = largest(values, 150.0, 300.0, np.array([begin]), np.array([length, length]))
    at = 150.0 + 300.0 * np.arange(9)
    for row, told in zip(values, found[:, 0], strict=True):
        there = np.isfinite(row)
        if not there.any():
            assert np.isnan(told)
            continue
        ends = np.interp([begin, begin + length], at[there], row[there])
        inside = row[there & (at > begin) & (at < begin + length)]
        assert told == max([*ends, *inside])


def test_the_step_before_the_moment_counts_and_may_be_missing() -> None:
    paths = np.array([[[10.0, 10.0], [10.0, 10.0]]])
    last = np.array([[40.0, np.nan]])
    found = carried(paths, last, 300.0, np.array([0.0]), np.array([60.0]))
    assert found.tolist() == [[[25.0], [10.0]]]


@given(values=arrays(np.float64, (2, 8), elements=st.floats(-9, 9) | st.just(np.nan)))
@law
def test_parts_of_a_step_are_gaps_where_it_is_one(values: np.ndarray) -> None:
    fine = straight(values, 5)
    np.testing.assert_array_equal(np.isnan(fine), np.repeat(np.isnan(values), 5, axis=1))
    np.testing.assert_array_equal(fine[:, 2::5], values)


def test_blocks_are_means_of_what_was_measured_the_newest_whole() -> None:
    values = np.array([[99.0, 1, 3, np.nan, 5, np.nan, np.nan]])
    np.testing.assert_array_equal(block_means(values, 2), [[2.0, 5.0, np.nan]])
    np.testing.assert_array_equal(block_means(values, 1), values)


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="issue: every_min must be more than 0, got 0"):
        IssueParams(every_min=0)
    with pytest.raises(ValueError, match="issue: delay_s must be 0 or more, got -1"):
        IssueParams(delay_s=-1)
