"""Every verb on real measurements: the files of ``shared/data`` that lie beside a checkout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.cli import _run_cli

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}"),
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

QUANTILES = ["q05", "q50", "q90", "q95", "q99"]
Verb = Callable[..., dict[str, Any]]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Verb:
    """Run a verb that must work; gives its outcome."""
    monkeypatch.chdir(tmp_path)

    def verb(*args: str | Path) -> dict[str, Any]:
        capsys.readouterr()
        code = _run_cli([*map(str, args), "--json"])
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    return verb


def table(out: Path, name: str) -> pd.DataFrame:
    parts = [pq.read_table(p).to_pandas() for p in sorted((out / name).glob("*.parquet"))]
    return pd.concat(parts, ignore_index=True)


FORECAST = (
    *("--horizon", "168h", "--step", "1h"),
    *("--quantiles", "0.05,0.5,0.9,0.95,0.99"),
)


@pytest.mark.parametrize(
    ("name", "as_of"),
    [
        ("traffic_nasa.parquet", "1995-08-20T00:00Z"),
        ("traffic_nasa.parquet", "1995-07-16T09:30Z"),
        ("traffic_nyc_taxi.parquet", "2014-09-15T00:00Z"),
    ],
)
def test_a_week_of_traffic_is_forecast_from_its_past_alone(
    run: Verb, tmp_path: Path, name: str, as_of: str
) -> None:
    samples = pd.read_parquet(DATA / name)
    future = samples["ts"] >= pd.Timestamp(as_of)
    planted = samples.assign(value=samples["value"].where(~future, 1e9))
    planted.to_parquet(tmp_path / "planted.parquet")
    told: list[pd.DataFrame] = []
    for source in (DATA / name, tmp_path / "planted.parquet"):
        out = tmp_path / source.stem
        outcome = run("forecast", "--input", source, "--as-of", as_of, *FORECAST, "--out", out)
        assert (outcome["done"], outcome["skipped"]) == (1, {})
        told.append(table(out, "forecasts").drop(columns=["run_id", "model_version"]))
    pd.testing.assert_frame_equal(*told)
    first = pd.Timestamp(as_of).ceil("1h")
    grid = pd.date_range(first, periods=168, freq="1h")
    assert told[0]["ts"].tolist() == list(grid)
    values = told[0][QUANTILES].to_numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values >= 0).all()
    # of the size of what came: a forecast in another unit or of another step is far off
    hours = samples.loc[future].set_index("ts")["value"].resample("1h").mean().reindex(grid)
    assert 0.5 < np.nanmean(values[:, 1]) / np.nanmean(hours) < 2


def test_what_came_later_leaves_earlier_scores_as_they_were(run: Verb, tmp_path: Path) -> None:
    frame = pd.read_parquet(DATA / "servers_asd.parquet")
    frame = frame[(frame["name"] == "omi-1") & frame["metric"].isin(["m01", "m05", "m12"])]
    cut = pd.Timestamp("2021-02-09T03:00Z")
    frame[frame["ts"] < cut].to_parquet(tmp_path / "short.parquet")
    frame[frame["ts"] < cut + pd.Timedelta(days=3)].to_parquet(tmp_path / "long.parquet")
    scores: list[pd.DataFrame] = []
    leaks: list[pd.DataFrame] = []
    for name in ("short", "long"):
        source, out = tmp_path / f"{name}.parquet", tmp_path / name
        run("score", "--input", source, "--train-until", "2021-02-03T00:00Z", "--out", out)
        mine = table(out, "scores")
        mine = mine.drop(columns=["run_id", "model_version", "valid_until"])
        scores.append(mine[mine["ts"] < cut].reset_index(drop=True))
        leaks.append(table(out, "leaks"))
    assert scores[0]["ts"].max() == cut - pd.Timedelta("5min")
    assert scores[0]["ts"].min() >= pd.Timestamp("2021-02-03T00:00Z")
    pd.testing.assert_frame_equal(*scores)
    assert (leaks[0]["issued_at"] > pd.Timestamp("2021-02-03T00:00Z")).all()


def test_every_cloudwatch_series_is_scored_or_skipped_with_a_reason(
    run: Verb, tmp_path: Path
) -> None:
    """Their spans are disjoint: what begins after the training is learned as it comes."""
    source, until = DATA / "cloudwatch_nab.parquet", pd.Timestamp("2014-02-20T00:00Z")
    weekly = tmp_path / "weekly.yaml"
    weekly.write_text("detect: {refit_every_h: 168}\n")
    span = ("--train-until", until.isoformat())
    outcome = run("score", "--config", weekly, "--input", source, *span, "--out", tmp_path)
    samples = pd.read_parquet(source)
    last = samples.groupby("name", observed=True)["ts"].max()
    able = last >= until
    scored = table(tmp_path, "scores")
    assert set(scored["workload"].str.rsplit("/", n=1).str[-1]) == set(last.index[able])
    assert outcome["done"] == able.sum()
    assert outcome["done"] + sum(outcome["skipped"].values()) == 17
    skips = table(tmp_path, "skips")
    assert (skips["reason"] != "").all()
    assert set(skips.loc[skips["step"] == "score", "workload"]).isdisjoint(scored["workload"])
    assert np.isfinite(scored["score"]).all()
    assert (tmp_path / "incidents").is_dir()


def test_memory_that_grows_is_judged_from_its_first_day_on(run: Verb, tmp_path: Path) -> None:
    source = DATA / "memory_aging.parquet"
    outcome = run(
        *("score", "--input", source, "--out", tmp_path),
        *("--train-until", "2023-12-17T12:00Z", "--as-of", "2023-12-18T22:00Z"),
    )
    leaks = table(tmp_path, "leaks")
    assert set(leaks["metric"]) == {"memory_used_bytes"}
    assert (leaks["slope_per_h_lower"] <= leaks["slope_per_h_upper"]).all()
    assert outcome["done"] > 0
    assert len(table(tmp_path, "scores")) > 0


@pytest.mark.parametrize("traffic", ["low_traffic", "high_traffic"])
def test_two_days_of_a_shop_are_scored_and_forecast(
    run: Verb, tmp_path: Path, traffic: str
) -> None:
    """287 series in 49 hours, many of them thin, some flat: each is answered or says why not."""
    source = DATA / "petshop" / traffic / "normal.parquet"
    samples = pd.read_parquet(source)
    series = samples.groupby(["namespace", "name", "metric"], observed=True).ngroups
    until = (samples["ts"].max() - pd.Timedelta(hours=10)).isoformat()
    scored = run("score", "--input", source, "--train-until", until, "--out", tmp_path / "out")
    forecast = run("forecast", "--input", source, "--horizon", "3h", "--out", tmp_path / "out")
    for outcome in (scored, forecast):
        assert outcome["done"] > series / 2
        assert outcome["done"] + sum(outcome["skipped"].values()) == series
    assert np.isfinite(table(tmp_path / "out", "scores")["score"]).all()
    assert np.isfinite(table(tmp_path / "out", "forecasts")[QUANTILES].to_numpy()).all()


def test_an_hour_alone_is_forecast_and_says_what_it_rests_on(run: Verb, tmp_path: Path) -> None:
    source, out = DATA / "petshop" / "low_traffic" / "issue_0.parquet", tmp_path / "out"
    assert run("forecast", "--input", source, "--out", out)["done"] > 200
    told = table(out, "forecasts")
    assert set(told["confidence"]) == {"flat"}
    assert np.isfinite(told[QUANTILES].to_numpy()).all()


def test_the_whole_way_on_a_file(run: Verb, tmp_path: Path) -> None:
    """Every verb on one real trace; without pods the plan is empty and says so."""
    source, out = DATA / "traffic_nyc_taxi.parquet", tmp_path / "out"
    common = ("--input", source, "--out", out)
    then, now = "2014-09-15T00:00Z", "2014-09-22T00:00Z"
    assert run("train", *common, "--as-of", then)["done"] == 1
    run("forecast", *common, "--as-of", then)
    figures = run("evaluate", *common, "--as-of", now)["figures"]
    assert 0 < figures["forecast_wape_median"] < 0.5
    assert 0 <= figures["forecast_q90_coverage"] <= 1
    report = Path(run("report", *common, "--as-of", now)["outputs"]["report"])
    assert "nyc/demand/Deployment/taxi" in report.read_text(encoding="utf-8")
    plan = run("plan", *common, "--as-of", then)
    assert (plan["done"], plan["skipped"]) == (0, {"no capacity forecast": 1})


def test_without_cpu_there_is_a_report_and_an_empty_plan(tmp_path: Path) -> None:
    ts = pd.date_range("2026-05-01", periods=24 * 20, freq="1h", tz="UTC")
    value = 10 + 5 * np.sin(np.arange(len(ts)) * 2 * np.pi / 24) + np.arange(len(ts)) % 5
    samples = tmp_path / "requests.csv"
    frame = pd.DataFrame({"name": "web", "metric": "requests_per_second", "ts": ts, "value": value})
    frame.to_csv(samples, index=False)
    config = tmp_path / "foretide.yaml"
    source = {"kind": "files", "paths": [str(samples)]}
    config.write_text(yaml.safe_dump({"source": source, "store": {"path": str(tmp_path / "st")}}))
    said = io.StringIO()
    with redirect_stdout(said):
        clock = "2026-05-21T00:00Z"
        assert _run_cli(["run", "--config", str(config), "--as-of", clock, "--json"]) == 0
    outcomes = {o["verb"]: o for o in map(json.loads, said.getvalue().splitlines())}
    assert outcomes["plan"]["done"] == 0
    assert outcomes["plan"]["skipped"] == {"no capacity forecast": 1}
    assert "no capacity was forecast" in (tmp_path / "st" / "report.html").read_text()
