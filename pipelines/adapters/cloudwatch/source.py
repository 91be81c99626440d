"""Samples from Amazon CloudWatch: Container Insights, load balancers, any namespace.

ListMetrics says which metrics there are, GetMetricData gives their samples, in requests that keep
to its limits. A window's recent end is not final: samples of the last minutes may come late and
still change, and a metric's first samples are listed up to a quarter of an hour late. The margin
that a run reads again is what heals that; it should be an hour or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipelines.adapters.cloudwatch.answer import Answer, Series, combined
from pipelines.adapters.cloudwatch.client import (
    Caller,
    CloudWatchClient,
    CloudWatchParams,
    client_config,
)
from pipelines.adapters.cloudwatch.discovery import Directory, Found
from pipelines.adapters.cloudwatch.query import Query, read_query
from pipelines.adapters.cloudwatch.requests import Batch, batches, cut
from pipelines.adapters.cloudwatch.retention import Part, check_step, notes_on, parts_of
from pipelines.adapters.series import to_chunk
from pipelines.adapters.source import Chunk, Estimate, FetchReport, Spec, Window

__all__ = ["CloudWatchClient", "CloudWatchParams", "CloudWatchSource", "client_config"]


class CloudWatchSource:
    """Fetches the metrics of a catalog whose queries are CloudWatch's; see ``Query``."""

    def __init__(
        self,
        client: CloudWatchClient,
        *,
        cluster: str,
        now: Callable[[], float],
        params: CloudWatchParams | None = None,
        principal: str = "",
    ) -> None:
        """``client`` is boto3's, made with ``client_config``.

        ``cluster`` is the cluster of metrics that have no such label, ``now`` gives Unix seconds
        (how old a sample is decides what CloudWatch still has of it), ``principal`` is who the
        credentials are, for errors.
        """
        self._params = params or CloudWatchParams()
        self._caller = Caller(client, self._params, principal)
        self._directory = Directory(self._caller, self._params, cluster, now)
        self._cluster = cluster
        self._now = now

    def estimate(self, spec: Spec, window: Window) -> Estimate:
        """What ``fetch`` would pull, from ListMetrics alone; see ``Source``.

        ``metrics_requested`` is what CloudWatch bills unless an answer comes in several pages,
        each of which is a request.
        """
        query, parts = self._planned(spec, window)
        found = self._directory.find(spec, query)
        asked = [batch for _, batch in self._requests(parts, found)]
        series = len({tuple(sorted(g.labels.items())) for g in found.groups})
        return Estimate(
            series=series,
            samples=series * sum(part.steps for part in parts),
            queries=len(asked),
            metrics_requested=sum(batch.metrics_requested for batch in asked),
            list_requests=found.pages,
            report=found.report,
            notes=notes_on(spec.metric.name, window, parts, self._now_ms()),
        )

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """All samples of one metric in the window; see ``Source``.

        Where CloudWatch has old samples at a longer period only, that part of the window comes at
        that period, each sample at the step in which its period begins, and a warning says so. A
        sum that nobody divides by the time is then its share of one step.

        Raises
        ------
        ConfigError
            The metric's query cannot be read, or the step is no period of CloudWatch's.
        AccessDenied, QueryFailed, SourceUnreachable
            While iterating.
        """
        query, parts = self._planned(spec, window)
        return self._chunks(spec, query, window, parts)

    def _planned(self, spec: Spec, window: Window) -> tuple[Query, list[Part]]:
        query = read_query(spec.metric)
        check_step(window.step_ms)
        margin_ms = round(self._params.retention_margin_s * 1000)
        return query, parts_of(window, self._now_ms(), margin_ms)

    def _now_ms(self) -> int:
        return round(self._now() * 1000)

    def _chunks(
        self, spec: Spec, query: Query, window: Window, parts: Sequence[Part]
    ) -> Iterator[Chunk]:
        found = self._directory.find(spec, query)
        notes = notes_on(spec.metric.name, window, [*parts], self._now_ms())
        before = found.report + FetchReport(warnings=notes)
        seen: set[tuple[tuple[str, str], ...]] = set()
        for part in parts:
            for piece in cut(part, found.groups, self._params.max_points_per_chunk):
                asked = Window(piece.first_ms, piece.end_ms, window.step_ms)
                series, report = self._ask(spec, query, piece, found)
                chunk = self._chunk(spec, query, piece, asked, series, before + report, seen)
                before = FetchReport()
                yield chunk

    def _requests(self, parts: Sequence[Part], found: Found) -> Iterator[tuple[Part, Batch]]:
        for part in parts:
            for piece in cut(part, found.groups, self._params.max_points_per_chunk):
                for batch in batches(found.groups, piece.steps) if piece.steps else ():
                    yield piece, batch

    def _ask(
        self, spec: Spec, query: Query, piece: Part, found: Found
    ) -> tuple[list[Series], FetchReport]:
        """All groups' samples of one piece."""
        series: list[Series] = []
        total = FetchReport()
        for batch in batches(found.groups, piece.steps) if piece.steps else ():
            answer = Answer(spec.metric.name)
            for page, report in self._caller.get_metric_data(batch.request(piece)):
                answer.add(page)
                total += replace(report, metrics_requested=batch.metrics_requested)
            if answer.forbidden:
                raise self._caller.denied(
                    "GetMetricData",
                    f"metric {spec.metric.name!r}: {len(answer.forbidden)} results are forbidden, "
                    f"e.g. {answer.forbidden[0]}",
                )
            total += answer.report()
            series += answer.series(batch)
        return (series if query.expression else combined(series, query.combine)), total

    def _chunk(
        self,
        spec: Spec,
        query: Query,
        piece: Part,
        asked: Window,
        series: list[Series],
        report: FetchReport,
        seen: set[tuple[tuple[str, str], ...]],
    ) -> Chunk:
        series = [one for one in series if len(one.ts_ms)]
        value = np.concatenate([np.empty(0), *(one.value for one in series)])
        chunk = to_chunk(
            spec.metric.name,
            self._cluster,
            asked,
            [one.labels for one in series],
            np.array([len(one.ts_ms) for one in series], dtype=np.int64),
            np.concatenate([np.empty(0, np.int64), *(one.ts_ms for one in series)]),
            value * _factor(query, piece, asked.step_ms) if piece.period_ms else value,
            seen=seen,
            report=report,
        )
        coarser = chunk.report.samples if piece.period_ms > asked.step_ms else 0
        return replace(chunk, report=replace(chunk.report, coarser=coarser))


def _factor(query: Query, piece: Part, step_ms: int) -> float:
    if query.per_second:
        return query.scale * 1000 / piece.period_ms
    if query.totals:
        return query.scale * step_ms / piece.period_ms
    return query.scale
