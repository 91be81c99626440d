"""``foretide ingest`` from every kind of source, by the command line and the shipped catalogs.

The laws: the store holds what was put in; the price is told before it is paid; a second run pulls
next to nothing and changes no byte; who is refused is named in one line, and no secret ever is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from checking_proxy import Reply, Request, passing_on
from cloudwatch_harness import aws
from command_line import CommandLine, Told, no_aws_of_the_machine
from datadog_server import API_KEY, APPLICATION_KEY, DatadogServer, datadog_server
from files_harness import write
from ingest_runs import sizes, table
from metric_servers import MetricsServer
from moto.server import ThreadedMotoServer
from s3_server import S3Server, s3_server
from signing_proxy import Gate, Key

from features.frames import SAMPLES, conform

pytestmark = pytest.mark.e2e

STEP = pd.Timedelta("5min")
START = pd.Timestamp("2026-06-01", tz="UTC")
DAYS = 2
END = START + pd.Timedelta(days=DAYS)
WORKLOADS = (("shop", "checkout"), ("shop", "web"), ("pay", "cart"))
KEYS = ["metric", "cluster", "namespace", "kind", "name", "ts"]

ID, SECRET, TOKEN = "AKIAEXAMPLE0LONG", "a/long+lived/secret", "IQoJb3JpZ2luX2VjE/session+token=="
WRONG = "wrong/secret+of-nobody"
REGION = "eu-west-1"
WORKSPACE = "/workspaces/ws-0a1b2c3d"


def made_up(metrics: dict[str, float], start: pd.Timestamp = START, days: float = DAYS) -> pa.Table:
    """Noise around a level for each metric and workload, on the grid, without gaps."""
    rng = np.random.default_rng(7)
    ts = pd.date_range(start, start + pd.Timedelta(days=days), freq=STEP, inclusive="left")
    frames = [
        pd.DataFrame(
            {
                "cluster": "prod",
                "namespace": namespace,
                "kind": "Deployment",
                "name": name,
                "metric": metric,
                "ts": ts,
                "value": np.round(level * rng.uniform(0.5, 1.5, len(ts)), 3),
            }
        )
        for metric, level in metrics.items()
        for namespace, name in WORKLOADS
    ]
    return conform(pd.concat(frames), SAMPLES)


def sorted_frame(samples: pa.Table) -> pd.DataFrame:
    frame = samples.to_pandas().astype(dict.fromkeys(KEYS[:-1], "str"))[[*KEYS, "value"]]
    return frame.sort_values(KEYS, ignore_index=True)


def assert_holds(out: Path, expected: pd.DataFrame) -> None:
    got = table(out)
    assert (got["ts"].min(), got["ts"].max()) == (expected["ts"].min(), expected["ts"].max())
    pd.testing.assert_frame_equal(got, expected, check_dtype=False, rtol=1e-9)


@pytest.fixture(scope="module")
def hermetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    with no_aws_of_the_machine(tmp_path_factory.mktemp("home")) as patch:
        yield patch


@pytest.fixture
def env(hermetic: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with hermetic.context() as patch:
        yield patch


@dataclass
class Pulling:
    """A store that is filled from one source."""

    line: CommandLine
    as_of: pd.Timestamp = END

    @property
    def out(self) -> Path:
        return self.line.folder / "store"

    @property
    def source(self) -> dict[str, Any]:
        return self.line.settings["source"]

    def __call__(self, *options: str) -> Told:
        return self.line.run("ingest", *self.where, *options)

    def done(self, *options: str) -> Told:
        return self.line.done("ingest", *self.where, *options)

    @property
    def where(self) -> list[str]:
        return ["--out", str(self.out), "--as-of", self.as_of.isoformat()]

    def assert_foretold(self, series: int, samples: int) -> Told:
        """A dry run says what will come, and neither writes nor pulls it."""
        told = self.done("--dry-run")
        assert not self.out.exists()
        assert f"{series:,} series" in told.notes
        assert f"about {samples:,} samples" in told.notes
        assert told.figures["samples"] == 0
        assert told.figures["foreseen_series"] == series
        assert told.figures["foreseen_samples"] == samples
        return told

    def assert_pulled_once(self, first: Told) -> None:
        """A second run pulls at most a twentieth, and leaves every byte as it is."""
        before = sizes(self.out)
        again = self.done()
        assert again.figures["samples"] <= 0.05 * first.figures["samples"]
        assert sizes(self.out) == before

    def assert_refused(self, who: str) -> None:
        before = sizes(self.out) if self.out.exists() else {}
        refused = self("--again")
        assert refused.code == 1
        assert refused.result is None
        assert who in refused.line
        assert (sizes(self.out) if self.out.exists() else {}) == before


@pytest.fixture
def pulling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[..., Pulling]:
    def make(source: dict[str, Any], secrets: tuple[str, ...] = (), **sections: Any) -> Pulling:
        history = {"history": {"days": DAYS}}
        settings = history | sections | {"source": {"cluster": "prod"} | source}
        return Pulling(CommandLine(tmp_path, capsys, caplog, settings, secrets))

    return make


def assert_price(told: Told, ran: Told, price: float, unit: str) -> None:
    """What is told before is at the table's price, and near to what it came to."""
    before, after = told.figures, ran.figures
    assert before["foreseen_usd"] == pytest.approx(before[f"foreseen_{unit}"] * price, rel=0.05)
    assert after["usd"] == pytest.approx(after[unit] * price, rel=0.05)
    assert 0.5 <= before["foreseen_usd"] / after["usd"] <= 2
    shown = float(told.notes.split("; about ")[-1].split(" USD")[0])
    assert shown == pytest.approx(before["foreseen_usd"], rel=0.5)


