import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.panel import Floats, Panel
from models.base import Forecaster
from models.decomposition import (
    DAILY,
    LEVEL,
    NO_DATA,
    WEEKLY,
    Decomposition,
    DecompositionParams,
)
from models.measures import wape
from models.seasonal_naive import SeasonalMedian, SeasonalNaive

START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
WEEK = 168
QUANTILES = (0.01, 0.05, 0.5, 0.9, 0.95, 0.99)
MODEL: Forecaster = Decomposition()
DATA = Path(__file__).parents[3] / "shared" / "data"


def panel(values: Any, step: pd.Timedelta = HOUR, start: pd.Timestamp = START) -> Panel:
    values = np.atleast_2d(np.asarray(values, dtype=float))
    keys = pd.DataFrame(
        {"workload": [f"c/n/Deployment/w{i}" for i in range(len(values))], "metric": "x"}
    )
    return Panel(keys, start, step, values)


def office(weeks: int, per_hour: int = 1) -> Floats:
    """Busy from 09:00 to 17:00 on five days, with a sharp ramp; a small wave on top."""
    at_h = np.arange(weeks * WEEK * per_hour) / per_hour
    busy = (at_h % 24 >= 9) & (at_h % 24 < 17) & (at_h % WEEK < 120)
    return 100 + 80 * busy + 10 * np.sin(2 * np.pi * at_h / 24)


def noise(shape: tuple[int, ...], sigma: float = 1.0, seed: int = 0) -> Floats:
    return sigma * np.random.default_rng(seed).normal(size=shape)


def median_of(model: Forecaster, p: Panel, n_steps: int) -> Floats:
    return model.predict(model.fit(p), p.end, n_steps, [0.5])[0]


def error(model: Forecaster, p: Panel, truth: Floats) -> Floats:
    return np.abs(median_of(model, p, len(truth)) - truth).mean(axis=1)


@pytest.mark.parametrize("per_hour", [1, 4, 12])
def test_a_season_without_noise_comes_back_as_it_was(per_hour: int):
    """Sharp ramps and quiet weekends too: shrinking takes out noise alone."""
    whole = office(5, per_hour)
    week = WEEK * per_hour
    p = panel(whole[:-week], HOUR / per_hour)
    np.testing.assert_allclose(median_of(MODEL, p, week)[0], whole[-week:], atol=1e-6)


def test_noise_of_five_minute_slots_is_smoothed_and_the_ramp_stays():
    per_hour, n = 12, 8
    week = WEEK * per_hour
    whole = office(5, per_hour)
    p = panel(whole[:-week] + noise((n, 4 * week), 8.0), HOUR / 12)
    truth = whole[-week:]
    assert (error(MODEL, p, truth) < 0.6 * error(SeasonalMedian(), p, truth)).all()
    point = median_of(MODEL, p, week)
    nine = 9 * per_hour
    jump = (point[:, nine] - point[:, nine - 1]).mean()
    assert jump == pytest.approx(80, abs=10)


def test_a_changed_level_is_followed():
    """Up by half for the last ten days: neither the median of four weeks nor half of it."""
    values = np.tile(office(4), (5, 1)) + noise((5, 4 * WEEK), 5.0)
    values[:, -10 * 24 :] += 60
    p = panel(values)
    truth = office(5)[-WEEK:] + 60
    assert (error(MODEL, p, truth) < 0.5 * error(SeasonalMedian(), p, truth)).all()


def test_a_slow_drift_is_not_a_week_behind():
    drift = 0.05 * np.arange(5 * WEEK)
    values = (office(5) + drift)[: 4 * WEEK] + noise((20, 4 * WEEK), 2.0)
    p = panel(values)
    truth = (office(5) + drift)[-WEEK:]
    assert error(MODEL, p, truth).mean() < 0.8 * error(SeasonalNaive(), p, truth).mean()


def test_an_incident_in_the_last_week_hardly_comes_back():
    calm = np.tile(office(4), (4, 1)) + noise((4, 4 * WEEK), 5.0)
    hit = calm.copy()
    hit[:, -40:-30] *= 10
    told, usual = (median_of(MODEL, panel(v), WEEK) for v in (hit, calm))
    assert np.abs(told - usual).max() < 20  # of some 900 above


def test_history_decides_the_season():
    values = np.tile(office(4), (5, 1)) + noise((5, 4 * WEEK))
    for row, steps in enumerate((14 * 24, 14 * 24 - 1, 48, 47, 0)):
        values[row, : 4 * WEEK - steps] = np.nan
    kinds = MODEL.fit(panel(values)).arrays["kind"]
    assert kinds.tolist() == [WEEKLY, DAILY, DAILY, LEVEL, NO_DATA]


