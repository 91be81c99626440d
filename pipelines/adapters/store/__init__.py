"""The Parquet store: samples by day, tables by run, and what was pulled."""

from __future__ import annotations

from pipelines.adapters.store.store import (
    Store,
)

__all__ = [
    "Store",
]
