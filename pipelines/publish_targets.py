"""Where series are sent: a server of remote write, and CloudWatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, cast

import httpx
import pandas as pd

from pipelines.adapters.aws import AwsParams, aws_session
from pipelines.adapters.cloudwatch_metrics import MetricsClient, put_metrics, summed_up
from pipelines.adapters.http import principal_of
from pipelines.adapters.remote_write import RemoteWriter
from pipelines.errors import ConfigError
from pipelines.run import Run
from pipelines.series.gauge import Gauge
from pipelines.series.names import NAMES
from pipelines.series.sent import Outgoing, keep_known
from pipelines.settings_publish import CloudWatchMetricsSettings, RemoteWriteSettings
from pipelines.sources import open_http

__all__ = ["Delivered", "cloudwatch_tables", "server_of", "to_cloudwatch", "to_remote_write"]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one target took, in its own units, and why not all."""

    asked: int = 0
    taken: int = 0
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict[str, float])


def server_of(target: RemoteWriteSettings) -> str:
    """What makes it the same server next time; no secret."""
    return f"{target.as_source.shown}#{target.tenant}" if target.url else ""


def to_remote_write(
    run: Run,
    gauges: Sequence[Gauge],
    out: Outgoing,
    now: pd.Timestamp,
    transport: httpx.BaseTransport | None = None,
) -> Delivered:
    """Send series and stale markers, and keep what the server has.

    Raises
    ------
    ConfigError, AccessDenied, SourceUnreachable
        The client cannot be made: an address, a file or a credential is wrong.
    """
    target = run.settings.publish.remote_write
    with open_http(target.as_source, transport) as client:
        writer = RemoteWriter(client, target.send, principal=principal_of(client))
        # before all else, where a server that is down costs nothing but this
        sent = writer.send(out.labels, out.values, now)
        refused = writer.describe(gauges) if target.send.metadata and sent.taken.any() else ""
    keep_known(run, server_of(target), out.now_known(sent.taken))
    taken = int(sent.taken[: out.series].sum())
    ended = int(sent.taken[out.series :].sum())
    notes = (f"  {ended} series ended by stale markers",) if out.ending else ()
    return Delivered(
        out.series,
        taken,
        sent.errors,
        (
            *notes,
            *((f"  the descriptions of the names were not taken: {refused}",) if refused else ()),
        ),
        {
            "series_published": float(taken),
            "series_refused": float(out.series - taken),
            "series_new": float(out.new.total()),
            "series_ended": float(ended),
            "remote_write_requests": float(sent.requests),
            "remote_write_retries": float(sent.retries),
            "remote_write_bytes": float(sent.bytes),
        },
    )


def cloudwatch_tables(
    gauges: Sequence[Gauge], target: CloudWatchMetricsSettings
) -> dict[str, pd.DataFrame]:
    """Name → one row a metric that CloudWatch would have."""
    wanted = [g for g in gauges if any(fnmatchcase(g.name, n) for n in target.names)]
    tables = {
        g.name: summed_up(
            g, dict.fromkeys((*target.dimensions, *NAMES[g.name].apart)), NAMES[g.name].total
        )
        for g in wanted
    }
    return {name: rows for name, rows in tables.items() if len(rows)}


def to_cloudwatch(
    target: CloudWatchMetricsSettings,
    tables: dict[str, pd.DataFrame],
    now: pd.Timestamp,
    client: MetricsClient | None = None,
) -> Delivered:
    """Put the metrics.

    Raises
    ------
    ConfigError, AccessDenied, SourceUnreachable
        There are no credentials, or no region.
    """
    asked = sum(len(rows) for rows in tables.values())
    put = put_metrics(
        client or _client(target.aws),
        tables,
        namespace=target.namespace,
        now=now,
        params=target.send,
    )
    figures = {
        "cloudwatch_metrics": float(put.taken),
        "cloudwatch_requests": float(put.requests),
        "cloudwatch_usd_per_month": asked * target.usd_per_metric_month,
    }
    return Delivered(asked, put.taken, put.errors, (), figures)


def _client(aws: AwsParams) -> MetricsClient:
    import boto3
    from botocore.config import Config

    session = aws_session(aws)
    if not session.get_config_variable("region"):
        raise ConfigError(
            "publish.cloudwatch.aws.region: neither it nor AWS_REGION names CloudWatch's region"
        )
    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10)
    made: Any = boto3.Session(botocore_session=session).client("cloudwatch", config=config)
    return cast("MetricsClient", made)
