"""The objects of the fake API server, and what each verb does to them."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import jsonpatch
from kube_apply import ConflictError, Manager, applied, managers_of, updated, with_managers
from kube_rules import defaulted, generations, undeclared, validate, wrong_type
from kube_status import (
    RefusedError,
    conflict,
    exists,
    invalid,
    missing,
    status_of,
    uid_mismatch,
)

from pipelines.adapters.kube import HPA, NAMESPACE, Kind

__all__ = ["Store", "merged"]

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""


class Store:
    """All objects; every method may be called by several threads."""

    def __init__(self, *, revision: int = 1) -> None:
        self.lock = threading.RLock()
        self.revision = revision
        self.objects: dict[Kind, dict[Key, Object]] = {}
        self.events: list[tuple[int, Kind, str, Object]] = []
        """revision, kind, ADDED | MODIFIED | DELETED, the object."""

    def read(self, kind: Kind, key: Key) -> Object:
        with self.lock:
            try:
                return copy.deepcopy(self.objects[kind][key])
            except KeyError:
                raise missing(kind, key[1]) from None

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        """By namespace and name."""
        with self.lock:
            held = self.objects.get(kind, {})
            return [
                copy.deepcopy(held[key])
                for key in sorted(held)
                if not namespace or key[0] == namespace
            ]

    def apply(
        self, kind: Kind, key: Key, body: Object, manager: str, *, force: bool, dry: bool = False
    ) -> tuple[int, Object]:
        """Server-side apply; 201 where it makes the object."""
        who = Manager(manager, "Apply", kind.api_version)
        unknown = undeclared(kind, body)
        if unknown:
            meta = body.get("metadata") or {}
            place = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
            text = (
                f"failed to create typed patch object ({place}; {kind.api_version}, "
                f"Kind={kind.kind}): .{unknown}: field not declared in schema"
            )
            raise status_of(500, text, reason=None)
        with self.lock:
            live = self.objects.get(kind, {}).get(key)
            meta = body.get("metadata") or {}
            if live is None:
                if meta.get("uid"):
                    raise uid_mismatch(kind, key[1], meta["uid"])
                return 201, self._made(kind, key, body, who, dry)
            try:
                new, managers = applied(live, body, who, force=force)
            except ConflictError as error:
                raise _field_conflict(error) from None
            _check_version(kind, key[1], live, meta)
            _check_uid(kind, key[1], live, meta)
            new = defaulted(kind, new)
            validate(kind, new, live)
            return 200, self._kept(kind, key, live, new, managers, dry)

    def create(
        self, kind: Kind, key: Key, body: Object, manager: str, *, dry: bool = False
    ) -> Object:
        with self.lock:
            if key in self.objects.get(kind, {}):
                raise exists(kind, key[1])
            return self._made(kind, key, body, Manager(manager, "Update", kind.api_version), dry)

    def change(
        self,
        kind: Kind,
        key: Key,
        how: Callable[[Object], Object],
        manager: str,
        *,
        subresource: str = "",
        dry: bool = False,
        strict: bool = False,
    ) -> Object:
        """PUT, merge patch and JSON patch: ``how`` makes the new object of a copy of the old."""
        with self.lock:
            live = self.objects.get(kind, {}).get(key)
            if live is None:
                raise missing(kind, key[1])
            new = how(copy.deepcopy(live))
            meta = new.get("metadata") or {}
            _check_version(kind, key[1], live, meta)
            _check_uid(kind, key[1], live, meta)
            if subresource == "status":
                new = {
                    **copy.deepcopy(live),
                    **({"status": new["status"]} if "status" in new else {}),
                }
            elif "status" in live:
                new["status"] = copy.deepcopy(live["status"])
            _check_types(kind, new, strict=strict)
            new = defaulted(kind, new)
            validate(kind, new, live)
            who = Manager(manager, "Update", kind.api_version, subresource)
            managers = updated(_claimed(live, new, subresource), new, who)
            return self._kept(kind, key, live, new, managers, dry)

    def delete(self, kind: Kind, key: Key, uid: str = "") -> Object:
        with self.lock:
            live = self.read(kind, key)
            have = live["metadata"]["uid"]
            if uid and uid != have:
                why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
                raise conflict(kind, key[1], why)
            del self.objects[kind][key]
            if kind == NAMESPACE:
                for held in self.objects.values():
                    for other in [k for k in held if k[0] == key[1]]:
                        del held[other]
            self.revision += 1
            self.events.append((self.revision, kind, "DELETED", live))
            return live

    def _made(self, kind: Kind, key: Key, body: Object, who: Manager, dry: bool) -> Object:
        _check_types(kind, body, strict=False)
        meta = {
            k: v
            for k, v in (body.get("metadata") or {}).items()
            if k not in ("managedFields", "resourceVersion", "uid")
        }
        meta |= {"name": key[1], "uid": str(uuid.uuid4()), "creationTimestamp": _now()}
        meta |= {"namespace": key[0]} if key[0] else {}
        meta |= {"generation": 1} if generations(kind) else {}
        bare: Object = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
        full = defaulted(kind, {**copy.deepcopy(body), **bare})
        validate(kind, full, None)
        if who.operation == "Apply":
            empty = {**bare, "metadata": {}}
            _, managers = applied(empty, body, who, force=True)
        else:
            managers = updated({**bare, "metadata": {}}, full, who)
        full = with_managers(full, managers, _now())
        if not dry:
            self._put(kind, key, full, "ADDED")
        return copy.deepcopy(full)

    def _kept(
        self,
        kind: Kind,
        key: Key,
        live: Object,
        new: Object,
        managers: Mapping[Any, Any],
        dry: bool,
    ) -> Object:
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "namespace"):
            if field in live["metadata"]:
                new["metadata"][field] = live["metadata"][field]
        new["metadata"].pop("managedFields", None)
        if live["metadata"].get("managedFields"):
            new["metadata"]["managedFields"] = live["metadata"]["managedFields"]
        if new == live and managers == managers_of(live):
            return copy.deepcopy(live)
        if generations(kind) and new.get("spec") != live.get("spec"):
            new["metadata"]["generation"] += 1
        new = with_managers(new, managers, _now())
        if not dry:
            self._put(kind, key, new, "MODIFIED")
        return copy.deepcopy(new)

    def _put(self, kind: Kind, key: Key, obj: Object, event: str) -> None:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.objects.setdefault(kind, {})[key] = copy.deepcopy(obj)
        self.events.append((self.revision, kind, event, copy.deepcopy(obj)))


def merged(live: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    out = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def json_patched(live: Object, operations: list[Object]) -> Object:
    """RFC 6902; a test that fails is a 422."""
    try:
        return jsonpatch.apply_patch(live, operations)
    except jsonpatch.JsonPatchException:
        text = "the server rejected our request due to an error in our request"
        raise status_of(422, text, details={}) from None


def _claimed(live: Object, new: Object, subresource: str) -> Object:
    """The object before a write, with the managedFields that the write asks for.

    As the server has it: another list is taken over, ``[{}]`` clears it, an empty one is none, and
    through a subresource nothing is changed.
    """
    asked = new["metadata"].get("managedFields")
    if subresource or not asked:
        return live
    meta = {**live["metadata"], "managedFields": [] if asked == [{}] else asked}
    return {**live, "metadata": meta}


def _field_conflict(error: ConflictError) -> RefusedError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": field}
        for who, field in error.conflicts
    ]
    return status_of(409, error.message, details={"causes": causes})


def _check_version(kind: Kind, name: str, live: Object, meta: Mapping[str, Any]) -> None:
    version = meta.get("resourceVersion")
    if version and version != live["metadata"]["resourceVersion"]:
        raise conflict(kind, name)


def _check_uid(kind: Kind, name: str, live: Object, meta: Mapping[str, Any]) -> None:
    uid = meta.get("uid")
    if uid and uid != live["metadata"]["uid"]:
        why = f'Invalid value: "{uid}": field is immutable'
        raise invalid(kind, name, [("metadata.uid", "FieldValueInvalid", why)] * 2)


def _check_types(kind: Kind, obj: Object, *, strict: bool) -> None:
    """What the decoder refuses; an unknown field is dropped unless ``strict``."""
    unknown = undeclared(kind, obj)
    if unknown and strict:
        raise wrong_type(obj, f'strict decoding error: unknown field "{unknown}"')
    if unknown:
        del obj["spec"][unknown.removeprefix("spec.")]
    least = (obj.get("spec") or {}).get("minReplicas", 1)
    if kind == HPA and least is not None and type(least) is not int:
        what = (
            "string" if isinstance(least, str) else "number" if isinstance(least, float) else "bool"
        )
        why = (
            f"json: cannot unmarshal {what} into Go struct field "
            "HorizontalPodAutoscalerSpec.spec.minReplicas of type int32"
        )
        raise wrong_type(obj, why)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
