"""Days of samples straight to a panel: equal to the way through a frame, or no answer."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import SAMPLES, conform
from features.panel import Panel
from features.workloads import with_workload
from pipelines.adapters.store.samples import merge_day, read_day, split_days
from pipelines.adapters.store.samples_panel import panel_of

DAY = pd.Timestamp("2026-06-01", tz="UTC")
DAY_MS = int(DAY.value) // 10**6
STEP = pd.Timedelta("4h")
SIX = 6  # steps a day
NAMES = ("a", "a-b", "a/b", "Z", "é", "50%")


def days_of(samples: pa.Table) -> list[tuple[int, pq.ParquetFile]]:
    days = []
    for start, rows in split_days(samples):
        out = io.BytesIO()
        merge_day(None, [rows], out)
        days.append((start, pq.ParquetFile(pa.BufferReader(out.getvalue()))))
    return days


def table(rows: list[dict]) -> pa.Table:
    columns = ("namespace", "name", "metric", "ts", "value")
    frame = pd.DataFrame(rows, columns=list(columns))
    stamps = pd.to_datetime(frame.pop("ts").astype("int64"), unit="ms", utc=True)
    return conform(frame.assign(ts=stamps, value=frame["value"].astype("float64")), SAMPLES)


@st.composite
def stores(draw) -> pa.Table:
    """Some series over three days, with gaps, late starts, coarse ones, NaN and Inf."""
    rows = []
    workloads = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    odd = st.sampled_from([np.nan, np.inf, -np.inf])
    for name in workloads:
        for metric in draw(st.lists(st.sampled_from("xyz"), min_size=1, unique=True)):
            first = draw(st.integers(0, 3 * SIX - 1))
            every = draw(st.sampled_from([1, 1, 2, 3, 6]))
            phase = draw(st.sampled_from([0, 0, 0, 60_000]))
            gaps = draw(st.sets(st.integers(0, 3 * SIX), max_size=4))
            bad = draw(st.dictionaries(st.integers(0, 3 * SIX), odd, max_size=6))
            rows += [
                {"namespace": "n", "name": name, "metric": metric, "value": bad.get(k, 1.0 + k),
                 "ts": DAY_MS + k * SIX_HOURS + phase}
                for k in range(first, 3 * SIX, every) if k not in gaps
            ]  # fmt: skip
    return table(rows)


SIX_HOURS = 86_400_000 // SIX


def expected(days, metrics, start, end, step, mine) -> Panel | None:
    """As the caller does without the fast way; None where it raises or has no series."""
    lo, hi = (int(t.value) // 10**6 for t in (start, end))
    parts = [read_day(file, lo, hi, metrics) for _, file in days]
    if not parts:
        return None
    frame = with_workload(pa.concat_tables(parts).unify_dictionaries())
    finite = frame[np.isfinite(frame["value"])]
    if finite.empty:
        return None
    first = finite["ts"].min()
    if mine is None:
        return Panel.from_frame(frame, step=step, end=end, aggregates={"x": "sum"})
    names = sorted(set(frame["workload"].cat.categories))
    frame = frame[frame["workload"].isin(np.array(names)[mine(names)])]
    if not np.isfinite(frame["value"]).any():
        first = first.floor(step)
        n_steps = int(np.ceil((end - first) / step))
        return Panel(
            frame[["workload", "metric"]][:0].astype("str"), first, step, np.empty((0, n_steps))
        )
    return Panel.from_frame(frame, step=step, start=first, end=end, aggregates={"x": "sum"})


def equal(got: Panel, want: Panel) -> None:
    pd.testing.assert_frame_equal(got.keys.reset_index(drop=True), want.keys.reset_index(drop=True))
    assert (got.start, got.step, got.counts) == (want.start, want.step, want.counts)
    assert got.start.unit == want.start.unit
    np.testing.assert_array_equal(got.values, want.values)


HALF_HOURS = st.integers(-10, 160).map(lambda k: DAY + k * pd.Timedelta("30min"))


@settings(max_examples=100, deadline=None)
@given(
    samples=stores(),
    metrics=st.none() | st.lists(st.sampled_from("xyzq"), min_size=1, unique=True),
    window=st.tuples(HALF_HOURS, HALF_HOURS).filter(lambda w: w[0] < w[1]),
    whole=st.booleans(),
    step=st.sampled_from(["4h", "2h", "1h", "30min"]).map(pd.Timedelta),
    share=st.none() | st.sets(st.sampled_from(NAMES)),
)
def test_what_is_answered_is_what_the_frame_gives(samples, metrics, window, whole, step, share):
    days = days_of(samples)
    start, end = (DAY, DAY + pd.Timedelta(days=3)) if whole else window
    ids = {f"default/n/Workload/{name.replace('/', '%2F')}" for name in share or ()}

    def mine(workloads: list[str]) -> np.ndarray:
        assert workloads == sorted(workloads)
        return np.array([w in ids for w in workloads], dtype=bool)

    chosen = None if share is None else mine
    got = panel_of(days, metrics, start, end, step, mine=chosen)
    want = expected(days, metrics, start, end, step, chosen)
    if want is None or got is None:
        assert got is None  # without a number a frame says what is wrong
        assert want is None or step > finest(samples)
    else:
        equal(got, want)


def finest(samples: pa.Table) -> pd.Timedelta:
    """The grid that all stamps of a metric and day share."""
    frame = samples.to_pandas()
    ms = frame["ts"].astype("int64")
    part = (ms - DAY_MS) // 86_400_000
    grids = [
        np.gcd.reduce(np.r_[one - one.min(), 86_400_000])
        for _, one in ms.groupby([frame["metric"].astype(str), part])
    ]
    return pd.Timedelta(int(min(grids)), "ms")


def dense(n_days: int = 3, names: tuple[str, ...] = ("a", "b"), step_ms: int = SIX_HOURS):
    return table(
        [
            {"namespace": "n", "name": name, "metric": metric, "ts": ms, "value": float(ms % 97)}
            for name in names
            for metric in ("x", "y")
            for ms in range(DAY_MS, DAY_MS + n_days * 86_400_000, step_ms)
        ]
    )


def test_a_dense_store_is_answered_from_the_values_alone():
    days = days_of(dense())
    end = DAY + pd.Timedelta(days=3)
    got = panel_of(days, None, DAY, end, STEP)
    equal(got, expected(days, None, DAY, end, STEP, None))
    assert got.counts.empty_cells == 0


def test_a_series_that_begins_after_another_ended_is_not_taken_for_it():
    rows = [
        {"namespace": "n", "name": name, "metric": "x", "ts": DAY_MS + k * SIX_HOURS, "value": k}
        for name, steps in {"a": (0, 1), "b": (2, 4), "c": (5,)}.items()
        for k in steps
    ]
    days, end = days_of(table(rows)), DAY + pd.Timedelta(days=1)
    got = panel_of(days, None, DAY, end, STEP)
    equal(got, expected(days, None, DAY, end, STEP, None))
    assert got.n_series == 3


def foreign(samples: pa.Table) -> list[tuple[int, pq.ParquetFile]]:
    sink = io.BytesIO()
    pq.write_table(samples, sink)
    return [(DAY_MS, pq.ParquetFile(pa.BufferReader(sink.getvalue())))]


def of(rows: list[tuple[str, int]]) -> pa.Table:
    return table(
        [
            {"namespace": "n", "name": name, "metric": "x", "ts": DAY_MS + ms, "value": 1.0}
            for name, ms in rows
        ]
    )


@pytest.mark.parametrize(
    "days",
    [
        foreign(dense(1)),
        days_of(dense(1, step_ms=SIX_HOURS // 2)),
        days_of(of([("a", 0), ("a", SIX_HOURS + 1)])),
        days_of(of([("a", 0), ("b", 1000)])),
        [],
    ],
    ids=["another hand", "finer than the step", "off the grid", "two phases", "no day"],
)
def test_what_does_not_fit_is_left_to_the_frame(days):
    assert panel_of(days, None, DAY, DAY + pd.Timedelta(days=1), STEP) is None


@pytest.mark.parametrize(
    ("start", "step"),
    [(DAY, pd.Timedelta("5h")), (DAY, pd.Timedelta("1us")), (DAY + pd.Timedelta("1us"), STEP)],
    ids=["no divisor of the day", "shorter than a stamp", "between two stamps"],
)
def test_grids_that_no_day_can_have_are_left_to_the_frame(start, step):
    assert panel_of(days_of(dense(1)), None, start, DAY + pd.Timedelta(days=1), step) is None
