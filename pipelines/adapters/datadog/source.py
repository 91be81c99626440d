"""Samples from Datadog's metrics query API (v1), by ``datadog-api-client``.

What a Datadog user should know:

- Rollup. Datadog never gives raw points, but one a bucket, stamped with the bucket's start. Queries
  ask for the step by ``.rollup(avg, $__interval)``. A request returns about 1,500 points a series,
  with longer buckets where there would be more, so windows are cut to fit. What comes back
  coarser all the same is kept, counted and said.
- Counts and rates. A COUNT metric (``trace.*.hits``) is the number in each flush interval: averaged
  buckets mean nothing. ``.as_count().rollup(sum, $__interval) / $__interval`` is per second at any
  step; ``.as_rate()`` lets Datadog divide. The agent's gauges that are per second already
  (``kubernetes.network.rx_bytes``) need neither.
- Tags. Who a series is comes from its tags, so queries end with ``by {kube_deployment, …}``.
  Datadog stores tags in lower case and writes N/A where a series has no such tag.
- Billing. Queries cost nothing and are rate-limited (``X-RateLimit-*``); waiting is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.adapters.datadog.client import DatadogApi, Series
from pipelines.adapters.datadog.params import DatadogParams, datadog_client, principal_of
from pipelines.adapters.datadog.query import labels_of, query_text
from pipelines.adapters.series import LabelSet, to_chunk
from pipelines.adapters.source import Chunk, Estimate, FetchReport, Spec, Window, shorten

__all__ = ["DatadogParams", "DatadogSource", "datadog_client", "principal_of"]


class DatadogSource:
    """Fetches the metrics of a catalog; see ``Source``."""

    def __init__(
        self,
        client: Any,
        *,
        cluster: str,
        params: DatadogParams | None = None,
        principal: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``client`` is an ``ApiClient``, or makes one when it is first needed.

        ``cluster`` is the cluster of series without such a tag; ``principal`` says in errors whose
        keys were refused.
        """
        self._params = params or DatadogParams()
        self._cluster = cluster
        self._api = DatadogApi(client, self._params, principal, sleep)

    def estimate(self, spec: Spec, window: Window) -> Estimate:
        """Series and samples by one request for the last steps; see ``Source``.

        Raises
        ------
        ConfigError
            The metric has no query, or one with unknown placeholders.
        AccessDenied, QueryFailed, SourceUnreachable
            The keys are refused; the query is; no answer after the retries.
        """
        query = self._query(spec, window)
        if not window.steps:
            return Estimate()
        first_ms = max(
            window.first_ms, window.last_ms - (self._params.estimate_steps - 1) * window.step_ms
        )
        probe = self._piece(spec, query, replace(window, first_ms=first_ms), set())
        series = probe.samples.group_by(["cluster", "namespace", "kind", "name"]).aggregate([])
        requests = -(-window.steps // self._params.max_points_per_query)
        note = (
            f"Datadog bills nothing for queries; each metric takes {requests} requests of the rate "
            f"limit ({self._api.limit_text})"
        )
        return Estimate(
            series=len(series),
            samples=len(series) * window.steps,
            queries=requests,
            report=probe.report,
            notes=(note,),
        )

    def fetch(self, spec: Spec, window: Window) -> Iterator[Chunk]:
        """All samples of one metric in the window, one request a piece; see ``Source``.

        Raises
        ------
        ConfigError
            The metric has no query, or one with unknown placeholders.
        AccessDenied, QueryFailed, SourceUnreachable
            While iterating: the keys are refused; the query is; no answer after the retries.
        """
        return self._pieces(spec, self._query(spec, window), window)

    def _query(self, spec: Spec, window: Window) -> str:
        return query_text(
            spec.metric, spec.select, window.step_ms, self._params.tag_of, self._cluster
        )

    def _pieces(self, spec: Spec, query: str, window: Window) -> Iterator[Chunk]:
        length_ms = self._params.max_points_per_query * window.step_ms
        seen: set[LabelSet] = set()
        at_ms = window.first_ms
        while at_ms < window.end_ms:
            part = replace(window, first_ms=at_ms, end_ms=min(at_ms + length_ms, window.end_ms))
            yield self._piece(spec, query, part, seen)
            at_ms = part.end_ms

    def _piece(self, spec: Spec, query: str, part: Window, seen: set[LabelSet]) -> Chunk:
        name = spec.metric.name
        # the last bucket is asked for to its end, or it would be of its first second only
        answer, report = self._api.ask(
            query,
            part.first_ms // 1000,
            (part.last_ms + part.step_ms) // 1000 - 1,
            f"metric {name!r}, query {shorten(query)!r}",
        )
        series = answer.series or []
        lengths, ts_ms, value = _points(series)
        labels = [self._labels(one) for one in series]
        return to_chunk(
            name, self._cluster, part, labels, lengths, ts_ms, value,
            seen=seen, report=report + _coarser(name, series, part.step_ms), select=spec.select,
        )  # fmt: skip

    def _labels(self, series: Series) -> dict[str, str]:
        tags = series.scope.split(",") if series.tag_set is None else series.tag_set
        return labels_of(tags, self._params.tag_of, self._params.kind_of)


def _points(
    series: Sequence[Series],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Points of each series (n_series,), and their stamps and values (n_points,); null is none."""
    held = [[p for p in one.pointlist if p[1] is not None] for one in series]
    lengths = np.array([len(points) for points in held], dtype=np.int64)
    flat = np.array([p for points in held for p in points], dtype=np.float64).reshape(-1, 2)
    return lengths, flat[:, 0].astype(np.int64), np.ascontiguousarray(flat[:, 1])


def _coarser(name: str, series: Sequence[Series], step_ms: int) -> FetchReport:
    """What Datadog rolled up to more than the step that was asked for."""
    found = [(ms, one) for one in series if (ms := _interval_ms(one)) > step_ms]
    if not found:
        return FetchReport()
    longest_s = max(ms for ms, _ in found) / 1000
    warning = (
        f"{name}: Datadog rolled up to {longest_s:.0f} s where {step_ms // 1000} s were asked for; "
        "lower max_points_per_query, or add .rollup(avg, $__interval) to the query"
    )
    measured = sum(value is not None for _, one in found for _, value in one.pointlist)
    return FetchReport(coarser=measured, warnings=(warning,))


def _interval_ms(series: Series) -> float:
    """How long a series' buckets are; 0 where it does not say.

    Datadog's reference has milliseconds and its examples have seconds: points that are closer
    together than so many seconds tell which it was.
    """
    said = series.interval or 0.0
    stamps = [stamp for stamp, _ in series.pointlist]
    apart = min((b - a for a, b in pairwise(stamps)), default=None)
    if apart is None:
        return said if said >= 60_000 else said * 1000
    return said if apart < said * 1000 else said * 1000
