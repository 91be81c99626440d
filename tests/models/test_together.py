from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.signals import Signals
from models.base import Baselines
from models.detection_measures import vus_pr
from models.together import TOP, Together, TogetherParams, TogetherScores, together_text

MONDAY = pd.Timestamp("2026-05-04", tz="UTC")
STEP = pd.Timedelta("5min")
MONTH_STEPS = int(pd.Timedelta(days=365.25 / 12) / STEP)


def signals_of(values: np.ndarray, step: pd.Timedelta = STEP) -> Signals:
    workloads = [f"c/n/D/w{i:03d}" for i in range(len(values))]
    names = [f"s{j:02d}" for j in range(values.shape[2])]
    return Signals(workloads, names, MONDAY, step, np.array(values, dtype=np.float64))


def from_step(signals: Signals, first: int, last: int | None = None) -> Signals:
    start = signals.start + first * signals.step
    return replace(signals, start=start, values=signals.values[:, first:last])


def servers(n: int, steps: int, width: int = 6, seed: int = 0) -> np.ndarray:
    """One factor that all signals follow, slow as load is, and noise of their own."""
    rng = np.random.default_rng(seed)
    factor = slow(rng, (n, steps, 1))
    return factor * rng.uniform(0.5, 2, (n, 1, width)) + 0.3 * rng.normal(size=(n, steps, width))


def slow(rng: np.random.Generator, shape: tuple[int, ...], keep: float = 0.9) -> np.ndarray:
    out = rng.normal(size=shape)
    for t in range(1, shape[1]):
        out[:, t] = keep * out[:, t - 1] + np.sqrt(1 - keep**2) * out[:, t]
    return out


def learn_and_score(signals: Signals, train: int) -> tuple[Baselines, TogetherScores]:
    detector = Together(TogetherParams(alerts_per_month=1.0))
    baselines = detector.fit(from_step(signals, 0, train))
    return baselines, detector.score(baselines, signals)


@pytest.fixture(scope="module")
def few() -> tuple[Signals, Baselines]:
    signals = signals_of(servers(5, 2016))
    return signals, Together().fit(signals)


def test_scores_do_not_change_with_units_or_origins(few) -> None:
    signals, baselines = few
    rng = np.random.default_rng(1)
    factor = rng.choice([-1.0, 1.0], 6) * 10.0 ** rng.uniform(-4, 9, 6)
    other = replace(signals, values=signals.values * factor + factor * rng.normal(0, 100, 6))
    before = Together().score(baselines, signals).score
    after = Together().score(Together().fit(other), other).score
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_scores_do_not_change_with_the_order_of_the_signals(few) -> None:
    signals, _ = few
    loud = Together(TogetherParams(alerts_per_month=5.0))
    order = np.array([3, 0, 5, 1, 4, 2])
    other = replace(signals, values=signals.values[:, :, order])
    before = loud.score(loud.fit(signals), signals)
    after = loud.score(loud.fit(other), other)
    np.testing.assert_allclose(after.score, before.score, rtol=1e-4, atol=1e-5)
    assert len(before.points)
    assert np.array_equal(after.points, before.points)
    np.testing.assert_array_equal(order[after.top[:, 0]], before.top[:, 0])


def test_a_workload_does_not_depend_on_its_company(few) -> None:
    signals, together = few
    wider = np.full((5, 2016, 9), np.nan)
    wider[:, :, :6] = signals.values
    wider[1:, :, 6:] = servers(4, 2016, 3, seed=9)
    company = Together().score(Together().fit(signals_of(wider)), signals_of(wider))
    alone = replace(signals, workloads=signals.workloads[:1], values=signals.values[:1])
    np.testing.assert_allclose(
        company.score[0], Together().score(together, alone).score[0], rtol=1e-9, atol=1e-9
    )
    np.testing.assert_array_equal(
        Together().score(Together().fit(alone), alone).score,
        Together().score(together, alone).score,
    )


@pytest.mark.parametrize("minutes", [0, 12, 30, 47.5, 120])
@pytest.mark.parametrize("step", ["1min", "5min", "1h"])
def test_a_window_with_its_context_scores_as_the_whole_does(minutes: float, step: str) -> None:
    values = servers(2, 900)  # longer than any context
    values[0, 40:47] = values[1, 700:, 2] = np.nan
    signals = signals_of(values, pd.Timedelta(step))
    detector = Together(TogetherParams(smoothing_min=minutes))
    baselines = detector.fit(signals)
    whole = detector.score(baselines, signals).score
    back = int(np.ceil(detector.context / signals.step))
    for first in (back, back + 60, 899):
        part = detector.score(baselines, from_step(signals, first - back)).score
        np.testing.assert_allclose(part[:, back:], whole[:, first:], atol=1e-9, equal_nan=True)


