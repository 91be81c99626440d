"""Objects of the API as plain JSON: their paths, their names in messages, their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pipelines.adapters.kube.kinds import Kind

__all__ = ["Object", "all_of", "holds", "path_of", "typed", "words_of"]

Object = dict[str, Any]


def holds(found: Any, wanted: Any) -> bool:
    """Whether an object has every value of a patch; its resourceVersion is not compared.

    None in the patch means that the field is not there; items of lists may have more fields.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return wanted == {}
        return all(
            key == "resourceVersion" or holds(found.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(found, list):
        same = len(found) == len(wanted)
        return same and all(holds(one, other) for one, other in zip(found, wanted, strict=True))
    return found == wanted


def typed(kind: Kind, body: Mapping[str, Any]) -> Object:
    """The body with its apiVersion and kind."""
    full = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    if (full["apiVersion"], full["kind"]) != (kind.api_version, kind.kind):
        raise ValueError(
            f"expected {kind.api_version} {kind.kind}, got {full['apiVersion']} {full['kind']}"
        )
    meta = full.get("metadata")
    if not (isinstance(meta, Mapping) and meta.get("name")):
        raise ValueError(f"{kind.kind}: expected metadata with a name, got {meta!r}")
    return full


def path_of(kind: Kind, name: str, namespace: str, subresource: str = "") -> str:
    """Of one object; names come from clusters and are quoted."""
    if not name:
        raise ValueError(f"{kind.plural}: name is missing")
    if kind.namespaced and not namespace:
        raise ValueError(f"{kind.plural} {name}: namespace is missing")
    return _path(kind, namespace, [name, *([subresource] if subresource else [])])


def all_of(kind: Kind, namespace: str) -> str:
    """Of all objects in a namespace; of all where it is empty."""
    return _path(kind, namespace, [])


def _path(kind: Kind, namespace: str, rest: list[str]) -> str:
    if namespace and not kind.namespaced:
        raise ValueError(f"{kind.plural} have no namespace, got {namespace!r}")
    parts = [*(["namespaces", namespace] if namespace else []), kind.plural, *rest]
    for part in parts:
        if part in (".", ".."):  # quoting leaves them, and transports walk up on them
            raise ValueError(f"{kind.plural}: {part!r} is no name")
    return "/".join([kind.root, *(quote(part, safe="") for part in parts)])


def words_of(verb: str, kind: Kind, name: str, namespace: str, subresource: str = "") -> str:
    """The request in words: ``apply horizontalpodautoscalers.autoscaling shop/web``."""
    sub = f"/{subresource}" if subresource else ""
    there = "/".join(part for part in (namespace, name) if part)
    return f"{verb} {kind.resource}{sub} {there}".rstrip()
