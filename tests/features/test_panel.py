from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.frames import SAMPLES, FrameError, conform
from features.panel import Panel, infer_step
from features.workloads import workload_id

START = pd.Timestamp("2026-05-04T00:00Z")
STEP = pd.Timedelta(300, "s")

matrices = arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(2, 12)),
    elements=st.one_of(st.just(float("nan")), st.floats(-1e15, 1e15)),
).filter(lambda m: bool(np.isfinite(m).any(axis=1).all()))


def frame(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    """Rows of workload, metric, seconds after the start, value."""
    workload, metric, after, value = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "workload": list(workload),
            "metric": list(metric),
            "ts": START.as_unit("ms") + pd.to_timedelta(np.array(after) * 1000, unit="ms"),
            "value": list(value),
        }
    )


def panel_of(values: np.ndarray) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/k/w{i}" for i in range(len(values))], "metric": "m"}, dtype="str"
    )
    return Panel(keys, START, STEP, values)


@given(values=matrices, seed=st.integers(0, 9))
def test_a_panel_comes_back_from_its_long_frame_in_any_order(values: np.ndarray, seed: int):
    panel = panel_of(values)
    shuffled = panel.to_frame().sample(frac=1, random_state=seed)
    back = Panel.from_frame(shuffled, step=STEP, start=panel.start, end=panel.end)
    np.testing.assert_array_equal(back.values, values)
    pd.testing.assert_frame_equal(back.keys, panel.keys)
    assert back.start == START
    assert back.end == panel.end
    assert back.counts.empty_cells == np.isnan(values).sum()
    assert back.counts.cells == values.size
    assert list(back.times) == list(panel.times)


@given(st.lists(st.sampled_from("zyxab"), min_size=1, max_size=8))
def test_series_are_sorted_however_they_come(names: list[str]):
    rows = [(workload_id("default", "default", "Workload", n), "m", 0.0, 1.0) for n in names]
    long = frame(rows)
    as_samples = conform(
        long.drop(columns="workload").assign(name=names)[["name", "metric", "ts", "value"]], SAMPLES
    )
    for given_samples in (long, long.astype({"workload": "category"}), as_samples):
        keys = Panel.from_frame(given_samples, step=STEP).keys
        assert list(keys["workload"]) == sorted({r[0] for r in rows})
        assert list(keys.index) == list(range(len(keys)))


@given(
    good=st.integers(1, 10),
    twice=st.integers(0, 10),
    bad=st.lists(st.sampled_from([float("nan"), float("inf"), float("-inf")]), max_size=5),
)
def test_what_is_dropped_is_counted(good: int, twice: int, bad: list[float]):
    twice = min(twice, good)
    rows = [("w", "m", 300.0 * i, 1.0) for i in range(good)]
    rows += [("w", "m", 300.0 * i, 2.0) for i in range(twice)]
    rows += [("w", "m", 300.0 * i, value) for i, value in enumerate(bad)]
    panel = Panel.from_frame(frame(rows), step=STEP)
    assert panel.counts.samples == good + twice + len(bad)
    assert panel.counts.duplicates == twice
    assert panel.counts.not_finite == len(bad)
    np.testing.assert_array_equal(panel.values[0], [2.0] * twice + [1.0] * (good - twice))


