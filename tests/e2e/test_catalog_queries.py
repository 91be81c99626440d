"""Every query of every PromQL catalog against real servers that hold what exporters expose."""

from itertools import chain

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from catalogs import shipped
from exporters import STEPS
from metric_servers import MetricsServer
from true_cluster import CHURN
from true_series import cluster_series
from true_values import ESTIMATED, RATES, Truth, truth

from features.frames import SAMPLES, conform
from features.metrics import Metric
from pipelines.adapters.prometheus import PrometheusSource
from pipelines.adapters.source import FetchReport, Spec, Window

pytestmark = pytest.mark.e2e

START = pd.Timestamp("2026-06-01", tz="UTC")
STEP = pd.Timedelta("5min")
FIRST = 1
"""The step before it is where the counters begin."""
PROMETHEUS = shipped("prometheus").metrics
OVERLAYS = {
    name: [m for m, entry in shipped(name).metrics.items() if entry != PROMETHEUS[m]]
    for name in ("istio", "nginx-ingress")
}
QUERIES = [
    *(("prometheus", m) for m, entry in PROMETHEUS.items() if entry.query),
    *chain.from_iterable(((name, m) for m in own) for name, own in OVERLAYS.items()),
]
BOTH = {"cluster": ("eks",)}


@pytest.fixture(scope="module", params=["prometheus_server", "victoria_server"])
def server(request: pytest.FixtureRequest) -> MetricsServer:
    server = request.getfixturevalue(request.param)
    start_ms = int(START.timestamp() * 1000)
    # each in one request: what overlaps in it is merged, in the next one it would be out of order
    for cluster in ("eks", 'o"d|d'):
        server.write(cluster_series(cluster, start_ms), batch_bytes=2**30)
    return server


def fetch(
    server: MetricsServer, metric: Metric, select: dict[str, tuple[str, ...]], first: int = FIRST
) -> tuple[pd.DataFrame, FetchReport]:
    window = Window.of(START + first * STEP, START + STEPS * STEP, STEP)
    with httpx.Client(base_url=server.url, timeout=20) as client:
        source = PrometheusSource(client, cluster="absent")
        chunks = list(source.fetch(Spec(metric, select), window))
    samples = pa.concat_tables([c.samples for c in chunks]).unify_dictionaries().to_pandas()
    return samples, sum((c.report for c in chunks), FetchReport())


def found(samples: pd.DataFrame, cluster: str) -> Truth:
    mine = samples[samples["cluster"] == cluster]
    keys = ["namespace", "kind", "name"]
    step = ((mine["ts"] - START) // STEP).to_numpy()
    values: Truth = {}
    for key, rows in mine.assign(step=step).groupby(keys, observed=True):
        assert not rows["step"].duplicated().any()
        values[key] = np.full(STEPS, np.nan)
        values[key][rows["step"]] = rows["value"]
    return values


def assert_true(metric: str, got: Truth, want: Truth) -> None:
    assert got.keys() == want.keys()
    for whose, values in want.items():
        exact = np.arange(FIRST, STEPS)
        if metric in RATES and whose in ESTIMATED:
            exact = exact[exact != CHURN]
            # Prometheus extrapolates; VictoriaMetrics takes each pod's rate while it lived, and the
            # sum of two half lives is up to twice the whole
            assert 0.5 <= got[whose][CHURN] / values[CHURN] <= 2.001, whose
        np.testing.assert_allclose(
            got[whose][exact], values[exact], rtol=1e-6, err_msg=f"{metric} of {whose}"
        )


@pytest.mark.parametrize(("catalog", "metric"), QUERIES)
def test_a_query_gives_what_is_true(server, catalog, metric):
    samples, report = fetch(server, shipped(catalog)[metric], BOTH)
    assert set(samples["cluster"]) == {"eks"}
    assert report.unlabelled == report.duplicates == report.dropped_not_finite == 0
    assert_true(metric, found(samples, "eks"), truth(catalog, metric))


@pytest.mark.parametrize(("catalog", "metric"), QUERIES)
def test_a_selection_is_what_it_says_and_nothing_else(server, catalog, metric):
    """One namespace's workloads as they are in the whole; no cluster made of one namespace."""
    select = {"cluster": ('o"d|d',), "namespace": ("shop", 'no"such|.*', "pay.*")}
    samples, _ = fetch(server, shipped(catalog)[metric], select, first=STEPS - 3)
    want = {w: v for w, v in truth(catalog, metric).items() if w[0] == "shop"}
    got = found(samples, 'o"d|d')
    assert set(samples["cluster"]) <= {'o"d|d'}
    assert got.keys() == want.keys()
    for whose, values in want.items():
        np.testing.assert_allclose(got[whose][-3:], values[-3:], rtol=1e-6)


def test_nothing_selected_is_everything(server):
    samples, _ = fetch(server, PROMETHEUS["cpu_usage_cores"], {}, first=STEPS - 3)
    assert set(samples["cluster"]) == {"eks", 'o"d|d'}


def test_every_plain_name_is_read_as_it_is(server):
    plain = shipped("plain").metrics
    ts = pd.date_range(START, periods=3, freq=STEP)
    where = {"cluster": "plain", "namespace": "shop", "kind": "Deployment", "name": "web"}
    frame = pd.concat(
        pd.DataFrame(where | {"metric": m, "ts": ts, "value": number + np.arange(3) / 8})
        for number, m in enumerate(plain)
    )
    server.load_plain(conform(frame, SAMPLES))
    window = Window.of(START, START + 3 * STEP, STEP)
    with httpx.Client(base_url=server.url, timeout=20) as client:
        source = PrometheusSource(client, cluster="absent")
        for number, metric in enumerate(plain.values()):
            chunks = source.fetch(Spec(metric, {"cluster": ("plain",)}), window)
            values = pa.concat_tables([c.samples for c in chunks]).column("value").to_pylist()
            assert values == [number, number + 0.125, number + 0.25], metric.name
