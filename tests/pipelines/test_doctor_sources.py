"""doctor, source by source: what is missing is named, with a way out that works, and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from checking_proxy import Reply, Request, answering
from cloudwatch_harness import aws
from command_line import CommandLine, no_aws_of_the_machine
from datadog_server import API_KEY, APPLICATION_KEY, datadog_server
from moto.server import ThreadedMotoServer
from s3_server import S3Server, s3_server
from signing_proxy import Gate, Key, Sts

Checks = dict[str, dict[str, str]]
Doctor = Callable[..., Checks]

REGION = "eu-west-1"
ROLE = "arn:aws:iam::222222222222:role/metrics-reader"
USER = "arn:aws:iam::111111111111:user/reader"
ID, SECRET, TOKEN = "AKIAEXAMPLE0LONG", "a/long+lived/secret", "IQoJb3JpZ2luX2VjE/session+token=="
WRONG = "wrong/secret+of-nobody"
PASSWORD = "pass/w0rd+4b7d2a"  # noqa: S105 - nobody's; it must never be shown
SECRETS = (SECRET, TOKEN, WRONG, PASSWORD, API_KEY, APPLICATION_KEY)
NOBODY = "http://127.0.0.1:9"
STEP_S = 300


@pytest.fixture
def env(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    with no_aws_of_the_machine(tmp_path) as patch:
        patch.setenv("PREFECT_API_URL", "")
        yield patch


@pytest.fixture
def doctor(
    env: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Doctor:
    """The checks of a configuration, by the command line; every failed one has a way out."""
    line = CommandLine(tmp_path, capsys, caplog, secrets=SECRETS)

    def examine(source: Mapping[str, Any], **sections: Any) -> Checks:
        store = {"store": {"path": str(tmp_path / "store")}}
        line.settings = store | sections | {"source": dict(source)}
        told = line.run("doctor")
        assert told.result, told.err
        assert told.code == int(any(c["status"] == "fail" for c in told.result))
        assert all(c["remedy"] for c in told.result if c["status"] != "ok")
        return told.checks

    return examine


def assert_fails(checks: Checks, name: str, found: str, remedy: str) -> None:
    """The one thing that stops ingest is said once."""
    check = checks[name]
    assert check["status"] == "fail", checks
    assert found in check["detail"]
    assert remedy in check["remedy"]
    assert [n for n, c in checks.items() if c["status"] == "fail"] == [name]


def assert_well(checks: Checks, *names: str) -> None:
    assert {checks[name]["status"] for name in names} == {"ok"}, checks


def log_in(env: pytest.MonkeyPatch, secret: str = SECRET) -> None:
    env.setenv("AWS_ACCESS_KEY_ID", ID)
    env.setenv("AWS_SECRET_ACCESS_KEY", secret)
    env.setenv("AWS_SESSION_TOKEN", TOKEN)


# A Prometheus API, open or behind a gate.


def prometheus(request: Request) -> Reply:
    """Answers every query with one workload, as of now."""
    now_s = pd.Timestamp.now("UTC").timestamp()
    if request.target.startswith("/api/v1/query?"):
        point = {"metric": {}, "value": [now_s, str(now_s)]}
        return Reply.json(200, status="success", data={"result": [point]})
    labels = {"namespace": "shop", "kind": "Deployment", "name": "checkout"}
    stamp = now_s // STEP_S * STEP_S - STEP_S
    series = [{"metric": labels, "values": [[stamp, "1"]]}]
    return Reply.json(200, status="success", data={"resultType": "matrix", "result": series})


METRIC = {"metrics": ["replicas"], "catalog": "plain"}


@pytest.fixture
def open_server() -> Iterator[str]:
    with answering(prometheus) as url:
        yield url


def test_prometheus_in_order(doctor: Doctor, open_server: str):
    checks = doctor(METRIC | {"url": open_server})
    assert_well(checks, "configuration", "catalog", "source", "metric replicas", "store")
    assert "aws" not in checks


def test_prometheus_without_an_answer(doctor: Doctor):
    assert_fails(doctor(METRIC | {"url": NOBODY}), "source", NOBODY, "source.url")


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("ca_file", "source.http.ca_file"),
        ("client_cert_file", "source.http.client_cert_file"),
        ("bearer_token_file", "source.http.bearer_token_file"),
    ],
)
def test_a_file_that_is_not_there(
    doctor: Doctor, open_server: str, tmp_path: Path, key: str, remedy: str
):
    gone = str(tmp_path / "gone.pem")
    checks = doctor(METRIC | {"url": open_server, "http": {key: gone}})
    assert_fails(checks, "source", gone, remedy)


def test_prometheus_with_a_wrong_password(doctor: Doctor):
    with answering(lambda _: Reply.json(401, error="no such user")) as url:
        source = METRIC | {"url": url, "username": "reader", "password": PASSWORD}
        checks = doctor(source)
    assert_fails(checks, "source", "refused user 'reader': HTTP 401: no such user", "source.")


# Amazon Managed Prometheus.


@pytest.fixture
def keys() -> dict[str, Key]:
    return {ID: Key(SECRET, TOKEN, USER)}


@pytest.fixture
def amp(keys: dict[str, Key]) -> Iterator[dict[str, Any]]:
    """Settings of a source that lets signed requests pass, beside an STS."""
    gate, sts = Gate(keys, REGION), Sts(Gate(keys, REGION, "sts"), keys, external_id="ours-42")
    with (
        answering(lambda request: gate.check(request) or prometheus(request)) as url,
        answering(sts.respond) as sts_url,
    ):
        account = {"region": REGION, "sts_endpoint_url": sts_url}
        yield METRIC | {"url": url, "sign": True, "aws": account}


def test_amp_in_order(doctor: Doctor, amp: dict[str, Any], env: pytest.MonkeyPatch):
    log_in(env)
    checks = doctor(amp)
    assert_well(checks, "aws", "source", "metric replicas")
    assert checks["aws"]["detail"] == f"signed in as {USER}"
    amp["aws"] |= {"role_arn": ROLE, "external_id": "ours-42"}
    checks = doctor(amp)
    assert_well(checks, "aws", "source", "metric replicas")
    assert "assumed-role/metrics-reader" in checks["aws"]["detail"]


def test_amp_without_credentials(doctor: Doctor, amp: dict[str, Any]):
    checks = doctor(amp)
    assert_fails(checks, "aws", "no AWS credentials found", "AWS_ACCESS_KEY_ID")
    assert "source" not in checks


def test_amp_with_a_profile_that_does_not_exist(doctor: Doctor, amp: dict[str, Any]):
    amp["aws"]["profile"] = "prodd"
    assert_fails(doctor(amp), "aws", "prodd", "source.aws.profile")


def test_amp_with_a_wrong_key(doctor: Doctor, amp: dict[str, Any], env: pytest.MonkeyPatch):
    log_in(env, WRONG)
    checks = doctor(amp)
    assert checks["aws"]["status"] == "warn"
    assert_fails(
        checks,
        "source",
        "refused AWS credentials (env, access key …LONG): HTTP 403: The request signature",
        "aps:QueryMetrics",
    )


def test_amp_without_a_region(doctor: Doctor, amp: dict[str, Any], env: pytest.MonkeyPatch):
    log_in(env)
    del amp["aws"]["region"]
    checks = doctor(amp)
    assert_fails(checks, "source", "region", "source.aws.region")
    env.setenv("AWS_REGION", REGION)
    assert_well(doctor(amp), "aws", "source", "metric replicas")


def test_amp_with_a_role_that_may_not_be_assumed(
    doctor: Doctor, amp: dict[str, Any], env: pytest.MonkeyPatch
):
    log_in(env)
    amp["aws"] |= {"role_arn": ROLE, "external_id": "theirs"}
    checks = doctor(amp)
    assert_fails(checks, "aws", f"refused AWS role {ROLE}", "trust policy")
    assert f"User: {USER} is not authorized to perform: sts:AssumeRole" in checks["aws"]["detail"]
    assert "source" not in checks


def test_amp_where_sts_cannot_be_reached(
    doctor: Doctor, amp: dict[str, Any], env: pytest.MonkeyPatch
):
    """Keys that need no STS work all the same."""
    log_in(env)
    amp["aws"]["sts_endpoint_url"] = NOBODY
    checks = doctor(amp)
    assert checks["aws"]["status"] == "warn"
    assert_well(checks, "source", "metric replicas")


# CloudWatch.

CLOUDWATCH = {"kind": "cloudwatch", "metrics": ["memory_limit_bytes", "memory_request_bytes"]}


class Moto:
    """One server; ``operations`` are those of CloudWatch."""

    def __init__(self) -> None:
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.operations: list[str] = []

    def __enter__(self) -> Moto:
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        inner = self.server._server.app

        def app(environ: Any, start_response: Any) -> Any:
            target = environ.get("HTTP_X_AMZ_TARGET", "")
            if target.startswith("Granite"):
                self.operations.append(target.rpartition(".")[2])
            return inner(environ, start_response)

        self.server._server.app = app
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with Moto() as one:
        yield one


@pytest.fixture
def cloudwatch(moto: Moto, env: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    log_in(env)
    env.setenv("AWS_ENDPOINT_URL", moto.url)
    moto.operations.clear()
    yield CLOUDWATCH | {"aws": {"region": REGION}}
    httpx.post(f"{moto.url}/moto-api/reset-auth", content="1000000").raise_for_status()
    httpx.post(f"{moto.url}/moto-api/reset").raise_for_status()


def put_insights(url: str) -> None:
    names = {"ClusterName": "eks", "Namespace": "shop", "PodName": "checkout"}
    boto3_client(url).put_metric_data(
        Namespace="ContainerInsights",
        MetricData=[
            {
                "MetricName": "pod_memory_limit",
                "Dimensions": [{"Name": n, "Value": v} for n, v in names.items()],
                "Value": 1e9,
            }
        ],
    )


def boto3_client(url: str) -> Any:
    import boto3

    return boto3.client(
        "cloudwatch",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="AKIAOURSELVES",
        aws_secret_access_key="x",  # noqa: S106
    )


def test_cloudwatch_in_order(doctor: Doctor, cloudwatch: dict[str, Any], moto: Moto):
    """Nothing that is billed by the metric is asked."""
    put_insights(moto.url)
    moto.operations.clear()
    checks = doctor(cloudwatch)
    assert_well(checks, "aws", "source", "metric memory_limit_bytes")
    assert "cloudwatch:GetMetricData" in checks["source"]["detail"]
    assert checks["context"]["status"] == "warn"
    assert "memory_request_bytes" in checks["context"]["detail"]
    assert set(moto.operations) == {"ListMetrics"}


def test_cloudwatch_that_lists_nothing(doctor: Doctor, cloudwatch: dict[str, Any]):
    checks = doctor(cloudwatch)
    assert_fails(checks, "metrics", "none of 2 metrics", "region")


def test_cloudwatch_without_credentials(
    doctor: Doctor, cloudwatch: dict[str, Any], env: pytest.MonkeyPatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        env.delenv(name)
    checks = doctor(cloudwatch)
    assert_fails(checks, "aws", "no AWS credentials found", "AWS_ACCESS_KEY_ID")


def test_cloudwatch_with_half_a_key(
    doctor: Doctor, cloudwatch: dict[str, Any], env: pytest.MonkeyPatch
):
    env.delenv("AWS_SECRET_ACCESS_KEY")
    checks = doctor(cloudwatch)
    assert_fails(checks, "aws", "Partial credentials", "AWS_SECRET_ACCESS_KEY")


def test_cloudwatch_without_a_region(
    doctor: Doctor, cloudwatch: dict[str, Any], env: pytest.MonkeyPatch
):
    del cloudwatch["aws"]
    assert_fails(doctor(cloudwatch), "source", "region", "source.aws.region")


def test_cloudwatch_that_refuses(doctor: Doctor, cloudwatch: dict[str, Any], moto: Moto):
    """Somebody who is known and has no policy."""
    httpx.post(f"{moto.url}/moto-api/reset-auth", content="0").raise_for_status()
    checks = doctor(cloudwatch)
    assert_fails(
        checks, "source", "AWS credentials (env, access key …LONG)", "cloudwatch:ListMetrics"
    )
    assert "cloudwatch:GetMetricData" in checks["source"]["remedy"]


def test_cloudwatch_without_an_answer(
    doctor: Doctor, cloudwatch: dict[str, Any], env: pytest.MonkeyPatch
):
    env.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", NOBODY)
    checks = doctor(cloudwatch | {"cloudwatch": {"attempts": 1}})
    assert_fails(checks, "source", NOBODY, "AWS_ENDPOINT_URL_CLOUDWATCH")


# Datadog.


@pytest.fixture
def datadog(env: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    with datadog_server() as server:
        stamps = np.arange(24) * STEP_S + pd.Timestamp.now("UTC").timestamp() // STEP_S * STEP_S
        tags = {"kube_namespace": "shop", "kube_deployment": "checkout"}
        values = np.ones(len(stamps))
        ms = ((stamps - 24 * STEP_S) * 1000).astype("int64")
        server.add("kubernetes.memory.rss", tags, ms, values)
        env.setenv("DD_API_KEY", API_KEY)
        env.setenv("DD_APP_KEY", APPLICATION_KEY)
        yield {
            "kind": "datadog",
            "datadog": {"server_url": server.url},
            "metrics": ["memory_rss_bytes"],
        }


def test_datadog_in_order(doctor: Doctor, datadog: dict[str, Any]):
    assert_well(doctor(datadog), "source", "metric memory_rss_bytes")


@pytest.mark.parametrize(
    ("name", "found"),
    [("DD_API_KEY", "Datadog's API key is empty"), ("DD_APP_KEY", "application key is empty")],
)
def test_datadog_without_a_key(
    doctor: Doctor, datadog: dict[str, Any], env: pytest.MonkeyPatch, name: str, found: str
):
    env.delenv(name)
    assert_fails(doctor(datadog), "source", found, name)


def test_datadog_with_a_wrong_key(doctor: Doctor, datadog: dict[str, Any], env: pytest.MonkeyPatch):
    env.setenv("DD_APP_KEY", "0" * 36 + "beef")
    checks = doctor(datadog)
    assert_fails(checks, "source", "application key …beef: HTTP 403", "timeseries_query")
    assert "source.datadog.site" in checks["source"]["remedy"]


def test_datadog_without_an_answer(doctor: Doctor, datadog: dict[str, Any]):
    gone = datadog | {"datadog": {"server_url": NOBODY, "attempts": 1}}
    assert_fails(doctor(gone), "source", NOBODY, "source.datadog")


# Files, and a store, in S3.


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, env: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in s3.environment.items():
        env.setenv(name, value)
    log_in(env)
    yield s3
    httpx.post(f"{s3.url}/moto-api/reset-auth", content="1000000").raise_for_status()


def locked(bucket: S3Server, env: pytest.MonkeyPatch, *actions: str) -> None:
    """From now on as a user who may do only this."""
    iam = aws("iam", bucket.url, "AKIAOURSELVES", "x")
    name = f"user-{len(iam.list_users()['Users'])}"
    iam.create_user(UserName=name)
    if actions:
        allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    env.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    env.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    env.delenv("AWS_SESSION_TOKEN")
    httpx.post(f"{bucket.url}/moto-api/reset-auth", content="0").raise_for_status()


def test_files_in_order(doctor: Doctor, bucket: S3Server):
    bucket.client().put_object(Bucket=bucket.bucket, Key="in/a.csv", Body=b"name,metric,ts,value\n")
    checks = doctor({"kind": "files", "paths": [bucket.root("in/")]})
    assert_well(checks, "source")
    assert checks["source"]["detail"].startswith("1 file of samples")


def test_a_prefix_with_nothing_below_it(doctor: Doctor, bucket: S3Server):
    where = bucket.root("nothing/here/")
    assert_fails(doctor({"kind": "files", "paths": [where]}), "source", where, "source.paths")


def test_a_bucket_that_is_not_there(doctor: Doctor, bucket: S3Server):
    where = "s3://no-such-bucket-0a1b/in/"
    assert_fails(doctor({"kind": "files", "paths": [where]}), "source", where, "source.paths")


def test_files_that_may_not_be_read(doctor: Doctor, bucket: S3Server, env: pytest.MonkeyPatch):
    locked(bucket, env)
    checks = doctor({"kind": "files", "paths": [bucket.root("in/")]})
    assert_fails(checks, "source", "S3 refuses AWS credentials (env, access key …", "s3:GetObject")


def test_files_in_s3_without_credentials(doctor: Doctor, bucket: S3Server, env: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        env.delenv(name)
    checks = doctor({"kind": "files", "paths": [bucket.root("in/")]})
    assert_fails(checks, "source", "no AWS credentials found", "AWS_ACCESS_KEY_ID")


TRACKED = {"tracking": {"uri": "sqlite:///mlflow.db"}}


@pytest.fixture
def store(
    doctor: Doctor, open_server: str, env: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], Checks]:
    """The checks of a store at an address."""
    env.chdir(tmp_path)
    return lambda root: doctor(METRIC | {"url": open_server}, store={"path": root}, **TRACKED)


def test_a_store_in_order(store: Callable[[str], Checks], bucket: S3Server):
    """It is found out by writing nothing."""
    before = bucket.contents()
    checks = store(bucket.root("store"))
    assert_well(checks, "store")
    assert checks["store"]["detail"] == f"{bucket.root('store')} can be listed and written"
    assert bucket.contents() == before


def test_a_store_whose_bucket_is_not_there(store: Callable[[str], Checks], bucket: S3Server):
    assert_stops(store("s3://no-such-bucket-0a1b/store"), "no such bucket", "create it")


def assert_stops(checks: Checks, found: str, remedy: str) -> None:
    """The tables in it cannot be read either, for the same reason."""
    check = checks["store"]
    assert check["status"] == "fail", checks
    assert found in check["detail"]
    assert remedy in f"{check['detail']} {check['remedy']}"


def test_a_store_that_may_not_be_listed(
    store: Callable[[str], Checks], bucket: S3Server, env: pytest.MonkeyPatch
):
    locked(bucket, env)
    assert_stops(store(bucket.root("store")), "cannot be listed", "needs s3:ListBucket")


def test_a_store_that_may_not_be_written(
    store: Callable[[str], Checks], bucket: S3Server, env: pytest.MonkeyPatch
):
    locked(bucket, env, "s3:ListBucket", "s3:GetObject")
    assert_stops(store(bucket.root("store")), "cannot be written", "needs s3:PutObject")


def test_a_store_without_credentials(
    store: Callable[[str], Checks], bucket: S3Server, env: pytest.MonkeyPatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        env.delenv(name)
    assert_stops(store(bucket.root("store")), "NoCredentialsError", "profile, role or keys")


def test_a_store_that_does_not_answer(
    store: Callable[[str], Checks], bucket: S3Server, env: pytest.MonkeyPatch
):
    env.setenv("AWS_ENDPOINT_URL_S3", NOBODY)
    env.setenv("AWS_MAX_ATTEMPTS", "1")
    assert_stops(store(bucket.root("store")), "cannot be reached", "AWS_ENDPOINT_URL_S3")


def test_a_store_that_keeps_no_condition(
    store: Callable[[str], Checks], bucket: S3Server, env: pytest.MonkeyPatch
):
    """As some that speak S3: two writers at once could lose samples, and somebody should know."""
    asked: list[Request] = []

    def forgetful(request: Request) -> Reply:
        asked.append(request)
        conditions = {"if-match", "if-none-match"}
        headers = {n: v for n, v in request.headers.items() if n not in conditions}
        with httpx.Client(base_url=bucket.url) as client:
            answer = client.request(
                request.method, request.target, content=request.body, headers=headers
            )
        return Reply(answer.status_code, answer.content, {"ETag": answer.headers.get("ETag", "")})

    before = bucket.contents()
    env.delenv("AWS_DEFAULT_REGION")
    env.setenv("AWS_REGION", REGION)  # what a pod gets
    with answering(forgetful) as url:
        env.setenv("AWS_ENDPOINT_URL_S3", url)
        checks = store(bucket.root("store"))
    assert checks["store"]["status"] == "warn", checks["store"]
    assert "If-Match" in checks["store"]["detail"]
    assert bucket.contents() == before
    assert {f"/{REGION}/s3/" in one.headers["authorization"] for one in asked} == {True}
