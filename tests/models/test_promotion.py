"""A new version is held back only where it is clearly worse, on the same series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.promotion import PromotionParams, why_worse

GATE = PromotionParams()


def backtest(skill: float, n: int = 40, *, spread: float = 0.1, seed: int = 0, hard: float = 1.0):
    """Skill of n series; ``hard`` weeks make every model worse alike."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        for origin in pd.date_range("2026-06-01", periods=2, freq="7D", tz="UTC"):
            bar = hard * rng.uniform(0.1, 0.3)
            mine = bar * skill * rng.lognormal(0, spread)
            common = {"workload": f"w{i}", "metric": "m", "origin": origin}
            rows += [
                common | {"model": "seasonal_naive", "wape": bar, "champion": False},
                common | {"model": "prophet", "wape": mine, "champion": True},
            ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_skill_goes_live_also_in_a_hard_week(seed: int):
    live, new = backtest(0.8, seed=seed), backtest(0.8, seed=seed + 50, hard=3.0)
    assert why_worse(new, live, GATE) is None
    assert why_worse(backtest(0.6, seed=seed), live, GATE) is None


def test_a_clear_loss_is_held_back_and_said():
    told = why_worse(backtest(0.95, seed=1), backtest(0.6), GATE)
    assert told is not None
    assert "clearly worse" in told
    assert "40 series" in told


def test_a_loss_within_what_is_allowed_goes_live():
    params = PromotionParams(worse_by=0.9)
    assert why_worse(backtest(0.95, seed=1), backtest(0.6), params) is None


@pytest.mark.parametrize("n", [0, 1, 4])
def test_few_series_prove_nothing(n: int):
    new, live = backtest(2.0, 5, spread=0).head(4 * n), backtest(0.5, 5, spread=0)
    assert why_worse(new, live, GATE) is None
    assert why_worse(backtest(2.0, 5, spread=0), live, GATE)


def test_only_series_in_both_are_compared():
    new = backtest(2.0).assign(workload=lambda t: "other-" + t["workload"])
    assert why_worse(new, backtest(0.5), GATE) is None


def test_an_error_that_is_not_known_or_none_is_no_evidence():
    new = backtest(2.0)
    assert why_worse(new.assign(wape=np.nan), backtest(0.5), GATE) is None
    assert why_worse(new.assign(wape=0.0), backtest(0.5), GATE) is None


@pytest.mark.parametrize("knobs", [{"worse_by": -0.1}, {"live_at_most_days": float("nan")}])
def test_knobs_that_mean_nothing_are_refused(knobs: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(knobs))):
        PromotionParams(**knobs)
