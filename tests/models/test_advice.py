"""The verdict of the shadow: enable, do not enable, not enough data; with its reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.frames import ADVICE, conform
from models.advice import DO_NOT, ENABLE, UNKNOWN, AdviceParams, advise, weeks_apart

END = pd.Timestamp("2026-03-02", tz="UTC")
NAME = "prod/shop/Deployment/checkout"
RATIO = 0.95  # a missing pod costs 19 idle ones


def week(
    back: float, short: tuple[float, float], hours: tuple[float, float], **more: Any
) -> pd.DataFrame:
    """The two policies in the week that ended so many weeks ago."""
    end = END - pd.Timedelta(back * 7, "D")
    rows = {
        "workload": NAME,
        "policy": ["reactive", "foretide"],
        "evaluated_at": end,
        "started_at": end - pd.Timedelta(7, "D"),
        "short_pod_min": short,
        "replica_hours": hours,
    }
    return pd.DataFrame(rows | more)


def weeks(*short: tuple[float, float], hours: tuple[float, float] = (1000, 1060)) -> pd.DataFrame:
    return pd.concat([week(i, s, hours) for i, s in enumerate(short)], ignore_index=True)


def verdict(frame: pd.DataFrame, **given: Any) -> pd.Series:
    params = AdviceParams(**given)
    return advise(frame, params, quantiles=RATIO).iloc[0]


def test_what_helps_every_week_is_enabled_and_says_so() -> None:
    found = verdict(weeks((300, 2), (310, 4), (320, 5), (318, 5)), worth_pod_min=60)
    assert found["verdict"] == ENABLE
    assert found["reason"] == (
        "312 → 4 pod-minutes short a week, +6% pod-hours, better in 4 of 4 weeks"
        "; no price configured"
    )
    assert found["weeks"] == 4
    assert found["extra_replica_hours"] == pytest.approx(60)
    assert found["replica_hours_ratio"] == pytest.approx(1.06)
    assert np.isnan(found["extra_cost_usd_per_week"])


GOOD = [(600, 5)] * 4


@pytest.mark.parametrize(
    ("frame", "expected", "word"),
    [
        (weeks(*GOOD[:2]), UNKNOWN, "2 of 3 weeks were judged"),
        (weeks(*GOOD[:2], (np.nan, 5)), UNKNOWN, "2 of 3 weeks"),
        (weeks(*GOOD[:3], (600, 700)), DO_NOT, "more pod-minutes short in 1 of 4 weeks"),
        (weeks(*[(40, 0)] * 4), DO_NOT, "the HPA alone is 40 pod-minutes short a week"),
        (weeks(*[(600, 600)] * 4), DO_NOT, "as many with floors"),
        (weeks(*[(600, 500)] * 4), DO_NOT, "36 idle pod-minutes for each one avoided"),
        (weeks(*GOOD, (600, 900)), ENABLE, "4 of 4"),  # five weeks ago counts no more
    ],
)
def test_each_verdict_has_its_reason(frame: pd.DataFrame, expected: str, word: str) -> None:
    found = verdict(frame)
    assert (found["verdict"], word in found["reason"]) == (expected, True), found["reason"]


def test_a_bad_week_is_named_by_its_last_day() -> None:
    found = verdict(weeks((600, 5), (600, 700), (600, 800), (600, 5)))
    assert "in 2 of 4 weeks, last in the week to 2026-02-23" in found["reason"]


def test_each_condition_is_one_knob_away_from_the_other_verdict() -> None:
    assert verdict(weeks(*GOOD[:2]), weeks_min=2)["verdict"] == ENABLE
    assert verdict(weeks(*[(40, 0)] * 4), worth_pod_min=30)["verdict"] == DO_NOT  # too dear
    assert verdict(weeks(*[(400, 0)] * 4), worth_pod_min=500)["verdict"] == DO_NOT
    dear = weeks(*[(600, 500)] * 4)
    assert advise(dear, quantiles=0.98).iloc[0]["verdict"] == ENABLE
    assert advise(dear, quantiles={NAME: 0.95}).iloc[0]["verdict"] == DO_NOT


def test_fewer_pod_hours_are_never_too_dear() -> None:
    assert verdict(weeks(*GOOD, hours=(1000, 990)))["verdict"] == ENABLE


def test_weeks_of_which_little_was_measured_do_not_count() -> None:
    frame = weeks(*GOOD).assign(measured_h=[168.0] * 4 + [100.0] * 4)
    assert verdict(frame)["verdict"] == UNKNOWN
    assert verdict(frame, measured_min_h=90)["verdict"] == ENABLE


def test_a_workload_without_any_judged_week_still_has_a_row() -> None:
    only = weeks(*GOOD)
    found = verdict(only[only["policy"] == "reactive"])
    assert (found["verdict"], found["weeks"]) == (UNKNOWN, 0)
    assert np.isnan(found["short_pod_min_reactive"])
    assert advise(only.iloc[:0], quantiles=RATIO).empty


def test_money_is_told_where_there_is_a_price_and_a_size() -> None:
    pods = pd.DataFrame({"workload": [NAME], "request_cores": [2.0], "request_bytes": [2.0**32]})
    params = AdviceParams(usd_per_core_hour=0.03, usd_per_gib_hour=0.005)
    found = advise(weeks(*GOOD), params, quantiles=RATIO, pods=pods).iloc[0]
    assert found["extra_cost_usd_per_week"] == pytest.approx(60 * (0.06 + 0.02))
    assert "price" not in found["reason"]
    cores = AdviceParams(usd_per_core_hour=0.03)
    unknown = pods.assign(request_bytes=np.nan)
    found = advise(weeks(*GOOD), cores, quantiles=RATIO, pods=unknown).iloc[0]
    assert found["extra_cost_usd_per_week"] == pytest.approx(60 * 0.06)
    for ours, sizes in ((AdviceParams(), pods), (params, None), (params, unknown)):
        found = advise(weeks(*GOOD), ours, quantiles=RATIO, pods=sizes).iloc[0]
        assert np.isnan(found["extra_cost_usd_per_week"])
        assert "no price configured" in found["reason"]


def test_of_daily_evaluations_every_seventh_is_kept() -> None:
    daily = pd.concat([week(d / 7, (600, 5), (100, 106)) for d in range(30)], ignore_index=True)
    young = pd.concat([week(d / 7, (1, 1), (9, 9), workload="new") for d in range(1, 5)])
    shuffled = pd.concat([daily, young]).sample(frac=1, random_state=1)
    kept = weeks_apart(shuffled, 4)
    ends = kept[kept["workload"] == NAME]["evaluated_at"].drop_duplicates().sort_values()
    assert ((END - ends) / pd.Timedelta(1, "D")).tolist() == [21, 14, 7, 0]
    assert kept[kept["workload"] == "new"]["evaluated_at"].unique().tolist() == [
        END - pd.Timedelta(1, "D")
    ]
    assert len(kept) == 2 * 5


def test_a_schedule_that_is_seconds_late_loses_no_week() -> None:
    late = weeks(*GOOD)
    late["evaluated_at"] += pd.to_timedelta(np.repeat([0, 40, 10, 55], 2), "s")
    assert weeks_apart(late, 4)["evaluated_at"].nunique() == 4


def test_an_evaluation_done_twice_counts_as_done_last() -> None:
    frame = pd.concat([weeks(*[(1, 1)] * 4), weeks(*GOOD)], ignore_index=True)
    kept = weeks_apart(frame, 4)
    assert len(kept) == 8
    assert verdict(kept)["verdict"] == ENABLE


def test_the_rows_fit_their_contract() -> None:
    both = pd.concat([weeks(*GOOD), weeks((1, 1)).assign(workload="prod/a/Deployment/b")])
    found = advise(both, quantiles=RATIO)
    table = conform(found.assign(evaluated_at=END, started_at=END, run_id="r"), ADVICE)
    assert table.num_rows == 2


@pytest.mark.parametrize(
    ("key", "value"), [("weeks_min", 9), ("worth_pod_min", -1.0), ("usd_per_core_hour", np.nan)]
)
def test_knobs_without_meaning_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"advice: {key} must be"):
        AdviceParams(**{key: value})
