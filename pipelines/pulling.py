"""One ingest's work, piece by piece: what is missing, what it will cost, pulling, committing."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from features.metrics import Metric
from pipelines.adapters.files import FilesSource
from pipelines.adapters.source import Chunk, Estimate, FetchReport, Source, Spec, Window
from pipelines.adapters.store.coverage import Coverage, CoverageKey, Spans, clip, missing
from pipelines.bill import Spending
from pipelines.errors import AccessDenied, ConfigError, QueryFailed, QueryTooLarge
from pipelines.pulls import Pull, Wanted, but_silence, share
from pipelines.run import Run
from pipelines.sources import EVERYTHING, identity, meter, open_source
from pipelines.spool import BUDGET_SPENT, Pulled, Spool, pulled, spools

__all__ = ["commit_slice", "pull", "survey", "window_of"]

_STEP = pd.Timedelta(300, "s")
_AT_ONCE = 4
_DAY_MS = 86_400_000
_EPOCH = pd.Timestamp(0, unit="ms", tz="UTC")


def window_of(run: Run, start: pd.Timestamp | None) -> Window:
    """The whole window of a run: the steps between ``start`` and its clock that are over.

    Raises
    ------
    ConfigError
        No step lies between them, or days do not consist of whole steps.
    """
    step = run.step or _STEP
    begin, end = start, run.as_of.floor(step)
    if _is_files(run):  # they are all there: nothing of them costs anything, or comes later
        begin, end = start if start is not None else _EPOCH, run.as_of
    if begin is None:
        begin = run.history_start
    keep_days = run.settings.store.keep_days
    if keep_days is not None:  # what would go away again is not pulled
        begin = max(begin, run.as_of - pd.Timedelta(days=keep_days))
    window = Window.of(begin, end, step)
    if not _is_files(run) and _DAY_MS % window.step_ms:
        raise ConfigError(
            f"history.step_s: what is pulled is kept by the day, so the step must divide 86400 s, "
            f"got {step.total_seconds():g}"
        )
    if not window.steps:
        raise ConfigError(
            f"--start {begin:%Y-%m-%d %H:%M} is not a step of {step.total_seconds():g} s before "
            f"the clock (--as-of), {run.as_of:%Y-%m-%d %H:%M} UTC"
        )
    return window


def metrics_asked(run: Run) -> list[Metric]:
    """The metrics to ask for, in the catalog's order."""
    source = run.settings.source
    with_query = [m for m in run.catalog.metrics.values() if m.query]
    if not with_query:
        raise ConfigError(
            f"source.catalog: no metric of {source.catalog_name!r} has a query; name another "
            "catalog, or give each metric that you want one: metrics: {NAME: {query: …}}"
        )
    names = [m.name for m in with_query]
    unknown = [m for m in source.metrics if m not in names]
    if unknown:
        raise ConfigError(
            f"source.metrics: {unknown[0]!r} has no query in catalog {source.catalog_name!r}; "
            f"it has {', '.join(names)}"
        )
    return [m for m in with_query if not source.metrics or m.name in source.metrics]


def shards(run: Run) -> tuple[str, ...]:
    """The values of the label that the source is split by; one empty one where it is not."""
    source = run.settings.source
    return tuple(source.select[source.split_by]) if source.split_by else ("",)


def spec_of(run: Run, metric: Metric, shard: str) -> Spec:
    """What is asked of the source for one shard of a metric."""
    source = run.settings.source
    select = {label: tuple(values) for label, values in source.select.items()}
    return Spec(metric, select | ({source.split_by: (shard,)} if source.split_by else {}))


