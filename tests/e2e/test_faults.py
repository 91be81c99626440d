"""Faults between us and the source, injected into the whole ``ingest``.

The law: when the fault is over, the store is what an undisturbed pull makes of it, byte for byte;
nothing is lost and nothing is there twice. What was not a plain answer is counted, exactly, and
named. Whatever happens, no credential is seen; every run here is searched for them.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_proxy import (
    Asked,
    Fault,
    Proxy,
    Reply,
    bad_gzip,
    changed,
    cut,
    dripping,
    page,
    redirect,
    refused,
    skewed,
    spoiling,
    too_many,
    truncated,
    unchunked,
)
from ingest_runs import END, METRICS, START, TOKEN, Ingest, day, grid, sizes, table
from metric_servers import MetricsServer

pytestmark = pytest.mark.e2e

CPU = METRICS[0]
WORKLOADS = (("shop", "checkout"), ("shop", "web"), ("pay", "cart"), ("pay", "db"))


@dataclass(frozen=True)
class Truth:
    """What an undisturbed pull, with no proxy between, leaves in a store."""

    table: pd.DataFrame
    files: dict[str, bytes]

    def is_in(self, ingest: Ingest) -> None:
        pd.testing.assert_frame_equal(table(ingest.out), self.table)
        assert sizes(ingest.out) == self.files


@pytest.fixture(scope="module")
def filled(prometheus_server: MetricsServer) -> MetricsServer:
    """Four workloads, one with a gap of hours and one that begins on the second day."""
    rng = np.random.default_rng(3)
    for metric in METRICS:
        for number, (namespace, name) in enumerate(WORKLOADS):
            there = np.ones(len(grid()), dtype=bool)
            there[:400] = number != 1
            there[500:560] = number != 2
            labels = {"cluster": "prod", "namespace": namespace, "kind": "Deployment", "name": name}
            value = rng.lognormal(size=len(grid()))
            named = {"__name__": metric, **labels}
            prometheus_server.write(iter([(named, grid()[there], value[there])]))
    return prometheus_server


@pytest.fixture
def proxy(filled: MetricsServer) -> Iterator[Proxy]:
    with spoiling(filled.url) as one:
        yield one


@pytest.fixture
def ingest(
    proxy: Proxy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Ingest:
    return Ingest(proxy.url, tmp_path, capsys, caplog)


_TRUTH: dict[str, Truth] = {}


@pytest.fixture
def truth(
    filled: MetricsServer,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Truth:
    """Made once a module; a run needs fixtures of a test."""
    if filled.url not in _TRUTH:
        clean = Ingest(filled.url, tmp_path_factory.mktemp("clean"), capsys, caplog)
        assert clean.done().result["notes"] == []
        _TRUTH[filled.url] = Truth(table(clean.out), sizes(clean.out))
        assert len(_TRUTH[filled.url].table) > 0.8 * len(METRICS) * len(WORKLOADS) * len(grid())
    return _TRUTH[filled.url]


def pull(asked: Asked) -> bool:
    return not asked.is_probe


def probe(asked: Asked) -> bool:
    return asked.is_probe


def pull_of(metric: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.metric == metric and not asked.is_probe


def query_of(metric: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.metric == metric


# Faults that pass: the same run ends well.

PASSING = {
    "429, seconds": refused(429, 3600),
    "429, date": refused(429, "3600"),
    "503": refused(503),
    "500": refused(500),
    "cut before the head": cut(None),
    "cut in mid-body": cut(0.6),
    "cut at the last byte": cut(0.9999),
    "broken off in a chunk": unchunked,
    "half a document": truncated,
    "nothing at all": lambda *_: Reply(200, b""),
    "broken gzip": bad_gzip,
}


@pytest.mark.parametrize(
    ("strike", "where"),
    [*((strike, pull) for strike in PASSING.values()), (refused(503), probe), (cut(0.6), probe)],
    ids=[*PASSING, "503 to an estimate", "an estimate cut in mid-body"],
)
def test_what_passes_is_only_counted(proxy, ingest, truth, strike, where):
    proxy.faults = [Fault(strike, where, times=4, every=2)]
    ran = ingest.done()
    assert proxy.struck == 4
    assert ran.result["notes"] == ["  4 retries"]
    assert ran.result["failed"] == []
    truth.is_in(ingest)


@pytest.mark.parametrize("retry_after", [1, "2"], ids=["seconds", "date"])
def test_the_server_says_how_long_to_wait(proxy, ingest, retry_after):
    """A date is one of the server's clock, which is seven hours ahead here."""
    ingest.source = {"metrics": [CPU]}
    ingest.knobs = {"retry_wait_max_s": 5}
    late = timedelta(hours=7)
    proxy.faults = [Fault(refused(429, retry_after, late), pull, times=1)]
    ingest.done()
    first, second = proxy.pulls[:2]
    assert (first.start_ms, first.end_ms) == (second.start_ms, second.end_ms)
    assert 1 <= second.at_s - first.at_s < 5


