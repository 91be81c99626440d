from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import BACKTEST, QUANTILES, conform
from features.panel import Floats, Panel
from models import bundle, measures
from models.base import Baselines
from models.champion import Champions
from models.champion_fit import ChampionParams, fit_champions, newcomers, refitted
from models.choice import ChoiceParams

START = pd.Timestamp("2026-05-04", tz="UTC")
HOUR = pd.Timedelta(hours=1)
PARAMS = ChampionParams(choice=ChoiceParams(margin=0.02))


@dataclass(frozen=True)
class LastWeek:
    """The value of the same hour of the last week, times a factor; hourly panels only."""

    name: str = "seasonal_naive"
    factor: float = 1.0

    def fit(self, panel: Panel) -> Baselines:
        pad = np.full((panel.n_series, max(168 - panel.n_steps, 0)), np.nan)
        week = np.hstack([pad, panel.values])[:, -168:]
        phase = round((panel.end - START) / HOUR) % 168
        return Baselines(self.name, panel.keys, {"week": np.roll(week, phase, axis=1)})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        at = (round((start - START) / HOUR) + np.arange(n_steps)) % 168
        point = baselines.arrays["week"][:, at] * self.factor
        return np.stack([point * (1 + (q - 0.5) / 10) for q in quantiles])


@dataclass(frozen=True)
class Hour:
    """The mean of the same hour of the day; knows no weekend."""

    name: str = "hour"

    def fit(self, panel: Panel) -> Baselines:
        days = panel.values[:, : panel.n_steps // 24 * 24].reshape(panel.n_series, -1, 24)
        there = np.isfinite(days)
        total = np.where(there, days, 0).sum(axis=1)
        count = there.sum(axis=1)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return Baselines(self.name, panel.keys, {"hour": mean})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        at = (round((start - START) / HOUR) + np.arange(n_steps)) % 24
        return np.stack([baselines.arrays["hour"][:, at] + (q - 0.5) for q in quantiles])


MODELS = (LastWeek(), Hour())


def panel(*rows: np.ndarray) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/D/{i}" for i in range(len(rows))], "metric": "m"}, dtype="str"
    )
    return Panel(keys, START, HOUR, np.array(rows, dtype=float).reshape(len(rows), -1))


def world(days: int = 28, seed: int = 0) -> Panel:
    """A noisy daily wave, a weekly wave, a constant, a newcomer, nothing, and huge values."""
    rng = np.random.default_rng(seed)
    hour = np.arange(35 * 24)
    daily = 50 + 30 * np.sin(hour * np.pi / 12) + rng.normal(size=len(hour)) * 8
    weekly = np.where(hour // 24 % 7 < 5, 100.0, 20.0) + rng.normal(size=len(hour)) * 2
    young = np.where(hour < 28 * 24 - 60, np.nan, daily)
    nothing = np.full(len(hour), np.nan)
    rows = (daily, weekly, np.full(len(hour), 7.0), young, nothing, daily * 1e14 - 1e15)
    return panel(*(row[: days * 24] for row in rows))


@pytest.fixture(scope="module")
def champions() -> Champions:
    return fit_champions(world(), MODELS, PARAMS)


def test_every_series_gets_the_model_that_was_best_out_of_sample(champions: Champions):
    assert champions.chosen["model"].tolist() == [
        "hour", "seasonal_naive", "seasonal_naive", "seasonal_naive", "seasonal_naive", "hour",
    ]  # fmt: skip
    assert champions.chosen["reason"].tolist() == [
        "beat last week out of sample",
        *["last week was the better forecast out of sample"] * 2,
        *["too little history for a backtest"] * 2,
        "beat last week out of sample",
    ]
    first = champions.chosen.iloc[0]
    assert first["wape"] < first["naive_wape"]
    assert first["origins"] == 3
    assert set(champions.members) == {"hour", "seasonal_naive"}


def test_the_table_names_one_champion_for_each_series_and_origin(champions: Champions):
    conform(champions.table, BACKTEST)
    lives = champions.table.groupby(["workload", "origin"])["champion"].sum()
    assert (lives == 1).all()


def test_a_challenger_needs_the_margin():
    good, better = LastWeek("good", 1.0), LastWeek("seasonal_naive", 1.02)
    steady = panel(np.full(28 * 24, 100.0))
    strict = ChampionParams(choice=ChoiceParams(margin=0.99))
    assert fit_champions(steady, (better, good), PARAMS).chosen["model"].item() == "good"
    half_as_bad = LastWeek("good", 1.01)
    assert (
        fit_champions(steady, (better, half_as_bad), strict).chosen["model"].item() == better.name
    )


def test_the_bar_is_the_better_of_the_seasonal_forecasts():
    wave = panel(world().values[1])
    worse, bar = LastWeek("seasonal_naive", 1.5), LastWeek("seasonal_median")
    got = fit_champions(wave, (worse, bar, LastWeek("challenger", 1.2)), PARAMS).chosen
    assert got["model"].item() == "seasonal_median"
    assert got["wape"].item() == got["naive_wape"].item()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), factor=st.floats(0.5, 2), margin=st.floats(0, 0.5))
