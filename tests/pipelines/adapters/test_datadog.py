import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datadog_server import (
    API_KEY,
    APPLICATION_KEY,
    HOSTILE,
    DatadogServer,
    datadog_server,
    in_scope,
)
from hypothesis import example, given
from hypothesis import strategies as st
from source_contract import HOSTILE as ANY
from source_contract import (
    START,
    STEP,
    ByQuery,
    Denied,
    OverTheNetwork,
    SourceContract,
    WithCredentials,
    everything_said,
    window,
)

from features.metrics import Metric
from pipelines.adapters.catalog import load_catalog
from pipelines.adapters.datadog import DatadogParams, DatadogSource, datadog_client, principal_of
from pipelines.adapters.datadog.query import labels_of, query_text
from pipelines.adapters.source import Chunk, FetchReport, Source, Spec, Window
from pipelines.errors import AccessDenied, ConfigError, QueryFailed, SourceUnreachable

BY = "by {kube_cluster_name,kube_namespace,kube_deployment,kube_stateful_set,kube_daemon_set}"
PARAMS = DatadogParams(retry_wait_s=0.25, attempts=4, max_points_per_query=288)
TAGS = {"kube_namespace": "shop", "kube_deployment": "checkout"}


def rolled_up(metric: str) -> str:
    return f"avg:{metric}{{$__select}} {BY}.rollup(avg, $__interval)"


class Harness:
    hostile = HOSTILE

    def __init__(self, server: DatadogServer) -> None:
        self.server = server

    def load(self, samples) -> None:
        self.server.load(samples)

    def spec(self, metric: str, select: Mapping[str, tuple[str, ...]] | None = None) -> Spec:
        return Spec(Metric(metric, query=rolled_up(metric)), select or {})

    def source(self) -> Source:
        return source(self.server)

    def denied(self) -> Denied:
        bad = "badbadbadbadbadbadbadbadbadbad99"
        params = replace(PARAMS, server_url=self.server.url)
        client = datadog_client(bad, APPLICATION_KEY, params)
        who = principal_of(bad, APPLICATION_KEY)
        assert who == "API key …ad99 / application key …abcd"
        refused = DatadogSource(client, cluster="prod", params=params, principal=who)
        return Denied(refused, who, (bad, APPLICATION_KEY))

    def unreachable(self) -> Source:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        params = replace(PARAMS, server_url=url, attempts=2, retry_wait_s=0.0)
        return DatadogSource(
            lambda: datadog_client(API_KEY, APPLICATION_KEY, params), cluster="c", params=params
        )


class TestDatadog(SourceContract, ByQuery, WithCredentials, OverTheNetwork):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls) -> Iterator[Harness]:
        with datadog_server() as server:
            yield Harness(server)


@pytest.fixture
def server() -> Iterator[DatadogServer]:
    with datadog_server() as double:
        yield double


def source(server: DatadogServer, slept: list[float] | None = None, **params) -> DatadogSource:
    own = replace(PARAMS, server_url=server.url, **params)
    client = datadog_client(API_KEY, APPLICATION_KEY, own)
    sleep = [].append if slept is None else slept.append
    return DatadogSource(client, cluster="prod", params=own, sleep=sleep)


def fill(server: DatadogServer, steps: int = 10, **tags: str) -> None:
    ts = int(START.timestamp() * 1000) + 300_000 * np.arange(steps)
    server.add("m", TAGS | tags, ts, np.arange(steps) + 1.0)


def spec(query: str = rolled_up("m"), **select: tuple[str, ...]) -> Spec:
    return Spec(Metric("m", query=query), select)


def fetched(one: Source, what: Spec, asked: Window | None = None) -> tuple[list[dict], FetchReport]:
    chunks: list[Chunk] = list(one.fetch(what, asked or Window.of(START, START + 10 * STEP, STEP)))
    rows = [row for c in chunks for row in c.samples.to_pylist()]
    return rows, sum((c.report for c in chunks), FetchReport())


