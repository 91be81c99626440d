from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models import measures
from models.backtest_scores import SCORES, all_scores

VALUES = st.sampled_from([np.nan, np.inf, 0.0, 1.0, 2.5, 7.0, -3.0, 1e15])


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 30)),
    dtype=st.sampled_from([np.float32, np.float64]),
    data=st.data(),
)
def test_one_pass_gives_what_the_measures_give(shape, dtype, data):
    actual = data.draw(arrays(dtype, shape, elements=VALUES.map(dtype)))
    told = data.draw(arrays(dtype, (3, *shape), elements=VALUES.map(dtype)))
    scale = data.draw(arrays(float, shape[:1], elements=st.sampled_from([np.nan, 0.0, 2.0])))
    scores, points = all_scores(actual, told, scale)
    a, (median, q90, q99) = actual.astype(float), told.astype(float)
    with np.errstate(invalid="ignore"):  # inf - inf
        want = {
            "wape": measures.wape(a, median),
            "mase": measures.mase(a, median, scale),
            "pinball_q50": measures.pinball(a, median, 0.5),
            "pinball_q90": measures.pinball(a, q90, 0.9),
            "pinball_q99": measures.pinball(a, q99, 0.99),
            "coverage_q90": measures.coverage(a, q90),
            "peak_coverage_q90": measures.peak_coverage(a, q90),
        }
        np.testing.assert_array_equal(points, measures.points(a, median))
    for name, got in zip(SCORES, scores, strict=True):
        np.testing.assert_allclose(got, want[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("order", ["C", "F"])
def test_views_and_what_is_read_only_are_measured_too(order: str):
    rng = np.random.default_rng(0)
    actual, told = rng.random((5, 3, 40)), rng.random((3, 5, 3, 40))
    for array in (actual, told):
        array.flags.writeable = False
    got, _ = all_scores(actual[:, 1], np.asarray(told, order=order)[:, :, 1], np.ones(5))
    want = measures.peak_coverage(actual[:, 1], told[1, :, 1])
    np.testing.assert_allclose(got[SCORES.index("peak_coverage_q90")], want)
