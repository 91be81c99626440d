"""Multiplicative seasonality: what holds for any series."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prophet_cases import HOUR, START, growing, load, panel, spoiled

from models.prophet import FELL_BACK, Prophet, ProphetParams, objective, solver_names

QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)
PARAMS = ProphetParams(seasonality_mode="multiplicative")
MODEL = Prophet(PARAMS, name="prophet_multiplicative")


def test_its_baselines_have_its_name():
    assert MODEL.fit(panel(growing(1))).model == MODEL.name == "prophet_multiplicative"


def test_a_wave_that_grows_with_its_trend_is_met_better_than_by_an_additive_model():
    base = growing(2)
    p = panel(base * (1 + 0.02 * np.random.default_rng(0).normal(size=672)))
    own, additive = MODEL.fit(p), Prophet().fit(p)
    assert own.arrays["sigma"][0] < 0.5 * additive.arrays["sigma"][0]
    assert objective(own, p)[0] < objective(additive, p)[0]


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(1e-6, 1e12), seed=st.integers(0, 1000))
def test_a_factor_on_the_history_is_a_factor_on_the_forecast(factor: float, seed: int):
    p = panel(growing(seed) + 0.1 * load(seed))
    one = MODEL.predict(MODEL.fit(p), p.end, 48, QUANTILES)
    other = MODEL.predict(MODEL.fit(p.with_values(p.values * factor)), p.end, 48, QUANTILES)
    np.testing.assert_allclose(other, one * factor, rtol=1e-4)


def test_what_else_is_in_the_panel_changes_nothing():
    values = [v for seed in range(3) for v in spoiled(growing(seed), seed).values()]
    values += [np.full(672, np.nan), np.zeros(672)]
    p = panel(values)
    forecast = MODEL.predict(MODEL.fit(p), p.end, 48, QUANTILES)
    for i in range(0, p.n_series, 5):
        alone = p.select(np.array([i]))
        np.testing.assert_allclose(
            MODEL.predict(MODEL.fit(alone), p.end, 48, QUANTILES)[:, 0],
            forecast[:, i],
            rtol=1e-6,
            atol=1e-6,
        )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_steps=st.integers(1, 200),
    missing=st.floats(0, 0.95),
    step_h=st.sampled_from([1, 7, 24]),
    scale=st.sampled_from([1e-300, 1.0, 1e15]),
    offset=st.sampled_from([-200.0, -100.0, 0.0]),
    growth=st.sampled_from(["linear", "flat"]),
)
def test_any_history_has_a_finite_answer_that_never_crosses(
    seed: int,
    n_steps: int,
    missing: float,
    step_h: int,
    scale: float,
    offset: float,
    growth: str,
):
    rng = np.random.default_rng(seed)
    values = scale * (load(seed, n_steps) + offset)
    values[rng.uniform(size=n_steps) < missing] = np.nan
    p = panel(values, step=step_h * HOUR)
    model = Prophet(replace(PARAMS, growth=growth))
    out = model.predict(model.fit(p), p.end, 500, QUANTILES)
    if np.isnan(values).all():
        assert np.isnan(out).all()
        return
    assert np.isfinite(out).all()
    assert (np.diff(out, axis=0) >= 0).all()
    assert (out >= 0).all() or (values < 0).any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["noisy", "gaps", "rare", "around zero"]))
def test_every_fit_is_a_mode_or_the_additive_one(seed: int, kind: str):
    p = panel(spoiled(growing(seed), seed)[kind])
    own, rng = MODEL.fit(p), np.random.default_rng(seed)
    if own.arrays["status"][0] == FELL_BACK:
        own = Prophet().fit(p)
    best = objective(own, p)
    for _ in range(30):
        moved = {
            name: array + 1e-4 * rng.normal(size=array.shape) * (array != 0)
            for name, array in own.arrays.items()
            if name in ("k", "m", "delta", "beta", "sigma")
        }
        assert objective(replace(own, arrays={**own.arrays, **moved}), p)[0] >= best[0] - 1e-6


def test_gaps_at_random_cost_little_of_the_forecast():
    values = growing(4, 672 + 168)
    holes = np.where(np.random.default_rng(1).uniform(size=840) < 0.3, np.nan, values)
    p = panel(holes[:672])
    out = MODEL.predict(MODEL.fit(p), p.end, 168, [0.5])[0, 0]
    assert np.abs(out - values[672:]).mean() < 0.02 * values.mean()


def test_solver_names_say_who_served_whom():
    p = panel([growing(1), np.full(672, 3.0), np.full(672, np.nan)])
    assert solver_names(MODEL.fit(p)).tolist() == ["newton", "constant", "none"]
    assert solver_names(Prophet().fit(p)).tolist() == ["exact", "constant", "none"]
    own = MODEL.fit(p)
    fell = {**own.arrays, "status": np.full(3, FELL_BACK), "multiplicative": np.zeros(3, bool)}
    assert solver_names(replace(own, arrays=fell))[0] == "additive (fell back)"


def test_baselines_are_plain_arrays_and_json():
    p = panel([growing(1), growing(2)])
    own = MODEL.fit(p)
    again = replace(own, meta=json.loads(json.dumps(own.meta)))
    np.testing.assert_array_equal(
        MODEL.predict(again, p.end, 24, QUANTILES), MODEL.predict(own, p.end, 24, QUANTILES)
    )


@pytest.mark.parametrize("n_weeks", [1, 52])
def test_whole_weeks_later_the_forecast_is_the_same(n_weeks: int):
    values = np.vstack([growing(1) + load(2), spoiled(growing(3), 3)["late start"]])
    now, then = panel(values), panel(values, START + n_weeks * pd.Timedelta(days=7))
    np.testing.assert_allclose(
        MODEL.predict(MODEL.fit(then), then.end, 200, QUANTILES),
        MODEL.predict(MODEL.fit(now), now.end, 200, QUANTILES),
        rtol=1e-4,
    )
