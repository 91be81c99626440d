"""What counts as a rise that an HPA is late for."""

from __future__ import annotations

import numpy as np

from models.ramps import rising


def test_a_steep_rise_is_seen_before_and_after_and_a_gentle_one_never() -> None:
    steep = np.array([[10.0] * 10 + [25.0] * 10])
    found = rising(steep, 3, 1.4)[0]
    assert np.flatnonzero(found).tolist() == [7, 8, 9, 10, 11, 12]
    gentle = 10 * 1.05 ** np.arange(40)[None]
    assert not rising(gentle, 3, 1.4).any()


def test_a_fall_is_no_rise_and_gaps_are_none() -> None:
    fall = np.array([[25.0] * 10 + [10.0] * 10, [np.nan] * 20])
    assert not rising(fall, 3, 1.4).any()
    gap = np.array([[10.0, np.nan, 30.0, 30.0]])
    assert rising(gap, 2, 1.4)[0].tolist() == [True, False, True, False]


def test_the_unit_does_not_matter() -> None:
    load = np.random.default_rng(1).lognormal(0, 0.5, (3, 50))
    np.testing.assert_array_equal(rising(load, 4, 1.4), rising(load * 1024, 4, 1.4))
