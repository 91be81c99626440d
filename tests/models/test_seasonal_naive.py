import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.panel import Floats, Panel
from models.base import Forecaster
from models.seasonal_naive import (
    SeasonalDay,
    SeasonalMedian,
    SeasonalNaive,
    SeasonalNaiveParams,
    SeasonalPeak,
)

START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
WEEK = 168
QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)
MODELS: tuple[Forecaster, ...] = (SeasonalNaive(), SeasonalMedian())

EVERY: tuple[Forecaster, ...] = (*MODELS, SeasonalDay(), SeasonalPeak())

both = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
every = pytest.mark.parametrize("model", EVERY, ids=lambda m: m.name)


def panel(values: Any, step: pd.Timedelta = HOUR) -> Panel:
    values = np.atleast_2d(np.asarray(values, dtype=float))
    keys = pd.DataFrame(
        {"workload": [f"c/n/Deployment/w{i}" for i in range(len(values))], "metric": "x"}
    )
    return Panel(keys, START, step, values)


def noise(n: int, n_steps: int, seed: int = 0) -> Floats:
    return 10 + np.random.default_rng(seed).normal(size=(n, n_steps))


def point(model: Forecaster, p: Panel, n_steps: int) -> Floats:
    return model.predict(model.fit(p), p.end, n_steps, [0.5])[0]


def test_naive_is_last_week_again_and_again():
    p = panel(noise(3, 4 * WEEK))
    week = p.values[:, -WEEK:]
    assert (point(MODELS[0], p, 3 * WEEK + 5) == np.hstack([week] * 3 + [week[:, :5]])).all()


def test_median_is_that_of_the_last_four_weeks():
    p = panel(noise(3, 6 * WEEK))
    weeks = p.values.reshape(3, 6, WEEK)[:, -4:]
    np.testing.assert_allclose(point(MODELS[1], p, WEEK), np.median(weeks, axis=1))


def test_day_is_the_median_of_the_last_seven_days():
    p = panel(noise(3, 20 * 24 + 5))
    days = p.values[:, -7 * 24 :].reshape(3, 7, 24)
    out = point(EVERY[2], p, 50)
    np.testing.assert_allclose(out, np.median(days, axis=1)[:, np.arange(50) % 24])


