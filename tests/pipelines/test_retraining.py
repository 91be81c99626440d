"""train --drifted: only what drifted is learned anew, all else stays byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from features.frames import BACKTEST, CAPACITY, VERDICTS
from models.base import Baselines
from models.bundle import load, save
from pipelines.adapters.store import Store
from pipelines.cli import cli
from pipelines.errors import ConfigError, ModelError
from pipelines.evaluate import evaluate
from pipelines.forecast import forecast
from pipelines.retraining import drifted_workloads, merge
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

T0 = pd.Timestamp("2026-06-01T00:00Z").as_unit("ms")
LATER = T0 + pd.Timedelta(days=5)
NAMES = ("steady", "grown", "quiet")
GROWN = "c/n/Deployment/grown"
SETTINGS = {
    "cpu_request_cores": 4.0,
    "replicas": 4.0,
    "hpa_min_replicas": 2.0,
    "hpa_max_replicas": 40.0,
}
Bundles = Mapping[str, Mapping[str, Baselines]]


def samples() -> pd.DataFrame:
    """Four weeks before T0 and five days after it; what has grown has three times the load then."""
    ts = pd.date_range(T0 - pd.Timedelta(days=28), LATER, freq="h", inclusive="left").as_unit("ms")
    rng = np.random.default_rng(0)
    frames: list[pd.DataFrame] = []
    for name in NAMES:
        labels = {"cluster": "c", "namespace": "n", "kind": "Deployment", "name": name}
        cpu = (3 + np.sin(np.arange(len(ts)) * 2 * np.pi / 24)) * rng.normal(1, 0.05, len(ts))
        cpu *= np.where((ts < T0) | (name != "grown"), 1, 3)
        values = {"cpu_usage_cores": cpu, **SETTINGS}
        frames += [
            pd.DataFrame({**labels, "metric": m, "ts": ts, "value": v}) for m, v in values.items()
        ]
    return pd.concat(frames)


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A store whose models were trained at T0 and judged five days later."""
    root = tmp_path_factory.mktemp("retraining")
    config = root / "foretide.yaml"
    tree = {
        "store": {"path": str(root / "store")},
        "forecast": {"models": ["seasonal_naive", "seasonal_median"]},
        "shards": {"workers": 1, "workloads": 2},
    }
    config.write_text(yaml.safe_dump(tree))
    common = {"config": str(config), "out": str(root / "store")}
    Store(common["out"]).write_samples(samples())
    train.fn(**common, as_of=T0.isoformat())
    forecast.fn(**common, as_of=T0.isoformat())
    evaluate.fn(**common, as_of=LATER.isoformat())
    return common


@pytest.fixture(scope="module")
def before(common: dict[str, str]) -> dict[str, Bundles]:
    """The bundles of the first training."""
    return {family: bundles(common, family) for family in ("forecaster", "detector")}


@pytest.fixture(scope="module")
def retrained(common: dict[str, str], before: dict[str, Bundles]) -> dict[str, Any]:
    """What `train --drifted` said."""
    assert before
    forecast.fn(**common, as_of=LATER.isoformat())
    return train.fn(**common, as_of=LATER.isoformat(), drifted=True)


def opened(common: dict[str, str]) -> Run:
    return RunRef.resolve(common["config"], None, None, LATER.isoformat(), LATER).open()


def bundles(common: dict[str, str], family: str) -> Bundles:
    tracking = opened(common).tracking()
    live = tracking.champion(family)
    assert live is not None
    with tracking.files(live) as model:
        return {p.parent.name: load(p.parent)[0] for p in model.rglob("bundle.json")}


def rows(found: Bundles, workload: str) -> dict[str, bytes]:
    """Everything that is known of a workload: model and array → its bytes."""
    return {
        f"{name}/{key}": np.ascontiguousarray(array[mine]).tobytes()
        for baselines in found.values()
        for name, b in baselines.items()
        if (mine := (b.keys["workload"] == workload).to_numpy()).any()
        for key, array in b.arrays.items()
    }


def live_version(common: dict[str, str]) -> str:
    version = opened(common).tracking().champion("forecaster")
    assert version is not None
    return version.version


def test_a_drifted_forecast_may_not_act(retrained: dict[str, Any], common: dict[str, str]) -> None:
    assert retrained
    gates = Store(common["out"]).read(CAPACITY).to_pandas()
    gates = gates[gates["issued_at"] == LATER].groupby("workload", observed=True)
    assert gates["gate"].unique().map(list).to_dict() == {
        f"c/n/Deployment/{name}": ["shadow" if name == "grown" else "act"] for name in NAMES
    }
    reason = gates["gate_reason"].first()[GROWN]
    assert reason.startswith("drifted since 2026-06-06 00:00 UTC: off by ")


