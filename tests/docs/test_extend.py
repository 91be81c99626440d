"""docs/extend.md: each example is short, and all of them run together, through the command line."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import CommandLine, no_aws_of_the_machine

from features.frames import BACKTEST, FORECASTS, INCIDENTS, SCORES
from features.synthetic import ClusterSpec, simulate
from pipelines.adapters.store import Store
from pipelines.answers.explained import explained
from pipelines.run import RunRef

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
SPEC = ClusterSpec(n_workloads=3, weeks=2, step_s=900, seed=3)
END = pd.Timestamp(SPEC.start) + pd.Timedelta(weeks=SPEC.weeks)
THRASHED = pd.Timedelta(hours=5)
SMALL: dict[str, Any] = {
    "history": {"days": 14, "step_s": 900},
    "forecast": {"champion": {"backtest": {"origins": 1, "minimum_train_days": 5}}},
}
"""Only so that it is soon over: beside what the page says."""


def fenced(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def modules() -> dict[str, str]:
    """File → code, of the examples whose first line names a file."""
    found = {code.splitlines()[0].removeprefix("# "): code for code in fenced("python")}
    assert set(found) == {f"extensions/{m}.py" for m in ("recent_days", "restless", "sql_table")}
    return found


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = laid_over(below[key], above[key])
    return both


def test_each_example_is_under_forty_lines() -> None:
    assert all(len(code.splitlines()) < 40 for code in modules().values())


def table_of_samples(file: Path) -> tuple[int, str]:
    """Writes the samples; gives their number, and the name of who thrashes at the end."""
    cluster = simulate(SPEC)
    frame = cluster.samples.to_pandas()
    frame = frame[frame["metric"].isin(["requests_per_second", "cpu_usage_cores"])]
    frame = frame.astype(dict.fromkeys(("namespace", "name", "metric"), "str"))
    frame["ts_ms"] = frame["ts"].dt.as_unit("ms").astype("int64")
    load = frame.pivot_table("value", ["namespace", "name", "ts_ms"], "metric").reset_index()
    load.columns = ["namespace", "name", "ts_ms", "queued", "rps"]
    name = str(load["name"].iloc[0])
    late = (load["name"] == name) & (load["ts_ms"] >= (END - THRASHED).value // 10**6)
    sign = np.where(load["ts_ms"] // (SPEC.step_s * 1000) % 2 == 0, 1.0, -1.0)
    load.loc[late, "rps"] *= 1 + 0.4 * sign[late]
    with sqlite3.connect(file) as db:
        load.to_sql("load", db, index=False)
    db.close()
    return int(load[["rps", "queued"]].notna().sum().sum()), name


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, str]]:
    folder = tmp_path_factory.mktemp("extend")
    for file, code in modules().items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, no_aws_of_the_machine(folder):
        patch.setattr(sys, "path", list(sys.path))
        yield folder, *table_of_samples(folder / "samples.db")
        for name in ("recent_days", "restless", "sql_table"):
            sys.modules.pop(name, None)


@pytest.fixture
def foretide(
    world: tuple[Path, int, str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> CommandLine:
    """In the folder of the examples, with the configuration that the page puts together."""
    monkeypatch.chdir(world[0])
    settings = SMALL | {"store": {"path": str(world[0] / "store")}}
    for block in fenced("yaml"):
        settings = laid_over(settings, yaml.safe_load(block))
    return CommandLine(world[0], capsys, caplog, settings)


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # mlflow
def test_all_of_them_from_a_table_to_a_forecast_and_an_incident(
    foretide: CommandLine, world: tuple[Path, int, str]
) -> None:
    folder, n_samples, thrashing = world
    before = END - pd.Timedelta(hours=6)

    checks = foretide.run("doctor").checks
    assert checks["extensions"]["status"] == "ok"
    assert "restless:Restless" in checks["extensions"]["detail"]

    got = foretide.done("ingest", "--as-of", END.isoformat())
    assert got.figures["samples"] == n_samples

    foretide.done("train", "--as-of", before.isoformat())
    store = Store(str(folder / "store"))
    tried = store.read(BACKTEST).to_pandas()
    assert np.isfinite(tried.loc[tried["model"] == "recent_days", "wape"]).any()

    foretide.done("forecast", "--as-of", before.isoformat(), "--horizon", "24h")
    told = store.read(FORECASTS).to_pandas()
    assert set(told["model"]) <= {"seasonal_naive", "seasonal_level", "recent_days", "combination"}
    assert np.isfinite(told["q50"]).all()

    foretide.done("score", "--as-of", END.isoformat())
    scores = store.read(SCORES).to_pandas()
    own = scores[scores["detector"] == "restless"]
    assert set(scores["detector"]) == {"band", "restless"}
    hot = own[own["score"] >= 1]
    assert hot["workload"].str.endswith(f"/{thrashing}").mean() > 0.9
    late = hot[(hot["ts"] >= END - THRASHED + pd.Timedelta(hours=1))]
    assert set(late["metric"]) == {"requests_per_second"}
    assert late["reason"].str.startswith("restless ").all()
    why = explained(RunRef.resolve(None, None, str(folder / "store"), None, END).open(),
                    str(hot["workload"].iloc[0]))  # fmt: skip
    told_by = {w.detector: " ".join(w.arithmetic) for w in why.scores}
    assert "restless has its own measure" in told_by["restless"]
    assert "own measure" not in told_by["band"]
    incidents = store.read(INCIDENTS).to_pandas()
    assert any(thrashing in w for names in incidents["workloads"] for w in names)


def test_a_worker_of_its_own_finds_them_too(foretide: CommandLine) -> None:
    """Another process reads the configuration by itself: nothing is sent but names."""
    foretide.settings["shards"] = {"backend": "processes", "workers": 1}
    told = foretide.done("backtest", "--as-of", END.isoformat())
    assert "recent_days" in {row["model"] for row in told.result["rows"]}