# Amazon Managed Prometheus: what kube-state-metrics and cAdvisor expose, behind signatures.

AMP_METRICS = {"cpu_usage_cores": 2.0, "memory_rss_bytes": 4e8, "memory_limit_bytes": 1e9}
PER_BILLION = 0.10


@pytest.fixture(scope="module")
def kube(prometheus_server: MetricsServer) -> MetricsServer:
    prometheus_server.load(made_up(AMP_METRICS))
    return prometheus_server


@dataclass
class Amp:
    url: str
    gate: Gate
    upstream: str
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    """The forms that were let in."""
    counts: int = 1
    """So much for each sample that Prometheus counts."""
    refused: int = 0
    """Queries that would have read more than they said they may."""

    def check(self, request: Request) -> Reply | None:
        denied = self.gate.check(request)
        if denied is not None:
            return denied
        form = parse_qs(request.body.decode())
        self.asked.append(form)
        most = form.get("max_samples_processed_error_threshold")
        if most is None or self.counts * processed(self.upstream, form) <= int(most[0]):
            return None
        self.refused += 1
        said = "the query exceeds the threshold of samples processed"
        return Reply.json(422, status="error", errorType="execution", error=said)


def processed(upstream: str, form: dict[str, list[str]]) -> int:
    answer = httpx.post(f"{upstream}/api/v1/query_range", data={n: v[0] for n, v in form.items()})
    return answer.json()["data"]["stats"]["samples"]["totalQueryableSamples"]


@pytest.fixture
def amp(kube: MetricsServer, env: pytest.MonkeyPatch) -> Iterator[Amp]:
    one = Amp("", Gate({ID: Key(SECRET, TOKEN)}, REGION), kube.url)
    sign_in(env)
    with passing_on(kube.url, one.check, prefix=WORKSPACE) as one.url:
        yield one


def sign_in(env: pytest.MonkeyPatch, secret: str = SECRET) -> None:
    env.setenv("AWS_ACCESS_KEY_ID", ID)
    env.setenv("AWS_SECRET_ACCESS_KEY", secret)
    env.setenv("AWS_SESSION_TOKEN", TOKEN)


def amp_source(amp: Amp) -> dict[str, Any]:
    return {
        "url": amp.url,
        "sign": True,
        "aws": {"region": REGION},
        "metrics": list(AMP_METRICS),
    }


def test_amp(amp: Amp, env: pytest.MonkeyPatch, pulling: Callable[..., Pulling]):
    pull = pulling(amp_source(amp), (SECRET, TOKEN, WRONG))
    expected = sorted_frame(made_up(AMP_METRICS))
    told = pull.assert_foretold(9, 9 * DAYS * 288)
    ran = pull.done()
    assert_price(told, ran, PER_BILLION / 1e9, "samples_processed")
    assert_holds(pull.out, expected)
    pull.assert_pulled_once(ran)
    sign_in(env, WRONG)
    pull.assert_refused("refused AWS credentials (env, access key …LONG): HTTP 403")


