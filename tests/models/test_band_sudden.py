import numpy as np
import pandas as pd
import pytest

from features.panel import Panel
from models.band import Band, BandParams, Reason

MONDAY = pd.Timestamp("2026-05-04", tz="UTC")
STEP = pd.Timedelta("5min")
DAY, WEEK = 288, 2016
NO_GATES = BandParams(minimum_relative=0.0)


def panel_of(values: np.ndarray, first: int = 0) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/D/w{i:03d}" for i in range(len(values))], "metric": "m"}, dtype="str"
    )
    return Panel(keys, MONDAY + first * STEP, STEP, values)


def noise(n: int, steps: int, seed: int = 0) -> np.ndarray:
    return 100 + np.random.default_rng(seed).normal(size=(n, steps))


def judged(history: np.ndarray, after: np.ndarray, params: BandParams = NO_GATES):
    """Scores of what comes after the history, without any forecast."""
    whole = np.concatenate([history, after], axis=1)
    nothing = np.full(whole.shape, np.nan)
    band = Band(params)
    learned = band.fit(panel_of(history), nothing[:, : history.shape[1]])
    scores = band.score(learned, panel_of(whole), nothing)
    first = history.shape[1]
    return scores.score[:, first:], scores.reason[:, first:]


def test_a_step_of_a_young_series_without_a_forecast_is_seen_at_once() -> None:
    after = noise(1, DAY, 1)
    after[0, 100:] += 12.0
    score, _ = judged(noise(1, DAY), after)
    assert (score[0, :100] < 1).all()
    assert score[0, 100] >= 1


def test_a_shift_within_the_noise_is_seen_by_the_mean_of_hours() -> None:
    after = noise(20, DAY, 1)
    after[:, 100:] += 2.0  # sigmas: no single point shows it
    score, reason = judged(noise(20, 2 * WEEK), after)
    lasting = (reason == Reason.LASTING_ABOVE)[:, 100:136].any(axis=1)
    assert lasting.mean() > 0.8
    assert (score[:, 12:100] >= 1).mean() < 0.002


def test_a_spike_is_over_soon_after_it_is_over() -> None:
    after = noise(1, DAY, 1)
    after[0, 100:102] += 40.0
    score, _ = judged(noise(1, WEEK), after)
    assert (score[0, 100:102] >= 1).all()
    assert (score[0, 106:] < 1).all()


def test_coming_back_to_the_forecast_is_no_second_anomaly() -> None:
    after = noise(1, 2 * DAY, 1)
    after[0, 100:148] += 12.0  # four hours: most of what the level is the median of
    history = noise(1, 3 * WEEK)
    whole = np.concatenate([history, after], axis=1)
    expected = np.full(whole.shape, 100.0)
    band = Band(NO_GATES)
    learned = band.fit(panel_of(history), expected[:, : 3 * WEEK])
    score = band.score(learned, panel_of(whole), expected).score[0, 3 * WEEK :]
    assert (score[100:148] >= 1).all()
    assert (score[150:] < 1).all()


@pytest.mark.parametrize("at", [DAY + 5, DAY + 64, 2 * DAY - 30, 3 * DAY - 7])
def test_a_window_with_its_context_is_scored_like_the_whole(at: int) -> None:
    values = noise(6, 3 * DAY, 1)
    values[0, 60:] += 8.0  # shifts, gaps, spikes and silence that reach over the windows' edges
    values[1, DAY - 100 : DAY + 60] = np.nan
    values[2, DAY + 3 :] *= 1.5
    values[3, DAY + 60] = 300.0
    values[4, DAY + 20 :] = 0.0
    band = Band()
    learned = band.fit(panel_of(noise(6, 2 * WEEK)), np.full((6, 2 * WEEK), np.nan))
    expected = np.full(values.shape, 100.0)
    whole = band.score(learned, panel_of(values, 2 * WEEK), expected)
    first = max(at - int(band.context / STEP), 0)
    part = band.score(learned, panel_of(values[:, first:], 2 * WEEK + first), expected[:, first:])
    for name in ("score", "lower", "upper", "expected", "reason"):
        long, short = getattr(whole, name)[:, at:], getattr(part, name)[:, at - first :]
        np.testing.assert_allclose(short, long, rtol=1e-9, atol=1e-9, err_msg=name)


def test_levels_that_are_learned_and_left_need_no_more_past_than_the_context() -> None:
    rng = np.random.default_rng(0)
    values = noise(60, 4 * DAY, 2)
    for row in values:
        for _ in range(4):
            at, lasting = rng.integers(0, 4 * DAY), rng.integers(6, 2 * DAY)
            row[at : at + lasting] *= rng.choice([0.0, 0.5, 2.0, np.nan])
    expected = np.full(values.shape, 100.0)
    band = Band()
    history = noise(60, 2 * WEEK)
    learned = band.fit(panel_of(history), np.full(history.shape, 100.0))
    whole = band.score(learned, panel_of(values, 2 * WEEK), expected).score
    assert (whole >= 1).any()
    for at in range(2 * DAY, 4 * DAY, 72):
        first = at - round(band.context / STEP)
        piece = panel_of(values[:, first:], 2 * WEEK + first)
        part = band.score(learned, piece, expected[:, first:]).score
        np.testing.assert_allclose(part[:, at - first :], whole[:, at:], rtol=1e-9, atol=1e-9)


def test_a_forecast_that_knows_nothing_is_not_used_and_one_that_knows_is() -> None:
    rng = np.random.default_rng(3)
    wave = 100 + 50 * np.sin(np.arange(2 * WEEK) * 2 * np.pi / DAY)
    values = np.stack([wave, np.full(2 * WEEK, 100.0)]) + rng.normal(size=(2, 2 * WEEK))
    expected = np.stack([wave, 100 + 5 * rng.normal(size=2 * WEEK)])
    learned = Band().fit(panel_of(values), expected)
    assert learned.arrays["informed"].tolist() == [True, False]


def test_what_is_missing_for_long_is_known_to_be_gone() -> None:
    after = np.full((1, 2 * DAY), np.nan)
    params = BandParams(hold_h=6.0)
    score, reason = judged(noise(1, 2 * WEEK), after, params)
    missing = reason[0] == Reason.MISSING
    assert missing[params.missing_steps : 71].all()
    assert not missing[73:].any()
    assert np.isnan(score[0, 73:]).all()


def test_clean_series_alarm_seldom() -> None:
    score, _ = judged(noise(40, 4 * WEEK), noise(40, 4 * WEEK, 1))
    hot = score >= 1
    starts = (hot[:, 1:] & ~hot[:, :-1]).sum()
    assert 0 < starts <= 2 * 40
