import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.panel import Floats, Panel
from models.base import Forecaster
from models.prophet import CONSTANT, FITTED, NO_DATA, Prophet, ProphetParams, objective

START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)
MODEL: Forecaster = Prophet()


def panel(values: Any, start: pd.Timestamp = START, step: pd.Timedelta = HOUR) -> Panel:
    values = np.atleast_2d(np.asarray(values, dtype=float))
    keys = pd.DataFrame(
        {"workload": [f"c/n/Deployment/w{i}" for i in range(len(values))], "metric": "x"}
    )
    return Panel(keys, start, step, values)


def load(seed: int, n_steps: int = 672, noise: float = 0.1, steps_per_day: int = 24) -> Floats:
    rng = np.random.default_rng(seed)
    day = np.arange(n_steps) / steps_per_day
    wave = 0.4 * np.sin(2 * np.pi * day + 6 * rng.uniform()) + 0.2 * np.sin(2 * np.pi * day / 7)
    return 100 * (1 + wave + 0.01 * day * rng.normal() + noise * rng.normal(size=n_steps))


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
    ],
)
def test_wrong_knobs_are_refused_by_name(key: str, value: float):
    with pytest.raises(ValueError, match=key):
        ProphetParams(**{key: value})  # pyright: ignore[reportArgumentType]


def test_a_quantile_of_one_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        MODEL.predict(MODEL.fit(panel(load(1))), START, 3, [1.0])
