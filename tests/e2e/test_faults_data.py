"""What real servers do to their own data, and what becomes of an ingest that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_proxy import Fault, Proxy, cut, slow, spoiling
from ingest_runs import END, METRICS, START, STEP_MS, Ingest, day, grid, sizes, table
from metric_servers import MetricsServer

pytestmark = pytest.mark.e2e

CPU, RSS, REQUESTS = METRICS
WORKLOAD = "cluster, namespace, kind, name"
AS_THEY_WERE = f"last_over_time({CPU}{{$__select}}[1s])"
"""Samples at their own stamps only: a gap stays a gap."""
STALE = np.array([0x7FF0_0000_0000_0002], "<u8").view("<f8")[0]
A_DAY = START + pd.Timedelta(days=1)
Make = Callable[..., Ingest]


@pytest.fixture
def make(tmp_path: Path, capsys, caplog) -> Make:
    """An ingest of one cluster of a server, by one query."""

    def make(url: str, cluster: str, query: str, metric: str = CPU, **more) -> Ingest:
        source = {"select": {"cluster": [cluster]}, **more.pop("source", {})}
        return Ingest(url, tmp_path, capsys, caplog, source, queries={metric: query}, **more)

    return make


def labels(cluster: str, name: str, metric: str = CPU, **more: str) -> dict[str, str]:
    who = {"cluster": cluster, "namespace": "shop", "kind": "Deployment", "name": name}
    return {"__name__": metric, **who, **more}


def values(ingest: Ingest, name: str) -> pd.Series:
    frame = table(ingest.out)
    return frame[frame["name"] == name].set_index("ts")["value"]


def stamps(ms: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(ms, unit="ms", utc=True))


def test_a_counter_that_starts_again_is_no_negative_rate(prometheus_server, make):
    """Two requests a second, counted every minute; the pod restarts twice."""
    ts = grid(steps=288)[0] + np.arange(288 * 5) * 60_000
    total = 120.0 * np.arange(len(ts))
    for restart in (500, 900):
        total[restart:] -= total[restart] - 30
    counter = labels("reset", "checkout", "http_requests_total", pod="a")
    prometheus_server.write(iter([(counter, ts, total)]))
    query = f"sum by ({WORKLOAD}) (rate(http_requests_total{{$__select}}[$__rate_interval]))"
    ingest = make(prometheus_server.url, "reset", query, REQUESTS)
    assert ingest.done(as_of=A_DAY).result["notes"] == []
    rate = values(ingest, "checkout")
    assert len(rate) == 287  # the first needs two samples
    assert rate.between(1.2, 2.0 + 1e-9).all()
    assert (rate < 1.999).sum() <= 4  # what was counted after the last look and before the restart
    assert rate.sum() * 300 == pytest.approx(120 * len(ts), rel=0.01)


def test_stale_markers_end_a_series_and_are_no_samples(prometheus_server, make):
    there, gone = grid(steps=288), slice(100, 130)
    value = np.arange(288.0)
    marked = np.delete(value, np.s_[101:130])
    marked[100] = STALE
    at = np.delete(there, np.s_[101:130])
    noisy = np.where(np.arange(288) % 48 == 7, np.nan, value)
    prometheus_server.write(
        iter([(labels("stale", "marked"), at, marked), (labels("stale", "noisy"), there, noisy)])
    )
    ingest = make(prometheus_server.url, "stale", f"{CPU}{{$__select}}")
    ran = ingest.done(as_of=A_DAY)
    assert ran.result["notes"] == ["  6 samples left out: not finite (stale, or 0/0)"]
    # nothing is bridged: a marker ends what a look-back would otherwise draw on
    want = pd.Series(np.delete(value, gone), stamps(np.delete(there, gone)))
    pd.testing.assert_series_equal(values(ingest, "marked"), want, **LOOSELY)
    want = pd.Series(value, stamps(there))[~np.isnan(noisy)]
    pd.testing.assert_series_equal(values(ingest, "noisy"), want, **LOOSELY)


LOOSELY = {"check_names": False, "check_index_type": False, "check_freq": False}


@pytest.mark.parametrize("summed", [False, True], ids=["one by one", "by workload"])
def test_pods_come_and_go_and_the_workload_stays_one_series(prometheus_server, make, summed):
    """Six pods, one after the other; each lives on for an hour beside the next."""
    cluster = f"churn-{summed}"
    at, value, overlap = grid(steps=288), np.arange(288.0), 12
    pods = [slice(start, min(start + 48 + overlap, 288)) for start in range(0, 288, 48)]
    prometheus_server.write(
        (labels(cluster, "web", pod=f"web-{i}"), at[lives], value[lives])
        for i, lives in enumerate(pods)
    )
    query = f"max by ({WORKLOAD}) ({AS_THEY_WERE})" if summed else AS_THEY_WERE
    ingest = make(prometheus_server.url, cluster, query)
    told = ingest.done(as_of=A_DAY).result["notes"]
    twice = "  60 samples left out: another of the same workload and stamp came after"
    assert told == ([] if summed else [twice])
    pd.testing.assert_series_equal(
        values(ingest, "web"), pd.Series(value, stamps(at)), **LOOSELY
    )  # fmt: skip


def test_ten_thousand_series_in_one_answer_that_is_cut_at_first(victoria_server, make):
    at = grid(steps=12)
    value = np.random.default_rng(1).lognormal(size=(10_000, 12)).round(6)
    victoria_server.write((labels("many", f"w{i}"), at, value[i]) for i in range(10_000))
    with spoiling(victoria_server.url) as proxy:
        proxy.faults = [Fault(cut(0.7), lambda asked: asked.steps > 2, times=1)]
        ingest = make(proxy.url, "many", AS_THEY_WERE)
        ran = ingest.done(as_of=START + pd.Timedelta(hours=1))
    assert ran.result["notes"] == ["  1 retries"]
    frame = table(ingest.out)
    assert len(frame) == 120_000
    frame = frame.assign(row=frame["name"].str[1:].astype(int)).sort_values(["row", "ts"])
    np.testing.assert_array_equal(frame["value"].to_numpy().reshape(10_000, 12), value)


def test_late_samples_come_within_the_margin_and_beyond_it_when_asked_for(victoria_server, make):
    at, value = grid(steps=290), np.arange(290.0)
    late = np.zeros(290, dtype=bool)
    late[[228, 282]] = True  # five hours and half an hour before the first run's clock
    victoria_server.write(iter([(labels("late", "web"), at[:288], value[:288])]))
    victoria_server.write(iter([(labels("late", "db"), at[~late], value[~late])]))
    ingest = make(victoria_server.url, "late", AS_THEY_WERE, source={"reread_s": 3600})
    ingest.done(as_of=A_DAY)
    assert len(values(ingest, "db")) == 286
    victoria_server.write(iter([(labels("late", "db"), at[late], value[late])]))
    then = A_DAY + pd.Timedelta(minutes=10)
    ingest.done(as_of=then)
    want = pd.Series(value, stamps(at))
    pd.testing.assert_series_equal(values(ingest, "db"), want.drop(want.index[228]), **LOOSELY)
    ingest.done("--again", as_of=then)
    pd.testing.assert_series_equal(values(ingest, "db"), want, **LOOSELY)
    assert len(values(ingest, "web")) == 288


# kill -9


@dataclass
class Victim:
    """A run in a process of its own, that is killed once ``moment`` has come.

    ``pulled`` is how many of the window's days were committed by then.
    """

    ingest: Ingest
    proxy: Proxy
    moment: Callable[[Ingest, Proxy], bool]
    pulled: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "pipelines.cli"]
        arguments = self.ingest.arguments(as_of=END - pd.Timedelta(milliseconds=STEP_MS))
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def dies(self) -> bool:
        """Whether it is dead by now."""
        if self.process.poll() is None and self.moment(self.ingest, self.proxy):
            self.process.kill()
            self.process.wait()
        return self.process.poll() is not None


def asked(_: Ingest, proxy: Proxy) -> bool:
    return bool(proxy.pulls)


def first_file(ingest: Ingest, _: Proxy) -> bool:
    """Between the first merge and the record of it, or right after."""
    return any((ingest.out / "samples").glob("date=*/*.parquet"))


def recorded(days: int) -> Callable[[Ingest, Proxy], bool]:
    """The newest ``days`` are committed for every metric; what is older is never answered."""

    def moment(ingest: Ingest, _: Proxy) -> bool:
        records = [json.loads(p.read_bytes()) for p in ingest.out.glob("samples/_coverage/*.json")]
        begun = [one["spans"][0][0] for one in records if one["spans"]]
        return len(begun) == len(METRICS) and max(begun) <= day(3 - days)

    return moment


MOMENTS = ((asked, 0), (recorded(1), 1), (first_file, 0), (recorded(2), 2))


def never_answered(before_ms: int) -> Fault:
    """For as long as the one who asks lives: a slow machine gets no further than a fast one."""
    return Fault(slow(300), lambda asked: not asked.is_probe and asked.end_ms <= before_ms)


@pytest.fixture
def victims(prometheus_server: MetricsServer, tmp_path: Path, capsys, caplog) -> Iterator[list]:
    """Three metrics of three days, a day a commit."""
    rng = np.random.default_rng(9)
    for metric in METRICS:
        prometheus_server.write(
            (labels("killed", name, metric), grid(), rng.lognormal(size=len(grid())))
            for name in "abcd"
        )
    with ExitStack() as stack:
        made = []
        for number, (moment, pulled) in enumerate(MOMENTS):
            proxy = stack.enter_context(spoiling(prometheus_server.url))
            held = day(3) if moment is asked else day(3 - max(pulled, 1))
            proxy.faults = [never_answered(held)]
            folder = tmp_path / str(number)
            folder.mkdir()
            source = {"select": {"cluster": ["killed"]}}
            ingest = Ingest(
                proxy.url, folder, capsys, caplog, source, ingest={"samples_per_commit": 1}
            )
            made.append(Victim(ingest, proxy, moment, pulled))
        try:
            yield made
        finally:
            for victim in made:
                if victim.process is not None and victim.process.poll() is None:
                    victim.process.kill()
                    victim.process.wait()


def test_a_killed_run_loses_nothing_that_was_committed(
    victims, prometheus_server, tmp_path, capsys, caplog
):
    (tmp_path / "clean").mkdir()
    source = {"select": {"cluster": ["killed"]}}
    clean = Ingest(prometheus_server.url, tmp_path / "clean", capsys, caplog, source)
    clean.done()
    for victim in victims:
        victim.start()
    until = time.monotonic() + 120
    alive = list(victims)
    while alive := [victim for victim in alive if not victim.dies()]:
        assert time.monotonic() < until
        time.sleep(0.005)
    for victim in victims:
        assert victim.process.returncode == -9
        victim.proxy.clear()
        left = list(victim.ingest.out.glob(".ingest-*"))
        assert len(left) == 1
        if victim.pulled:
            aged(left[0])
        victim.ingest.done()
        assert sizes(victim.ingest.out) == sizes(clean.out)
        # the days that were committed are not pulled again, but for the step that was not over
        oldest = min(one.start_ms for one in victim.proxy.pulls)
        assert oldest == day(0)
        newest = max(one.end_ms for one in victim.proxy.pulls)
        assert victim.pulled == 0 or newest == day(3 - victim.pulled)
        # what it left aside goes away a day later: until then it might be somebody's at work
        assert left[0].exists() == (victim.pulled == 0)


def aged(folder: Path) -> None:
    then = time.time() - 25 * 3600
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then))
