from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import BACKTEST, conform
from features.panel import Floats, Panel
from models.backtest import BacktestParams, rolling_origin
from models.base import Baselines


@dataclass(frozen=True)
class Echo:
    """Repeats the last seven days, each quantile a bit higher than the one before."""

    name: str = "echo"
    band: float = 1.0

    def fit(self, panel: Panel) -> Baselines:
        week = round(7 * panel.steps_per_day)
        pad = np.full((panel.n_series, max(week - panel.n_steps, 0)), np.nan)
        last = np.hstack([pad, panel.values])[:, -week:]
        return Baselines(self.name, panel.keys, {"week": last.copy()})

    def predict(
        self,
        baselines: Baselines,
        start: pd.Timestamp,  # noqa: ARG002  # the protocol's
        n_steps: int,
        quantiles: Sequence[float],
    ) -> Floats:
        week = baselines.arrays["week"]
        point = week[:, np.arange(n_steps) % week.shape[1]]
        return np.stack([point + (q - 0.5) * self.band for q in quantiles])


def panel(days: float, n_series: int = 3, seed: int = 0, step_h: int = 1) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/D/{i}" for i in range(n_series)], "metric": "m"}, dtype="str"
    )
    n = round(days * 24 / step_h)
    values = np.random.default_rng(seed).random((n_series, n)) * 10
    return Panel(keys, pd.Timestamp("2026-05-04", tz="UTC"), pd.Timedelta(step_h, "h"), values)


@pytest.mark.parametrize(
    ("days", "origins", "horizon_d"),
    [(28, 3, 7), (21, 2, 7), (14, 1, 7), (10, 1, 5), (5, 1, 2), (4, 1, 1), (3.5, 0, 0), (0, 0, 0)],
)
def test_origins_are_weekly_and_the_horizon_shrinks_with_history(
    days: float, origins: int, horizon_d: int
):
    got = rolling_origin(panel(days), [Echo()], BacktestParams(minimum_train_days=3))
    assert len(got.origins) == origins
    assert got.actual.shape == (3, origins, horizon_d * 24)
    assert len(got.times) == origins * horizon_d * 24
    assert len(got.table) == 3 * origins
    if origins:
        assert got.origins[-1] == panel(days).end - pd.Timedelta(days=horizon_d)
        assert (got.table["horizon_s"] == horizon_d * 86400).all()


def test_the_table_keeps_its_contract_and_its_order():
    models = [Echo("b"), Echo("a", band=5.0)]
    got = rolling_origin(panel(28), models, BacktestParams())
    conform(got.table.assign(champion=False), BACKTEST)
    assert got.score("wape").shape == (3, 2, 3)
    row = got.table.iloc[1 * 6 + 1 * 3 + 2]  # second series, second model, third origin
    assert (row["workload"], row["model"], row["origin"]) == ("c/n/D/1", "a", got.origins[2])
    assert row["wape"] == got.score("wape")[1, 1, 2]


@settings(deadline=None, max_examples=30)
@given(at=st.integers(0, 28 * 24 - 1), value=st.sampled_from([np.nan, -1e15, 0.0, 1e15]))
def test_nothing_at_or_after_an_origin_changes_what_was_predicted_there(at: int, value: float):
    before = panel(28)
    values = before.values.copy()
    values[1, at:] = value
    after = before.with_values(values)
    for forecaster in (Echo(), Echo("wide", 8.0)):
        was, now = (rolling_origin(p, [forecaster], BacktestParams()) for p in (before, after))
        untouched = now.origins <= before.start + at * before.step
        name = forecaster.name
        np.testing.assert_array_equal(was.point[name][:, untouched], now.point[name][:, untouched])


def test_a_late_starter_is_scored_where_it_has_enough_history():
    values = panel(28).values.copy()
    values[1, : 16 * 24] = np.nan  # five days before the last origin
    values[2] = np.nan
    got = rolling_origin(
        panel(28).with_values(values), [Echo()], BacktestParams(minimum_train_days=3)
    )
    scored = got.table.set_index("workload")["points"].groupby("workload").apply(list)
    assert scored["c/n/D/0"] == [168, 168, 168]
    assert scored["c/n/D/1"] == [0, 0, 5 * 24]  # it echoes five days of the week
    assert scored["c/n/D/2"] == [0, 0, 0]
    none = got.table[got.table["points"] == 0]
    assert none[["wape", "mase", "pinball_q90", "coverage_q90"]].isna().all(axis=None)


@pytest.mark.parametrize("value", [0.0, 5.0, -2.0, 1e15, 1e300])
def test_constants_of_any_size_do_not_crash(value: float):
    got = rolling_origin(
        panel(28).with_values(np.full((3, 672), value)), [Echo()], BacktestParams()
    )
    assert (got.table["points"] == 168).all()
    assert (got.table["pinball_q50"] == 0).all()


@pytest.mark.parametrize(
    "bad", [{"origins": -1}, {"horizon_h": 3}, {"horizon_h": np.inf}, {"minimum_train_days": 0}]
)
def test_impossible_params_are_refused_by_name(bad: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(bad))):
        BacktestParams(**bad)  # pyright: ignore[reportArgumentType]