def test_a_score_does_not_see_its_future(few) -> None:
    signals, baselines = few
    later = signals.values.copy()
    later[:, 1000:] = 50.0
    told = Together().score(baselines, replace(signals, values=later)).score
    whole = Together().score(baselines, signals).score
    np.testing.assert_array_equal(told[:, :1000], whole[:, :1000])


def test_a_clean_month_alarms_about_as_often_as_the_budget_says() -> None:
    train, n = 8064, 40
    baselines, said = learn_and_score(signals_of(servers(n, train + MONTH_STEPS, 5)), train)
    assert (baselines.arrays["verdict"] == 0).all()
    high = said.score[:, train:] >= 1
    held = high[:, 1:] & high[:, :-1]
    quiet = int(pd.Timedelta(hours=1) / STEP)
    events = sum(1 + int((np.diff(np.flatnonzero(row)) > quiet).sum()) for row in held if row.any())
    assert 0.5 <= events / n <= 2.0


def test_signals_that_part_ways_are_found_though_each_stays_in_its_band() -> None:
    train, steps = 4032, 4500
    rng = np.random.default_rng(3)
    load = slow(rng, (8, steps, 1))
    values = load + 0.15 * rng.normal(size=(8, steps, 5))
    gone = slice(4200, 4320)
    values[:, gone, 2] = slow(rng, (8, 120, 1))[:, :, 0]  # its own way, as far as ever
    _, said = learn_and_score(signals_of(values), train)
    usual = np.abs(values[:, :train]).max(axis=1, keepdims=True)
    assert (np.abs(values[:, gone]) <= usual).mean() > 0.999
    assert ((said.score[:, gone] >= 1).sum(axis=1) >= 12).all()
    inside = (said.points[:, 1] >= 4200) & (said.points[:, 1] < 4320)
    assert (said.top[inside, 0] == 2).mean() > 0.95


def test_what_is_named_is_what_moved() -> None:
    values = servers(4, 2100)
    values[0, 2050:2070, 4] += 6
    signals = signals_of(values)
    _, said = learn_and_score(signals, 2016)
    mine = (said.points[:, 0] == 0) & (said.points[:, 1] >= 2052) & (said.points[:, 1] < 2070)
    assert mine.sum() >= 15
    assert (said.top[mine, 0] == 4).all()
    assert (said.off[mine, 0] > 0).all()
    assert (said.share[mine, 0] > 0.5).all()
    assert said.top.shape[1] == TOP
    words = together_text(signals, said)
    assert len(words) == len(said.points)
    assert words[int(np.flatnonzero(mine)[0])].startswith("moves unlike before: s04 ")


@pytest.mark.parametrize("level", [0.0, 3.0, -1e6])
def test_a_constant_that_moves_adds_to_the_score(few, level: float) -> None:
    signals, _ = few
    values = np.concatenate([signals.values, np.full((5, 2016, 1), level)], axis=2)
    baselines = Together().fit(signals_of(values))
    still = Together().score(baselines, signals_of(values)).raw
    values[:, 1000:1010, 6] += max(abs(level), 1.0)
    moved = Together().score(baselines, signals_of(values)).raw
    assert (moved[:, 1004:1010] ** 2 > still[:, 1004:1010] ** 2 + 40).all()
    np.testing.assert_array_equal(moved[:, :1000], still[:, :1000])


def test_an_incident_in_training_does_not_widen_the_scales() -> None:
    values = servers(1, 4032)
    clean = Together().fit(signals_of(values))
    values[0, 500:530, 1] += 1e6
    marred = Together().fit(signals_of(values))
    np.testing.assert_allclose(marred.arrays["scale"], clean.arrays["scale"], rtol=0.25)


def test_rare_events_have_a_scale_that_is_theirs() -> None:
    values = servers(1, 4032)
    values[0, :, 5] = np.arange(4032) % 500 == 0
    scale = Together().fit(signals_of(values)).arrays["scale"][0, 5]
    assert scale == pytest.approx(np.sqrt(9 / 4032))


def test_missing_cells_count_as_usual_and_missing_rows_have_no_score(few) -> None:
    signals, baselines = few
    values = signals.values.copy()
    values[0, 100:110] = np.nan
    values[1, 300:310, :3] = np.nan
    said = Together().score(baselines, replace(signals, values=values))
    assert np.isnan(said.score[0, 100:110]).all()
    assert np.isfinite(said.score[0, 110:]).all()
    assert np.isfinite(said.score[1]).all()


def test_signals_are_matched_by_name(few) -> None:
    signals, baselines = few
    order = [5, 2, 0, 1, 3]  # the fifth is gone, one is new
    extra = np.full((5, 2016, 1), 1e9)
    other = replace(
        signals,
        workloads=["c/n/D/new", *signals.workloads[1:]],
        names=[*(signals.names[j] for j in order), "zz"],
        values=np.concatenate([signals.values[:, :, order], extra], axis=2),
    )
    said = Together().score(baselines, other)
    gone = signals.values.copy()
    gone[:, :, 4] = np.nan
    expected = Together().score(baselines, replace(signals, values=gone)).score
    assert np.isnan(said.score[0]).all()
    np.testing.assert_allclose(said.score[1:], expected[1:], atol=1e-9)


