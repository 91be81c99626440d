"""To a stock ``prophet.Prophet`` and back."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from prophet_cases import HOUR, SPECIAL, START, blank_stock, frame, growing, load, panel, spoiled

from models.base import Baselines
from models.prophet import Prophet, ProphetParams, SpecialDays, objective
from models.prophet_convert import from_prophet, to_prophet

pytestmark = pytest.mark.filterwarnings(
    "ignore:The inplace keyword in DataFrame:DeprecationWarning:prophet"
)
HISTORIES = {**spoiled(growing(7), 7), "constant": np.full(672, 4.0)}
P = panel(list(HISTORIES.values()), names=list(HISTORIES))
TIMES = pd.DataFrame({"ds": pd.date_range(START, periods=840, freq=HOUR).tz_localize(None)})


def models(growth: str, mode: str) -> Prophet:
    params = ProphetParams(growth=growth, seasonality_mode=mode)  # pyright: ignore[reportArgumentType]
    return Prophet(params, special=SPECIAL)


def median(model: Prophet, baselines: Baselines) -> Any:
    """Without the cut at zero."""
    uncut = {**baselines.arrays, "non_negative": np.zeros(len(baselines.keys), dtype=bool)}
    baselines = Baselines(baselines.model, baselines.keys, uncut, baselines.meta)
    return model.predict(baselines, START, len(TIMES), [0.5])[0]


@pytest.mark.parametrize("growth", ["linear", "flat"])
@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_stock_predicts_what_we_predict_and_comes_back_the_same(growth: str, mode: str):
    model = models(growth, mode)
    baselines = model.fit(P)
    ours = median(model, baselines)
    for i, name in enumerate(HISTORIES):
        stock = to_prophet(baselines, i, P)
        stock.uncertainty_samples = 0
        largest = np.nanmax(np.abs(P.values[i]))
        np.testing.assert_allclose(
            stock.predict(TIMES)["yhat"], ours[i], rtol=1e-9, atol=1e-9 * largest
        )
        back = from_prophet(stock, workload=name, metric="x", step=HOUR)
        np.testing.assert_allclose(
            median(model, back)[0], ours[i], rtol=1e-9, atol=1e-9 * largest, err_msg=name
        )


def test_the_row_is_found_by_its_key():
    model = models("linear", "additive")
    some = model.fit(P).select(np.array([5, 2]))
    stock = to_prophet(some, 1, P)
    np.testing.assert_allclose(
        stock.predict(TIMES)["yhat"], median(model, some)[1], rtol=1e-9, atol=1e-6
    )


def test_plots_and_components_work():
    mpl.use("Agg")
    stock = to_prophet(models("linear", "multiplicative").fit(P), 1, P)
    out = stock.predict(TIMES)
    assert {"trend", "weekly", "daily", "sale", "yhat_lower"} <= set(out.columns)
    for figure in (stock.plot(out), stock.plot_components(out)):
        assert figure.axes
        figure.clear()


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_a_model_that_stock_fitted_is_ours_too(mode: str):
    holidays = pd.DataFrame(
        {
            "holiday": ["sale", "sale", "visit"],
            "ds": pd.to_datetime(["2026-05-10", "2026-05-24", "2026-05-13"]),
            "lower_window": [0, 0, -1],
            "upper_window": [0, 0, 2],
        }
    )
    p = panel([load(3), spoiled(load(4), 4)["late start"]])
    for i in range(2):
        stock = blank_stock(seasonality_mode=mode)
        stock.holidays = holidays
        stock.fit(frame(p, i), seed=1)
        ours = from_prophet(stock, workload=p.keys["workload"][i], metric="x", step=HOUR)
        out = stock.predict(TIMES)
        np.testing.assert_allclose(median(Prophet(), ours)[0], out["yhat"], rtol=1e-9)
        assert np.isfinite(objective(ours, p.select(np.array([i])))).all()
        again = to_prophet(ours, 0, p)
        np.testing.assert_allclose(again.predict(TIMES)["yhat"], out["yhat"], rtol=1e-9)


def test_changepoints_of_the_users_own_are_kept():
    stock = blank_stock(changepoints=["2026-05-09 03:00", "2026-05-20 11:00"])
    p = panel(load(3) + 60.0 * (np.arange(672) > 300))
    stock.fit(frame(p, 0), seed=1)
    ours = from_prophet(stock, workload=p.keys["workload"][0], metric="x", step=HOUR)
    again = to_prophet(ours, 0, p)
    np.testing.assert_allclose(
        again.predict(TIMES)["yhat"], stock.predict(TIMES)["yhat"], rtol=1e-9
    )
    assert list(again.changepoints) == list(stock.changepoints)


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"growth": "logistic"}, "growth"),
        ({"scaling": "minmax"}, "scaling"),
        ({"yearly_seasonality": 3}, "yearly"),
        ({"seasonality_mode": "multiplicative", "holidays_mode": "additive"}, "holidays_mode"),
    ],
)
def test_what_cannot_be_converted_is_named(knobs: dict[str, Any], word: str):
    stock = blank_stock(**knobs)
    history = frame(panel(load(1)), 0)
    stock.preprocess(history.assign(cap=1000.0) if "growth" in knobs else history)
    stock.params = {"k": np.zeros((1, 1))}
    with pytest.raises(ValueError, match=word):
        from_prophet(stock, workload="w", metric="x", step=HOUR)


def test_regressors_countries_and_unfitted_models_are_named():
    with pytest.raises(ValueError, match="not fitted"):
        from_prophet(blank_stock(), workload="w", metric="x", step=HOUR)
    stock = blank_stock().add_regressor("temperature")
    stock.preprocess(frame(panel(load(1)), 0).assign(temperature=load(2)))
    stock.params = {"k": np.zeros((1, 1))}
    with pytest.raises(ValueError, match="temperature"):
        from_prophet(stock, workload="w", metric="x", step=HOUR)
    stock = blank_stock().add_country_holidays("PL")
    stock.preprocess(frame(panel(load(1)), 0))
    stock.params = {"k": np.zeros((1, 1))}
    with pytest.raises(ValueError, match="PL"):
        from_prophet(stock, workload="w", metric="x", step=HOUR)


def test_another_panel_and_too_little_data_are_refused():
    p = panel([load(1), np.full(672, np.nan)])
    baselines = Prophet().fit(p)
    with pytest.raises(ValueError, match="fitted on"):
        to_prophet(baselines, 0, panel([load(2), load(3)]))
    with pytest.raises(ValueError, match="two values"):
        to_prophet(baselines, 1, p)
    with pytest.raises(ValueError, match="with this series"):
        to_prophet(baselines, 0, panel([load(1)], names=["other"]))


def test_special_days_without_a_day_convert():
    model = Prophet(special=(SpecialDays("none", ()),))
    p = panel(load(1))
    out = to_prophet(model.fit(p), 0, p).predict(TIMES)
    np.testing.assert_allclose(out["yhat"], median(model, model.fit(p))[0], rtol=1e-9)
