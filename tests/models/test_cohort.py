from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.panel import Floats, Panel
from models.base import Forecaster
from models.cohort import CohortParams, cohort_profiles
from models.seasonal_naive import (
    CONFIDENCE,
    SeasonalDay,
    SeasonalMedian,
    SeasonalNaive,
    SeasonalNaiveParams,
    SeasonalPeak,
)

START = pd.Timestamp("2026-05-04 05:00", tz="UTC").as_unit("ms")
HOUR = pd.Timedelta(3600, "s")
WEEK = 168
QUANTILES = (0.01, 0.05, 0.5, 0.9, 0.95, 0.99)
MODELS: tuple[Forecaster, ...] = (
    SeasonalNaive(),
    SeasonalMedian(),
    SeasonalDay(),
    SeasonalPeak(),
)

every = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)


def panel(
    values: Floats, step: pd.Timedelta = HOUR, where: str | list[str] = "c/n", metric: str = "x"
) -> Panel:
    where = [where] * len(values) if isinstance(where, str) else where
    workloads = [f"{w}/Deployment/w{i:03d}" for i, w in enumerate(where)]
    return Panel(pd.DataFrame({"workload": workloads, "metric": metric}), START, step, values)


def shape(hours: Floats) -> Floats:
    """A day of mean 1, at hours of the panel."""
    return 1 + 0.6 * np.sin(2 * np.pi * (hours + START.hour) / 24)


