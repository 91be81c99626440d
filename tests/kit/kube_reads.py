"""What the fake API server answers to whoever reads: discovery, reviews, lists, watches."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from kube_rules import SCALED
from kube_status import status_of

from pipelines.adapters.kube import Kind

if TYPE_CHECKING:
    from kube_server import KubeServer

__all__ = [
    "APPLY",
    "Place",
    "Request",
    "allowed",
    "discovery",
    "listed",
    "review",
    "scale_of",
    "watched",
]

APPLY = "application/apply-patch+yaml"

Object = dict[str, Any]


@dataclass
class Request:
    """One request, read."""

    method: str
    path: str
    query: dict[str, str]
    raw: bytes
    content_type: str
    user: str
    agent: str
    unknown: list[str] = field(default_factory=list)

    @property
    def dry(self) -> bool:
        return self.query.get("dryRun") == "All"

    @property
    def strict(self) -> bool:
        return self.query.get("fieldValidation") == "Strict"

    @property
    def manager(self) -> str:
        return self.query.get("fieldManager") or self.agent or "unknown"

    def warnings(self) -> dict[str, str]:
        if not self.unknown:
            return {}
        return {"Warning": ", ".join(f'299 - "unknown field \\"{f}\\""' for f in self.unknown)}

    def body(self) -> Any:
        """Decoded; an apply may be YAML."""
        text = self.raw.decode()
        try:
            return yaml.safe_load(text) if self.content_type == APPLY else json.loads(text or "{}")
        except (ValueError, yaml.YAMLError):
            word = "patch" if self.method == "PATCH" else "object"
            at = text.lstrip()[1:2]
            why = f"invalid character '{at}' looking for beginning of object key string"
            raise status_of(400, f"error decoding {word}: {why}") from None


@dataclass(frozen=True)
class Place:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def discovery(server: KubeServer, path: str) -> Object | None:
    kinds = server.served()
    if path == "/version":
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = {kind.group: kind.version for kind in kinds if kind.group}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [_group(*g) for g in groups.items()],
        }
    for group, version in groups.items():
        if path == f"/apis/{group}":
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, version)}
    here = [kind for kind in kinds if kind.root == path]
    if not here:
        return None
    resources: list[Object] = []
    for kind in here:
        one = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        resources.append(one | {"namespaced": kind.namespaced, "verbs": verbs})
        if kind in SCALED:
            scale = {"name": f"{kind.plural}/scale", "kind": "Scale", "namespaced": kind.namespaced}
            resources.append(scale | {"singularName": "", "verbs": ["get", "patch", "update"]})
    named = here[0].api_version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": named,
        "resources": resources,
    }


def _group(group: str, version: str) -> Object:
    named = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [named], "preferredVersion": named}


def review(server: KubeServer, request: Request) -> Object | None:
    if request.method != "POST":
        return None
    if request.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews":
        info = {"username": request.user, "groups": ["system:authenticated"]}
        return request.body() | {"status": {"userInfo": info}}
    if request.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
        body = request.body()
        asked = body["spec"]["resourceAttributes"]
        sub = asked.get("subresource")
        resource = asked["resource"] + (f"/{sub}" if sub else "")
        namespace = asked.get("namespace") or "*"
        yes = allowed(server, request.user, asked["verb"], resource, namespace)
        return body | {"status": {"allowed": yes}}
    return None


def listed(server: KubeServer, request: Request, place: Place) -> Object:
    kind, query = place.kind, request.query
    found = server.store.all(kind, place.namespace)
    found = [o for o in found if _selected(o, query)]
    start = 0
    if query.get("continue"):
        start = json.loads(base64.b64decode(query["continue"]))["start"]
    limit = int(query.get("limit") or 0) or len(found)
    meta: Object = {"resourceVersion": str(server.store.revision)}
    left = len(found) - start - limit
    if left > 0:
        token = json.dumps({"rv": server.store.revision, "start": start + limit})
        meta |= {"continue": base64.b64encode(token.encode()).decode(), "remainingItemCount": left}
    items = found[start : start + limit]
    for item in items:  # as built-in kinds are listed
        del item["apiVersion"], item["kind"]
    return {
        "kind": f"{kind.kind}List",
        "apiVersion": kind.api_version,
        "metadata": meta,
        "items": items,
    }


def _selected(obj: Object, query: dict[str, str]) -> bool:
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        split = re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", term.strip())
        if split is None:
            if (term.strip().lstrip("!") in labels) == term.strip().startswith("!"):
                return False
        elif (labels.get(split[1]) == split[3]) != (split[2] != "!="):
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = term.partition("=")
        if key not in ("metadata.name", "metadata.namespace"):
            known = '"metadata.name", "metadata.namespace"'
            raise status_of(400, f'"{key}" is not a known field selector: only {known}')
        if meta.get(key.removeprefix("metadata.")) != value:
            return False
    return True


def watched(server: KubeServer, request: Request, place: Place) -> bytes:
    """What has happened since a resourceVersion; the stream then ends."""
    since = int(request.query.get("resourceVersion") or 0)
    lines = [
        json.dumps({"type": what, "object": obj})
        for revision, kind, what, obj in server.store.events
        if revision > since
        and kind == place.kind
        and _selected(obj, request.query)
        and place.namespace in ("", obj["metadata"].get("namespace"))
    ]
    return "\n".join(lines).encode()


def scale_of(kind: Kind, obj: Object) -> Object:
    meta = {
        key: value
        for key, value in obj["metadata"].items()
        if key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    replicas = obj["spec"].get("replicas") or 0
    ready = (obj.get("status") or {}).get(
        "nodes" if kind.group == "karpenter.sh" else "replicas", 0
    )
    status: Object = {"replicas": ready}
    labels = (obj["spec"].get("selector") or {}).get("matchLabels")
    if labels:
        status["selector"] = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
    spec = {"replicas": replicas} if replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": spec,
        "status": status,
    }


def allowed(server: KubeServer, user: str, verb: str, resource: str, namespace: str) -> bool:
    return any(rule.allows(verb, resource, namespace) for rule in server.users[user])