def test_windows_are_cut_so_that_datadog_rolls_up_no_coarser(server):
    fill(server, 700)
    rows, report = fetched(source(server), spec(), window())
    assert [(to - at + 1) / 300 for at, to, _ in server.asked] == [288, 288, 124]
    assert server.asked[0][1] + 1 == server.asked[1][0]
    assert (len(rows), report.coarser, report.queries, report.series) == (700, 0, 3, 1)


@pytest.mark.parametrize("milliseconds", [False, True])
def test_what_comes_back_coarser_is_counted_and_said(server, milliseconds):
    server.interval_ms = milliseconds
    fill(server, 700)
    minutes = Window.of(START, START + pd.Timedelta("2D"), pd.Timedelta("1min"))
    query = f"avg:m{{$__select}} {BY}"  # no rollup: Datadog takes what fits
    rows, report = fetched(source(server, max_points_per_query=1500), spec(query), minutes)
    assert report.coarser == 0
    query = f"avg:m{{$__select}} {BY}.rollup(avg, 3600)"
    rows, report = fetched(source(server, max_points_per_query=1440), spec(query), minutes)
    assert report.coarser == report.samples == len(rows) == 48
    assert report.warnings == (
        "m: Datadog rolled up to 3600 s where 60 s were asked for; lower max_points_per_query, or "
        "add .rollup(avg, $__interval) to the query",
    )


def test_the_last_step_is_asked_for_to_its_end(server):
    at_ms = int(START.timestamp() * 1000)
    server.add(
        "m", TAGS, at_ms + 1000 * np.array([0, 150, 300, 450, 600]), np.array([1.0, 3, 5, 7, 9])
    )
    rows, _ = fetched(source(server), spec(), Window.of(START, START + 2 * STEP, STEP))
    assert [r["value"] for r in rows] == [2.0, 6.0]


def test_null_is_not_measured(server):
    series = {"tag_set": ["kube_deployment:a"], "interval": 300}
    at = int(START.timestamp() * 1000)
    points = [[at, 1.5], [at + 300_000, None], [at + 600_000, 2.5]]
    body = {"status": "ok", "series": [series | {"pointlist": points}]}
    server.script = [json.dumps(body).encode()]
    rows, report = fetched(source(server), spec())
    assert [r["value"] for r in rows] == [1.5, 2.5]
    assert (report.dropped_not_finite, report.samples) == (0, 2)


def test_the_kind_follows_from_the_tag():
    params = DatadogParams()

    def labels(*tags: str) -> dict[str, str]:
        return labels_of(tags, params.tag_of, params.kind_of)

    assert labels("kube_cluster_name:eu", "kube_namespace:shop", "kube_stateful_set:db") == {
        "cluster": "eu", "namespace": "shop", "kind": "StatefulSet", "name": "db",
    }  # fmt: skip
    assert labels("kube_deployment:N/A", "kube_daemon_set:agent") == {
        "kind": "DaemonSet", "name": "agent",
    }  # fmt: skip
    assert labels("kube_deployment:a", "kind:Job", "name:b") == {"kind": "Deployment", "name": "a"}
    assert labels("name:b:c", "kind:NodePool") == {"kind": "NodePool", "name": "b:c"}
    assert labels("kube_deployment:n/a", "env") == {}
    mine = DatadogParams(tag_of={"namespace": "team"}, kind_of={"service": "Service"})
    assert labels_of(["team:x", "service:y"], mine.tag_of, mine.kind_of) == {
        "namespace": "x", "kind": "Service", "name": "y",
    }  # fmt: skip


def test_series_of_nobody_are_counted(server):
    fill(server)
    server.add("m", {"kube_namespace": "shop"}, server.held["m"][0][1], np.ones(10))
    rows, report = fetched(source(server), spec())
    assert (len(rows), report.unlabelled, report.series) == (10, 1, 2)


def asked(query: str, **select: tuple[str, ...]) -> str:
    return query_text(Metric("m", query=query), select, 300_000, DatadogParams().tag_of, "prod")


