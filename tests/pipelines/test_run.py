"""One run: its clock, its identity, and how its work is cut."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.frames import CONTRACTS, SAMPLES, conform
from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from pipelines.errors import ConfigError
from pipelines.moments import parse_duration, parse_time
from pipelines.run import Run, RunRef

NOW = pd.Timestamp("2026-06-01T12:00Z").as_unit("ms")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven workloads, three weeks, a quarter of an hour a step; and one that has just begun."""
    path = tmp_path_factory.mktemp("cluster") / "samples.parquet"
    frame = simulate(ClusterSpec(n_workloads=7, weeks=3, step_s=900)).samples.to_pandas()
    young = frame[(frame["name"] == "storefront") & (frame["ts"] >= "2026-05-24T20:00Z")]
    both = pd.concat([frame, young.assign(name="newcomer")])
    pq.write_table(conform(both, SAMPLES), path)
    return path


def opened(folder: Path, source: Path, config: str = "{}", **more: Any) -> Run:
    path = folder / "foretide.yaml"
    path.write_text(config, encoding="utf-8")
    return RunRef.resolve(str(path), [str(source)], str(folder / "out"), None, NOW).open()


# ---- identity and clock


def test_a_run_has_the_same_id_again_and_another_when_anything_differs(
    tmp_path: Path, cluster: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("history: {days: 20}\n")

    def run_id(**change: Any) -> str:
        given: dict[str, Any] = {
            "config": str(path),
            "inputs": [str(cluster)],
            "out": "somewhere",
            "as_of": "2026-05-20T00:00Z",
            "now": NOW,
        }
        return RunRef.resolve(**(given | change)).open().run_id

    first = run_id()
    assert run_id() == first
    assert run_id(now=NOW + pd.Timedelta(days=1)) == first
    assert run_id(as_of="2026-05-21T00:00Z") != first
    assert run_id(inputs=[str(cluster.parent)]) != first
    path.write_text("history: {days: 20}\nshards: {workloads: 2}\n")
    assert run_id() == first
    path.write_text("history: {days: 21}\n")
    assert run_id() != first


def test_a_ref_survives_json(cluster: Path) -> None:
    ref = RunRef.resolve(None, [str(cluster)], None, None, NOW)
    back = json.loads(json.dumps(asdict(ref)))
    assert RunRef(**(back | {"inputs": tuple(back["inputs"])})) == ref


def test_the_clock_of_files_is_their_end_and_of_the_store_it_is_now(cluster: Path) -> None:
    assert RunRef.resolve(None, [str(cluster)], None, None, NOW).open().as_of == pd.Timestamp(
        "2026-05-25T00:00Z"
    )
    assert RunRef.resolve(None, None, None, None, NOW).open().as_of == NOW


@given(
    st.datetimes(pd.Timestamp("1971-01-01"), pd.Timestamp("2199-01-01")),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_moment_means_the_same_in_every_zone(at: Any, minutes: int) -> None:
    at = pd.Timestamp(at).floor("s")
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    local = at + pd.Timedelta(minutes=minutes)
    assert parse_time(f"{local:%Y-%m-%dT%H:%M:%S}{zone}", "--as-of") == at.tz_localize("UTC")
    assert parse_time(f"{at:%Y-%m-%d %H:%M:%S}", "--as-of") == at.tz_localize("UTC")


@pytest.mark.parametrize(
    "text", ["", "now", "today", "10:00", "1780000000", "2026-13-01", "0001-01-01"]
)
def test_what_is_no_moment_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--as-of: .*got {text!r}"):
        parse_time(text, "--as-of")


@pytest.mark.parametrize("text", ["", "168", "h", "-5h", "0h", "1 ms", "100000d", "NaT", "soon"])
def test_what_is_no_length_of_time_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--horizon: .*got {text!r}"):
        parse_duration(text, "--horizon")


def test_lengths_of_time() -> None:
    assert parse_duration("168h", "--horizon") == pd.Timedelta(days=7)
    assert parse_duration("30min", "--step") == pd.Timedelta(minutes=30)
    assert parse_duration("1.5 d", "--step") == pd.Timedelta(hours=36)


# ---- nothing at or after the clock is seen


def test_no_panel_reaches_the_clock(tmp_path: Path, cluster: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("{}")
    ref = RunRef.resolve(str(path), [str(cluster)], None, "2026-05-20T10:20Z", NOW)
    run = ref.open()
    assert run.samples(run.history_start, run.as_of)["ts"].max() < run.as_of
    panel = run.panel(run.history_start, run.as_of)
    assert panel.end == pd.Timestamp("2026-05-20T10:15Z")  # the step of 10:15 is not over


# ---- shards


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_shards_are_a_partition_on_one_grid(tmp_path: Path, cluster: Path, size: int) -> None:
    whole = opened(tmp_path, cluster)
    cut = opened(tmp_path, cluster, f"shards: {{workloads: {size}}}")
    start = whole.as_of - pd.Timedelta(days=2)
    panel = whole.panel(start, whole.as_of)
    parts = [ref.open().panel(start, whole.as_of) for ref in cut.shards()]
    assert all(p.n_series for p in parts)
    assert len(parts) > 1
    keys = pd.concat([p.keys for p in parts], ignore_index=True)
    order = keys.sort_values(["workload", "metric"]).index
    pd.testing.assert_frame_equal(keys.loc[order].reset_index(drop=True), panel.keys)
    values = np.vstack([p.values for p in parts])[order]
    np.testing.assert_array_equal(values, panel.values)
    assert {(p.start, p.step) for p in parts} == {(panel.start, panel.step)}


def test_a_shard_that_measured_nothing_has_a_panel_without_series(
    tmp_path: Path, cluster: Path
) -> None:
    frame = pq.read_table(cluster).to_pandas()
    first = (frame[["cluster", "name"]] == frame[["cluster", "name"]].iloc[0]).all(axis=1)
    late = frame[first | (frame["ts"] < "2026-05-20T00:00Z")]
    part = tmp_path / "part.parquet"
    late.to_parquet(part)
    run = opened(tmp_path, part, "shards: {workloads: 1}")
    panels = [r.open().panel(run.as_of - pd.Timedelta(days=1), run.as_of) for r in run.shards()]
    assert sorted(bool(p.n_series) for p in panels) == [False] * (len(panels) - 1) + [True]
    assert len({(p.start, p.step, p.n_steps) for p in panels}) == 1
    assert all(isinstance(p, Panel) for p in panels)


def tables(out: Path, names: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = {}
    for name in names:
        parts = [pq.read_table(p).to_pandas() for p in sorted((out / name).glob("*.parquet"))]
        table = pd.concat([p for p in parts if len(p)] or parts, ignore_index=True)
        labels = table.select_dtypes("category").columns
        table = table.astype(dict.fromkeys(labels, "str"))
        found[name] = table.sort_values(list(CONTRACTS[name].key), ignore_index=True)
    return found


@pytest.fixture(scope="module")
def cut_and_whole(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same runs over the file: three workloads a shard, and all in one."""
    from pipelines.forecast import forecast
    from pipelines.score import score

    places: list[Path] = []
    for size in (3, 500):
        folder = tmp_path_factory.mktemp(f"shards{size}")
        config = folder / "foretide.yaml"
        config.write_text(f"shards: {{workloads: {size}}}\n")
        common: dict[str, Any] = {
            "config": str(config),
            "inputs": [str(cluster)],
            "out": str(folder / "out"),
        }
        score.fn(**common, train_until="2026-05-21T00:00Z")
        forecast.fn(**common, horizon="24h")
        places.append(folder / "out")
    return places[0], places[1]


@pytest.mark.parametrize(
    "table", ["scores", "leaks", "incidents", "forecasts", "capacity", "skips"]
)
def test_results_do_not_depend_on_the_shards(cut_and_whole: tuple[Path, Path], table: str) -> None:
    cut, whole = (tables(place, (table,))[table] for place in cut_and_whole)
    assert len(list((cut_and_whole[0] / "scores").glob("*.parquet"))) > 1
    assert len(whole) or table in ("leaks", "incidents")
    if table in ("forecasts", "capacity"):  # who is younger than a day looks at its shard's others
        forecasts = tables(cut_and_whole[1], ("forecasts",))["forecasts"]
        young = set(forecasts.loc[forecasts["confidence"] != "week", "workload"])
        assert {w.rpartition("/")[2] for w in young} == {"newcomer"}
        cut, whole = (t[~t["workload"].isin(young)].reset_index(drop=True) for t in (cut, whole))
    pd.testing.assert_frame_equal(cut, whole, rtol=1e-9, atol=1e-12)


def test_a_repeated_run_replaces_what_other_shards_wrote(cluster: Path, tmp_path: Path) -> None:
    from pipelines.forecast import forecast

    out, config = tmp_path / "out", tmp_path / "foretide.yaml"
    rows: list[int] = []
    for size in (1, 500, 3):
        config.write_text(f"shards: {{workloads: {size}}}\n")
        common: dict[str, Any] = {"inputs": [str(cluster)], "out": str(out), "horizon": "2h"}
        forecast.fn(config=str(config), **common)
        rows.append(len(tables(out, ("forecasts",))["forecasts"]))
    assert rows[0] == rows[1] == rows[2] > 0