def donors(n: int, n_steps: int, noise: float = 0.05, step_h: float = 1.0, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    level = rng.uniform(1, 1000, (n, 1))
    return level * shape(np.arange(n_steps) * step_h) * rng.lognormal(0, noise, (n, n_steps))


def aged(values: Floats, *last: int) -> Floats:
    """The first rows cut to their last so many steps."""
    out = values.copy()
    for i, n in enumerate(last):
        out[i, : out.shape[1] - n] = np.nan
    return out


def confidence(model: Forecaster, p: Panel) -> list[str]:
    return [CONFIDENCE[code] for code in model.fit(p).arrays["confidence"]]


def test_the_ladder_by_length_of_history():
    values = aged(donors(12, 3 * WEEK), 0, 1, 5, 23, 24, 60, 8 * 24, 3 * WEEK)
    told = ["none", "cohort", "cohort", "cohort", "day", "day", "week", "week"]
    for model in MODELS:
        assert confidence(model, panel(values))[:8] == [
            "day" if model.name == "seasonal_day" and step == "week" else step for step in told
        ]


@every
def test_without_similar_workloads_the_young_are_flat(model: Forecaster):
    """Two donors are no cohort, nor are many of another metric."""
    values = aged(donors(3, 3 * WEEK), 5)
    other = panel(donors(5, 3 * WEEK), metric="y")
    p = panel(values)
    both = replace(
        p, keys=pd.concat([p.keys, other.keys], ignore_index=True),
        values=np.vstack([values, other.values]),
    )  # fmt: skip
    assert confidence(model, both)[0] == "flat"
    point = model.predict(model.fit(both), p.end, 24, [0.5])[0, 0]
    known = values[0, -5:]
    assert (point >= known.min()).all()
    assert (point <= known.max()).all()


@every
def test_one_hole_in_a_week_leaves_it_a_week(model: Forecaster):
    values = donors(2, 3 * WEEK)
    values[0, -WEEK + 5] = np.nan
    values[1, 5::24] = np.nan
    assert set(confidence(model, panel(values))) == {
        "day" if model.name == "seasonal_day" else "week"
    }


@every
@pytest.mark.parametrize("step_h", [1 / 12, 1.0, 3.0])
@pytest.mark.parametrize("seen_h", [3, 15])
def test_a_young_copy_at_three_times_the_size_is_forecast_at_three_times(
    model: Forecaster, step_h: float, seen_h: int
):
    step = pd.Timedelta(round(3600 * step_h), "s")
    n_steps, week = round(2 * WEEK / step_h), round(WEEK / step_h)
    hours = np.arange(n_steps + week) * step_h
    truth = shape(hours)
    values = np.vstack([3 * truth, truth, truth, truth])
    p = panel(aged(values[:, :n_steps], round(seen_h / step_h)), step)
    assert confidence(model, p)[0] == "cohort"
    low, point, high = model.predict(model.fit(p), p.end, week, [0.05, 0.5, 0.95])[:, 0]
    np.testing.assert_allclose(point, 3 * truth[n_steps:], rtol=0.03 if step_h < 1 else 1e-9)
    assert ((high - low) > 0.1 * point).all()


def test_the_middle_of_the_cohort_is_not_moved_by_one_odd_donor():
    values = donors(6, 2 * WEEK, noise=0.0)
    values[1] = values[1][::-1] ** 3
    p = panel(aged(values, 6))
    got = SeasonalNaive().predict(SeasonalNaive().fit(p), p.end, WEEK, [0.5])[0, 0]
    expected = (
        values[0, -1] / shape(np.array([2.0 * WEEK - 1])) * shape(2.0 * WEEK + np.arange(WEEK))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_the_own_namespace_comes_before_the_panel():
    near, far = donors(4, 2 * WEEK, noise=0.0), donors(4, 2 * WEEK, noise=0.0)
    far = far.mean() + 0 * far
    where = ["c/a"] * 4 + ["c/b"] * 4
    for young_in, flat in (("c/a", False), ("c/b", True)):
        values = aged(np.vstack([near[:1], near, far]), 4)
        p = panel(values, where=[young_in, *where])
        point = SeasonalNaive().predict(SeasonalNaive().fit(p), p.end, 24, [0.5])[0, 0]
        assert (np.ptp(point) < 1e-9 * point.max()) == flat


def test_too_few_in_the_namespace_ask_the_whole_panel():
    values = aged(donors(6, 2 * WEEK), 4)
    p = panel(values, where=["c/a", "c/a", "c/b", "c/b", "c/d", "other/a"])
    assert confidence(SeasonalNaive(), p)[0] == "cohort"


@every
def test_whoever_has_a_day_of_its_own_does_not_depend_on_the_panel(model: Forecaster):
    values = aged(donors(40, 3 * WEEK), 3, 10, 24, 100)
    p = panel(values)
    together = model.predict(model.fit(p), p.end, 48, QUANTILES)
    for i in (2, 3, 4, 39):
        alone = p.select(np.array([i]))
        assert (model.predict(model.fit(alone), p.end, 48, QUANTILES)[:, 0] == together[:, i]).all()


def test_a_young_series_does_not_depend_on_its_place_in_the_panel():
    p = panel(aged(donors(20, 2 * WEEK), 3, 7))
    back = np.arange(20)[::-1]
    model = SeasonalNaive()
    there = model.predict(model.fit(p), p.end, 48, QUANTILES)
    np.testing.assert_allclose(
        model.predict(model.fit(p.select(back)), p.end, 48, QUANTILES)[:, back], there, rtol=1e-12
    )


@every
@pytest.mark.parametrize("number", [1, 5])
def test_an_hour_of_history_never_looks_certain(model: Forecaster, number: int):
    """With a cohort and without one; also where all that was seen is zero, if others have load."""
    values = donors(number + 3, 2 * WEEK, noise=0.0)
    values[0] = 7.0
    values[1] = 0.0
    values[2] = -3.0
    p = panel(aged(values, 1, 1, 1))
    low, high = model.predict(model.fit(p), p.end, WEEK, [0.05, 0.95])
    width = (high - low)[:3]
    assert (width[[0, 2]] > 0.3).all()
    assert ((width[1] > 0) == (number >= 3)).all()


def test_bands_of_the_young_hold_what_then_comes():
    """Copies of one day at any size with noise: about nine of ten lie in the 5 to 95 % band."""
    n, seen = 150, 6
    values = donors(n, 3 * WEEK, noise=0.25, seed=4)
    p = panel(aged(values[:, : 2 * WEEK], *[seen] * (n // 2)))
    for model in (SeasonalNaive(), SeasonalMedian()):
        low, high = model.predict(model.fit(p), p.end, WEEK, [0.05, 0.95])[:, : n // 2]
        after = values[: n // 2, 2 * WEEK :]
        assert 0.85 < ((low <= after) & (after <= high)).mean() < 0.97


def test_donors_that_disagree_give_way_to_what_was_seen():
    """The cohort of workloads that peak at any hour is no help; of equal ones it is trusted."""
    rng = np.random.default_rng(5)
    n, seen = 24, 20
    odd = np.array([shape(np.arange(2 * WEEK) + rng.integers(24)) for _ in range(n)])
    even = donors(n, 2 * WEEK, noise=0.2)
    errors = []
    for values in (odd, even):
        p = panel(aged(values, seen))
        point = SeasonalNaive().predict(SeasonalNaive().fit(p), p.end, 24, [0.5])[0, 0]
        yesterday = values[0, -24:]
        errors.append(np.abs(point - yesterday)[4:].mean() / yesterday.mean())
    assert errors[0] < 0.02
    assert errors[1] > 0.1  # yesterday's noise is not repeated


def test_profiles_are_of_mean_one_and_peak_at_their_hour():
    p = panel(aged(donors(10, 2 * WEEK, noise=0.01), 3))
    found = cohort_profiles(p, np.array([0]), CohortParams())
    assert found.cohort.tolist() == [0]
    assert found.profile.mean() == pytest.approx(1, abs=0.01)
    assert found.profile[0].argmax() == 6
    assert found.usual[0] == pytest.approx(np.median(p.values[1:, -WEEK:].mean(axis=1)))


@every
@settings(max_examples=40, deadline=None)
@given(
    values=hnp.arrays(
        float,
        st.tuples(st.integers(1, 6), st.integers(1, 40)),
        elements=st.one_of(
            st.just(np.nan), st.floats(-1e15, 1e15), st.just(0.0), st.floats(0, 1.7e308)
        ),
    ),
    step_s=st.sampled_from([420, 3600, 18_000, 86_400, 172_800]),
    young=st.integers(1, 30),
)
def test_any_young_series_beside_any_others_has_a_finite_ordered_answer(
    model: Forecaster, values: Floats, step_s: int, young: int
):
    step = pd.Timedelta(step_s, "s")
    n_steps = max(5 * 86_400 // step_s, 40)
    whole = np.full((len(values) + 4, n_steps), np.nan)
    whole[: len(values), -values.shape[1] :] = values
    whole[: len(values), :-young] = np.nan
    whole[len(values) :] = donors(4, n_steps, step_h=step_s / 3600)
    p = panel(whole, step)
    out = model.predict(model.fit(p), p.end + step, 60, QUANTILES)
    known = np.isfinite(whole).any(axis=1)
    assert np.isfinite(out[:, known]).all()
    assert np.isnan(out[:, ~known]).all()
    assert (out[1:, known] >= out[:-1, known]).all()
    calm = known & ~(whole < 0).any(axis=1)
    assert (out[:, calm] >= 0).all()


@every
def test_one_point_is_enough_at_any_step(model: Forecaster):
    for step_s in (60, 420, 3600, 86_400, 172_800):
        for value in (0.0, 5.0, -5.0, 1e15):
            values = np.full((1, 20), np.nan)
            values[0, 7] = value
            p = panel(values, pd.Timedelta(step_s, "s"))
            out = model.predict(model.fit(p), p.end, 30, QUANTILES)
            assert (out[2] == value).all()
            assert (out[0] < out[-1]).all() == (value != 0.0)
            if step_s < 86_400:
                assert confidence(model, p) == ["flat"]


def test_wrong_knobs_are_refused():
    for knobs, key in (
        ({"minimum_donors": 0}, "minimum_donors"),
        ({"most_donors": 2}, "most_donors"),
        ({"donor_days": 1}, "donor_days"),
        ({"minimum_width_ratio": 0.0}, "minimum_width_ratio"),
    ):
        with pytest.raises(ValueError, match=key):
            CohortParams(**knobs)
    for knobs, key in (
        ({"peak_window_min": 0.0}, "peak_window_min"),
        ({"flat_width_ratio": -1.0}, "flat_width_ratio"),
    ):
        with pytest.raises(ValueError, match=key):
            SeasonalNaiveParams(**knobs)