def test_a_selection_becomes_conditions():
    assert asked("m{$__select}") == "m{*}"
    assert asked("m{$__select AND env:x}") == "m{env:x}"
    assert asked("m{$__select}", namespace=("shop",)) == "m{kube_namespace:shop}"
    assert asked("m{$__select AND env:x}", namespace=("a", "b"), cluster=("eu",)) == (
        "m{kube_namespace IN (a, b) AND kube_cluster_name:eu AND env:x}"
    )
    # series without the tag belong to these
    assert asked("m{$__select}", cluster=("prod", "eu")) == "m{*}"
    assert asked("m{$__select}", namespace=("default",)) == "m{*}"


@given(values=st.lists(st.text(min_size=1), min_size=1, max_size=3))
@example(values=["} by {host"])
@example(values=["a, b"])
@example(values=["x OR *"])
@example(values=[ANY])
def test_no_value_can_say_more_than_itself(values):
    scope = asked("m{$__select}", namespace=tuple(values))[2:-1]
    for value in [*values, "other"]:
        want = scope == "*" or value in values
        assert in_scope(scope, {"kube_namespace": value}) == want
    assert scope == "*" or re.fullmatch(r"kube_namespace( IN \([\w./, -]+\)|:[\w./-]+)", scope)


def test_what_the_query_cannot_say_is_selected_in_the_answer(server):
    fill(server)
    fill(server, kube_namespace="Upper Case{}")
    rows, report = fetched(source(server), spec(namespace=("Upper Case{}",)))
    assert server.asked[0][2].startswith("avg:m{*}")
    assert {r["namespace"] for r in rows} == {"Upper Case{}"}
    assert report.outside_selection == 1


