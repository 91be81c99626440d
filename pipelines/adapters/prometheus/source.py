"""Samples from whatever answers Prometheus' query API: Prometheus, AMP, Thanos, VictoriaMetrics.

One range query a chunk of the window, so that neither the server's limit of 11,000 steps nor our
memory is met. Stamps are multiples of the step: VictoriaMetrics rounds ``start`` down to one,
Prometheus anchors its grid at ``start``, so only such a start means the same to both. Both ends are
inclusive on the wire; for us the window is half-open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import httpx

from pipelines.adapters.prometheus.answer import Answer, points_of
from pipelines.adapters.prometheus.plan import Plan, PrometheusParams, probes
from pipelines.adapters.prometheus.select import fill_in, selects
from pipelines.adapters.prometheus.wire import TooLargeError, Wire
from pipelines.adapters.series import LabelSet, label_set, to_chunk
from pipelines.adapters.source import Chunk, Estimate, FetchReport, Spec, Window, shorten
from pipelines.errors import ConfigError, QueryTooLarge

__all__ = ["PrometheusParams", "PrometheusSource"]

T = TypeVar("T")
_Piece = tuple[Window, Answer, FetchReport]


class PrometheusSource:
    """Fetches the metrics of a catalog."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        cluster: str,
        params: PrometheusParams | None = None,
        principal: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet.

        Parameters
        ----------
        client
            Brings ``base_url``, timeouts and, where needed, any ``httpx.Auth``. Its read timeout
            is also the time for one whole answer, however slowly that drips.
        cluster : the cluster of series that carry no such label
        params : how queries are cut and how stubbornly they are asked
        principal : who asks, for the message when that is refused; no secret
        monotonic : a clock in seconds
        """
        self._client = client
        self._cluster = cluster
        self._params = params or PrometheusParams()
        self._principal = principal
        self._monotonic = monotonic

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """All samples of one metric in the window; see ``Source``.

        The series' labels ``namespace``, ``kind``, ``name`` say the workload; a label ``cluster``
        goes before the source's own. While a chunk is worked on, the next one is asked for.

        Raises
        ------
        ConfigError
            The metric has no query; the selection is of another label than cluster or namespace.
        SourceUnreachable, QueryFailed, AccessDenied
            While iterating: no answer after the retries; the server refuses the query.
        """
        query = self._promql(spec, window.step_ms)
        return self._chunks(spec, query, window)

    def estimate(self, spec: Spec, window: Window) -> Estimate:
        """What ``fetch`` would pull, from a few steps of the window: its last and, where that costs
        little, its first and the one in the middle. The largest answer counts for every step.

        Raises
        ------
        ConfigError, SourceUnreachable, QueryFailed, AccessDenied
            As for ``fetch``.
        """
        query = self._promql(spec, window.step_ms)
        reports: list[FetchReport] = []
        processed: list[float] = []
        for part in probes(window):
            chunks = [self._chunk(spec, piece, set()) for piece in self._pieces(spec, query, part)]
            reports.append(sum((c.report for c in chunks), FetchReport()))
            processed.append(reports[-1].samples_processed / part.steps)
        sizes = [r.series - r.unlabelled - r.outside_selection for r in reports]
        series = max(sizes, default=0)
        return Estimate(
            series=series,
            samples=series * window.steps,
            queries=Plan(self._params, window).queries(series),
            samples_processed=round(max(processed, default=0) * window.steps),
            report=replace(sum(reports, FetchReport()), series=series),
            notes=_grown(spec.metric.name, sizes),
        )

    def _promql(self, spec: Spec, step_ms: int) -> str:
        if not spec.metric.query:
            name = spec.metric.name
            raise ConfigError(f"metric {name!r} has no query; add one to the metric catalog")
        return fill_in(
            spec.metric.query,
            step_ms=step_ms,
            rate_ms=round(self._params.rate_window_s * 1000),
            select=spec.select,
            cluster=self._cluster,
        )

    def _chunks(self, spec: Spec, query: str, window: Window) -> Iterator[Chunk]:
        seen: set[LabelSet] = set()
        for piece in _one_ahead(self._pieces(spec, query, window)):
            yield self._chunk(spec, piece, seen)

    def _chunk(self, spec: Spec, piece: _Piece, seen: set[LabelSet]) -> Chunk:
        part, answer, report = piece
        name = spec.metric.name
        lengths, ts_ms, value = points_of(answer.series, name)
        return to_chunk(
            name,
            self._cluster,
            part,
            [one.metric for one in answer.series],
            lengths,
            ts_ms,
            value,
            seen=seen,
            report=report,
            select=spec.select,
        )

    def _pieces(self, spec: Spec, query: str, window: Window) -> Iterator[_Piece]:
        """The answers, in the order of time; what is too large is asked for in halves."""
        name, params = spec.metric.name, self._params
        wire = Wire(self._client, params, principal=self._principal, monotonic=self._monotonic)
        plan = Plan(params, window)
        notes = _whole_metric(spec)
        histograms: set[LabelSet] = set()
        split = 0
        while part := plan.part():
            try:
                asked = wire.ask(
                    self._form(query, part), f"metric {name!r}, query {shorten(query)!r}"
                )
            except TooLargeError as error:
                if part.steps == 1:
                    raise self._too_large(error) from None
                plan.refused(part)
                split += 1
                continue
            answer = asked.answer
            fresh = {label_set(one.metric) for one in answer.histograms} - histograms
            histograms |= fresh
            said = (f"{name}: {shorten(w)}" for w in answer.remarks)
            yield (
                part,
                answer,
                FetchReport(
                    queries=1,
                    retries=asked.retries,
                    split=split,
                    partial=int(answer.incomplete),
                    histograms=len(fresh),
                    bytes=asked.bytes,
                    samples_processed=answer.samples_processed,
                    warnings=(*notes, *said),
                ),
            )
            plan.answered(part, len(answer.series))
            split, notes = 0, ()

    def _form(self, query: str, part: Window) -> dict[str, str]:
        params = self._params
        form = {
            "query": query,
            "start": _seconds(part.first_ms),
            "end": _seconds(part.last_ms),
            "step": _seconds(part.step_ms),
        }
        if params.stats:
            form["stats"] = params.stats
        if params.max_samples_processed_per_query is not None:
            most = str(params.max_samples_processed_per_query)
            form["max_samples_processed_error_threshold"] = most
        return form

    def _too_large(self, error: TooLargeError) -> QueryTooLarge:
        most = self._params.max_samples_processed_per_query
        way = (
            "raise the server's limit"
            if most is None
            else (f"raise max_samples_processed_per_query, which is {most}")
        )
        return QueryTooLarge(
            f"{error.failure}; one step alone is too large: narrow the query or {way}"
        )


def _grown(name: str, sizes: list[int]) -> tuple[str, ...]:
    if not sizes or sizes[0] == sizes[-1]:
        return ()
    return (f"{name}: {sizes[0]} series at the window's start, {sizes[-1]} at its end",)


def _whole_metric(spec: Spec) -> tuple[str, ...]:
    if not spec.select or selects(spec.metric.query or ""):
        return ()
    return (
        f"{spec.metric.name}: its query has no $__select, so the whole metric is pulled and then "
        f"filtered",
    )


def _one_ahead(pieces: Iterator[T]) -> Iterator[T]:
    """The same, each made while the one before it is worked on."""
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(next, pieces, None)
        while (piece := ahead.result()) is not None:
            ahead = pool.submit(next, pieces, None)
            yield piece


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"
