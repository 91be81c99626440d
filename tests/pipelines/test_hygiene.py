"""What was anomalous is no example of a usual week, unless it is most of one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.frames import SCORES
from features.panel import Panel
from pipelines.adapters.store import Store
from pipelines.hygiene import AnomalousPoints, Hygiene, HygieneParams, anomalous_points, on_panel
from pipelines.left_out import leave_out, left_out_of
from pipelines.run import Run, RunRef, part_name
from pipelines.staging import staged

START = pd.Timestamp("2026-06-01T00:00Z").as_unit("ms")
STEP = pd.Timedelta("5min")
N_STEPS = 48
END = START + N_STEPS * STEP
KEYS = [("a/n/D/one", "cpu"), ("a/n/D/one", "memory"), ("a/n/D/two", "cpu")]
ALL = HygieneParams(maximum_share=1.0)


def panel(step: pd.Timedelta = STEP, values: np.ndarray | None = None) -> Panel:
    keys = pd.DataFrame(KEYS, columns=["workload", "metric"], dtype="str")
    n = int((END - START) / step)
    return Panel(keys, START, step, np.ones((3, n)) if values is None else values)


def scores(
    rows: list[tuple[int, pd.Timestamp, float]], detector: str = "band", metric: str | None = None
) -> pd.DataFrame:
    """Rows of series, time, score."""
    blank = dict.fromkeys(("expected", "lower", "upper", "value"), 0.0)
    words = dict.fromkeys(("severity", "reason", "model_version", "run_id"), "x")
    frame = pd.DataFrame(
        {
            "workload": [KEYS[r][0] for r, _, _ in rows],
            "metric": [metric or KEYS[r][1] for r, _, _ in rows],
            "ts": pd.DatetimeIndex([t for _, t, _ in rows], tz="UTC").as_unit("ms"),
            "detector": detector,
            "score": [s for _, _, s in rows],
        }
    )
    stamped = frame.assign(**blank, **words, valid_until=END)
    return stamped[SCORES.schema.names]


def write(root: Path, clock: pd.Timestamp, frame: pd.DataFrame, suffix: str = "") -> None:
    Store(root).write(SCORES, frame, part_name(clock) + suffix)


def run_at(root: Path, as_of: pd.Timestamp = END, inputs: list[str] | None = None) -> Run:
    return RunRef.resolve(None, inputs, str(root), as_of.isoformat(), as_of).open()


def at(step: int, of: pd.Timedelta = STEP) -> pd.Timestamp:
    return START + step * of


def cells(found: Hygiene) -> set[tuple[int, int]]:
    return {(int(r), int(c)) for r, c in zip(*np.nonzero(found.mask), strict=True)}


def flagged(run: Run, seen: Panel, params: HygieneParams) -> Hygiene:
    return on_panel(anomalous_points(run, seen.start), seen, params)


# ---- whose scores count


def test_only_the_series_own_detector_counts(tmp_path: Path) -> None:
    frames = [
        scores([(0, at(5), 2.0), (1, at(6), 1.0), (2, at(7), 0.999), (2, at(8), float("nan"))]),
        scores([(0, at(20), 9.0)], "isolation_forest", metric="*"),
        scores([(0, at(21), 9.0)], "isolation_forest"),
        scores([(0, at(22), 9.0)], metric="unknown"),
    ]
    write(tmp_path, END, pd.concat(frames))
    found = flagged(run_at(tmp_path), panel(), HygieneParams())
    assert cells(found) == {(0, 5), (1, 6)}
    assert found.counts() == {"anomalous cells blanked": 2}
    blanked = found.applied(panel())
    np.testing.assert_array_equal(np.isnan(blanked.values), found.mask)


def test_later_runs_are_not_known_yet(tmp_path: Path) -> None:
    write(tmp_path, at(10), scores([(0, at(5), 2.0)]))
    write(tmp_path, at(20), scores([(0, at(n), 2.0 * (n == 15)) for n in range(5, 20)]))
    seen = {n: cells(flagged(run_at(tmp_path, at(n)), panel(), ALL)) for n in (9, 10, 19, 20)}
    assert seen == {9: set(), 10: {(0, 5)}, 19: {(0, 5)}, 20: {(0, 15)}}


def test_a_store_without_scores_and_a_run_on_files_leave_nothing_out(tmp_path: Path) -> None:
    assert not flagged(run_at(tmp_path), panel(), HygieneParams()).mask.any()
    write(tmp_path, END, scores([(0, at(5), 2.0)]))
    on_files = run_at(tmp_path, inputs=["samples.parquet"])
    found = flagged(on_files, panel(), HygieneParams())
    assert found.mask.shape == (3, N_STEPS)
    assert not found.mask.any()
    assert found.counts() == {}
    assert found.applied(panel()).values.sum() == panel().values.sum()


@pytest.mark.parametrize("enabled", [True, False])
def test_it_can_be_switched_off(tmp_path: Path, enabled: bool) -> None:
    config = tmp_path / "foretide.yaml"
    config.write_text(f"hygiene: {{enabled: {str(enabled).lower()}}}\nhistory: {{step_s: 300}}\n")
    write(tmp_path, END, scores([(0, at(5), 2.0)]))
    run = RunRef.resolve(str(config), None, str(tmp_path), END.isoformat(), END).open()
    with staged(run, "train"):
        leave_out(run)
        assert cells(left_out_of(run, panel())) == ({(0, 5)} if enabled else set())


def test_a_damaged_file_of_scores_is_counted(tmp_path: Path) -> None:
    write(tmp_path, at(20), scores([(0, at(5), 2.0)]))
    (tmp_path / "scores" / f"{part_name(END)}.parquet").write_bytes(b"PAR1 this is none PAR1")
    found = flagged(run_at(tmp_path), panel(), HygieneParams())
    assert cells(found) == {(0, 5)}
    assert found.counts() == {"anomalous cells blanked": 1, "files of scores unread": 1}


# ---- how much


def test_a_new_normal_is_learned(tmp_path: Path) -> None:
    long = [(0, at(n), 3.0) for n in range(20)]
    short = [(1, at(n), 3.0) for n in range(9)]
    write(tmp_path, END, scores([*long, *short]))
    found = flagged(run_at(tmp_path), panel(), HygieneParams())
    assert cells(found) == {(1, n) for n in range(9)}
    assert found.counts() == {"anomalous cells blanked": 9, "series kept whole": 1}


def test_the_share_is_of_what_was_measured(tmp_path: Path) -> None:
    values = np.ones((3, N_STEPS))
    values[0, 10:] = np.nan  # ten steps, of which three are anomalous, and one in a gap
    values[2] = np.nan
    rows = [(0, at(n), 3.0) for n in (1, 2, 3, 30)] + [(2, at(1), 3.0)]
    write(tmp_path, END, scores(rows))
    given_values = panel(values=values)
    for share, expected in ((0.29, set()), (0.3, {(0, 1), (0, 2), (0, 3)})):
        found = flagged(run_at(tmp_path), given_values, HygieneParams(maximum_share=share))
        assert cells(found) == expected


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"maximum_share must be from 0 to 1"):
        HygieneParams(maximum_share=share)


# ---- other steps


def test_fine_scores_flag_the_hour_that_holds_them(tmp_path: Path) -> None:
    write(tmp_path, END, scores([(0, at(n), 3.0 if n == 17 else 0.0) for n in range(24)]))
    found = flagged(run_at(tmp_path), panel(pd.Timedelta("1h")), ALL)
    assert cells(found) == {(0, 1)}


def test_an_hourly_score_flags_all_that_it_stands_for(tmp_path: Path) -> None:
    hour = pd.Timedelta("1h")
    write(tmp_path, END, scores([(0, at(n, hour), 3.0 if n == 1 else 0.0) for n in range(4)]))
    found = flagged(run_at(tmp_path), panel(), ALL)
    assert cells(found) == {(0, n) for n in range(12, 24)}


def test_an_hourly_score_from_before_the_panel_reaches_into_it(tmp_path: Path) -> None:
    early = START - pd.Timedelta("30min")
    write(tmp_path, END, scores([(0, early, 3.0), (0, early + pd.Timedelta("1h"), 0.0)]))
    found = flagged(run_at(tmp_path), panel(), ALL)
    assert cells(found) == {(0, n) for n in range(6)}


def test_scores_beside_the_grid_flag_the_steps_they_meet(tmp_path: Path) -> None:
    early = START - pd.Timedelta("30min")
    late = END - pd.Timedelta("10min")
    frame = scores([(0, early, 3.0), (0, late, 3.0), (0, late - pd.Timedelta("1min"), 0.0)])
    write(tmp_path, END, frame)
    assert cells(flagged(run_at(tmp_path), panel(), ALL)) == {(0, N_STEPS - 2)}


# ---- re-scored


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, list[int], list[int]]]:
    """Runs: clock, first step scored, the series of each shard, the anomalous ones of its cells."""
    runs: list[tuple[int, int, list[int], list[int]]] = []
    for clock in sorted(draw(st.lists(st.integers(1, N_STEPS), max_size=6, unique=True))):
        begin = draw(st.integers(0, clock - 1))
        series = draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
        size = (clock - begin) * len(series)
        hits = draw(st.lists(st.integers(0, size - 1), max_size=6, unique=True))
        runs.append((clock, begin, series, hits))
    return runs


@settings(max_examples=25, deadline=None)
@given(runs=histories(), as_of=st.integers(1, N_STEPS))
def test_the_newest_score_of_a_point_decides(
    runs: list[tuple[int, int, list[int], list[int]]], as_of: int
) -> None:
    said: dict[tuple[int, int], bool] = {}
    with tempfile.TemporaryDirectory() as folder:
        for clock, begin, series, hits in runs:
            points = [(row, col) for row in series for col in range(begin, clock)]
            anomalous = {points[i] for i in hits}
            for shard, row in enumerate(series):
                rows = [(r, at(c), 2.0 * ((r, c) in anomalous)) for r, c in points if r == row]
                write(Path(folder), at(clock), scores(rows), f"-{shard:04d}")
            if clock <= as_of:
                said |= {point: point in anomalous for point in points}
        run = run_at(Path(folder), at(as_of))
        found = flagged(run, panel(), ALL)
        points = anomalous_points(run, START).points
    assert cells(found) == {point for point, is_anomalous in said.items() if is_anomalous}
    assert len(points) == found.mask.sum()


def test_what_returns_at_its_time_of_the_week_is_a_pattern_and_stays() -> None:
    hour, weeks = pd.Timedelta("1h"), 3
    stamps = pd.date_range(START, periods=weeks * 168, freq=hour).as_unit("ms")
    seen = Panel(
        pd.DataFrame([KEYS[0]], columns=["workload", "metric"], dtype="str"),
        START, hour, np.ones((1, len(stamps))),
    )  # fmt: skip
    hot = [9, 40, 168 + 10, 2 * 168 + 100]  # Monday's ninth hour comes again, an hour later
    points = seen.keys.iloc[[0] * 4].assign(ts=stamps[hot])
    found = on_panel(AnomalousPoints(points, hour), seen, HygieneParams())
    assert np.flatnonzero(found.mask[0]).tolist() == [40, 2 * 168 + 100]
