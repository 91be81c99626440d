"""Drift: what a verdict promises, on made-up errors whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.panel import Floats, Panel
from models import measures
from models.drift import DriftParams, last_week, measure
from models.verdict import DEMOTED, DRIFTED, GOOD, UNJUDGED, judge

WEEK = 168
HOUR = pd.Timedelta(hours=1)
START = pd.Timestamp("2026-06-01T00:00Z").as_unit("ms")
PARAMS = DriftParams()


@dataclass(frozen=True)
class Case:
    """Five weeks of hourly load that a forecast knows but for its noise; the last one is judged."""

    load: Floats
    q50: Floats
    q90: Floats

    def found(self, weeks: slice = slice(4, 5), params: DriftParams = PARAMS) -> pd.DataFrame:
        """What ``judge`` takes: three weeks of backtest, and the weeks that are judged."""
        steps = slice(weeks.start * WEEK, weeks.stop * WEEK)
        times = pd.date_range(START, periods=self.load.shape[1], freq="h").as_unit("ms")[steps]
        bar = np.full(self.load.shape, np.nan)
        bar[:, WEEK:] = self.load[:, :-WEEK]
        figures = measure(
            *(a[:, steps] for a in (self.load, self.q50, self.q90, bar)), times, HOUR, params
        )
        past = [slice(k * WEEK, (k + 1) * WEEK) for k in (1, 2, 3)]
        wape = np.stack([measures.wape(self.load[:, s], self.q50[:, s]) for s in past])
        held = np.stack([measures.coverage(self.load[:, s], self.q90[:, s]) for s in past])
        return figures.assign(
            is_bar=False,
            backtest_wape=wape.mean(axis=0),
            backtest_worst_wape=wape.max(axis=0),
            backtest_coverage_q90=held.mean(axis=0),
            **nothing_before(len(figures)),
        )

    def shifted(self, factor: float) -> Case:
        """The load of the last week is so many times what it would have been."""
        load = self.load.copy()
        load[:, 4 * WEEK :] *= factor
        return replace(self, load=load)


def nothing_before(n: int) -> dict[str, Any]:
    text = pd.Series([None] * n, dtype="str")
    stamps = pd.Series([pd.NaT] * n, dtype="datetime64[ms, UTC]")
    return {
        "before": text,
        "before_reason": text,
        "before_since": stamps,
        "losing_since": stamps,
    }


def simulated(n: int, *, alike_h: float, sigma: float = 0.1, seed: int = 0) -> Case:
    """Load around a daily and weekly curve; its log errors are an AR(1) that forgets in
    ``alike_h``."""
    rng = np.random.default_rng(seed)
    t = np.arange(5 * WEEK)
    mean = 100 * (1 + 0.5 * np.sin(2 * np.pi * t / 24)) * (1 + 0.2 * np.sin(2 * np.pi * t / WEEK))
    rho = np.exp(-1 / alike_h)
    noise = rng.normal(size=(len(t), n))
    error = np.empty_like(noise)
    error[0] = noise[0]
    for i in range(1, len(t)):
        error[i] = rho * error[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    load = mean * np.exp(sigma * error.T)
    q90 = mean * np.exp(sigma * 1.2816)
    return Case(load, np.broadcast_to(mean, load.shape), np.broadcast_to(q90, load.shape))


def verdicts(found: pd.DataFrame, at: pd.Timestamp = START) -> pd.DataFrame:
    return judge(found, at, PARAMS)


def after(found: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """The same figures, with what was said before."""
    return found.assign(
        before=told["verdict"],
        before_reason=told["reason"],
        before_since=told["since"],
        losing_since=told["losing_since"],
    )


@pytest.mark.parametrize(("alike_h", "rate"), [(1, 0.005), (6, 0.005), (24, 0.005), (72, 0.03)])
@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_what_is_as_good_as_its_backtest_is_hardly_ever_flagged(
    alike_h: float, rate: float, sigma: float
) -> None:
    found = simulated(1000, alike_h=alike_h, sigma=sigma).found()
    told = verdicts(found)
    assert (told["verdict"] == DRIFTED).mean() <= rate
    assert told["losing_since"].notna().mean() <= rate


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5, 3.0])
def test_load_that_changed_its_level_is_drift(factor: float) -> None:
    found = simulated(200, alike_h=6).shifted(factor).found()
    told = verdicts(found)
    assert (told["verdict"] == DRIFTED).mean() > 0.98
    assert told["reason"].str.startswith("off by ").mean() > 0.98


def test_one_bad_day_is_no_drift() -> None:
    case = simulated(200, alike_h=6)
    load = case.load.copy()
    load[:, 4 * WEEK + 48 : 4 * WEEK + 72] *= 0.2
    assert (verdicts(replace(case, load=load).found())["verdict"] == GOOD).mean() > 0.99


def test_a_quantile_that_no_longer_holds_is_drift() -> None:
    case = simulated(200, alike_h=1)
    q90 = case.q90.copy()
    q90[:, 4 * WEEK :] = case.q50[:, 4 * WEEK :]
    told = verdicts(replace(case, q90=q90).found())
    assert (told["verdict"] == DRIFTED).mean() > 0.95
    flagged = told.loc[told["verdict"] == DRIFTED, "reason"]
    assert flagged.str.contains(r"its 90% quantile held \d+% of the time").all()


def test_a_quantile_that_is_far_too_wide_is_seen_in_a_long_window() -> None:
    params = DriftParams(correlation_h=1)
    case = simulated(20, alike_h=1)
    wide = replace(case, q90=np.where(np.arange(5 * WEEK) < 3 * WEEK, case.q90, case.q90 * 3))
    found = wide.found(slice(3, 5), params).assign(backtest_coverage_q90=0.85)
    assert (judge(found, START, params)["verdict"] == DRIFTED).all()


def test_losing_to_last_week_demotes_only_when_it_lasts() -> None:
    case = simulated(50, alike_h=1)
    load = case.load.copy()
    load[:, 3 * WEEK :] *= 2  # last week has the new level, the model does not
    found = replace(case, load=load).found()
    first = verdicts(found, START)
    assert (first["verdict"] != DEMOTED).all()
    assert (first["losing_since"] == START).all()
    too_soon = verdicts(after(found, first), START + HOUR)
    assert (too_soon["verdict"] != DEMOTED).all()
    next_day = START + pd.Timedelta(days=1)
    second = verdicts(after(found, too_soon), next_day)
    assert (second["verdict"] == DEMOTED).all()
    assert (second["since"] == next_day).all()
    assert second["reason"].str.contains("last week's values by").all()
    better = simulated(50, alike_h=6).found()
    between = verdicts(after(better, first), next_day)
    assert between["losing_since"].isna().all()
    third = verdicts(after(found, between), next_day + pd.Timedelta(days=1))
    assert (third["verdict"] != DEMOTED).all()


def test_what_is_demoted_stays_so_until_it_is_trained_anew() -> None:
    found = simulated(5, alike_h=6).found()
    begun = pd.Series([START] * 5, dtype="datetime64[ms, UTC]")
    before = found.assign(before=DEMOTED, before_reason="lost", before_since=begun)
    told = verdicts(before, START + pd.Timedelta(days=3))
    assert (told["verdict"] == DEMOTED).all()
    assert (told["since"] == START).all()
    assert (told["reason"] == "lost").all()
    assert (verdicts(found)["verdict"] == GOOD).all()


def test_last_weeks_values_cannot_lose_to_themselves() -> None:
    case = simulated(20, alike_h=6)
    load = case.load.copy()
    load[:, 3 * WEEK :] *= 2
    found = replace(case, load=load).found().assign(is_bar=True)
    assert verdicts(found)["losing_since"].isna().all()


def test_too_little_to_judge_is_said_and_changes_no_mind() -> None:
    found = simulated(3, alike_h=6).found()
    short = found.assign(hours=12.0)
    told = verdicts(short)
    assert (told["verdict"] == UNJUDGED).all()
    assert (told["reason"] == "12 h of forecast came due, 72 h are needed").all()
    for word in (DRIFTED, DEMOTED):
        stays = verdicts(short.assign(before=word, before_reason="as before"))
        assert (stays["verdict"] == word).all()
        assert (stays["reason"] == "as before").all()
    untried = found.assign(backtest_wape=np.nan, backtest_coverage_q90=np.nan)
    told = verdicts(untried)
    assert (told["verdict"] == UNJUDGED).all()
    assert (told["reason"] == "no backtest to compare with").all()


def test_drift_that_is_over_is_over_and_its_beginning_is_known() -> None:
    good, bad = simulated(3, alike_h=6).found(), simulated(3, alike_h=6).shifted(3).found()
    days = [START + pd.Timedelta(days=d) for d in range(3)]
    one = verdicts(bad, days[0])
    two = verdicts(after(bad, one), days[1])
    assert (two["since"] == days[0]).all()
    over = verdicts(after(good, two), days[2])
    assert (over["verdict"] == GOOD).all()
    assert (over["since"] == days[2]).all()


def test_a_series_is_judged_as_if_alone() -> None:
    case = simulated(300, alike_h=24).shifted(1.4)
    found, rows = case.found(), slice(270, 272)
    few = Case(case.load[rows], case.q50[rows], case.q90[rows]).found()
    pd.testing.assert_frame_equal(found[rows].reset_index(drop=True), few)
    pd.testing.assert_frame_equal(verdicts(found)[rows].reset_index(drop=True), verdicts(few))


@given(
    values=st.lists(
        st.sampled_from([np.nan, 0.0, 1.0, -5.0, 1e15, 1e-12]), min_size=1, max_size=40
    ),
    told=st.sampled_from([np.nan, 0.0, 3.0, 1e15]),
    step_h=st.sampled_from([0.25, 1.0, 5.0, 24.0]),
)
def test_whatever_came_there_is_a_verdict(values: list[float], told: float, step_h: float) -> None:
    actual, q = np.array([values]), np.full((1, len(values)), told)
    step = pd.Timedelta(step_h, "h")
    times = pd.date_range(START, periods=len(values), freq=step).as_unit("ms")
    figures = measure(actual, q, q, actual[:, ::-1], times, step, PARAMS)
    found = figures.assign(
        is_bar=False,
        backtest_wape=0.1,
        backtest_worst_wape=0.2,
        backtest_coverage_q90=0.9,
        **nothing_before(1),
    )
    said = verdicts(found).iloc[0]
    assert said["verdict"] in {GOOD, DRIFTED, UNJUDGED}
    assert said["reason"]
    assert (said["verdict"] == UNJUDGED) == (figures["hours"].iloc[0] < PARAMS.minimum_h)


def hourly(values: Floats) -> Panel:
    keys = pd.DataFrame({"workload": [f"w{i}" for i in range(len(values))], "metric": "m"})
    return Panel(keys, START, HOUR, values)


def stamps_ms(steps: Any) -> Floats:
    return START.timestamp() * 1000 + np.asarray(steps, dtype=np.float64) * 3_600_000


def test_last_week_is_the_value_of_a_week_before_or_of_an_earlier_week() -> None:
    values = np.arange(3 * WEEK, dtype=np.float64)[None]
    issued = np.broadcast_to(stamps_ms(2 * WEEK), (1, WEEK))
    np.testing.assert_array_equal(last_week(hourly(values), issued, 4), values[:, WEEK:-WEEK])
    gap = values.copy()
    gap[0, WEEK + 5] = np.nan
    assert last_week(hourly(gap), issued, 4)[0, 5] == 5
    assert np.isnan(last_week(hourly(gap), issued, 1)[0, 5])


@given(issued_at=st.integers(WEEK, 3 * WEEK), seed=st.integers(0, 9))
def test_last_week_knows_nothing_that_came_after_the_forecast_was_issued(
    issued_at: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=(2, 3 * WEEK))
    issued = np.broadcast_to(stamps_ms(issued_at), (2, 2 * WEEK))
    planted = values.copy()
    planted[:, issued_at:] = 1e9
    told = [last_week(hourly(v), issued, 4) for v in (values, planted)]
    np.testing.assert_array_equal(*told)


def test_knobs_out_of_range_are_refused_by_name() -> None:
    wrong: dict[str, Any] = {
        "margin": -0.1,
        "demotion_margin": np.inf,
        "persistence_h": np.nan,
        "minimum_h": 0,
        "false_alarms": 0.5,
        "demotion_false_alarms": 0,
        "day_correlation": 1,
        "correlation_h": 0,
        "coverage_slack": -1,
        "bar_weeks": 0,
    }
    for key, value in wrong.items():
        with pytest.raises(ValueError, match=f"^{key} must be .* got {value}"):
            DriftParams(**{key: value})
