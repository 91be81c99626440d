"""The whole way against real servers: ingest, train, score, forecast, plan, report, over HTTP.

Each server holds a simulated cluster and a real trace of traffic. VictoriaMetrics gets the cluster
as kube-state-metrics and cAdvisor would show it and is asked by the shipped catalog; Prometheus,
far slower at such queries, gets it as recording rules would and is asked by the plain one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features.frames import SAMPLES, WORKLOAD_PARTS, conform
from features.synthetic import ClusterSpec, simulate
from features.workloads import with_workload
from pipelines.adapters.tracking import Tracking
from pipelines.cli import _run_cli

pytestmark = [
    pytest.mark.e2e,
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
TRACE = ROOT.parent / "shared" / "data" / "traffic_nyc_taxi.parquet"
TRAINED, NOW = pd.Timestamp("2026-06-01T00:00Z"), pd.Timestamp("2026-06-02T00:00Z")
STEP = pd.Timedelta(minutes=5)
HORIZON = pd.Timedelta(hours=48)
REAL = ("nyc/demand/Deployment/taxi", "passengers_per_30min")
KEY = ["workload", "metric", "ts"]


@dataclass(frozen=True)
class Case:
    server: str
    catalog: str
    workloads: int
    metrics: tuple[str, ...]
    """Of the simulated ones; all of them where none is named."""


CASES = [
    Case("victoria_server", "prometheus", 8, ()),
    Case(
        "prometheus_server",
        "plain",
        4,
        (
            *("requests_per_second", "cpu_usage_cores", "cpu_request_cores", "replicas"),
            *("memory_rss_bytes", "memory_limit_bytes", "memory_request_bytes"),
            *("hpa_min_replicas", "hpa_max_replicas", "hpa_target_cpu_ratio", "error_ratio"),
            *("restarts_total", "deploy_timestamp_seconds", "pod_start_seconds"),
        ),
    ),
]


@dataclass(frozen=True)
class Way:
    """What was loaded into a server, and what the verbs made of it."""

    case: Case
    loaded: pd.DataFrame
    out: Path
    config: Path
    outcomes: dict[str, dict[str, Any]]
    stores: list[dict[str, str]]
    """The samples' files after the second ingest and after the third."""

    def table(self, name: str) -> pd.DataFrame:
        parts = [pq.read_table(p).to_pandas() for p in sorted((self.out / name).glob("*.parquet"))]
        return pd.concat(parts, ignore_index=True)

    def samples(self) -> pd.DataFrame:
        files = sorted((self.out / "samples").glob("date=*/samples.parquet"))
        tables = [pq.ParquetFile(p).read() for p in files]
        return with_workload(pa.concat_tables(tables).unify_dictionaries())


def cluster_samples(case: Case) -> pa.Table:
    """Four weeks to learn from and the day that is scored."""
    samples = simulate(ClusterSpec(n_workloads=case.workloads)).samples.to_pandas()
    wanted = samples["metric"].isin(case.metrics or samples["metric"].cat.categories)
    wanted &= (samples["ts"] < NOW) & (samples["metric"] != "latency_p50_seconds")
    samples = samples[wanted]
    if case.catalog == "prometheus":  # the loader's counters cannot show where nothing was scraped
        labels = [*WORKLOAD_PARTS, "metric"]
        wide = samples.set_index([*labels, "ts"])["value"].unstack("ts")  # noqa: PD010
        samples = wide.ffill(axis=1).stack().rename("value").reset_index()  # noqa: PD013
    return conform(samples, SAMPLES)


def real_samples() -> pa.Table:
    """The trace as a gauge that is set every half hour and scraped every five minutes.

    It is moved by whole weeks into this year: Prometheus refuses samples of 2014.
    """
    trace = pd.read_parquet(TRACE).set_index("ts")["value"]
    weeks = (NOW - trace.index.max()) // pd.Timedelta(weeks=1) + 1
    trace.index += weeks * pd.Timedelta(weeks=1)
    trace = trace[trace.index >= TRAINED - pd.Timedelta(days=28)].resample(STEP).ffill()
    parts = dict(zip(("cluster", "namespace", "kind", "name"), REAL[0].split("/"), strict=True))
    frame = pd.DataFrame(parts | {"metric": REAL[1], "ts": trace.index, "value": trace.to_numpy()})
    return conform(frame[frame["ts"] < NOW], SAMPLES)


