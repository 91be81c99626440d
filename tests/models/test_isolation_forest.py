from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest as Reference
from sklearn.metrics import roc_auc_score

from features.panel import Panel
from features.signals import Signals
from models.band import Band
from models.base import Baselines
from models.forest_codes import LEAF
from models.isolation_forest import TOP, IsolationForest, IsolationForestParams, contributions_text

MONDAY = pd.Timestamp("2026-05-04", tz="UTC")
STEP = pd.Timedelta("5min")


def signals_of(values: np.ndarray) -> Signals:
    workloads = [f"c/n/D/w{i:03d}" for i in range(len(values))]
    names = [f"s{j:02d}" for j in range(values.shape[2])]
    return Signals(workloads, names, MONDAY, STEP, values)


def gauss(n: int, steps: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, steps, width))


@pytest.fixture(scope="module")
def few() -> tuple[Signals, Baselines]:
    signals = signals_of(gauss(6, 2016, 5))
    return signals, IsolationForest().fit(signals)


def test_raw_scores_are_as_close_to_scikit_learn_as_its_own_seeds_are() -> None:
    rows = gauss(1, 1500, 6, 1)
    rows[0, :20] += 3 * gauss(1, 20, 6, 2)[0]
    truth = np.arange(1500) < 20
    x = rows[0].astype(np.float32)
    theirs = [-Reference(random_state=s).fit(x).score_samples(x) for s in range(5)]
    signals = signals_of(rows)
    forests = [IsolationForest(IsolationForestParams(seed=s)) for s in range(5)]
    ours = [f.score(f.fit(signals), signals).raw[0] for f in forests]
    among = [np.abs(a - b).mean() for i, a in enumerate(theirs) for b in theirs[i + 1 :]]
    between = [np.abs(a - b).mean() for a in theirs for b in ours]
    assert np.mean(between) < 1.5 * np.mean(among)
    auc = [np.mean([roc_auc_score(truth, s) for s in scores]) for scores in (theirs, ours)]
    assert auc[0] == pytest.approx(auc[1], abs=0.01)


def test_few_rows_and_shallow_trees_agree_with_scikit_learn_too() -> None:
    rows = gauss(40, 100, 3, 3)[:1].repeat(40, axis=0)
    params = IsolationForestParams(subsample=60, minimum_rows=50)
    signals = signals_of(rows)
    ours = IsolationForest(params).score(IsolationForest(params).fit(signals), signals).raw
    x = rows[0].astype(np.float32)
    theirs = [-Reference(max_samples=60, random_state=s).fit(x).score_samples(x) for s in range(10)]
    np.testing.assert_allclose(ours.mean(axis=0), np.mean(theirs, axis=0), atol=0.02)


def test_a_forest_does_not_depend_on_its_company(few) -> None:
    signals, together = few
    rows = np.array([4, 1])
    some = replace(
        signals, workloads=[signals.workloads[i] for i in rows], values=signals.values[rows]
    )
    alone = IsolationForest().fit(some)
    for name, array in alone.arrays.items():
        np.testing.assert_array_equal(array, together.arrays[name][rows])
    np.testing.assert_array_equal(
        IsolationForest().score(alone, some).score,
        IsolationForest().score(together, signals).score[rows],
    )


def test_the_seed_decides(few) -> None:
    signals, baselines = few
    again = IsolationForest().fit(signals)
    other = IsolationForest(IsolationForestParams(seed=1)).fit(signals)
    np.testing.assert_array_equal(again.arrays["threshold"], baselines.arrays["threshold"])
    assert (other.arrays["threshold"] != baselines.arrays["threshold"]).any()


def test_a_clean_month_alarms_at_most_a_few_times() -> None:
    values = gauss(10, 16128, 4, 4)
    forest = IsolationForest()
    baselines = forest.fit(signals_of(values[:, :8064]))
    hot = forest.score(baselines, signals_of(values[:, 8064:])).score >= 1
    held = hot[:, 1:] & hot[:, :-1]
    assert (held[:, 1:] & ~held[:, :-1]).sum() <= 3 * 10


def test_planted_anomalies_score_higher_than_anything_clean(few) -> None:
    _, baselines = few
    later = gauss(6, 288, 5, 5)
    later[:, 100:106] = 8.0
    later[:, 100:106, 2] = 12.0
    scores = IsolationForest().score(baselines, signals_of(later))
    assert (scores.score[:, 100:106] > 1).all()
    clean = np.delete(scores.score, np.s_[100:106], axis=1)
    assert (scores.score[:, 100:106].min(axis=1) > clean.max(axis=1)).all()


