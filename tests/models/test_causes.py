"""What explains an incident: laws of the ranking, and simulated incidents with a known cause."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_simulation import START, Fault, Incident, simulate

from models.cause_kinds import LOAD, PAIN, kinds_of
from models.cause_series import align
from models.cause_walk import WalkParams, numbered_calls, walk
from models.causes import CAUSE_COLUMNS, CauseParams, rank_causes

SEEDS = range(8)
WILD = [0.0, 1.0, -1.0, 7.5, 1e15, 1e308, -1e308, 1e-300, float("nan"), float("inf")]


def ranked(incident: Incident, **options: object) -> pd.DataFrame:
    return rank_causes(incident.before, incident.after, target=incident.target, **options)  # pyright: ignore[reportArgumentType]


def frame(values: dict[tuple[str, str], list[float]], first: int = 0) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "workload": workload,
                "metric": metric,
                "ts": START + pd.to_timedelta(np.arange(len(v)) + first, unit="min"),
                "value": v,
            }
        )
        for (workload, metric), v in values.items()
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("fault", "least"),
    [("latency", 0.9), ("errors", 0.75), ("cpu", 0.9), ("surge", 0.9), ("drop", 0.9)],
)
def test_the_true_cause_is_among_the_first_three(fault: Fault, least: float) -> None:
    cases = [simulate(seed, fault) for seed in SEEDS]
    for edges in (True, False):
        found = [
            c.root in set(ranked(c, limit=3, edges=c.edges if edges else None)["workload"])
            for c in cases
        ]
        assert np.mean(found) >= least, (edges, found)


def test_scores_are_shares_and_confidence_is_no_more_than_they() -> None:
    told = [ranked(c, edges=c.edges, limit=99) for s in SEEDS for c in (simulate(s, "latency"),)]
    for table in told:
        assert tuple(table.columns) == CAUSE_COLUMNS
        assert table["workload"].is_unique
        assert table["score"].is_monotonic_decreasing
        assert table["score"].sum() == pytest.approx(1, abs=1e-6)
        assert ((table["confidence"] >= 0) & (table["confidence"] <= table["score"] + 1e-6)).all()


@pytest.mark.parametrize(("factor", "offset"), [(1e6, 0.0), (1e-6, 0.0), (1.8, 32.0)])
def test_units_change_nothing(factor: float, offset: float) -> None:
    for seed in range(4):
        case = simulate(seed, "errors" if seed % 2 else "latency")
        plain = ranked(case, edges=case.edges, limit=99)
        one = case.samples["metric"] == "latency_p99_seconds"
        moved = case.samples.assign(
            value=case.samples["value"].where(~one, case.samples["value"] * factor + offset)
        )
        other = Incident(moved, case.at, case.edges, case.target, case.root)
        again = ranked(other, edges=case.edges, limit=99)
        assert again[["workload", "metric"]].equals(plain[["workload", "metric"]])
        np.testing.assert_allclose(again["score"], plain["score"], atol=1e-6)


def test_row_order_and_label_type_change_nothing() -> None:
    case = simulate(3, "latency")
    plain = ranked(case, edges=case.edges)
    mixed = case.samples.sample(frac=1, random_state=1)
    mixed = mixed.astype({"workload": "category", "metric": "category"})
    again = ranked(Incident(mixed, case.at, case.edges, case.target, case.root), edges=case.edges)
    pd.testing.assert_frame_equal(plain, again)


def test_a_series_with_little_data_does_not_win_by_accident() -> None:
    rng = np.random.default_rng(0)
    usual = {("real", "latency_seconds"): list(rng.normal(1, 0.05, 300))}
    wild = {("real", "latency_seconds"): list(rng.normal(2, 0.05, 10))}
    poor = {("poor", "latency_seconds"): [1.0, 1.0, 1.01]}
    poor_now = {("poor", "latency_seconds"): [50.0] * 10, ("new", "latency_seconds"): [9.0] * 10}
    table = rank_causes(frame(usual | poor), frame(wild | poor_now, 300))
    assert table["workload"].tolist()[0] == "real"
    assert table["score"][0] > 0.8
    assert "new" not in set(table["workload"])


def test_a_value_that_never_moved_and_now_does_is_seen() -> None:
    rng = np.random.default_rng(1)
    before = {("a", "availability"): [100.0] * 200, ("b", "availability"): [100.0] * 200,
              ("c", "latency_seconds"): list(rng.normal(1, 0.1, 200))}  # fmt: skip
    after = {("a", "availability"): [100.0] * 6, ("b", "availability"): [97.0] * 6,
             ("c", "latency_seconds"): list(rng.normal(1, 0.1, 6))}  # fmt: skip
    table = rank_causes(frame(before), frame(after, 200))
    assert table["workload"][0] == "b"
    assert "from 100 to 97" in table["evidence"][0]
    assert table.set_index("workload")["score"]["a"] == 0


def test_a_change_for_the_better_explains_nothing() -> None:
    rng = np.random.default_rng(2)
    before = frame({("a", "error_ratio"): list(rng.uniform(0.1, 0.2, 200))})
    after = frame({("a", "error_ratio"): [0.0] * 10}, 200)
    assert rank_causes(before, after)["score"].tolist() == [0.0]


def test_a_recent_change_speaks_for_its_workload() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(1, 0.05, 300)
    before = frame({(w, "latency_seconds"): list(noise) for w in "ab"})
    after = frame({(w, "latency_seconds"): [2.0] * 10 for w in "ab"}, 300)
    onset = START + pd.Timedelta(300, "min")
    assert rank_causes(before, after)["workload"].tolist() == ["a", "b"]
    for minutes, first in ((3, "b"), (0, "b"), (90, "a"), (-5, "a")):
        at = onset - pd.Timedelta(minutes, "min")
        events = pd.DataFrame({"workload": ["b"], "ts": [at], "event": ["deploy"]})
        table = rank_causes(before, after, events=events)
        assert table["workload"][0] == first, minutes
        assert ("deploy at" in " ".join(table["evidence"])) == (first == "b")


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(WILD), min_size=1, max_size=30),
    st.lists(st.sampled_from(WILD), min_size=1, max_size=8),
    st.booleans(),
)
def test_any_numbers_give_an_answer(old: list[float], new: list[float], graph: bool) -> None:
    before = frame({("a", "x"): old, ("b", "latency"): old[::-1]})
    after = frame({("a", "x"): new, ("b", "latency"): new[::-1]}, len(old))
    edges = pd.DataFrame({"caller": ["a", "b", "zz"], "callee": ["b", "a", "a"]}) if graph else None
    table = rank_causes(before, after, edges, target="a")
    assert np.isfinite(table["score"]).all()
    assert ((table["score"] >= 0) & (table["score"] <= 1)).all()
    assert ((table["confidence"] >= 0) & (table["confidence"] <= 1)).all()


def test_no_samples_on_one_side_are_no_answer() -> None:
    some = frame({("a", "x"): [1.0, 2.0]})
    assert rank_causes(some, some.iloc[:0]).empty
    assert rank_causes(some.iloc[:0], some).empty
    assert rank_causes(some.assign(value=np.nan), some).empty


def test_the_walk_ends_at_the_callee_that_explains_its_callers() -> None:
    pain = np.zeros((3, 4))
    pain[0] = [5.0, 5.0, 6.0, 4.0]  # 0 → 1 → 2, and 3 that nobody calls
    start = np.zeros((3, 4))
    start[0, 0] = 1
    shares = walk(pain, np.array([0, 1]), np.array([1, 2]), start, WalkParams())
    assert shares.sum() == pytest.approx(1)
    assert shares[0].argmax() == 2
    assert shares[0, 3] < 0.1
    assert not walk(np.zeros((3, 4)), np.array([0]), np.array([1]), start, WalkParams()).any()


def test_calls_through_a_service_that_was_not_measured_are_kept() -> None:
    edges = pd.DataFrame({"caller": ["a", "balancer"], "callee": ["balancer", "b"]})
    caller, callee = numbered_calls(edges, pd.Index(["a", "b"]), 0)
    assert (caller.tolist(), callee.tolist()) == ([0], [1])


def test_samples_fall_into_steps_counted_from_the_onset() -> None:
    before = frame({("a", "x"): [1.0, 2.0, 3.0]})
    after = frame({("a", "x"): [5.0, 6.0]}, 60 * 24 * 90)
    series = align(before, after)
    assert series.step == pd.Timedelta("1min")
    assert series.normal.tolist() == [[1.0, 2.0, 3.0]]
    assert series.incident.tolist() == [[5.0, 6.0]]


def test_metric_names_say_what_they_tell() -> None:
    names = ["requests_per_second", "latency_p99_seconds", "availability_Average", "error_ratio",
             "memory_rss_bytes", "requests_Sum", "unavailable_replicas"]  # fmt: skip
    kinds, bad = kinds_of(names)
    assert kinds.tolist() == [LOAD, PAIN, PAIN, PAIN, 0, LOAD, PAIN]
    assert bad.tolist() == [0, 1, -1, 1, 0, 0, 1]


def test_params_that_turn_evidence_around_are_refused() -> None:
    with pytest.raises(ValueError, match="event_odds must be at least 1"):
        CauseParams(event_odds=0.5)
    with pytest.raises(ValueError, match="alone must be at least 0"):
        CauseParams(alone=-1)
    with pytest.raises(ValueError, match="further must be between 0 and 1"):
        WalkParams(further=1.0)
