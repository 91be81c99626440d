"""The source of metrics: who we are to it, whether it answers, and what it has of the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pandas as pd

from features.metrics import Metric
from pipelines.adapters.files.find import find
from pipelines.adapters.prometheus import PrometheusSource
from pipelines.doctor.check import Check
from pipelines.doctor.network import ask_metrics, check_aws, check_source, judge_metrics
from pipelines.errors import ForetideError
from pipelines.run import Run
from pipelines.settings_outside import SourceSettings
from pipelines.sources import meter, open_http, open_source, shown, signs

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
        yield check_aws(source.aws, _STS_S)
    try:
        if source.kind == "prometheus":
            yield from _prometheus(run, now, transport)
        else:
            yield from _metrics(run)
    except ForetideError as error:
        yield Check("source", "fail", str(error), "correct section `source` of the configuration")


def check_files(source: SourceSettings) -> Check:
    """Whether the files that stand in for a source are there."""
    if not source.paths:
        return Check("source", "fail", "source.kind is 'files' and names none", "set source.paths")
    try:
        files = find(source.paths)
    except ForetideError as error:
        return Check("source", "fail", str(error), "correct source.paths")
    return Check("source", "ok", f"{len(files)} files of samples")


def _prometheus(
    run: Run, now: pd.Timestamp, transport: httpx.BaseTransport | None
) -> Iterator[Check]:
    source = run.settings.source
    patience = replace(source.http, timeout_s=min(source.http.timeout_s, _QUERY_S))
    with open_http(source.model_copy(update={"http": patience}), transport) as client:
        reached = check_source(client, now)
        yield reached
        metrics = _asked(run)
        if reached.status == "fail" or not metrics:
            return
        once = replace(source.prometheus, attempts=1)
        asking = PrometheusSource(client, cluster=source.cluster, params=once)
        seen = ask_metrics(asking, metrics, run.as_of, run.step or _STEP)
        yield from judge_metrics(seen, source.catalog_name)


def _metrics(run: Run) -> Iterator[Check]:
    """Sources that have no question about their own health: their answers say it."""
    is_billed = meter(run) != "free"
    with open_source(run) as source:
        step = run.step or _STEP
        seen = ask_metrics(source, _asked(run), run.as_of, step, is_billed=is_billed)
    errors = {s.error for s in seen}
    if len(errors) == 1 and (error := errors.pop()):  # all metrics fail alike: it is not them
        yield Check("source", "fail", error, "correct section `source` of the configuration")
        return
    yield Check("source", "ok", f"{shown(run)} answers")
    yield from judge_metrics(seen, run.settings.source.catalog_name)


def _asked(run: Run) -> list[Metric]:
    wanted = run.settings.source.metrics
    return [m for m in run.catalog.metrics.values() if m.query and (not wanted or m.name in wanted)]
