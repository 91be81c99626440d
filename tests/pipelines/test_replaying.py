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
from pipelines.errors import ConfigError, HistoryError
from pipelines.replaying import replay, replay_week
from pipelines.settings import Settings

START = pd.Timestamp("2026-05-04T00:00Z")
STEP = pd.Timedelta(15, "min")
WEEK = 7 * 96
CUT = START + pd.Timedelta(weeks=3)
ISSUE: dict[str, Any] = {"every_min": 60, "refit_h": 24}
DAILY = Settings.model_validate({"prescale": {"issue": ISSUE}})
"""What a replay of few series takes is its forecasts: here they come once a day."""


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
    found = replay_week(panel_of(values), CUT, Catalog({}), settings or DAILY, measured=False)
    return found.table.set_index("policy")


@pytest.fixture(autouse=True)
def _daily(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETIDE_PRESCALE__ISSUE", json.dumps(ISSUE))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ts = pd.date_range(START, periods=4 * WEEK, freq=STEP)
    frame = pd.DataFrame({"name": "web", "metric": "hits", "ts": ts, "value": load()})
    path = tmp_path_factory.mktemp("samples") / "web.parquet"
    pq.write_table(conform(frame, SAMPLES), path)
    return path


def test_a_known_week_is_prepared_for() -> None:
    table = replayed(load())
    assert list(table.index) == [
        "reactive", "foretide", "last_week", "four_weeks", "hourly_max", "oracle",
    ]  # fmt: skip
    over = table["over_target"]
    assert over["foretide"] < 0.5 * over["reactive"]
    assert over["oracle"] <= over["foretide"]
    assert set(table["demand"]) == {table["demand"].iloc[0]}


def test_the_unit_of_a_load_does_not_matter() -> None:
    small, large = replayed(load()), replayed(load() * 1024)
    columns = ["unserved", "over_target", "replica_hours"]
    np.testing.assert_allclose(small[columns], large[columns], rtol=1e-6)


def test_the_assumption_is_a_knob() -> None:
    twice = Settings.model_validate(
        {"prescale": {"replay_case": {"busy_pods": 80}, "issue": ISSUE}}
    )
    before, after = (replayed(load(), s)["replica_hours"] for s in (None, twice))
    assert after["oracle"] == pytest.approx(2 * before["oracle"], rel=0.1)


def test_what_cannot_be_replayed_has_a_reason() -> None:
    gone = load()
    gone[3 * WEEK :] = np.nan
    found = replay_week(panel_of(gone), CUT, Catalog({}), DAILY, measured=False)
    assert found.table.empty
    assert found.skipped["reason"].tolist() == ["nothing was measured in the replayed week"]
    found = replay_week(panel_of(load() * 0), CUT, Catalog({}), DAILY, measured=False)
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


HPA = """
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: default}
spec:
  scaleTargetRef: {kind: Workload, name: NAME}
  minReplicas: 30
  maxReplicas: 60
  metrics: [{type: Resource, resource: {name: cpu, target: {averageUtilization: 50}}}]
"""


def rows_with(samples: Path, tmp_path: Path, manifests: str) -> tuple[pd.DataFrame, str]:
    file = tmp_path / "hpa.yaml"
    file.write_text(manifests, encoding="utf-8")
    told = replay.fn(inputs=[str(samples)], out=str(tmp_path), hpa=str(file))
    table = pd.DataFrame(told["rows"])
    return table[table["workload"] != "*"].set_index("policy"), "\n".join(told["notes"])


def test_a_manifest_says_how_the_hpa_moves(samples: Path, tmp_path: Path) -> None:
    hours = 7 * 24
    for manifests in (HPA, f"{HPA}---{HPA.replace('NAME', 'other')}".replace("NAME", "web")):
        table, notes = rows_with(samples, tmp_path, manifests)
        assert (table["replica_hours"] >= 30 * hours).all()
        assert (table["replica_hours"] <= 60 * hours).all()
        assert "for 1 of 1 workloads" in notes


def test_manifests_of_nobody_and_wrong_ones_are_refused(samples: Path, tmp_path: Path) -> None:
    two = f"{HPA}---{HPA.replace('NAME', 'other')}"
    with pytest.raises(ConfigError, match=r"none of its 2 autoscalers scales a replayed workload"):
        rows_with(samples, tmp_path, two)
    with pytest.raises(ConfigError, match=r"1 ≤ least ≤ most replicas, got 30 and 3"):
        rows_with(samples, tmp_path, HPA.replace("maxReplicas: 60", "maxReplicas: 3"))
    with pytest.raises(ConfigError, match="no HPA in it"):
        rows_with(samples, tmp_path, "kind: Deployment")


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


def test_several_weeks_end_in_a_verdict(samples: Path, tmp_path: Path) -> None:
    args = ["replay", "--input", str(samples), "--out", str(tmp_path), "--weeks", "3", "--json"]
    told = json.loads(CliRunner().invoke(cli, args, catch_exceptions=False).output)
    weeks = {r["evaluated_at"] for r in told["rows"] if r["policy"] == "foretide"} - {None}
    assert len(weeks) == 3
    (advice,) = (r for r in told["rows"] if r["policy"] == "advice")
    assert (advice["workload"], advice["metric"]) == ("default/default/Workload/web", "hits")
    assert advice["weeks"] == 3
    assert advice["verdict"] in ("enable", "do not enable")
    assert sum(v for k, v in told["figures"].items() if k.startswith("advice_")) == 1
    assert any(line.startswith("  pre-scaling: ") for line in told["notes"])
