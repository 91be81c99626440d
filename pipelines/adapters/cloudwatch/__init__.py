"""Amazon CloudWatch."""

from __future__ import annotations

from pipelines.adapters.cloudwatch.source import (
    CloudWatchClient,
    CloudWatchParams,
    CloudWatchSource,
    client_config,
)

__all__ = [
    "CloudWatchClient",
    "CloudWatchParams",
    "CloudWatchSource",
    "client_config",
]
