"""Is an object again what it was before we touched it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.rungs.reading import Object, mapping

__all__ = ["same_as_before"]

_SERVERS_OWN = ("resourceVersion", "managedFields", "generation")
"""Of the metadata: written by the API server, whatever a client sends."""


def same_as_before(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Differences of two readings of one object, ``path: before -> after``; none if it is the same.

    Left out are the status and the metadata that the API server writes itself. A map that is empty
    is as one that is not there: the server drops either.
    """
    return _differences("", _own(before), _own(after))


def _own(obj: Mapping[str, Any]) -> Object:
    kept = {key: value for key, value in obj.items() if key != "status"}
    meta = {k: v for k, v in mapping(kept, "metadata").items() if k not in _SERVERS_OWN}
    return {**kept, "metadata": {k: v for k, v in meta.items() if v not in ({}, None)}}


def _differences(path: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        return [
            line
            for name in names
            for line in _differences(
                f"{path}.{name}", before.get(name, _NOTHING), after.get(name, _NOTHING)
            )
        ]
    # 1 and True are equal in Python, not in JSON
    if before == after and type(before) is type(after):
        return []
    return [f"{path or '.'}: {before!r} -> {after!r}"]


class _Nothing:
    """Not there."""

    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()