def survey(run: Run, window: Window, *, again: bool) -> list[Wanted]:
    """What the store lacks of the window, and what pulling it will take.

    The source is asked for a small part of everything that is missing for longer than a day; what
    is shorter is estimated from what the last pull gave. With ``again`` all of the window is
    missing.

    Raises
    ------
    ConfigError
        There is nothing to ask for.
    SourceError
        The source cannot be reached, or refuses every query.
    """
    if _is_files(run):
        if not run.settings.source.paths:
            raise ConfigError("source.kind is 'files' and source.paths is empty; name the files")
        return [_of_files(run, window)]
    there = frozenset(day.date for day in run.store.days())
    lacking: list[tuple[Wanted, Coverage]] = []
    for metric in metrics_asked(run):
        for shard in shards(run):
            covered = run.store.coverage(_key(run, metric, shard, window))
            spans = [(window.first_ms, window.end_ms)]
            if not again:
                reread_ms = round(run.settings.source.reread_s * 1000)
                spans = missing(covered, window.first_ms, window.end_ms, reread_ms, there)
            spans = [(a // window.step_ms * window.step_ms, b) for a, b in spans]
            if spans:
                lacking.append((Wanted(metric.name, shard, tuple(spans)), covered))
    return _all_estimated(run, lacking, window, again=again)


def _of_files(run: Run, window: Window) -> Wanted:
    """Everything the files hold; cut into days like any pull where the files are parted by time,
    so that what is pulled and not yet committed stays small."""
    spec = Spec(run.catalog[EVERYTHING])
    with open_source(run) as source:
        days = source.days(spec, window) if isinstance(source, FilesSource) else {}
    if not days:
        return Wanted(EVERYTHING, "", ((window.first_ms, window.end_ms),))
    span = (min(days) * _DAY_MS, (max(days) + 1) * _DAY_MS)
    spans = clip((span,), window.first_ms, window.end_ms)
    return Wanted(EVERYTHING, "", spans, Estimate(samples=sum(days.values())))


def _all_estimated(
    run: Run, lacking: list[tuple[Wanted, Coverage]], window: Window, *, again: bool
) -> list[Wanted]:
    failed: dict[str, QueryFailed] = {}

    def ask(one: tuple[Wanted, Coverage]) -> Wanted:
        try:
            return _estimated(run, source, *one, window, again=again)
        except AccessDenied:
            raise
        except QueryFailed as error:  # one's; the pull will tell whether it is to be had at all
            failed[f"{one[0].metric} {one[0].shard}"] = error
            note = f"no estimate of {one[0].metric}: {error}"
            return replace(one[0], estimate=Estimate(notes=(note,)))

    with open_source(run) as source, ThreadPoolExecutor(_AT_ONCE) as pool:
        wanted = list(pool.map(ask, lacking))
    if failed and len(failed) == len(lacking):
        raise failed[f"{lacking[0][0].metric} {lacking[0][0].shard}"]
    return wanted


def _estimated(
    run: Run, source: Source, one: Wanted, covered: Coverage, window: Window, *, again: bool
) -> Wanted:
    step_ms = window.step_ms
    if covered.series and one.length_ms <= _DAY_MS and meter(run) != "cloudwatch":
        return replace(one, estimate=_as_last_time(covered, one.length_ms // step_ms))
    metric = run.catalog[one.metric]
    hull = Window(one.spans[0][0], one.spans[-1][1], step_ms)
    whole = source.estimate(spec_of(run, metric, one.shard), hull)
    if not whole.series and whole.report.queries and not again:
        silent = run.store.coverage(_silent(_key(run, metric, one.shard, window))).spans
        reread_ms = round(run.settings.source.reread_s * 1000)
        one = but_silence(one, silent, reread_ms, step_ms)
    part = one.length_ms / (hull.end_ms - hull.first_ms)
    return replace(one, estimate=share(whole, part))


def _as_last_time(covered: Coverage, steps: int) -> Estimate:
    """An estimate for which nobody is asked: a run every quarter of an hour would double its
    queries."""
    return Estimate(
        series=covered.series,
        samples=covered.series * steps,
        queries=1,
        samples_processed=round(covered.processed_per_step * steps),
    )


def pull(run: Run, one: Pull, step_ms: int, folder: Path) -> None:
    """Fetch one pull into its spool, as far as its allowance goes.

    Raises
    ------
    SourceError
        The source failed; what came before is in the spool.
    """
    metric = run.catalog[one.metric]
    left, prices, billed = one.allowance, run.settings.ingest.prices, meter(run)
    window = Window(one.start_ms, one.end_ms, step_ms)
    with (
        Spool(folder, one.metric, one.shard, one.start_ms, one.end_ms) as spool,
        open_source(run, left) as source,
    ):
        try:
            for chunk in source.fetch(spec_of(run, metric, one.shard), window):
                spool.add(_true(chunk, metric))
                over = chunk.window.end_ms >= window.end_ms
                if not over and left.less(Spending.of(spool.report, prices, billed)).is_spent:
                    spool.ended = BUDGET_SPENT
                    break
        except QueryTooLarge:
            # a step that reads more than the budget still allows is not the query's fault
            if left.holds(Spending.of(one.estimate, prices, billed)):
                raise
            spool.ended = BUDGET_SPENT


def commit_slice(run: Run, window: Window, folder: Path) -> None:
    """Merge a slice's spools into the store, then record what is covered.

    The record comes after the samples: whoever is killed between the two pulls again what is there
    already, and loses nothing. Steps without a sample are on record where a younger sample is
    known; after the youngest one, nobody can tell what is late from what never was.
    """
    done = pulled(folder)
    days = spools(folder)
    run.store.forget_lost(days.keys())
    for files in days.values():
        run.store.merge(files)
    if not _is_files(run):
        _record(run, window, done)


def _record(run: Run, window: Window, done: list[Pulled]) -> None:
    keys = [_key(run, run.catalog[one.metric], one.shard, window) for one in done]
    ends = [run.store.coverage(key).end_ms or 0 for key in keys]
    known = [max(one.end_of_samples_ms, end) for one, end in zip(done, ends, strict=True)]
    for key, one, known_ms in zip(keys, done, known, strict=True):
        covered = clip(one.covered, 0, known_ms)
        if covered:
            run.store.cover(key, _as_pulled(one, covered, window.step_ms))
        # a source that has nothing at all is another one than that which is meant
        if one.covered and not one.metrics and any(known):
            run.store.cover(_silent(key), Coverage(one.covered))


def _as_pulled(one: Pulled, covered: Spans, step_ms: int) -> Coverage:
    steps = max(1, sum(end - start for start, end in one.covered) // step_ms)
    processed = one.report.samples_processed / steps
    return Coverage(covered, one.days, one.report.series, processed)


def _silent(key: CoverageKey) -> CoverageKey:
    """Where it is kept what was answered and held no sample at all; see ``but_silence``."""
    return replace(key, query_digest=f"{key.query_digest} silent")


def _is_files(run: Run) -> bool:
    return run.settings.source.kind == "files"


def _true(chunk: Chunk, metric: Metric) -> Chunk:
    """The chunk without values that the catalog says cannot be true."""
    value = chunk.samples.column("value").to_numpy()
    wrong = np.zeros(len(value), dtype=bool)
    if metric.minimum is not None:
        wrong |= value < metric.minimum
    if metric.maximum is not None:
        wrong |= value > metric.maximum
    if not wrong.any():
        return chunk
    n = int(wrong.sum())
    kept = chunk.samples.filter(pa.array(~wrong))
    return replace(
        chunk,
        samples=kept,
        report=chunk.report + FetchReport(samples=-n, out_of_range=n),
    )


def _key(run: Run, metric: Metric, shard: str, window: Window) -> CoverageKey:
    """What must be the same for samples to be those that were pulled before."""
    spec = spec_of(run, metric, shard)
    rate_s = run.settings.source.prometheus.rate_window_s
    meant = [rate_s if "$__rate_interval" in (metric.query or "") else 0, metric.minimum]
    asked = json.dumps([metric.query, sorted(spec.select.items()), *meant, metric.maximum])
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return CoverageKey(identity(run), metric.name, shard, digest, window.step_ms / 1000)
