import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prophet_cases import HOUR, SPECIAL, START, load, panel

from features.panel import Floats
from models.base import Forecaster
from models.prophet import (
    CONSTANT,
    FITTED,
    NO_DATA,
    Prophet,
    ProphetParams,
    SpecialDays,
    objective,
    solver_names,
)

QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)
MODEL: Forecaster = Prophet()


def gaps() -> Floats:
    values = load(3)
    values[np.random.default_rng(7).uniform(size=672) < 0.2] = np.nan
    return values


def late_start() -> Floats:
    return np.where(np.arange(672) < 250, np.nan, load(4))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_steps=st.integers(3, 400),
    missing=st.floats(0, 0.9),
    step_h=st.sampled_from([1, 6, 24]),
)
def test_any_history_ends_at_a_mode(seed: int, n_steps: int, missing: float, step_h: int):
    rng = np.random.default_rng(seed)
    values = load(seed, n_steps, steps_per_day=24 // step_h)
    values[rng.uniform(size=n_steps) < missing] = np.nan
    p = panel(values, step=step_h * HOUR)
    baselines = MODEL.fit(p)
    best = objective(baselines, p)
    if baselines.arrays["status"][0] != FITTED or baselines.arrays["sigma"][0] < 1e-3:
        return  # met (almost) exactly: the posterior has no mode there
    for _ in range(30):
        moved = {
            name: array + 1e-4 * rng.normal(size=array.shape) * (array != 0)
            for name, array in baselines.arrays.items()
            if name in ("k", "m", "delta", "beta", "sigma")
        }
        other = replace(baselines, arrays={**baselines.arrays, **moved})
        assert objective(other, p)[0] >= best[0] - 1e-6


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-6, 1e12), seed=st.integers(0, 1000))
def test_a_factor_on_the_history_is_a_factor_on_the_forecast(factor: float, seed: int):
    p = panel(load(seed))
    one = MODEL.predict(MODEL.fit(p), p.end, 48, QUANTILES)
    other = MODEL.predict(MODEL.fit(p.with_values(p.values * factor)), p.end, 48, QUANTILES)
    np.testing.assert_allclose(other, one * factor, rtol=1e-6)


def test_what_else_is_in_the_panel_changes_nothing():
    rng = np.random.default_rng(0)
    values = np.vstack([load(i) for i in range(150)])
    values[rng.uniform(size=values.shape) < rng.uniform(0, 0.5, size=(150, 1))] = np.nan
    values[3] = np.nan
    p = panel(values)
    every = MODEL.predict(MODEL.fit(p), p.end, 48, QUANTILES)
    for i in (0, 3, 40, 149):
        alone = p.select(np.array([i]))
        np.testing.assert_allclose(
            MODEL.predict(MODEL.fit(alone), p.end, 48, QUANTILES)[:, 0], every[:, i], rtol=1e-7
        )


@pytest.mark.parametrize("weeks", [1, 52, -300])
def test_whole_weeks_later_the_forecast_is_the_same(weeks: int):
    values = np.vstack([load(1), gaps(), late_start()])
    now, then = panel(values), panel(values, START + weeks * pd.Timedelta(days=7))
    np.testing.assert_allclose(
        MODEL.predict(MODEL.fit(then), then.end, 200, QUANTILES),
        MODEL.predict(MODEL.fit(now), now.end, 200, QUANTILES),
        rtol=1e-6,
    )


def test_a_constant_offset_of_the_grid_is_no_new_series():
    """A late start in a long grid is the same series as the same values in a grid of their own."""
    p = panel(late_start())
    own = p.window(START + 250 * HOUR)
    np.testing.assert_allclose(
        MODEL.predict(MODEL.fit(own), p.end, 100, QUANTILES),
        MODEL.predict(MODEL.fit(p), p.end, 100, QUANTILES),
        rtol=1e-7,
    )


def test_quantiles_never_cross_and_never_fall_below_zero_if_history_did_not():
    p = panel([load(1), load(2, noise=0.5), gaps(), late_start()])
    baselines = MODEL.fit(p)
    out = MODEL.predict(baselines, START, 672 * 4, (0.001, 0.01, 0.05, 0.5, 0.9, 0.99, 0.999))
    assert (np.diff(out, axis=0) >= 0).all()
    assert (out[:, ~(p.values < 0).any(axis=1)] >= 0).all()
    negative = panel(load(1) - 100)
    assert (MODEL.predict(MODEL.fit(negative), negative.end, 168, [0.05]) < 0).any()