def test_the_signal_that_is_off_is_named() -> None:
    values = gauss(3, 2016, 1, 6).repeat(3, axis=2) + 0.1 * gauss(3, 2016, 3, 7)
    forest = IsolationForest(IsolationForestParams(alerts_per_month=50))
    baselines = forest.fit(signals_of(values))
    later = values[:, :288].copy()
    later[:, 50:60, 1] = 30.0
    scores = forest.score(baselines, signals_of(later))
    flagged = scores.score >= 1
    assert flagged[:, 50:60].any()
    assert (scores.top[:, 50:60][flagged[:, 50:60]] == 1).all()
    assert (scores.top_share[:, 50:60][flagged[:, 50:60]] > 0).all()
    assert (scores.top[~flagged] == -1).all()


def test_shares_say_how_much_of_the_oddness_each_of_three_signals_makes() -> None:
    values = gauss(4, 2016, 6, 11)
    forest = IsolationForest(IsolationForestParams(alerts_per_month=50))
    baselines = forest.fit(signals_of(values))
    later = gauss(4, 288, 6, 12)
    later[:, 40:60, 4], later[:, 40:60, 1] = 40.0, 4.0
    scores = forest.score(baselines, signals_of(later))
    flagged = scores.score >= 1
    assert flagged[:, 40:60].all()
    assert scores.tops.shape == scores.shares.shape == (flagged.sum(), TOP)
    assert (np.diff(scores.shares, axis=1) <= 0).all()
    assert (scores.shares >= 0).all()
    assert (scores.shares.sum(axis=1) <= 1 + 1e-5).all()
    assert ((scores.tops >= 0) == (scores.shares > 0)).all()
    np.testing.assert_array_equal(scores.top[flagged], scores.tops[:, 0])
    planted = np.zeros(flagged.shape, dtype=bool)
    planted[:, 40:60] = True
    both = np.sort(scores.tops[planted[flagged]][:, :2], axis=1)
    assert (both == [1, 4]).all(axis=1).mean() > 0.7  # a clean signal may be odd by chance


def test_contributions_are_said_in_words() -> None:
    names = ["cpu_per_request", "latency_p99_seconds:residual", "restarts_total:increase"]
    tops, shares = np.array([[1, 0, 2], [2, -1, -1], [-1] * 3]), np.zeros((3, 3))
    shares[:2] = [[0.45, 0.3, 0.004], [1.0, 0, 0]]
    assert contributions_text(names, tops, shares) == [
        "unusual together: p99 latency 45 %, cpu per request 30 %",
        "unusual together: restarts increase 100 %",
        "unusual together",
    ]
    assert contributions_text(names, tops[:0], shares[:0]) == []


def test_a_signal_that_never_moved_is_left_to_the_band() -> None:
    values = gauss(1, 2016, 3, 13)
    values[:, :, 1] = 5.0
    later = gauss(1, 288, 3, 14)
    later[:, :, 1] = 5.0
    moved = later.copy()
    moved[:, 100:, 1] = 50.0
    forest = IsolationForest()
    baselines = forest.fit(signals_of(values))
    one, two = (forest.score(baselines, signals_of(v)).raw for v in (later, moved))
    np.testing.assert_array_equal(one, two)
    keys = pd.DataFrame({"workload": ["a"], "metric": ["m"]}, dtype="str")
    past = Panel(keys, MONDAY, STEP, values[:, :, 1])
    band, flat = Band(), np.full((1, 2016), 5.0)
    learned = band.fit(past, flat, ["both"])
    whole = Panel(keys, MONDAY, STEP, np.concatenate([values[:, :, 1], moved[:, :, 1]], axis=1))
    said = band.score(learned, whole, np.full(whole.values.shape, 5.0)).score[0, 2016:]
    assert (said[:100] < 1).all()
    assert (said[102:110] >= 1).all()


@pytest.mark.parametrize(("rows", "gaps"), [(49, 1), (50, 1), (95, 1), (96, 1), (100, 2), (192, 2)])
def test_few_rows_have_a_verdict_and_rows_with_gaps_between_them_an_answer(
    rows: int, gaps: int
) -> None:
    values = np.full((1, 400, 2), np.nan)
    values[:, :rows:gaps] = gauss(1, rows, 2, 15)[:, ::gaps]
    params = IsolationForestParams(minimum_rows=50)
    for forest in (IsolationForest(), IsolationForest(params)):
        baselines = forest.fit(signals_of(values))
        score = forest.score(baselines, signals_of(values)).score
        word = baselines.meta["verdicts"][baselines.arrays["verdict"][0]]
        enough = rows // gaps >= forest.params.minimum_rows
        assert word == ("fitted" if enough else "too few rows")
        assert np.isfinite(score[0, :rows:gaps]).all() == enough


