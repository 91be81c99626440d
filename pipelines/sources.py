"""From settings to the source that they name, with its credentials: one place for all verbs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from pipelines.adapters.aws import AwsParams, aws_session, principal
from pipelines.adapters.cloudwatch import (
    CloudWatchClient,
    CloudWatchParams,
    CloudWatchSource,
    client_config,
)
from pipelines.adapters.datadog import DatadogSource, datadog_client
from pipelines.adapters.datadog import principal_of as datadog_principal
from pipelines.adapters.files import EVERYTHING, FilesSource
from pipelines.adapters.http import open_client, principal_of
from pipelines.adapters.prometheus import PrometheusParams, PrometheusSource
from pipelines.adapters.sigv4 import amp_auth, is_amp
from pipelines.adapters.source import Source
from pipelines.bill import Allowance, Meter
from pipelines.errors import ConfigError
from pipelines.extensions import own_source
from pipelines.run import Run
from pipelines.settings_outside import SourceSettings

__all__ = [
    "EVERYTHING",
    "files_source",
    "identity",
    "meter",
    "open_http",
    "open_source",
    "shown",
    "signs",
]

_UNBOUND = Allowance()


@contextmanager
def open_source(run: Run, left: Allowance = _UNBOUND) -> Generator[Source]:
    """The run's source; ``left`` is what it may still spend.

    Raises
    ------
    ConfigError
        The settings name no source that can be, or files that cannot be read.
    AccessDenied, SourceUnreachable
        There are no credentials to be had.
    """
    source = run.settings.source
    match source.kind:
        case "prometheus":
            with open_http(source) as client:
                yield PrometheusSource(
                    client,
                    cluster=source.cluster,
                    params=_bounded(source.prometheus, left, run),
                    principal=principal_of(client),
                )
        case "files":
            yield files_source(source)
        case "cloudwatch":
            yield _cloudwatch(source)
        case "datadog":
            yield _datadog(source)
        case _:
            yield own_source(run.settings)


def open_http(source: SourceSettings, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client of a Prometheus API that signs in as the settings say."""
    password = source.password.get_secret_value()
    return open_client(
        source.url,
        source.http,
        headers=source.sent_headers,
        auth=amp_auth(source.url, source.aws) if signs(source) else None,
        basic=(source.username, password) if source.username else None,
        transport=transport,
    )


def files_source(source: SourceSettings) -> FilesSource:
    """Files on disk, or in S3 with the credentials of ``source.aws``; raises as ``open_source``."""
    if not any(path.startswith("s3://") for path in source.paths):
        return FilesSource(source.paths, cluster=source.cluster, params=source.files)
    session = aws_session(source.aws)

    def client() -> Any:
        import boto3

        return boto3.Session(botocore_session=session).client("s3")

    return FilesSource(
        source.paths,
        cluster=source.cluster,
        s3_client=client,
        params=source.files,
        principal=principal(source.aws, session.get_credentials()),
    )


def _cloudwatch(source: SourceSettings) -> CloudWatchSource:
    """The same one for a whole run: what CloudWatch lists is billed, and it remembers it."""
    who = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith("AWS_")))
    return _new_cloudwatch(source.aws, source.cloudwatch, source.cluster, hash(who))


@lru_cache(maxsize=4)
def _new_cloudwatch(
    aws: AwsParams, params: CloudWatchParams, cluster: str, _environment: int
) -> CloudWatchSource:
    import boto3

    session = aws_session(aws)
    who = principal(aws, session.get_credentials())
    if not session.get_config_variable("region"):
        raise ConfigError("source.aws.region: neither it nor AWS_REGION names CloudWatch's region")
    made = boto3.Session(botocore_session=session)
    client = cast("CloudWatchClient", made.client("cloudwatch", config=client_config()))
    return CloudWatchSource(client, cluster=cluster, now=time.time, params=params, principal=who)


def _datadog(source: SourceSettings) -> DatadogSource:
    keys = _datadog_keys(source)
    return DatadogSource(
        datadog_client(*keys, source.datadog),
        cluster=source.cluster,
        params=source.datadog,
        principal=datadog_principal(*keys),
    )


def _datadog_keys(source: SourceSettings) -> tuple[str, str]:
    """The API key and the application key, of the settings or of Datadog's usual variables."""
    return (
        source.datadog_api_key.get_secret_value() or os.environ.get("DD_API_KEY", ""),
        source.datadog_application_key.get_secret_value() or os.environ.get("DD_APP_KEY", ""),
    )


def signs(source: SourceSettings) -> bool:
    """Whether requests are signed: as the settings say, else where the address is AMP's."""
    return is_amp(source.url) if source.sign is None else source.sign


def meter(run: Run) -> Meter:
    """Whose price applies."""
    source = run.settings.source
    if source.kind == "prometheus" and signs(source):
        return "amp"
    return "cloudwatch" if source.kind == "cloudwatch" else "free"


def shown(run: Run) -> str:
    """The source in words, without credentials."""
    source = run.settings.source
    match source.kind:
        case "prometheus":
            return source.shown
        case "files":
            return ", ".join(source.paths) or "no file (source.paths is empty)"
        case "cloudwatch":
            return "CloudWatch" + (f" in {source.aws.region}" if source.aws.region else "")
        case "datadog":
            return f"Datadog at {source.datadog.address}"
        case own:
            return own


def identity(run: Run) -> str:
    """What makes it the same source next time: the address, and whose data is there; no secret."""
    source = run.settings.source
    match source.kind:
        case "prometheus":
            parts = urlsplit(source.url)
            where = f"{parts.hostname}:{parts.port or ''}{parts.path.rstrip('/')}#{source.tenant}"
        case "datadog":
            where = f"{source.datadog.address}#{datadog_principal(_datadog_keys(source)[0], '')}"
        case "files" | "cloudwatch":
            said = (source.aws.region, source.aws.profile, source.aws.role_arn)
            around = (os.environ.get(n, "") for n in ("AWS_REGION", "AWS_PROFILE", "AWS_ROLE_ARN"))
            where = "#".join((*said, *around, *source.cloudwatch.account_ids))
        case _:
            options = json.dumps(source.options, sort_keys=True, default=str)
            where = hashlib.sha256(options.encode()).hexdigest()[:16]
    return f"{source.kind} {where} {source.cluster}"


def _bounded(params: PrometheusParams, left: Allowance, run: Run) -> PrometheusParams:
    """One query may not process more than the run may still spend."""
    bound = left.samples_processed
    price = run.settings.ingest.prices.amp_per_billion_samples_processed
    if meter(run) == "amp" and price:
        bound = min(bound, left.usd / price * 1e9)
    if math.isinf(bound):
        return params
    most = max(1, int(bound))
    own = params.max_samples_processed_per_query or most
    return replace(params, max_samples_processed_per_query=min(own, most))
