"""The backtest verb: every series accounted for, nothing seen that was not there yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.frames import BACKTEST, SAMPLES, conform, require
from features.metrics import Catalog
from features.panel import Panel
from models.combination import COMBINATION
from pipelines.adapters.files import read_samples
from pipelines.adapters.store import Store
from pipelines.backtesting import backtest, model_rows
from pipelines.cli import cli
from pipelines.errors import ConfigError, HistoryError
from pipelines.judging import PRODUCT, judge_forecasters
from pipelines.settings import Settings

START = pd.Timestamp("2026-05-04T00:00Z")
WEEK = 168
PLAIN = [*Settings().forecast.models, COMBINATION]


def week_of_load(weeks: int, noise: float, seed: int = 1) -> np.ndarray:
    hour = np.arange(weeks * WEEK)
    day = 100 + 60 * np.sin(2 * np.pi * (hour % 24 - 8) / 24)
    shape = day * np.where(hour // 24 % 7 < 5, 1.0, 0.5)
    return shape * np.random.default_rng(seed).lognormal(0, noise, len(hour))


def rows_of(name: str, values: np.ndarray, metric: str = "requests") -> pd.DataFrame:
    ts = pd.date_range(START, periods=len(values), freq="h")
    return pd.DataFrame({"name": name, "metric": metric, "ts": ts, "value": values})


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pd.concat(
        [
            rows_of("steady", week_of_load(6, 0.0)),
            rows_of("noisy", week_of_load(6, 0.2)),
            rows_of("young", week_of_load(6, 0.1)[-20:]).assign(
                ts=pd.date_range(START + pd.Timedelta(weeks=6), periods=20, freq="h")
                - pd.Timedelta(20, "h")
            ),
        ]
    )
    path = tmp_path_factory.mktemp("samples") / "samples.parquet"
    pq.write_table(conform(frame, SAMPLES), path)
    return path


@pytest.fixture(scope="module")
def result(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out")
    return backtest.fn(inputs=[str(samples)], out=str(out))


def test_every_series_is_done_or_skipped_with_a_reason(result: dict[str, Any]) -> None:
    assert result["done"] == 2
    [(reason, count)] = result["skipped"].items()
    assert count == 1
    assert "history" in reason


def test_the_bar_comes_first_and_the_product_last(result: dict[str, Any]) -> None:
    assert [row["model"] for row in result["rows"]] == [*PLAIN, PRODUCT]
    assert sum(row["champion_for"] for row in result["rows"][:-1]) == result["done"]
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert all(row["windows"] == 6 for row in result["rows"])


def test_the_table_is_written_and_keeps_its_contract(result: dict[str, Any]) -> None:
    path = Path(result["outputs"]["backtest"])
    table = require(Store(path.parents[1]).read(BACKTEST), BACKTEST).to_pandas()
    assert set(table["model"]) == {*PLAIN, PRODUCT}
    assert not table.duplicated([*BACKTEST.key]).any()
    live = table[table["champion"]]
    assert live.groupby(["workload", "metric"], observed=True)["model"].nunique().eq(1).all()


def test_what_repeats_itself_is_known_by_last_week(result: dict[str, Any]) -> None:
    table = Store(Path(result["outputs"]["backtest"]).parents[1]).read(BACKTEST).to_pandas()
    steady = table[table["workload"].str.endswith("/steady")]
    assert steady.loc[steady["model"] == PLAIN[0], "wape"].max() < 1e-6
    assert steady.loc[steady["model"] == PRODUCT, "wape"].max() < 1e-6


def test_nobody_sees_what_comes_after_an_origin(samples: Path) -> None:
    panel = Panel.from_frame(read_samples([samples]))
    later = panel.end - pd.Timedelta(weeks=1)
    changed = panel.values.copy()
    changed[:, panel.times >= later] *= 7
    before, after = (
        judge_forecasters(p, Catalog({}), Settings()).table
        for p in (panel, panel.with_values(changed))
    )
    early = before["origin"] < later
    assert early.sum() >= 2 * 2 * 4
    columns = [c for c in before if c != "champion"]  # who is live is decided by all origins
    pd.testing.assert_frame_equal(before.loc[early, columns], after.loc[early, columns])
    assert not before.loc[~early, "wape"].equals(after.loc[~early, "wape"])


def test_rows_compare_only_where_everybody_answered() -> None:
    origin = [pd.Timestamp("2026-06-01T00:00Z"), pd.Timestamp("2026-06-08T00:00Z")]
    scores = dict.fromkeys(
        ["mase", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90", "peak_coverage_q90"],
        1.0,
    )
    table = pd.DataFrame(
        [
            ("seasonal_naive", origin[0], 0.9, 24, True),
            ("seasonal_naive", origin[1], 0.1, 24, True),
            (PRODUCT, origin[0], np.nan, 0, False),
            (PRODUCT, origin[1], 0.2, 24, False),
        ],
        columns=["model", "origin", "wape", "points", "champion"],
    ).assign(workload="a/b/c/d", metric="m", **scores)
    bar, product = model_rows(table, {})
    assert (bar["wape"], product["wape"]) == (0.1, 0.2)
    assert bar["windows"] == product["windows"] == 1
    assert bar["seconds"] is None


def test_too_little_history_is_said(samples: Path, tmp_path: Path) -> None:
    early = (START + pd.Timedelta(hours=3)).isoformat()
    with pytest.raises(HistoryError, match=r"nothing can be backtested .* 2 × history"):
        backtest.fn(inputs=[str(samples)], out=str(tmp_path), as_of=early)


def test_a_store_has_its_own_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="step_s"):
        backtest.fn(out=str(tmp_path), as_of="2026-06-01", step="1h")


def test_the_command_prints_a_table_or_json(samples: Path, tmp_path: Path) -> None:
    args = ["backtest", "--input", str(samples), "--out", str(tmp_path), "--step", "2h"]
    shown = CliRunner().invoke(cli, args, catch_exceptions=False).output
    assert shown.index("seasonal_naive") < shown.index("prophet")
    assert "3 origins" in shown
    told = json.loads(CliRunner().invoke(cli, [*args, "--json"]).output)
    assert [row["model"] for row in told["rows"]] == [*PLAIN, PRODUCT]
