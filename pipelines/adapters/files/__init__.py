"""Files of samples: Parquet, CSV, OpenMetrics text; on disk or in S3."""

from __future__ import annotations

from pipelines.adapters.files.source import (
    EVERYTHING,
    FilesParams,
    FilesSource,
    read_samples,
)

__all__ = [
    "EVERYTHING",
    "FilesParams",
    "FilesSource",
    "read_samples",
]
