"""The flow: what it says before, what it refuses, what it leaves for whoever reads files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from checking_proxy import Reply, Request, answering
from publish_store import CLOCK, WORKLOADS, add_forecast, fill, opened

from pipelines.cli import _run_cli
from pipelines.clock import present
from pipelines.errors import ConfigError, ForetideError
from pipelines.publish import publish
from pipelines.publish_targets import cloudwatch_tables
from pipelines.series import all_gauges
from pipelines.series.names import NAMES, gauge, names_table
from pipelines.settings import load_settings
from pipelines.settings_publish import PublishSettings

pytestmark = [
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

DOCS = Path(__file__).parents[2] / "docs" / "publishing.md"
QUICK = {"attempts": 1, "retry_wait_s": 0.01, "metadata": False}


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("FORETIDE_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def server() -> Iterator[tuple[str, list[Request]]]:
    """Takes whatever comes."""
    seen: list[Request] = []

    def respond(request: Request) -> Reply:
        seen.append(request)
        return Reply(204)

    with answering(respond) as url:
        yield url + "/api/v1/write", seen


def run(folder: Path, wanted: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    config = folder / "foretide.yaml"
    config.write_text(yaml.safe_dump({"publish": wanted}))
    parameters.setdefault("as_of", CLOCK.isoformat())
    return publish.fn(config=str(config), out=str(folder / "store"), **parameters)


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and "mlflow" not in str(p))
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def remote(url: str) -> dict[str, Any]:
    return {"remote_write": {"url": url, "send": QUICK}}


def test_a_dry_run_counts_and_changes_nothing(
    tmp_path: Path, server: tuple[str, list[Request]]
) -> None:
    fill(tmp_path)
    run(tmp_path, remote(server[0]), dry_run=True)  # MLflow makes its database
    before = files(tmp_path / "store")
    said = run(tmp_path, remote(server[0]), dry_run=True)
    rows = {r["name"]: (r["series"], r["new"]) for r in said["rows"]}
    assert rows["foretide_forecast"] == (24, 24)
    assert rows["foretide_anomaly_score"] == (3, 3)
    assert said["figures"]["series"] == sum(r["series"] for r in said["rows"])
    assert said["done"] == 0
    assert said["skipped"]["dry run"] == said["figures"]["series"]
    assert any("USD a month if publish.cloudwatch.enabled" in n for n in said["notes"])
    assert files(tmp_path / "store") == before
    assert server[1] == []


def test_after_a_send_only_what_is_new_is_new(
    tmp_path: Path, server: tuple[str, list[Request]]
) -> None:
    fill(tmp_path)
    said = run(tmp_path, remote(server[0]), back_filled=True)
    assert said["done"] == said["figures"]["series_new"] > 50
    assert server[1]
    more = remote(server[0]) | {"forecast_horizons": ["1h", "12h", "24h"]}
    again = run(tmp_path, more, dry_run=True)
    new = {r["name"]: r["new"] for r in again["rows"]}
    assert new["foretide_forecast"] == 12
    assert new["foretide_anomaly_score"] == 0
    elsewhere = run(tmp_path, remote(server[0] + "/other"), dry_run=True)
    assert elsewhere["figures"]["series_new"] == elsewhere["figures"]["series"]


def test_too_many_series_stop_everything_before_it_begins(
    tmp_path: Path, server: tuple[str, list[Request]]
) -> None:
    fill(tmp_path)
    wanted = remote(server[0]) | {"series_max": 40, "parquet": str(tmp_path / "files")}
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, wanted, back_filled=True)
    text = str(caught.value)
    assert "foretide_forecast 24 (fewer with publish.forecast_horizons, publish.quantiles" in text
    assert "publish.series_max = 40" in text
    assert server[1] == []
    assert not (tmp_path / "files").exists()
    said = run(tmp_path, wanted, dry_run=True)
    assert any("would be refused" in n for n in said["notes"])
    enough = said["figures"]["series"] - 24
    fewer = wanted | {"names": {"foretide_forecast": False}, "series_max": int(enough) + 20}
    assert run(tmp_path, fewer, back_filled=True)["skipped"]["turned off in publish.names"] == 24


def test_a_back_filled_run_sends_nothing_unless_asked(
    tmp_path: Path, server: tuple[str, list[Request]]
) -> None:
    fill(tmp_path)
    said = run(tmp_path, remote(server[0]))
    assert said["done"] == 0
    assert "--back-filled" in said["notes"][0]
    assert server[1] == []
    assert run(tmp_path, remote(server[0]), back_filled=True)["done"] > 0


def test_what_a_server_refuses_is_told_although_the_run_is_red(tmp_path: Path) -> None:
    fill(tmp_path)
    with answering(lambda _: Reply(400, b"out of bounds")) as url, pytest.raises(ForetideError):
        run(tmp_path, remote(f"{url}/api/v1/write"), back_filled=True)
    told = {g.name: g.values for g in all_gauges(opened(tmp_path))}
    assert told["foretide_run_failed"].tolist() == [1.0]
    assert told["foretide_series_published"].tolist() == [0.0]
    assert told["foretide_series_refused"][0] > 10


def test_cloudwatch_gets_no_sum_over_what_has_none(tmp_path: Path) -> None:
    """Cores and bytes, medians and peaks, figures of the value report stay apart."""
    wanted = {"cloudwatch": {"names": ["foretide_forecast", "foretide_value*"]}}
    fill(tmp_path)
    settings = PublishSettings.model_validate(wanted)
    told = pd.DataFrame(
        {"scope": ["all", "a", "all"], "name": ["x", "x", "y"], "unit": ["u", "u", "v"]}
    )
    values = gauge("foretide_value", told, np.array([3.0, 2.0, 9.0]))
    tables = cloudwatch_tables([*all_gauges(opened(tmp_path)), values], settings.cloudwatch)
    assert tables["foretide_value"]["value"].tolist() == [2.0, 3.0, 9.0]
    forecast = tables["foretide_forecast"]
    assert {"metric", "quantile", "horizon"} <= set(forecast.columns)
    assert not forecast.duplicated(["cluster", "metric", "quantile", "horizon"]).any()


def test_nowhere_to_publish_to_is_said_and_green(tmp_path: Path) -> None:
    fill(tmp_path, at=present())
    said = run(tmp_path, {}, as_of=None)
    assert said["done"] == 0
    assert "publish.remote_write.url" in said["notes"][0]


def test_a_target_that_is_down_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    fill(tmp_path)
    wanted = remote("http://127.0.0.1:9/write") | {"parquet": str(tmp_path / "files")}
    wanted["cloudwatch"] = {"enabled": True}
    with pytest.raises(ForetideError, match="no answer") as caught:
        run(tmp_path, wanted, back_filled=True)
    assert "AWS credentials" in str(caught.value)  # both are told
    assert (tmp_path / "files" / "forecasts" / "latest.parquet").is_file()


def reader() -> Any:
    """The reader of the documentation, as it stands there."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    namespace: dict[str, Any] = {}
    exec(code, namespace)  # noqa: S102 - our own documentation
    return namespace["latest"]