def test_without_three_signals_that_vary_or_enough_rows_there_is_a_verdict_and_no_score() -> None:
    values = servers(5, 600, 5)
    values[0, :, 2:] = np.nan
    values[1, :, 2:] = 7.0
    values[2, 90:] = np.nan
    values[3] = np.nan
    signals = signals_of(values)
    baselines = Together().fit(signals)
    verdicts = [baselines.meta["verdicts"][v] for v in baselines.arrays["verdict"]]
    few, thin = "too few signals that vary", "too few rows"
    assert verdicts == [few, few, thin, thin, "fitted"]
    score = Together().score(baselines, signals).score
    assert np.isnan(score[:4]).all()
    assert np.isfinite(score[4]).all()


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(
        np.float64,
        st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 7, 120]), st.integers(0, 5)),
        elements=st.sampled_from([0.0, 1.0, -1.0, 1e-12, 1e15, -1e15, 1e100, np.nan, 3.5]),
    ),
    step=st.sampled_from(["1min", "5min", "1D"]),
)
def test_any_input_gives_scores_of_at_least_zero_or_nothing(values: np.ndarray, step: str) -> None:
    signals = signals_of(values, pd.Timedelta(step))
    detector = Together(TogetherParams(minimum_rows=50))
    said = detector.score(detector.fit(signals), signals)
    assert said.score.shape == values.shape[:2]
    known = said.score[~np.isnan(said.score)]
    assert np.isfinite(known).all()
    assert (known >= 0).all()
    assert len(together_text(signals, said)) == len(said.points)


def test_one_wild_value_is_no_crash_and_is_seen(few) -> None:
    signals, _ = few
    values = signals.values.copy()
    values[0, 1500:1506, 3] = 1e100
    said = Together().score(Together().fit(replace(signals, values=values)), signals_of(values))
    assert np.isfinite(said.score).all()
    assert said.raw[0, 1505] > 4 * np.median(said.raw[0])


def test_a_baseline_is_small() -> None:
    arrays_ = Together().fit(signals_of(servers(3, 300, 36))).arrays
    assert sum(a.nbytes for a in arrays_.values()) / 3 < 4096


@pytest.mark.parametrize(
    "knobs",
    [
        {"smoothing_min": -1.0},
        {"shrinkage": 0.0},
        {"shrinkage": 1.5},
        {"clip": 0.5},
        {"alerts_per_month": 0.0},
        {"persistence_steps": 0},
        {"minimum_rows": 10},
        {"minimum_signals": 0},
    ],
)
def test_knobs_that_mean_nothing_are_refused_by_name(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(knobs))):
        TogetherParams(**knobs)


SERVERS = Path(__file__).parents[3] / "shared/data/servers_asd.parquet"


def reconstruction_errors(values: np.ndarray, train: int) -> np.ndarray:
    """What a PCA that keeps 90 % of the training variance cannot rebuild, smoothed over 30 min."""
    spread = values[:train].std(axis=0)
    z = (values - values[:train].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    size, axes = np.linalg.eigh(np.cov(z[:train].T))
    rest = axes[:, np.cumsum(size) <= 0.1 * size.sum()]
    return pd.Series(((z @ rest) ** 2).sum(axis=1)).ewm(span=6, adjust=False).mean().to_numpy()


@pytest.mark.skipif(not SERVERS.exists(), reason="shared data is not here")
def test_real_servers_are_ranked_better_than_by_pca() -> None:
    labels = pd.read_csv(SERVERS.parent / "labels/servers_asd.csv", parse_dates=["start", "end"])
    samples = pd.read_parquet(SERVERS)
    train = 30 * 288
    for name, own in samples.groupby("name", observed=True):
        table = own.pivot_table(index="ts", columns="metric", values="value", observed=True)
        values = table.to_numpy()
        usual = np.median(values[:train].reshape(-1, 288, values.shape[1]), axis=0)
        away = values - usual[np.arange(len(values)) % 288]
        _, said = learn_and_score(signals_of(away[None]), train)
        odd = np.zeros(len(table), dtype=bool)
        for row in labels[labels["name"] == name].itertuples():
            odd |= (table.index >= row.start) & (table.index <= row.end)
        ours = vus_pr(odd[train:], said.score[0, train:], 24)
        assert ours > 1.5 * vus_pr(odd[train:], reconstruction_errors(values, train)[train:], 24)
        assert (said.score[0, train:][~odd[train:]] >= 1).mean() < 0.01
