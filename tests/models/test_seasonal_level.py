from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.panel import Floats, Panel
from models.seasonal_level import SeasonalLevel, SeasonalLevelParams
from models.seasonal_naive import SeasonalMedian

START = pd.Timestamp("2026-03-02", tz="UTC")
WEEK = 168
MODEL = SeasonalLevel()
QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)


def panel(*rows: Floats, step: str = "1h") -> Panel:
    keys = pd.DataFrame({"workload": [f"w{i}" for i in range(len(rows))], "metric": "m"})
    return Panel(keys.astype("str"), START, pd.Timedelta(step), np.array(rows, dtype=float))


def ahead(
    *rows: Floats, model: SeasonalLevel = MODEL, step: str = "1h", n_steps: int = WEEK
) -> Floats:
    """The median, (n_series, n_steps)."""
    history = panel(*rows, step=step)
    return model.predict(model.fit(history), history.end, n_steps, (0.5,))[0]


def week_of(per_hour: int = 1) -> Floats:
    """One week without noise: days differ, weekends are quiet, midday is steep."""
    hour = np.arange(WEEK * per_hour) / per_hour
    day = 100 + 60 * np.sin(2 * np.pi * (hour - 8) / 24) + 20 * np.sin(2 * np.pi * hour / 12)
    return day * np.where(hour // 24 < 5, 1 + hour // 24 / 10, 0.4)


def weeks(n: int, noise: float = 0.0, seed: int = 0, per_hour: int = 1) -> Floats:
    every = np.tile(week_of(per_hour), n)
    return every * np.random.default_rng(seed).lognormal(0, noise, len(every))


# ---- the shape


@pytest.mark.parametrize("per_hour", [1, 4, 12])
@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_week_that_repeats_itself_comes_again(n: int, per_hour: int):
    step = f"{60 // per_hour}min"
    got = ahead(weeks(n, per_hour=per_hour), step=step, n_steps=2 * WEEK * per_hour)
    np.testing.assert_allclose(got[0], np.tile(week_of(per_hour), 2), rtol=1e-9)


@settings(max_examples=25)
@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
def test_a_series_in_another_unit_has_the_forecast_in_that_unit(factor: float, seed: int):
    plain = weeks(5, 0.2, seed)
    plain[100:140] = np.nan
    np.testing.assert_allclose(ahead(plain * factor), ahead(plain) * factor, rtol=1e-9)


@settings(max_examples=25)
@given(shift=st.floats(-1000, -700), seed=st.integers(0, 99))
def test_where_values_are_negative_the_zero_does_not_matter(shift: float, seed: int):
    plain = weeks(5, 0.2, seed) - 700
    assert plain.min() < 0
    np.testing.assert_allclose(ahead(plain + shift), ahead(plain) + shift, rtol=1e-9)


def test_without_believing_in_levels_it_is_the_median_of_the_weeks():
    history = panel(weeks(4, 0.3), weeks(4, 0.1, 1))
    stubborn = SeasonalLevel(SeasonalLevelParams(seasons=4, damping=0.0))
    median = SeasonalMedian()
    got, usual = (m.predict(m.fit(history), history.end, WEEK, (0.5,)) for m in (stubborn, median))
    np.testing.assert_allclose(got, usual, rtol=1e-12)


# ---- the height

BELIEF = st.floats(0, 1)
FACTOR = st.floats(0.3, 3.0)


@settings(max_examples=40)
@given(damping=BELIEF, factor=FACTOR)
def test_of_a_new_level_the_damped_share_is_believed_twice(damping: float, factor: float):
    """Once where the weeks are brought to the newest one, once where the last days are compared."""
    model = SeasonalLevel(SeasonalLevelParams(damping=damping))
    grown = weeks(6)
    grown[-WEEK:] *= factor
    believed = factor ** (1 - (1 - damping) ** 2)
    np.testing.assert_allclose(ahead(grown, model=model)[0], week_of() * believed, rtol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_more_is_believed_the_further_it_moves(factor: float):
    grown = weeks(6, 0.1)
    grown[-WEEK:] *= factor
    told = [
        ahead(grown, model=SeasonalLevel(SeasonalLevelParams(damping=d))).mean()
        for d in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert (np.diff(told) * np.sign(factor - 1) > 0).all()
    assert told[-1] == pytest.approx(week_of().mean() * factor, rel=0.05)


def test_a_shift_moves_what_can_be_negative():
    low = weeks(6) - 150
    low[-WEEK:] -= 40
    np.testing.assert_allclose(ahead(low)[0], week_of() - 150 - 40 * (1 - 0.25**2), rtol=1e-6)


def test_who_looks_at_few_days_follows_sooner():
    grown = weeks(6)
    grown[-48:] *= 2
    slow, fast = (
        ahead(grown, model=SeasonalLevel(SeasonalLevelParams(recent_h=h))).mean()
        for h in (168.0, 48.0)
    )
    assert slow < 1.1 * week_of().mean()
    assert fast > 1.5 * week_of().mean()


@pytest.mark.parametrize("day", range(7))
@pytest.mark.parametrize("factor", [0.0, 10.0])
def test_an_incident_of_a_day_hardly_moves_it(day: int, factor: float):
    plain = weeks(6, 0.05)
    hit = plain.copy()
    hit[-WEEK + day * 24 :][:24] *= factor
    got, usual = ahead(hit)[0], ahead(plain)[0]
    assert np.abs(got - usual).sum() < 0.06 * usual.sum()


def test_an_outage_or_a_new_workload_is_no_level():
    grown = weeks(6)
    grown[-WEEK:] *= 1e6
    model = SeasonalLevel(SeasonalLevelParams(damping=1.0, seasons=5))
    assert ahead(grown, model=model).max() <= 25.01 * week_of().max()  # 5 by 5 at the most


# ---- between the hours


def test_an_hour_or_more_is_never_averaged():
    noisy = weeks(4, 0.4)
    for step, every in (("1h", 1), ("2h", 2), ("1D", 24)):
        rows = noisy[::every]
        model = SeasonalLevel(SeasonalLevelParams(seasons=4, damping=0.0))
        got = ahead(rows, model=model, step=step, n_steps=len(rows) // 4)[0]
        expected = np.median(rows.reshape(4, -1), axis=0)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_noise_between_the_minutes_is_averaged_and_comes_nearer_to_what_will_be():
    per_hour, truth = 12, week_of(12)
    noisy = weeks(5, 0.3, 4, per_hour)
    model = SeasonalLevel(SeasonalLevelParams(seasons=5, damping=0.0))
    got = ahead(noisy, model=model, step="5min", n_steps=len(truth))[0]
    raw = np.median(noisy.reshape(5, -1), axis=0)
    assert np.abs(got - truth).sum() < 0.6 * np.abs(raw - truth).sum()
    assert np.abs(np.diff(got)).sum() < 0.4 * np.abs(np.diff(raw)).sum()


def test_a_job_on_the_hour_is_not_averaged_away():
    job = np.tile(np.where(np.arange(WEEK * 12) % 12 == 0, 100.0, 1.0), 4)
    got = ahead(job, step="5min", n_steps=WEEK * 12)[0]
    np.testing.assert_allclose(got, job[: WEEK * 12], rtol=1e-9)


# ---- any history


def test_one_week_has_no_shape():
    short, none = weeks(1), np.full(WEEK * 3, np.nan)
    assert np.isnan(ahead(short)).all()
    assert np.isnan(ahead(none)).all()
    assert np.isfinite(ahead(np.append(weeks(1), 5.0))).all()


def test_gaps_are_filled_from_other_weeks():
    holes = weeks(5)
    holes[-WEEK:][30:60] = np.nan
    holes[WEEK : 2 * WEEK] = np.nan
    np.testing.assert_allclose(ahead(holes)[0], week_of(), rtol=1e-9)


def test_what_else_is_in_the_panel_changes_nothing():
    rows = [weeks(4, 0.3, s) for s in range(5)]
    rows[2][:] = np.nan
    rows[3] -= 500
    together = ahead(*rows)
    for row, told in zip(rows, together, strict=True):
        np.testing.assert_array_equal(ahead(row)[0], told)


ODD = st.sampled_from([np.nan, 0.0, 0.0, 1.0, 7.0, 1e15, 1e-300, -3.0, -1e15])


@settings(max_examples=50)
@given(
    values=arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 60)), elements=ODD),
    step=st.sampled_from(["5h", "6h", "12h", "1D"]),
)
def test_any_history_has_an_ordered_answer_or_none(values: Floats, step: str):
    history = panel(*values, step=step)
    fitted = MODEL.fit(history)
    got = MODEL.predict(fitted, history.end, 40, QUANTILES)
    known = np.isfinite(got)
    assert (known.all(axis=(0, 2)) | ~known.any(axis=(0, 2))).all()
    told = got[:, known.all(axis=(0, 2))]
    assert (told[1:] >= told[:-1]).all()
    never_below = np.fmin.reduce(values, axis=1, initial=np.inf) >= 0
    assert (got[:, never_below & known.all(axis=(0, 2))] >= 0).all()
    later = MODEL.predict(fitted, history.end + 3 * history.step, 37, QUANTILES)
    np.testing.assert_array_equal(later, got[:, :, 3:])


@pytest.mark.parametrize(
    ("key", "value"), [("seasons", 0), ("recent_h", 0.0), ("recent_h", np.inf), ("damping", 1.1)]
)
def test_params_that_look_nowhere_are_refused(key: str, value: float):
    with pytest.raises(ValueError, match=key):
        replace(SeasonalLevelParams(), **{key: value})
