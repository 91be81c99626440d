"""The Prometheus adapter and the shipped catalogs against real servers."""

import time

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from catalogs import shipped

from features.frames import SAMPLES, conform
from features.metrics import Metric
from pipelines.adapters.prometheus import PrometheusParams, PrometheusSource
from pipelines.adapters.source import FetchReport, Spec, Window
from pipelines.errors import QueryFailed, SourceUnreachable

pytestmark = pytest.mark.e2e

START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta("5min")
STEPS = 400
END = START + STEPS * STEP
QUICK = PrometheusParams(attempts=2, retry_wait_s=0.05)


@pytest.fixture(scope="module", params=["prometheus_server", "victoria_server"])
def server(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


def fetch(
    url: str, metric: Metric, *, start=START, end=END, step=STEP, params=QUICK
) -> tuple[pa.Table, FetchReport]:
    with httpx.Client(base_url=url, timeout=20) as client:
        source = PrometheusSource(client, cluster="absent", params=params)
        chunks = list(source.fetch(Spec(metric), Window.of(start, end, step)))
    samples = pa.concat_tables([c.samples for c in chunks]).unify_dictionaries()
    return samples, sum((c.report for c in chunks), FetchReport())


def keyed(samples: pa.Table, cluster: str) -> pd.Series:
    """Values by (name, ts)."""
    frame = samples.to_pandas()
    mine = frame[frame["cluster"] == cluster]
    assert not mine.duplicated(["name", "ts"]).any()
    return mine.set_index([mine["name"].astype(str), "ts"])["value"].sort_index()


def wave(level: float, depth: float, phase: float) -> np.ndarray:
    """A daily wave; smooth enough for a rate, different in every step."""
    return level + depth * np.sin(np.arange(STEPS) / 46 + phase)


def cluster_samples(cluster: str) -> pa.Table:
    """Three workloads of three kinds, every metric that the loader can shape."""
    deploy = np.where(np.arange(STEPS) < 150, 1.7802e9, 1.7803e9)
    frames = []
    for number, (kind, name) in enumerate(
        [("Deployment", "checkout"), ("StatefulSet", "db"), ("Deployment", "web")]
    ):
        values = {
            "requests_per_second": wave(100, 40, number),
            "error_ratio": wave(0.05, 0.04, number),
            "latency_p99_seconds": wave(0.6, 0.5, number),
            "cpu_usage_cores": wave(3, 2, number),
            "network_receive_bytes_per_second": wave(4e6, 1e6, number),
            "memory_rss_bytes": np.linspace(1e8, 9e8, STEPS),
            "memory_working_set_bytes": np.linspace(2e8, 9e8, STEPS),
            "memory_cache_bytes": wave(1e8, 5e7, number),
            "memory_limit_bytes": np.full(STEPS, 2.0**30),
            "memory_request_bytes": np.full(STEPS, 2.0**29),
            "cpu_request_cores": np.round(wave(8, 3, number)),
            "cpu_limit_cores": np.round(wave(16, 3, number)),
            "restarts_total": np.arange(STEPS) // 90,
            "oom_kills_total": np.arange(STEPS) // 200,
            "replicas": np.round(wave(8, 3, number)),
            "hpa_min_replicas": np.full(STEPS, 2.0),
            "hpa_max_replicas": np.full(STEPS, 20.0),
            "hpa_target_cpu_ratio": np.full(STEPS, 0.7),
            "deploy_timestamp_seconds": deploy,
            "pod_start_seconds": np.full(STEPS, 42.0),
            "disk_used_bytes": np.linspace(1e9, 2e9, STEPS),
            "disk_limit_bytes": np.full(STEPS, 4e9),
        }
        if kind != "Deployment":
            del values["deploy_timestamp_seconds"]
        where = {"cluster": cluster, "namespace": "shop", "kind": kind, "name": name}
        frames += [
            pd.DataFrame(
                where
                | {
                    "metric": metric,
                    "ts": pd.date_range(START, periods=STEPS, freq=STEP),
                    "value": v,
                }
            )
            for metric, v in values.items()
        ]
    return conform(pd.concat(frames), SAMPLES)


@pytest.fixture(scope="module")
def kube(server):
    samples = cluster_samples("kube")
    server.load(samples)
    return server, samples


@pytest.mark.parametrize("steps", [1, 7, 399])
def test_small_chunks_fetch_what_one_query_fetches(kube, steps):
    server, _ = kube
    metric = shipped("prometheus")["cpu_usage_cores"]
    window = {"end": START + 40 * STEP if steps == 1 else END}
    whole, _ = fetch(server.url, metric, **window)
    cut, report = fetch(
        server.url, metric, **window, params=PrometheusParams(max_steps_per_query=steps)
    )
    assert report.queries > 1
    pd.testing.assert_series_equal(keyed(cut, "kube"), keyed(whole, "kube"))


def test_plain_series_come_back_bit_for_bit_even_with_holes_and_odd_labels(server):
    rng = np.random.default_rng(7)
    ts = pd.date_range(START, periods=STEPS, freq=STEP)
    frame = pd.concat(
        pd.DataFrame(
            {"cluster": "plain", "namespace": 'a"b\\', "name": name, "metric": "cpu_usage_cores"}
            | {"ts": ts, "value": rng.lognormal(0, 9, STEPS)}
        )
        for name in ("ünï/code", "{evil=~'.*'}", "new\nline")
    )
    hole = (frame["ts"] >= ts[100]) & (frame["ts"] < ts[120])
    server.load_plain(conform(frame[~hole], SAMPLES))
    got, report = fetch(server.url, shipped("plain")["cpu_usage_cores"])
    found = keyed(got, "plain")
    want = keyed(conform(frame[~hole], SAMPLES), "plain")
    bridged = found.index.difference(want.index).get_level_values("ts")
    assert set(bridged) <= {ts[100]}  # Prometheus 2 looks back up to and with five minutes
    pd.testing.assert_series_equal(found.loc[want.index], want, check_names=False)
    assert report.series >= 3


def test_an_odd_start_is_the_same_grid_on_every_server(server):
    samples = cluster_samples("odd")
    server.load_plain(samples)
    start = START + 10 * STEP + pd.Timedelta("2min 17s")
    end = START + 20 * STEP + pd.Timedelta("1s")
    got, _ = fetch(
        server.url, Metric("replicas", query='replicas{cluster="odd"}'), start=start, end=end
    )
    stamps = pd.DatetimeIndex(keyed(got, "odd").index.get_level_values("ts").unique())
    assert list(stamps) == list(pd.date_range(START + 10 * STEP, periods=11, freq=STEP))


def test_nothing_found_is_no_error(server):
    got, report = fetch(server.url, Metric("none", query="no_such_series"))
    assert len(got) == 0
    assert report.queries == 2


def test_division_by_zero_is_dropped_and_counted(server):
    zero = 'label_replace(vector(0), "name", "x", "", "")'
    got, report = fetch(server.url, Metric("m", query=f"{zero} / 0"), end=START + 10 * STEP)
    assert len(got) == 0
    # VictoriaMetrics leaves NaN out of its answer itself
    assert report.dropped_not_finite in (0, 10)
    got, report = fetch(server.url, Metric("m", query=f"({zero} + 1) / 0"), end=START + 10 * STEP)
    assert len(got) == 0
    assert report.dropped_not_finite == 10


def test_a_bad_query_is_refused_with_its_name_and_the_reason(server):
    with pytest.raises(
        QueryFailed, match=r"metric 'broken', query 'sum\(\('.*HTTP 4\d\d: .+"
    ) as error:
        fetch(server.url, Metric("broken", query="sum(("))
    assert "attempts" not in str(error.value)


def test_a_server_that_is_gone_is_said_quickly(passing_server):
    passing_server.stop()
    began = time.monotonic()
    with pytest.raises(SourceUnreachable, match=passing_server.url):
        fetch(passing_server.url, Metric("m", query="up"))
    assert time.monotonic() - began < 5