@given(
    values=st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_aggregation_rules(values: list[float], order: Any):
    rules = {"mean": np.mean, "sum": np.sum, "max": np.max, "last": lambda v: v[-1]}
    rows = [("w", rule, 60.0 * i, v) for rule in (*rules, "other") for i, v in enumerate(values)]
    order.shuffle(rows)
    aggregates = {rule: rule for rule in rules}
    panel = Panel.from_frame(frame(rows), step=STEP, aggregates=aggregates)
    assert panel.n_steps == 1
    for rule, expected in (*rules.items(), ("other", np.mean)):
        got = panel.matrix(rule, ["w"])[0, 0]
        assert got == pytest.approx(expected(np.array(values)), rel=1e-9, abs=1.0)


@given(begin=st.integers(-300, 3900), length=st.integers(0, 3900))
def test_windows_are_half_open(begin: int, length: int):
    panel = panel_of(np.arange(12.0)[None, :])
    start, end = (START + pd.Timedelta(s, "s") for s in (begin, begin + length))
    inside = [t for t in panel.times if start <= t < end]
    window = panel.window(start, end)
    assert list(window.times) == inside
    assert window.values.shape == (1, len(inside))


@given(begin=st.integers(0, 11), n=st.integers(1, 12))
def test_a_half_open_window_of_samples_is_the_window_of_their_panel(begin: int, n: int):
    panel = panel_of(np.arange(12.0)[None, :])
    start, end = START + begin * STEP, min(START + (begin + n) * STEP, panel.end)
    of_samples = Panel.from_frame(panel.to_frame(), step=STEP, start=start, end=end)
    np.testing.assert_array_equal(of_samples.values, panel.window(start, end).values)
    assert of_samples.start == start
    assert of_samples.end == end


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_of_a_stamp_does_not_matter(unit: Any):
    long = frame([("w", "m", 300.0 * i, float(i)) for i in range(5)])
    long["ts"] = long["ts"].dt.as_unit(unit)
    panel = Panel.from_frame(
        long, step=STEP, start=(START + STEP).as_unit(unit), end=(START + 3 * STEP).as_unit(unit)
    )
    assert list(panel.values[0]) == [1.0, 2.0]


@pytest.mark.parametrize("step_s", [60, 300, 900, 3600, 86400])
@pytest.mark.parametrize("jitter_s", [0.0, 0.9])
def test_the_step_is_found_through_jitter_and_gaps(step_s: int, jitter_s: float):
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(200, 150, replace=False))
    after = kept * step_s + rng.uniform(0, jitter_s, len(kept))
    ts_ms = (after * 1000).astype(np.int64)
    assert infer_step(np.zeros(len(ts_ms), dtype=np.int64), ts_ms) == pd.Timedelta(step_s, "s")


def test_one_sample_is_a_panel():
    panel = Panel.from_frame(frame([("w", "m", 0.0, 1.0)]))
    assert panel.values.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("rows", "window"),
    [
        ([("w", "m", 0.0, float("nan"))], {}),
        ([("w", "m", 0.0, 1.0)], {"start": START + STEP}),
        ([("w", "m", 0.0, 1.0)], {"end": START}),
    ],
)
def test_a_panel_of_nothing_is_refused_with_counts(rows: Any, window: dict[str, Any]):
    with pytest.raises(FrameError, match=r"no sample .*\(of 1 given"):
        Panel.from_frame(frame(rows), **window)


def test_an_absurd_grid_is_refused_before_it_is_built():
    rows = [("w", "m", 0.0, 1.0), ("w", "m", 3e9, 1.0)]
    with pytest.raises(FrameError, match="too many cells"):
        Panel.from_frame(frame(rows), step=pd.Timedelta(1, "s"))


@given(values=matrices)
def test_selections_keep_rows_and_keys_together(values: np.ndarray):
    panel = panel_of(values)
    mask = np.arange(len(values)) % 2 == 0
    for rows in (mask, np.flatnonzero(mask)):
        part = panel.select(rows)
        np.testing.assert_array_equal(part.values, values[mask])
        assert list(part.keys["workload"]) == [f"c/n/k/w{i}" for i in np.flatnonzero(mask)]
        assert list(part.keys.index) == list(range(part.n_series))
    wanted = ["c/n/k/nobody", *reversed(panel.keys["workload"])]
    matrix = panel.matrix("m", wanted)
    assert np.isnan(matrix[0]).all()
    np.testing.assert_array_equal(matrix[1:], values[::-1])
    assert panel.of("other").n_series == 0


def test_samples_with_names_are_those_with_workloads():
    rows = frame([("web", "m", 300.0 * i, float(i)) for i in range(4)])
    named = rows.rename(columns={"workload": "name"}).assign(namespace="shop", kind="Deployment")
    mine = Panel.from_frame(named, step="5min")
    theirs = Panel.from_frame(
        rows.assign(workload=workload_id("default", "shop", "Deployment", "web")), step=STEP
    )
    pd.testing.assert_frame_equal(mine.keys, theirs.keys)
    np.testing.assert_array_equal(mine.values, theirs.values)


@pytest.mark.parametrize("step", ["soon", "", "0s", "-5min", "1us", pd.NaT])
def test_a_step_that_is_none_is_refused(step: Any):
    with pytest.raises(FrameError, match="step: expected a length"):
        Panel.from_frame(frame([("w", "m", 0.0, 1.0)]), step=step)


@pytest.mark.parametrize("column", ["workload", "metric"])
def test_a_sample_of_nobody_is_refused(column: str):
    rows = frame([("w", "m", 0.0, 1.0), ("w", "m", 300.0, 1.0)])
    rows.loc[0, column] = None
    with pytest.raises(FrameError, match=f"'{column}' has 1 empty value"):
        Panel.from_frame(rows)
