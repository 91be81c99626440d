"""Models on a real MLflow server: PostgreSQL behind it, files in S3."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow_server import MlflowServer, free_port, mlflow_server

from pipelines.adapters.tracking import ModelVersion, Tracking
from pipelines.cli import cli
from pipelines.errors import ModelError
from pipelines.registry import load_live
from pipelines.run import Run, RunRef
from pipelines.train import train

pytestmark = [
    pytest.mark.e2e,
    # mlflow and sqlalchemy warn about themselves, and moto leaves sockets to the collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

END = pd.Timestamp("2026-06-15T00:00Z")
NAMES = ("cart", "checkout")
CHECKOUT = "c/n/Deployment/checkout"


@dataclass(frozen=True)
class World:
    server: MlflowServer
    config: Path
    run: Run
    printed: str

    def called(self, *args: str) -> Result:
        return CliRunner().invoke(cli, ["models", *args, "--config", str(self.config)])

    def live(self) -> dict[str, str]:
        found = {f: self.run.tracking().champion(f) for f in ("forecaster", "detector")}
        return {family: v.version for family, v in found.items() if v is not None}


def samples() -> pd.DataFrame:
    ts = pd.date_range(END - pd.Timedelta(days=28), END, freq="h", inclusive="left").as_unit("ms")
    wave = 20 + 5 * np.sin(np.arange(len(ts)) * 2 * np.pi / 24)
    noise = np.random.default_rng(0)
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment"}
    rows = {"metric": "requests_per_second", "ts": ts}
    parts = [
        pd.DataFrame(labels | rows | {"name": n, "value": wave + noise.normal(0, 1, len(ts))})
        for n in NAMES
    ]
    return pd.concat(parts)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two trainings of a small store: one shard a workload, everything on the server."""
    root = tmp_path_factory.mktemp("served")
    with mlflow_server(root) as server, pytest.MonkeyPatch.context() as patch:
        for key, value in server.s3.environment.items():
            patch.setenv(key, value)
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        config = root / "foretide.yaml"
        tree = {
            "store": {"path": str(root / "store")},
            "tracking": {"uri": server.url},
            "forecast": {"models": ["seasonal_naive"]},
            "shards": {"workers": 1, "workloads": 1},
        }
        config.write_text(yaml.safe_dump(tree))
        (root / "store").mkdir()
        samples().to_parquet(root / "samples.parquet")
        printed = io.StringIO()
        with redirect_stdout(printed):
            for end in (END - pd.Timedelta(days=1), END):
                train.fn(str(config), [str(root / "samples.parquet")], None, end.isoformat())
        ref = RunRef.resolve(str(config), None, None, END.isoformat(), END)
        yield World(server, config, ref.open(), printed.getvalue())


def test_versions_are_in_the_database_and_their_files_in_the_bucket(world: World) -> None:
    rows = json.loads(world.called("list", "--json").stdout)
    assert [(r["family"], r["version"], r["champion"]) for r in rows] == [
        (family, version, version == "2")
        for family in ("forecaster", "detector")
        for version in ("2", "1")
    ]
    kept = world.server.s3.contents("models/")
    for file in ("backtest/backtest.parquet", "MLmodel", "index.json", "/input_example.json"):
        assert sum(key.endswith(file) for key in kept) == 4
    assert not list(Path(world.run.ref.out).glob("ml*"))
    assert "http://" not in world.printed  # MLflow tells where a run is, password and all


