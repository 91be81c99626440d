from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from models.detection_measures import (
    average_precision,
    event_score,
    run_starts,
    total,
    vus_pr,
    window_rows,
)
from models.nab import NabProfile, nab_curve

NAN = float("nan")
N = 60
LABELS = arrays(bool, N).filter(lambda y: y.any())
SCORES = arrays(float, N, elements=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 1.5, 3.0]))
FREE = NabProfile(probation_share=0.0)


def rows(*windows: tuple[int, int]) -> np.ndarray:
    return np.array(windows, dtype=np.intp).reshape(-1, 2)


def at(n: int, *alerts: int) -> np.ndarray:
    out = np.zeros(n)
    out[list(alerts)] = 1.0
    return out


# events


def test_events_by_hand():
    windows = [[100, 200], [500, 600], [800, 900]]
    found = event_score([90, 120, 150, 320, 605, 610], windows, weeks=2, before_s=10, after_s=5)
    assert (found.caught, found.missed, found.false, found.alerts) == (2, 1, 2, 6)
    assert found.delays_s.tolist() == [-10, 105]
    assert found.precision == pytest.approx(2 / 4)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(4 / 7)
    assert (found.alerts_a_week, found.median_delay_s) == (3, 47.5)


def test_nothing_to_say_is_no_answer():
    silent = event_score([], [])
    assert np.isnan([silent.precision, silent.recall, silent.f1, silent.median_delay_s]).all()
    assert event_score([], [[0, 1]]).f1 == 0
    assert event_score([5], []).precision == 0
    assert np.isnan(average_precision(np.zeros(9, bool), np.ones(9)))
    assert np.isnan(vus_pr(np.zeros(9, bool), np.ones(9), 4))
    assert np.isnan(vus_pr(np.zeros(0, bool), np.ones(0), 4))
    assert nab_curve([(np.ones(9), rows())]) is None
    assert nab_curve([]) is None


def test_an_endless_alert_is_told_of_once_and_catches_nothing():
    starts = run_starts(np.ones(50))
    assert starts.tolist() == [0]
    assert event_score(starts, [[10, 20], [30, 40]]).f1 == 0
    assert run_starts(np.array([0, 1, 1, NAN, 2, 0.9, 1.0])).tolist() == [1, 4, 6]


@given(
    alerts=st.lists(st.integers(0, 99), max_size=12),
    hits=st.lists(st.integers(20, 39), min_size=2, max_size=9),
)
def test_more_alerts_in_a_caught_window_change_nothing(alerts: list[int], hits: list[int]):
    windows = [[20, 39], [60, 69]]
    one, all_ = event_score([*alerts, hits[0]], windows), event_score([*alerts, *hits], windows)
    assert (one.precision, one.recall, one.f1) == (all_.precision, all_.recall, all_.f1)


@given(alerts=st.lists(st.integers(0, 99), max_size=12), slack=st.integers(0, 30))
def test_slack_never_lowers_recall_and_in_is_caught_or_missed(alerts: list[int], slack: int):
    windows = [[20, 39], [60, 69], [70, 80]]
    tight = event_score(alerts, windows)
    wide = event_score(alerts, windows, before_s=slack, after_s=slack)
    assert wide.caught >= tight.caught
    assert wide.false <= tight.false
    assert wide.caught + wide.missed == len(windows)


def test_a_total_is_that_of_all_series():
    one, two = event_score([1, 9], [[0, 2]], weeks=1), event_score([50], [[40, 45]], weeks=3)
    both = total([one, two])
    assert (both.caught, both.missed, both.false, both.alerts_a_week) == (1, 1, 2, 3 / 4)
    assert both.delays_s.tolist() == [1]
    assert total([]).alerts == 0


def test_windows_to_rows():
    times = np.arange(0, 100, 10)
    windows = np.array([[5, 20], [20, 30], [61, 69], [70, 70], [95, 200]])
    assert window_rows(times, windows).tolist() == [[1, 3], [7, 7]]
    assert window_rows(times, np.empty((0, 2))).shape == (0, 2)
    assert window_rows(np.empty(0), windows).shape == (0, 2)
    stamps = times.astype("datetime64[s]")
    assert window_rows(stamps, windows.astype("datetime64[s]")).tolist() == [[1, 3], [7, 7]]


