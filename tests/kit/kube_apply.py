"""Who manages which field: server-side apply's semantics, on plain JSON objects.

A field set is a set of paths, a path a tuple of FieldsV1's elements: ``f:spec``, ``k:{"name":"p"}``
of an item with a key, ``v:"x"`` of one in a set. Lists are atomic unless their key is known.
Source: Kubernetes, "Server-Side Apply"; kubernetes-sigs/structured-merge-diff.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ConflictError", "Manager", "applied", "managers_of", "updated", "with_managers"]

Object = dict[str, Any]
Path = tuple[str, ...]
Fields = frozenset[Path]

_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
}
_SETS = {"finalizers"}
_ATOMIC = {"selector", "matchLabels", "nodeSelector", "labelSelector"}
_OWNED_META = {"labels", "annotations", "finalizers", "ownerReferences"}
_ABSENT = object()


class Manager(NamedTuple):
    """The key of one entry of managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        text = json.dumps(self.name)
        text += f' with subresource "{self.subresource}"' if self.subresource else ""
        return text + (f" using {self.api_version}" if self.operation == "Update" else "")


class ConflictError(Exception):
    """Other managers own what would change."""

    def __init__(self, conflicts: list[tuple[Manager, str]]) -> None:
        super().__init__(f"{len(conflicts)} conflicts")
        self.conflicts = conflicts

    @property
    def message(self) -> str:
        if len(self.conflicts) == 1:
            manager, field = self.conflicts[0]
            return f"Apply failed with 1 conflict: conflict with {manager}: {field}"
        lines = []
        for manager in sorted({m for m, _ in self.conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {field}" for m, field in self.conflicts if m == manager]
        return f"Apply failed with {len(self.conflicts)} conflicts: " + "\n".join(lines)


def applied(
    live: Object, config: Object, manager: Manager, *, force: bool
) -> tuple[Object, dict[Manager, Fields]]:
    """The object after an apply, before defaults, and who manages it then."""
    managers = managers_of(live)
    last = managers.get(manager, frozenset())
    merged = _merged(_owned(live), _owned(config), "")
    managers[manager] = frozenset(_leaves(_owned(config)))
    kept = frozenset().union(*managers.values())
    for path in sorted(last - kept, key=len, reverse=True):
        _drop(merged, path, kept)
    before, after = _leaves(_owned(live)), _leaves(merged)
    changed = {path for path, value in after.items() if before.get(path, _ABSENT) != value}
    others = {m: f for m, f in managers.items() if m != manager}
    conflicts = [(m, _dotted(path)) for m in sorted(others) for path in sorted(others[m] & changed)]
    if conflicts and not force:
        raise ConflictError(conflicts)
    gone = set(before) - set(after)
    rest = {m: fields - changed - gone for m, fields in others.items()}
    rest[manager] = managers[manager]
    return _whole(live, merged), {m: f for m, f in rest.items() if f}


def updated(live: Object, new: Object, manager: Manager) -> dict[Manager, Fields]:
    """Who manages an object after a PUT or a patch that is no apply."""
    managers = managers_of(live)
    part = "status" if manager.subresource == "status" else "spec"
    before, after = _leaves(_owned(live, part)), _leaves(_owned(new, part))
    changed = {path for path, value in after.items() if before.get(path, _ABSENT) != value}
    gone = set(before) - set(after)
    if not changed and not gone:
        return managers
    old_nodes, new_nodes = _nodes(before), _nodes(after)
    added, gone = new_nodes - old_nodes - {("f:metadata",)}, gone | (old_nodes - new_nodes)
    rest = {m: f - changed - gone for m, f in managers.items()}
    rest[manager] = (rest.get(manager, frozenset()) | changed | added) - gone
    return {m: f for m, f in rest.items() if f}


def managers_of(obj: Mapping[str, Any]) -> dict[Manager, Fields]:
    """managedFields, read."""
    entries = (obj.get("metadata") or {}).get("managedFields") or []
    return {
        Manager(e["manager"], e["operation"], e["apiVersion"], e.get("subresource", "")): frozenset(
            _from_tree(e.get("fieldsV1") or {}, ())
        )
        for e in entries
    }


def with_managers(obj: Object, managers: Mapping[Manager, Fields], at: str) -> Object:
    """The object with managedFields; entries that stay keep their time."""
    old = {
        (e["manager"], e["operation"], e["apiVersion"], e.get("subresource", "")): e
        for e in obj["metadata"].get("managedFields") or []
    }
    entries: list[Object] = []
    for manager in sorted(managers):
        entry: Object = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": at,
            "fieldsType": "FieldsV1",
            "fieldsV1": _to_tree(managers[manager]),
        }
        if manager.subresource:
            entry["subresource"] = manager.subresource
        same = old.get(tuple(manager))
        if same is not None and same["fieldsV1"] == entry["fieldsV1"]:
            entry["time"] = same["time"]
        entries.append(entry)
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**meta, **({"managedFields": entries} if entries else {})}}


