import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.panel import Floats
from models.spread_kernels import at_least_wide, spread_tables

PROBABILITIES = np.array([0.001, 0.05, 0.3, 0.5, 0.9, 0.999])


def draw(kind: str, n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return {
        "normal": rng.normal(size=n),
        "cauchy": rng.standard_cauchy(size=n) * 1e12,
        "ties": np.round(rng.normal(size=n)),
        "rests": np.where(rng.uniform(size=n) < 0.97, 0.0, rng.normal(size=n)),
        "tiny": rng.normal(size=n) * 1e-310,
        "sorted": np.sort(rng.normal(size=n)),
        "same": np.full(n, 3.5),
        "outlier": np.r_[rng.normal(size=n - 1), 1e300],
        "huge": rng.choice([-1.7e308, 0.0, 1e308], size=n),
    }[kind]


def sided(quantiles: Floats) -> Floats:
    """Each on its side of zero."""
    sign = np.sign(PROBABILITIES - 0.5)
    return np.where(sign * quantiles > 0, quantiles, 0.0)


@pytest.mark.parametrize(
    "kind", ["normal", "cauchy", "ties", "rests", "tiny", "sorted", "same", "outlier"]
)
@given(n=st.integers(1, 3000), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_tables_are_the_quantiles_of_each_level(kind: str, n: int, seed: int):
    """However the values lie: only a few buckets of them are ever sorted."""
    residuals, expected = draw(kind, n, seed), np.arange(n, dtype=float)
    residuals[:: seed % 7 + 2] = np.nan
    there = np.isfinite(residuals)
    edges, tables = spread_tables(expected[None], residuals[None], PROBABILITIES, 2)
    if not there.any():
        assert (tables == 0).all()
        return
    assert edges[0, 0] == expected[there][max(there.sum() // 2 - 1, 0)]
    for g, part in enumerate((expected <= edges[0, 0], expected > edges[0, 0])):
        own = residuals[there & part] if (there & part).sum() >= 30 else residuals[there]
        np.testing.assert_allclose(
            tables[0, g], sided(np.quantile(own, PROBABILITIES)), rtol=1e-12, atol=0
        )


@given(n=st.integers(1, 2000), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_differences_that_overflow_have_finite_growing_tables(n: int, seed: int):
    residuals = draw("huge", n, seed)[None]
    tables = spread_tables(residuals, residuals, PROBABILITIES, 3)[1]
    assert np.isfinite(tables).all()
    assert (np.diff(tables, axis=2) >= 0).all()


def test_a_minimum_width_only_widens():
    tables = np.array([[[-5.0, -0.1, 0.0, 0.1, 1.0]]])
    probabilities = np.array([0.05, 0.4, 0.5, 0.6, 0.95])
    wide = at_least_wide(tables, probabilities, np.array([[2.0]]))
    assert (wide[0, 0, [0, 2, 4]] == [-5.0, 0.0, 2.0]).all()
    assert wide[0, 0, 1] == pytest.approx(-wide[0, 0, 3])
    assert 0.1 < wide[0, 0, 3] < 2.0