def test_a_password_in_the_address_is_not_seen_either(proxy, ingest, truth):
    ingest.password_in_url = True
    proxy.faults = [Fault(refused(500), times=3), Fault(refused(400), pull_of(CPU))]
    assert CPU in ingest.red().line
    proxy.clear()
    ingest.done()
    truth.is_in(ingest)


# What the server finds too large is asked for in halves.


def test_too_many_samples_are_asked_for_in_halves(proxy, ingest, truth):
    proxy.faults = [Fault(too_many(100))]
    ran = ingest.done()
    assert ran.result["notes"] == [
        f"  {2 * len(METRICS)} queries asked in parts: the source found them too large"
    ]
    assert max(one.steps for one in proxy.pulls[-6:]) == 72
    truth.is_in(ingest)


@pytest.mark.timeout(60)
def test_an_answer_that_drips_ends_by_the_total_deadline(proxy, ingest, truth):
    """Every byte comes in time, and the whole never does."""
    ingest.source = {"http": {"timeout_s": 0.5}}
    proxy.faults = [Fault(dripping(0.02), lambda asked: asked.steps > 100)]
    began = time.monotonic()
    ran = ingest.done()
    assert time.monotonic() - began < 20  # one answer would take ten minutes
    assert f"{2 * len(METRICS)} queries asked in parts" in ran.notes
    truth.is_in(ingest)


def test_an_answer_that_drips_however_little_is_asked_for_is_given_up(proxy, ingest, truth):
    ingest.source = {"http": {"timeout_s": 0.5}}
    ingest.knobs = {"first_query_steps": 4}
    proxy.faults = [Fault(dripping(0.05), query_of(CPU))]
    assert "one step alone is too large" in ingest.red().line
    proxy.clear()
    ingest.done()
    assert {one.metric for one in proxy.asked} == {CPU}
    truth.is_in(ingest)


# Answers that are odd, and complete: the table is the same, and nothing is asked for again.


def doubled(_: Asked, result: list[dict]) -> int:
    result += deepcopy(result)
    return points(result) // 2


def contradicted(_: Asked, result: list[dict]) -> int:
    """Other values come first; the last word holds."""
    other = deepcopy(result)
    for series in other:
        series["values"] = [[ts, str(float(v) + 1)] for ts, v in series["values"]]
    result[:0] = other
    return points(other)


def stuttering(_: Asked, result: list[dict]) -> int:
    for series in result:
        series["values"] = [point for point in series["values"] for _ in range(2)]
    return points(result) // 2


def backwards(_: Asked, result: list[dict]) -> int:
    for series in result:
        series["values"].reverse()
    return points(result) - len(result)


def unsorted(_: Asked, result: list[dict]) -> int:
    result.reverse()
    return 0


def no_numbers(_: Asked, result: list[dict]) -> int:
    for series in result:
        first = series["values"][0][0]
        series["values"][:0] = [[first, text] for text in ("NaN", "+Inf", "-Inf")]
    return 3 * len(result)


def beside_the_grid(_: Asked, result: list[dict]) -> int:
    for series in result:
        series["values"] = [[ts + 17.25, v] for ts, v in series["values"]]
    return points(result)


def not_asked_for(asked: Asked, result: list[dict]) -> int:
    for series in result:
        series["values"].insert(0, [asked.start_ms / 1000 - 3600, "1"])
        series["values"].append([asked.end_ms / 1000, "1"])
        series["values"].append([asked.end_ms / 1000 + 7 * 3600, "1"])
    return 3 * len(result)


def impossible(asked: Asked, result: list[dict]) -> int:
    if asked.metric != CPU:
        return 0
    labels = result[0]["metric"] | {"name": "impossible"}
    result.append({"metric": labels, "values": [[ts, "-5"] for ts, _ in result[0]["values"]]})
    return len(result[0]["values"])


def histogram(asked: Asked, result: list[dict]) -> int:
    buckets = {"count": "3", "sum": "1.5", "buckets": [[0, "0.5", "1", "3"]]}
    points = [[ts, buckets] for ts, _ in result[0]["values"]]
    result.append({"metric": result[0]["metric"] | {"le": "native"}, "histograms": points})
    return int(asked.start_ms == day(0))  # a series counts once, however many answers it is in


