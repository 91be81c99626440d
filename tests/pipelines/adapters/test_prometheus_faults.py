"""What goes wrong between a Prometheus and us: too large, too late, refused, incomplete, dear."""

import gzip
import time
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from source_contract import everything_said

from features.metrics import Metric
from pipelines.adapters.prometheus import PrometheusParams, PrometheusSource
from pipelines.adapters.source import Chunk, FetchReport, Spec, Window
from pipelines.errors import AccessDenied, QueryFailed, SourceUnreachable

START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta("5min")
DAY_MS = 86_400_000
QUICK = {"attempts": 3, "retry_wait_s": 0.0, "retry_wait_max_s": 0.0, "first_query_steps": 288}
METRIC = Metric("cpu", query="sum(cpu)")
CPU = Spec(METRIC)

Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Has ``series(stamp)`` series at a stamp; refuses what is ``too_large(steps, form)``."""

    def __init__(
        self,
        series: Callable[[float], int] = lambda _: 1,
        too_large: Callable[[int, dict], httpx.Response | None] = lambda *_: None,
        **more: object,
    ) -> None:
        self.series, self.too_large, self.more = series, too_large, more
        self.steps: list[int] = []
        self.forms: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = dict(httpx.QueryParams(request.content.decode()))
        start, end, step = (float(form[k]) for k in ("start", "end", "step"))
        stamps = start + step * np.arange(round((end - start) / step) + 1)
        self.steps.append(len(stamps))
        self.forms.append(form)
        if refusal := self.too_large(len(stamps), form):
            return refusal
        count = [self.series(t) for t in stamps]
        result = [
            {
                "metric": {"namespace": f"n{i % 2}", "name": f"w{i}"},
                "values": [[t, "1"] for t, n in zip(stamps, count, strict=True) if n > i],
            }
            for i in range(max(count))
        ]
        stats = {"samples": {"totalQueryableSamples": 3 * sum(count)}}
        data = {"resultType": "matrix", "result": result, "stats": stats}
        return httpx.Response(200, json={"status": "success", "data": data} | self.more)


def source(handler: Handler, *, headers=None, principal="", monotonic=time.monotonic, **params):
    client = httpx.Client(
        transport=httpx.MockTransport(handler), base_url="http://prom:9090", headers=headers
    )
    return PrometheusSource(
        client,
        cluster="prod",
        params=PrometheusParams(**(QUICK | params)),
        principal=principal,
        monotonic=monotonic,
    )


def window(steps: int = 300, start: pd.Timestamp = START) -> Window:
    return Window.of(start, start + steps * STEP, STEP)


def fetched(handler: Handler, steps=300, spec=CPU, **more) -> tuple[list[Chunk], FetchReport]:
    chunks = list(source(handler, **more).fetch(spec, window(steps)))
    return chunks, sum((c.report for c in chunks), FetchReport())


def refusing(code: int, text: str, above: int = 40) -> Server:
    body = {"status": "error", "error": text}
    return Server(
        too_large=lambda steps, _: httpx.Response(code, json=body) if steps > above else None
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (422, "query processing would load too many samples into memory in query execution"),
        (400, "exceeded maximum resolution of 11,000 points per timeseries"),
        (422, "cannot select more than -search.maxSamplesPerQuery=1000000000 samples"),
        (422, "the query hit the max number of chunks limit (limit: 2000000 chunks)"),
        (422, "the query time range exceeds the limit (query length: 800h, limit: 768h)"),
        (413, "Request Entity Too Large"),
        (503, "query timed out in expression evaluation"),
    ],
)
def test_what_is_too_large_is_asked_for_in_halves_and_nothing_is_lost(code, text):
    server = refusing(code, text)
    chunks, report = fetched(server)
    assert report.samples == 300
    assert report.split == 3  # 288, 144, 72; never again
    assert [n for n in server.steps if n > 40] == [288, 144, 72]
    assert [c.window.end_ms for c in chunks[:-1]] == [c.window.first_ms for c in chunks[1:]]


def test_what_is_too_large_even_as_one_step_is_refused_and_the_key_is_named():
    server = refusing(422, "query would process too many samples", above=0)
    with pytest.raises(QueryFailed, match="max_samples_processed_per_query, which is 5") as error:
        fetched(server, max_samples_processed_per_query=5)
    assert "'cpu'" in str(error.value)
    assert server.steps == [288, 144, 72, 36, 18, 9, 4, 2, 1]
    assert server.forms[0]["max_samples_processed_error_threshold"] == "5"


def test_a_wrong_query_is_not_asked_in_halves():
    server = refusing(400, 'parse error: unexpected identifier "timeout"', above=0)
    with pytest.raises(QueryFailed, match="parse error"):
        fetched(server)
    assert server.steps == [288]


def test_a_body_that_is_too_large_is_asked_for_in_halves_packed_or_not():
    whole = Server()

    def packed(request: httpx.Request) -> httpx.Response:
        answer = whole(request)
        headers = {"Content-Encoding": "gzip"}
        return httpx.Response(200, headers=headers, content=gzip.compress(answer.content))

    for handler in (Server(), packed):
        _, report = fetched(handler, max_response_bytes=2000, compress=handler is packed)
        assert (report.samples, report.split) == (300, 2)
    with pytest.raises(QueryFailed, match="larger than max_response_bytes = 50"):
        fetched(Server(), max_response_bytes=50)


class Dripping(httpx.SyncByteStream):
    def __init__(self, body: bytes, tick: Callable[[], None]) -> None:
        self.body, self.tick = body, tick

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.body), 100):
            self.tick()
            yield self.body[at : at + 100]


def test_a_body_that_drips_has_the_time_of_one_query_and_no_more():
    clock, whole = [0.0], Server()

    def tick() -> None:
        clock[0] += 0.1

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Dripping(whole(request).content, tick))

    _, report = fetched(handler, monotonic=lambda: clock[0])  # 5 s, httpx' usual timeout
    assert (report.samples, report.split) == (300, 1)

    def slower(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Dripping(b" " * 100_000, tick))

    with pytest.raises(QueryFailed, match=r"not done after 5 s, with 5\d00 bytes"):
        fetched(slower, monotonic=lambda: clock[0])


def test_all_retries_of_a_fetch_together_are_bounded():
    calls = []

    def every_other(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(503) if len(calls) % 2 else Server()(request)

    small = {"max_steps_per_query": 10, "first_query_steps": 10}
    assert fetched(every_other, **small)[1].retries == 30
    calls.clear()
    with pytest.raises(QueryFailed, match="HTTP 503"):
        fetched(every_other, **small, retries_per_fetch=7)
    assert len(calls) == 15


SCOPE = "AKIDEXAMPLE/20260601/eu-west-1/aps/aws4_request"
SIGNED = f"AWS4-HMAC-SHA256 Credential={SCOPE}, Signature=5d672d79"


@pytest.mark.parametrize("code", [401, 403])
def test_whoever_is_refused_is_named_and_what_the_server_repeats_of_secrets_is_not(code):
    headers = {"Authorization": SIGNED, "X-Amz-Security-Token": "tok/en==", "X-Api-Key": "hunter22"}
    said = f"signature mismatch for {SIGNED}; x-amz-security-token:tok/en== key=hunter22"
    calls = []

    def handler(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(code, json={"message": said})

    with pytest.raises(AccessDenied, match=f"refused arn:aws:iam::1:role/reader: HTTP {code}: sig"
        ) as error:  # fmt: skip
        fetched(handler, headers=headers, principal="arn:aws:iam::1:role/reader")
    for secret in ("5d672d79", "tok/en", "hunter22"):
        assert secret not in everything_said(error.value)
    assert len(calls) == 1


def test_a_password_is_not_repeated_either():
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, text="got " + request.headers["Authorization"] + " pa:ss word")

    client = httpx.Client(
        transport=httpx.MockTransport(handler), base_url="http://prom", auth=("me", "pa:ss word")
    )
    with pytest.raises(QueryFailed, match="HTTP 400: got … …") as error:
        list(PrometheusSource(client, cluster="c").fetch(Spec(METRIC), window()))
    assert "word" not in everything_said(error.value)


def test_partial_answers_are_kept_and_not_complete():
    chunks, report = fetched(Server(warnings=["no answer from store-3"]), 10)
    assert (report.samples, report.partial, chunks[0].complete) == (10, 1, False)
    chunks, report = fetched(Server(infos=["PromQL info: may be no counter"]), 10)
    assert (report.partial, chunks[0].complete) == (0, True)
    assert report.warnings == ("cpu: PromQL info: may be no counter",)


def test_native_histograms_are_left_out_and_counted_once():
    def handler(request: httpx.Request) -> httpx.Response:
        found = Server()(request).json()
        at = found["data"]["result"][0]["values"][0][0]
        bins = [[at, {"count": "3", "sum": "1", "buckets": [[0, "1", "2", "3"]]}]]
        found["data"]["result"].append({"metric": {"name": "h"}, "histograms": bins})
        return httpx.Response(200, json=found)

    _, report = fetched(handler)
    assert (report.queries, report.histograms, report.series, report.samples) == (2, 1, 1, 300)


def test_only_the_selected_come_and_the_rest_is_counted():
    spec = Spec(METRIC, {"namespace": ("n1",)})
    chunks, report = fetched(Server(series=lambda _: 5), 10, spec)
    names = pa.concat_tables([c.samples for c in chunks])["name"].unique().to_pylist()
    assert names == ["w1", "w3"]
    assert (report.series, report.outside_selection, report.samples) == (5, 3, 20)
    assert report.warnings == (
        "cpu: its query has no $__select, so the whole metric is pulled and then filtered",
    )
    server = Server()
    fetched(server, 10, Spec(Metric("cpu", query="x{$__select}"), spec.select))
    assert server.forms[0]["query"] == 'x{namespace="n1", }'


def test_pieces_longer_than_a_day_end_with_one():
    for minutes in (5, 7, 60):
        step = pd.Timedelta(minutes, "min")
        asked = Window.of(START + pd.Timedelta("7h"), START + pd.Timedelta("20D 3h"), step)
        chunks = list(source(Server(), max_points_per_query=3000).fetch(Spec(METRIC), asked))
        for chunk in chunks[:-1]:
            if chunk.window.end_ms - chunk.window.first_ms >= DAY_MS:
                last_day, next_day = chunk.window.last_ms // DAY_MS, chunk.window.end_ms // DAY_MS
                assert next_day == last_day + 1
        assert sum(c.window.steps for c in chunks) == asked.steps
        days = [
            d for c in chunks[1:] for d in {c.window.first_ms // DAY_MS, c.window.last_ms // DAY_MS}
        ]
        assert len(days) <= 20


def test_the_estimate_sees_growth_and_costs_little():
    server = Server(series=lambda t: 40 if t >= START.timestamp() + 86400 else 10)
    estimate = source(server).estimate(Spec(METRIC), window(2000))
    assert (estimate.series, estimate.samples) == (40, 80_000)
    assert estimate.samples_processed == 3 * 80_000
    assert estimate.notes == ("cpu: 10 series at the window's start, 40 at its end",)
    assert sum(server.steps) == 4
    assert estimate.report.samples == 130
    server.steps.clear()
    _, report = fetched(server, 2000)
    assert report.samples_processed == 3 * report.samples
    assert abs(estimate.queries - len(server.steps)) <= 1
    assert source(server).estimate(Spec(METRIC), window(0)).queries == 0


def test_what_the_server_tells_of_its_work_is_asked_for_as_configured():
    for stats in ("all", "true", ""):
        server = Server()
        fetched(server, 3, stats=stats)
        assert server.forms[0].get("stats", "") == stats


def test_a_reader_that_stops_early_leaves_nothing_behind():
    server = Server()
    chunks = source(server, max_steps_per_query=10, first_query_steps=10).fetch(
        Spec(METRIC), window()
    )
    next(chunks)
    chunks.close()
    assert len(server.steps) == 2


def test_a_failure_comes_after_all_that_came_before_it():
    server = Server()

    def handler(request: httpx.Request) -> httpx.Response:
        answer = server(request)
        return answer if len(server.steps) < 3 else httpx.Response(502)

    chunks = source(handler, max_steps_per_query=100, first_query_steps=100).fetch(
        Spec(METRIC), window()
    )
    assert [len(next(chunks).samples), len(next(chunks).samples)] == [100, 100]
    with pytest.raises(QueryFailed, match=r"HTTP 502.*\(3 attempts\)"):
        next(chunks)


def test_no_cause_of_silence_shows_what_was_sent():
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    client = httpx.Client(
        transport=httpx.MockTransport(handler), base_url="http://me:s3cret@prom:9090"
    )
    quick = PrometheusParams(**QUICK)
    with pytest.raises(SourceUnreachable) as error:
        list(PrometheusSource(client, cluster="c", params=quick).fetch(Spec(METRIC), window()))
    assert "s3cret" not in everything_said(error.value)