# areas


@given(labels=LABELS, scores=SCORES)
def test_average_precision_is_scikit_learns(labels: np.ndarray, scores: np.ndarray):
    assert average_precision(labels, scores) == pytest.approx(
        average_precision_score(labels, scores)
    )


@given(labels=LABELS, scores=SCORES)
def test_without_a_buffer_vus_is_precision_weighted_by_recall_and_windows_met(
    labels: np.ndarray, scores: np.ndarray
):
    """The plain definition, threshold by threshold."""
    starts = np.flatnonzero(np.diff(np.r_[0, labels.astype(int)]) > 0)
    window = np.cumsum(np.diff(np.r_[0, labels.astype(int)]) > 0)
    area = recall_before = 0.0
    for line in np.unique(scores)[::-1]:
        told = scores >= line
        met = len(set(window[told & labels])) / len(starts)
        recall = (told & labels).sum() / labels.sum() * met
        area += (recall - recall_before) * (told & labels).sum() / told.sum()
        recall_before = recall
    assert vus_pr(labels, scores, 0) == pytest.approx(area)


def test_vus_by_hand():
    """One window, one alert two rows late, a buffer of four: √(1 − 2/4) of a label."""
    labels = at(20, 10, 11).astype(bool)
    root = np.sqrt([0.5, 0.75])  # two rows and one row away
    alone = root[0]
    everything = 2 + 2 * root.sum()
    recall = alone / (2 + alone / 2)
    with_all = recall * alone + (1 - recall) * everything / 20  # from here on every row is told
    lengths = [0, 1, 2, 3, 4]
    near = [0.0, 0.0, np.sqrt(0.5), np.sqrt(2 / 3), None]  # one row away, for lengths 0 … 3
    rest = [(2 + 2 * x) / 20 for x in near[:4]]
    assert vus_pr(labels, at(20, 13), 4) == pytest.approx(sum([*rest, with_all]) / len(lengths))


@given(labels=LABELS, longest=st.integers(0, 15))
def test_exact_labels_score_one_and_none_scores_more(labels: np.ndarray, longest: int):
    exact = labels.astype(float)
    assert average_precision(labels, exact) == pytest.approx(1)
    assert vus_pr(labels, exact, longest) == pytest.approx(1)
    assert vus_pr(labels, -exact, longest) <= 1


@given(labels=LABELS, scores=SCORES, longest=st.integers(0, 15))
def test_areas_know_only_the_order_of_scores(labels: np.ndarray, scores: np.ndarray, longest: int):
    for same in (np.exp(scores), 5 * scores - 100, scores**3):
        assert average_precision(labels, same) == pytest.approx(average_precision(labels, scores))
        assert vus_pr(labels, same, longest) == pytest.approx(vus_pr(labels, scores, longest))


@given(labels=LABELS, scores=SCORES)
def test_no_answer_is_the_lowest_score(labels: np.ndarray, scores: np.ndarray):
    least = np.where(scores == scores.min(), -7.0, scores)
    unknown = np.where(scores == scores.min(), NAN, scores)
    assert average_precision(labels, unknown) == pytest.approx(average_precision(labels, least))
    assert vus_pr(labels, unknown, 6) == pytest.approx(vus_pr(labels, least, 6))


