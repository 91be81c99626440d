"""models: versions are listed and explained, the alias moves only to what loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from features.frames import BACKTEST, VERDICTS
from pipelines import versions
from pipelines.adapters.tracking import Tracking, score_example
from pipelines.cli import cli
from pipelines.code_revision import code_revision
from pipelines.doctor.state import check_models
from pipelines.errors import ModelError
from pipelines.explaining import explain
from pipelines.pairs import crown
from pipelines.registry import check_round_trip, load_live
from pipelines.run import Run, RunRef
from pipelines.train import train
from pipelines.versions import Move, Moved

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

END = pd.Timestamp("2026-06-15T00:00Z")
WORKLOAD = "c/n/Deployment/checkout"


def hourly(name: str, metric: str, days: int) -> pd.DataFrame:
    ts = pd.date_range(end=END - pd.Timedelta(hours=1), periods=24 * days, freq="h").as_unit("ms")
    noise = np.random.default_rng(days).normal(0, 1, len(ts))
    value = 20 + 5 * np.sin(np.arange(len(ts)) * 2 * np.pi / 24) + noise
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment", "name": name}
    value = value / 1000 if metric == "error_ratio" else value  # a ratio cannot be above 1
    return pd.DataFrame({**labels, "metric": metric, "ts": ts, "value": value})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A store with one training: a workload with two metrics and one that is too young."""
    root = tmp_path_factory.mktemp("models")
    samples = root / "samples.parquet"
    parts = [("checkout", "requests_per_second", 28), ("checkout", "error_ratio", 28)]
    parts += [("checkout", "latency_p99_seconds", 1), ("cart", "requests_per_second", 28)]
    pd.concat([hourly(*p) for p in parts]).to_parquet(samples)
    config = root / "foretide.yaml"
    tree = {
        "store": {"path": str(root / "store")},
        "forecast": {"models": ["seasonal_naive", "seasonal_median", "seasonal_day", "prophet"]},
        "quality": {"minimum_history_days": 3},
        "shards": {"workers": 1},
    }
    config.write_text(yaml.safe_dump(tree))
    train.fn(str(config), [str(samples)], None, END.isoformat())
    return RunRef.resolve(str(config), None, None, END.isoformat(), END).open()


@pytest.fixture
def registry(run: Run, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Tracking]:
    """The same registry under another prefix, with one forecaster a given run id; "" is junk.

    They go live one after the other, or only those in ``live``.
    """
    source = run.tracking().champion("forecaster")
    assert source is not None
    tracking = replace(run.tracking(), prefix=request.node.name.replace("_", "-"))
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "bundle.json").write_text("{}")

    def made(*run_ids: str, live: tuple[str, ...] | None = None) -> Tracking:
        with run.tracking().files(source) as model:
            for run_id in run_ids:
                version = tracking.log_bundle(
                    "forecaster",
                    model / "data" / "forecaster" if run_id else junk.parent,
                    params={},
                    metrics={},
                    tags={"run_id": run_id},
                    loader_module="pipelines.registry",
                    check=lambda _: None,
                )
                if live is None or run_id in live:
                    crown(tracking, (version,))
        return tracking

    return made


def called(run: Run, *args: str) -> Result:
    return CliRunner().invoke(cli, ["models", *args, "--config", str(run.ref.config)])


def live(tracking: Tracking) -> str:
    version = tracking.champion("forecaster")
    assert version is not None
    return version.version


def test_every_version_is_listed_and_one_a_family_is_live(run: Run) -> None:
    rows: list[dict[str, Any]] = json.loads(called(run, "list", "--json").stdout)
    assert [(r["family"], r["version"], r["champion"]) for r in rows] == [
        ("forecaster", "1", True),
        ("detector", "1", True),
    ]
    for row in rows:
        assert row["series"] == 4
        assert pd.Timestamp(row["as_of"]) == END
    lines = called(run, "list").stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("*") for line in lines[1:])


