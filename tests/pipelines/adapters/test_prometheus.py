import math
from collections.abc import Callable

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_contract import everything_said

from features.frames import SAMPLES
from features.metrics import Metric
from pipelines.adapters.prometheus import PrometheusParams, PrometheusSource
from pipelines.adapters.source import Chunk, FetchReport, Spec, Window
from pipelines.errors import ConfigError, QueryFailed, SourceUnreachable

START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta("5min")
METRIC = Metric("cpu_usage_cores", query="sum(cpu)")
QUICK = PrometheusParams(attempts=4, retry_wait_s=0.0, retry_wait_max_s=0.0, first_query_steps=288)
CHECKOUT = {"namespace": "shop", "kind": "Deployment", "name": "checkout"}

Handler = Callable[[httpx.Request], httpx.Response]


def form(request: httpx.Request) -> dict[str, str]:
    return dict(httpx.QueryParams(request.content.decode()))


def matrix(*series: tuple[dict[str, str], list[list]], **more: object) -> httpx.Response:
    result = [{"metric": labels, "values": values} for labels, values in series]
    body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    return httpx.Response(200, json=body | more)


class Server:
    """Answers as Prometheus does: a point at start, start + step, … up to and with end."""

    def __init__(self, *labels: dict[str, str]) -> None:
        self.labels = labels or (CHECKOUT,)
        self.asked: list[tuple[float, float, float]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        start, end, step = (float(form(request)[k]) for k in ("start", "end", "step"))
        self.asked.append((start, end, step))
        stamps = start + step * np.arange(int((end - start) / step + 1e-6) + 1)
        assert len(stamps) <= 11_000
        return matrix(
            *((one, [[float(t), repr(float(t) % 86400)] for t in stamps]) for one in self.labels)
        )


def source(
    handler: Handler, params: PrometheusParams = QUICK, url: str = "http://prom:9090"
) -> PrometheusSource:
    client = httpx.Client(transport=httpx.MockTransport(handler), base_url=url)
    return PrometheusSource(client, cluster="prod", params=params)


def fetch(
    handler: Handler, metric: Metric = METRIC, steps: float = 3, **kwargs
) -> tuple[list[dict], FetchReport]:
    chunks = list(
        source(handler, **kwargs).fetch(Spec(metric), Window.of(START, START + steps * STEP, STEP))
    )
    return rows(chunks), sum((c.report for c in chunks), FetchReport())


def rows(chunks: list[Chunk]) -> list[dict]:
    assert all(c.samples.schema.equals(SAMPLES.schema, check_metadata=False) for c in chunks)
    return pa.concat_tables([c.samples for c in chunks]).to_pylist()


def test_series_become_samples_of_their_workload():
    got, report = fetch(Server(CHECKOUT, {"name": "bare"}, CHECKOUT | {"cluster": "edge"}))
    assert [(r["cluster"], r["namespace"], r["kind"], r["name"]) for r in got[::3]] == [
        ("prod", "shop", "Deployment", "checkout"),
        ("prod", "default", "Workload", "bare"),
        ("edge", "shop", "Deployment", "checkout"),
    ]
    assert [r["ts"] for r in got[:3]] == [START, START + STEP, START + 2 * STEP]
    assert [r["value"] for r in got[:3]] == [0, 300, 600]
    assert {r["metric"] for r in got} == {"cpu_usage_cores"}
    assert (report.queries, report.series, report.samples) == (1, 3, 9)
    assert report.bytes > 0


@settings(max_examples=40)
@given(
    offset_s=st.integers(0, 900),
    length_s=st.integers(1, 40_000),
    step_s=st.integers(1, 900),
    most=st.integers(1, 50),
    points=st.integers(1, 200),
)
def test_chunks_lose_nothing_and_double_nothing(offset_s, length_s, step_s, most, points):
    start = START + pd.Timedelta(offset_s, "s")
    end, step = start + pd.Timedelta(length_s, "s"), pd.Timedelta(max(step_s, length_s // 40), "s")
    params = PrometheusParams(
        max_steps_per_query=most, first_query_steps=7, max_points_per_query=points
    )
    server = Server(CHECKOUT, {"name": "other"})
    chunks = list(source(server, params).fetch(Spec(METRIC), Window.of(start, end, step)))
    stamps = [r["ts"] for r in rows(chunks) if r["name"] == "other"]
    step_us = step // pd.Timedelta(1, "us")
    first = start.as_unit("us")._value // step_us * step_us
    want = pd.to_datetime(np.arange(first, end.as_unit("us")._value, step_us), unit="us", utc=True)
    assert stamps == list(want)
    assert all(a % step.total_seconds() == 0 for a, _, _ in server.asked)
    assert all(round((b - a) / s) < most for a, b, s in server.asked)
    assert sum(c.report.series for c in chunks) == 2
    for (a, b, s), chunk in list(zip(server.asked, chunks, strict=True))[1:]:
        assert (round((b - a) / s) + 1) * 2 <= max(points, 2), chunk


def test_an_empty_window_asks_nothing():
    server = Server()
    assert list(source(server).fetch(Spec(METRIC), Window.of(START, START, STEP))) == []
    assert server.asked == []


def test_placeholders_stand_for_the_step():
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(form(request)["query"])
        return matrix()

    metric = Metric("m", query="rate(x[$__rate_interval] offset -$__interval)\n")
    for step in ("60s", "1h", "1500ms"):
        list(
            source(handler).fetch(Spec(metric), Window.of(START, START + STEP, pd.Timedelta(step)))
        )
    assert asked == [
        "rate(x[300s] offset -60s)",
        "rate(x[3600s] offset -3600s)",
        "rate(x[300s] offset -1500ms)",
    ]


def test_an_empty_matrix_is_an_answer():
    got, report = fetch(lambda _: matrix())
    assert got == []
    assert report.queries == 1


def test_what_is_not_finite_is_dropped_and_counted():
    t = START.timestamp()
    values = [[t, "NaN"], [t + 300, "+Inf"], [t + 600, "1e-3"], [t + 900, "-Inf"]]
    got, report = fetch(lambda _: matrix((CHECKOUT, values)), steps=4)
    assert [r["value"] for r in got] == [0.001]
    assert (report.samples, report.dropped_not_finite) == (1, 3)


def test_a_series_without_a_name_is_counted_once_and_said():
    params = PrometheusParams(max_steps_per_query=1)
    got, report = fetch(Server(CHECKOUT, {"namespace": "shop", "pod": "x"}), params=params)
    assert {r["name"] for r in got} == {"checkout"}
    assert (report.queries, report.series, report.unlabelled) == (3, 2, 1)
    assert len(report.warnings) == 1
    assert "cpu_usage_cores: 1 series without a `name` label" in report.warnings[0]


def test_two_series_of_one_workload_are_counted_and_the_later_wins():
    t = START.timestamp()
    answer = [
        (CHECKOUT | {"instance": "a"}, [[t, "1"], [t + 300, "2"]]),
        (CHECKOUT | {"instance": "b"}, [[t + 300, "3"], [t + 600, "4"]]),
    ]
    got, report = fetch(lambda _: matrix(*answer))
    assert [r["value"] for r in got] == [1, 3, 4]
    assert (report.samples, report.duplicates) == (3, 1)


def test_stamps_that_were_not_asked_for_are_left_out():
    t = START.timestamp()
    values = [[t - 300, "1"], [t, "2"], [t + 900, "3"]]
    got, report = fetch(lambda _: matrix((CHECKOUT, values)))
    assert [r["value"] for r in got] == [2]
    assert report.outside_window == 2


def test_the_server_s_warnings_are_kept_once():
    params = PrometheusParams(max_steps_per_query=1)
    got, report = fetch(lambda _: matrix(warnings=["store gone"], isPartial=True), params=params)
    assert got == []
    assert report.warnings == ("cpu_usage_cores: store gone", "cpu_usage_cores: partial response")
    assert report.partial == 3


def failing(*failures: httpx.Response | Exception) -> tuple[Handler, list[int]]:
    """Fails in the given ways, then answers."""
    left, calls = list(failures), []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        if left:
            failure = left.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        return Server()(request)

    return handler, calls


CUT = httpx.Response(200, content=b'{"status":"success","data":{"resultType":"matrix","resu')


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(429, headers={"Retry-After": "0"}),
        httpx.Response(500),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(503, json={"status": "error", "error": "overloaded"}),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("peer closed connection"),
        CUT,
    ],
    ids=str,
)
def test_a_passing_failure_is_overcome_and_counted(failure):
    handler, calls = failing(failure, failure)
    got, report = fetch(handler)
    assert len(got) == 3
    assert report.retries == 2
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        (
            httpx.ConnectError("connection refused"),
            SourceUnreachable,
            "no answer from http://prom:9090.*refused",
        ),
        (httpx.ReadTimeout(""), SourceUnreachable, "ReadTimeout"),
        (
            httpx.Response(503, json={"status": "error", "error": "overloaded"}),
            QueryFailed,
            "HTTP 503: overloaded",
        ),
        (CUT, QueryFailed, "did not answer as a Prometheus query API"),
    ],
    ids=str,
)
def test_a_lasting_failure_ends_after_the_attempts(failure, error, said):
    handler, calls = failing(*[failure] * 10)
    with pytest.raises(error, match=said) as raised:
        fetch(handler)
    assert len(calls) == 4
    for part in ("'cpu_usage_cores'", "'sum(cpu)'", "(4 attempts)"):
        assert part in str(raised.value)


