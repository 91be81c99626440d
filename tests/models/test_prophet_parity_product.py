"""Multiplicative models held against ``prophet`` and ``prophet-batch``, by their objective."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prophet_cases import (
    HOUR,
    SPECIAL,
    START,
    batch_fits,
    growing,
    load,
    panel,
    restarted,
    spoiled,
    stan_nats,
    stock_fits,
    with_parameters,
)

from features.panel import Panel
from models.base import Baselines
from models.prophet import FITTED, Prophet, ProphetParams, SpecialDays, objective, solver_names

pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame:DeprecationWarning:prophet.forecaster"
)
NATS = 1e-6
KNOBS: dict[str, Any] = {"seasonality_mode": "multiplicative"}
Case = tuple[Panel, Baselines, list[Any], list[Any]]


@pytest.fixture(scope="module", params=["plain", "special days", "flat"])
def case(request: pytest.FixtureRequest) -> Case:
    growth = "flat" if request.param == "flat" else "linear"
    special: tuple[SpecialDays, ...] = SPECIAL if request.param == "special days" else ()
    seeds = {"plain": (40, 41, 42), "special days": (50,), "flat": (60,)}[request.param]
    named = {
        f"{name} {seed}": values * (1 + 0.5 * np.isin(np.arange(672) // 24, [6, 20]))
        for seed in seeds
        for name, values in spoiled(growing(seed), seed).items()
    }
    p = panel(list(named.values()), names=list(named))
    ours = Prophet(ProphetParams(growth=growth, **KNOBS), special=special).fit(p)
    knobs = {**KNOBS, "growth": growth}
    return p, ours, stock_fits(p, special, **knobs), batch_fits(p, special, **knobs)


def excess(case: Case, theirs: list[Any]) -> dict[str, float]:
    p, ours = case[:2]
    above = objective(ours, p) - objective(with_parameters(ours, theirs), p)
    return dict(zip(p.keys["workload"], above, strict=True))


def test_all_of_them_are_served_by_their_own_solver(case: Case):
    assert (solver_names(case[1]) == "newton").all()
    assert (case[1].arrays["status"] == FITTED).all()


def test_the_objective_is_prophets_own(case: Case):
    p, ours, stock, _ = case
    theirs = objective(with_parameters(ours, stock), p)
    np.testing.assert_allclose(theirs, [stan_nats(model) for model in stock], rtol=1e-9)


def test_never_above_stocks_fit(case: Case):
    above = excess(case, case[2])
    assert max(above.values()) <= NATS, above


def test_never_above_another_batched_solver(case: Case):
    above = excess(case, case[3])
    assert max(above.values()) <= NATS, above


def test_stan_restarted_at_our_optimum_gains_nothing(case: Case):
    p, ours = (part.select(np.arange(12)) for part in case[:2])
    growth = ours.meta["params"]["growth"]
    again = restarted(p, case[2][:12], ours, growth=growth, **KNOBS)
    gain = objective(ours, p) - objective(with_parameters(ours, again), p)
    assert (gain <= NATS).all(), dict(zip(p.keys["workload"], gain, strict=True))


def test_no_small_move_lowers_the_objective(case: Case):
    p, ours = case[:2]
    best = objective(ours, p)
    for name in ("k", "m", "delta", "beta", "sigma"):
        for j in np.ndindex(ours.arrays[name].shape[1:]):
            if ours.meta["params"]["growth"] == "flat" and name == "delta":
                continue
            for move in (1e-4, -1e-4):
                moved = {**ours.arrays, name: ours.arrays[name].copy()}
                moved[name][:, *j] += move * (np.abs(moved[name][:, *j]) + (name == "delta"))
                assert (objective(replace(ours, arrays=moved), p) >= best - 1e-7).all(), name


def test_with_stocks_parameters_the_forecast_is_stocks():
    """The point exactly; the bands as far as stock's simulated paths can tell (4,000 of them)."""
    shift = growing(5) * np.where(np.arange(672) > 400, 1.6, 1)
    p = panel([growing(3) + load(1), shift * (1 + 0.1 * np.random.default_rng(0).normal(size=672))])
    models = stock_fits(p, interval_width=0.9, uncertainty_samples=4000, **KNOBS)
    model = Prophet(ProphetParams(**KNOBS))
    theirs = with_parameters(model.fit(p), models)
    theirs.arrays["non_negative"][:] = False  # stock does not cut at zero
    low, point, high = model.predict(theirs, START, 672 + 168, (0.05, 0.5, 0.95))
    times = pd.date_range(START, periods=672 + 168, freq=HOUR).tz_localize(None)
    for i, stock in enumerate(models):
        np.random.seed(5)  # noqa: NPY002  (prophet draws from the global generator)
        out = stock.predict(pd.DataFrame({"ds": times}))
        np.testing.assert_allclose(point[i], out["yhat"], rtol=1e-9)
        width = (high - low)[i]
        off = np.array([high[i] - out["yhat_upper"], low[i] - out["yhat_lower"]]) / width
        assert np.abs(off).max() < 0.1
        assert abs(off.mean()) < 0.01
