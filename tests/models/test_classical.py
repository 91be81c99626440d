import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.tsa.arima.model import ARIMA
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from features.panel import Floats, Panel
from models.classical import FITTED, NO_FIT, NOT_ASKED, TOO_SHORT, Classical, ClassicalParams
from models.decomposition import Decomposition
from models.decomposition_ahead import deseasonalised, season_ahead

START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
WEEK = 168
QUANTILES = (0.01, 0.05, 0.5, 0.9, 0.95, 0.99)
ETS = Classical(ClassicalParams(share=1.0))
ARIMA_TOO = Classical(ClassicalParams(share=1.0, model="arima"))

both = pytest.mark.parametrize("model", [ETS, ARIMA_TOO], ids=lambda m: m.params.model)


def panel(values: Any, step: pd.Timedelta = HOUR) -> Panel:
    values = np.atleast_2d(np.asarray(values, dtype=float))
    keys = pd.DataFrame(
        {"workload": [f"c/n/Deployment/w{i}" for i in range(len(values))], "metric": "x"}
    )
    return Panel(keys, START, step, values)


def load(n: int, n_steps: int = 4 * WEEK, seed: int = 0) -> Floats:
    """A day's wave on a wandering level."""
    rng = np.random.default_rng(seed)
    level = np.cumsum(rng.normal(size=(n, n_steps)), axis=1)
    return 100 + 30 * np.sin(2 * np.pi * np.arange(n_steps) / 24) + level + rng.normal(size=n_steps)


def by_statsmodels(model: Classical, x: Floats) -> Any:
    if model.params.model == "arima":
        return ARIMA(x, order=(1, 1, 1)).fit()
    return ETSModel(pd.Series(x), error="add", trend="add", damped_trend=True).fit(disp=False)


@both
def test_forecast_and_variance_are_those_of_statsmodels(model: Classical):
    """On the scale that the fit is made on, so that both optimisers walk the same way."""
    p = panel(load(1))
    x = deseasonalised(Decomposition().fit(p), p)[0].reshape(-1, 6).mean(axis=1)
    unit, centre = x.std(), x.mean()
    found = by_statsmodels(model, (x - centre) / unit)
    baselines = model.fit(p)
    told = model.predict(baselines, p.end, 72, [0.5])[0] - season_ahead(baselines, p.end, 72)
    expected = np.repeat(np.asarray(found.forecast(12)) * unit + centre, 6)
    np.testing.assert_allclose(told[0], expected, rtol=1e-6)

    a = {key: float(baselines.arrays[key][0]) for key in ("phi", "gain", "gain_trend", "sigma")}
    sums = np.cumsum(a["phi"] ** np.arange(12))
    growth = 1 + np.r_[0, np.cumsum((a["gain"] + a["gain_trend"] * sums[:-1]) ** 2)]
    if model.params.model == "arima":
        variance = found.get_forecast(12).var_pred_mean
    else:
        variance = found.get_prediction(len(x), len(x) + 11).forecast_variance
    np.testing.assert_allclose(a["sigma"] ** 2 * growth, np.asarray(variance) * unit**2, rtol=1e-4)


@both
def test_a_changed_level_is_followed(model: Classical):
    day = 30 * np.sin(2 * np.pi * np.arange(5 * WEEK) / 24)
    whole = 100 + day + np.random.default_rng(0).normal(size=(3, 5 * WEEK))
    whole[:, 3 * WEEK :] += 50
    p = panel(whole[:, : 4 * WEEK])
    told = model.predict(model.fit(p), p.end, WEEK, [0.5])[0]
    assert np.abs(told - whole[:, -WEEK:]).mean() < 10


@given(share=st.floats(0, 1), names=st.lists(st.text(max_size=20), unique=True, max_size=20))
@settings(max_examples=30, deadline=None)
def test_whose_turn_it_is_depends_on_the_name_alone(share: float, names: list[str]):
    model = Classical(ClassicalParams(share=share))
    keys = pd.DataFrame({"workload": pd.Series(names, dtype=object), "metric": "x"})
    p = Panel(keys, START, HOUR, np.full((len(names), 5), np.nan))
    asked = model.fit(p).arrays["status"] != NOT_ASKED
    for row in range(len(names)):
        alone = model.fit(p.select(np.array([row]))).arrays["status"] != NOT_ASKED
        assert alone[0] == asked[row]


def test_the_share_is_kept_and_grows():
    keys = pd.DataFrame({"workload": [f"c/n/Deployment/w{i}" for i in range(4000)], "metric": "x"})
    p = Panel(keys, START, HOUR, np.full((4000, 2), np.nan))
    asked = [
        Classical(ClassicalParams(share=share)).fit(p).arrays["status"] != NOT_ASKED
        for share in (0.0, 0.05, 0.3, 1.0)
    ]
    assert [a.mean() for a in asked] == pytest.approx([0, 0.05, 0.3, 1], abs=0.02)
    assert all((few <= more).all() for few, more in pairwise(asked))


def test_fits_in_two_threads_leave_the_process_its_own_warnings():
    ETS.fit(panel(load(1)))  # statsmodels is there
    before, interval = list(warnings.filters), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for seed in range(3):
                list(pool.map(lambda n: ETS.fit(panel(load(2, seed=n))), range(seed, seed + 4)))
    finally:
        sys.setswitchinterval(interval)
        after, warnings.filters[:] = list(warnings.filters), before
    assert after == before


