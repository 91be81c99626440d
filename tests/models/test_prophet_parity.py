"""Additive models held against ``prophet`` and ``prophet-batch``: the same objective, the mode.

What is compared is the objective and not the parameters: stock stops early. With the other
package's parameters put into our baselines, ours is never more than 1e-6 nats above it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prophet_cases import (
    HOUR,
    SPECIAL,
    START,
    batch_fits,
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
from models.prophet import CONSTANT, FITTED, Prophet, ProphetParams, SpecialDays, objective

pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame:DeprecationWarning:prophet.forecaster"
)
NATS = 1e-6


@dataclass(frozen=True)
class Case:
    """Series of one panel, fitted by us, by stock and by ``prophet-batch``."""

    panel: Panel
    ours: Baselines
    stock: list[Any]
    batch: list[Any]
    knobs: dict[str, Any]

    @property
    def names(self) -> list[str]:
        return self.panel.keys["workload"].tolist()


def histories(kind: str) -> Panel:
    if kind == "5 minutes":
        values = [load(90 + i, 8064, noise, 288) for i, noise in enumerate((0.02, 0.3))]
        return panel(values, step=pd.Timedelta(300, "s"), names=["clean", "noisy"])
    seeds = {"plain": range(3), "special days": [20], "flat": [30]}[kind]
    named = {
        f"{name} {seed}": values
        for seed in seeds
        for name, values in spoiled(load(seed, noise=0.0), seed).items()
    }
    if kind == "plain":
        named["constant"] = np.full(672, 7.0)
    if kind == "special days":
        sale = np.isin(np.arange(672) // 24, [6, 20])
        named = {name: values * np.where(sale, 1.7, 1.0) for name, values in named.items()}
    return panel(list(named.values()), names=list(named))


@pytest.fixture(scope="module", params=["plain", "special days", "flat", "5 minutes"])
def case(request: pytest.FixtureRequest) -> Case:
    growth = "flat" if request.param == "flat" else "linear"
    special: tuple[SpecialDays, ...] = SPECIAL if request.param == "special days" else ()
    p, knobs = histories(request.param), {"growth": growth}
    ours = Prophet(ProphetParams(growth=growth), special=special).fit(p)
    return Case(p, ours, stock_fits(p, special, **knobs), batch_fits(p, special, **knobs), knobs)


def test_the_objective_is_prophets_own(case: Case):
    theirs = objective(with_parameters(case.ours, case.stock), case.panel)
    np.testing.assert_allclose(theirs, [stan_nats(model) for model in case.stock], rtol=1e-9)


def test_never_above_stocks_optimum(case: Case):
    excess = objective(case.ours, case.panel) - objective(
        with_parameters(case.ours, case.stock), case.panel
    )
    assert (excess <= NATS).all(), dict(zip(case.names, excess, strict=True))


def test_as_low_as_an_independent_exact_solver(case: Case):
    excess = objective(case.ours, case.panel) - objective(
        with_parameters(case.ours, case.batch), case.panel
    )
    assert (np.abs(excess) <= NATS).all(), dict(zip(case.names, excess, strict=True))


def test_stan_restarted_at_our_optimum_gains_nothing(case: Case):
    rows = np.flatnonzero(case.ours.arrays["status"] == FITTED)[:12]  # one of each kind
    p, ours = case.panel.select(rows), case.ours.select(rows)
    again = restarted(p, [case.stock[i] for i in rows], ours, **case.knobs)
    gain = objective(ours, p) - objective(with_parameters(ours, again), p)
    assert (gain <= NATS).all(), dict(zip(p.keys["workload"], gain, strict=True))


def test_changepoints_and_seasonalities_are_stocks(case: Case):
    a = case.ours.arrays
    for i, model in enumerate(case.stock):
        if a["status"][i] == CONSTANT:
            continue
        np.testing.assert_allclose(a["changepoints"][i], model.changepoints_t, rtol=1e-12)
        assert a["beta"][i, :6].any() == ("weekly" in model.seasonalities)
        assert a["beta"][i, 6:14].any() == ("daily" in model.seasonalities)


def test_there_are_more_than_fifty_series():
    kinds = ("plain", "special days", "flat", "5 minutes")
    assert sum(histories(kind).n_series for kind in kinds) > 50


def test_with_stocks_parameters_the_forecast_is_stocks():
    """The point exactly; the bands as far as stock's simulated paths can tell (4,000 of them)."""
    p = panel([load(2, noise=0.5), load(5) + 80.0 * (np.arange(672) > 400)])
    models = stock_fits(p, interval_width=0.9, uncertainty_samples=4000)
    low, point, high = Prophet().predict(
        with_parameters(Prophet().fit(p), models), START, 672 + 168, (0.05, 0.5, 0.95)
    )
    times = pd.date_range(START, periods=672 + 168, freq=HOUR).tz_localize(None)
    for i, model in enumerate(models):
        np.random.seed(5)  # noqa: NPY002  (prophet draws from the global generator)
        out = model.predict(pd.DataFrame({"ds": times}))
        np.testing.assert_allclose(point[i], out["yhat"], rtol=1e-9)
        width = (high - low)[i].mean()
        off = np.r_[high[i] - out["yhat_upper"], low[i] - out["yhat_lower"]]
        assert np.abs(off).max() < 0.1 * width
        assert abs(off.mean()) < 0.01 * width


def test_no_small_move_lowers_the_objective():
    p = histories("plain")
    ours = Prophet().fit(p)
    best, fitted = objective(ours, p), ours.arrays["status"] == FITTED
    for name in ("k", "m", "delta", "beta", "sigma"):
        for j in np.ndindex(ours.arrays[name].shape[1:]):
            for move in (1e-4, -1e-4):
                moved = {**ours.arrays, name: ours.arrays[name].copy()}
                moved[name][:, *j] += move * (np.abs(moved[name][:, *j]) + (name == "delta"))
                worse = objective(replace(ours, arrays=moved), p)
                assert (worse >= best - 1e-7)[fitted].all(), name