def test_fitted_values_follow_the_history_and_the_forecast_goes_on_with_it():
    values = load(1, n_steps=672 + 168, noise=0.02)
    p = panel(values[:672])
    baselines = MODEL.fit(p)
    inside, after = (
        MODEL.predict(baselines, at, n, [0.05, 0.5, 0.95])[:, 0]
        for at, n in ((START, 672), (p.end, 168))
    )
    assert np.abs(inside[1] - values[:672]).mean() < 0.03 * values.mean()
    assert np.abs(after[1] - values[672:]).mean() < 0.05 * values.mean()
    assert 0.85 < ((values[:672] > inside[0]) & (values[:672] < inside[2])).mean() < 0.95
    # any start, on the grid or off it
    shifted = MODEL.predict(baselines, p.end + 24 * HOUR, 24, [0.5])[0, 0]
    np.testing.assert_allclose(shifted, after[1][24:48])


def test_degenerate_series_have_an_answer_and_a_code():
    n = 100
    values = np.full((9, n), np.nan)
    values[1] = 0.0
    values[2] = -3.0
    values[3, 50] = 5.0
    values[4, [10, 90]] = 1.0, 2.0
    values[5] = 1e15 + 1e12 * np.arange(n)
    values[6] = np.where(np.arange(n) % 2, np.inf, 4.0)
    values[7, :3] = 1.0, 2.0, 1.0
    values[8] = 1e-300 * load(1, n)
    p = panel(values)
    baselines = MODEL.fit(p)
    expected = [NO_DATA, CONSTANT, CONSTANT, CONSTANT, FITTED, FITTED, CONSTANT, FITTED, FITTED]
    assert baselines.arrays["status"].tolist() == expected
    out = MODEL.predict(baselines, p.end, 50, QUANTILES)
    assert np.isnan(out[:, 0]).all()
    assert np.isfinite(out[:, 1:]).all()
    for i, level in ((1, 0.0), (2, -3.0), (3, 5.0), (6, 4.0)):
        assert (out[:, i] == level).all()
    np.testing.assert_allclose(out[1, 5], 1e15 + 1e12 * np.arange(n, n + 50), rtol=1e-3)


def test_an_empty_panel_gives_empty_answers():
    p = panel(np.empty((0, 50)))
    assert MODEL.predict(MODEL.fit(p), p.end, 5, QUANTILES).shape == (5, 0, 5)
    bare = panel(np.empty((2, 0)))
    assert np.isnan(MODEL.predict(MODEL.fit(bare), bare.end, 5, QUANTILES)).all()


def test_baselines_are_plain_arrays_and_json():
    p = panel([load(1), load(2), load(3)])
    baselines = MODEL.fit(p)
    again = replace(baselines, meta=json.loads(json.dumps(baselines.meta)))
    assert all(len(array) == 3 for array in baselines.arrays.values())
    full = MODEL.predict(again, p.end, 24, QUANTILES)
    part = MODEL.predict(again.select(np.array([2, 0])), p.end, 24, QUANTILES)
    np.testing.assert_allclose(part, full[:, [2, 0]], rtol=1e-12)


@pytest.mark.parametrize(
    "params",
    [
        ProphetParams(n_changepoints=0),
        ProphetParams(weekly_order=0, daily_order=0),
        ProphetParams(weekly_order=5, daily_order=1),
        ProphetParams(growth="flat"),
        ProphetParams(growth="flat", n_changepoints=0, weekly_order=0, daily_order=0),
    ],
)
def test_fewer_or_more_columns_are_fitted_too(params: ProphetParams):
    model = Prophet(params)
    p = panel([load(1), gaps()])
    assert np.isfinite(model.predict(model.fit(p), p.end, 24, QUANTILES)).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_changepoints", -1),
        ("changepoint_range", 0.0),
        ("changepoint_prior_scale", 0.0),
        ("seasonality_prior_scale", float("inf")),
        ("holidays_prior_scale", -1.0),
    ],
)
def test_wrong_knobs_are_refused_by_name(key: str, value: float):
    with pytest.raises(ValueError, match=key):
        ProphetParams(**{key: value})  # pyright: ignore[reportArgumentType]


def test_a_quantile_of_one_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        MODEL.predict(MODEL.fit(panel(load(1))), START, 3, [1.0])


def test_unknown_kinds_of_trend_and_seasonality_are_refused_by_name():
    with pytest.raises(ValueError, match=r"growth must be one of .* got 'logistic'"):
        ProphetParams(growth="logistic")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="seasonality_mode"):
        ProphetParams(seasonality_mode="both")  # pyright: ignore[reportArgumentType]