def test_a_workload_is_explained_metric_by_metric(run: Run) -> None:
    told = json.loads(called(run, "show", WORKLOAD, "--json").stdout)
    assert (told["forecaster"], told["detector"]) == ("forecaster/1", "detector/1")
    metrics = {m["metric"]: m for m in told["metrics"]}
    assert set(metrics) == {"requests_per_second", "error_ratio", "latency_p99_seconds"}
    learned = metrics["requests_per_second"]
    assert learned["model"] == "combination"
    assert learned["wape"] <= learned["bar_wape"]
    assert learned["reason"]
    assert learned["band"]
    young = metrics["latency_p99_seconds"]
    assert young["model"] == "seasonal_naive"
    assert young["reason"] == "too little history for a backtest"
    assert not young["band"]
    assert (learned["confidence"], young["confidence"]) == ("week", "day")
    assert learned["verdict"] is None
    assert told["forest"]
    text = called(run, "show", WORKLOAD).stdout
    assert all(name in text for name in metrics)


def test_a_combination_says_whom_it_listens_to_and_how_they_were_fitted(run: Run) -> None:
    metrics = {m["metric"]: m for m in explain(run, WORKLOAD)["metrics"]}
    combined = metrics["requests_per_second"]
    shares = list(combined["weights"].values())
    assert {"seasonal_naive", "prophet"} <= set(combined["weights"])
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert combined["solvers"] == {"prophet": "exact"}
    alone = metrics["latency_p99_seconds"]
    assert (alone["weights"], alone["solvers"]) == ({}, {})
    first, share = next(iter(combined["weights"].items()))
    text = called(run, "show", WORKLOAD).stdout
    assert f"requests_per_second: combines {first} {share:.0%}, " in text
    assert "requests_per_second: prophet solved: exact" in text
    assert "latency_p99_seconds: combines" not in text


def test_the_newest_verdict_is_told_until_the_workload_is_trained_anew(run: Run) -> None:
    later = END + pd.Timedelta(days=1)
    ref = replace(run.ref, as_of=later.isoformat())
    figures = [f.name for f in VERDICTS.schema if str(f.type) == "double"]
    row = {"workload": WORKLOAD, "metric": "error_ratio", "model": "combination", "points": 24,
           "verdict": "drifted", "reason": "off by 30% \x1b[31m", "run_id": "r", "since": later,
           "evaluated_at": later, "losing_since": pd.NaT} | dict.fromkeys(figures, 0.3)  # fmt: skip
    for trained_at, holds in ((END, True), (END - pd.Timedelta(days=7), False)):
        table = pd.DataFrame([row | {"trained_at": trained_at}])
        table["losing_since"] = pd.to_datetime(table["losing_since"], utc=True)
        run.store.write(VERDICTS, table, ref.open().part)
        metrics = {m["metric"]: m["verdict"] for m in explain(ref.open(), WORKLOAD)["metrics"]}
        assert metrics["error_ratio"] == {
            "verdict": "drifted",
            "reason": "off by 30% \x1b[31m",
            "evaluated_at": later.isoformat(),
            "since": later.isoformat(),
            "holds": holds,
        }
        assert metrics["requests_per_second"] is None
        told = called(run, "show", WORKLOAD, "--as-of", later.isoformat()).stdout
        line = next(x for x in told.splitlines() if x.startswith("error_ratio: drifted"))
        assert "drifted at 2026-06-16 00:00 UTC: off by 30%" in line
        assert line.endswith("trained anew since") != holds
        assert "\x1b" not in told


def test_an_unknown_workload_is_one_clear_error(run: Run) -> None:
    with pytest.raises(ModelError, match=r"'c/n/Deployment/chekout' \(did you mean .*checkout"):
        explain(run, "c/n/Deployment/chekout")
    assert called(run, "show", "nobody").exit_code == 1


def test_two_rollbacks_go_two_back_and_not_to_and_fro(
    run: Run, registry: Callable[..., Tracking]
) -> None:
    tracking = registry("a", "b", "c")
    assert live(tracking) == "3"
    moved = versions.roll_back(tracking, run.settings)
    assert moved == Moved((Move("forecaster", "forecaster/3", "forecaster/2"),))
    versions.roll_back(tracking, run.settings)
    assert live(tracking) == "1"
    with pytest.raises(ModelError, match="no version before forecaster/1"):
        versions.roll_back(tracking, run.settings)
    versions.promote(tracking, run.settings, "forecaster", "3")
    versions.promote(tracking, run.settings, "forecaster", "2")
    for expected in ("3", "1"):  # as they were live, not as they were numbered
        versions.roll_back(tracking, run.settings)
        assert live(tracking) == expected


