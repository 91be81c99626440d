"""doctor: what is missing is said, what is there is left alone, nothing secret is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from features.frames import SAMPLES, SCORES
from pipelines.adapters.store import Store
from pipelines.cli import cli
from pipelines.doctor import Check, examine

NOW = pd.Timestamp("2026-06-08T09:00Z")
SECRET = "hunter2"  # noqa: S105 - nobody's; it must never be shown
WORKLOADS = ("checkout", "cart", "search")


@dataclass
class Cluster:
    """A made-up query API, Prefect server and MLflow: what each says, and what it was asked."""

    labels: Callable[[str], list[dict[str, str]]] = lambda _: [labelled(n) for n in WORKLOADS]
    clock: pd.Timestamp = NOW
    status: int = 200
    text: str | None = None
    down: tuple[str, ...] = ()
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self.down:
            raise httpx.ConnectError("Connection refused", request=request)
        if request.url.path.endswith("/health"):
            return httpx.Response(200 if self.status == 200 else 503)
        if self.status != 200 or self.text is not None:
            return httpx.Response(self.status, text=self.text or "no")
        if request.url.path.endswith("/query"):
            stamp = self.clock.timestamp()
            return answer([{"metric": {}, "value": [stamp, str(stamp)]}])
        form = {k: v[0] for k, v in parse_qs(request.content.decode()).items()}
        self.asked.append(form)
        if "refused" in form["query"]:
            return httpx.Response(422, json={"status": "error", "error": "parse error"})
        point = [float(form["start"]), "1"]
        return answer([{"metric": m, "values": [point]} for m in self.labels(form["query"])])


def answer(result: list[dict[str, Any]]) -> httpx.Response:
    return httpx.Response(200, json={"status": "success", "data": {"result": result}})


def labelled(name: str) -> dict[str, str]:
    return {"cluster": "c", "namespace": "n", "kind": "Deployment", "name": name}


def configured(tmp_path: Path, **sections: Mapping[str, Any]) -> str:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        "metrics:\n"
        "  requests_per_second: {role: demand, query: good}\n"
        "  memory_rss_bytes: {role: resource, query: other}\n"
        "  memory_limit_bytes: {role: limit}\n"
    )
    source = {"url": "http://metrics.test", "catalog": str(catalog), "cluster": "c"}
    store = {"path": str(tmp_path / "store")}
    tree = {**sections, "source": source | dict(sections.get("source", {}))}
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"store": store, **tree}))
    return str(config)


def checked(
    config: str,
    cluster: Cluster | None = None,
    as_of: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Check]:
    transport = httpx.MockTransport(cluster or Cluster())
    told = examine(config, None, as_of, now=NOW, environ=environ or {}, transport=transport)
    checks = list(told)
    assert len({c.name for c in checks}) == len(checks)
    assert all(c.remedy for c in checks if c.status != "ok")
    return {c.name: c for c in checks}


def test_where_all_is_well_nothing_is_to_do(tmp_path: Path) -> None:
    checks = checked(configured(tmp_path))
    asked = ["configuration", "catalog", "source"]
    asked += ["metric requests_per_second", "metric memory_rss_bytes", "store", "prefect"]
    assert [(n, checks[n].status, checks[n].remedy) for n in asked] == [
        (n, "ok", "") for n in asked
    ]
    assert checks["metric requests_per_second"].detail == "3 workloads"
    assert "3 metrics, 2 with a query" in checks["catalog"].detail


def test_looking_makes_nothing(tmp_path: Path) -> None:
    config = configured(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    checks = checked(config)
    assert sorted(tmp_path.rglob("*")) == before
    young = ("samples", "scores", "forecasts", "capacity", "models")
    assert {checks[n].status for n in young} == {"warn"}


def test_a_query_reaches_back_minutes_and_is_asked_once(tmp_path: Path) -> None:
    cluster = Cluster()
    checked(configured(tmp_path), cluster)
    assert sorted(form["query"] for form in cluster.asked) == ["good", "other"]
    for form in cluster.asked:
        assert NOW.timestamp() - float(form["start"]) <= 900
        assert float(form["end"]) < NOW.timestamp()


@pytest.mark.parametrize(
    ("cluster", "found", "remedy"),
    [
        (Cluster(status=401), "refused user 'me': HTTP 401", "source.headers"),
        (Cluster(status=403), "refused user 'me': HTTP 403", "source.aws"),
        (Cluster(status=404), "HTTP 404", "without /api/v1"),
        (Cluster(status=302), "HTTP 302", "without /api/v1"),
        (Cluster(status=500), "HTTP 500", "log"),
        (Cluster(text="<html>hello</html>"), "<html>hello</html>", "source.url"),
        (Cluster(text='{"status": "success", "data": {"result": []}}'), "does not", "source.url"),
        (Cluster(down=("metrics.test",)), "Connection refused", "source.url"),
    ],
)
def test_a_source_that_cannot_be_read_fails_and_is_not_asked_further(
    tmp_path: Path, cluster: Cluster, found: str, remedy: str
) -> None:
    url = f"http://me:{SECRET}@metrics.test/prom"
    source = {"url": url, "headers": {"Authorization": f"Bearer {SECRET}"}}
    checks = checked(configured(tmp_path, source=source), cluster)
    assert checks["source"].status == "fail"
    assert found in checks["source"].detail
    assert remedy in checks["source"].remedy
    assert cluster.asked == []
    assert not [n for n in checks if n.startswith("metric ")]
    assert checks["store"].status == "ok"
    assert SECRET not in str(checks)


@pytest.mark.parametrize(("ahead_s", "word"), [(300, "300 s ahead of"), (-300, "300 s behind")])
def test_a_wrong_clock_is_told(tmp_path: Path, ahead_s: int, word: str) -> None:
    cluster = Cluster(clock=NOW + pd.Timedelta(ahead_s, "s"))
    # the past is asked for, and the clocks are compared in the present all the same
    checks = checked(configured(tmp_path), cluster, as_of="2026-06-01T00:00Z")
    assert checks["source"].status == "warn"
    assert word in checks["source"].detail
    assert checks["metric requests_per_second"].status == "ok"


def test_a_metric_without_series_says_what_is_lost(tmp_path: Path) -> None:
    cluster = Cluster(labels=lambda q: [labelled("checkout")] if q == "good" else [])
    checks = checked(configured(tmp_path), cluster)
    assert checks["metric requests_per_second"].status == "ok"
    assert checks["metric memory_rss_bytes"].status == "warn"
    assert "leaks are not found" in checks["metric memory_rss_bytes"].remedy
    assert "metrics" not in checks


def test_no_series_at_all_fails(tmp_path: Path) -> None:
    checks = checked(configured(tmp_path), Cluster(labels=lambda _: []))
    assert checks["metrics"].status == "fail"
    assert "none of 2 metrics" in checks["metrics"].detail


def test_a_metric_of_some_workloads_says_of_how_many(tmp_path: Path) -> None:
    some = {"good": WORKLOADS, "other": WORKLOADS[:1]}
    cluster = Cluster(labels=lambda q: [labelled(n) for n in some[q]])
    assert checked(configured(tmp_path), cluster)["metric memory_rss_bytes"].detail == (
        "1 of 3 workloads"
    )


def test_series_that_belong_to_nobody_are_told(tmp_path: Path) -> None:
    cluster = Cluster(labels=lambda _: [labelled("checkout"), {"pod": "a"}, {"pod": "b"}])
    check = checked(configured(tmp_path), cluster)["metric requests_per_second"]
    assert check.status == "warn"
    assert "1 workloads; 2 series without a `name` label" in check.detail


def test_a_refused_query_fails_alone(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "catalog.yaml").write_text(
        "metrics:\n  a: {query: 'refused('}\n  b: {query: good}\n", encoding="utf-8"
    )
    checks = checked(config)
    assert checks["metric a"].status == "fail"
    assert "parse error" in checks["metric a"].detail
    assert checks["metric b"].status == "ok"


def test_only_the_metrics_that_are_wanted_are_asked(tmp_path: Path) -> None:
    cluster = Cluster()
    checks = checked(configured(tmp_path, source={"metrics": ["memory_rss_bytes"]}), cluster)
    assert [f["query"] for f in cluster.asked] == ["other"]
    assert checks["catalog"].status == "ok"
    checks = checked(configured(tmp_path, source={"metrics": ["memory_limit_bytes"]}))
    assert checks["catalog"].status == "fail"


def test_a_broken_configuration_is_the_only_thing_said(tmp_path: Path) -> None:
    config = tmp_path / "foretide.yaml"
    config.write_text("sauce: {}\n")
    checks = checked(str(config))
    assert list(checks) == ["configuration"]
    assert "'sauce'" in checks["configuration"].detail


def test_without_a_catalog_the_rest_is_checked(tmp_path: Path) -> None:
    checks = checked(configured(tmp_path, source={"catalog": "promethius"}))
    assert checks["catalog"].status == "fail"
    assert checks["source"].status == "ok"
    assert checks["store"].status == "ok"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("FORETIDE_SOURCE_URL", "warn"),
        ("FORETIDE_SAUCE__URL", "warn"),
        ("FORETIDE_SOURCE__URL", "ok"),
        ("FORETIDE_HOME", "ok"),
        ("HOME", "ok"),
    ],
)
def test_a_variable_that_sets_nothing_is_told(tmp_path: Path, name: str, status: str) -> None:
    check = checked(configured(tmp_path), environ={name: SECRET})["configuration"]
    assert check.status == status
    assert SECRET not in str(check)


def test_a_file_where_the_store_should_be_fails(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "store").write_text("in the way")
    assert checked(config)["store"].status == "fail"


def samples(*stamps: str) -> pd.DataFrame:
    row = {**labelled("checkout"), "metric": "requests_per_second", "value": 1.0}
    return pd.DataFrame([{**row, "ts": pd.Timestamp(s).as_unit("ms")} for s in stamps])


def test_ages_are_told_as_of_the_run_and_the_future_is_not_seen(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.write_samples(samples("2026-06-05T12:00Z", "2026-06-08T08:55Z"))
    empty = SCORES.schema.empty_table()
    for part in ("20260605T120000Z-0000", "20260608T085500Z-0001", "not-a-moment"):
        store.write(SCORES, empty, part)
    checks = checked(configured(tmp_path))
    for name in (SAMPLES.name, SCORES.name):
        assert checks[name].status == "ok"
        assert checks[name].detail.endswith("2026-06-08 08:55 UTC, 5 min old")
    checks = checked(configured(tmp_path), as_of="2026-06-08T00:00Z")
    for name in (SAMPLES.name, SCORES.name):
        assert checks[name].status == "warn"
        assert "2026-06-05 12:00 UTC, 2.5 d old" in checks[name].detail
    checks = checked(configured(tmp_path), as_of="2026-06-01T00:00Z")
    assert "none in the 28 days before 2026-06-01" in checks[SAMPLES.name].detail
    assert checks[SCORES.name].detail == "none yet"


def test_a_damaged_day_fails(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for file in store.write_samples(samples("2026-06-08T08:55Z")).files:
        Path(file).write_bytes(b"PAR1 no more")
    assert checked(configured(tmp_path))[SAMPLES.name].status == "fail"


def test_files_are_a_source_when_they_are_there(tmp_path: Path) -> None:
    cluster = Cluster()
    (tmp_path / "samples.csv").write_text("name,metric,ts,value\na,b,2026-06-01T00:00Z,1\n")
    here = configured(tmp_path, source={"kind": "files", "paths": [str(tmp_path)]})
    assert checked(here, cluster)["source"].status == "ok"
    gone = configured(tmp_path, source={"kind": "files", "paths": [str(tmp_path / "x.csv")]})
    assert checked(gone)["source"].status == "fail"
    assert cluster.asked == []


def test_servers_that_are_configured_have_to_answer(tmp_path: Path) -> None:
    mlflow = f"http://me:{SECRET}@mlflow.test/"
    config = configured(tmp_path, tracking={"uri": mlflow})
    prefect = "http://prefect.test/api"
    down = Cluster(down=("mlflow.test", "prefect.test"))
    checks = checked(config, down, environ={"PREFECT_API_URL": prefect})
    assert (checks["mlflow"].status, checks["prefect"].status) == ("fail", "fail")
    assert "tracking.uri" in checks["mlflow"].remedy
    assert "PREFECT_API_URL" in checks["prefect"].remedy
    assert SECRET not in str(checks)
    checks = checked(configured(tmp_path), environ={"PREFECT_API_URL": prefect})
    assert checks["prefect"].detail == "http://prefect.test/api answers"
    checks = checked(
        configured(tmp_path), Cluster(status=500), environ={"PREFECT_API_URL": prefect}
    )
    assert checks["prefect"].status == "fail"


@pytest.mark.parametrize(("path", "code"), [("samples.csv", 0), ("gone.csv", 1)])
def test_the_command_says_a_line_a_check_and_ends_by_what_failed(
    tmp_path: Path, path: str, code: int
) -> None:
    (tmp_path / "samples.csv").write_text("name,metric,ts,value\n")
    source = {"kind": "files", "paths": [str(tmp_path / path)]}
    args = ["doctor", "--config", configured(tmp_path, source=source)]
    told = CliRunner(env={"PREFECT_API_URL": ""}).invoke(cli, args)
    assert told.exit_code == code
    lines = told.stdout.splitlines()
    listed = CliRunner(env={"PREFECT_API_URL": ""}).invoke(cli, [*args, "--json"])
    assert listed.exit_code == code
    checks = json.loads(listed.stdout)
    assert [line.split()[0] for line in lines] == [c["status"] for c in checks]
    assert ("fail" in [c["status"] for c in checks]) == (code == 1)
