from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.measures import (
    busiest,
    coverage,
    mase,
    peak_coverage,
    pinball,
    points,
    row_quantiles,
    seasonal_scale,
    wape,
)

VALUES = st.sampled_from([np.nan, 0.0, 1.0, 2.5, 7.0, -3.0, 1e15])
MATRICES = arrays(float, st.tuples(st.integers(0, 4), st.integers(0, 30)), elements=VALUES)
NAN = float("nan")


def test_by_hand():
    actual = np.array([[1.0, 2.0, NAN, 4.0]])
    said = np.array([[2.0, 2.0, 9.0, 2.0]])
    assert points(actual, said) == 3
    assert wape(actual, said) == pytest.approx(3 / 7)
    assert mase(actual, said, np.array([2.0])) == pytest.approx(0.5)
    assert pinball(actual, said, 0.9) == pytest.approx((0.1 + 0 + 1.8) / 3)
    assert coverage(actual, said) == pytest.approx(2 / 3)
    assert peak_coverage(actual, said) == 0  # the busiest of three is the 4


def test_the_scale_is_last_week_else_yesterday():
    weekly = np.tile(np.arange(14.0), (1, 2))
    assert seasonal_scale(weekly, 1) == 7  # a week apart: always 7 off, of 14 distinct days
    young = np.full((1, 28), NAN)
    young[0, -6:] = [1, 2, 1, 2, 1, 2]
    assert seasonal_scale(young, 1) == 1
    assert np.isnan(seasonal_scale(np.ones((1, 1)), 1)).all()


@settings(deadline=None)
@given(values=MATRICES)
def test_the_truth_scores_best(values: np.ndarray):
    some = np.isfinite(values).any(axis=1)
    with np.errstate(over="ignore"):
        assert (wape(values, values)[(np.nan_to_num(values) != 0).any(axis=1)] == 0).all()
    assert (pinball(values, values, 0.9)[some] == 0).all()
    assert (coverage(values, values)[some] == 1).all()
    assert (peak_coverage(values, values)[some] == 1).all()
    for measure in (wape, coverage, peak_coverage):
        assert np.isnan(measure(values, values)[~some]).all()


@settings(deadline=None)
@given(values=MATRICES)
def test_the_busiest_tenth_is_on_top_and_no_less_than_a_tenth(values: np.ndarray):
    top = busiest(values)
    for row, mask in zip(values, top, strict=True):
        count = np.isfinite(row).sum()
        assert mask.sum() >= np.ceil(count / 10 - 1e-9)
        if count:
            assert (row[mask] >= row[np.isfinite(row)].max()).all() or mask.sum() > 1
            assert not (row[~mask & np.isfinite(row)] >= row[mask].min()).any()


@settings(deadline=None)
@given(values=MATRICES, q=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_row_quantiles_are_numpys(values: np.ndarray, q: list[float]):
    got = row_quantiles(values, q)
    for i, row in enumerate(values):
        there = row[np.isfinite(row)]
        want = np.quantile(there, q) if len(there) else np.full(len(q), NAN)
        np.testing.assert_allclose(got[:, i], want, rtol=1e-9, atol=1e-9)


def test_the_pinball_loss_is_least_at_the_quantile():
    draws = np.random.default_rng(0).normal(size=(1, 20_000))
    losses = [pinball(draws, np.full_like(draws, at), 0.9)[0] for at in (0.8, 1.2816, 1.8)]
    assert losses[1] == min(losses)