@pytest.mark.parametrize("subsample", [3, 4, 5, 9, 300])
def test_any_size_of_trees_gives_scores_of_the_right_kind(subsample: int) -> None:
    values = gauss(2, 600, 3, 16)
    values[0, :6] = 20.0
    forest = IsolationForest(IsolationForestParams(subsample=subsample))
    raw = forest.score(forest.fit(signals_of(values)), signals_of(values)).raw
    assert ((raw > 0) & (raw < 1)).all()
    assert raw[0, :6].min() >= np.median(raw[0])


def test_the_score_rises_with_the_raw_score(few) -> None:
    signals, baselines = few
    scores = IsolationForest().score(baselines, signals)
    order = np.argsort(scores.raw, axis=1)
    assert (np.diff(np.take_along_axis(scores.score, order, axis=1), axis=1) >= 0).all()
    limit = baselines.arrays["limit"][:, None]
    assert ((scores.score >= 1) == (scores.raw >= limit)).mean() > 0.9999


def test_no_tree_splits_on_a_constant_or_an_absent_signal() -> None:
    values = gauss(2, 1000, 4, 8)
    values[:, :, 1] = 1e15
    values[:, :, 2] = np.nan
    baselines = IsolationForest().fit(signals_of(values))
    real = baselines.arrays["threshold"] != LEAF
    assert set(baselines.arrays["feature"][real]) == {0, 3}


def test_scores_do_not_change_with_the_units(few) -> None:
    signals, baselines = few
    scaled = replace(signals, values=signals.values * np.array([1e9, 1e-9, 1, 1024, 0.001]))
    one = IsolationForest().score(baselines, signals).raw
    two = IsolationForest().score(IsolationForest().fit(scaled), scaled).raw
    np.testing.assert_allclose(one, two, atol=2e-3)


def test_a_workload_with_nothing_to_learn_from_has_a_reason_and_no_score() -> None:
    values = gauss(4, 500, 3, 9)
    values[1] = 5.0
    values[2, :480] = np.nan
    values[3] = np.nan
    baselines = IsolationForest().fit(signals_of(values))
    words = [baselines.meta["verdicts"][v] for v in baselines.arrays["verdict"]]
    few = "too few signals that vary"
    assert words == ["fitted", few, "too few rows", few]
    scores = IsolationForest().score(baselines, signals_of(values))
    assert np.isfinite(scores.score[0]).all()
    assert np.isnan(scores.score[1:]).all()


def test_rows_left_out_of_training_are_not_learned_and_missing_rows_have_no_score() -> None:
    values = gauss(1, 2016, 4, 10)
    values[0, 500:600] = 40.0
    blanked = values.copy()
    blanked[0, 500:600] = np.nan
    forest = IsolationForest()
    told, untold = (forest.fit(signals_of(v)) for v in (blanked, values))
    assert (told.arrays["spread"] < 10).all()
    assert np.isnan(forest.score(told, signals_of(blanked)).score[0, 500:600]).all()
    told_raw, untold_raw = (forest.score(b, signals_of(values)).raw[0, 550] for b in (told, untold))
    assert told_raw > untold_raw


def test_workloads_and_signals_are_matched_by_name(few) -> None:
    signals, baselines = few
    scores = IsolationForest().score(baselines, signals)
    shuffled = Signals(
        [signals.workloads[3], "never/seen/Deployment/x", signals.workloads[0]],
        ["new", *reversed(signals.names)],
        MONDAY,
        STEP,
        np.concatenate([np.ones((3, 2016, 1)), signals.values[[3, 1, 0]][:, :, ::-1]], axis=2),
    )
    again = IsolationForest().score(baselines, shuffled)
    np.testing.assert_array_equal(again.score[[0, 2]], scores.score[[3, 0]])
    assert np.isnan(again.score[1]).all()
    flagged = scores.score[0] >= 1
    assert flagged.any()
    np.testing.assert_array_equal(again.top[2][flagged], 5 - scores.top[0][flagged])


def test_baselines_are_plain_compact_arrays(few) -> None:
    _, baselines = few
    assert all(type(a) is np.ndarray and a.dtype != object for a in baselines.arrays.values())
    assert {len(a) for a in baselines.arrays.values()} == {6}
    assert sum(a.nbytes for a in baselines.arrays.values()) / 6 < 160_000


def test_trees_of_an_earlier_release_are_refused(few) -> None:
    signals, baselines = few
    old = {**baselines.arrays, "threshold": baselines.arrays["threshold"].astype(np.float32)}
    with pytest.raises(ValueError, match="foretide train"):
        IsolationForest().score(replace(baselines, arrays=old), signals)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_trees", 0),
        ("n_trees", 10_001),
        ("subsample", 1),
        ("alerts_per_month", 0),
        ("minimum_rows", 2),
    ],
)
def test_knobs_that_mean_nothing_are_refused_by_name(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        IsolationForestParams(**{key: value})
