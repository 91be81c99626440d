"""The replay verb: floors know only the past, and what is assumed is said and can be changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.frames import SAMPLES, conform
from features.metrics import Catalog
from features.panel import Panel
from features.synthetic import ClusterSpec, simulate
from pipelines.cli import cli
from pipelines.errors import HistoryError
from pipelines.replaying import replay, replay_week
from pipelines.settings import Settings

START = pd.Timestamp("2026-05-04T00:00Z")
STEP = pd.Timedelta(15, "min")
WEEK = 7 * 96
CUT = START + pd.Timedelta(weeks=3)


def load(weeks: int = 4, noise: float = 0.03) -> np.ndarray:
    """Steep mornings on weekdays: what a reactive HPA is late for."""
    quarter = np.arange(weeks * WEEK)
    hour = quarter % 96 / 4
    day = 20 + 380 * ((hour >= 9) & (hour < 17)) * np.where(quarter // 96 % 7 < 5, 1.0, 0.2)
    return day * np.random.default_rng(3).lognormal(0, noise, len(quarter))


def panel_of(values: np.ndarray) -> Panel:
    keys = pd.DataFrame({"workload": ["a/b/Deployment/web"], "metric": ["hits"]}, dtype="str")
    return Panel(keys, START, STEP, values[None, :])


def replayed(values: np.ndarray, settings: Settings | None = None) -> pd.DataFrame:
    found = replay_week(panel_of(values), CUT, Catalog({}), settings or Settings(), measured=False)
    return found.table.set_index("policy")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ts = pd.date_range(START, periods=4 * WEEK, freq=STEP)
    frame = pd.DataFrame({"name": "web", "metric": "hits", "ts": ts, "value": load()})
    path = tmp_path_factory.mktemp("samples") / "web.parquet"
    pq.write_table(conform(frame, SAMPLES), path)
    return path


def test_a_known_week_is_prepared_for() -> None:
    table = replayed(load())
    assert list(table.index) == ["reactive", "foretide", "last_week", "oracle"]
    over = table["over_target"]
    assert over["foretide"] < 0.5 * over["reactive"]
    assert over["oracle"] <= over["foretide"]
    assert set(table["demand"]) == {table["demand"].iloc[0]}


def test_floors_know_nothing_of_the_week_they_are_for() -> None:
    values = load()
    spent: list[float] = []
    for share in (1e-6, 1e-5):
        idle = values.copy()
        idle[3 * WEEK :] *= share  # so little that only the floor holds pods
        spent.append(float(replayed(idle)["replica_hours"]["foretide"]))
    assert spent[0] == spent[1] > 0.5 * float(replayed(values)["replica_hours"]["oracle"])


def test_the_unit_of_a_load_does_not_matter() -> None:
    small, large = replayed(load()), replayed(load() * 1024)
    columns = ["unserved", "over_target", "replica_hours"]
    np.testing.assert_allclose(small[columns], large[columns], rtol=1e-6)


def test_the_assumption_is_a_knob() -> None:
    twice = Settings.model_validate({"prescale": {"replay_case": {"busy_pods": 80}}})
    before, after = (replayed(load(), s)["replica_hours"] for s in (None, twice))
    assert after["oracle"] == pytest.approx(2 * before["oracle"], rel=0.1)


def test_what_cannot_be_replayed_has_a_reason() -> None:
    gone = load()
    gone[3 * WEEK :] = np.nan
    found = replay_week(panel_of(gone), CUT, Catalog({}), Settings(), measured=False)
    assert found.table.empty
    assert found.skipped["reason"].tolist() == ["nothing was measured in the replayed week"]
    found = replay_week(panel_of(load() * 0), CUT, Catalog({}), Settings(), measured=False)
    assert "no load" in found.skipped["reason"].iloc[0]


def test_the_command_says_what_is_assumed(samples: Path, tmp_path: Path) -> None:
    args = ["replay", "--input", str(samples), "--out", str(tmp_path)]
    shown = CliRunner().invoke(cli, args, catch_exceptions=False).output
    assert "assumed" in shown
    assert "40 pods" in shown
    assert all(policy in shown for policy in ("reactive", "foretide", "last_week", "oracle"))
    told = json.loads(CliRunner().invoke(cli, [*args, "--json"]).output)
    assert {row["workload"] for row in told["rows"]} == {"*", "default/default/Workload/web"}
    assert told["figures"]["foretide_over_target_cut_share"] > 0.5


def test_no_history_is_said(samples: Path, tmp_path: Path) -> None:
    early = (START + pd.Timedelta(days=7)).isoformat()
    with pytest.raises(HistoryError, match="nothing can be replayed"):
        replay.fn(inputs=[str(samples)], out=str(tmp_path), as_of=early)


def test_measured_pods_are_replayed_as_they_are(tmp_path: Path) -> None:
    cluster = simulate(ClusterSpec(n_workloads=8, weeks=4, step_s=900))
    pq.write_table(cluster.samples, tmp_path / "cluster.parquet")
    told: dict[str, Any] = replay.fn(
        inputs=[str(tmp_path / "cluster.parquet")], out=str(tmp_path / "out")
    )
    names = set(cluster.samples.to_pandas()["name"])
    assert told["unit"] == "workloads"
    assert told["done"] + sum(told["skipped"].values()) == 8
    assert told["skipped"]["no HPA"] >= 1
    assert {r["metric"] for r in told["rows"]} == {"*", "cpu_usage_cores"}
    assert {r["workload"].rsplit("/", 1)[-1] for r in told["rows"]} - {"*"} <= names
