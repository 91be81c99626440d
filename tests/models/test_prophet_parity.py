"""Held against the ``prophet`` package: the same objective, a mode at least as good."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.panel import Floats, Panel
from models.base import Baselines
from models.prophet import FITTED, Prophet, objective

START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
MODEL = Prophet()


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


def cases() -> dict[str, Floats]:
    rng = np.random.default_rng(7)
    gaps, late, hole, short = load(3), load(4), load(6), load(8)
    gaps[rng.uniform(size=672) < 0.2] = np.nan
    late[:250] = np.nan
    hole[100:300] = np.nan
    short[: 672 - 200] = np.nan  # 200 hours: no weekly terms
    return {
        "clean": load(1, noise=0.01),
        "noisy": load(2, noise=0.5),
        "gaps": gaps,
        "late start": late,
        "level shift": load(5) + 80.0 * (np.arange(672) > 400),
        "hole": hole,
        "constant": np.full(672, 7.0),
        "short": short,
    }


CASES = cases()


Ours = tuple[Panel, Baselines]
Stock = dict[str, Any]


@pytest.fixture(scope="module")
def ours() -> Ours:
    p = panel(list(CASES.values()))
    return p, MODEL.fit(p)


@pytest.fixture(scope="module")
def stock() -> Stock:
    """The ``prophet`` package's fit of every case, by name."""
    for name in ("prophet", "prophet.models", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import prophet

    def fit(values: Floats) -> Any:
        times = pd.date_range(START, periods=672, freq=HOUR).tz_localize(None)
        # the columns a plain Prophet() picks by itself; intervals of 90 % from many paths
        model = prophet.Prophet(interval_width=0.9, uncertainty_samples=4000)
        return model.fit(pd.DataFrame({"ds": times, "y": values}), seed=1)

    return {name: fit(values) for name, values in CASES.items()}


stock_warnings = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame.drop:DeprecationWarning:prophet.forecaster"
)


def stan_nats(model: Any) -> float:
    """Prophet's Stan program, transcribed, at stock's parameters on stock's own design matrix."""
    p = {name: np.ravel(value) for name, value in model.params.items()}
    t, y = (model.history[c].to_numpy() for c in ("t", "y_scaled"))
    features = model.make_all_seasonality_features(model.history)[0].to_numpy()
    after = (t[:, None] >= model.changepoints_t).astype(float)
    c = model.changepoints_t
    trend = (p["k"] + after @ p["delta"]) * t + (p["m"] + after @ (-c * p["delta"]))
    sigma = float(p["sigma_obs"][0])
    return float(
        len(y) * np.log(sigma)
        + ((y - trend - features @ p["beta"]) ** 2).sum() / (2 * sigma**2)
        + (p["k"][0] ** 2 + p["m"][0] ** 2) / (2 * 5**2)
        + np.abs(p["delta"]).sum() / 0.05
        + (p["beta"] ** 2).sum() / (2 * 10**2)
        + sigma**2 / (2 * 0.5**2)
    )


def with_stocks_parameters(baselines: Baselines, stock: Stock) -> Baselines:
    arrays = {name: array.copy() for name, array in baselines.arrays.items()}
    for i, model in enumerate(stock.values()):
        p = {name: np.ravel(value) for name, value in model.params.items()}
        arrays["k"][i], arrays["m"][i] = p["k"][0], p["m"][0]
        arrays["sigma"][i] = p["sigma_obs"][0]
        arrays["delta"][i], arrays["beta"][i] = p["delta"], 0.0
        columns = {"weekly": slice(0, 6), "daily": slice(6, 14)}
        at = 0
        for name in model.seasonalities:
            here = columns[name]
            arrays["beta"][i, here] = p["beta"][at : at + here.stop - here.start]
            at += here.stop - here.start
    return replace(baselines, arrays=arrays)


@stock_warnings
def test_the_objective_is_never_above_stocks_optimum(ours: Ours, stock: Stock):
    p, baselines = ours
    theirs = objective(with_stocks_parameters(baselines, stock), p)
    np.testing.assert_allclose(theirs, [stan_nats(m) for m in stock.values()], rtol=1e-9)
    excess = objective(baselines, p) - theirs
    assert (excess <= 1e-6).all(), dict(zip(CASES, excess, strict=True))


@stock_warnings
def test_changepoints_and_seasonalities_are_stocks(ours: Ours, stock: Stock):
    a = ours[1].arrays
    for i, (name, model) in enumerate(stock.items()):
        if name == "constant":
            continue
        np.testing.assert_allclose(a["changepoints"][i], model.changepoints_t, rtol=1e-12)
        assert a["beta"][i, :6].any() == ("weekly" in model.seasonalities)
        assert a["beta"][i, 6:].any() == ("daily" in model.seasonalities)


@stock_warnings
def test_with_stocks_parameters_the_forecast_is_stocks(ours: Ours, stock: Stock):
    """The point exactly; the bands as far as stock's simulated paths can tell (4,000 of them)."""
    theirs = with_stocks_parameters(ours[1], stock)
    low, point, high = MODEL.predict(theirs, START, 672 + 168, (0.05, 0.5, 0.95))
    times = pd.date_range(START, periods=672 + 168, freq=HOUR).tz_localize(None)
    for i, name in enumerate(CASES):
        if name not in ("noisy", "late start", "level shift"):
            continue
        np.random.seed(5)  # noqa: NPY002  (prophet draws from the global generator)
        out = stock[name].predict(pd.DataFrame({"ds": times}))
        np.testing.assert_allclose(point[i], out["yhat"], rtol=1e-9)
        width = (high - low)[i].mean()
        off = np.r_[high[i] - out["yhat_upper"], low[i] - out["yhat_lower"]]
        assert np.abs(off).max() < 0.1 * width
        assert abs(off.mean()) < 0.01 * width


def test_a_changepoint_left_out_would_not_help(ours: Ours):
    p, baselines = ours
    best = objective(baselines, p)
    fitted = baselines.arrays["status"] == FITTED
    for j in range(25):
        for move in (1e-4, -1e-4, 1e-3, -1e-3):
            delta = baselines.arrays["delta"].copy()
            delta[:, j] += move
            moved = replace(baselines, arrays={**baselines.arrays, "delta": delta})
            assert (objective(moved, p) >= best - 1e-7)[fitted].all()


@pytest.mark.parametrize("name", ["k", "m", "delta", "beta", "sigma"])
def test_no_small_move_lowers_the_objective(ours: Ours, name: str):
    p, baselines = ours
    best = objective(baselines, p)
    fitted = baselines.arrays["status"] == FITTED
    for j in np.ndindex(baselines.arrays[name].shape[1:]):
        for move in (1e-4, -1e-4, 1e-2, -1e-2):
            moved = {**baselines.arrays, name: baselines.arrays[name].copy()}
            moved[name][:, *j] *= 1 + move
            worse = objective(replace(baselines, arrays=moved), p)
            assert (worse >= best - 1e-7)[fitted].all()
