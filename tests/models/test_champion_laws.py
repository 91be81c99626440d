"""What holds for champions of real forecasters, whoever wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.civil import Calendar
from features.panel import Floats, Panel
from models import bundle
from models.backtest import BacktestParams
from models.base import Forecaster
from models.champion import Champions
from models.champion_fit import ChampionParams, fit_champions, newcomers, refitted
from models.choice import BARS
from models.combination import COMBINATION
from models.decomposition import Decomposition
from models.prophet import Prophet
from models.seasonal_level import SeasonalLevel
from models.seasonal_naive import SeasonalDay, SeasonalMedian, SeasonalNaive

NAIVE = SeasonalNaive()
MODELS: tuple[Forecaster, ...] = (
    NAIVE,
    SeasonalMedian(),
    SeasonalDay(),
    SeasonalLevel(),
    Decomposition(),
    Prophet(),
)
PARAMS = ChampionParams()
NO_BACKTEST = ChampionParams(backtest=BacktestParams(origins=0))
QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)
HOUR = pd.Timedelta("1h")
START = pd.Timestamp("2026-03-30T22:00Z")  # midnight in Berlin, a day after clocks changed
BERLIN = Calendar("*", "Europe/Berlin", "DE", ("2026-04-22", "2026-04-29"))
NAMES = ("day", "week", "flat", "young", "nothing", "negative", "gap", "last week")


def world(days: int = 28) -> Panel:
    """One series of a kind; half of May's first week is special or a holiday."""
    rng, hour = np.random.default_rng(0), np.arange(40 * 24)
    day = 100 + 50 * np.sin(2 * np.pi * hour / 24)
    week = day * np.where(hour // 24 % 7 < 5, 1.0, 0.3)
    exact = np.tile(rng.lognormal(3, 1, 168), 6)[: len(hour)]
    noisy = week * rng.lognormal(0, 0.2, len(hour))
    rows = {
        "day": day * rng.lognormal(0, 0.3, len(hour)),
        "week": noisy,
        "flat": np.full(len(hour), 7.0),
        "young": np.where(hour < 26 * 24, np.nan, noisy),
        "nothing": np.full(len(hour), np.nan),
        "negative": noisy - 500,
        "gap": np.where((hour > 200) & (hour < 500), np.nan, noisy),
        "last week": exact,
    }
    keys = pd.DataFrame({"workload": [f"c/n/D/{n}" for n in NAMES], "metric": "m"}, dtype="str")
    return Panel(keys, START, HOUR, np.array([rows[n][: days * 24] for n in NAMES]))


def told(champions: Champions, n_steps: int = 200, ahead: int = 0) -> Floats:
    start = champions.end + ahead * champions.step
    return champions.predict(start, n_steps, QUANTILES, MODELS)[0]


@pytest.fixture(scope="module")
def champions() -> Champions:
    return fit_champions(world(), MODELS, PARAMS, BERLIN)


def test_every_kind_of_champion_is_there(champions: Champions):
    model = champions.chosen["model"].to_numpy()
    assert {COMBINATION, BARS[0]} <= set(model)
    assert model[NAMES.index("week")] == COMBINATION
    assert model[NAMES.index("young")] == BARS[0]
    assert champions.combined
    np.testing.assert_allclose(champions.weights.sum(axis=1), 1)


def test_all_who_were_ever_measured_are_answered_in_order(champions: Champions):
    values = told(champions, 28 * 24)
    silent = np.array(NAMES) == "nothing"
    assert np.isnan(values[:, silent]).all()
    assert np.isfinite(values[:, ~silent]).all()
    assert (np.diff(values[:, ~silent], axis=0) >= 0).all()
    is_negative = np.array(NAMES) == "negative"
    assert (values[:, ~silent & ~is_negative] >= 0).all()
    assert (values[:, is_negative] < 0).any()


def test_later_starts_continue_the_same_forecast(champions: Champions):
    np.testing.assert_array_equal(told(champions, 150, 50), told(champions)[:, :, 50:])


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 1, 4, 3)])
def test_quantiles_come_as_they_are_asked_for(champions: Champions, order: tuple[int, ...]):
    asked = [QUANTILES[i] for i in order]
    got = champions.predict(champions.end, 200, asked, MODELS)[0]
    np.testing.assert_array_equal(got, told(champions)[list(order)])


def test_the_unit_does_not_matter(champions: Champions):
    large = world().with_values(world().values * 1024)
    again = fit_champions(large, MODELS, PARAMS, BERLIN)
    assert again.chosen["model"].tolist() == champions.chosen["model"].tolist()
    np.testing.assert_allclose(told(again), told(champions) * 1024, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["day", "week", "flat", "negative", "gap", "last week"])
def test_what_else_is_in_the_panel_changes_nothing(champions: Champions, name: str):
    row = np.array(NAMES) == name
    alone = fit_champions(world().select(row), MODELS, PARAMS, BERLIN)
    assert alone.chosen["model"].tolist() == champions.chosen["model"][row].tolist()
    np.testing.assert_allclose(told(alone), told(champions)[:, row], rtol=1e-6)