def nameless(asked: Asked, result: list[dict]) -> int:
    labels = {k: v for k, v in result[0]["metric"].items() if k != "name"}
    result.append({"metric": labels, "values": result[0]["values"]})
    return int(asked.start_ms == day(0))


def of_others(asked: Asked, result: list[dict]) -> int:
    labels = result[0]["metric"] | {"namespace": "theirs"}
    result.append({"metric": labels, "values": result[0]["values"]})
    return int(asked.start_ms == day(0))


def points(result: list[dict]) -> int:
    return sum(len(series["values"]) for series in result)


ODD = {
    "another of the same workload and stamp came after": [doubled, contradicted, stuttering],
    "they came after a younger one": [backwards],
    "not finite": [no_numbers],
    "put to the step that they fall into": [beside_the_grid],
    "not asked for": [not_asked_for],
    "outside the metric's valid range": [impossible],
    "native histograms": [histogram],
    "no name label": [nameless],
    "not in source.select": [of_others],
    "": [unsorted],
}


@dataclass
class Counting:
    """How many of them a change has put in, by all threads of the proxy."""

    change: Callable[[Asked, list[dict]], int]
    n: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked, result: list[dict]) -> None:
        with self.lock:
            self.n += self.change(asked, result)


@pytest.mark.parametrize(
    ("words", "change"),
    [(words, change) for words, changes in ODD.items() for change in changes],
    ids=[change.__name__ for changes in ODD.values() for change in changes],
)
def test_what_is_odd_is_counted_and_changes_nothing(proxy, ingest, truth, words, change):
    ingest.source = {"select": {"namespace": ["shop", "pay"]}}
    change = Counting(change)
    proxy.faults = [Fault(changed(change), pull)]
    ran = ingest.done()
    told = [note for note in ran.result["notes"] if "the source warns" not in note]
    if words:
        assert len(told) == 1
        assert told[0].startswith(f"  {change.n:,} ")
        assert words in told[0]
        assert change.n > 0
    else:
        assert told == []
    truth.is_in(ingest)
    assert_nothing_is_missing(proxy, ingest)


@pytest.mark.parametrize("hours", [-7, 7])
def test_a_clock_that_is_off_moves_nothing(proxy, ingest, truth, hours):
    proxy.faults = [Fault(skewed(timedelta(hours=hours)))]
    assert ingest.done().result["notes"] == []
    truth.is_in(ingest)
    assert_nothing_is_missing(proxy, ingest)


def test_a_remark_is_told_and_is_no_reason_to_ask_again(proxy, ingest, truth):
    said = f'PromQL info: metric might not be a counter: "x" (asked by {TOKEN})'
    proxy.faults = [Fault(changed(lambda *_: None, infos=[said]), pull_of(CPU))]
    told = ingest.done().result["notes"]
    assert len(told) == 1
    assert f"the source warns: {CPU}: PromQL info: metric might not be a counter" in told[0]
    truth.is_in(ingest)
    assert_nothing_is_missing(proxy, ingest)


def assert_nothing_is_missing(proxy: Proxy, ingest: Ingest) -> None:
    before = sizes(ingest.out)
    proxy.clear()
    ingest.done()
    assert proxy.asked == []
    assert sizes(ingest.out) == before


# Answers that are not complete: kept, and asked for again, they and nothing else.


def without_a_shard(_: Asked, result: list[dict]) -> None:
    del result[1:]


def without_every_second(_: Asked, result: list[dict]) -> None:
    for series in result:
        del series["values"][::2]


@pytest.mark.parametrize(
    ("change", "envelope"),
    [
        (without_a_shard, {"warnings": [f"store 10.0.0.7 is gone; sent {TOKEN}"]}),
        (without_a_shard, {"isPartial": True}),
        (without_every_second, {"isPartial": True, "warnings": ["a shard is slow"]}),
    ],
    ids=["warnings", "isPartial", "both"],
)
def test_what_is_partial_is_kept_and_asked_for_again(proxy, ingest, truth, change, envelope):
    def second(asked: Asked) -> bool:
        return pull_of(CPU)(asked) and asked.start_ms == day(1)

    proxy.faults = [Fault(changed(change, **envelope), second)]
    ran = ingest.done()
    assert "  1 answers that the source calls incomplete" in ran.notes
    assert f"the source warns: {CPU}: " in ran.notes
    frame, whole = table(ingest.out), truth.table
    at = ((day(1), day(2)), CPU)
    assert rest(frame, at).equals(rest(whole, at))
    assert 0 < len(frame) - len(rest(frame, at)) < len(whole) - len(rest(whole, at))

    proxy.clear()
    assert ingest.done().result["notes"] == []
    assert spans(proxy) == {(CPU, day(1), day(2))}
    truth.is_in(ingest)
    assert_nothing_is_missing(proxy, ingest)


