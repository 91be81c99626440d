from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.frames import QUANTILES
from models import measures
from models.calibrate import CalibrationParams, apply_quantiles, fit_quantiles

PARAMS = CalibrationParams()
WEEK = 7 * 288


def times(n: int, step: str = "5min") -> pd.DatetimeIndex:
    return pd.date_range("2026-05-04", periods=n, freq=step, tz="UTC")


def load(shape: str, n_series: int = 20, weeks: int = 4) -> np.ndarray:
    """Expected load of office hours, (n_series, weeks · 2016)."""
    step = np.arange(weeks * WEEK)
    hour, day = (step / 12) % 24, step // 288 % 7
    if shape == "bell":
        level = 20 + 80 * np.exp(-(((hour - 13) / 3) ** 2)) * (day < 5)
    else:
        level = np.where((hour > 9) & (hour < 17) & (day < 5), 100.0, 20.0)
    return np.tile(level, (n_series, 1)) * np.geomspace(1, 1e6, n_series)[:, None]


def around(actual: np.ndarray, point: np.ndarray, quantiles: tuple[float, ...]) -> np.ndarray:
    """Learn from all weeks but the last one, and say the last one's quantiles."""
    stamps, past = times(point.shape[1]), point.shape[1] - WEEK
    fitted = fit_quantiles(actual[:, :past], point[:, :past], stamps[:past], PARAMS)
    sure = np.ones(len(point), dtype=bool)
    return apply_quantiles(fitted, point[:, past:], stamps[past:], quantiles, sure)


@pytest.mark.parametrize("shape", ["bell", "plateau"])
@pytest.mark.parametrize("memory", [0.0, 0.95])
def test_ninety_percent_covers_ninety_percent_and_the_peaks(shape: str, memory: float):
    rng = np.random.default_rng(3)
    point = load(shape)
    noise = rng.normal(size=point.shape)
    for i in range(1, noise.shape[1]):
        noise[:, i] = memory * noise[:, i - 1] + np.sqrt(1 - memory**2) * noise[:, i]
    actual = point * (1 + 0.15 * noise)  # the higher, the noisier
    upper = around(actual, point, (0.9,))[0]
    assert 0.86 <= measures.coverage(actual[:, -WEEK:], upper).mean() <= 0.94
    assert measures.peak_coverage(actual[:, -WEEK:], upper).mean() >= 0.8


def test_quiet_hours_are_not_given_the_width_of_busy_ones():
    rng = np.random.default_rng(4)
    point = load("plateau")
    actual = point * (1 + 0.15 * rng.normal(size=point.shape))
    width = around(actual, point, (0.9,))[0] / point[:, -WEEK:] - 1
    assert width.min(axis=1) == pytest.approx(np.full(20, 0.15 * 1.2816), rel=0.35)
    assert (width.max(axis=1) > 1.2 * width.min(axis=1)).all()  # busy hours miss less


def test_busy_hours_are_missed_less_and_all_hours_as_often_as_told():
    rng = np.random.default_rng(8)
    point = load("bell", n_series=60)
    actual = point * (1 + 0.15 * rng.normal(size=point.shape))
    upper = around(actual, point, (0.9,))[0]
    came, busy = actual[:, -WEEK:] <= upper, point[:, -WEEK:] > 1.5 * point.min(axis=1)[:, None]
    assert came.mean() == pytest.approx(0.9, abs=0.02)
    assert came[busy].mean() > 0.95


def test_a_bias_widens_its_side_and_leaves_the_median():
    rng = np.random.default_rng(5)
    point = load("bell")
    actual = 1.2 * point * (1 + 0.02 * rng.normal(size=point.shape))
    lower, median, upper = around(actual, point, (0.05, 0.5, 0.9))
    np.testing.assert_array_equal(median, point[:, -WEEK:])
    assert measures.coverage(actual[:, -WEEK:], upper).mean() >= 0.86
    assert (lower <= median).all()


def test_quantiles_between_the_standard_ones_cover_what_they_say():
    rng = np.random.default_rng(6)
    point = load("plateau")
    actual = point * (1 + 0.1 * rng.normal(size=point.shape))
    asked = (0.7, 0.8, 0.97)
    said = around(actual, point, asked)
    got = [measures.coverage(actual[:, -WEEK:], s).mean() for s in said]
    np.testing.assert_allclose(got, asked, atol=0.03)


VALUES = st.sampled_from([np.nan, 0.0, 0.0, 1.0, 3.0, -2.0, 1e15])


@settings(deadline=None)
@given(
    actual=arrays(float, (3, 48), elements=VALUES),
    point=arrays(float, (3, 48), elements=VALUES),
    quantiles=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=6),
)
def test_quantiles_never_cross_nor_go_below_zero(
    actual: np.ndarray, point: np.ndarray, quantiles: list[float]
):
    stamps = times(48, "h")
    fitted = fit_quantiles(actual, point, stamps, PARAMS)
    sure = np.array([True, True, False])
    said = apply_quantiles(fitted, point, stamps, quantiles, sure)
    known = np.isfinite(point) & fitted["calibrated"][:, None]
    assert (np.isnan(said) == ~known).all()
    ordered = said[np.argsort(quantiles)]
    assert (np.diff(ordered, axis=0)[:, known] >= 0).all()
    assert (said[:, sure][:, known[sure]] >= 0).all()


@settings(deadline=None)
@given(factor=st.sampled_from([1e-6, 2.0**20, 1e9]))
def test_quantiles_do_not_depend_on_the_unit(factor: float):
    rng = np.random.default_rng(7)
    point = load("bell", 3, 2)
    actual = point * (1 + 0.1 * rng.normal(size=point.shape))
    one = around(actual, point, QUANTILES)
    np.testing.assert_allclose(around(actual * factor, point * factor, QUANTILES), one * factor)


def test_a_perfect_forecast_keeps_its_point():
    point = load("bell", 3)
    said = around(point, point, QUANTILES)
    np.testing.assert_array_equal(said, np.broadcast_to(point[:, -WEEK:], said.shape))


def test_too_few_residuals_are_no_calibration():
    point = np.ones((2, 24))
    actual = point.copy()
    actual[1, 0] = np.nan  # 23 h are left
    fitted = fit_quantiles(actual, point, times(24, "h"), PARAMS)
    assert fitted["calibrated"].tolist() == [True, False]
    assert np.isnan(fitted["offsets"][1]).all()
    empty = fit_quantiles(np.ones((2, 0)), np.ones((2, 0)), times(0), PARAMS)
    assert not empty["calibrated"].any()


@pytest.mark.parametrize("quantile", [0.0, 1.0, 2.0])
def test_impossible_quantiles_are_refused(quantile: float):
    fitted = fit_quantiles(np.ones((1, 48)), np.ones((1, 48)), times(48, "h"), PARAMS)
    with pytest.raises(ValueError, match="between 0 and 1"):
        apply_quantiles(fitted, np.ones((1, 2)), times(2, "h"), [quantile], np.ones(1, dtype=bool))


@pytest.mark.parametrize(
    "bad", [{"level_edges": (0.9, 0.1)}, {"level_edges": (1.0,)}, {"shrinkage_h": -1.0},
            {"minimum_h": np.nan}],
)  # fmt: skip
def test_impossible_params_are_refused_by_name(bad: dict[str, object]):
    with pytest.raises(ValueError, match=next(iter(bad))):
        CalibrationParams(**bad)  # pyright: ignore[reportArgumentType]