# ---- demoted


def test_the_demoted_answer_as_last_week_with_its_own_quantiles(champions: Champions):
    rows = np.isin(NAMES, ["week", "gap", "young"])
    less = champions.demoted(rows)
    _, models = less.predict(less.end, 1, QUANTILES, MODELS)
    assert (models[rows] == BARS[0]).all()
    assert (models[~rows] == champions.chosen["model"].to_numpy()[~rows]).all()
    got, was = told(less), told(champions)
    np.testing.assert_array_equal(got[:, ~rows], was[:, ~rows])
    # on days that are not special: those are moved to what the last such day was like
    only = fit_champions(
        world(), (NAIVE,), replace(PARAMS, backtest=BacktestParams(origins=0)), BERLIN
    )
    np.testing.assert_array_equal(got[:, rows], told(only)[:, rows])
    np.testing.assert_array_equal(told(champions), was)  # who was asked to is not changed
    nobody = champions.demoted(np.zeros(len(NAMES), dtype=bool))
    np.testing.assert_array_equal(told(nobody), was)


# ---- bundles


def test_a_bundle_forecasts_the_same(champions: Champions, tmp_path: Path):
    bundle.save(tmp_path, champions.to_baselines(), {})
    back = Champions.from_baselines(bundle.load(tmp_path)[0])
    np.testing.assert_array_equal(told(back), told(champions))
    assert (back.calendar, back.end, back.step) == (
        champions.calendar,
        champions.end,
        champions.step,
    )
    some = [f"c/n/D/{n}" for n in ("gap", "week")]
    few = Champions.from_baselines(bundle.load(tmp_path, some)[0])
    rows = champions.keys["workload"].isin(some).to_numpy()
    np.testing.assert_allclose(told(few), told(champions)[:, rows], rtol=1e-12)
    np.testing.assert_array_equal(told(few.demoted(np.ones(2, dtype=bool))), told(
        champions.demoted(rows))[:, rows]
    )  # fmt: skip


def test_a_bundle_of_an_older_release_is_refused_by_name(champions: Champions):
    parts = champions.to_baselines()
    who = parts["champion"]
    older = {**parts, "champion": replace(who, meta={"models": who.meta["models"]})}
    with pytest.raises(ValueError, match="foretide train"):
        Champions.from_baselines(older)
    old = parts["calibration"]
    flat = replace(old, arrays={**old.arrays, "special": old.arrays["special"][:, 0]})
    with pytest.raises(ValueError, match="foretide train"):
        Champions.from_baselines({**parts, "calibration": flat})


# ---- what came since


def test_fitting_again_is_what_a_training_then_would_say_of_its_members(champions: Champions):
    later = world(35)
    again = refitted(champions, later, MODELS)
    every = np.ones(len(NAMES), dtype=bool)
    bar = fit_champions(later, (NAIVE,), NO_BACKTEST, BERLIN)
    np.testing.assert_array_equal(told(again.demoted(every)), told(bar))
    planted = world(40).with_values(np.where(np.arange(960) < 35 * 24, world(40).values, 1e9))
    seen = refitted(champions, planted.window(end=later.end), MODELS)
    np.testing.assert_array_equal(told(seen), told(again))


def test_a_newcomer_is_answered_alone_as_beside_others():
    rows = np.array(NAMES) == "week"
    beside = newcomers(world(), rows, NAIVE, PARAMS, BERLIN)
    alone = newcomers(world().select(rows), np.array([True]), NAIVE, PARAMS, BERLIN)
    np.testing.assert_array_equal(told(beside), told(alone))
    assert beside.chosen["model"].tolist() == [BARS[0]]


# ---- special days, kind by kind


def test_holidays_and_special_days_are_each_like_their_last(champions: Champions):
    """Holidays before: 3 and 6 April; ahead: 1 May. Special before: 22 April; ahead: 29 April."""
    row = NAMES.index("week")
    history = world()
    times = history.times.tz_convert("Europe/Berlin")
    days = times.strftime("%Y-%m-%d")
    values = history.values.copy()
    values[row, np.isin(days, ["2026-04-03", "2026-04-06"])] = 5.0
    values[row, np.isin(days, ["2026-04-22"])] = 900.0
    fitted = fit_champions(history.with_values(values), MODELS, PARAMS, BERLIN)
    median = told(fitted)[1, row]
    ahead = pd.date_range(fitted.end, periods=200, freq="h").tz_convert("Europe/Berlin")
    day = ahead.strftime("%Y-%m-%d")
    np.testing.assert_allclose(median[day == "2026-04-29"], 900)
    np.testing.assert_allclose(median[day == "2026-05-01"], 5)
    usual = ~np.isin(day, ["2026-04-29", "2026-05-01"])
    np.testing.assert_allclose(median[usual], told(champions)[1, row][usual])
