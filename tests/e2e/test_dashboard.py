"""Every query of the dashboard and of the alert rules, asked of real servers as Grafana would.

They hold what the publish flow sent now, and the same as it would have been sent before.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml
from metric_servers import MetricsServer
from own_world import fill_all, registry

from pipelines.clock import present
from pipelines.publish import publish
from pipelines.run import RunRef
from pipelines.series.every import gather_all

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CONFIG = Path(__file__).parents[2] / "config"
DASHBOARD = json.loads((CONFIG / "grafana" / "foretide.json").read_text())
VARIABLES = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
PANELS = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
QUERIES = [(p, t) for p in PANELS for t in p["targets"]]
RULES = [r for g in yaml.safe_load((CONFIG / "rules/foretide.yaml").read_text())["groups"]
         for r in g["rules"]]  # fmt: skip
PAST = 100
"""Quarters of an hour: enough to look back a day."""
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


@pytest.fixture(scope="module", params=["prometheus", "victoria"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> MetricsServer:
    """A server that was published to for a day, by the real flow at last."""
    server: MetricsServer = request.getfixturevalue(f"{request.param}_server")
    folder = tmp_path_factory.mktemp("published")
    now = present()
    fill_all(folder, now)
    config = folder / "foretide.yaml"
    with registry(now - pd.Timedelta("30h")) as tracking:
        remote = {"remote_write": {"url": f"{server.url}/api/v1/write"}}
        settings = {"tracking": {"uri": tracking}, "publish": remote}
        config.write_text(yaml.safe_dump(settings))
        run = RunRef.resolve(str(config), None, str(folder / "store"), now.isoformat(), now).open()
        before = [now - (PAST - i) * pd.Timedelta("15min") for i in range(PAST)]
        stamps = np.array([round(at.timestamp() * 1000) for at in before])
        server.write(
            ({"__name__": g.name, **dict(zip(g.labels.columns, map(str, row), strict=True))},
             stamps, np.full(len(stamps), v))
            for g in gather_all(run).gauges
            for row, v in zip(g.labels.itertuples(index=False), g.values, strict=True)
        )  # fmt: skip
        said = publish.fn(config=str(config), out=str(folder / "store"))
    assert said["figures"]["series_refused"] == 0
    wait_for(server, "foretide_series_published")
    return server


def wait_for(server: MetricsServer, query: str, within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not ask(server, "query", {"query": f"{query} offset 1s"}):
        assert time.monotonic() < until, f"{query} does not come"
        time.sleep(0.1)


def ask(server: MetricsServer, what: str, form: dict[str, Any]) -> list[Any]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        client.get("/internal/force_flush")
        answer = client.post(f"/api/v1/{what}", data=form | {"nocache": "1"})
    assert answer.status_code == 200, (form, answer.text)
    data = answer.json()["data"]
    return data if isinstance(data, list) else data["result"]


def chosen(server: MetricsServer, all_values: bool) -> dict[str, str]:
    """The variables' values one after the other, as Grafana fills them: all, or the first."""
    values: dict[str, str] = {}
    for name, variable in VARIABLES.items():
        if variable["type"] == "datasource":
            continue
        query, label = LABEL_VALUES.fullmatch(variable["query"]["query"]).groups()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            form = {"match[]": filled(query, values), "start": time.time() - 86400}
            answer = client.get(f"/api/v1/label/{label}/values", params=form)
        options = sorted(answer.raise_for_status().json()["data"])
        assert options, f"the variable {name} has no values"
        values[name] = variable["allValue"] if variable["multi"] and all_values else options[0]
    return values


def filled(query: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        query = re.sub(rf"\${name}\b|\${{{name}}}", lambda _, v=value: v, query)
    assert "$" not in query, query
    return query


def test_every_query_of_the_dashboard_returns_data(server: MetricsServer) -> None:
    values = chosen(server, all_values=True)
    end = int(time.time())
    empty: list[str] = []
    for panel, target in QUERIES:
        query = filled(target["expr"], values)
        if target.get("instant"):
            found = ask(server, "query", {"query": query})
        else:
            span = {"start": end - 6 * 3600, "end": end, "step": 60}
            found = ask(server, "query_range", {"query": query} | span)
        if not found:
            empty.append(f"{panel['title']}: {query}")
    assert not empty, "\n".join(empty)


def test_one_workload_can_be_looked_at_alone(server: MetricsServer) -> None:
    values = chosen(server, all_values=False)
    assert ".*" not in values.values()
    for _, target in QUERIES:
        if "foretide_actual" in target["expr"]:
            found = ask(server, "query", {"query": filled(target["expr"], values)})
            assert [one["metric"]["name"] for one in found] == [values["name"]]


def test_every_rules_query_is_taken_and_its_series_are_there(server: MetricsServer) -> None:
    """An alert's condition is not true here: its query is asked, and then for the series in it.

    Recorded series are recorded by hand, as a rule engine would: now, and a day ago.
    """
    now_ms = round(time.time() * 1000)
    for rule in RULES:
        query = " ".join(rule["expr"].split())
        found = ask(server, "query", {"query": query})
        for name, matchers in re.findall(r"(foretide_\w+)(\{[^}]*\})?", query):
            assert ask(server, "query", {"query": f"last_over_time({name}{matchers}[1h])"}), name
        if "record" not in rule:
            continue
        assert found, rule["record"]
        labels = {"__name__": rule["record"]} | rule.get("labels", {})
        stamps = np.array([now_ms - 86_400_000, now_ms - 1000])
        server.write(
            (labels | {k: v for k, v in one["metric"].items() if k != "__name__"},
             stamps, np.full(2, float(one["value"][1])))
            for one in found
        )  # fmt: skip
        wait_for(server, f"{{__name__={rule['record']!r}}}")


def test_the_dashboard_names_no_server_and_no_metric_that_is_not_published(
    server: MetricsServer,
) -> None:
    for panel, target in QUERIES:
        for place in (panel, target):
            assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    asked = {n for _, t in QUERIES for n in re.findall(r"foretide_\w+", t["expr"])}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        names = client.get("/api/v1/label/__name__/values").json()["data"]
    assert asked <= set(names)
    # what is published and not shown would be paid for and seen by nobody
    unseen = {n for n in names if n.startswith("foretide_")} - asked
    assert unseen <= {"foretide_run_last_timestamp_seconds"}
