from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.events import alerts_per_week, event_scores

T0 = pd.Timestamp("2026-05-04", tz="UTC")


def at(hours: float) -> pd.Timestamp:
    return T0 + pd.Timedelta(hours, "h")


def truth(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [(w, at(a), at(b), k) for w, a, b, k in rows], columns=["workload", "start", "end", "kind"]
    )


def detected(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    columns = ["workload", "start", "end", "detected_at"]
    frame = pd.DataFrame([(w, at(a), at(b), at(c)) for w, a, b, c in rows], columns=columns)
    return frame.astype(dict.fromkeys(columns[1:], "datetime64[us, UTC]")) if not rows else frame


EVENTS = truth(("a", 10, 14, "leak"), ("a", 30, 31, "spike"), ("b", 10, 14, "leak"))


def test_recall_by_kind_precision_and_delay():
    found = detected(("a", 11, 13, 11.5), ("a", 12, 13, 12), ("b", 30, 31, 30), ("b", 13, 15, 13.5))
    got = event_scores(found, EVENTS)
    kinds = got.kinds.set_index("kind")
    assert kinds.loc["leak", "recall"] == 1
    assert kinds.loc["spike", "recall"] == 0
    assert got.recall == pytest.approx(2 / 3)
    assert got.precision == pytest.approx(3 / 4)  # the 30 h one is another workload's spike
    assert got.f1 == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))
    assert got.median_delay_s == np.median([1.5, 3.5]) * 3600


def test_one_endless_detection_is_worth_one_event():
    got = event_scores(detected(("a", 0, 100, 10), ("b", 0, 100, 0)), EVENTS)
    assert got.recall == pytest.approx(1 / 3)
    assert got.precision == pytest.approx(1 / 2)


def test_told_after_the_end_is_not_found():
    got = event_scores(detected(("a", 30, 40, 31)), EVENTS)
    assert (got.recall, got.precision, got.f1) == (0, 0, 0)
    assert np.isnan(got.median_delay_s)


def test_told_a_little_before_counts_without_delay():
    got = event_scores(detected(("a", 9.5, 12, 9.5)), EVENTS)
    assert got.recall == pytest.approx(1 / 3)
    assert got.median_delay_s == 0


def test_nothing_is_not_available_rather_than_zero():
    silent = event_scores(detected(), EVENTS)
    assert (silent.recall, silent.f1) == (0, 0)
    assert np.isnan(silent.precision)
    calm = event_scores(detected(("a", 1, 2, 1)), EVENTS.iloc[:0])
    assert np.isnan(calm.recall)
    assert calm.precision == 0
    assert len(calm.kinds) == 0


def test_alerts_are_counted_by_workload_and_week():
    found = detected(("a", 1, 2, 1), ("a", 3, 4, 3), ("b", 400, 401, 400))
    assert alerts_per_week(found, 2, T0, at(168)) == 1
    assert np.isnan(alerts_per_week(found, 2, T0, T0))