def test_the_total_time_ends_it_too():
    handler, calls = failing(*[httpx.Response(500)] * 1000)
    params = PrometheusParams(attempts=1000, retry_wait_s=0.02, retry_total_s=0.1)
    with pytest.raises(QueryFailed, match="HTTP 500"):
        fetch(handler, params=params)
    assert len(calls) < 20


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "86400"},
        {"Retry-After": "Tue, 02 Jun 2026 00:00:00 GMT", "Date": "Mon, 01 Jun 2026 00:00:00 GMT"},
        {"Retry-After": "Tue, 02 Jun 2026 00:00:00 GMT"},
        {"Retry-After": "soon"},
    ],
)
def test_a_wait_that_the_server_asks_for_has_a_bound(headers):
    handler, _ = failing(httpx.Response(429, headers=headers))
    assert len(fetch(handler)[0]) == 3


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (
            httpx.Response(
                400, json={"status": "error", "errorType": "bad_data", "error": "parse error"}
            ),
            "HTTP 400: parse error",
        ),
        (
            httpx.Response(422, json={"status": "error", "error": "no such\nfunction"}),
            "no such function",
        ),
        (httpx.Response(400, content=b'{"error": "caf\xe9"}'), "caf\ufffd"),
        (httpx.Response(401, text="no"), "check the credentials"),
        (httpx.Response(404, text="<html>\n404"), "base address"),
        (
            httpx.Response(302, headers={"Location": "/login?token=s3cret"}),
            "HTTP 302: Found, to http://prom:9090/login; give the address",
        ),
        (
            httpx.Response(200, html="<!DOCTYPE html><title>Sign in</title>"),
            "an HTML page, as a login",
        ),
        (httpx.Response(200, json={"status": "error", "error": "no"}), "refused.*: no"),
        (matrix((CHECKOUT, [[START.timestamp(), "many"]])), "'many'"),
    ],
)
def test_a_refusal_is_not_repeated_and_names_the_query(response, said):
    handler, calls = failing(*[response] * 3)
    with pytest.raises(QueryFailed, match=said) as raised:
        fetch(handler)
    assert "'cpu_usage_cores'" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("refused"), httpx.Response(403), CUT], ids=str
)
def test_credentials_are_used_and_never_shown(failure, caplog):
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Authorization"))
        assert request.url.path == "/tenant/api/v1/query_range"
        if isinstance(failure, Exception):
            raise failure
        return failure

    with pytest.raises((SourceUnreachable, QueryFailed)) as raised:
        fetch(handler, url="http://reader:s3cret@prom:9090/tenant")
    assert seen[0] is not None
    assert "s3cret" not in everything_said(raised.value)
    assert "http://prom:9090/tenant" in str(raised.value)
    assert "s3cret" not in caplog.text


