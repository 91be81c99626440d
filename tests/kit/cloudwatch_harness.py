"""CloudWatch for the contract: moto's server, real HTTP, botocore's own signing and parsing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import httpx
import msgspec
import pyarrow as pa
from botocore.config import Config
from moto.server import ThreadedMotoServer
from source_contract import END, HOSTILE, Denied

from features.metrics import Metric
from pipelines.adapters.cloudwatch import CloudWatchParams, CloudWatchSource
from pipelines.adapters.source import Source, Spec

__all__ = ["CloudWatchHarness", "pod_query", "serving"]

PRINTABLE = "".join(c for c in HOSTILE if c.isascii() and c.isprintable())
"""Values of dimensions are printable ASCII."""
OURSELVES = ("AKIAOURSELVES", "x")
NO_RETRIES = Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=20)
PRINCIPAL = "arn:aws:iam::123456789012:user/nobody"


def pod_query(metric: str, /, **more: object) -> str:
    """The query of a metric that has a workload's namespace and name as dimensions."""
    query = {
        "namespace": "ContainerInsights",
        "metric": metric,
        "statistic": "Average",
        "dimensions": ["Namespace", "PodName"],
        "labels": {"Namespace": "namespace", "PodName": "name"},
        "constants": {"kind": "Deployment"},
    }
    return msgspec.json.encode(query | more).decode()


def client(url: str, key: str = OURSELVES[0], secret: str = OURSELVES[1]) -> Any:
    return aws("cloudwatch", url, key, secret)


def aws(service: str, url: str, key: str, secret: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=NO_RETRIES,
    )


class CloudWatchHarness:
    """See ``source_contract.Harness``. Time is four days after the samples begin."""

    hostile = PRINTABLE
    # moto looks at every sample for every step: short chunks are what it can bear
    params = CloudWatchParams(
        max_points_per_chunk=500, attempts=2, retry_wait_s=0, retry_wait_max_s=0
    )

    def __init__(self, url: str) -> None:
        self.url = url

    def load(self, samples: pa.Table) -> None:
        cloudwatch = client(self.url)
        rows = [
            {
                "MetricName": row["metric"],
                "Dimensions": [
                    {"Name": "Namespace", "Value": row["namespace"]},
                    {"Name": "PodName", "Value": row["name"]},
                ],
                "Timestamp": row["ts"],
                "Value": row["value"],
            }
            for row in samples.to_pylist()
        ]
        for at in range(0, len(rows), 1000):
            cloudwatch.put_metric_data(
                Namespace="ContainerInsights", MetricData=rows[at : at + 1000]
            )

    def spec(self, metric: str, select: Mapping[str, tuple[str, ...]] | None = None) -> Spec:
        return Spec(Metric(metric, query=pod_query(metric)), select or {})

    def source(self) -> Source:
        return self._source(client(self.url))

    def denied(self) -> Denied:
        iam = aws("iam", self.url, *OURSELVES)
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]
        nobody = client(self.url, key["AccessKeyId"], key["SecretAccessKey"])
        locked = _Locked(self.url, nobody)
        return Denied(self._source(locked), PRINCIPAL, (key["SecretAccessKey"],))

    def unreachable(self) -> Source:
        return self._source(client("http://127.0.0.1:9"))

    def _source(self, cloudwatch: Any) -> Source:
        return CloudWatchSource(
            cloudwatch,
            cluster="prod",
            now=lambda: END.timestamp() + 86_400,
            params=self.params,
            principal=PRINCIPAL,
        )


class _Locked:
    """A client before whom moto checks who may do what."""

    def __init__(self, url: str, inner: Any) -> None:
        self.url, self.inner = url, inner

    def list_metrics(self, **request: Any) -> Any:
        self._open_actions("0")
        try:
            return self.inner.list_metrics(**request)
        finally:
            self._open_actions("1000000")

    def _open_actions(self, count: str) -> None:
        httpx.post(f"{self.url}/moto-api/reset-auth", content=count).raise_for_status()


@contextmanager
def serving() -> Iterator[CloudWatchHarness]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield CloudWatchHarness(f"http://{host}:{port}")
    finally:
        server.stop()
