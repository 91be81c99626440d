"""A training that is clearly worse stays challenger until someone says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from pipelines.adapters.tracking import CHALLENGER
from pipelines.cli import cli
from pipelines.pairs import FAMILIES
from pipelines.run import Run, RunRef
from pipelines.train import train

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

END = pd.Timestamp("2026-06-15T00:00Z")
HOUR = pd.Timedelta(hours=1)
GOOD, BAD = ["seasonal_naive", "seasonal_day"], ["seasonal_naive"]


def samples() -> pd.DataFrame:
    """A daily wave and noise: the mean of many days is a third better than last week."""
    ts = pd.date_range(END - pd.Timedelta(days=28), END, freq="h", inclusive="left").as_unit("ms")
    rng = np.random.default_rng(0)
    wave = 20 + 5 * np.sin(np.arange(len(ts)) * 2 * np.pi / 24)
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment"}
    parts = [
        pd.DataFrame(
            labels
            | {"name": f"w{i}", "metric": "requests_per_second", "ts": ts}
            | {"value": wave + rng.normal(0, 1, len(ts))}
        )
        for i in range(8)
    ]
    return pd.concat(parts)


class Trainings:
    """One store, trained again and again."""

    def __init__(self, root: Path) -> None:
        self.root, self.config = root, root / "foretide.yaml"
        samples().to_parquet(root / "samples.parquet")

    def again(self, models: list[str], at: pd.Timestamp) -> dict[str, Any]:
        tree = {
            "store": {"path": str(self.root / "store")},
            "forecast": {"models": models},
            "shards": {"workers": 1},
        }
        self.config.write_text(yaml.safe_dump(tree))
        inputs = [str(self.root / "samples.parquet")]
        return train.fn(str(self.config), inputs, None, at.isoformat())

    def run(self) -> Run:
        return RunRef.resolve(str(self.config), None, None, END.isoformat(), END).open()

    def live(self) -> list[str]:
        found = [self.run().tracking().champion(family) for family in FAMILIES]
        return [v.version for v in found if v is not None]

    def models(self, *args: str) -> Any:
        command = ["models", *args, "--config", str(self.config), "--json"]
        told = CliRunner().invoke(cli, command)
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    made = Trainings(tmp_path_factory.mktemp("registering"))
    off_the_grid = pd.Timedelta("13min47s")  # who trains by hand does so at no round moment
    assert made.again(GOOD, END - 2 * HOUR + off_the_grid)["done"] == 8
    return made


def test_from_worse_to_live_and_back(trainings: Trainings) -> None:
    assert trainings.live() == ["1", "1"]
    told = trainings.again(BAD, END - HOUR)
    note = next(n for n in told["notes"] if "stays challenger" in n)
    assert "clearly worse: over 8 series" in note
    assert "foretide models promote forecaster 2" in note
    assert trainings.live() == ["1", "1"]
    rows = {(r["family"], r["version"]): r for r in trainings.models("list")}
    for family in FAMILIES:
        assert rows[family, "2"]["challenger"]
        assert "clearly worse" in rows[family, "2"]["held_back"]
        assert rows[family, "1"]["champion"]
    # one that is as good goes live by itself, and is the challenger no more
    assert not [n for n in trainings.again(GOOD, END)["notes"] if "challenger" in n]
    assert trainings.live() == ["3", "3"]
    assert [trainings.run().tracking().holder(f, CHALLENGER) for f in FAMILIES] == [None, None]
    # who was never live is not gone back to
    assert [m["champion"] for m in trainings.models("rollback")["moved"]] == [
        "forecaster/1",
        "detector/1",
    ]
    told = trainings.models("promote", "forecaster", "2")
    assert trainings.live() == ["2", "2"]
    assert "had been held back" in told["notes"][0]
    trainings.models("rollback")
    assert trainings.live() == ["1", "1"]


def test_an_old_live_version_yields(trainings: Trainings) -> None:
    later = END + pd.Timedelta(days=8)
    shifted = samples().assign(ts=lambda t: t["ts"] + pd.Timedelta(days=8))
    shifted.to_parquet(trainings.root / "samples.parquet")
    told = trainings.again(BAD, later)
    assert not any("stays challenger" in n for n in told["notes"])
