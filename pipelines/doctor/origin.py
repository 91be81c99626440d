"""The source of metrics: who we are to it, whether it answers, and what it has of the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pandas as pd

from features.metrics import Metric
from pipelines.adapters.aws import AwsParams
from pipelines.adapters.prometheus import PrometheusSource
from pipelines.adapters.sigv4 import region_of
from pipelines.doctor.check import Check
from pipelines.doctor.network import ask_metrics, check_aws, check_source, judge_metrics
from pipelines.doctor.remedies import DOUBTS, OWN_DOUBT, remedy_of
from pipelines.errors import ForetideError
from pipelines.run import Run
from pipelines.settings_outside import SourceSettings
from pipelines.sources import files_source, meter, open_http, open_source, shown, signs

__all__ = ["check_origin"]

_STEP = pd.Timedelta(300, "s")
_QUERY_S = 30.0
_STS_S = 3.0


def check_origin(
    run: Run, now: pd.Timestamp, transport: httpx.BaseTransport | None
) -> Iterator[Check]:
    """What is missing between us and the samples, in the order in which it is needed."""
    source = run.settings.source
    if source.kind == "files":
        yield check_files(source)
        return
    if source.kind == "cloudwatch" or (source.kind == "prometheus" and signs(source)):
        known = check_aws(_account(source), _STS_S)
        yield known
        if known.status == "fail":
            return
    try:
        if source.kind == "prometheus":
            yield from _prometheus(run, now, transport)
        else:
            yield from _metrics(run)
    except ForetideError as error:
        yield Check("source", "fail", str(error), remedy_of(error, source.kind))


def check_files(source: SourceSettings) -> Check:
    """Whether the files that stand in for a source are there."""
    if not source.paths:
        return Check("source", "fail", "source.kind is 'files' and names none", "set source.paths")
    try:
        files = files_source(source).files()
    except ForetideError as error:
        return Check("source", "fail", str(error), remedy_of(error, "files"))
    return Check("source", "ok", f"{len(files)} file{'s' * (len(files) != 1)} of samples")


def _account(source: SourceSettings) -> AwsParams:
    """The credentials as requests are signed with: AMP's address says the region."""
    region = region_of(source.url) if source.kind == "prometheus" else ""
    return replace(source.aws, region=region or source.aws.region)


def _prometheus(
    run: Run, now: pd.Timestamp, transport: httpx.BaseTransport | None
) -> Iterator[Check]:
    source = run.settings.source
    patience = replace(source.http, timeout_s=min(source.http.timeout_s, _QUERY_S))
    with open_http(source.model_copy(update={"http": patience}), transport) as client:
        reached = check_source(client, now, is_signed=signs(source))
        yield reached
        metrics = _asked(run)
        if reached.status == "fail" or not metrics:
            return
        once = replace(source.prometheus, attempts=1)
        asking = PrometheusSource(client, cluster=source.cluster, params=once)
        seen = ask_metrics(asking, metrics, run.as_of, run.step or _STEP)
        yield from judge_metrics(seen, source.catalog_name, DOUBTS.get(source.kind, OWN_DOUBT))


def _metrics(run: Run) -> Iterator[Check]:
    """Sources that have no question about their own health: their answers say it.

    The first metric is asked alone: where the source itself is in the way, it is said once.
    """
    source, step = run.settings.source, run.step or _STEP
    metrics, is_billed = _asked(run), meter(run) != "free"
    if not metrics:
        return
    with open_source(_once(run)) as asking:
        seen = ask_metrics(asking, metrics[:1], run.as_of, step, is_billed=is_billed)
        if seen[0].broken is not None:
            raise seen[0].broken
        seen += ask_metrics(asking, metrics[1:], run.as_of, step, is_billed=is_billed)
    untried = "; cloudwatch:GetMetricData, which is billed and ingest needs, was not tried"
    yield Check("source", "ok", f"{shown(run)} answers{untried if is_billed else ''}")
    yield from judge_metrics(seen, source.catalog_name, DOUBTS.get(source.kind, OWN_DOUBT))


def _once(run: Run) -> Run:
    """The same run, that tries nothing again: somebody is waiting."""
    source = run.settings.source
    once = {
        "cloudwatch": replace(source.cloudwatch, attempts=1),
        "datadog": replace(source.datadog, attempts=1),
    }
    hasty = source.model_copy(update=once)
    return replace(run, settings=run.settings.model_copy(update={"source": hasty}))


def _asked(run: Run) -> list[Metric]:
    wanted = run.settings.source.metrics
    return [m for m in run.catalog.metrics.values() if m.query and (not wanted or m.name in wanted)]