def rest(frame: pd.DataFrame, at: tuple[tuple[int, int], str]) -> pd.DataFrame:
    """What is not of one metric in one span."""
    (lo, hi), metric = at
    ms = frame["ts"].dt.as_unit("ms").astype("int64")
    return frame[~((ms >= lo) & (ms < hi) & (frame["metric"] == metric))].reset_index(drop=True)


def spans(proxy: Proxy) -> set[tuple[str, int, int]]:
    return {(one.metric, one.start_ms, one.end_ms) for one in proxy.pulls}


def nothing(_: Asked, result: list[dict]) -> None:
    result.clear()


def test_a_metric_without_an_answer_is_named_and_asked_for_again(proxy, ingest, truth):
    proxy.faults = [Fault(changed(nothing), query_of(CPU))]
    ran = ingest.done()
    assert ran.result["skipped"] == {"no sample": 1}
    assert ran.result["notes"] == [f"  no sample of {CPU}"]
    proxy.clear()
    ingest.done()
    assert {one.metric for one in proxy.asked} == {CPU}
    truth.is_in(ingest)


def test_a_metric_that_is_not_there_is_not_asked_for_in_full_each_time(proxy, ingest, truth):
    """Queries that give nothing are billed as well; what comes later shows in the estimate."""
    ingest.source = {"reread_s": 3600}
    proxy.faults = [Fault(changed(nothing), query_of(CPU))]
    ingest.done()
    proxy.clear()
    proxy.faults = [Fault(changed(nothing), query_of(CPU))]
    assert ingest.done().result["skipped"] == {"no sample": 1}
    steps = [one.end_ms - one.start_ms for one in proxy.pulls if one.metric == CPU]
    assert steps == [3_600_000]
    proxy.clear()
    proxy.faults = [Fault(changed(nothing), query_of(CPU))]
    ingest.done("--again")
    steps = [one.end_ms - one.start_ms for one in proxy.pulls if one.metric == CPU]
    assert sum(steps) == day(3) - day(0)
    proxy.clear()
    ingest.done()
    truth.is_in(ingest)


def test_a_lost_day_that_was_pulled_again_in_part_does_not_pass_for_whole(proxy, ingest, truth):
    ingest.done()
    shutil.rmtree(ingest.out / f"samples/date={START + pd.Timedelta(days=1):%Y-%m-%d}")
    ingest.source = {"metrics": [CPU]}
    ingest.done()
    proxy.clear()
    ingest.source = {}
    ingest.done()
    assert spans(proxy) == {(metric, day(1), day(2)) for metric in METRICS if metric != CPU}
    truth.is_in(ingest)


def test_nothing_at_all_is_red_and_asked_for_again(proxy, ingest, truth):
    proxy.faults = [Fault(changed(nothing))]
    assert "answered every query" in ingest.red().line
    proxy.clear()
    ingest.done()
    truth.is_in(ingest)


def test_an_empty_end_is_no_end(proxy, ingest, truth):
    """Nobody can tell samples that are late from samples that never were."""
    proxy.faults = [Fault(changed(nothing), lambda asked: asked.start_ms >= day(2))]
    ingest.done()
    assert len(table(ingest.out)) < len(truth.table)
    proxy.clear()
    ingest.done()
    assert spans(proxy) == {(metric, day(2), day(3)) for metric in METRICS}
    truth.is_in(ingest)
    assert_nothing_is_missing(proxy, ingest)


def test_a_hole_that_was_no_hole_comes_when_all_is_asked_for_again(proxy, ingest, truth):
    """No source can be asked whether its complete and empty answer was a lie."""
    proxy.faults = [Fault(changed(nothing), lambda asked: asked.start_ms == day(1))]
    ingest.done()
    assert_nothing_is_missing(proxy, ingest)
    assert len(table(ingest.out)) < len(truth.table)
    ingest.done("--again")
    truth.is_in(ingest)


# Faults that stay: red, one line; what came of others is kept, and not pulled again.

STAYING = {
    "500": (refused(500), query_of, "HTTP 500"),
    "a bad query": (refused(400), query_of, "HTTP 400"),
    "a login page": (page, query_of, "HTML page"),
    "a redirect": (redirect, query_of, "to https://login.example.org/start; "),
    "half a document": (truncated, query_of, "did not answer as a Prometheus query API does"),
    "no document": (
        lambda *_: Reply(200, f"{45 * 'x'}{TOKEN} is not allowed here".encode()),
        query_of,
        "did not answer as a Prometheus query API does",
    ),
    "an error with 200": (
        changed(nothing, status="error", error=f"{280 * 'x'}{TOKEN}"), query_of, "refused metric"
    ),
    "no access": (refused(403), pull_of, "refused user 'reader': HTTP 403"),
    "always cut": (cut(0.5), pull_of, "no answer from http://127.0.0.1"),
}  # fmt: skip


