"""ingest: metrics from their source into the store of samples.

Every metric is fetched into its own file aside; only when they are all there does one commit merge
them into the store. A run that breaks in the middle leaves the store as it was, and a re-run writes
the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import SAMPLES
from features.metrics import Metric
from pipelines.adapters.files import read_samples
from pipelines.adapters.prometheus import PrometheusSource
from pipelines.adapters.source import FetchReport, Spec, Window
from pipelines.clock import now
from pipelines.errors import ConfigError, EmptyResult, StoreError
from pipelines.moments import parse_time
from pipelines.outcome import Outcome
from pipelines.run import Run, RunRef
from pipelines.staging import aside, staged
from pipelines.tasks import call, publish, run_shards, threads

__all__ = ["ingest"]

_RECENT = pd.Timedelta(days=2)


@dataclass(frozen=True, slots=True)
class _Pull:
    """One task's share: some metrics of one window. ``metrics`` empty means the source's files."""

    run: RunRef
    metrics: tuple[str, ...]
    start: str
    end: str


@flow(name="ingest", task_runner=threads())
def ingest(
    config: str | None = None,
    out: str | None = None,
    as_of: str | None = None,
    start: str | None = None,
) -> dict[str, Any]:
    """Pull ``[start, as_of)`` into the store; ``start`` defaults to where the store ends.

    Raises
    ------
    ConfigError, SourceError, InputError, StoreError
        Nothing was written.
    """
    ref = RunRef.resolve(config, None, out, as_of, now())
    run = ref.open()
    begin = parse_time(start, "--start") if start else _resume(run)
    if begin >= run.as_of:
        raise ConfigError(
            f"--start {begin:%Y-%m-%d %H:%M} is not before the clock (--as-of), "
            f"{run.as_of:%Y-%m-%d %H:%M} UTC"
        )
    if run.settings.source.kind == "files" and not start:
        begin = pd.Timestamp(0, tz="UTC")  # files are all there: they are not read step by step
    names = _wanted(run)
    pulls = [_Pull(ref, (name,), begin.isoformat(), run.as_of.isoformat()) for name in names]
    with staged(run, "ingest"):
        fetched = run_shards(
            fetch_metric,
            pulls or [_Pull(ref, (), begin.isoformat(), run.as_of.isoformat())],
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
        )
        total = sum(fetched.results, FetchReport())
        return publish(call(commit, ref, total, fetched.failed, begin.isoformat()))


@task(cache_policy=NO_CACHE)
def fetch_metric(pull: _Pull) -> FetchReport:
    """Fetch one metric (or the source's files) into a file aside."""
    run = pull.run.open()
    start, end = parse_time(pull.start, "start"), parse_time(pull.end, "end")
    path = aside(run, "ingest") / f"{pull.metrics[0] if pull.metrics else 'files'}.parquet"
    if not pull.metrics:
        table, report = _from_files(run, start, end)
        pq.write_table(table, path)
        return report
    report = FetchReport()
    metric = run.catalog[pull.metrics[0]]
    begun = path.with_suffix(".begun")  # half of a metric is never committed
    with pq.ParquetWriter(begun, SAMPLES.schema) as writer:
        for chunk in _chunks(run, metric, start, end):
            writer.write_table(chunk.samples.replace_schema_metadata(None))
            report += chunk.report
    begun.rename(path)
    return report


@task(cache_policy=NO_CACHE)
def commit(ref: RunRef, report: FetchReport, failed: tuple[str, ...], start: str) -> dict[str, Any]:
    """Merge what was fetched into the store, in one go.

    Raises
    ------
    EmptyResult
        No metric gave a single sample: the address, the window or the queries are wrong.
    """
    run = ref.open()
    files = sorted(aside(run, "ingest").glob("*.parquet"))
    tables = {f.stem: pq.read_table(f, schema=SAMPLES.schema) for f in files}
    empty = [name for name, table in tables.items() if not len(table)]
    if len(empty) == len(tables):
        raise EmptyResult(_nothing(run, report, len(tables), start))
    fetched = pa.concat_tables(tables.values()).unify_dictionaries()
    written = run.store.write_samples(fetched)
    report += FetchReport(duplicates=written.duplicates)
    return Outcome(
        verb="ingest",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="metrics",
        done=len(fetched.column("metric").unique()),
        skipped={"no sample": len(empty)} if empty else {},
        failed=failed,
        outputs={"samples": f"{run.store.root}/samples"},
        figures={"samples": float(written.rows), "queries": float(report.queries)},
        notes=_notes(report, empty),
    ).to_dict()


def _from_files(run: Run, start: pd.Timestamp, end: pd.Timestamp) -> tuple[pa.Table, FetchReport]:
    """The files' samples of ``[start, end)`` that are numbers."""
    table = read_samples(run.settings.source.paths)
    ts_ms = table["ts"].cast(pa.int64()).to_numpy()
    inside = (ts_ms >= start.timestamp() * 1000) & (ts_ms < end.timestamp() * 1000)
    finite = np.isfinite(table["value"].to_numpy())
    kept = table.filter(pa.array(inside & finite))
    return kept, FetchReport(
        samples=len(kept),
        dropped_not_finite=int((inside & ~finite).sum()),
        outside_window=int((~inside).sum()),
    )


def _nothing(run: Run, report: FetchReport, asked: int, start: str) -> str:
    """Why the result is empty, as far as can be told."""
    source = run.settings.source
    window = f"from {parse_time(start, 'start'):%Y-%m-%d %H:%M} to {run.as_of:%Y-%m-%d %H:%M} UTC"
    if source.kind == "files":
        return f"source.paths: no sample {window} in {', '.join(source.paths)}; check the window"
    return (
        f"{source.shown} answered every query {window} with no sample ({asked} metrics asked, "
        f"catalog {source.catalog!r}, {report.unlabelled} series without a `name` label, "
        f"{report.dropped_not_finite} values not finite); check the window, and the queries with "
        "`foretide doctor`"
    )


def _notes(report: FetchReport, empty: list[str]) -> tuple[str, ...]:
    counted = {
        "samples left out: not finite": report.dropped_not_finite,
        "samples left out: duplicate": report.duplicates,
        "series left out: no name label": report.unlabelled,
        "retries": report.retries,
    }
    notes = [f"  {n} {what}" for what, n in counted.items() if n]
    if empty:
        notes.append(f"  no sample of {', '.join(empty)}")
    return (*notes, *(f"  the source warns: {w}" for w in report.warnings))


def _chunks(run: Run, metric: Metric, start: pd.Timestamp, end: pd.Timestamp) -> Any:
    source = run.settings.source
    step = run.step or pd.Timedelta(300, "s")
    options: dict[str, Any] = {"headers": source.sent_headers, "timeout": source.timeout_s}
    with httpx.Client(base_url=source.url, **options) as client:
        yield from PrometheusSource(client, cluster=source.cluster, params=source.prometheus).fetch(
            Spec(metric), Window.of(start, end, step)
        )


def _wanted(run: Run) -> list[str]:
    """The metrics to ask for; none where the source is files."""
    source = run.settings.source
    if source.kind == "files":
        if not source.paths:
            raise ConfigError("source.kind is 'files' and source.paths is empty; name the files")
        return []
    with_query = [m.name for m in run.catalog.metrics.values() if m.query]
    unknown = [m for m in source.metrics if m not in with_query]
    if unknown:
        raise ConfigError(
            f"source.metrics: {unknown[0]!r} has no query in catalog {source.catalog!r}; "
            f"it has {', '.join(with_query)}"
        )
    return list(source.metrics) or with_query


def _resume(run: Run) -> pd.Timestamp:
    """Where the store ends, less a margin for late samples; the whole history where it is not
    recent."""
    try:
        recent = run.store.read_samples(run.as_of - _RECENT, run.as_of)
    except StoreError:
        return run.history_start
    if not len(recent):
        return run.history_start
    last = pd.Timestamp(int(recent["ts"].cast(pa.int64()).to_numpy().max()), unit="ms", tz="UTC")
    return last - pd.Timedelta(run.settings.source.reread_s, "s")
