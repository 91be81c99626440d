"""The quick way to the mode of an ordinary series, held against the search of all modes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from prophet_cases import load

from models.prophet_design import fourier, normal_equations, running_totals, survey
from models.prophet_setup import ProphetParams, changepoint_ranks, precision
from models.prophet_solver import posterior_mode, search
from models.prophet_tableau import ordinary_mode, tableau

PARAMS = ProphetParams()
PRIOR = precision(PARAMS, ())
PRIORS = (PRIOR, 1 / PARAMS.changepoint_prior_scale, 0.5)


def equations(values: np.ndarray):
    of = survey(values)
    totals = running_totals(fourier(3600.0 * np.arange(values.shape[1]), 3, 4))
    scale = np.maximum(np.abs(of.low), np.abs(of.high))
    return of, normal_equations(values, of, scale, changepoint_ranks(of, PARAMS), totals)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_steps=st.integers(400, 1000),
    noise=st.floats(0.01, 1),
    missing=st.sampled_from([0.0, 0.02, 0.5]),
    shift=st.floats(-80, 80),
)
def test_the_quick_way_ends_where_the_search_does(
    seed: int, n_steps: int, noise: float, missing: float, shift: float
):
    rng = np.random.default_rng(seed)
    values = load(seed, n_steps, noise) + shift * (np.arange(n_steps) > n_steps // 2)
    values[rng.uniform(size=n_steps) < missing] = np.nan
    of, normal = equations(values[None])
    gram, zty = normal.gram[0], normal.zty[0]
    problem = (gram, zty, normal.yy[0], of.count[0], *PRIORS)
    w = np.zeros(len(zty))
    variance, _ = ordinary_mode(problem, tableau(gram, len(PRIOR)), np.empty(gram.shape), w)
    assume(variance > 0)  # refused: left to the search
    searched, w_searched, _ = search(problem)
    assert variance == pytest.approx(searched, rel=1e-8)
    np.testing.assert_allclose(w, w_searched, rtol=1e-5, atol=1e-7)


def test_ordinary_series_are_not_refused():
    of, normal = equations(np.vstack([load(seed, 672, 0.1) for seed in range(50)]))
    shared = tableau(normal.gram[0], len(PRIOR))
    solved = [
        ordinary_mode(
            (normal.gram[0], normal.zty[i], normal.yy[i], of.count[i], *PRIORS),
            shared,
            np.empty(normal.gram[0].shape),
            np.zeros(normal.zty.shape[1]),
        )[0]
        for i in range(50)
    ]
    assert np.mean(np.array(solved) > 0) > 0.9


def test_series_on_the_same_part_of_the_grid_share_their_equations():
    values = np.vstack([load(seed) for seed in range(5)])
    values[2, :100] = values[4, :100] = np.nan  # start later
    values[3, 50] = np.nan
    _, normal = equations(values)
    assert normal.whose.tolist() == [0, 0, 1, 2, 1]
    for i in range(5):
        _, alone = equations(values[i : i + 1])
        own = normal.gram[normal.whose[i]]
        np.testing.assert_allclose(own, alone.gram[0], rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(normal.zty[i], alone.zty[0], rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    missing=st.floats(0, 0.95),
    size=st.sampled_from([1e-200, 1, 1e200]),
)
def test_sums_are_those_of_the_columns_written_out(seed: int, missing: float, size: float):
    rng = np.random.default_rng(seed)
    values = load(seed, 300) * size
    values[rng.uniform(size=300) < missing] = np.nan
    there = np.flatnonzero(np.isfinite(values))
    assume(len(there) > 10)
    of, normal = equations(values[None])
    t = (np.arange(300) - there[0]) / (there[-1] - there[0])
    cuts = (normal.cuts[0] - there[0]) / (there[-1] - there[0])
    z = np.column_stack(
        [
            np.ones(300),
            t,
            fourier(3600.0 * np.arange(300), 3, 4),
            np.maximum(t[:, None] - cuts, 0),
        ]
    )[there]
    y = values[there] / max(abs(of.low[0]), abs(of.high[0]))
    np.testing.assert_allclose(normal.gram[0], z.T @ z, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(normal.zty[0], z.T @ y, rtol=1e-9, atol=1e-8)
    assert normal.yy[0] == pytest.approx(y @ y)


def test_the_survey_of_a_row_does_not_ask_for_the_others():
    rows = np.array([[-0.0, 2.0, -3.5], [np.nan, 1.0, 4.0], [np.inf, -np.nan, 7.0], [5.0] * 3])
    rows = np.vstack([rows, np.full(3, np.nan), [-np.inf, 1.0, 2.0]])
    found = survey(rows)
    assert found.count.tolist() == [3, 2, 1, 3, 0, 2]
    assert found.first.tolist() == [0, 1, 2, 0, 0, 1]
    assert found.last.tolist() == [2, 2, 2, 2, 0, 2]
    assert found.min_gap.tolist() == [1, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(found.low, [-3.5, 1, 7, 5, np.nan, 1])
    np.testing.assert_array_equal(found.high, [2, 4, 7, 5, np.nan, 2])


def test_no_series_have_no_mode():
    empty = posterior_mode(
        np.zeros((0, 41, 41)),
        np.zeros(0, np.int64),
        np.zeros((0, 41)),
        np.zeros(0),
        np.zeros(0, np.int64),
        *PRIORS,
    )
    assert [len(part) for part in empty] == [0, 0, 0]
