"""The whole way with a store in S3: the same tables as on disk, the same documents, a doctor."""

from __future__ import annotations

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

from features.frames import CONTRACTS
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
TABLES = {"scores", "forecasts", "capacity", "backtest", "skips", "accuracy", "replays"}


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


def test_the_whole_way_in_a_bucket(ways: tuple[Way, Way], bucket: S3Server, tmp_path: Path):
    disk, s3 = ways
    told, expected = s3.whole(), disk.whole()
    assert_same_tables(Store(s3.root), Store(disk.root))

    keys, files = bucket.contents(PREFIX), files_of(Path(disk.root))
    assert keys.keys() == files.keys()
    exact = [key for key in keys if key.startswith(("samples/", "plans/", "evaluation/"))]
    assert len(exact) > 7 * WEEKS
    assert {key: keys[key] for key in exact} == {key: files[key] for key in exact}
    ours, theirs = told["report"]["run_id"].encode(), expected["report"]["run_id"].encode()
    assert keys["report.html"].replace(ours, theirs) == files["report.html"]

    assert told["report"]["outputs"] == {"report": f"{s3.root}/report.html"}
    assert told["plan"]["outputs"]["plan"].startswith(f"{s3.root}/plans/")
    assert told["plan"]["figures"] == expected["plan"]["figures"]
    assert told["evaluate"]["figures"] == expected["evaluate"]["figures"]
    assert not [p for p in tmp_path.rglob("*") if "s3:" in p.name]

    before = but_runs(bucket.contents(PREFIX))
    checks = s3("doctor").checks
    assert {c["status"] for c in checks.values()} == {"ok"}, checks
    assert "can be listed and written" in checks["store"]["detail"]
    s3("ingest")
    s3("plan")
    assert but_runs(bucket.contents(PREFIX)) == before


def but_runs(contents: dict[str, bytes]) -> dict[str, bytes]:
    """All but the table of runs, which tells by the clock on the wall, and more at each run."""
    return {key: data for key, data in contents.items() if not key.startswith("runs/")}


def assert_same_tables(one: Store, other: Store) -> None:
    alike = [c for c in CONTRACTS.values() if c.name not in ("samples", "runs")]
    written = [c for c in alike if other.parts(c)]
    assert {c.name for c in written} >= TABLES
    for contract in written:
        assert one.parts(contract) == other.parts(contract)
        frames = [without_run(s.read(contract)) for s in (one, other)]
        pd.testing.assert_frame_equal(*frames)
    assert one.read_samples().equals(other.read_samples())


def without_run(table: pa.Table) -> pd.DataFrame:
    """The trackers' addresses are settings, which a run's name follows from."""
    frame = table.to_pandas()
    return frame.drop(columns=[c for c in ("run_id",) if c in frame])


def files_of(root: Path) -> dict[str, bytes]:
    files = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_models_need_a_place_of_their_own(ways: tuple[Way, Way]):
    """MLflow's own file cannot be in a bucket, and nobody guesses another place."""
    _, s3 = ways
    del s3.line.settings["tracking"]
    root = f"{s3.root}-2"
    where = ["--out", root, "--as-of", s3.end.isoformat()]
    s3.line.done("ingest", *where)
    told = s3.line.run("train", *where)
    assert told.code == 1
    assert told.line.startswith(f"foretide: tracking.uri: needed where the store is {root}; ")
    doctor = s3.line.run("doctor", *where)
    assert doctor.code == 1
    failed = [c for c in doctor.result if c["status"] == "fail"]
    assert [c["name"] for c in failed] == ["models"]
    assert "tracking.uri" in failed[0]["detail"]
    assert failed[0]["remedy"]