@pytest.mark.parametrize(("strike", "where", "why"), STAYING.values(), ids=STAYING)
def test_what_stays_is_red_and_takes_nothing_with_it(proxy, ingest, truth, strike, where, why):
    ingest.knobs = {"attempts": 2}
    proxy.faults = [Fault(strike, where(CPU))]
    ran = ingest.red()
    assert why in ran.line
    assert f"metric '{CPU}'" in ran.line
    whole = truth.table
    others = whole[whole["metric"] != CPU].reset_index(drop=True)
    assert f"the {len(others):,} samples that came are kept" in ran.line
    pd.testing.assert_frame_equal(table(ingest.out), others)

    proxy.clear()
    ingest.done()
    assert {one.metric for one in proxy.asked} == {CPU}
    truth.is_in(ingest)


def test_what_came_before_a_metric_broke_is_kept(proxy, ingest, truth):
    ingest.knobs = {"attempts": 2}
    proxy.faults = [
        Fault(refused(500), lambda asked: pull_of(CPU)(asked) and asked.start_ms >= day(1))
    ]
    ingest.red()
    kept = table(ingest.out).query("metric == @CPU")["ts"]
    assert (kept.min(), kept.max() < START + pd.Timedelta(days=1)) == (START, True)
    proxy.clear()
    ingest.done()
    assert spans(proxy) == {(CPU, day(1), day(2)), (CPU, day(2), day(3))}
    truth.is_in(ingest)


def test_nobody_there_is_red_at_once(ingest):
    ingest.url = "http://127.0.0.1:9"
    assert "no answer from http://127.0.0.1:9" in ingest.red().line
    assert not (ingest.out / "samples").exists()


# Twice is once.


def test_a_second_run_pulls_almost_nothing_and_leaves_every_byte(proxy, ingest, truth):
    ingest.source = {"reread_s": 3600}
    ingest.done()
    truth.is_in(ingest)
    first = proxy.returned
    proxy.clear()
    ran = ingest.done()
    assert 0 < ran.result["figures"]["samples"] <= proxy.returned <= 0.05 * first
    truth.is_in(ingest)


def test_a_dry_run_stores_nothing_and_is_about_right(proxy, ingest):
    foreseen = ingest.done("--dry-run").result
    assert all(one.is_probe for one in proxy.asked)
    assert proxy.returned <= 0.05 * foreseen["figures"]["foreseen_samples"]
    assert not (ingest.out / "samples").exists()
    came = ingest.done().result["figures"]["samples"]
    assert came / 1.5 <= foreseen["figures"]["foreseen_samples"] <= came * 1.5
    assert f"about {foreseen['figures']['foreseen_samples']:,.0f} samples" in foreseen["notes"][0]


def younger(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["ts"] >= END - pd.Timedelta(days=1)].reset_index(drop=True)


def test_what_could_not_be_stored_is_pulled_again(proxy, ingest, truth):
    """Only what is in the store is on record as pulled."""
    broken = ingest.out / f"samples/date={START:%Y-%m-%d}/samples.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no table")
    assert f"{broken} cannot be merged into" in ingest.red().line
    broken.unlink()
    ingest.done()
    truth.is_in(ingest)


def test_a_budget_ends_a_run_and_not_the_way(proxy, ingest, truth):
    """A day of all costs 3,456; each run may pull a day and a bit, the newest first."""
    budget = 3_600
    ingest.ingest = {"samples_per_commit": 1, "budget": {"samples": budget}}
    runs = [ingest.done().result]
    newest = younger(table(ingest.out))
    whole = younger(truth.table)
    pd.testing.assert_frame_equal(newest, whole)
    while runs[-1]["skipped"] and len(runs) < 6:
        assert list(runs[-1]["skipped"]) == ["budget spent"]
        assert "the next run goes on from there" in json.dumps(runs[-1]["notes"])
        runs.append(ingest.done().result)
    assert 3 <= len(runs) < 6
    a_piece = 288 * len(WORKLOADS)
    assert all(run["figures"]["samples"] <= budget + a_piece for run in runs)
    truth.is_in(ingest)
    # and nothing was pulled twice on the way
    assert sum(run["figures"]["samples"] for run in runs) == len(truth.table)