@given(
    step_min=st.sampled_from([1, 4, 5, 7, 10, 30, 60]),
    window_min=st.sampled_from([10.0, 30.0, 31.0, 100.0]),
    hole=st.integers(0, 300),
)
@settings(max_examples=30, deadline=None)
def test_peak_is_the_largest_of_the_window_a_week_before(
    step_min: int, window_min: float, hole: int
):
    week, width = round(WEEK * 60 / step_min), int(np.ceil(window_min / step_min))
    values = noise(1, 2 * week)
    values[0, week + hole % week] = np.nan
    p = panel(values, pd.Timedelta(step_min * 60, "s"))
    model = SeasonalPeak(SeasonalNaiveParams(peak_window_min=window_min))
    last = np.concatenate([values[0, -week:], np.full(width, np.nan)])
    expected = [last[s : s + width] for s in range(0, week - width, max(week // 50, 1))]
    expected = [np.nanmax(w) for w in expected if np.isfinite(w).any()]
    got = point(model, p, week)[0, : week - width : max(week // 50, 1)]
    missing = ~np.isfinite(values[0, -week:][: week - width : max(week // 50, 1)])
    if width > 1 or not missing.any():
        np.testing.assert_array_equal(got, expected)


def test_peak_is_naive_where_the_step_is_no_shorter_than_the_window():
    p = panel(noise(3, 3 * WEEK), pd.Timedelta(1800, "s"))
    naive, peak = (EVERY[i].fit(p).arrays for i in (0, 3))
    assert naive.keys() == peak.keys()
    assert all((naive[key] == peak[key]).all() for key in naive)


def test_peak_in_noise_is_seldom_passed():
    values = noise(20, 4 * 2016)
    p = panel(values[:, : 3 * 2016], pd.Timedelta(300, "s"))
    peak, naive = (point(EVERY[i], p, 2016) for i in (3, 0))
    after = values[:, 3 * 2016 :]
    assert (after > naive).mean() > 0.45
    assert (after > peak).mean() < 0.2  # one of seven


@both
def test_no_band_rests_on_less_than_a_day_of_residuals(model: Forecaster):
    """An hour more than a season, or than a day, is no evidence of how they differ."""
    for hours, source in ((25, 2), (47, 2), (48, 1), (WEEK + 1, 1), (WEEK + 24, 0)):
        assert model.fit(panel(noise(1, hours))).arrays["spread_source"].tolist() == [source]


@every
@given(ahead=st.integers(0, 1000), off_s=st.integers(-1799, 1799))
@settings(max_examples=30, deadline=None)
def test_any_later_start_continues_the_same_forecast(model: Forecaster, ahead: int, off_s: int):
    """Also weeks later, and off the grid, where the nearest step is meant."""
    p = panel(noise(2, 3 * WEEK))
    baselines = model.fit(p)
    whole = model.predict(baselines, p.end, 1100, QUANTILES)
    start = p.end + ahead * HOUR + pd.Timedelta(off_s, "s")
    part = model.predict(baselines, max(start, p.end), 10, [0.5])[0]
    np.testing.assert_allclose(part, whole[1][:, ahead : ahead + 10])


@both
def test_gaps_fall_back_step_by_step(model: Forecaster):
    values = noise(6, 6 * WEEK)
    values[1, -WEEK + 5] = np.nan  # the week before: an older one
    values[2, 5::WEEK] = np.nan  # that time of the week was never seen: same time on recent days
    values[3, 5::24] = np.nan  # nor that time of day: the level
    values[4, -4 * WEEK :] = np.nan  # silent for four weeks
    values[5] = np.nan
    p = panel(values)
    baselines = model.fit(p)
    out = point(model, p, WEEK)
    naive = model.name == "seasonal_naive"
    assert baselines.arrays["fallback"].tolist() == [0, 1 if naive else 0, 2, 3, 1, 4]
    weeks = values[1].reshape(6, WEEK)[:, 5]
    assert out[1, 5] == pytest.approx(weeks[-2] if naive else np.nanmedian(weeks[-4:]))
    days = values[2].reshape(-1, 24)[-7:, 5]
    assert out[2, 5] == pytest.approx(np.nanmedian(days))
    recent = values[3][np.isfinite(values[3])][-WEEK:]
    assert out[3, 5] == pytest.approx(np.median(recent))
    np.testing.assert_allclose(out[4], values[4, WEEK : 2 * WEEK])
    assert np.isnan(out[5]).all()
    assert np.isfinite(out[:5]).all()


@every
@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(
        float,
        st.tuples(st.integers(1, 3), st.integers(0, 60)),
        elements=st.one_of(st.just(np.nan), st.floats(-1e15, 1e15), st.just(np.inf)),
    ),
    step_h=st.sampled_from([1, 5, 24, 200]),
)
def test_any_history_has_an_ordered_answer(model: Forecaster, values: Floats, step_h: int):
    p = panel(values, step_h * HOUR)
    baselines = model.fit(p)
    out = model.predict(baselines, p.end, 50, (0.0001, *QUANTILES, 0.9999))
    known = np.isfinite(values).any(axis=1)
    assert np.isnan(out[:, ~known]).all()
    assert np.isfinite(out[:, known]).all()
    assert (np.diff(out[:, known], axis=0) >= 0).all()
    assert (baselines.arrays["fallback"] == 4).tolist() == (~known).tolist()
    calm = known & ~(values < 0).any(axis=1)
    assert (out[:, calm] >= 0).all()
    seen = np.where(np.isfinite(values), values, np.nan)[known]
    if known.any():
        middle = out[2, known]
        assert (middle <= np.nanmax(seen, axis=1, keepdims=True)).all()
        assert (middle >= np.nanmin(seen, axis=1, keepdims=True)).all()


@every
def test_a_constant_is_forecast_as_it_is(model: Forecaster):
    p = panel([np.full(3 * WEEK, level) for level in (0.0, 7.0, -2.0, 1e15)])
    out = model.predict(model.fit(p), p.end, 2 * WEEK, QUANTILES)
    assert (out == np.array([0.0, 7.0, -2.0, 1e15])[None, :, None]).all()


@both
def test_bands_hold_what_then_comes(model: Forecaster):
    """Independent noise around a fixed week: the share below a quantile is that quantile."""
    values = 50 + noise(200, 6 * WEEK, seed=3)
    p = panel(values[:, : 5 * WEEK])
    out = model.predict(model.fit(p), p.end, WEEK, QUANTILES)
    below = (values[:, 5 * WEEK :] <= out).mean(axis=(1, 2))
    np.testing.assert_allclose(below, QUANTILES, atol=0.015)


def test_busy_hours_have_wider_bands_than_quiet_ones():
    rng = np.random.default_rng(1)
    busy = np.arange(4 * WEEK) % 24 >= 16
    p = panel(np.where(busy, 100, 10) * (1 + 0.1 * rng.normal(size=4 * WEEK)))
    out = MODELS[1].predict(MODELS[1].fit(p), p.end, WEEK, [0.05, 0.95])[:, 0]
    width, busy = out[1] - out[0], busy[:WEEK]
    assert width[busy].mean() > 5 * width[~busy].mean()


def test_the_band_of_naive_widens_by_the_root_of_the_weeks():
    p = panel(1000 + noise(2, 4 * WEEK))
    low, high = MODELS[0].predict(MODELS[0].fit(p), p.end, 4 * WEEK, [0.05, 0.95])
    width = (high - low).reshape(2, 4, WEEK).mean(axis=2)
    np.testing.assert_allclose(width / width[:, :1], [np.sqrt([1, 2, 3, 4])] * 2)


@both
def test_short_histories_say_what_their_bands_come_from(model: Forecaster):
    values = np.full((4, 3 * WEEK), np.nan)
    values[0] = noise(1, 3 * WEEK)
    values[1, -3 * 24 :] = noise(1, 3 * 24)
    values[2, -5:] = noise(1, 5)
    p = panel(values)
    baselines = model.fit(p)
    assert baselines.arrays["spread_source"].tolist() == [0, 1, 2, 3]
    low, high = model.predict(baselines, p.end, 24, [0.05, 0.95])
    assert (high > low)[:3].all()


@both
def test_a_week_that_is_no_whole_number_of_steps_takes_the_nearest(model: Forecaster):
    step = pd.Timedelta(5 * 3600, "s")  # 33.6 steps a week
    at = np.arange(200) * 5.0
    p = panel(np.sin(2 * np.pi * at / 168), step)
    hours = (200 + np.arange(100)) * 5.0
    off = np.abs(point(model, p, 100)[0] - np.sin(2 * np.pi * hours / 168))
    assert off.max() < 2 * np.sin(np.pi * 5.0 / 168)


@every
def test_what_else_is_in_the_panel_changes_nothing(model: Forecaster):
    values = noise(300, 3 * WEEK)
    values[np.random.default_rng(2).uniform(size=values.shape) < 0.1] = np.nan
    p = panel(values)
    whole = model.predict(model.fit(p), p.end, 48, QUANTILES)
    for i in (0, 257, 299):
        alone = p.select(np.array([i]))
        assert (model.predict(model.fit(alone), p.end, 48, QUANTILES)[:, 0] == whole[:, i]).all()


@every
def test_baselines_are_plain_arrays_and_json(model: Forecaster):
    p = panel(noise(3, 3 * WEEK))
    baselines = model.fit(p)
    again = replace(baselines, meta=json.loads(json.dumps(baselines.meta)))
    assert all(len(array) == 3 for array in baselines.arrays.values())
    part = model.predict(again.select(np.array([2, 0])), p.end, 24, QUANTILES)
    assert (part == model.predict(baselines, p.end, 24, QUANTILES)[:, [2, 0]]).all()


@every
def test_wrong_questions_are_refused(model: Forecaster):
    p = panel(noise(1, WEEK))
    baselines = model.fit(p)
    with pytest.raises(ValueError, match="end of training"):
        model.predict(baselines, p.end - HOUR, 5, [0.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.predict(baselines, p.end, 5, [0.0])
    with pytest.raises(ValueError, match="season_h"):
        SeasonalNaiveParams(season_h=0)
    with pytest.raises(ValueError, match="levels"):
        SeasonalNaiveParams(levels=0)
