"""The source contract on real servers that answer Prometheus' query API."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_servers import MetricsServer
from prometheus_harness import PrometheusHarness
from source_contract import HOSTILE, ByQuery, OverTheNetwork, SourceContract

from features.metrics import Metric
from pipelines.adapters.prometheus import PrometheusParams, PrometheusSource
from pipelines.adapters.source import FetchReport, Spec, Window

pytestmark = pytest.mark.e2e


class TestPrometheus(SourceContract, ByQuery, OverTheNetwork):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, prometheus_server: MetricsServer) -> Iterator[PrometheusHarness]:
        harness = PrometheusHarness(prometheus_server)
        yield harness
        harness.close()


class TestVictoriaMetrics(SourceContract, ByQuery, OverTheNetwork):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, victoria_server: MetricsServer) -> Iterator[PrometheusHarness]:
        harness = PrometheusHarness(victoria_server)
        yield harness
        harness.close()


START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta("5min")
WINDOW = Window.of(START, START + 10 * STEP, STEP)
NAMESPACES = (
    "shop", "shop2", "sho", "s.op", "shop|pay", "pay", ".*", "", "a\\", "\\", "\\d", "{x}", '"',
    '",x="', "\n", "\t", "\x7f", "^a$", "[a-z]", "(?i)SHOP", "$__interval", "$1", "é", "日本",
    "a b", "+", HOSTILE,
)  # fmt: skip


@pytest.fixture(scope="module", params=["prometheus_server", "victoria_server"])
def server(request: pytest.FixtureRequest) -> MetricsServer:
    server = request.getfixturevalue(request.param)
    stamps = np.arange(WINDOW.first_ms, WINDOW.end_ms, WINDOW.step_ms)
    server.write(
        ({"__name__": "picked", "namespace": n, "name": "w"}, stamps, np.ones(WINDOW.steps))
        for n in NAMESPACES
    )
    return server


@pytest.fixture
def client(server: MetricsServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def test_a_selection_is_exactly_its_values_whatever_these_are(client: httpx.Client):
    source = PrometheusSource(client, cluster="prod")

    @given(st.lists(st.sampled_from([*NAMESPACES, "default"]) | st.text(max_size=5), min_size=1))
    def check(values: list[str]) -> None:
        spec = Spec(Metric("m", query="picked{$__select}"), {"namespace": tuple(values)})
        chunks = list(source.fetch(spec, WINDOW))
        got = {str(n) for c in chunks for n in c.samples["namespace"].unique().to_pylist()}
        assert got == set(values) & {*NAMESPACES, "default"} - {""}
        report = sum((c.report for c in chunks), FetchReport())
        assert report.outside_selection == int("" in values and "default" not in values)

    check()


def test_what_was_read_is_told_and_estimated(server: MetricsServer, client: httpx.Client):
    told = server.process.args[0].endswith("/prometheus")  # VictoriaMetrics does not say
    spec = Spec(Metric("m", query="max_over_time(picked[10m])"))
    for stats in ("all", "true"):
        source = PrometheusSource(client, cluster="prod", params=PrometheusParams(stats=stats))
        report = sum((c.report for c in source.fetch(spec, WINDOW)), FetchReport())
        estimate = source.estimate(spec, WINDOW)
        assert (report.samples_processed > report.samples) == told
        assert estimate.series * WINDOW.steps == estimate.samples
        assert estimate.samples_processed >= report.samples_processed


def test_what_the_server_finds_too_large_is_asked_in_halves(server: MetricsServer):
    """A real refusal for its resolution, through a client that asks for a finer one."""

    def finer(request: httpx.Request) -> None:
        form = dict(httpx.QueryParams(request.content.decode()))
        span = float(form["end"]) - float(form["start"])
        form["step"] = "0.05" if span > 1800 else form["step"]
        again = httpx.Request("POST", request.url, data=form)
        request.stream, request.headers["Content-Length"] = (
            again.stream,
            again.headers["Content-Length"],
        )

    with httpx.Client(base_url=server.url, event_hooks={"request": [finer]}) as client:
        source = PrometheusSource(client, cluster="prod")
        chunks = list(source.fetch(Spec(Metric("m", query="picked")), WINDOW))
    assert sum(c.report.split for c in chunks) == 1
    assert sum(len(c.samples) for c in chunks) == 10 * (len(NAMESPACES))
