"""Shards on threads, on processes and on a real Dask cluster whose workers are killed: the same."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml
from dask_tasks import VERB, Once, deadly, double, keeps
from distributed import Client, LocalCluster
from files_harness import write

from features.frames import SKIPS
from features.synthetic import ClusterSpec, simulate
from pipelines.adapters.tracking import Tracking
from pipelines.errors import ConfigError, ForetideError, HistoryError
from pipelines.forecast import forecast
from pipelines.ingest import ingest
from pipelines.registry import FORECASTER
from pipelines.run import RunRef
from pipelines.score import score
from pipelines.spreading import Where, where
from pipelines.staging import aside, staged, tables_aside
from pipelines.tasks import run_shards
from pipelines.train import train

pytestmark = [
    pytest.mark.e2e,
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

END = "2026-05-25T00:00:00+00:00"
TABLES = ("backtest", "scores", "leaks", "incidents", "forecasts", "capacity", "skips")
BOUND_S = 200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two workers whose temporary files are where the flow does not look."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with (
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 1,
                # else who is killed twice, 15 s apart, is given up for good
                "distributed.deploy.lost-worker-timeout": "10000 h",
            }
        ),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=None,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            local_directory=str(elsewhere),
            silence_logs=logging.ERROR,
            env={"TMPDIR": str(elsewhere), "OMP_NUM_THREADS": "1"},
        ) as made,
    ):
        yield made


@pytest.fixture
def address(cluster: LocalCluster) -> str:
    return str(cluster.scheduler_address)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with samples and a migrated, empty MLflow database, and what threads make of it."""
    folder = tmp_path_factory.mktemp("ground")
    start = datetime(2026, 5, 11, tzinfo=UTC)
    spec = ClusterSpec(n_workloads=4, weeks=2, step_s=3600, start=start)
    write(simulate(spec).samples, folder / "samples.parquet")
    config = configured(folder, backend="threads")
    ingest.fn(config=str(config), out=str(folder / "empty"), as_of=END)
    Tracking(f"sqlite:///{folder / 'empty' / 'mlflow.db'}", "e", "m", None).champion(FORECASTER)
    whole_way(config, folder, "threads")
    return folder


def configured(folder: Path, **shards: Any) -> Path:
    settings = {
        "source": {"kind": "files", "paths": [str(folder / "samples.parquet")]},
        "history": {"days": 21, "step_s": 3600},
        "forecast": {
            "models": ["seasonal_naive", "prophet"],
            "champion": {"backtest": {"origins": 1}},
        },
        "shards": {"workloads": 2, "workers": 2, **shards},
    }
    file = folder / f"{shards['backend']}.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def whole_way(config: Path, folder: Path, name: str) -> Path:
    out = folder / name
    shutil.copytree(folder / "empty", out)
    for verb in (train, score, forecast):
        verb.fn(config=str(config), out=str(out), as_of=END)
    return out


def made(store: Path) -> dict[str, bytes]:
    """Every table's file and every file of the models' bundles."""
    tables = {p for name in TABLES for p in (store / name).rglob("*.parquet")}
    found = {str(p.relative_to(store)): p.read_bytes() for p in tables}
    for manifest in (store / "mlartifacts").rglob("bundle.json"):
        folder = manifest.parent
        for p in folder.rglob("*"):
            if p.is_file():
                found[f"{folder.parent.name}/{folder.name}/{p.relative_to(folder)}"] = (
                    p.read_bytes()
                )
    return found


def assert_same(store: Path, expected: Path) -> None:
    found, wanted = made(store), made(expected)
    assert len(wanted) > 20
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert [p for p in store.glob(".*") if p.is_dir()] == []  # nothing aside


def test_processes_make_what_threads_make(ground: Path) -> None:
    config = configured(ground, backend="processes")
    assert_same(whole_way(config, ground, "processes"), ground / "threads")


def test_a_killed_worker_changes_nothing(ground: Path, address: str) -> None:
    config = configured(ground, backend="dask", dask_address=address)
    with Client(address, set_as_default=False) as client:
        killer = threading.Thread(target=kill_one_at_work, args=(client,))
        killer.start()
        store = whole_way(config, ground, "dask")
        killer.join(BOUND_S)
        assert suspicious(client) >= 1
    assert_same(store, ground / "threads")