def test_a_job_reads_one_file_by_the_documented_lines(tmp_path: Path) -> None:
    store = fill(tmp_path)
    places = tmp_path / "files"
    said = run(tmp_path, {"parquet": str(places)}, back_filled=True)
    latest = reader()
    read = latest(places / "forecasts" / "latest.parquet", CLOCK)
    assert len(read) == said["figures"]["forecasts_rows"] == 3 * 2 * 12 * 30
    assert set(read["workload"].astype("str")) == set(WORKLOADS)
    assert set(said["outputs"]) == {
        f"published {t}" for t in ("forecasts", "capacity", "scores", "incidents")
    }
    with pytest.raises(RuntimeError, match="not valid"):
        latest(places / "scores" / "latest.parquet", CLOCK + pd.Timedelta("2h"))
    # a newer short run speaks of its hours, the older one of what is beyond
    at = CLOCK + pd.Timedelta("15min")
    add_forecast(store, WORKLOADS, at, hours=3, base=500)
    run(tmp_path, {"parquet": str(places)}, back_filled=True, as_of=at.isoformat())
    both = latest(places / "forecasts" / "latest.parquet", at)
    assert not both.duplicated(["workload", "metric", "ts"]).any()
    soon = both["ts"] < at + pd.Timedelta("3h")
    assert (both.loc[soon, "q50"] >= 500).all()
    assert (both.loc[~soon, "q50"] < 500).all()
    assert both["ts"].max() == CLOCK + pd.Timedelta("30h") - pd.Timedelta("5min")


def test_a_file_is_never_replaced_by_what_is_not_valid(tmp_path: Path) -> None:
    fill(tmp_path)
    places = tmp_path / "files"
    run(tmp_path, {"parquet": str(places)}, back_filled=True)
    before = files(places)
    late = (CLOCK + pd.Timedelta("27h")).isoformat()
    said = run(tmp_path, {"parquet": str(places)}, back_filled=True, as_of=late)
    assert files(places) == before
    assert sum("nothing valid" in n for n in said["notes"]) == 4
    meta = pq.read_metadata(places / "capacity" / "latest.parquet").metadata
    until = pd.Timestamp(meta[b"foretide.valid_until"].decode())
    assert until == CLOCK + pd.Timedelta("26h")
    assert meta[b"foretide.table"] == b"capacity"


def test_the_documented_names_are_the_published_ones() -> None:
    assert names_table() in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"names": {"foretide_forcast": False}}, "foretide_forcast"),
        ({"cloudwatch": {"names": ["foretide_nothing"]}}, "foretide_nothing"),
        ({"forecast_horizons": ["soon"]}, "soon"),
        ({"forecast_horizons": ["60m", "1h"]}, "must differ"),
        ({"quantiles": [0.42]}, "quantiles must be some of"),
        ({"remote_write": {"password": "se-cret"}}, "password needs username"),
        ({"remote_write": {"headers": {"a b": "se-cret"}}}, "no header that HTTP allows"),
        ({"remote_write": {"send": {"attempts": 0}}}, "attempts must be at least 1"),
        ({"series_max": 0}, "series_max"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, wanted: dict[str, Any], told: str
) -> None:
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"publish": wanted}))
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        load_settings(config)
    assert "se-cret" not in str(caught.value)


def test_names_are_turned_off_and_on_by_pattern() -> None:
    text = {"foretide_*": False, "foretide_incident*": True}
    wanted = load_settings().publish.model_copy(update={"names": text})
    assert [n for n in NAMES if wanted.sends(n)] == [
        "foretide_incidents", "foretide_incident_score",
    ]  # fmt: skip
    assert all(load_settings().publish.sends(n) for n in NAMES)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path)
    config = tmp_path / "c.yaml"
    config.write_text("{}\n")
    args = ["publish", "--config", str(config), "--out", str(tmp_path / "store"),
            "--as-of", CLOCK.isoformat(), "--dry-run"]  # fmt: skip
    assert _run_cli(args) == 0
    assert "foretide_forecast: 24 series, 24 new" in capsys.readouterr().out