@pytest.mark.parametrize("share", [0.01, 0.33])
def test_amp_stops_when_the_budget_is_spent(
    amp: Amp, pulling: Callable[..., Pulling], share: float
):
    """What came is kept, no query may read more than is left, and the next run goes on.

    The smaller share pays for little more than the asking before.
    """
    pull = pulling(amp_source(amp), (SECRET, TOKEN))
    foreseen = pull.assert_foretold(9, 9 * DAYS * 288).figures
    amp.asked.clear()
    budget = foreseen["foreseen_usd"] * share
    pull.line.settings["ingest"] = {"budget": {"usd": budget}, "samples_per_commit": 2000}
    ran = pull.done()
    assert ran.result["skipped"] == {"budget spent": 3}
    assert "the budget (ingest.budget) was spent before cpu_usage_cores" in ran.notes
    assert 0 < ran.figures["usd"] <= budget
    assert 0 < len(table(pull.out)) == ran.figures["samples"] < 9 * DAYS * 288 * share
    assert 0 < max(thresholds(amp)) <= foreseen["foreseen_samples_processed"] * share

    amp.asked.clear()
    pull.line.settings["ingest"]["budget"] = {"usd": 0.5}
    rest = pull.done()
    assert 0 < max(thresholds(amp)) <= 0.5 / PER_BILLION * 1e9
    assert_holds(pull.out, sorted_frame(made_up(AMP_METRICS)))
    again = 9 * 12  # the last hour, which may have late samples
    assert rest.figures["samples"] <= 9 * DAYS * 288 - ran.figures["samples"] + again


def test_amp_that_counts_more_than_was_foreseen(amp: Amp, pulling: Callable[..., Pulling]):
    """A step that reads more than the budget has left is the budget's end, and no failed query."""
    amp.counts = 50
    pull = pulling(amp_source(amp), (SECRET, TOKEN))
    foreseen = pull.assert_foretold(9, 9 * DAYS * 288).figures
    pull.line.settings["ingest"] = {"budget": {"usd": foreseen["foreseen_usd"] / 20}}
    ran = pull.done()
    assert amp.refused
    assert ran.result["skipped"] == {"budget spent": 3}


def thresholds(amp: Amp) -> list[int]:
    """Of every query that pulls, and does not only ask what pulling would be like."""
    pulls = [form for form in amp.asked if steps(form) > 2]
    return [int(form["max_samples_processed_error_threshold"][0]) for form in pulls]


def steps(form: dict[str, list[str]]) -> float:
    return (float(form["end"][0]) - float(form["start"][0])) / float(form["step"][0]) + 1


# Any Prometheus: asked namespace by namespace, behind a password.

PLAIN_METRICS = {"requests_per_second": 100.0, "error_ratio": 0.3}
PASSWORD = "pass/w0rd+4b7d2a"  # noqa: S105 - nobody's; it must never be shown


@pytest.fixture(scope="module")
def recorded(kube: MetricsServer) -> MetricsServer:
    kube.load_plain(made_up(PLAIN_METRICS))
    return kube


def test_prometheus_namespace_by_namespace(
    recorded: MetricsServer, env: pytest.MonkeyPatch, pulling: Callable[..., Pulling]
):
    basic = base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
    asked: list[dict[str, list[str]]] = []

    def check(request: Request) -> Reply | None:
        if request.headers.get("authorization") != f"Basic {basic}":
            return Reply.json(401, error="no such user")
        asked.append(parse_qs(request.body.decode()))
        return None

    with passing_on(recorded.url, check) as url:
        source = {
            "url": url,
            "catalog": "plain",
            "metrics": list(PLAIN_METRICS),
            "select": {"namespace": ["shop"]},
            "split_by": "namespace",
            "username": "reader",
        }
        env.setenv("FORETIDE_SOURCE__PASSWORD", PASSWORD)
        pull = pulling(source, (PASSWORD, WRONG, basic))
        expected = sorted_frame(made_up(PLAIN_METRICS))
        pull.assert_foretold(4, 4 * DAYS * 288)
        ran = pull.done()
        assert_holds(pull.out, expected[expected["namespace"] == "shop"].reset_index(drop=True))
        pull.assert_pulled_once(ran)

        asked.clear()
        source["select"]["namespace"].append("pay")
        pull.source.update(source)
        pull.done()  # each namespace has a watermark of its own
        assert {'namespace="pay"' in one["query"][0] for one in asked if steps(one) > 12} == {True}
        assert_holds(pull.out, expected)
        env.setenv("FORETIDE_SOURCE__PASSWORD", WRONG)
        pull.assert_refused("refused user 'reader': HTTP 401: no such user")


