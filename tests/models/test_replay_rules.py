"""The rules that floors are held against, and what they are worth at one cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.floors import four_week_floors, hourly_max_floors
from models.replay import compare, equal_cost, totals

WEEK = 2016  # steps of five minutes
POD: dict[str, Any] = {
    "pod_capacity_cores": 1.0, "target_ratio": 0.5, "min_replicas": 2, "max_replicas": 300,
}  # fmt: skip


def load(n_weeks: int, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """Working hours that begin at nine, sharply, (3, steps)."""
    rng = np.random.default_rng(seed)
    t = np.arange(WEEK * n_weeks)
    busy = (t % 288 >= 108) & (t % 288 < 204) & (t // 288 % 7 < 5)
    level = np.array([[5.0], [12.0], [40.0]]) * np.where(busy, 1.0, 0.2)
    return level * rng.lognormal(0, noise, (3, len(t)))


def test_four_weeks_rule_is_the_median_and_its_residual_in_one_case_of_ten() -> None:
    history = np.full((1, 4 * WEEK), 2.0)
    for w, value in enumerate([4.0, 8.0, 6.0, 5.0]):
        history[0, w * WEEK + 100] = value
    floors = four_week_floors(np.zeros((1, 300)), history, 300, target_per_pod_cores=0.5)
    assert set(floors[0, 95:101]) == {11.0}  # median 5.5, from half an hour before
    assert set(floors[0, 101:]) == {4.0}
    noisy = 2 + np.tile([0.0, 0.0, 0.0, 1.0], WEEK)[None]  # each week alike: no residual
    assert four_week_floors(np.zeros((1, 9)), noisy, 300, target_per_pod_cores=1).max() == 3
    weeks = np.repeat([[2.0, 2.0, 2.0, 6.0]], WEEK, axis=1).reshape(1, -1)
    assert four_week_floors(np.zeros((1, 9)), weeks, 300, target_per_pod_cores=1).max() == 6
    short = four_week_floors(np.zeros((1, 9)), weeks[:, : WEEK - 1], 300, target_per_pod_cores=1)
    assert not short.any()


def test_hourly_maximum_stands_five_minutes_before_the_hour() -> None:
    history = np.zeros((1, 2 * WEEK))
    history[0, 41] = 4.0  # in hour 3 of the week before last, and of the last one
    history[0, WEEK + 40] = 6.0
    floors = hourly_max_floors(np.zeros((1, 288)), history, 300, target_per_pod_cores=0.5)
    assert np.flatnonzero(floors[0] == 10).tolist() == list(range(35, 48))
    assert floors[0].sum() == 10 * 13


def test_hourly_maximum_takes_yesterday_where_no_week_is_known() -> None:
    history = np.zeros((1, 288))
    history[0, 41] = 4.0
    floors = hourly_max_floors(np.zeros((1, 576)), history, 300, target_per_pod_cores=0.5)
    assert np.flatnonzero(floors[0]).tolist() == list(range(35, 48))


@pytest.mark.parametrize("step_s", [15, 60, 300, 900, 1800, 3600, 7200, 86400])
def test_hourly_maximum_knows_any_step(step_s: int) -> None:
    week = 7 * 86400 // step_s
    demand = np.full((1, week), 5.0)
    floors = hourly_max_floors(
        demand, np.full((1, 2 * week), 5.0), step_s, target_per_pod_cores=0.5
    )
    assert floors.shape[1] % week == 0
    assert set(floors[0]) == {10.0}


@given(seed=st.integers(0, 99))
def test_rules_know_nothing_of_what_comes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    history, demand = load(4, seed), load(1, seed + 1)
    at = int(rng.integers(1, WEEK))
    other = demand.copy()
    other[:, at:] = rng.uniform(0, 1000)
    for rule in (four_week_floors, hourly_max_floors):
        seen, changed = (rule(d, history, 300, target_per_pod_cores=1.0) for d in (demand, other))
        assert (seen[:, :at] == changed[:, :at]).all()


def week(**more: Any) -> dict[str, Any]:
    whole = load(5, seed=3)
    return {
        "demand": whole[:, -WEEK:], "step_s": 300, "workloads": list("abc"),
        "history": whole[:, :-WEEK], **POD, **more,
    }  # fmt: skip


def test_who_knows_the_demand_is_over_its_target_least() -> None:
    rows = compare(**week(floors=np.full((3, WEEK), 5.0)))
    assert list(dict.fromkeys(rows["policy"])) == [
        "reactive", "foretide", "last_week", "four_weeks", "hourly_max", "oracle",
    ]  # fmt: skip
    table = rows.pivot(index="workload", columns="policy", values="over_target")
    assert (table.sub(table["oracle"], axis=0) >= -1e-9).all(axis=None)
    assert (totals(rows)["over_target"] > 0).sum() >= 4


def test_more_workloads_than_a_block_are_each_what_they_are_alone() -> None:
    many = np.tile(load(5, seed=3), (30, 1))
    args = week(
        demand=many[:, -WEEK:], history=many[:, :-WEEK], workloads=[f"w{i}" for i in range(90)]
    )
    scale = np.repeat([1.0, 2.0], 45)
    rows = compare(**(args | {"pod_capacity_cores": scale})).set_index(["policy", "workload"])
    alone = compare(**week(pod_capacity_cores=2.0)).set_index(["policy", "workload"])
    for policy in ("reactive", "four_weeks", "oracle"):
        for k, name in enumerate("abc"):
            mine = rows.loc[(policy, f"w{87 + k}")]
            assert (mine == alone.loc[(policy, name)]).all()


def test_at_equal_cost_a_rule_may_spend_what_we_spend() -> None:
    whole = week()
    demand, history = whole["demand"], whole["history"]
    floors = four_week_floors(demand, history, 300, target_per_pod_cores=0.5)
    table = equal_cost(**week(floors=np.ceil(1.1 * floors)))
    assert list(dict.fromkeys(table["policy"])) == ["last_week", "four_weeks"]
    dear = table["replica_hours"] / table["foretide_replica_hours"]
    assert (dear >= 1).all()
    assert (dear < 1.01).all()
    own = table[table["policy"] == "four_weeks"]
    np.testing.assert_allclose(own["factor"], 1.1, atol=0.05)
    np.testing.assert_allclose(
        own["over_target_cut_share"], own["foretide_over_target_cut_share"], atol=0.02
    )
    assert (table["beaten"] == (table["foretide_over_target"] <= table["over_target"])).all()


def test_a_rule_with_nothing_to_multiply_says_so_by_its_cost() -> None:
    args = week(floors=np.full((3, WEEK), 50.0))
    table = equal_cost(**(args | {"history": np.zeros((3, 4 * WEEK))}))
    assert (table["factor"] == 64).all()
    assert (table["replica_hours"] < table["foretide_replica_hours"]).all()