def _owned(obj: Mapping[str, Any], part: str = "spec") -> Object:
    """What of an object has managers."""
    if part == "status":
        return {"status": obj["status"]} if obj.get("status") is not None else {}
    keep = {
        key: copy.deepcopy(value)
        for key, value in obj.items()
        if key not in ("apiVersion", "kind", "metadata", "status")
    }
    meta = {k: copy.deepcopy(v) for k, v in (obj.get("metadata") or {}).items() if k in _OWNED_META}
    return {**keep, **({"metadata": meta} if meta else {})}


def _whole(live: Mapping[str, Any], owned: Object) -> Object:
    """The object again, with what has no managers."""
    owned = dict(owned)
    meta = {k: v for k, v in (live.get("metadata") or {}).items() if k not in _OWNED_META}
    meta |= owned.pop("metadata", {})
    status = {"status": live["status"]} if "status" in live else {}
    return (
        {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": meta} | owned | status
    )


def _leaves(value: Any, path: Path = (), out: dict[Path, Any] | None = None) -> dict[Path, Any]:
    """Members of the field set of a value, each with the value there."""
    out = {} if out is None else out
    name = path[-1][2:] if path and path[-1].startswith("f:") else ""
    if isinstance(value, dict) and (value or not path) and name not in _ATOMIC:
        for key, child in value.items():
            _leaves(child, (*path, f"f:{key}"), out)
    elif isinstance(value, list) and value and (name in _KEYS or name in _SETS):
        for item in value:
            here = (*path, _element(name, item))
            if isinstance(item, dict):
                _leaves(item, here, out)
            out[here] = None if isinstance(item, dict) else item
    else:
        out[path] = value
    return out


def _nodes(paths: Mapping[Path, Any]) -> set[Path]:
    """The maps and lists above some paths."""
    return {path[:n] for path in paths for n in range(1, len(path))}


def _element(name: str, item: Any) -> str:
    if name in _SETS:
        return "v:" + json.dumps(item)
    keys = {key: item.get(key, "TCP" if key == "protocol" else None) for key in _KEYS[name]}
    return "k:" + json.dumps(keys, separators=(",", ":"))


def _merged(live: Any, config: Any, name: str) -> Any:
    if isinstance(live, dict) and isinstance(config, dict) and name not in _ATOMIC:
        out = dict(live)
        for key, value in config.items():
            out[key] = _merged(live.get(key), value, key)
        return out
    if isinstance(live, list) and isinstance(config, list) and (name in _KEYS or name in _SETS):
        by = {_element(name, item): item for item in live}
        for item in config:
            key = _element(name, item)
            by[key] = _merged(by.get(key), item, "")
        return list(by.values())
    return copy.deepcopy(config)


def _drop(obj: Any, path: Path, kept: Fields) -> None:
    """Take a field out, and the maps that are empty without it unless somebody owns them."""
    chain: list[tuple[Any, Any]] = []
    for element in path:
        key = _find(obj, chain[-1][1] if chain else "", element)
        if key is None:
            return
        chain.append((obj, key))
        obj = obj[key]
    if isinstance(obj, dict) and obj and path[-1][2:] not in _ATOMIC:
        return  # an empty map was owned, and others have put something in
    for depth in range(len(path), 0, -1):
        holder, key = chain[depth - 1]
        if depth < len(path) and (holder[key] not in ({}, []) or path[:depth] in kept):
            return
        del holder[key]


def _find(obj: Any, name: Any, element: str) -> Any:
    """The key or index of an element in its map or list."""
    if element.startswith("f:"):
        return element[2:] if isinstance(obj, dict) and element[2:] in obj else None
    for index, item in enumerate(obj if isinstance(obj, list) else []):
        if _element(name, item) == element:
            return index
    return None


def _from_tree(tree: Mapping[str, Any], path: Path) -> set[Path]:
    found: set[Path] = set()
    for element, child in tree.items():
        if element == ".":
            found.add(path)
            continue
        here = (*path, element)
        found |= _from_tree(child, here) if child else {here}
    return found


def _to_tree(paths: Fields) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    for path in paths:
        node = tree
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return tree


def _dotted(path: Path) -> str:
    """As conflicts print it: ``.spec.minReplicas``, ``.spec.containers[name="p"].image``."""
    text = ""
    for element in path:
        kind, value = element[:2], element[2:]
        if kind == "f:":
            text += f".{value}"
        elif kind == "k:":
            keys = json.loads(value)
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        else:
            text += f"[={value}]"
    return text
