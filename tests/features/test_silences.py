from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.silences import Silence, silence_notes, silenced_mask, silenced_rows

START = pd.Timestamp("2026-06-01", tz="UTC")
TIMES = pd.date_range(START, periods=24, freq="h").as_unit("ms")
SHOP, PAY = "prod/shop/Deployment/checkout", "prod/pay/Deployment/web"
WORKLOADS = [SHOP, SHOP, SHOP, PAY]
METRICS = ["latency_p99_seconds", "error_ratio", "*", "latency_p99_seconds"]

globs = st.sampled_from(["*", "prod/shop/*", "prod/*", SHOP, "latency_*", "error_ratio", "band"])
hours = st.integers(0, 30)


@st.composite
def silences(draw: st.DrawFn) -> Silence:
    first = draw(hours)
    start, end = (START + pd.Timedelta(hours=h) for h in (first, first + draw(st.integers(1, 9))))
    metric, detector = draw(globs), draw(st.sampled_from(["*", "band", "memory_slope"]))
    return Silence(draw(globs), start.isoformat(), end.isoformat(), metric, detector)


@given(st.lists(silences(), max_size=4), st.sampled_from(["band", "isolation_forest"]))
def test_the_mask_of_a_panel_and_the_rows_of_a_table_say_the_same(every, detector):
    mask = silenced_mask(WORKLOADS, METRICS, TIMES, every, detector)
    rows, cols = np.nonzero(np.ones(mask.shape))
    table = pd.DataFrame(
        {
            "workload": np.array(WORKLOADS)[rows],
            "metric": np.array(METRICS)[rows],
            "issued_at": TIMES[cols],
        }
    )
    found = silenced_rows(table, every, ts="issued_at", detector=detector)
    assert (found >= 0).reshape(mask.shape).tolist() == mask.tolist()
    with_column = table.assign(detector=detector).rename(columns={"issued_at": "ts"})
    assert silenced_rows(with_column, every).tolist() == found.tolist()


@given(st.lists(silences(), min_size=1, max_size=4))
def test_one_more_silence_never_makes_more_heard_and_outside_its_time_nothing_changes(every):
    fewer = silenced_mask(WORKLOADS, METRICS, TIMES, every[1:])
    more = silenced_mask(WORKLOADS, METRICS, TIMES, every)
    assert (more >= fewer).all()
    start, end = every[0].span
    outside = (start > TIMES) | (end <= TIMES)
    assert (more[:, outside] == fewer[:, outside]).all()


def test_a_silence_is_half_open_and_its_globs_all_count():
    silence = Silence(
        "prod/shop/*", "2026-06-01T08:00", "2026-06-01T12:00+02:00", metric="latency_*"
    )
    mask = silenced_mask(WORKLOADS, METRICS, TIMES, [silence])
    assert np.flatnonzero(mask[0]).tolist() == [8, 9]
    assert not mask[1:].any()  # another metric, the whole workload, another namespace


def test_a_silence_of_one_detector_leaves_the_others_heard():
    silence = Silence("*", START.isoformat(), "2026-06-02", detector="memory_slope")
    assert silenced_mask(WORKLOADS, METRICS, TIMES, [silence], "memory_slope").all()
    assert not silenced_mask(WORKLOADS, METRICS, TIMES, [silence], "band").any()
    assert not silenced_mask(WORKLOADS, METRICS, TIMES, [silence]).any()


def test_nothing_is_silenced_where_there_is_nothing():
    nothing = pd.DataFrame({"workload": [], "metric": [], "ts": TIMES[:0], "detector": []})
    silence = Silence("*", "2026-06-01", "2026-06-02")
    assert silenced_rows(nothing, [silence]).shape == (0,)
    assert silenced_mask([], [], TIMES, [silence]).shape == (0, 24)
    assert not silenced_mask(WORKLOADS, METRICS, TIMES, []).any()


def test_moments_may_be_what_yaml_makes_of_them():
    written = Silence("*", "2026-06-01T08:00Z", "2026-06-01T12:00+02:00")
    naive = datetime(2026, 6, 1, 8)  # noqa: DTZ001 - as YAML reads a stamp without offset
    parsed = Silence("*", naive, datetime(2026, 6, 1, 10, tzinfo=UTC))
    assert written.span == parsed.span


@pytest.mark.parametrize(
    ("match", "start", "end", "said"),
    [
        ("*", "2026-06-01", None, "end: a silence must have one such as"),
        ("*", "2026-06-01", "", "end: a silence must have one such as"),
        ("*", "2026-06-01", "2026-06-01", "end: expected a moment after 2026-06-01T00:00Z"),
        ("*", "soon", "2026-06-01", "start: expected a moment such as .*, got 'soon'"),
        ("*", "now", "2026-06-01", "start: expected a moment"),
        ("", "2026-06-01", "2026-06-02", "match: expected a glob"),
    ],
)
def test_a_silence_that_means_nothing_is_refused(match, start, end, said):
    with pytest.raises(ValueError, match=said):
        Silence(match, start, end)


def test_notes_name_what_is_active_and_what_is_long_over():
    active = Silence("prod/*", "2026-06-01", "2026-06-03", "latency_*", reason="moving\n<b>db</b>")
    over = Silence("prod/pay/*", "2026-01-01", "2026-01-02")
    just_over = Silence("*", "2026-05-30", "2026-06-01")
    to_come = Silence("*", "2026-07-01", "2026-07-02")
    assert silence_notes([active, over, just_over, to_come], START) == (
        "silenced: prod/* latency_* until 2026-06-03 00:00 UTC (moving <b>db</b>)",
        "silence ended 150 days ago and can go: prod/pay/* until 2026-01-02 00:00 UTC",
    )
    assert silence_notes([active], START + pd.Timedelta(days=2)) == ()
