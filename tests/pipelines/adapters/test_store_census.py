"""Who is in the store: what the footers say is what reading everything would say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.workloads import with_workload
from pipelines.adapters.store import Store
from pipelines.grids import usual_step

START = pd.Timestamp("2026-06-01", tz="UTC")


def samples(there: np.ndarray, step_s: int) -> pd.DataFrame:
    """``there``: bool, (workloads, steps); who has a sample when."""
    row, col = np.nonzero(there)
    return pd.DataFrame(
        {
            "name": [f"w{i}" for i in row],
            "metric": [f"m{i % 2}" for i in row],
            "ts": START + pd.to_timedelta(col * step_s, unit="s"),
            "value": 1.0,
        }
    )


@given(data=st.data(), step_s=st.sampled_from([60, 300, 3600]))
def test_the_footers_say_what_the_samples_say(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, step_s: int
):
    size = data.draw(st.tuples(st.integers(1, 5), st.integers(2, 40)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    there = rng.random(size) < data.draw(st.sampled_from([0.2, 0.9, 1.0]))
    there[0, :2] = True
    store = Store(tmp_path_factory.mktemp("store"))
    store.write_samples(samples(there, step_s))
    told = store.census(START, START + pd.Timedelta(days=9))
    if told is None:
        return  # then everything is read, which is always right
    frame = with_workload(store.read_samples())
    assert told == (sorted(frame["workload"].cat.categories), usual_step(frame))


def test_a_dense_store_needs_no_reading(tmp_path: Path):
    store = Store(tmp_path)
    store.write_samples(samples(np.ones((3, 600), dtype=bool), 300))
    end = START + pd.Timedelta(days=9)
    told = store.census(START, end)
    assert told is not None
    assert [w.rsplit("/", 1)[1] for w in told[0]] == ["w0", "w1", "w2"]
    assert told[1] == pd.Timedelta("5min")
    day = pq.read_table(tmp_path / "samples" / "date=2026-06-02" / "samples.parquet")
    pq.write_table(day, tmp_path / "samples" / "date=2026-06-02" / "samples.parquet")
    assert store.census(START, end) is None  # written by another hand: only the samples can tell


def test_a_few_samples_far_apart_do_not_make_everything_read(tmp_path: Path):
    store = Store(tmp_path)
    store.write_samples(samples(np.ones((3, 600), dtype=bool), 300))
    store.write_samples(samples(np.ones((2, 2), dtype=bool), 900).assign(metric="rare"))
    told = store.census(START, START + pd.Timedelta(days=9))
    frame = with_workload(store.read_samples())
    assert told == (sorted(frame["workload"].cat.categories), pd.Timedelta("5min"))
    assert told[1] == usual_step(frame)


def test_two_steps_are_not_one(tmp_path: Path):
    store = Store(tmp_path)
    store.write_samples(samples(np.ones((1, 600), dtype=bool), 300))
    store.write_samples(samples(np.ones((2, 600), dtype=bool), 60).query("name == 'w1'"))
    assert store.census(START, START + pd.Timedelta(days=9)) is None
