"""Whatever answers Prometheus' query API: Prometheus, AMP, Thanos, Mimir, VictoriaMetrics."""

from __future__ import annotations

from pipelines.adapters.prometheus.source import (
    PrometheusParams,
    PrometheusSource,
)

__all__ = [
    "PrometheusParams",
    "PrometheusSource",
]