def test_an_address_that_is_none_is_said():
    client = httpx.Client(base_url="prom:9090")
    with pytest.raises(SourceUnreachable, match=r"no http\(s\) address"):
        list(
            PrometheusSource(client, cluster="c", params=QUICK).fetch(
                Spec(METRIC), Window.of(START, START + STEP, STEP)
            )
        )


def test_a_metric_without_a_query_is_refused_before_anything_is_asked():
    with pytest.raises(ConfigError, match="'x' has no query"):
        source(Server()).fetch(Spec(Metric("x")), Window.of(START, START + STEP, STEP))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_steps_per_query", 0),
        ("max_steps_per_query", 11_000),
        ("first_query_steps", 0),
        ("max_points_per_query", 0),
        ("attempts", 0),
        ("retry_wait_s", -1),
        ("retry_wait_max_s", math.inf),
        ("retry_total_s", 0),
        ("rate_window_s", math.nan),
        ("max_response_bytes", 0),
        ("retries_per_fetch", -1),
        ("max_samples_processed_per_query", 0),
        ("stats", "some"),
    ],
)
def test_params_refuse_what_cannot_work(key, value):
    with pytest.raises(ValueError, match=f"{key} must be"):
        PrometheusParams(**{key: value})


def test_reports_add_up():
    one = FetchReport(queries=1, bytes=2, warnings=("a", "b"))
    assert one + FetchReport(queries=2, samples=3, warnings=("b", "c")) == FetchReport(
        queries=3, samples=3, bytes=2, warnings=("a", "b", "c")
    )