def test_rows_are_fitted_by_themselves_and_others_have_no_answer():
    p = panel(load(12))
    model = Classical(ClassicalParams(share=0.4))
    baselines = model.fit(p)
    status = baselines.arrays["status"]
    assert set(status) == {FITTED, NOT_ASKED}
    told = model.predict(baselines, p.end, 10, QUANTILES)
    assert (np.isfinite(told).all(axis=(0, 2)) == (status == FITTED)).all()
    for row in np.flatnonzero(status == FITTED):
        one = p.select(np.array([row]))
        alone = model.predict(model.fit(one), p.end, 10, QUANTILES)
        np.testing.assert_array_equal(alone[:, 0], told[:, row])


def test_little_history_is_a_row_without_an_answer():
    values = load(3)
    values[0, :-60] = np.nan  # ten blocks
    values[1] = np.nan
    p = panel(values)
    baselines = ETS.fit(p)
    assert baselines.arrays["status"].tolist() == [TOO_SHORT, TOO_SHORT, FITTED]
    told = ETS.predict(baselines, p.end, 10, QUANTILES)
    assert np.isnan(told[:, :2]).all()
    assert np.isfinite(told[:, 2]).all()


@st.composite
def histories(draw: st.DrawFn) -> Panel:
    step_s = draw(st.sampled_from([60, 420, 3600, 18_000, 86_400]))
    n_steps = draw(st.integers(1, min(40 * 86_400 // step_s, 700)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["walk", "noise", "counts", "constant", "bursts", "line"]))
    values: Floats = {
        "walk": np.cumsum(rng.normal(size=(1, n_steps)), axis=1),
        "noise": rng.normal(size=(1, n_steps)),
        "counts": rng.poisson(0.3, size=(1, n_steps)).astype(float),
        "constant": np.full((1, n_steps), rng.normal()),
        "bursts": np.where(rng.uniform(size=(1, n_steps)) < 0.02, 1e6, 0.0),
        "line": np.arange(n_steps, dtype=float)[None],
    }[kind] * draw(st.sampled_from([1e-200, 1.0, 1e15, 1e150]))
    if draw(st.booleans()):
        values[:, -1] *= 1000
    values[rng.uniform(size=values.shape) < draw(st.sampled_from([0, 0.5, 0.99]))] = np.nan
    return panel(values, pd.Timedelta(step_s, "s"))


@both
@given(p=histories())
@settings(max_examples=30, deadline=None)
def test_any_history_gives_an_answer_or_none_at_all(model: Classical, p: Panel):
    baselines = model.fit(p)
    told = model.predict(baselines, p.end, 300, QUANTILES)
    known = baselines.arrays["status"] == FITTED
    assert np.isin(baselines.arrays["status"], [FITTED, TOO_SHORT, NO_FIT]).all()
    assert np.isfinite(told[:, known]).all()
    assert np.isnan(told[:, ~known]).all()
    assert (np.diff(told[:, known], axis=0) >= 0).all()
    if not (p.values < 0).any():
        assert (told[:, known] >= 0).all()
    assert json.loads(json.dumps(baselines.meta)) is not None


@both
def test_a_constant_stays(model: Classical):
    p = panel(np.outer([0.0, 7.0, -1e15], np.ones(2 * WEEK)))
    told = model.predict(model.fit(p), p.end, WEEK, QUANTILES)
    np.testing.assert_allclose(
        told, np.broadcast_to(p.values[:, :WEEK], told.shape), rtol=1e-9, atol=1e-9
    )


def test_a_later_start_continues_the_same_forecast():
    p = panel(load(2))
    baselines = ETS.fit(p)
    whole = ETS.predict(baselines, p.end, 400, QUANTILES)
    part = ETS.predict(baselines, p.end + 300 * HOUR, 100, QUANTILES)
    np.testing.assert_allclose(part, whole[:, :, 300:])


def test_predicting_needs_no_statsmodels():
    """Baselines are plain arrays: a reader without statsmodels can use them."""
    code = (
        "import sys, numpy as np, pandas as pd\n"
        "from features.panel import Panel\n"
        "from models.classical import Classical\n"
        "keys = pd.DataFrame({'workload': ['w'], 'metric': ['x']})\n"
        "start = pd.Timestamp('2026-05-04', tz='UTC')\n"
        "p = Panel(keys, start, pd.Timedelta(3600, 's'), np.full((1, 9), np.nan))\n"
        "Classical().predict(Classical().fit(p), p.end, 5, [0.5])\n"
        "sys.exit('statsmodels' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_empty_panel_is_no_trouble():
    p = panel(np.empty((0, 100)))
    assert ETS.predict(ETS.fit(p), p.end, 5, [0.5]).shape == (1, 0, 5)


def test_wrong_questions_are_refused():
    p = panel(load(1))
    baselines = ETS.fit(p)
    with pytest.raises(ValueError, match="end of training"):
        ETS.predict(baselines, p.end - HOUR, 5, [0.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        ETS.predict(baselines, p.end, 5, [0.0])


@pytest.mark.parametrize(
    ("key", "value"),
    [("share", 1.5), ("share", -0.1), ("model", "theta"), ("block_h", 0.0), ("least_blocks", 3)],
)
def test_params_that_cannot_be_fitted_are_refused(key: str, value: Any):
    with pytest.raises(ValueError, match=f"{key} must .* got"):
        replace(ClassicalParams(), **{key: value})
