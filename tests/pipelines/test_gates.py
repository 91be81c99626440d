"""What a metric's gates and range, and silences, do to a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.frames import SAMPLES, SCORES, conform
from features.silences import Silence
from pipelines.doctor.examine import check_silences
from pipelines.errors import ConfigError, HistoryError
from pipelines.outcome import panel_counts
from pipelines.run import Run, RunRef
from pipelines.score_rows import SILENCED, with_silences
from pipelines.settings import load_settings

NOW = pd.Timestamp("2026-06-03T00:00Z").as_unit("ms")
START = pd.Timestamp("2026-06-01T00:00Z").as_unit("ms")
WRONG = "outside what can be true (minimum, maximum of the metric)"


def written(folder: Path, values: dict[tuple[str, str], np.ndarray]) -> Path:
    frames = [
        pd.DataFrame(
            {
                "cluster": "prod", "namespace": "shop", "kind": "Deployment", "name": name,
                "metric": metric, "ts": pd.date_range(START, periods=len(v), freq="1h"), "value": v,
            }
        )
        for (name, metric), v in values.items()
    ]  # fmt: skip
    path = folder / "samples.parquet"
    pq.write_table(conform(pd.concat(frames), SAMPLES), path)
    return path


def opened(folder: Path, source: Path, config: str = "", shards: int = 1) -> list[Run]:
    path = folder / "foretide.yaml"
    path.write_text(config, encoding="utf-8")
    ref = RunRef.resolve(str(path), [str(source)], str(folder / "out"), None, NOW)
    if shards == 1:
        return [ref.open()]
    path.write_text(f"{config}\nshards: {{workloads: 1}}\n", encoding="utf-8")
    return [r.open() for r in ref.open().shards()]


def test_what_cannot_be_true_in_a_file_is_counted_and_left_out(tmp_path: Path) -> None:
    errors, memory = np.full(48, 0.01), np.full(48, 1e9)
    errors[5], errors[6], errors[7], memory[9] = -0.5, 1.5, np.nan, 2.0**63
    source = written(tmp_path, {("a", "error_ratio"): errors, ("b", "memory_rss_bytes"): memory})
    [run] = opened(tmp_path, source)
    panel = run.panel(START, run.as_of)
    assert np.flatnonzero(np.isnan(panel.values[0])).tolist() == [5, 6, 7]
    assert np.flatnonzero(np.isnan(panel.values[1])).tolist() == [9]
    counts = panel_counts(panel.counts)
    assert (counts[WRONG], counts["not finite"]) == (3, 1)
    assert run.samples(START, run.as_of)["value"].isna().sum() == 4


def test_how_the_work_is_cut_changes_no_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = {
        (f"w{i}", "error_ratio"): np.where(rng.random(48) < 0.2, 7.0, rng.random(48))
        for i in range(5)
    }
    source = written(tmp_path, values)
    [whole] = opened(tmp_path, source)
    parts = opened(tmp_path, source, shards=2)
    assert len(parts) > 1
    wrong = sum(int((v > 1).sum()) for v in values.values())
    assert whole.panel(START, NOW).counts.out_of_range == wrong
    panels = [r.panel(START, NOW) for r in parts]
    assert sum(p.counts.out_of_range for p in panels) == wrong
    assert sum(p.counts.not_finite for p in panels) == 0
    assert sum(p.n_series for p in panels) == 5


def test_a_users_own_range_and_gates_need_no_catalog_file(tmp_path: Path) -> None:
    depth = np.arange(48.0)
    depth[40] = 5000
    source = written(tmp_path, {("a", "checkout_queue_depth"): depth})
    given = "{direction: up, maximum: 1000, minimum_deviation: 20, minimum_relative_deviation: 0.3}"
    [run] = opened(tmp_path, source, f"metrics: {{checkout_queue_depth: {given}}}")
    assert np.flatnonzero(np.isnan(run.panel(START, NOW).values[0])).tolist() == [40]
    gates = run.catalog.gates(["checkout_queue_depth", "unknown"])
    assert gates.directions == ("up", "both")
    assert gates.minimum_deviation.tolist() == [20, 0]
    assert gates.minimum_relative[0] == 0.3
    assert np.isnan(gates.minimum_relative[1])


def test_a_file_of_nothing_that_can_be_true_says_so(tmp_path: Path) -> None:
    source = written(tmp_path, {("a", "error_ratio"): np.full(48, 7.0)})
    [run] = opened(tmp_path, source)
    with pytest.raises(HistoryError, match=r"none of the 48 samples can be true: 48 are outside"):
        run.panel(START, NOW)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("metrics: {a: {directon: up}}", "configuration, metrics: metric 'a': unknown key"),
        ("metrics: {a: {minimum_deviation: -1}}", "minimum_deviation must be a number from 0 on"),
        ("metrics: {a: {limit: b}}", "metric 'a' has limit 'b'"),
        ("silences: [{match: '*', start: 2026-06-01}]", "silences.0: end: a silence must have one"),
        ("silences: [{match: '*', start: 2026-06-01, end: }]", "end: a silence must have one"),
        ("silences: [{mach: '*', start: 2026-06-01, end: 2026-06-02}]", "did you mean 'match'"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(tmp_path: Path, config: str, said: str) -> None:
    source = written(tmp_path, {("a", "a"): np.full(48, 7.0)})
    with pytest.raises(ConfigError, match=said):
        opened(tmp_path, source, config)


def test_silences_are_read_as_yaml_writes_moments(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "silences: [{match: 'prod/*', metric: 'error_*', start: 2026-06-01, "
        "end: 2026-06-02T10:00:00+02:00, reason: moving}]"
    )
    [silence] = load_settings(path).silences
    assert silence.span == (START, pd.Timestamp("2026-06-02T08:00Z"))


def scored(n: int) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "workload": "prod/shop/Deployment/a", "metric": "error_ratio",
            "ts": pd.date_range(START, periods=n, freq="1h").as_unit("ms"), "detector": "band",
            "score": np.tile([0.5, 1.0, 3.0], n // 3),
            "severity": np.tile(["normal", "warning", "critical"], n // 3), "reason": "errors 3 %",
        }
    )  # fmt: skip
    return rows.reindex(columns=[c for c in SCORES.schema.names if c in rows])


def test_only_what_would_be_told_is_silenced_and_its_score_stays() -> None:
    scores = scored(9)
    silence = Silence("prod/shop/*", "2026-06-01T01:00Z", "2026-06-01T05:00Z", reason="moving")
    quiet = with_silences(scores, [silence])
    assert quiet["score"].tolist() == scores["score"].tolist()
    assert quiet["severity"].tolist() == [
        "normal", SILENCED, SILENCED, "normal", SILENCED, "critical", "normal", "warning",
        "critical",
    ]  # fmt: skip
    told = "silenced, prod/shop/* until 2026-06-01 05:00 UTC (moving): errors 3 %"
    assert quiet.loc[quiet["severity"] == SILENCED, "reason"].unique().tolist() == [told]
    assert (quiet.loc[quiet["severity"] != SILENCED, "reason"] == "errors 3 %").all()
    assert list(scores["severity"]) == list(scored(9)["severity"])


@pytest.mark.parametrize("silences", [[], [Silence("prod/pay/*", "2026-06-01", "2026-06-09")]])
def test_a_silence_of_others_or_none_changes_nothing(silences: list[Silence]) -> None:
    pd.testing.assert_frame_equal(with_silences(scored(6), silences), scored(6))
    assert with_silences(scored(0), silences).empty


def test_the_doctor_names_what_is_silenced_now_and_what_was_long_ago() -> None:
    active = Silence("prod/*", "2026-06-01", "2026-06-03", reason="moving")
    over = Silence("prod/pay/*", "2026-01-01", "2026-01-02")
    told = check_silences([active, over], START)
    assert told.status == "warn"
    assert "silenced: prod/* until 2026-06-03 00:00 UTC (moving)" in told.detail
    assert "can go: prod/pay/*" in told.detail
    assert check_silences([active], NOW).status == "ok"
