"""Laws of the nowcast: it learns what errors have in common with the last ones, and no more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from models.nowcast import LEVELS, Nowcast, NowcastParams, fit_nowcast

STEP_H = 5 / 60
DAYS = 28 * 24 * 12
HALF = DAYS // 2


def world(kept: float, seed: int = 0, n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Load and its forecast, whose errors keep a share of the error before, (n, DAYS) each."""
    rng = np.random.default_rng(seed)
    point = np.broadcast_to(100 + 60 * np.sin(np.arange(DAYS) / 288 * 2 * np.pi), (n, DAYS))
    error = np.zeros((n, DAYS))
    shock = rng.normal(0, 8 * np.sqrt(1 - kept**2), (n, DAYS))
    for t in range(1, DAYS):
        error[:, t] = kept * error[:, t - 1] + shock[:, t]
    return point + error, point.copy()


def later(actual: np.ndarray, point: np.ndarray, level: float) -> tuple[np.ndarray, ...]:
    """Corrected paths of the second half by what was learned from the first, and what came."""
    known = fit_nowcast(actual[:, :HALF], point[:, :HALF], STEP_H)
    at = np.arange(50, HALF - 40, 7)
    seen, told = actual[:, HALF:], point[:, HALF:]
    paths = known.paths(seen, told, at, 12, np.full(len(actual), level))
    place = at[:, None] + np.arange(12)
    return paths, seen[:, place], told[:, place]


def test_errors_that_last_are_taken_off_and_the_sooner_the_more() -> None:
    paths, came, plain = later(*world(0.95), 0.5)
    wrong = np.sqrt(((paths - came) ** 2).mean(axis=(0, 1)))
    before = np.sqrt(((plain - came) ** 2).mean(axis=(0, 1)))
    assert wrong[0] < 0.5 * before[0]
    assert (wrong[:6] < before[:6]).all()
    assert wrong[0] < wrong[-1]


def test_errors_without_memory_are_left_alone() -> None:
    paths, came, plain = later(*world(0.0), 0.5)
    assert ((paths - came) ** 2).mean() < 1.03 * ((plain - came) ** 2).mean()


@pytest.mark.parametrize("kept", [0.0, 0.9])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.95])
def test_quantiles_hold_on_what_was_not_learned_from(kept: float, level: float) -> None:
    paths, came, _ = later(*world(kept, seed=2), level)
    assert (came <= paths).mean() == pytest.approx(level, abs=0.04)


def test_quantiles_do_not_cross_and_go_beyond_the_last_level_nowhere() -> None:
    actual, point = world(0.8)
    told = [later(actual, point, q)[0] for q in (*LEVELS, 0.999)]
    assert all((a <= b + 1e-9).all() for a, b in itertools.pairwise(told))
    assert (told[-1] == told[-2]).all()


def test_nothing_after_the_moment_is_looked_at() -> None:
    actual, point = world(0.8)
    known = fit_nowcast(actual[:, :HALF], point[:, :HALF], STEP_H)
    at, level = np.array([600]), np.full(3, 0.9)
    other = actual.copy()
    other[:, 600:] *= 7
    told = (known.paths(a, point, at, 24, level) for a in (actual, other))
    np.testing.assert_array_equal(*told)


def test_further_ahead_than_it_reaches_it_says_nothing() -> None:
    actual, point = world(0.8)
    known = fit_nowcast(actual, point, STEP_H, NowcastParams(reach_h=1))
    told = known.paths(actual, point, np.array([500]), 20, np.full(3, 0.9))
    assert np.isfinite(told[:, :, :12]).all()
    assert np.isnan(told[:, :, 12:]).all()


def test_the_unit_and_the_neighbours_do_not_matter() -> None:
    actual, point = world(0.8)
    at, level = np.array([500, 900]), np.full(3, 0.95)
    one = fit_nowcast(actual, point, STEP_H)
    big = fit_nowcast(actual * 1024, point * 1024, STEP_H)
    alone = fit_nowcast(actual[1:2], point[1:2], STEP_H)
    told = one.paths(actual, point, at, 9, level)
    many = big.paths(actual * 1024, point * 1024, at, 9, level)
    np.testing.assert_allclose(many, told * 1024, rtol=1e-6)
    mine = alone.paths(actual[1:2], point[1:2], at, 9, level[:1])
    np.testing.assert_array_equal(mine[0], told[1])


def test_gaps_do_no_harm() -> None:
    actual, point = world(0.9)
    actual[0, 300:900] = np.nan
    actual[1] = np.nan
    actual[2, ::2] = np.nan
    known = fit_nowcast(actual, point, STEP_H)
    assert known.known.tolist() == [True, False, True]
    told = known.paths(actual, point, np.array([0, 600, 1200]), 6, np.full(3, 0.9))
    assert np.isfinite(told[[0, 2]]).all()
    assert np.isnan(told[1]).all()


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e15])
def test_a_load_that_never_moves_is_told_as_it_is(value: float) -> None:
    flat = np.full((1, 4000), value)
    known = fit_nowcast(flat, flat, STEP_H)
    told = known.paths(flat, flat, np.array([100]), 5, np.array([0.95]))
    np.testing.assert_allclose(told, value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("step_h", [1 / 60, 0.5, 1.0, 24.0])
def test_any_step_has_an_answer(step_h: float) -> None:
    actual, point = world(0.8, n=1)
    params = NowcastParams(minimum_h=step_h)
    known = fit_nowcast(actual[:, :2000], point[:, :2000], step_h, params)
    assert np.isfinite(known.paths(actual, point, np.array([500]), 1, np.array([0.9]))).all()


def test_arrays_bring_it_back_and_another_reach_does_not() -> None:
    actual, point = world(0.8)
    known = fit_nowcast(actual, point, STEP_H)
    back = Nowcast.from_arrays(known.arrays(), STEP_H, NowcastParams())
    assert back is not None
    at, level = np.array([500]), np.full(3, 0.9)
    told = [k.paths(actual, point, at, 9, level) for k in (known, back)]
    np.testing.assert_array_equal(*told)
    assert Nowcast.from_arrays({}, STEP_H, NowcastParams()) is None
    assert Nowcast.from_arrays(known.arrays(), STEP_H, NowcastParams(reach_h=0.2)) is None


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="nowcast: reach_h must be more than 0, got 0"):
        NowcastParams(reach_h=0)
    with pytest.raises(ValueError, match="nowcast: restlessness must be from 0 to 1, got 2"):
        NowcastParams(restlessness=2)
