import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tail import STEPS_FOR_A_TAIL, tail_thresholds

MONTH = 8064


def raws(seed: int, n: int = 100) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=(n, MONTH)))


def events(raw: np.ndarray, threshold: np.ndarray, steps: int, quiet: int) -> int:
    """Separate runs of at least ``steps``, counted the slow way."""
    total = 0
    for row, limit in zip(raw, threshold, strict=True):
        hot = row > limit
        held = np.convolve(hot, np.ones(steps))[: len(row)] >= steps
        at = np.flatnonzero(held)
        total += len(at) and 1 + int((np.diff(at) > quiet).sum())
    return total


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_clean_month_stays_within_the_budget_it_was_given(steps: int) -> None:
    allowed = np.full(100, 1.0)
    threshold = tail_thresholds(raws(0), allowed, steps, 12)
    assert events(raws(1), threshold, steps, 12) <= 2 * allowed.sum()


def test_fewer_events_allowed_is_a_higher_threshold() -> None:
    raw = raws(2, 20)
    strict, loose = (tail_thresholds(raw, np.full(20, b), 2, 12) for b in (0.01, 2.0))
    assert (strict > loose).all()


def test_incidents_in_training_hardly_move_the_threshold() -> None:
    raw = raws(3, 20)
    before = tail_thresholds(raw, np.full(20, 0.1), 2, 12)
    for at in (1000, 4000, 7000):
        raw[:, at : at + 24] = 60.0
    after = tail_thresholds(raw, np.full(20, 0.1), 2, 12)
    assert np.median(after / before) < 1.3
    assert (after < 60).all()


def test_a_row_without_a_tail_has_no_threshold() -> None:
    raw = np.full((2, 1000), np.nan)
    raw[1, : STEPS_FOR_A_TAIL - 1] = 1.0
    assert np.isnan(tail_thresholds(raw, np.ones(2), 1, 12)).all()


@settings(deadline=None, max_examples=30)
@given(
    level=st.sampled_from([0.0, 1e-12, 1.0, 1e15]),
    seed=st.integers(0, 99),
    factor=st.floats(1e-6, 1e6),
)
def test_the_threshold_is_finite_and_scales_with_the_raw_score(
    level: float, seed: int, factor: float
) -> None:
    raw = level * raws(seed, 1)[:, :500]
    one, many = (tail_thresholds(f * raw, np.ones(1), 2, 12) for f in (1.0, factor))
    assert np.isfinite(one).all()
    np.testing.assert_allclose(many, factor * one, rtol=1e-9)