def test_no_champion_lost_its_backtest_to_the_bar(seed: int, factor: float, margin: float):
    models = (LastWeek(), LastWeek("scaled", factor), Hour())
    chosen = fit_champions(
        world(21, seed), models, ChampionParams(choice=ChoiceParams(margin=margin))
    ).chosen
    compared = chosen[chosen["origins"] > 0]
    won = compared[compared["model"] != "seasonal_naive"]
    assert (compared["loss"] <= compared["bar_loss"]).all()
    assert (won["loss"] < (1 - margin) * won["bar_loss"]).all()


def test_forecasts_are_calibrated_ordered_and_complete(champions: Champions):
    later = world(35)
    values, models = champions.predict(champions.end, 168, QUANTILES, MODELS)
    assert values.shape == (5, 6, 168)
    assert models.tolist() == champions.chosen["model"].tolist()
    assert np.isnan(values[:, 4]).all()  # nothing was ever measured
    known = np.delete(values, 4, axis=1)
    assert (np.diff(known[:, [0, 1, 2, 4]], axis=0) >= 0).all()
    assert np.isfinite(known[:, [0, 1, 2, 4]]).all()
    assert (values[:, 2] == 7).all()
    assert (values[:, 5] < 0).any()  # a series that was negative may be
    actual = later.values[:2, 28 * 24 :]
    assert (measures.coverage(actual, values[2, :2]) > 0.8).all()


def test_a_series_without_backtest_has_its_models_own_quantiles(champions: Champions):
    values, _ = champions.predict(champions.end, 168, QUANTILES, MODELS)
    naive = MODELS[0]
    own = naive.predict(naive.fit(world()), champions.end, 168, QUANTILES)
    np.testing.assert_array_equal(values[:, 3], own[:, 3])


def test_expectations_inside_history_were_said_without_seeing_the_value(champions: Champions):
    history = world()
    got = champions.expected(history, MODELS)
    values = history.values.copy()
    values[:, -168:] += 1  # the last week: no expectation may move with it
    moved = fit_champions(history.with_values(values), MODELS, PARAMS)
    assert moved.chosen["model"].tolist()[:2] == champions.chosen["model"].tolist()[:2]
    again = moved.expected(history.with_values(values), MODELS)
    np.testing.assert_array_equal(got[:2], again[:2])
    # Before the first origin: the week after, for want of a week before.
    np.testing.assert_array_equal(got[1, : 7 * 24], history.values[1, 7 * 24 : 14 * 24])
    assert np.isfinite(got[[0, 1, 2, 5]]).all()
    assert np.isnan(got[4]).all()


def test_expectations_after_history_are_the_forecast_and_causal(champions: Champions):
    longer = world(35)
    got = champions.expected(longer, MODELS)
    told = champions.predict(champions.end, 168, (0.5,), MODELS)[0][0]
    np.testing.assert_array_equal(got[:, 28 * 24 :], told)
    np.testing.assert_array_equal(got[:, : 28 * 24], champions.expected(world(), MODELS))
    part = champions.expected(longer.window(start=START + 20 * 24 * HOUR), MODELS)
    np.testing.assert_array_equal(part[:3, 7 * 24 :], got[:3, 27 * 24 :])
    only = champions.expected(longer.window(start=champions.end + 5 * HOUR), MODELS)
    np.testing.assert_array_equal(only, told[:, 5:])


def test_expectations_come_in_the_panels_order_with_nan_for_strangers(champions: Champions):
    some = world().select(np.array([2, 0]))
    stranger = some.keys.assign(workload=["c/n/D/2", "c/n/D/new"])
    got = champions.expected(Panel(stranger, START, HOUR, some.values), MODELS)
    np.testing.assert_array_equal(got[0], champions.expected(world(), MODELS)[2])
    assert np.isnan(got[1]).all()
    with pytest.raises(ValueError, match="step"):
        champions.expected(Panel(some.keys, START, 2 * HOUR, some.values), MODELS)


