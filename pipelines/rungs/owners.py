"""Who owns a field of an object, by ``metadata.managedFields``.

Source: Kubernetes documentation, "Server-Side Apply"; FieldsV1 names a field ``f:name``, a list's
item by its key ``k:{"name":"x"}``.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipelines.rungs.reading import dig, items, text

__all__ = ["MANAGER", "is_our_apply", "owners_of", "wrote_at"]

MANAGER = "foretide"
"""Our field manager."""


def owners_of(obj: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Managers of a field that are not us, in order and each once, and whether we are one.

    ``path`` is in FieldsV1's words: ``("f:spec", "f:minReplicas")``.
    """
    found = [
        text(entry, "manager")
        for entry in items(obj, "metadata", "managedFields")
        if dig(entry, "fieldsV1", *path) is not None
    ]
    others = tuple(sorted({name for name in found if name != MANAGER}))
    return others, MANAGER in found


def is_our_apply(entry: Any) -> bool:
    """Whether an entry of managedFields is the one of our applies."""
    return (text(entry, "manager"), text(entry, "operation")) == (MANAGER, "Apply")


def wrote_at(obj: Any) -> pd.Timestamp | None:
    """When our last apply changed an object, by the server's clock; None where nobody says."""
    for entry in items(obj, "metadata", "managedFields"):
        if is_our_apply(entry):
            at = pd.to_datetime(text(entry, "time"), utc=True, errors="coerce")
            return at if isinstance(at, pd.Timestamp) else None
    return None