def test_who_was_never_live_is_not_rolled_back_to(
    run: Run, registry: Callable[..., Tracking]
) -> None:
    tracking = registry("a", "b", "c", live=("a", "c"))
    versions.roll_back(tracking, run.settings)
    assert live(tracking) == "1"


def test_versions_from_before_there_was_a_history_are_rolled_back_to_by_number(
    run: Run, registry: Callable[..., Tracking]
) -> None:
    tracking = registry("a", "b", "c", live=())
    tracking.promote("forecaster", "3")
    for expected in ("2", "1"):
        versions.roll_back(tracking, run.settings)
        assert live(tracking) == expected


def test_what_does_not_load_never_goes_live(run: Run, registry: Callable[..., Tracking]) -> None:
    tracking = registry("a", "", "c")
    with pytest.raises(ModelError, match="does not load"):
        versions.promote(tracking, run.settings, "forecaster", "2")
    assert live(tracking) == "3"
    moved = versions.roll_back(tracking, run.settings)
    assert live(tracking) == "1"
    assert "forecaster/2 was passed over" in moved.notes[0]


def test_a_version_of_an_older_release_is_passed_over_and_named(
    run: Run, registry: Callable[..., Tracking]
) -> None:
    tracking = registry("a", "b", "c")
    for version in tracking.versions("forecaster"):
        if version.version == "1":
            continue
        for file in Path(version.source.removeprefix("file://")).glob("data/*/*/bundle.json"):
            manifest = json.loads(file.read_text())
            del manifest["baselines"]["champion"]["meta"]["combined"]
            file.write_text(json.dumps(manifest))
    named = run.settings.tracking.model_copy(update={"model_prefix": tracking.prefix})
    settings = run.settings.model_copy(update={"tracking": named})
    with pytest.raises(ModelError, match=r"^forecaster/3, .*trained by an older release"):
        load_live(replace(run, settings=settings), [WORKLOAD], detectors=False)
    moved = versions.roll_back(tracking, run.settings)
    assert (live(tracking), len(moved.notes)) == ("1", 1)
    assert "forecaster/2 was passed over" in moved.notes[0]
    assert "trained by an older release" in moved.notes[0]


def test_a_version_that_needs_a_model_that_is_not_configured_stays_out(run: Run) -> None:
    version = run.tracking().champion("forecaster")
    assert version is not None
    less = run.settings.forecast.model_copy(update={"models": ("seasonal_naive",)})
    settings = run.settings.model_copy(update={"forecast": less})
    with (
        run.tracking().files(version) as model,
        pytest.raises(ModelError, match=r"^forecaster/1, .*champions need the forecaster"),
    ):
        check_round_trip(model, settings, version.label)


def test_a_version_that_is_not_there_is_one_clear_error(run: Run) -> None:
    for wrong in ("99", "champion", "../1", "1' OR '1'='1"):
        with pytest.raises(ModelError, match=r"no version .*; it has 1"):
            versions.promote(run.tracking(), run.settings, "forecaster", wrong)
    with pytest.raises(ModelError, match="no version before forecaster/1"):
        versions.roll_back(run.tracking(), run.settings)
    assert called(run, "promote", "forecaster", "99").exit_code == 1
    assert called(run, "promote", "nobody", "1").exit_code == 2
    assert called(run, "rollback", "--json").exit_code == 1


def test_the_command_moves_both_families_and_says_so(run: Run) -> None:
    told = called(run, "promote", "detector", "1", "--json")
    assert json.loads(told.stdout) == {
        "moved": [
            {"family": f, "before": f"{f}/1", "champion": f"{f}/1"}
            for f in ("forecaster", "detector")
        ],
        "notes": [],
    }


