"""Who takes a series: told models with known errors, held against the rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.panel import Floats, Panel
from models.backtest import Backtest, BacktestParams, rolling_origin
from models.base import Baselines
from models.choice import BARS, FIGURES, REASONS, ChoiceParams, choose
from models.combination import COMBINATION

START, HOUR = pd.Timestamp("2026-03-02", tz="UTC"), pd.Timedelta("1h")
WEEK = 168
NO_BACKTEST, BAR, BEATEN, COMBINED, SHORT = REASONS
LIVE = (*BARS, "one", "other", COMBINATION)


@dataclass(frozen=True)
class Told:
    """Says what comes, off by the given noise; ``factors`` are how far, one an origin."""

    name: str
    truth: Panel
    noise: Floats
    factors: tuple[float, ...]

    def fit(self, panel: Panel) -> Baselines:
        return Baselines(self.name, panel.keys, {})

    def predict(
        self, baselines: Baselines, start: pd.Timestamp, n_steps: int, quantiles: Sequence[float]
    ) -> Floats:
        del baselines
        weeks_left = round((self.truth.end - start) / HOUR) // WEEK
        factor = self.factors[len(self.factors) - weeks_left]
        comes = self.truth.window(start, start + n_steps * HOUR).values
        noise = self.noise[: comes.shape[1]]
        return np.stack([comes + noise * factor] * len(quantiles))


def backtest(factors: dict[str, tuple[float, ...]], unit: float = 1.0, n: int = 1) -> Backtest:
    origins = len(next(iter(factors.values())))
    rng = np.random.default_rng(3)
    noise = rng.normal(size=WEEK) * unit
    row = (50 + 10 * rng.random((origins + 2) * WEEK)) * unit
    values = np.tile(row, (n, 1))  # the same series, alone or in company
    keys = pd.DataFrame({"workload": [f"w{i}" for i in range(n)], "metric": "m"}, dtype="str")
    truth = Panel(keys, START, HOUR, values)
    models = [Told(name, truth, noise, told) for name, told in factors.items()]
    return rolling_origin(truth, models, BacktestParams(origins=origins))


def chosen(factors: dict[str, tuple[float, ...]], margin: float = 0.3) -> pd.Series:
    return choose(backtest(factors), ChoiceParams(margin=margin)).iloc[0]


def alike(origins: int, **own: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    """All models equally far off but the named ones."""
    return {name: own.get(name, (1.0,) * origins) for name in LIVE}


@pytest.mark.parametrize(("factor", "model", "reason"), [
    (0.5, "one", BEATEN), (0.8, BARS[0], SHORT), (1.2, BARS[0], BAR),
])  # fmt: skip
def test_alone_with_the_bar_a_model_that_is_better_by_too_little_is_told_so(
    factor: float, model: str, reason: str
) -> None:
    row = chosen({BARS[0]: (1.0,) * 3, "one": (factor,) * 3})
    assert (row["model"], row["reason"]) == (model, reason)


@settings(max_examples=30)
@given(
    factor=st.floats(0.05, 1.5), margin=st.floats(0, 0.9), origins=st.integers(1, 4)
)  # fmt: skip
def test_a_single_model_needs_the_margin_at_every_one_of_two_origins(
    factor: float, margin: float, origins: int
):
    if abs(factor - (1 - margin)) < 1e-4:
        return  # neither better nor worse: rounding decides
    got = chosen(alike(origins, one=(factor,) * origins), margin)
    takes_over = factor < 1 - margin and origins > 1
    assert got["model"] == ("one" if takes_over else COMBINATION)
    assert got["reason"] == (BEATEN if takes_over else COMBINED)
    assert got["origins"] == origins


@pytest.mark.parametrize("bad", range(3))
def test_one_origin_at_which_it_was_not_better_is_enough_to_lose(bad: int):
    factors = tuple(1.01 if o == bad else 0.1 for o in range(3))
    assert chosen(alike(3, one=factors), margin=0.0)["model"] == COMBINATION
    assert chosen(alike(3, one=(0.1,) * 3), margin=0.0)["model"] == "one"


@pytest.mark.parametrize("bar", BARS)
def test_the_bar_is_live_where_it_was_clearly_better(bar: str):
    got = chosen(alike(3, **{bar: (0.2,) * 3}))
    assert (got["model"], got["reason"]) == (bar, BAR)
    assert got["loss"] == got["bar_loss"]
    assert got["wape"] == got["naive_wape"]


def test_who_has_no_answer_at_a_compared_origin_is_out():
    for silent in ("one", *BARS[1:]):
        got = chosen(alike(3, **{silent: (0.0, np.nan, 0.0)}))
        assert got["model"] == COMBINATION
    got = chosen(alike(3, **{COMBINATION: (1.0, np.nan, 1.0), "other": (0.6,) * 3}))
    assert (got["model"], got["reason"]) == ("other", BEATEN)


def test_where_nothing_can_be_compared_last_week_is_live():
    got = chosen(alike(3, **dict.fromkeys(LIVE, (np.nan,) * 3)))
    assert (got["model"], got["reason"], got["origins"]) == (BARS[0], NO_BACKTEST, 0)
    assert got[["loss", "bar_loss"]].isna().all()


@settings(max_examples=30)
@given(data=st.data())
def test_neither_unit_nor_order_nor_company_decides(data: st.DataObject):
    factor = st.one_of(st.sampled_from([0.0, 0.2, 1.0, np.nan]), st.floats(0.01, 2))
    factors = {name: tuple(data.draw(st.tuples(factor, factor, factor))) for name in LIVE}
    plain = backtest(factors)
    got = choose(plain, ChoiceParams())
    row = got.iloc[0]
    assert row["reason"] in REASONS
    large = choose(backtest(factors, unit=1024.0), ChoiceParams()).iloc[0]
    assert large[["model", "reason"]].equals(row[["model", "reason"]])
    np.testing.assert_allclose(large["loss"], row["loss"] * 1024, rtol=1e-5)
    many = choose(backtest(factors, n=3), ChoiceParams())
    assert set(many["reason"]) == {row["reason"]}
    assert set(many["model"]) == {row["model"]}
    if row["reason"] != NO_BACKTEST:
        assert np.isfinite(row[list(FIGURES)].astype(float)).all()
        assert row["reason"] != BEATEN or row["loss"] < row["bar_loss"]
        assert (row["reason"] in {BAR, SHORT}) == (row["model"] in BARS)


def test_without_a_combination_the_bar_has_to_be_beaten_by_the_margin():
    def taken(factor: float) -> str:
        factors = {"seasonal_naive": (1.0,) * 3, "one": (factor,) * 3}
        return chosen(factors, margin=0.3)["model"]

    assert [taken(f) for f in (0.5, 0.69, 0.71, 1.5)] == ["one", "one", *["seasonal_naive"] * 2]
