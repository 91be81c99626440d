"""Going up, going down and the step function of one signal: three ways, one answer, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forest_codes import LEAF, code_rows, value_of
from models.forest_growth import PATH_UNIT, average_path
from models.forest_kernels import grow_forests, prepare, raw_scores

SUBSAMPLE, DEPTH = 256, 8


def histories(seed: int, n_steps: int, n_signals: int) -> np.ndarray:
    """Smooth, rounded, with gaps, with an outlier, of two values, of hardly any rows."""
    values = np.random.default_rng(seed).standard_t(3, (6, n_steps, n_signals))
    values[1] = np.round(values[1])
    values[2, 100:900] = np.nan
    values[3, 5] = 1e12
    values[4] = values[4] > 0
    values[5, 7:] = np.nan
    return values


@pytest.mark.parametrize(("varied", "constant"), [(1, 0), (1, 2), (2, 0), (5, 1)])
def test_many_rows_at_once_score_as_a_few_at_a_time(varied: int, constant: int):
    values = histories(constant, 5000, varied + constant)
    values[:, :, varied:] = 3.0  # of no use
    prepared = prepare(values)
    forest = grow_forests(values, prepared, np.arange(6, dtype=np.uint64), 100, SUBSAMPLE, DEPTH)
    whole = raw_scores(values, prepared, forest, SUBSAMPLE)
    parts = [
        raw_scores(np.ascontiguousarray(part), prepared, forest, SUBSAMPLE)
        for part in np.array_split(values, 50, axis=1)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    assert np.isfinite(whole[:5, 1000:]).all()


@pytest.mark.parametrize("subsample", [2, 4, 8, 9, 32, 64, 100, 1024])
def test_the_three_ways_agree_for_trees_of_every_depth(subsample: int):
    depth = int(np.ceil(np.log2(subsample)))
    values = histories(subsample, 2600, 2)
    prepared = prepare(values)
    forest = grow_forests(values, prepared, np.arange(6, dtype=np.uint64), 20, subsample, depth)
    whole = raw_scores(values, prepared, forest, subsample)
    few = np.ascontiguousarray(values[:, 2400:2500])
    np.testing.assert_array_equal(raw_scores(few, prepared, forest, subsample), whole[:, 2400:2500])
    assert ((whole > 0) & (whole < 1) | np.isnan(whole)).all()


@settings(deadline=None)
@given(st.lists(st.floats(-1.8, 1.8), min_size=2, max_size=50))
def test_codes_keep_the_order_and_come_back_close(values: list[float]):
    rows = np.sort(np.array(values))[:, None]
    one = np.ones(1)
    codes, known = code_rows(rows, 0 * one, one, one > 0)
    assert known.all()
    assert (np.diff(codes[0].astype(int)) >= 0).all()
    back = np.array([value_of(int(c)) for c in codes[0]])
    np.testing.assert_allclose(back, rows[:, 0], rtol=2**-9, atol=2.0**-62)


def test_a_leaf_reaches_the_row_that_it_holds():
    """Path lengths of the training rows: what the trees say is what they were grown to."""
    values = histories(3, 256, 3)[:1]
    prepared = prepare(values)
    forest = grow_forests(values, prepared, np.zeros(1, dtype=np.uint64), 50, SUBSAMPLE, DEPTH)
    x, _ = code_rows(values[0], prepared[0][0], prepared[1][0], prepared[2][0])
    feature, threshold, path = (a[0] for a in forest[:3])
    for k in range(50):
        counts: dict[int, int] = {}
        for t in range(256):
            i, level = 0, 0
            while i < 255 and threshold[k, i] != LEAF:
                i, level = 2 * i + 1 + (x[feature[k, i], t] > threshold[k, i]), level + 1
            slot = ((i + 1) << (DEPTH - level)) - 256
            counts[slot] = counts.get(slot, 0) + 1
            assert path[k, slot] >= level * PATH_UNIT
        for slot, n in counts.items():
            rest = path[k, slot] % PATH_UNIT, path[k, slot] / PATH_UNIT
            assert n > 1 or rest[0] == 0
            assert rest[1] <= DEPTH + average_path(n) + 1e-3
