"""ingest: metrics from their source into the store of samples.

Every metric is fetched into its own file aside; only when they are all there does one commit merge
them into the store. A run that breaks in the middle leaves the store as it was, and a re-run writes
the same bytes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import SAMPLES
from features.metrics import Metric
from pipelines.adapters.files import read_samples
from pipelines.adapters.prometheus import FetchReport, PrometheusSource
from pipelines.clock import now
from pipelines.errors import ConfigError, EmptyResult, StoreError
from pipelines.outcome import Outcome
from pipelines.run import Run, RunRef, parse_time
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
    names = _wanted(run)
    pulls = [_Pull(ref, (name,), begin.isoformat(), run.as_of.isoformat()) for name in names]
    aside = _aside(run)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        fetched = run_shards(
            fetch_metric,
            pulls or [_Pull(ref, (), begin.isoformat(), run.as_of.isoformat())],
            workers=run.settings.shards.workers,
            max_failed_share=run.settings.shards.max_failed_share,
        )
        total = sum(fetched.results, FetchReport())
        return publish(call(commit, ref, total, fetched.failed, begin.isoformat()))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@task(cache_policy=NO_CACHE)
def fetch_metric(pull: _Pull) -> FetchReport:
    """Fetch one metric (or the source's files) into a file aside."""
    run = pull.run.open()
    start, end = parse_time(pull.start, "start"), parse_time(pull.end, "end")
    path = _aside(run) / f"{pull.metrics[0] if pull.metrics else 'files'}.parquet"
    if not pull.metrics:
        table = read_samples(run.settings.source.paths)
        pq.write_table(table, path)
        return FetchReport(samples=len(table))
    report = FetchReport()
    metric = run.catalog[pull.metrics[0]]
    with pq.ParquetWriter(path, SAMPLES.schema) as writer:
        for chunk in _chunks(run, metric, start, end):
            writer.write_table(chunk.samples.replace_schema_metadata(None))
            report += chunk.report
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
    files = sorted(_aside(run).glob("*.parquet"))
    tables = {f.stem: pq.read_table(f, schema=SAMPLES.schema) for f in files}
    empty = [name for name, table in tables.items() if not len(table)]
    if len(empty) == len(tables):
        source = run.settings.source
        raise EmptyResult(
            f"{source.url} answered every query from {start} to {ref.as_of} with no sample "
            f"({len(tables)} metrics asked, catalog {source.catalog!r}, {report.unlabelled} series "
            "without a `name` label); check the window, and the queries with `foretide doctor`"
        )
    written = run.store.write_samples(pa.concat_tables(tables.values()).unify_dictionaries())
    return Outcome(
        verb="ingest",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="metrics",
        done=len(tables) - len(empty),
        skipped={"no sample": len(empty)} if empty else {},
        failed=failed,
        outputs={"samples": f"{run.store.root}/samples"},
        figures={"samples": float(written.rows), "queries": float(report.queries)},
        notes=_notes(report, empty),
    ).to_dict()


def _notes(report: FetchReport, empty: list[str]) -> tuple[str, ...]:
    counted = {
        "not a finite number": report.dropped_not_finite,
        "duplicates": report.duplicates,
        "series without a name label": report.unlabelled,
        "retries": report.retries,
    }
    notes = [f"  {n} {what}" for what, n in counted.items() if n]
    if empty:
        notes.append(f"  no sample of {', '.join(empty)}")
    return (*notes, *(f"  the source warns: {w}" for w in report.warnings))


def _chunks(run: Run, metric: Metric, start: pd.Timestamp, end: pd.Timestamp) -> Any:
    source = run.settings.source
    step = run.step or pd.Timedelta(300, "s")
    options: dict[str, Any] = {"headers": source.headers, "timeout": source.timeout_s}
    with httpx.Client(base_url=source.url, **options) as client:
        yield from PrometheusSource(client, source.prometheus).fetch(
            metric, cluster=source.cluster, start=start, end=end, step=step
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


def _aside(run: Run) -> Path:
    return Path(run.ref.out) / f".ingest-{run.run_id}"