def test_a_near_miss_is_worth_more_than_a_far_one():
    labels = at(200, *range(100, 110)).astype(bool)
    found = [vus_pr(labels, at(200, 110 + k), 40) for k in (0, 5, 15, 60)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1.5 * found[-1]


# NAB


def sigmoid(x: float) -> float:
    return 2 / (1 + np.exp(5 * x)) - 1


def test_nab_by_hand():
    """Two windows; one is hit at its fourth of ten rows, two alerts are false."""
    scores = at(100, 5, 23, 27, 35)
    curve = nab_curve([(scores, rows((20, 29), (60, 69)))], FREE)
    hit = sigmoid(-7 / 10) / sigmoid(-1)
    false = -1.0 + sigmoid(6 / 9)  # one before every window, one six rows after one
    assert curve.at(1.0) == pytest.approx(100 * (hit - 1 + 0.11 * false + 2) / 4)
    assert curve.at(1.1) == 0
    assert curve.best == curve.at(1.0)
    assert curve.best_threshold == 1.0


def test_nab_perfect_silent_and_constant():
    windows = rows((200, 249), (500, 549))
    perfect = np.zeros(1000)
    perfect[200:250] = perfect[500:550] = 1
    assert nab_curve([(perfect, windows)]).best == pytest.approx(100)
    first_rows = at(1000, 200, 500)
    assert nab_curve([(first_rows, windows)] * 3).best == pytest.approx(100)
    assert nab_curve([(np.full(1000, NAN), windows)]).best == 0
    constant = nab_curve([(np.ones(1000), windows)])
    assert constant.at(1.0) < 0
    assert constant.best == 0


def test_nab_does_not_score_the_probation():
    windows = rows((5, 12), (150, 160), (400, 420))
    wild = at(1000, *range(150), 150, 400)
    assert nab_curve([(wild, windows)]).best == pytest.approx(100)
    assert NabProfile().probation(100_000) == NabProfile().probation(5_000) == 750


@given(st.data())
def test_a_later_alert_is_never_worth_more(data: st.DataObject):
    """From a window's first row on, before the next."""
    first, width = data.draw(st.integers(0, 40)), data.draw(st.integers(1, 30))
    alert = data.draw(st.integers(first, 98))
    later = data.draw(st.integers(alert, 99))
    windows = rows((first, first + width - 1))
    early, late = (nab_curve([(at(100, a), windows)], FREE).at(1.0) for a in (alert, later))
    assert late <= early + 1e-9


@given(scores=SCORES, more=st.integers(0, N - 1))
def test_a_false_alert_never_helps_and_a_second_hit_never_hurts(scores: np.ndarray, more: int):
    windows = rows((20, 30), (45, 50))
    inside = any(a <= more <= b for a, b in windows)
    louder = scores.copy()
    louder[more] = 3.0
    before, after = (nab_curve([(s, windows)], FREE).at(0.9) for s in (scores, louder))
    if inside:
        assert after >= before - 1e-9
    elif more > 50 or more < 20 or more - 30 > 5:
        assert after <= before + 1e-9


@given(scores=SCORES)
def test_nab_sweeps_the_order_over_all_files_together(scores: np.ndarray):
    windows = rows((20, 30), (45, 50))
    one = nab_curve([(scores, windows)], FREE)
    assert nab_curve([(np.exp(scores), windows)], FREE).best == pytest.approx(one.best)
    assert nab_curve([(scores, windows)] * 2, FREE).best == pytest.approx(one.best)
    other = nab_curve([(scores / 10 - 5, windows)], FREE)
    both = nab_curve([(scores, windows), (scores / 10 - 5, windows)], FREE)
    assert both.best <= (one.best + other.best) / 2 + 1e-9


# all of them


def test_chance_comes_last():
    """Random and constant scores against one that knows half of the labels."""
    rng = np.random.default_rng(1)
    n, windows = 3000, rows((700, 760), (1500, 1540), (2500, 2600))
    labels = np.zeros(n, dtype=bool)
    for first, last in windows:
        labels[first : last + 1] = True
    noise = rng.random((5, n))
    knowing = noise[0] + labels * rng.random(n)
    for measure in (
        average_precision,
        lambda y, s: vus_pr(y, s, 50),
        lambda _, s: nab_curve([(s, windows)]).best,
    ):
        chance = [measure(labels, s) for s in [*noise, np.ones(n)]]
        assert measure(labels, knowing) > max(chance)
    assert average_precision(labels, np.ones(n)) == pytest.approx(labels.mean())
    assert vus_pr(labels, np.ones(n), 50) == pytest.approx(vus_pr(labels, noise[0], 50), rel=0.25)
