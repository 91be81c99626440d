"""The whole way with a store in S3: the same tables as on disk, the same documents, a doctor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from command_line import CommandLine, Told, no_aws_of_the_machine
from files_harness import write
from s3_server import S3Server, s3_server

from features.frames import CONTRACTS, SKIPS, Contract
from features.synthetic import ClusterSpec, simulate
from pipelines.adapters.store import Store

pytestmark = [
    pytest.mark.e2e,
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WEEKS, STEP_S = 3, 1800
PREFIX = "teams/a b/foretide"
RUNS = ("part", "run_id", "model_version", "path")


@pytest.fixture(scope="module")
def samples() -> pa.Table:
    return simulate(ClusterSpec(n_workloads=3, weeks=WEEKS, step_s=STEP_S)).samples


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def env(bucket: S3Server, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    with no_aws_of_the_machine(tmp_path) as patch:
        for name, value in bucket.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[0])
        patch.setenv("AWS_SESSION_TOKEN", SECRETS[1])
        yield patch


SECRETS = ("a/long+lived/secret", "IQoJb3JpZ2luX2VjE/session+token==")


@dataclass
class Way:
    """All verbs on one store."""

    line: CommandLine
    root: str
    end: pd.Timestamp

    def __call__(self, verb: str, at: pd.Timestamp | None = None, *options: str) -> Told:
        moment = (at or self.end).isoformat()
        told = self.line.run(verb, "--out", self.root, "--as-of", moment, *options)
        assert told.code == 0, told.err
        return told

    def whole(self) -> dict[str, Any]:
        """Forecast a day before the end, so that there is something to evaluate at the end."""
        day = pd.Timedelta(days=1)
        self("ingest")
        self("train", self.end - day)
        for verb in ("score", "forecast"):
            self(verb, self.end - day)
            self(verb)
        return {verb: self(verb).result for verb in ("plan", "evaluate", "report")}


@pytest.fixture
def ways(
    samples: pa.Table,
    bucket: S3Server,
    env: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> tuple[Way, Way]:
    """On disk and in the bucket, with models of their own; nothing else differs."""
    file = write(samples, tmp_path / "samples.parquet")
    end = pd.Timestamp(samples["ts"].to_pandas().max()) + pd.Timedelta(STEP_S, "s")
    made = []
    for name, root in (("disk", str(tmp_path / "store")), ("s3", bucket.root(PREFIX))):
        folder = tmp_path / name
        folder.mkdir()
        settings = {
            "source": {"kind": "files", "paths": [str(file)]},
            "history": {"days": 7 * WEEKS, "step_s": STEP_S},
            "forecast": {"models": ["seasonal_naive"], "champion": {"backtest": {"origins": 1}}},
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        }
        line = CommandLine(folder, capsys, caplog, settings, SECRETS)
        made.append(Way(line, root, end))
    return made[0], made[1]


def test_the_whole_way_in_a_bucket(ways: tuple[Way, Way], bucket: S3Server, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    disk, s3 = ways
    told = [way.whole() for way in ways]
    for verb in told[0]:
        print(verb, told[0][verb], told[1][verb])
    stores = [Store(way.root) for way in ways]
    for contract in CONTRACTS.values():
        print(contract.name, *(s.parts(contract) for s in stores))
    keys = bucket.contents(PREFIX)
    print(sorted(keys))
    print(sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()))
    d = s3.line.run("doctor", "--out", s3.root, "--as-of", s3.end.isoformat())
    print(d.code, d.err, *d.result, sep="\n")
    assert 0
