"""Named objects on local disk or in an S3 bucket."""

from __future__ import annotations

from pipelines.adapters.objects.protocol import (
    ANY,
    Conflict,
    Objects,
    Stat,
    checked,
    open_objects,
    steady,
)

__all__ = [
    "ANY",
    "Conflict",
    "Objects",
    "Stat",
    "checked",
    "open_objects",
    "steady",
]