def kill_one_at_work(client: Client) -> None:
    """As soon as a worker has a shard."""
    pids = client.run(os.getpid)

    def busy() -> list[str]:
        return [worker for worker, keys in client.processing().items() if keys]

    os.kill(pids[until(busy)[0]], signal.SIGKILL)


def suspicious(client: Client) -> int:
    def count(dask_scheduler: Any) -> int:
        return sum(prefix.suspicious for prefix in dask_scheduler.task_prefixes.values())

    return client.run_on_scheduler(count)


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + BOUND_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)
    return found


@pytest.fixture(params=["file", "s3"])
def shards(request: pytest.FixtureRequest, tmp_path: Path, address: str) -> list[RunRef]:
    """Of a run on a folder that all see, and of one whose aside is on this machine alone."""
    config = tmp_path / "foretide.yaml"
    knobs = {"backend": "dask", "dask_address": address}
    config.write_text(yaml.safe_dump({"shards": knobs}))
    out = f"s3://bucket/{tmp_path.name}" if request.param == "s3" else str(tmp_path / "store")
    ref = RunRef(str(config), (), out, END, shards=4)
    return [replace(ref, shard=i) for i in range(4)]


def test_a_shard_that_runs_twice_leaves_what_once_leaves(
    shards: list[RunRef], tmp_path: Path
) -> None:
    run = shards[0].open()
    with staged(run, VERB) as folder:
        (folder / "told.txt").write_text("what the flow knows")
        asks = [Once(s, str(tmp_path / "killed") if s.shard == 1 else "") for s in shards]
        done = run_shards(keeps, asks, workers=2, max_failed_share=0.0, where=where(run, VERB))
        assert (tmp_path / "killed").exists()
        assert done.results == (0, 1, 2, 3)
        table = tables_aside(run, VERB, SKIPS)
        assert table is not None
        assert sorted(table["workload"].to_pylist()) == [f"w/{i}" for i in range(4)]
        assert set(table["reason"].to_pylist()) == {"what the flow knows"}
        kept = sorted(str(p.relative_to(folder)) for p in (folder / "bundle").rglob("*.txt"))
        assert kept == [f"bundle/shard-{i}/a.txt" for i in range(4)]
    assert not aside(run, VERB).exists()


def test_failures_are_counted_wherever_it_runs(address: str) -> None:
    there = Where("dask", address)
    for one in (Where("processes"), there):
        done = run_shards(double, [1, 13, 3, -1], workers=2, max_failed_share=0.5, where=one)
        assert done.results == (2, 6)
        assert len(done.failed) == 2
        assert "unlucky" in done.failed[0]
    with pytest.raises(ForetideError, match="1 of 3 shards failed, first: RuntimeError"):
        run_shards(double, [1, 13, 3], workers=2, max_failed_share=0.1, where=there)
    with pytest.raises(HistoryError, match="-1 is too little"):
        run_shards(double, [-1], workers=1, max_failed_share=0.0, where=there)


def test_workers_that_see_another_world_are_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is set here alone: the workers' configuration is another one."""
    there = Where("dask", address)
    monkeypatch.setenv("FORETIDE_HISTORY__DAYS", "9")
    run = RunRef(None, (), str(tmp_path), END).open()
    with pytest.raises(ConfigError, match=r"\d of \d Dask workers: .* reads another configuration"):
        run_shards(
            double, [1], workers=1, max_failed_share=0.0,
            where=replace(there, run=run.ref, run_id=run.run_id),
        )  # fmt: skip


def test_nobody_at_the_address_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"shards.dask_address: no .* at tcp:/127.0.0.1: "):
        run_shards(
            double, [1], workers=1, max_failed_share=0.0, where=Where("dask", "tcp:/127.0.0.1")
        )


@pytest.mark.parametrize("backend", ["processes", "dask"])
def test_a_shard_that_kills_its_workers_fails_alone(backend: str, address: str) -> None:
    there = Where("dask", address) if backend == "dask" else Where("processes")
    done = run_shards(deadly, [1, 2, 13, 3, 4], workers=2, max_failed_share=0.2, where=there)
    assert done.results == (2, 4, 6, 8)
    assert len(done.failed) == 1
    assert re.match("KilledWorker|BrokenProcessPool", done.failed[0])