def test_champions_survive_a_bundle(champions: Champions, tmp_path: Path):
    bundle.save(tmp_path, champions.to_baselines(), {})
    back = Champions.from_baselines(bundle.load(tmp_path)[0])
    pd.testing.assert_frame_equal(back.chosen, champions.chosen)
    told = champions.predict(champions.end, 48, QUANTILES, MODELS)[0]
    np.testing.assert_array_equal(back.predict(back.end, 48, QUANTILES, MODELS)[0], told)
    one = Champions.from_baselines(bundle.load(tmp_path, ["c/n/D/1"])[0])
    np.testing.assert_array_equal(
        one.predict(one.end, 48, QUANTILES, MODELS)[0], told[:, [1]]
    )  # fmt: skip
    assert np.isfinite(back.expected(world(), MODELS)[:3]).all()


def test_short_history_has_no_backtest_and_still_a_forecast():
    got = fit_champions(world(2), MODELS, PARAMS)
    assert (got.chosen["reason"] == "too little history for a backtest").all()
    assert len(conform(got.table, BACKTEST)) == 0
    values, models = got.predict(got.end, 24, (0.5, 0.9), MODELS)
    assert set(models) == {"seasonal_naive"}
    assert values.shape == (2, 6, 24)
    assert got.expected(world(2), MODELS).shape == (6, 48)


def test_what_is_missing_is_named(champions: Champions):
    with pytest.raises(ValueError, match="seasonal_naive"):
        fit_champions(world(), (Hour(),), PARAMS)
    with pytest.raises(ValueError, match="'hour'"):
        champions.predict(champions.end, 1, (0.5,), MODELS[:1])
    with pytest.raises(ValueError, match="history's end"):
        champions.predict(START, 1, (0.5,), MODELS)
    parts = champions.to_baselines()
    for name in ("champion", "calibration", "hour"):
        rest = {k: v for k, v in parts.items() if k != name}
        with pytest.raises(ValueError, match=name):
            Champions.from_baselines(rest)
    for wrong in ({"margin": 1.0}, {"quantile": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ChoiceParams(**wrong)


def test_a_bundle_without_the_workload_forecasts_nothing(champions: Champions, tmp_path: Path):
    bundle.save(tmp_path, champions.to_baselines(), {})
    none = Champions.from_baselines(bundle.load(tmp_path, ["c/n/D/unknown"])[0])
    values, models = none.predict(none.end, 3, QUANTILES, MODELS)
    assert values.shape == (5, 0, 3)
    assert len(models) == 0
    assert np.isnan(none.expected(world(35), MODELS)).all()


def test_fitting_again_on_the_same_history_changes_nothing(champions: Champions):
    again = refitted(champions, world(), MODELS)
    was, now = (c.predict(champions.end, 168, QUANTILES, MODELS)[0] for c in (champions, again))
    np.testing.assert_array_equal(was, now)


def test_fitting_again_knows_what_came_and_keeps_who_is_live(champions: Champions):
    later = world(33)
    grown = later.with_values(np.where(np.arange(33 * 24) >= 28 * 24, 2, 1) * later.values)
    again = refitted(champions, grown, MODELS)
    assert again.chosen["model"].tolist() == champions.chosen["model"].tolist()
    assert (again.end, again.trained_until) == (grown.end, champions.end)
    told, _ = again.predict(grown.end, 24, (0.5,), MODELS)
    week = grown.values[1, -7 * 24 :][:24]
    np.testing.assert_allclose(told[0, 1], week, rtol=1e-6)  # its champion repeats last week
    with pytest.raises(ValueError, match="step"):
        refitted(champions, replace(grown, step=2 * HOUR), MODELS)


def test_newcomers_have_last_week_and_say_so():
    full = world()
    rows = np.arange(full.n_series) == 1
    found = newcomers(full, rows, MODELS[0], PARAMS)
    assert found.chosen["model"].tolist() == ["seasonal_naive"]
    assert found.chosen["reason"].tolist() == ["too little history for a backtest"]
    told, _ = found.predict(full.end, 168, (0.5,), MODELS)
    np.testing.assert_allclose(told[0, 0], full.values[1, -168:], rtol=1e-6)
