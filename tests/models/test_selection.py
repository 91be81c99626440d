from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.selection import finite_into, lower_medians, nth, quantile

NUMBERS = arrays(
    float,
    st.integers(1, 400),
    elements=st.sampled_from([0.0, 1.0, -1.0, 2.5, 1e15, np.inf, -np.inf]) | st.floats(-9, 9),
)


@settings(deadline=None)
@given(values=NUMBERS, data=st.data())
def test_the_value_at_a_rank_is_that_of_the_sorted_values(values: np.ndarray, data: st.DataObject):
    wanted = sorted(data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4)))
    work, spare, before = values.copy(), np.empty(len(values)), 0
    for k in wanted:  # each search goes on where the last one ended
        assert nth(work, spare, before, len(work), k) == np.sort(values)[k]
        assert (work[:k] <= work[k]).all()
        assert (work[k:] >= work[k]).all()
        before = k
    np.testing.assert_array_equal(np.sort(work), np.sort(values))


@pytest.mark.parametrize("shape", ["up", "down", "bell", "periodic", "constant", "two values"])
def test_no_shape_of_load_makes_it_slow(shape: str):
    n = 20_000
    at = np.arange(n)
    values = {
        "up": at,
        "down": -at,
        "bell": -np.abs(at - n / 2),
        "periodic": np.sin(at * 2 * np.pi / 288),
        "constant": np.zeros(n),
        "two values": at % 2,
    }[shape].astype(float)
    want = np.sort(values)

    class Counted(np.ndarray):
        read = 0

        def __getitem__(self, key):
            Counted.read += 1
            return super().__getitem__(key)

    for k in (0, n // 2, n - 1):
        Counted.read = 0
        got = nth.py_func(values.copy().view(Counted), np.empty(n), 0, n, k)
        assert got == want[k]
        assert Counted.read < 12 * n


@given(values=NUMBERS, p=st.floats(0, 1))
def test_quantiles_are_numpys(values: np.ndarray, p: float):
    row = np.empty(len(values))
    n = finite_into(row, values, 0)
    there = values[np.isfinite(values)]
    np.testing.assert_array_equal(row[:n], there)
    got = quantile(row, np.empty(len(values)), 0, n, p)
    np.testing.assert_allclose(got, np.quantile(there, p) if n else np.nan, rtol=1e-9, atol=1e-9)


def test_the_lower_median_is_a_value_of_the_row():
    rows = np.array([[3.0, 1.0, 2.0, 4.0], [np.nan, 5.0, np.nan, 4.0], [np.nan] * 4])
    np.testing.assert_array_equal(lower_medians(rows), [2.0, 4.0, np.nan])