@pytest.mark.parametrize(
    ("query", "step_ms", "said"),
    [
        ("m{$__rate}", 300_000, r"placeholders \$__select and \$__interval, got '\$__rate}'"),
        ("m{*}", 300_500, "whole seconds, got 300500 ms"),
        (None, 300_000, "'m' has no query"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused(query, step_ms, said):
    with pytest.raises(ConfigError, match=said):
        query_text(Metric("m", query=query), {}, step_ms, {}, "prod")


def test_the_rate_limit_is_waited_for(server):
    fill(server, 700)
    left = {"X-RateLimit-Limit": "100", "X-RateLimit-Period": "60", "X-RateLimit-Remaining": "7"}
    server.headers = left | {"X-RateLimit-Reset": "20"}
    slept: list[float] = []
    # used up after the first, refused at the second
    server.script = [
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9"}),
        (429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "13"}),
    ]
    rows, report = fetched(source(server, slept), spec(), window())
    assert slept == [9, 13]
    assert (len(rows), report.retries, report.queries) == (700, 1, 3)
    estimate = source(server).estimate(spec(), window())
    assert estimate.notes == (
        "Datadog bills nothing for queries; each metric takes 3 requests of the rate limit "
        "(100 requests per 60 s)",
    )
    assert (estimate.queries, estimate.samples) == (3, 700)


def test_a_rate_limit_that_lasts_too_long_is_said(server):
    slept: list[float] = []
    server.script = [
        (
            429,
            {"X-RateLimit-Limit": "100", "X-RateLimit-Period": "3600", "X-RateLimit-Reset": "3000"},
        )
    ]
    with pytest.raises(
        QueryFailed, match=r"100 requests per 3600 s.* in 3000 s.*rate_wait_max_s = 600"
    ):
        fetched(source(server, slept), spec())
    assert slept == []


@pytest.mark.parametrize("trouble", [500, 503, 429, "cut", b'{"status": "ok", "ser', b"\xff<html>"])
def test_what_passes_is_asked_again(server, trouble):
    fill(server)
    slept: list[float] = []
    server.script = [trouble, trouble]
    rows, report = fetched(source(server, slept), spec())
    assert len(rows) == 10
    assert (report.retries, slept) == (2, [0.25, 0.5])
    server.script = [trouble] * 4
    with pytest.raises(
        (QueryFailed, SourceUnreachable), match=r"metric 'm', query .*\(4 attempts\)"
    ):
        fetched(source(server), spec())


def test_a_query_that_datadog_refuses_is_not_asked_again(server):
    with pytest.raises(QueryFailed, match=r"refused metric 'm'.*: Rule 'scope_expr'"):
        fetched(source(server), spec("nonsense("))
    server.script = [
        b'{"status": "error", "error": "too many series"}',
        400,
        (301, {"Location": "/"}),
    ]
    for said in ("too many series", "HTTP 400: status 400", "HTTP 301"):
        with pytest.raises(QueryFailed, match=said):
            fetched(source(server), spec())
    assert len(server.asked) == 4


@given(body=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@example(body=b'{"series":[{"pointlist":[[1e999,1]]}]}')
@example(body=b'{"series":[{"pointlist":[[-5,1]],"tag_set":["kube_deployment:a"]}]}')
@example(body=b'{"series":[{"pointlist":[[1,1]],"scope":",:,"}]}')
@example(body=b"{}")
def test_any_answer_is_samples_or_a_source_error(body, any_server):
    any_server.script = [body]
    try:
        fetched(source(any_server, attempts=1), spec())
    except QueryFailed as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said


@pytest.fixture(scope="module")
def any_server() -> Iterator[DatadogServer]:
    with datadog_server() as double:
        yield double


@pytest.mark.parametrize("key", ["", "abc\ndef", "schlüssel", "a b"])
def test_a_key_that_is_none_is_refused_and_not_repeated(key):
    for keys in ((key, APPLICATION_KEY), (API_KEY, key)):
        with pytest.raises(ConfigError, match=r"API key is|application key is") as error:
            datadog_client(*keys, PARAMS)
        assert not key or key not in everything_said(error.value)


def test_refused_keys_are_in_no_message(server):
    params = replace(PARAMS, server_url=server.url)
    one = DatadogSource(
        lambda: datadog_client(API_KEY[::-1], "x" * 40, params), cluster="c", params=params
    )
    with pytest.raises(AccessDenied, match="refused the API key and application key") as error:
        fetched(one, spec())
    for secret in (API_KEY[::-1], "x" * 40):
        assert secret not in everything_said(error.value)
    assert principal_of("short", "") == "API key … / application key (empty)"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_points_per_query", 1501),
        ("attempts", 0),
        ("estimate_steps", 0),
        ("retry_wait_s", -1.0),
        ("rate_wait_max_s", float("inf")),
        ("timeout_s", 0.0),
        ("site", "https://x"),
        ("server_url", "http://user:secret@host"),
        ("tag_of", {"name": "x"}),
    ],
)
def test_params_that_cannot_be_are_refused(key, value):
    with pytest.raises(ValueError, match=key) as error:
        DatadogParams(**{key: value})
    assert "secret" not in str(error.value)


def test_the_catalogs_queries_have_only_placeholders_that_are_filled_in():
    folder = Path(__file__).parents[3] / "config" / "metrics"
    text = (folder / "datadog.yaml").read_text()
    catalog = load_catalog(
        text, where="datadog.yaml", read=lambda name: (folder / f"{name}.yaml").read_text()
    )
    queries = [m for m in catalog.metrics.values() if m.query]
    assert len(queries) >= 20
    for metric in queries:
        for select in ({}, {"namespace": ("shop", "pay")}):
            query = query_text(metric, select, 300_000, DatadogParams().tag_of, "prod")
            assert "$" not in query
            # every part of a query is restricted, and says whose it is
            scopes = re.findall(r"\w+:[\w.]+\{([^}]*)\} by \{([^}]*)\}", query)
            assert len(scopes) == len(re.findall(r"\b(?:avg|sum|min|max|p\d\d):", query))
            for scope, by in scopes:
                assert scope.startswith("kube_namespace IN (shop, pay)") or not select
                assert "kube_namespace" in by