# CloudWatch: what Container Insights writes, in moto.

CLOUDWATCH_DAYS = 1
DIMENSIONS = ("ClusterName", "Namespace", "PodName")


@dataclass
class CloudWatch:
    url: str
    end: pd.Timestamp
    operations: list[str] = field(default_factory=list)
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)

    def put(self, metric: str, values: pd.DataFrame) -> None:
        client = aws("cloudwatch", self.url, "AKIAOURSELVES", "x")
        rows = [
            {
                "MetricName": metric,
                "Dimensions": [
                    {"Name": name, "Value": value}
                    for name, value in zip(DIMENSIONS, whose, strict=True)
                ],
                "Timestamp": ts,
                "Value": value,
            }
            for *whose, ts, value in values[["cluster", "namespace", "name", "ts", "value"]]
            .itertuples(index=False)
        ]  # fmt: skip
        for at in range(0, len(rows), 1000):
            client.put_metric_data(Namespace="ContainerInsights", MetricData=rows[at : at + 1000])

    def check_credentials(self, *, on: bool) -> None:
        count = "0" if on else "1000000"
        httpx.post(f"{self.url}/moto-api/reset-auth", content=count).raise_for_status()


@pytest.fixture(scope="module")
def insights() -> Iterator[CloudWatch]:
    """A day up to now: how old a sample is decides what CloudWatch still has of it."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    end = pd.Timestamp.now("UTC").floor(STEP)
    one = CloudWatch(f"http://{host}:{port}", end)
    inner = moto._server.app

    def app(environ: Any, start_response: Any) -> Any:
        one.operations.append(environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2])
        return inner(environ, start_response)

    moto._server.app = app
    try:
        samples = made_up(
            {"memory_limit_bytes": 1e9, "network_receive_bytes_per_second": 2e4},
            end - pd.Timedelta(days=CLOUDWATCH_DAYS),
            CLOUDWATCH_DAYS,
        )
        one.samples = sorted_frame(samples)
        metric = one.samples["metric"]
        one.put("pod_memory_limit", one.samples[metric == "memory_limit_bytes"])
        rate = one.samples[metric == "network_receive_bytes_per_second"]
        minutes = [rate.assign(ts=rate["ts"] + pd.Timedelta(n, "min")) for n in range(5)]
        one.put("pod_network_rx_bytes", pd.concat(minutes))
        yield one
    finally:
        moto.stop()


def test_cloudwatch(insights: CloudWatch, env: pytest.MonkeyPatch, pulling: Callable[..., Pulling]):
    sign_in(env)
    env.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", insights.url)
    source = {
        "kind": "cloudwatch",
        "aws": {"region": "us-east-1"},
        "metrics": ["memory_limit_bytes", "network_receive_bytes_per_second"],
    }
    pull = pulling(source, (SECRET, TOKEN, WRONG), history={"days": CLOUDWATCH_DAYS})
    pull.as_of = insights.end
    insights.operations.clear()
    told = pull.assert_foretold(6, 6 * CLOUDWATCH_DAYS * 288)
    assert set(insights.operations) == {"ListMetrics"}
    assert "CloudWatch will count 6 metrics requested" in told.notes
    lists = len(insights.operations)
    env.setenv("AWS_EXECUTION_ENV", "of another process, which has listed nothing yet")
    assert told.figures["foreseen_usd"] == pytest.approx((6 + lists) * 0.01 / 1000)
    ran = pull.done()
    assert insights.operations.count("GetMetricData") == 2
    assert ran.figures["metrics_requested"] == 6
    lists = insights.operations.count("ListMetrics") - lists
    assert ran.figures["usd"] == pytest.approx((6 + lists) * 0.01 / 1000)
    assert 0.5 <= told.figures["foreseen_usd"] / ran.figures["usd"] <= 2
    assert_holds(pull.out, insights.samples)
    pull.assert_pulled_once(ran)

    env.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    insights.check_credentials(on=True)
    try:
        pull.assert_refused("AWS credentials (env, access key …LONG) ")
    finally:
        insights.check_credentials(on=False)


# Datadog.

DATADOG_METRICS = {
    "memory_rss_bytes": ("kubernetes.memory.rss", 4e8),
    "memory_limit_bytes": ("kubernetes.memory.limits", 1e9),
}


@pytest.fixture(scope="module")
def datadog() -> Iterator[DatadogServer]:
    with datadog_server() as server:
        yield server


def test_datadog(datadog: DatadogServer, env: pytest.MonkeyPatch, pulling: Callable[..., Pulling]):
    samples = made_up({metric: level for metric, (_, level) in DATADOG_METRICS.items()})
    for (metric, namespace, name), part in samples.to_pandas().groupby(
        ["metric", "namespace", "name"], observed=True
    ):
        tags = {"kube_cluster_name": "prod", "kube_namespace": namespace, "kube_deployment": name}
        ts_ms = part["ts"].dt.as_unit("ms").astype("int64").to_numpy()
        datadog.add(DATADOG_METRICS[metric][0], tags, ts_ms, part["value"].to_numpy())
    env.setenv("DD_API_KEY", API_KEY)
    env.setenv("DD_APP_KEY", APPLICATION_KEY)
    wrong = "0" * 36 + "beef"
    source = {
        "kind": "datadog",
        "datadog": {"server_url": datadog.url},
        "metrics": list(DATADOG_METRICS),
    }
    pull = pulling(source, (API_KEY, APPLICATION_KEY, wrong))
    told = pull.assert_foretold(6, 6 * DAYS * 288)
    assert "Datadog bills nothing for queries" in told.notes
    assert told.figures["foreseen_usd"] == 0
    ran = pull.done()
    assert_holds(pull.out, sorted_frame(samples))
    pull.assert_pulled_once(ran)
    env.setenv("DD_APP_KEY", wrong)
    pull.assert_refused(f"API key …{API_KEY[-4:]} / application key …beef: HTTP 403: Forbidden")


# Files, on disk and in S3.

FILE_METRICS = {"requests_per_second": 50.0, "memory_rss_bytes": 2e8}


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.mark.parametrize("name", ["samples.csv", "samples.om", "samples.parquet"])
def test_files(name: str, tmp_path: Path, pulling: Callable[..., Pulling]):
    samples = made_up(FILE_METRICS)
    path = write(samples, tmp_path / "files" / name)
    pull = pulling({"kind": "files", "paths": [str(path)]})
    assert_files(pull, str(path), sorted_frame(samples))


def assert_files(pull: Pulling, where: str, expected: pd.DataFrame) -> None:
    """Read anew each time, since nothing tells what has changed; the store's bytes stay."""
    told = pull.done("--dry-run")
    assert not pull.out.exists()
    assert f"will read all samples of {where} before 2026-06-03 00:00" in told.notes
    pull.done()
    assert_holds(pull.out, expected)
    before = sizes(pull.out)
    pull.done()
    assert sizes(pull.out) == before


def test_an_s3_prefix(
    bucket: S3Server, env: pytest.MonkeyPatch, tmp_path: Path, pulling: Callable[..., Pulling]
):
    samples = made_up(FILE_METRICS)
    frame = samples.to_pandas()
    client = bucket.client()
    for name, part in (
        ("exports/a/old.csv", frame[frame["ts"] < END - pd.Timedelta("1D")]),
        ("exports/b/new.parquet", frame[frame["ts"] >= END - pd.Timedelta("1D")]),
    ):
        path = write(conform(part, SAMPLES), tmp_path / name)
        client.upload_file(str(path), bucket.bucket, name)
    for key, value in bucket.environment.items():
        env.setenv(key, value)
    sign_in(env)
    where = bucket.root("exports/")
    pull = pulling({"kind": "files", "paths": [where]}, (SECRET, TOKEN, WRONG))
    assert_files(pull, where, sorted_frame(samples))
    env.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    httpx.post(f"{bucket.url}/moto-api/reset-auth", content="0").raise_for_status()
    try:
        pull.assert_refused("S3 refuses AWS credentials (env, access key …LONG): ")
    finally:
        httpx.post(f"{bucket.url}/moto-api/reset-auth", content="1000000").raise_for_status()