def write_config(folder: Path, case: Case, url: str) -> Path:
    """The shipped catalog and a metric of our own, as someone with a business metric would do."""
    catalog = yaml.safe_load((ROOT / "config" / "metrics" / f"{case.catalog}.yaml").read_text())
    catalog["metrics"][REAL[1]] = {"role": "demand", "minimum": 0, "query": REAL[1]}
    mine = folder / "metrics.yaml"
    mine.write_text(yaml.safe_dump(catalog, sort_keys=False))
    names = [m for m in case.metrics if m in catalog["metrics"]]
    settings = {
        "source": {
            "kind": "prometheus",
            "url": url,
            "catalog": str(mine),
            "metrics": [*names, REAL[1]] if names else [],
        },
        "store": {"path": str(folder / "store")},
        "history": {"days": 28, "step_s": 300},
        "calendars": [
            {"match": "prod-eu/*", "timezone": "Europe/Berlin", "country": "DE"},
            {"match": "prod-us/*", "timezone": "America/New_York", "country": "US"},
        ],
    }
    path = folder / "foretide.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def digest(folder: Path) -> dict[str, str]:
    """All that runs write; the table of runs tells by the clock on the wall."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.parent.name != "runs"
    }


@pytest.fixture(scope="module", params=CASES, ids=lambda c: c.server.removesuffix("_server"))
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Way:
    if not TRACE.is_file():
        pytest.skip(f"the real trace is not at {TRACE}")
    case: Case = request.param
    server = request.getfixturevalue(case.server)
    folder = tmp_path_factory.mktemp("way")
    cluster, real = cluster_samples(case), real_samples()
    (server.load if case.catalog == "prometheus" else server.load_plain)(cluster)
    server.load_plain(real)
    config, out = write_config(folder, case, server.url), folder / "store"
    outcomes: dict[str, dict[str, Any]] = {}

    def verb(name: str, at: pd.Timestamp, *more: str) -> None:
        args = [name.split()[0], "--config", str(config), "--as-of", at.isoformat(), *more]
        outcomes[name] = run_verb([*args, "--json"])

    stores: list[dict[str, str]] = []
    verb("ingest", TRAINED)
    verb("train", TRAINED)
    verb("ingest again", NOW)
    stores.append(digest(out / "samples"))
    verb("ingest once more", NOW)
    stores.append(digest(out / "samples"))
    verb("score", NOW)
    verb("forecast", NOW, "--horizon", "48h")
    verb("plan", NOW)
    verb("report", NOW)
    loaded = with_workload(pa.concat_tables([cluster, real]).unify_dictionaries())
    return Way(case, loaded, out, config, outcomes, stores)


def run_verb(args: list[str]) -> dict[str, Any]:
    """What a user would type; its outcome."""
    said, sorrow = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(sorrow):
        code = _run_cli(args)
    assert code == 0, sorrow.getvalue()
    return json.loads(said.getvalue())


def test_the_store_holds_what_the_server_was_given(way: Way) -> None:
    got = way.samples()
    assert not got.duplicated(KEY).any()
    both = way.loaded.merge(got, on=KEY, suffixes=("", "_got"))
    assert len(both) > 0.999 * len(way.loaded)
    if way.case.catalog == "plain":
        assert len(both) == len(way.loaded)
        assert len(got) - len(both) < 10  # Prometheus bridges a gap of one step
        assert both["value"].equals(both["value_got"])
        return
    apart = (both["value_got"] - both["value"]).abs() > 1e-6 * both["value"].abs() + 1e-9
    assert apart.groupby(both["metric"], observed=True).mean().max() < 0.01


def test_a_second_ingest_resumes_and_a_third_changes_nothing(way: Way) -> None:
    first, again, once_more = (
        way.outcomes[v]["figures"]["samples"]
        for v in ("ingest", "ingest again", "ingest once more")
    )
    assert again < first / 20  # a day and the margin, not four weeks
    assert once_more < again
    assert way.stores[0] == way.stores[1]


def test_the_champion_is_registered_and_used(way: Way) -> None:
    tracking = Tracking(f"sqlite:///{way.out / 'mlflow.db'}", "foretide", "foretide")
    forecaster, detector = tracking.champion("forecaster"), tracking.champion("detector")
    assert forecaster is not None
    assert detector is not None
    assert forecaster.tags["run_id"] == way.outcomes["train"]["run_id"]
    assert set(way.table("scores")["model_version"]) == {detector.label}
    assert set(way.table("forecasts")["model_version"]) == {forecaster.label}
    assert way.outcomes["train"]["done"] > way.case.workloads


def test_the_day_after_training_is_scored(way: Way) -> None:
    scores = way.table("scores")
    assert scores["ts"].min() == TRAINED
    assert scores["ts"].max() == NOW - STEP
    assert np.isfinite(scores["score"]).all()
    assert set(scores["workload"]) == set(way.loaded["workload"])
    outcome = way.outcomes["score"]
    skipped = len(way.table("skips").query("step == 'score'"))
    assert outcome["done"] + skipped == outcome["done"] + sum(outcome["skipped"].values())
    assert outcome["done"] > 0.9 * (outcome["done"] + skipped)


def test_all_demand_is_forecast_over_the_whole_horizon(way: Way) -> None:
    forecasts = way.table("forecasts")
    demand = way.loaded["metric"].isin(
        ["requests_per_second", "cpu_usage_cores", "network_receive_bytes_per_second", REAL[1]]
    )
    wanted = set(way.loaded.loc[demand, KEY[:2]].itertuples(index=False, name=None))
    grid = pd.date_range(NOW, NOW + HORIZON, freq=STEP, inclusive="left")
    by_series = forecasts.groupby(KEY[:2], observed=True)["ts"]
    assert REAL in by_series.groups
    assert set(by_series.groups) == wanted
    assert all(ts.tolist() == list(grid) for _, ts in by_series)
    values = forecasts[["q05", "q50", "q90", "q95", "q99"]].to_numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()


def test_the_real_trace_is_forecast_better_than_by_its_mean(way: Way) -> None:
    """What then came is in the trace, and was never loaded."""
    trace = pd.read_parquet(TRACE).set_index("ts")["value"]
    weeks = (NOW - trace.index.max()) // pd.Timedelta(weeks=1) + 1
    trace.index += weeks * pd.Timedelta(weeks=1)
    mine = way.table("forecasts").query("workload == @REAL[0]").set_index("ts")["q50"]
    came = trace.reindex(mine.index).dropna()
    wrong = (mine.reindex(came.index) - came).abs().sum()
    assert len(came) == HORIZON / pd.Timedelta(minutes=30)
    assert wrong < 0.5 * (came - trace[trace.index < NOW].mean()).abs().sum()


def test_the_plan_is_valid_and_about_what_was_forecast(way: Way) -> None:
    capacity = way.table("capacity")
    assert (capacity["replicas"] >= 1).all()
    assert set(capacity["workload"]) <= set(way.loaded["workload"])
    outputs = way.outcomes["plan"]["outputs"]
    plan = json.loads(Path(outputs["plan"]).read_text())
    assert plan
    for path in Path(outputs["manifests"]).glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            whole = {"apiVersion", "kind", "metadata"} <= set(document)
            assert whole or set(document) == {"target", "patch"}, path.name


def test_the_report_shows_every_workload(way: Way) -> None:
    text = Path(way.outcomes["report"]["outputs"]["report"]).read_text(encoding="utf-8")
    assert all(workload in text for workload in set(way.loaded["workload"]))


def test_another_process_with_other_shards_forecasts_the_same(way: Way) -> None:
    """Shards are threads, and each reads the champion: also where MLflow is not loaded yet."""
    before = way.table("forecasts").sort_values(KEY, ignore_index=True)
    args = ["forecast", "--config", str(way.config), "--as-of", NOW.isoformat(), "--horizon", "48h"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *args],
        cwd=ROOT,
        env=os.environ | {"FORETIDE_SHARDS__WORKLOADS": "2", "FORETIDE_SHARDS__WORKERS": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((way.out / "forecasts").glob("*.parquet"))) > 1
    after = way.table("forecasts").sort_values(KEY, ignore_index=True)
    columns = [*KEY, "model", "model_version", "run_id", "q05", "q50", "q90", "q95", "q99"]
    labels = dict.fromkeys(before.select_dtypes("category").columns, "str")
    pd.testing.assert_frame_equal(
        after.astype(labels)[columns], before.astype(labels)[columns], rtol=1e-9
    )


def test_a_clock_before_the_training_is_refused(
    way: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    """The champion knows what came after: a forecast of then would be no forecast."""
    before = digest(way.out)
    early = (TRAINED - pd.Timedelta(days=2)).isoformat()
    assert _run_cli(["forecast", "--config", str(way.config), "--as-of", early]) == 1
    assert "after the run's clock" in capsys.readouterr().err
    assert digest(way.out) == before
