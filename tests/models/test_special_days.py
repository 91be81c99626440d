import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.special_days import apply_special, last_special

MONDAY = pd.Timestamp("2026-06-01T00:00Z")
HOUR = pd.Timedelta("1h")
DAY = pd.Timedelta("1D")
steps = st.sampled_from([1, 5, 7, 60, 90, 300, 720, 1440]).map(lambda m: pd.Timedelta(m, "min"))
levels = st.one_of(st.just(0.0), st.floats(0, 1e15))


def grid(step: pd.Timedelta, n: int, start: pd.Timestamp = MONDAY) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq=step)


def on(times: pd.DatetimeIndex, *days: str) -> np.ndarray:
    return times.normalize().isin(pd.DatetimeIndex(days, tz="UTC"))


# ---- what a special day is like


def test_the_last_special_day_counts_and_the_one_before_fills_its_gaps():
    times = grid(HOUR, 5 * 24)
    values = np.arange(240.0).reshape(2, -1)
    values[0, 3 * 24 + 9] = np.nan  # Thursday 09:00
    values[1, 3 * 24 + 9] = values[1, 24 + 9] = np.nan  # and Tuesday's
    profile = last_special(values, times, on(times, "2026-06-02", "2026-06-04"), HOUR)
    nine = np.arange(24) == 9
    np.testing.assert_array_equal(profile[:, ~nine], values[:, 72:96][:, ~nine])
    assert profile[0, 9] == values[0, 24 + 9]
    assert np.isnan(profile[1, 9])


def test_without_special_days_there_is_nothing_to_say():
    times = grid(HOUR, 48)
    profile = last_special(np.ones((3, 48)), times, np.zeros(48, dtype=bool), HOUR)
    assert profile.shape == (3, 24)
    assert np.isnan(profile).all()


@given(step=steps, offset_min=st.integers(0, 1439), n_days=st.integers(1, 3))
def test_whole_days_leave_no_time_of_day_open(step: pd.Timedelta, offset_min: int, n_days: int):
    start = MONDAY + pd.Timedelta(offset_min, "min")
    times = grid(step, int((n_days + 2) * DAY / step) + 1, start)
    values = np.arange(float(len(times)))[None]
    days = pd.date_range("2026-06-02", periods=n_days, freq="D").strftime("%Y-%m-%d")
    profile = last_special(values, times, on(times, *days), step)
    assert np.isfinite(profile).all()
    last = on(times, days[-1])
    told = profile[0, [int((t - t.normalize()) / step) for t in times[last]]]
    np.testing.assert_array_equal(told, values[0, last])


def test_a_series_does_not_depend_on_its_neighbours():
    times = grid(HOUR, 72)
    values = np.random.default_rng(1).normal(size=(4, 72))
    values[values > 1] = np.nan
    special = on(times, "2026-06-01", "2026-06-03")
    together = last_special(values, times, special, HOUR)
    for row in range(4):
        alone = last_special(values[row : row + 1], times, special, HOUR)
        np.testing.assert_array_equal(alone[0], together[row])


# ---- what becomes of a forecast


def moved(
    quantiles: np.ndarray, median: float, level: float, *, non_negative: bool = True
) -> np.ndarray:
    """One series, one special hour."""
    out = apply_special(
        quantiles.reshape(-1, 1, 1),
        np.full((1, 1), median),
        np.full((1, 24), level),
        grid(HOUR, 1),
        np.ones(1, dtype=bool),
        HOUR,
        np.array([non_negative]),
    )
    return out[:, 0, 0]


def test_a_quiet_holiday_takes_its_width_along():
    np.testing.assert_allclose(moved(np.array([8.0, 10.0, 14.0]), 10, 5), [4, 5, 7])


def test_a_busy_special_day_too():
    np.testing.assert_allclose(moved(np.array([8.0, 10.0, 14.0]), 10, 30), [24, 30, 42])


def test_a_usual_day_near_zero_does_not_explode():
    np.testing.assert_allclose(moved(np.array([0.0, 1e-9, 1.0]), 1e-9, 5), [0, 5, 10])
    np.testing.assert_allclose(moved(np.array([0.0, 0.0, 1.0]), 0, 5), [5, 5, 10])
    np.testing.assert_allclose(moved(np.array([0.0, 0.0, 1.0]), 0, 0), [0, 0, 1])


def test_rounding_does_not_go_below_zero():
    assert 3.6 - 6.3 * (3.6 / 6.3) < 0
    assert moved(np.array([0.0, 6.3, 8.0]), 6.3, 3.6)[0] == 0


def test_below_zero_there_is_no_proportion():
    told = moved(np.array([-4.0, -2.0, 1.0]), -2, 6, non_negative=False)
    np.testing.assert_allclose(told, [4, 6, 9])
    told = moved(np.array([1.0, 2.0, 4.0]), 2, -6, non_negative=False)
    np.testing.assert_allclose(told, [-7, -6, -4])


@pytest.mark.parametrize("level", [0.0, 1e-300, 1e15])
@pytest.mark.parametrize("median", [0.0, 5e-324, 1.0, 1e15])
def test_extremes_stay_numbers(median: float, level: float):
    quantiles = np.array([0.0, median, median + 1, median * 2 + 1e15])
    told = moved(quantiles, median, level)
    assert np.isfinite(told).all()
    assert told[1] == level


@given(
    quantiles=arrays(np.float64, (3, 2, 30), elements=levels).map(lambda a: np.sort(a, axis=0)),
    profile=arrays(np.float64, (2, 24), elements=st.one_of(st.just(float("nan")), levels)),
    signed=st.booleans(),
)
def test_quantiles_keep_their_order_and_usual_days_stay(
    quantiles: np.ndarray, profile: np.ndarray, signed: bool
):
    if signed:
        quantiles, profile = quantiles - 1e14, profile - 1e14
    times = grid(HOUR, 30, MONDAY + 20 * HOUR)
    special = on(times, "2026-06-02")
    before = quantiles.copy()
    out = apply_special(
        quantiles, quantiles[1], profile, times, special, HOUR, np.full(2, not signed)
    )
    np.testing.assert_array_equal(quantiles, before)
    assert np.isfinite(out).all()
    assert (np.diff(out, axis=0) >= 0).all()
    np.testing.assert_array_equal(out[:, :, ~special], quantiles[:, :, ~special])
    level = profile[:, np.asarray(times[special].hour)]
    median = np.where(np.isnan(level), quantiles[1][:, special], level)
    np.testing.assert_array_equal(out[1][:, special], median)
    if not signed:
        assert (out >= 0).all()


def test_who_has_no_forecast_gets_none_from_its_holidays():
    assert np.isnan(moved(np.full(3, np.nan), np.nan, 5)).all()


@given(step=steps)
def test_a_coming_special_day_is_the_last_one_at_the_same_time_of_day(step: pd.Timedelta):
    n = int(3 * DAY / step)
    past = grid(step, n)
    values = np.random.default_rng(3).uniform(1, 2, (1, n))
    profile = last_special(values, past, on(past, "2026-06-02"), step)
    ahead = grid(step, int(2 * DAY / step), past[-1] + step)
    special = on(ahead, "2026-06-05")
    usual = np.ones((1, len(ahead)))
    out = apply_special(usual[None], usual, profile, ahead, special, step, np.ones(1, dtype=bool))[
        0, 0
    ]
    last = values[0, on(past, "2026-06-02")]
    coming = out[special]
    shared = min(len(last), len(coming))
    np.testing.assert_array_equal(coming[:shared], last[:shared])