def test_a_version_says_of_what_it_was_made(run: Run) -> None:
    version = run.tracking().champion("forecaster")
    assert version is not None
    assert version.tags["code_revision"] == code_revision()
    assert len(version.tags["data_sha256"]) == 64
    with run.tracking().files(version) as model:
        table = pd.read_parquet(model / "backtest" / "backtest.parquet")
        summary = json.loads((model / "backtest" / "summary.json").read_text())
        told = yaml.safe_load((model / "MLmodel").read_text())
        answer = score_example(model, "pipelines.registry", "it")
    assert len(table) == len(run.read(BACKTEST))
    assert summary["series"] == table[table["champion"]].groupby(["workload", "metric"]).ngroups
    assert "n_steps" in told["signature"]["inputs"]
    assert answer is not None
    assert np.isfinite(answer["q50"]).all()
    assert not any(r["challenger"] for r in versions.listing(run.tracking()))


def test_where_nothing_was_trained_it_is_said_and_no_database_is_made(tmp_path: Path) -> None:
    none = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "e", "p")
    with pytest.raises(ModelError, match="run `foretide train`"):
        versions.listing(none)
    assert [c.status for c in check_models(none, END)] == ["warn"]
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_names_what_is_live_and_how_old(run: Run) -> None:
    young = check_models(run.tracking(), END + pd.Timedelta(days=3))
    assert [(c.name, c.status) for c in young] == [("forecaster", "ok"), ("detector", "ok")]
    assert "forecaster/1 is live, learned up to 2026-06-15 00:00 UTC, 3.0 d old" in young[0].detail
    old = check_models(run.tracking(), END + pd.Timedelta(days=15))
    assert {c.status for c in old} == {"warn"}


def test_the_doctor_sees_families_of_different_trainings(
    registry: Callable[..., Tracking], run: Run, tmp_path: Path
) -> None:
    tracking = registry("a")
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "bundle.json").write_text("{}")
    tracking.log_bundle(
        "detector",
        folder,
        params={},
        metrics={},
        tags={"run_id": "b"},
        loader_module="pipelines.registry",
        check=lambda _: None,
    )
    tracking.promote("detector", "1")
    checks = check_models(tracking, END)
    assert [c.detail for c in checks if c.status == "warn"] == [
        "forecaster/1 and detector/1 come from different trainings"
    ]
    with pytest.raises(ModelError, match="its training has no detector"):
        versions.promote(tracking, run.settings, "forecaster", "1")


def test_a_notebook_gets_forecasts_from_the_registered_model(run: Run) -> None:
    import mlflow.pyfunc  # warns about its own hints: the marks above hold only inside a test

    version = run.tracking().champion("forecaster")
    assert version is not None
    with run.tracking().files(version) as model:
        loaded = mlflow.pyfunc.load_model(str(model))
    told = loaded.predict(pd.DataFrame({"n_steps": [5]}))
    assert told.groupby(["workload", "metric"]).size().tolist() == [5] * 4
    assert told["ts"].min() == END
    quantiles = told[["q05", "q50", "q90", "q95", "q99"]].to_numpy()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    one = loaded.predict(pd.DataFrame({"workload": [WORKLOAD], "n_steps": [5]}))
    assert set(one["workload"]) == {WORKLOAD}
    with pytest.raises(Exception, match="n_steps"):
        loaded.predict(pd.DataFrame({"n_step": [5]}))


def test_a_notebook_gets_scores_from_the_registered_detector(run: Run) -> None:
    import mlflow.pyfunc  # as above

    version = run.tracking().champion("detector")
    assert version is not None
    with run.tracking().files(version) as model:
        loaded = mlflow.pyfunc.load_model(str(model))
        at = pd.date_range(END, periods=3, freq="h")
        row = {"workload": WORKLOAD, "metric": "requests_per_second", "expected": 20.0}
        asked = pd.DataFrame([row | {"ts": t.isoformat(), "value": 20.0} for t in at])
        asked.loc[2, "value"] = 500.0
        told = loaded.predict(asked)
    assert told["ts"].tolist() == at.tolist()
    assert (told["score"].iloc[:2] < 1).all()
    assert told["score"].iloc[2] > 1
