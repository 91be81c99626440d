"""A forest of one signal is read as a step function; the walk through its trees says the same."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("silent", [0, 2])
def test_many_rows_at_once_score_as_a_few_at_a_time(silent: int):
    values = histories(silent, 5000, 1 + silent)
    values[:, :, 1:] = 3.0  # constant: of no use
    prepared = prepare(values)
    forest = grow_forests(values, prepared, np.arange(6, dtype=np.uint64), 100, SUBSAMPLE, DEPTH)
    whole = raw_scores(values, prepared, forest, SUBSAMPLE)
    parts = [
        raw_scores(np.ascontiguousarray(part), prepared, forest, SUBSAMPLE)
        for part in np.array_split(values, 10, axis=1)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    assert np.isfinite(whole[:5, 1000:]).all()