def test_a_flat_trend_is_flat_and_its_band_does_not_widen():
    model = Prophet(ProphetParams(growth="flat", weekly_order=0, daily_order=0))
    p = panel(np.vstack([load(1) + np.arange(672), gaps()]))
    baselines = model.fit(p)
    assert not baselines.arrays["k"].any()
    assert not baselines.arrays["delta"].any()
    out = model.predict(baselines, p.end, 24 * 365, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(out, np.broadcast_to(out[:, :, :1], out.shape))
    np.testing.assert_allclose(out[1, :, 0], np.nanmean(p.values, axis=1), rtol=1e-3)


def test_a_special_day_is_learned_and_forecast_on_the_next_one():
    days = np.arange(840) // 24
    values = load(1, 840, noise=0.02) + 80.0 * np.isin(days, [6, 20, 30])
    p = panel(values[:672])
    told = Prophet(special=SPECIAL)
    baselines = told.fit(p)
    out = told.predict(baselines, START, 840, [0.5])[0, 0]
    future = days == 30
    assert np.abs(out - values)[future].mean() < 0.1 * values[future].mean()
    plain = Prophet()
    without = plain.predict(plain.fit(p), START, 840, [0.5])[0, 0]
    assert (without[future] < 0.8 * values[future]).all()
    assert baselines.arrays["beta"][0, 14] > 0.1  # sale
    assert baselines.arrays["beta"][0, 16] == 0  # later: no day of it in the history


def test_special_days_of_no_effect_on_a_series_leave_its_other_terms_alone():
    p = panel([load(1), gaps()])
    far = (SpecialDays("far", ("1999-12-31", "2040-01-01")),)
    one, other = Prophet(special=far).fit(p), Prophet().fit(p)
    np.testing.assert_allclose(one.arrays["beta"][:, :14], other.arrays["beta"], rtol=1e-6)
    np.testing.assert_allclose(objective(one, p), objective(other, p), rtol=1e-12)


def test_a_tight_prior_holds_a_special_day_down():
    values = load(1, noise=0.02) * np.where(np.arange(672) // 24 == 6, 1.8, 1.0)
    p, days = panel(values), ("2026-05-10",)
    free, tight, by_default = (
        Prophet(params, special=(SpecialDays("sale", days, scale),)).fit(p).arrays["beta"][0, 14]
        for params, scale in (
            (ProphetParams(), None),
            (ProphetParams(), 1e-3),
            (ProphetParams(holidays_prior_scale=1e-3), None),
        )
    )
    assert 0 < tight < 0.5 * free
    assert by_default == tight


@pytest.mark.parametrize(
    ("name", "days", "scale"),
    [("", (), None), ("a_delim_b", (), None), ("x", ("10.05.2026",), None), ("x", (), 0.0)],
)
def test_wrong_special_days_are_refused(name: str, days: tuple[str, ...], scale: float | None):
    with pytest.raises(ValueError, match=r"got|must be"):
        SpecialDays(name, days, scale)
    with pytest.raises(ValueError, match="sale"):
        Prophet(special=(SpecialDays("sale", ()), SpecialDays("sale", ())))


def test_baselines_from_before_there_were_modes_and_special_days_still_forecast():
    p = panel([load(1), gaps()])
    now = MODEL.fit(p)
    new = {"growth", "seasonality_mode", "holidays_prior_scale"}
    meta = {name: value for name, value in now.meta.items() if name != "special"}
    meta["params"] = {name: v for name, v in meta["params"].items() if name not in new}
    arrays = {name: a for name, a in now.arrays.items() if name != "multiplicative"}
    old = replace(now, meta=meta, arrays=arrays)
    np.testing.assert_array_equal(
        MODEL.predict(old, p.end, 24, QUANTILES), MODEL.predict(now, p.end, 24, QUANTILES)
    )
    np.testing.assert_array_equal(objective(old, p), objective(now, p))
    assert (solver_names(old) == "exact").all()


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_far_ahead_bands_widen_and_stay_finite(mode: str):
    shift = load(5) + 80.0 * (np.arange(672) > 400)
    two = np.where(np.isin(np.arange(672), [0, 671]), load(1), np.nan)
    near = np.where(np.arange(672) < 2, load(2), np.nan)
    p = panel([shift, 1e13 * shift, shift - 300, two, near, np.full(672, 1e15)])
    model = Prophet(ProphetParams(seasonality_mode=mode))  # pyright: ignore[reportArgumentType]
    baselines = model.fit(p)
    years = model.predict(baselines, p.end, 10 * 365 * 24, (0.01, 0.05, 0.5, 0.95, 0.99))
    assert np.isfinite(years).all()
    assert (np.diff(years, axis=0) >= 0).all()
    uncut = years[:, 2, : 24 * 7 * 520].reshape(5, -1, 168).mean(axis=-1)  # by week
    assert (np.diff(uncut[3] - uncut[1]) > 0).all()