def test_one_workload_is_loaded_without_the_files_of_others_and_only_once(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = world.server.s3.requests

    def read() -> list[str]:
        asked.clear()
        live = load_live(world.run, [CHECKOUT], detectors=True)
        (learned,) = live.shards
        assert set(learned.champions.keys["workload"]) == {CHECKOUT}
        assert set(learned.detectors["band"].keys["workload"]) == {CHECKOUT}
        return [r for r in asked if r.startswith("GET") and "/data/" in r and "list-type" not in r]

    first = read()
    bundles = {r.split("/data/")[1].split("/")[1] for r in first if "/bundle.json" in r}
    assert len(bundles) == 1
    assert not [r for r in first if "-0/" in r and bundles.isdisjoint(r.split("/"))]
    assert read() == []
    assert len(load_live(world.run, ["c/n/Deployment/cart"], detectors=True).shards) == 1


def test_anyone_loads_the_champion_by_its_alias(world: World) -> None:
    import mlflow

    mlflow.set_tracking_uri(world.server.url)
    try:
        model = mlflow.pyfunc.load_model("models:/foretide-forecaster@champion")
    finally:
        mlflow.set_tracking_uri(None)
    told = model.predict(pd.DataFrame({"workload": [CHECKOUT], "n_steps": [3]}))
    assert told["ts"].tolist() == list(pd.date_range(END, periods=3, freq="h"))
    assert np.isfinite(told["q90"]).all()
    assert set(told["workload"]) == {CHECKOUT}


def test_both_families_are_rolled_back_and_promoted_together(world: World) -> None:
    assert world.live() == {"forecaster": "2", "detector": "2"}
    told = json.loads(world.called("rollback", "--json").stdout)
    assert [(m["before"], m["champion"]) for m in told["moved"]] == [
        ("forecaster/2", "forecaster/1"),
        ("detector/2", "detector/1"),
    ]
    assert world.live() == {"forecaster": "1", "detector": "1"}
    assert world.called("rollback").exit_code == 1
    assert world.called("promote", "detector", "2").exit_code == 0
    assert world.live() == {"forecaster": "2", "detector": "2"}


def test_a_workload_is_explained(world: World) -> None:
    told = json.loads(world.called("show", CHECKOUT, "--json").stdout)
    assert [m["metric"] for m in told["metrics"]] == ["requests_per_second"]
    wrong = world.called("show", "c/n/Deployment/chekout")
    assert wrong.exit_code == 1


def test_a_file_that_was_exchanged_in_the_bucket_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    version = world.run.tracking().champion("detector")
    assert version is not None
    client, bucket = world.server.s3.client(), world.server.s3.bucket
    kept = world.server.s3.contents("models/")
    mine = [k for k in kept if version.run_id in k and k.endswith("/band/scale.npy")]
    assert len(mine) == len(NAMES)
    for key in mine:
        other = bytearray(kept[key])
        other[-1] ^= 1
        client.put_object(Bucket=bucket, Key=f"models/{key}", Body=bytes(other))
    with pytest.raises(ModelError, match=r"detector/2: .*scale\.npy is not what was registered"):
        load_live(world.run, [CHECKOUT], detectors=True)
    for key in mine:
        client.put_object(Bucket=bucket, Key=f"models/{key}", Body=kept[key])
    assert load_live(world.run, [CHECKOUT], detectors=True).shards


@pytest.mark.parametrize("name", ["index.json", "workloads.parquet"])
def test_an_index_that_was_exchanged_is_refused_and_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    version = world.run.tracking().champion("forecaster")
    assert version is not None
    client, bucket = world.server.s3.client(), world.server.s3.bucket
    kept = world.server.s3.contents("models/")
    (key,) = (k for k in kept if version.run_id in k and k.endswith(f"/{name}"))
    client.put_object(Bucket=bucket, Key=f"models/{key}", Body=b"{}")
    with pytest.raises(ModelError, match=rf"{version.label}: .*{name} is not the one"):
        load_live(world.run, [CHECKOUT], detectors=False)
    client.put_object(Bucket=bucket, Key=f"models/{key}", Body=kept[key])
    assert load_live(world.run, [CHECKOUT], detectors=False).shards


def test_the_database_alone_serves_with_files_straight_in_the_bucket(
    world: World, tmp_path: Path
) -> None:
    tracking = Tracking(
        world.server.database, "direct", "direct", world.server.s3.root("direct/files")
    )
    assert world.server.password not in tracking.shown
    (tmp_path / "bundle.json").write_text("{}")
    versions: list[ModelVersion] = []
    for _ in range(2):
        version = tracking.log_bundle(
            "forecaster",
            tmp_path,
            params={},
            metrics={"series": 1.0},
            tags={"run_id": "r"},
            loader_module="pipelines.registry",
            check=lambda model: None if list(model.rglob("bundle.json")) else pytest.fail("lost"),
        )
        tracking.promote("forecaster", version.version)
        versions.append(version)
    champion = tracking.champion("forecaster")
    assert champion is not None
    assert (champion.version, champion.source.split(":")[0]) == ("2", "s3")
    assert [v.version for v in tracking.tagged("forecaster", "run_id", "r")] == ["2", "1"]
    assert tracking.figures(champion) == {"series": 1.0}


def test_a_refused_password_is_one_line_that_does_not_show_it(world: World) -> None:
    wrong = world.server.database.replace(world.server.password, "other%40word")
    with pytest.raises(ModelError) as caught:
        Tracking(wrong, "e", "p").champion("forecaster")
    told = str(caught.value)
    assert "password authentication failed" in told
    assert "\n" not in told
    assert "other" not in told


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_server_that_is_down_is_one_line_soon(world: World, tmp_path: Path, scheme: str) -> None:
    tree = yaml.safe_load(world.config.read_text())
    tree["tracking"]["uri"] = f"{scheme}://me:s3cr3t@127.0.0.1:{free_port()}/x"
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump(tree))
    begun = time.monotonic()
    told = CliRunner().invoke(cli, ["models", "list", "--config", str(config)])
    assert time.monotonic() - begun < 120
    assert told.exit_code == 1
    assert isinstance(told.exception, SystemExit | ModelError)
    assert "s3cr3t" not in told.output + str(told.exception)