def test_three_days_are_enough_for_a_daily_season():
    day = 100 + 50 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    p = panel(np.tile(day, 3))
    np.testing.assert_allclose(median_of(MODEL, p, 48)[0], np.tile(day, 2), atol=1e-6)


def test_a_constant_stays_and_has_no_band():
    p = panel(np.outer([0.0, 7.0, -3.0, 1e15], np.ones(4 * WEEK)))
    told = MODEL.predict(MODEL.fit(p), p.end, WEEK, QUANTILES)
    np.testing.assert_allclose(
        told, np.broadcast_to(p.values[:, :WEEK], told.shape), rtol=1e-9, atol=1e-9
    )


def test_gaps_in_the_grid_are_bridged_from_other_days_and_neighbours():
    values = np.tile(office(4), (3, 1))
    values[0, 50::WEEK] = np.nan  # an hour of the week that was never seen
    values[1, 3::24] = np.nan  # an hour of the day that was never seen
    values[2, -WEEK:] = np.nan  # silent for a week
    truth = office(5)[-WEEK:]
    told = median_of(MODEL, panel(values), WEEK)
    assert np.abs(told - truth).max() < 20
    np.testing.assert_allclose(told[2], truth, atol=1e-6)


def test_nine_of_ten_values_lie_below_the_nine_tenths_quantile():
    whole = office(5) + noise((60, 5 * WEEK), 10.0)
    p = panel(whole[:, : 4 * WEEK])
    told = MODEL.predict(MODEL.fit(p), p.end, WEEK, [0.1, 0.9])
    truth = whole[:, -WEEK:]
    assert 0.86 < (truth <= told[1]).mean() < 0.95
    assert 0.05 < (truth <= told[0]).mean() < 0.14


def test_bands_widen_where_the_level_wanders():
    steps = noise((10, 28), 5.0)
    values = 200 + np.repeat(np.cumsum(steps, axis=1), 24, axis=1) + noise((10, 4 * WEEK))
    p = panel(values)
    told = MODEL.predict(MODEL.fit(p), p.end, 3 * WEEK, [0.05, 0.95])
    width = (told[1] - told[0]).mean(axis=0)
    assert width[-24:].mean() > 1.3 * width[:24].mean()


def test_a_trend_is_damped():
    """A history that doubles does not go on to infinity."""
    p = panel(np.linspace(100, 200, 4 * WEEK))
    told = median_of(MODEL, p, 100 * WEEK)[0]
    assert told.min() > 150
    assert told.max() < 300


@given(ahead=st.integers(0, 500), off_s=st.integers(-1799, 1799))
@settings(max_examples=20, deadline=None)
def test_any_later_start_continues_the_same_forecast(ahead: int, off_s: int):
    p = panel(office(3) + noise((2, 3 * WEEK)))
    baselines = MODEL.fit(p)
    whole = MODEL.predict(baselines, p.end, 520, [0.9])
    start = max(p.end + ahead * HOUR + pd.Timedelta(off_s, "s"), p.end)
    part = MODEL.predict(baselines, start, 10, [0.9])
    np.testing.assert_allclose(part, whole[:, :, ahead : ahead + 10])


def test_a_series_is_fitted_by_itself():
    values = office(4) + noise((5, 4 * WEEK), 5.0)
    values[1, :300] = np.nan
    values[2] = np.nan
    values[3, :-100] = np.nan
    together = MODEL.fit(panel(values))
    for row in range(5):
        alone = MODEL.fit(panel(values).select(np.array([row])))
        for name, array in together.arrays.items():
            np.testing.assert_array_equal(array[row], alone.arrays[name][0], err_msg=name)


