"""Datadog."""

from __future__ import annotations

from pipelines.adapters.datadog.source import (
    DatadogParams,
    DatadogSource,
    datadog_client,
    principal_of,
)

__all__ = [
    "DatadogParams",
    "DatadogSource",
    "datadog_client",
    "principal_of",
]