def test_only_what_drifted_is_learned_anew(
    retrained: dict[str, Any], before: dict[str, Bundles], common: dict[str, str]
) -> None:
    assert retrained["done"] == 1
    assert retrained["figures"]["series_kept"] == 2
    assert retrained["outputs"]["forecaster"] == "models:/foretide-forecaster/2"
    assert "  2 series are as in forecaster/1" in retrained["notes"]
    for family, old in before.items():
        new = bundles(common, family)
        for name in NAMES:
            workload = f"c/n/Deployment/{name}"
            assert rows(new, workload)
            assert (rows(new, workload) == rows(old, workload)) == (workload != GROWN)
    calibration = {
        pd.Timestamp(b["calibration"].meta["end"]): set(b["calibration"].keys["workload"])
        for b in bundles(common, "forecaster").values()
        if GROWN in set(b["calibration"].keys["workload"])
    }
    assert calibration == {LATER: {GROWN}}
    written = Store(common["out"]).read(BACKTEST, latest=True).to_pandas()
    assert set(written["workload"]) == {GROWN}


def test_the_new_version_is_as_old_as_the_oldest_it_holds(
    retrained: dict[str, Any], common: dict[str, str]
) -> None:
    assert retrained
    tracking = opened(common).tracking()
    forecaster, detector = tracking.champion("forecaster"), tracking.champion("detector")
    assert forecaster is not None
    assert detector is not None
    assert forecaster.tags["run_id"] == detector.tags["run_id"]
    assert pd.Timestamp(forecaster.tags["as_of"]) == T0
    assert pd.Timestamp(forecaster.tags["retrained_at"]) == LATER
    assert forecaster.tags["retrained_from"] == "forecaster/1"
    assert tracking.figures(forecaster)["series"] == 3


def test_the_retrained_starts_clean_and_forecasts_its_new_level(
    retrained: dict[str, Any], common: dict[str, str]
) -> None:
    assert retrained
    assert drifted_workloads(opened(common)) == ()
    forecast.fn(**common, as_of=LATER.isoformat())
    gates = Store(common["out"]).read(CAPACITY, latest=True).to_pandas()
    assert set(gates["gate"]) == {"act"}
    version = live_version(common)
    again = CliRunner().invoke(
        cli, ["train", "--drifted", "--config", common["config"], "--as-of", LATER.isoformat()]
    )
    assert again.exit_code == 0
    assert "nothing has drifted: there is no new version" in again.output
    assert live_version(common) == version


def test_nothing_is_retrained_before_there_is_a_verdict(
    retrained: dict[str, Any], common: dict[str, str]
) -> None:
    version = live_version(common)
    told = train.fn(**common, as_of=T0.isoformat(), drifted=True)
    assert (told["done"], told["outputs"]) == (0, {})
    assert live_version(common) == version


def test_files_have_nothing_that_could_have_drifted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--drifted is for the store"):
        train.fn(inputs=["any.csv"], out=str(tmp_path), drifted=True)
    assert list(tmp_path.iterdir()) == []


def test_verdicts_without_a_live_model_are_one_clear_error(
    retrained: dict[str, Any], common: dict[str, str], tmp_path: Path
) -> None:
    """The tables of a store were copied, the models were not."""
    store, other = Store(common["out"]), Store(tmp_path / "store")
    other.write_samples(samples())
    other.write(VERDICTS, store.read(VERDICTS, latest=True), store.parts(VERDICTS)[-1])
    tree = yaml.safe_load(Path(common["config"]).read_text())
    (tmp_path / "foretide.yaml").write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=r"--drifted needs a live .* got nothing; run"):
        train.fn(str(tmp_path / "foretide.yaml"), None, other.root, LATER.isoformat(), True)


def test_shards_are_copied_cut_or_left_out(tmp_path: Path) -> None:
    family = tmp_path / "model" / "data" / "forecaster"

    def shard(name: str, workloads: list[str]) -> None:
        keys = pd.DataFrame({"workload": workloads, "metric": "m"})
        level = np.arange(len(workloads), dtype=np.float64)
        champion = Baselines("champion", keys, {"level": level})
        save(family / name, {"champion": champion}, {"as_of": name})

    shard("0000", ["a", "b"])
    shard("0001", ["c", "d"])
    shard("0002", ["e"])
    assert merge(tmp_path / "model", tmp_path / "new", {"d", "e"}) == 3
    kept = {p.name: load(p) for p in sorted((tmp_path / "new").iterdir())}
    assert {n: list(b["champion"].keys["workload"]) for n, (b, _) in kept.items()} == {
        "0000": ["a", "b"],
        "0001": ["c"],
    }
    assert kept["0001"][1] == {"as_of": "0001"}
    old, new = (f / "0000" / "bundle.json" for f in (family, tmp_path / "new"))
    assert old.read_bytes() == new.read_bytes()
