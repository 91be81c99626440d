"""Paths of the Kubernetes API, and what each verb at them answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kube_reads import APPLY, Place, Request, allowed, discovery, listed, review, scale_of, watched
from kube_rules import SCALED, undeclared
from kube_status import forbidden, not_served, status_of
from kube_store import json_patched, merged

from pipelines.adapters.kube import Kind

if TYPE_CHECKING:
    from kube_server import KubeServer

__all__ = ["Request", "answer_of"]

_PATCHES = {APPLY, "application/merge-patch+json", "application/json-patch+json"}
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

Object = dict[str, Any]
Answered = tuple[int, Any, Kind | None]
"""Status, body, and the kind where something was written."""


def answer_of(server: KubeServer, request: Request) -> Answered:
    """What a request gets; raises ``RefusedError``."""
    if request.user not in server.users:
        raise status_of(401, "Unauthorized")
    found = discovery(server, request.path) or review(server, request)
    if found is not None:
        return 200 if request.method == "GET" else 201, found, None
    place = _place(server, request.path)
    _let_in(server, request, place)
    if request.method == "GET":
        return 200, _read(server, request, place), None
    status, body = _write(server, request, place)
    return status, body, None if request.dry else place.kind


def _place(server: KubeServer, path: str) -> Place:
    parts = [part for part in path.split("/") if part]
    size = 2 if parts[:1] == ["api"] else 3
    root, rest = "/" + "/".join(parts[:size]), parts[size:]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    for kind in server.served():
        if rest and kind.root == root and kind.plural == rest[0]:
            rest = [*rest[1:], "", ""]
            if rest[1] not in ("", "status") and not (rest[1] == "scale" and kind in SCALED):
                break
            return Place(kind, namespace, rest[0], rest[1])
    raise not_served()


def _let_in(server: KubeServer, request: Request, place: Place) -> None:
    verb = _VERBS[request.method]
    if verb == "get" and not place.name:
        verb = "watch" if request.query.get("watch") else "list"
    resource = place.kind.plural + (f"/{place.subresource}" if place.subresource else "")
    verbs = [verb]
    if request.content_type == APPLY and place.key not in server.store.objects.get(place.kind, {}):
        verbs.append("create")  # an apply that would make the object needs both
    for each in verbs:
        if not allowed(server, request.user, each, resource, place.namespace):
            raise forbidden(place.kind, request.user, each, resource, place.key)


def _read(server: KubeServer, request: Request, place: Place) -> Any:
    if not place.name:
        return (
            watched(server, request, place)
            if "watch" in request.query
            else listed(server, request, place)
        )
    found = server.store.read(place.kind, place.key)
    return scale_of(place.kind, found) if place.subresource == "scale" else found


def _write(server: KubeServer, request: Request, place: Place) -> tuple[int, Object]:
    if request.method == "POST":
        return 201, _create(server, request, place)
    if request.method == "DELETE":
        options = request.body() or {}
        uid = (options.get("preconditions") or {}).get("uid", "")
        server.store.delete(place.kind, place.key, uid)
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if request.method == "PATCH" and request.content_type not in _PATCHES:
        raise status_of(415, "415: Unsupported Media Type", details={})
    body = request.body()
    if place.subresource == "scale":
        return 200, _rescale(server, request, place, body)
    if request.content_type == APPLY:
        return _apply(server, request, place, body)
    how = _how(request, body, place.kind)
    return 200, server.store.change(
        place.kind,
        place.key,
        how,
        request.manager,
        subresource=place.subresource,
        dry=request.dry,
        strict=request.strict,
    )


def _how(request: Request, body: Any, kind: Kind) -> Callable[[Object], Object]:
    if request.method == "PUT":
        return lambda _: body
    if request.content_type == "application/json-patch+json":
        return lambda live: json_patched(live, body)
    unknown = undeclared(kind, body)
    if unknown:
        request.unknown.append(unknown)
    return lambda live: merged(live, body)


def _create(server: KubeServer, request: Request, place: Place) -> Object:
    body = request.body()
    name = (body.get("metadata") or {}).get("name", "")
    if not name:
        raise status_of(422, "name or generateName is required", details={})
    key = (place.namespace, name)
    return server.store.create(place.kind, key, body, request.manager, dry=request.dry)


def _apply(server: KubeServer, request: Request, place: Place, body: Object) -> tuple[int, Object]:
    manager = request.query.get("fieldManager", "")
    if not manager:
        why = "Required value: is required for apply patch"
        causes = [{"reason": "FieldValueRequired", "message": why, "field": "fieldManager"}]
        details = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": causes}
        text = f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {why}'
        raise status_of(422, text, details=details)
    force = request.query.get("force") == "true"
    return server.store.apply(place.kind, place.key, body, manager, force=force, dry=request.dry)


def _rescale(server: KubeServer, request: Request, place: Place, body: Object) -> Object:
    """Any write to scale writes spec.replicas, under a manager of its own."""
    patch: Object = {"spec": {"replicas": (body.get("spec") or {}).get("replicas", 0)}}
    version = (body.get("metadata") or {}).get("resourceVersion")
    patch |= {"metadata": {"resourceVersion": version}} if version else {}
    found = server.store.change(
        place.kind,
        place.key,
        lambda live: merged(live, patch),
        request.manager,
        subresource="scale",
        dry=request.dry,
    )
    return scale_of(place.kind, found)