@given(power=st.integers(-40, 40), shift=st.floats(-100, 100), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_unit_does_not_matter(power: int, shift: float, seed: int):
    values = office(3) + noise((2, 3 * WEEK), 5.0, seed)
    one = median_of(MODEL, panel(values), WEEK)
    other = median_of(MODEL, panel((values + shift) * 2.0**power), WEEK)
    np.testing.assert_allclose(other / 2.0**power - shift, one, atol=1e-5)


STEPS_S = (60, 300, 420, 1800, 3600, 18_000, 43_200, 86_400)


@st.composite
def histories(draw: st.DrawFn) -> Panel:
    step_s = draw(st.sampled_from(STEPS_S))
    n_steps = draw(st.integers(1, min(60 * 86_400 // step_s, 3000)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 3)), n_steps)
    kind = draw(st.sampled_from(["normal", "counts", "constant", "zeros", "bursts"]))
    values: Floats = {
        "normal": rng.normal(size=shape),
        "counts": rng.poisson(0.3, size=shape).astype(float),
        "constant": np.full(shape, rng.normal()),
        "zeros": np.zeros(shape),
        "bursts": np.where(rng.uniform(size=shape) < 0.01, 1e6, 0.0),
    }[kind] * draw(st.sampled_from([1e-300, 1e-9, 1.0, 1e15, 1e300]))
    if draw(st.booleans()):
        values[:, -1] *= 1000  # a jump at the last point
    values[rng.uniform(size=shape) < draw(st.sampled_from([0, 0.1, 0.9, 0.999]))] = np.nan
    if draw(st.booleans()):
        values[:, : rng.integers(n_steps)] = np.nan
    if draw(st.booleans()):
        values[:, rng.integers(n_steps) :] = np.nan
    start = START + pd.Timedelta(int(rng.integers(86_400)), "s")
    return panel(values, pd.Timedelta(step_s, "s"), start)


@given(p=histories())
@settings(max_examples=150, deadline=None)
def test_any_history_gives_an_answer_or_none_at_all(p: Panel):
    before = p.values.copy()
    baselines = MODEL.fit(p)
    told = MODEL.predict(baselines, p.end, 400, QUANTILES)
    assert told.shape == (len(QUANTILES), p.n_series, 400)
    known = np.isfinite(p.values).any(axis=1)
    assert np.isfinite(told[:, known]).all()
    assert np.isnan(told[:, ~known]).all()
    assert (np.diff(told[:, known], axis=0) >= 0).all()
    calm = known & (np.fmin.reduce(p.values, axis=1) >= 0)
    assert (told[:, calm] >= 0).all()
    np.testing.assert_array_equal(p.values, before)
    assert json.loads(json.dumps(baselines.meta)) is not None


def test_infinite_values_are_missing():
    values = office(4) + noise((2, 4 * WEEK))
    values[1] = values[0]
    values[0, 100:110], values[1, 100:110] = np.inf, np.nan
    told = median_of(MODEL, panel(values), WEEK)
    np.testing.assert_array_equal(told[0], told[1])


def test_an_empty_panel_is_no_trouble():
    p = panel(np.empty((0, 100)))
    assert MODEL.predict(MODEL.fit(p), p.end, 5, [0.5]).shape == (1, 0, 5)


def test_what_was_learned_can_be_cut_to_some_series():
    p = panel(office(3) + noise((4, 3 * WEEK)))
    baselines, rows = MODEL.fit(p), np.array([2, 0])
    whole = MODEL.predict(baselines, p.end, 10, [0.5])
    part = MODEL.predict(baselines.select(rows), p.end, 10, [0.5])
    np.testing.assert_array_equal(part, whole[:, rows])


def test_wrong_questions_are_refused():
    p = panel(office(2))
    baselines = MODEL.fit(p)
    with pytest.raises(ValueError, match="end of training"):
        MODEL.predict(baselines, p.end - HOUR, 5, [0.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        MODEL.predict(baselines, p.end, 5, [1.0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("season_rates", ()),
        ("season_rates", (0.5, 1.5)),
        ("clip_sigma", 0.0),
        ("clip_sigma", float("nan")),
        ("most_weeks", 1),
        ("levels", 0),
    ],
)
def test_params_that_learn_nothing_are_refused(key: str, value: object):
    with pytest.raises(ValueError, match=f"{key} must .* got"):
        replace(DecompositionParams(), **{key: value})


@pytest.mark.skipif(not DATA.exists(), reason="the shared traces are not here")
@pytest.mark.parametrize("name", ["traffic_nasa", "traffic_nyc_taxi"])
def test_on_real_traffic_it_is_no_worse_than_last_week(name: str):
    """Four weeks before each origin; the bar is the better of the two in hindsight."""
    frame = pd.read_parquet(DATA / f"{name}.parquet", columns=["name", "metric", "ts", "value"])
    frame = frame.rename(columns={"name": "workload"})
    p = Panel.from_frame(frame, step=HOUR)
    models: tuple[Forecaster, ...] = (SeasonalNaive(), SeasonalMedian(), MODEL)
    scores: list[list[float]] = []
    for at in range(p.n_steps - WEEK, 4 * WEEK, -96)[:14]:
        past = replace(
            p, start=p.start + (at - 4 * WEEK) * HOUR, values=p.values[:, at - 4 * WEEK : at]
        )
        came = p.values[:, at : at + WEEK]
        scores.append([wape(came, median_of(m, past, WEEK))[0] for m in models])
    assert len(scores) >= 6
    naive, median, own = np.mean(scores, axis=0)
    assert own <= min(naive, median)
