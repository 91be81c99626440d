from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.panel import Panel
from models.band import Band, BandParams, Reason
from models.base import Baselines

MONDAY = pd.Timestamp("2026-05-04", tz="UTC")
STEP = pd.Timedelta("5min")
DAY, WEEK = 288, 2016


def panel_of(values: np.ndarray, first: int = 0, metrics: int = 1) -> Panel:
    n = len(values)
    keys = pd.DataFrame(
        {
            "workload": [f"c/n/D/w{i // metrics:04d}" for i in range(n)],
            "metric": [f"m{i % metrics}" for i in range(n)],
        },
        dtype="str",
    )
    return Panel(keys, MONDAY + first * STEP, STEP, values)


def world(n: int, weeks: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Values and their true expectation: a day's wave with noise in proportion."""
    t = np.arange(weeks * WEEK)
    expected = np.tile(100 + 60 * np.sin(2 * np.pi * t / DAY), (n, 1))
    return expected * (1 + noise * np.random.default_rng(seed).normal(size=(n, len(t)))), expected


def fitted(n: int = 4, directions: list | None = None) -> Baselines:
    values, expected = world(n, 4)
    return Band().fit(panel_of(values), expected, directions)


@pytest.fixture(scope="module")
def both() -> Baselines:
    return fitted()


@pytest.fixture
def week() -> tuple[np.ndarray, np.ndarray]:
    values, expected = world(4, 5, seed=1)
    return values[:, 4 * WEEK :].copy(), expected[:, 4 * WEEK :]


def test_a_clean_month_alarms_at_most_as_often_as_the_budget_says() -> None:
    values, expected = world(60, 8, seed=2)
    band, half = Band(), 4 * WEEK
    baselines = band.fit(panel_of(values[:, :half], metrics=4), expected[:, :half])
    scores = band.score(baselines, panel_of(values[:, half:], half, 4), expected[:, half:])
    sure, hot = scores.score >= 1.5, scores.score >= 1

    def of_last(flags: np.ndarray, n: int) -> np.ndarray:
        total = np.cumsum(np.pad(flags, ((0, 0), (n, 0))), axis=1)
        return total[:, n:] - total[:, :-n]

    told = (of_last(sure, 3) >= 2) | (of_last(hot, 8) >= 6)  # as incidents are told
    alerts = sum(
        1 + int((np.diff(np.flatnonzero(row)) > 12).sum())
        for row in told.reshape(15, 4, -1).any(axis=1)
        if row.any()
    )
    assert 0 < alerts <= 1.25 * 15 * band.params.alerts_per_month


def test_the_band_is_where_the_score_is_one(both: Baselines, week) -> None:
    values, expected = week
    scores = Band().score(both, panel_of(values), expected)
    for edge in (scores.lower, scores.upper):
        np.testing.assert_allclose(Band().score(both, panel_of(edge), expected).score[:, 0], 1.0)
    judged = scores.reason != Reason.LEVEL_SHIFT
    outside = (values < scores.lower) | (values > scores.upper)
    assert ((scores.score > 1) == outside)[judged].all()


def test_busy_hours_have_the_wider_band(both: Baselines) -> None:
    scale = both.arrays["scale"]
    assert (scale[:, 6] > 2 * scale[:, 18]).all()  # the wave is 160 at 06:00 and 40 at 18:00


def test_incidents_in_training_do_not_widen_the_band() -> None:
    values, expected = world(4, 4)
    clean = Band().fit(panel_of(values), expected).arrays
    values[:, 3000:3036] *= 8
    dirty = Band().fit(panel_of(values), expected).arrays
    ratio = (dirty["scale"] * dirty["threshold"][:, None]) / (
        clean["scale"] * clean["threshold"][:, None]
    )
    assert np.median(ratio) < 1.1
    assert ratio.max() < 1.7


def test_a_point_that_is_far_off_is_an_anomaly_and_says_which_way(both: Baselines, week) -> None:
    values, expected = week
    values[0, 500] *= 3
    values[1, 500] *= 0.05
    scores = Band().score(both, panel_of(values), expected)
    assert (scores.score[:2, 500] > 1).all()
    assert list(scores.reason[:3, 500]) == [Reason.ABOVE, Reason.BELOW, Reason.NORMAL]


def test_the_harmless_side_never_scores_one_except_at_zero(week) -> None:
    values, expected = week
    baselines = fitted(directions=["up", "up", "down", "down"])
    values[:, 500] *= np.array([0.02, 3, 0.02, 3])
    values[0, 700] = 0.0
    scores = Band().score(baselines, panel_of(values), expected)
    assert list(scores.score[:, 500] > 1) == [False, True, True, False]
    assert np.isneginf(scores.lower[:2]).all()
    assert np.isposinf(scores.upper[2:]).all()
    assert scores.score[0, 700] >= 1
    assert scores.reason[0, 700] == Reason.DROP_TO_ZERO


def test_zero_is_no_news_for_a_series_that_is_often_zero() -> None:
    rng = np.random.default_rng(0)
    values = rng.poisson(1.0, size=(1, 5 * WEEK)).astype(float)
    expected = np.ones_like(values)
    half = 4 * WEEK
    baselines = Band().fit(panel_of(values[:, :half]), expected[:, :half])
    scores = Band().score(baselines, panel_of(values[:, half:], half), expected[:, half:])
    assert not (scores.reason == Reason.DROP_TO_ZERO).any()


def test_samples_that_are_due_and_absent_are_missing_from_the_third_on(
    both: Baselines, week
) -> None:
    values, expected = week
    values[0, 100:110] = np.nan
    values[1, 100:102] = np.nan
    scores = Band().score(both, panel_of(values), expected)
    assert np.isnan(scores.score[:, 100:102][:2]).all()
    assert (scores.reason[0, 102:110] == Reason.MISSING).all()
    assert (scores.score[0, 102:110] >= 1).all()
    assert not (scores.reason[1] == Reason.MISSING).any()


def test_a_blanked_holiday_does_not_hide_that_samples_are_missing() -> None:
    values, expected = world(1, 5)
    half = 4 * WEEK
    values[:, 3 * WEEK : 3 * WEEK + DAY] = np.nan
    baselines = Band().fit(panel_of(values[:, :half]), expected[:, :half])
    values[:, half : half + 36] = np.nan
    reason = Band().score(baselines, panel_of(values[:, half:], half), expected[:, half:]).reason
    assert (reason[0, 2:36] == Reason.MISSING).all()


def test_a_nightly_job_is_not_missing_by_day() -> None:
    values, expected = world(1, 5)
    day = (np.arange(values.shape[1]) % DAY) >= 36
    values[:, day] = np.nan
    half = 4 * WEEK
    baselines = Band().fit(panel_of(values[:, :half]), expected[:, :half])
    values[:, half : half + 36] = np.nan
    reason = Band().score(baselines, panel_of(values[:, half:], half), expected[:, half:]).reason
    assert (reason[0, 2:36] == Reason.MISSING).all()
    assert not (reason[0, 36 + DAY :] == Reason.MISSING).any()


@pytest.mark.parametrize(
    "change", [lambda x: x * 2.0, lambda x: x + 200.0], ids=["factor", "constant"]
)
def test_a_level_shift_is_named_held_and_then_learned(both: Baselines, week, change) -> None:
    values, expected = week
    params = BandParams()
    at, hold = 300, int(params.hold_h * 12)
    values[0, at:] = change(values[0, at:])
    scores = Band(params).score(both, panel_of(values), expected)
    shifted = scores.reason[0] == Reason.LEVEL_SHIFT
    assert not shifted[:at].any()
    assert shifted[at + 36 : at + hold].mean() > 0.9
    assert (scores.score[0, at + 36 : at + hold] >= 1).mean() > 0.9
    after = slice(at + hold + 72, WEEK)
    assert (scores.score[0, after] >= 1).mean() < 0.01
    np.testing.assert_allclose(scores.expected[0, -1], change(expected[0, -1]), rtol=0.05)


def test_the_score_at_a_step_does_not_know_what_follows(both: Baselines, week) -> None:
    values, expected = week
    values[0, 300:] *= 2
    values[1, 500:600] = np.nan
    values[2, 700:] = 0
    band, whole = Band(), panel_of(values)
    full = band.score(both, whole, expected)
    for end in (301, 555, 701, 1500):
        part = band.score(both, panel_of(values[:, :end]), expected[:, :end])
        for name in ("score", "lower", "upper", "expected", "reason"):
            np.testing.assert_array_equal(getattr(part, name), getattr(full, name)[:, :end])


@settings(deadline=None, max_examples=20)
@given(unit=st.sampled_from([1e-6, 0.125, 1024.0, 1e9]), seed=st.integers(0, 20))
def test_scores_do_not_change_with_the_unit(unit: float, seed: int) -> None:
    values, expected = world(1, 2, seed)
    values[0, WEEK + 50] *= 3
    one, other = (
        Band()
        .score(
            Band().fit(panel_of(u * values[:, :WEEK]), u * expected[:, :WEEK]),
            panel_of(u * values[:, WEEK:], WEEK),
            u * expected[:, WEEK:],
        )
        .score
        for u in (1.0, unit)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


DEGENERATE = {
    "zero": np.zeros(WEEK),
    "constant": np.full(WEEK, 7.0),
    "huge": np.full(WEEK, 1e15),
    "negative": -5 - np.arange(WEEK) % 7.0,
    "all missing": np.full(WEEK, np.nan),
    "two points": np.r_[np.full(WEEK - 2, np.nan), 1.0, 2.0],
    "late start": np.r_[np.full(WEEK // 2, np.nan), np.arange(WEEK // 2) % 12.0],
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_series_are_neither_blind_nor_infinite(name: str) -> None:
    values = DEGENERATE[name][None]
    expected = np.full_like(values, np.nanmedian(values) if np.isfinite(values).any() else np.nan)
    baselines = Band().fit(panel_of(values), expected)
    later = values[:, -DAY:].copy()
    later[0, 100] = 1e18
    scores = Band().score(baselines, panel_of(later, WEEK), expected[:, -DAY:])
    assert not np.isinf(scores.score).any()
    if baselines.arrays["verdict"][0] == 0:
        assert scores.score[0, 100] > 1
        assert (scores.score[0, :100] < 1).all()
    else:
        assert np.isnan(scores.score[0, 100])
        assert "too few" in baselines.meta["verdicts"][baselines.arrays["verdict"][0]]


def test_series_are_matched_by_name_and_strangers_have_no_score(both: Baselines, week) -> None:
    values, expected = week
    scores = Band().score(both, panel_of(values), expected).score
    mixed = panel_of(values)
    keys = mixed.keys.iloc[[2, 0, 1, 3]].reset_index(drop=True)
    keys.loc[3, "metric"] = "never seen"
    mixed = replace(mixed, keys=keys, values=values[[2, 0, 1, 3]])
    again = Band().score(both, mixed, expected).score
    np.testing.assert_array_equal(again[:3], scores[[2, 0, 1]])
    assert np.isnan(again[3]).all()


def test_a_forecast_on_another_grid_is_refused(both: Baselines, week) -> None:
    values, expected = week
    with pytest.raises(ValueError, match="expected must be on the panel's grid"):
        Band().score(both, panel_of(values), expected[:, 1:])


def test_baselines_are_plain_arrays(both: Baselines) -> None:
    assert all(type(a) is np.ndarray and a.dtype != object for a in both.arrays.values())
    assert {len(a) for a in both.arrays.values()} == {4}


@pytest.mark.parametrize(
    ("key", "value"),
    [("alerts_per_month", 0), ("hold_h", -1), ("due_share", 2), ("persistence_steps", 0)],
)
def test_knobs_that_mean_nothing_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        BandParams(**{key: value})


def test_a_series_that_often_has_short_gaps_is_not_missing_by_one_more() -> None:
    values, expected = world(2, 5, seed=4)
    rng = np.random.default_rng(4)
    for begin in rng.integers(0, 5 * WEEK - 10, 400):
        values[0, begin : begin + 5] = np.nan
    values[:, 4 * WEEK + 1000 : 4 * WEEK + 1030] = np.nan
    band, half = Band(), 4 * WEEK
    learned = band.fit(panel_of(values[:, :half]), expected[:, :half])
    reason = band.score(learned, panel_of(values[:, half:], half), expected[:, half:]).reason
    missing = reason == Reason.MISSING
    assert not missing[0, :1000].any()
    assert missing[0, 1024:1030].all()
    assert missing[1, 1002:1030].all()
