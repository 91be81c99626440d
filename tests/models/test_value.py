"""The weekly value report's numbers: intervals, and who told of an incident first."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.panel import Panel
from models.static_rules import StaticRule, firings
from models.value import ValueParams, detections, estimate, repeats, unmatched

T0 = pd.Timestamp("2026-06-01T00:00Z")
MIN = pd.Timedelta(1, "min")
finite = st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=60)


@given(units=finite, statistic=st.sampled_from(["mean", "sum"]))
def test_an_interval_holds_its_figure_and_moves_with_its_units(units, statistic):
    x = np.array(units)
    told = estimate(x, statistic, ValueParams(resamples=400))
    spread = 1e-9 * max(np.abs(x).sum(), 1)
    assert told.lower - spread <= told.upper + spread
    assert x.min() * len(x) - spread <= told.lower or statistic == "mean"
    more = estimate(x + 10, statistic, ValueParams(resamples=400))
    by = 10 * (len(x) if statistic == "sum" else 1)
    assert more.value == pytest.approx(told.value + by, abs=1e-3)
    assert more.lower == pytest.approx(told.lower + by, abs=1e-3)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    params = ValueParams(confidence=0.9, resamples=300)
    holds = [
        told.lower <= 5 <= told.upper
        for told in (estimate(rng.normal(5, 2, 40), "mean", params) for _ in range(300))
    ]
    assert 0.83 <= np.mean(holds) <= 0.95


def test_nothing_and_one_are_said_to_be_so():
    assert estimate(np.array([np.nan]), "mean", ValueParams(), what="series").reason == "no series"
    one = estimate(np.array([3.0, np.nan]), "sum", ValueParams(), what="series")
    assert (one.value, one.reason) == (3.0, "one series: no interval")
    assert np.isnan(one.lower)


def test_few_units_have_no_interval_and_missing_ones_are_said():
    few = estimate(np.array([1.0, 2, 3, np.nan]), "sum", ValueParams(), others="no price")
    assert (few.value, few.reason) == (6, "of 3 of 4: no price; 3 are too few for an interval")
    assert np.isnan(few.upper)


def test_a_share_that_was_never_seen_is_not_known_to_be_nothing():
    none = estimate(np.zeros(5), "share", ValueParams())
    assert (none.value, none.lower) == (0, 0)
    assert none.upper == pytest.approx(0.351, abs=1e-3)  # z² / (n + z²), z = 1.645


def incidents(*rows):
    frame = pd.DataFrame(
        rows, columns=["incident_id", "started_at", "detected_at", "ended_at", "workloads"]
    )
    return frame.assign(ended_at=pd.to_datetime(frame["ended_at"], utc=True))


def alerts(*rows):
    frame = pd.DataFrame(rows, columns=["workload", "detected_at"])
    return frame.assign(start=frame["detected_at"] - 5 * MIN, end=frame["detected_at"] + 60 * MIN)


def test_whoever_told_first_is_said_to_have_been_first():
    found = detections(
        incidents(
            ("ours", T0, T0 + 10 * MIN, T0 + 90 * MIN, ["a", "b"]),
            ("theirs", T0, T0 + 30 * MIN, None, ["c"]),
            ("missed", T0, T0 + 5 * MIN, T0 + 20 * MIN, ["d"]),
        ),
        alerts(
            ("b", T0 + 40 * MIN), ("a", T0 + 60 * MIN), ("c", T0 - 10 * MIN), ("d", T0 + 25 * MIN)
        ),
        T0 + 120 * MIN,
        match_h=1,
    ).set_index("incident_id")
    assert found["detect_s"].tolist() == [600, 1800, 300]
    assert found.loc["ours", "sooner_s"] == 1800
    assert found.loc["theirs", "sooner_s"] == -2400
    assert found.loc["theirs", "static_s"] == -600
    assert np.isnan(found.loc["missed", "sooner_s"])  # it came when all was over


def test_alerts_about_nothing_are_counted_against_somebody():
    told = incidents(("x", T0, T0 + 10 * MIN, T0 + 30 * MIN, ["a", "b"]))
    static = alerts(("a", T0 + MIN), ("b", T0 + 2 * MIN), ("c", T0 + MIN), ("a", T0 + 90 * MIN))
    assert unmatched(told, static, T0 + 120 * MIN, 1).tolist() == [0, 0, 1, 1]


def test_a_repeat_is_the_same_first_cause_soon_after():
    day = pd.Timedelta(1, "D")
    rows = pd.DataFrame(
        {
            "detected_at": [T0 - 2 * day, T0 + day, T0 + 2 * day, T0 + 12 * day, T0 + 13 * day],
            "cause_workload": ["a", "a", "b", "a", "a"],
            "cause_metric": ["cpu", "cpu", "cpu", "cpu", "memory"],
        }
    )
    assert repeats(rows, T0, 7).tolist() == [1, 0, 0, 0]
    unknown = repeats(rows.assign(cause_workload="", cause_metric=""), T0, 7)
    assert np.isnan(unknown).all()  # two of which nobody knows the cause are not alike


def test_a_rule_fires_once_it_held_and_resolves_without_samples():
    value = np.full(24, 0.5)
    value[[3, *range(6, 12), *range(14, 24)]] = 0.9
    value[17] = np.nan
    frame = pd.DataFrame(
        {"workload": "w", "metric": "error_ratio", "ts": T0 + 5 * MIN * np.arange(24),
         "value": value}
    )  # fmt: skip
    panel = Panel.from_frame(frame, step=5 * MIN)
    told = firings(panel, T0, StaticRule("error_ratio", None, 0.8), for_min=5)
    assert ((told["start"] - T0) / MIN).tolist() == [30, 70, 90]
    assert ((told["detected_at"] - T0) / MIN).tolist() == [40, 80, 100]  # not the single step at 15
    assert ((told["end"] - T0) / MIN).tolist() == [60, 85, 120]
    # what fired before is no new alert
    later = firings(panel, T0 + 45 * MIN, StaticRule("error_ratio", None, 0.8), for_min=5)
    assert ((later["detected_at"] - T0) / MIN).tolist() == [80, 100]


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"resamples": 10}, {"least_units": 1}, {"match_h": -1}]
)
def test_knobs_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=f"value: {next(iter(wrong))}"):
        ValueParams(**wrong)
