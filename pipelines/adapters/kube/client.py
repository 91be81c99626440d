"""The Kubernetes API as pre-scaling uses it: read, list, server-side apply, merge patch, scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from typing import Any

import pandas as pd

from pipelines.adapters.kube.failures import GoneError
from pipelines.adapters.kube.kinds import Kind
from pipelines.adapters.kube.objects import Object, all_of, holds, path_of, typed, words_of
from pipelines.adapters.kube.wire import RetryParams, Wire
from pipelines.errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnreachable,
    ObjectChanged,
    ObjectMissing,
)

__all__ = ["MANAGER", "Kube"]

MANAGER = "foretide"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PAGE = 500
_RESTARTS = 5
_STRICT = ("fieldValidation", "Strict")
_DRY = ("dryRun", "All")


class Kube:
    """One cluster's API server.

    Every method raises a ``ClusterError`` of the kind that fits: ``ClusterUnreachable``,
    ``ClusterForbidden``, ``ObjectMissing``, ``ObjectChanged``, ``FieldConflict``,
    ``ObjectRefused``. 429, 5xx and broken connections are tried again. A write that may have been
    done is safe to repeat: it carries the uid and resourceVersion that were read, so that the
    repetition changes nothing; where it ends in a conflict with our own first attempt, the object
    is read again and given back if it is as we wanted it.
    """

    def __init__(self, wire: Wire, *, manager: str = MANAGER) -> None:
        """``wire`` is closed by ``close``; ``manager`` is who we are in managedFields."""
        self._wire, self._manager = wire, manager
        self._served: dict[str, frozenset[str]] = {}

    def __enter__(self) -> Kube:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    def retrying(self, retry: RetryParams) -> AbstractContextManager[None]:
        """Other retries while it is open: where one object must not keep many waiting."""
        return self._wire.retrying(retry)

    def get(self, kind: Kind, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """One object, or its ``scale``."""
        path = path_of(kind, name, namespace, subresource)
        asked = words_of("get", kind, name, namespace, subresource)
        return self._ask("GET", path, asked, kind)

    def list(
        self, kind: Kind, namespace: str = "", labels: str = "", *, limit: int = _PAGE
    ) -> Iterator[Object]:
        """All objects, of one namespace or of all; each once.

        ``labels`` is a label selector. When the server has forgotten where a page was to go on
        (410), the list starts over and what was given already is passed over.
        """
        seen: set[str] = set()
        for _ in range(_RESTARTS):
            try:
                for item in self._pages(kind, namespace, labels, limit):
                    meta = item.get("metadata") or {}
                    key = str(meta.get("uid") or (meta.get("namespace"), meta.get("name")))
                    if key not in seen:
                        seen.add(key)
                        yield item
            except GoneError:
                continue
            return
        asked = words_of("list", kind, "", namespace)
        raise ClusterUnreachable(f"{asked}: the list expired {_RESTARTS} times before its end")

    def apply(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        *,
        force: bool = False,
        dry_run: bool = False,
        create: bool = False,
    ) -> Object:
        """Server-side apply as our manager; name and namespace are those of the body.

        Raises
        ------
        ValueError
            No ``metadata.uid``, and no ``create``: where the object is gone, such a patch makes it
            anew.
        """
        body = typed(kind, body)
        meta = body["metadata"]
        if not create and not meta.get("uid"):
            raise ValueError(f"apply {kind.plural} {meta.get('name')}: metadata.uid is missing")
        if create and meta.get("uid"):
            raise ValueError(f"apply {kind.plural} {meta.get('name')}: create with metadata.uid")
        name, namespace = str(meta.get("name", "")), str(meta.get("namespace", ""))
        query = [("fieldManager", self._manager), _STRICT]
        query += [("force", "true")] if force else []
        query += [_DRY] if dry_run else []
        path = path_of(kind, name, namespace)
        asked = words_of("apply", kind, name, namespace)
        return self._write("PATCH", path, asked, kind, body, query, _APPLY)

    def merge(
        self,
        kind: Kind,
        name: str,
        body: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Merge patch (RFC 7396): the last writer wins, unless a resourceVersion is in the body."""
        query = [("fieldManager", self._manager), _STRICT, *([_DRY] if dry_run else [])]
        path = path_of(kind, name, namespace, subresource)
        asked = words_of("patch", kind, name, namespace, subresource)
        return self._write("PATCH", path, asked, kind, dict(body), query, _MERGE)

    def create(self, kind: Kind, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """A new object; ``ObjectChanged`` where one of this name is there already."""
        body = typed(kind, body)
        meta = body["metadata"]
        name, namespace = str(meta.get("name", "")), str(meta.get("namespace", ""))
        query = [("fieldManager", self._manager), _STRICT, *([_DRY] if dry_run else [])]
        asked = words_of("create", kind, name, namespace)
        here = path_of(kind, name, namespace)
        path = all_of(kind, namespace)
        return self._write("POST", path, asked, kind, body, query, "application/json", here)

    def delete(self, kind: Kind, name: str, namespace: str, uid: str) -> None:
        """Delete the object with this uid; another one of the same name stays."""
        if not uid:
            raise ValueError(f"delete {kind.plural} {name}: uid is missing")
        path, asked = path_of(kind, name, namespace), words_of("delete", kind, name, namespace)
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        # Gone at a repetition: the first attempt did it.
        self._ask("DELETE", path, asked, kind, body=body, settle=_gone)

    def serves(self, kind: Kind) -> bool:
        """Whether the cluster has this kind, in this version."""
        if kind.root not in self._served:
            asked = f"discover {kind.api_version}"
            try:
                listed = self._ask("GET", kind.root, asked, kind).get("resources") or []
            except ObjectMissing:
                listed = []
            self._served[kind.root] = frozenset(str(r.get("name")) for r in listed)
        return kind.plural in self._served[kind.root]

    def may(self, verb: str, kind: Kind, namespace: str = "", subresource: str = "") -> bool:
        """Whether we are allowed to; an empty namespace asks for all of them."""
        wanted = {"verb": verb, "group": kind.group, "resource": kind.plural}
        wanted |= {"namespace": namespace} if namespace else {}
        wanted |= {"subresource": subresource} if subresource else {}
        said = self._review(
            "authorization.k8s.io", "SelfSubjectAccessReview", {"resourceAttributes": wanted}
        )
        return bool(said.get("allowed"))

    def whoami(self) -> str:
        """The user's name at the server; in words of the configuration where it does not say."""
        try:
            said = self._review("authentication.k8s.io", "SelfSubjectReview", {})
        except (ClusterForbidden, ObjectMissing):
            return self._wire.who
        user = said.get("userInfo")
        name = user.get("username") if isinstance(user, dict) else ""
        return str(name or self._wire.who)

    def version(self) -> str:
        """The server's version, ``v1.36.2``."""
        said = self._wire.ask("GET", "/version", "get the server's version")
        return str(said.get("gitVersion", ""))

    def server_time(self) -> pd.Timestamp | None:
        """What time it is by the server's clock, UTC, whole seconds; None where it does not say."""
        self.version()
        try:
            at = pd.Timestamp(parsedate_to_datetime(self._wire.date))
        except ValueError:
            return None
        return (at.tz_localize("UTC") if at.tzinfo is None else at).tz_convert("UTC").as_unit("ms")

    def _review(self, group: str, kind: str, spec: Object) -> Object:
        path = f"/apis/{group}/v1/{kind.lower()}s"
        body = {"apiVersion": f"{group}/v1", "kind": kind, **({"spec": spec} if spec else {})}
        asked = f"create {kind.lower()}s.{group}"
        said = self._wire.ask("POST", path, asked, body=body).get("status")
        return said if isinstance(said, dict) else {}

    def _pages(self, kind: Kind, namespace: str, labels: str, limit: int) -> Iterator[Object]:
        path, asked = all_of(kind, namespace), words_of("list", kind, "", namespace)
        start = [("limit", str(limit)), *([("labelSelector", labels)] if labels else [])]
        query = start
        while True:
            page = self._ask("GET", path, asked, kind, query=query)
            for item in page.get("items") or []:
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
                yield item
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query = [*start, ("continue", str(token))]

    def _write(
        self,
        method: str,
        path: str,
        asked: str,
        kind: Kind,
        body: Object,
        query: list[tuple[str, str]],
        content_type: str,
        here: str = "",
    ) -> Object:
        def settle(error: ClusterError) -> Object | None:
            if not isinstance(error, ObjectChanged) or _DRY in query:
                return None
            found = self._ask("GET", here or path, asked, kind)
            done = holds(found, body) and (content_type != _APPLY or self._annotated(found, body))
            return found if done else None

        return self._ask(
            method,
            path,
            asked,
            kind,
            query=query,
            body=body,
            content_type=content_type,
            settle=settle,
        )

    def _annotated(self, found: Object, body: Object) -> bool:
        """Whether what we own of the annotations is what we wanted, no more.

        An apply that gives a floor back takes our annotations away; that somebody else has set
        the same value does not mean that it was done.
        """
        meta = found.get("metadata") or {}
        owned: set[str] = set()
        for entry in meta.get("managedFields") or []:
            if (entry.get("manager"), entry.get("operation")) == (self._manager, "Apply"):
                fields = entry.get("fieldsV1") or {}
                names = (fields.get("f:metadata") or {}).get("f:annotations") or {}
                owned |= {str(name)[2:] for name in names if name != "."}
        wanted = (body.get("metadata") or {}).get("annotations") or {}
        return owned <= set(wanted)

    def _ask(self, method: str, path: str, asked: str, kind: Kind, **rest: Any) -> Object:
        what = f"{kind.api_version} {kind.kind} is not served here"
        return self._wire.ask(method, path, asked, what=what, **rest)


def _gone(error: ClusterError) -> Object | None:
    return {} if isinstance(error, ObjectMissing) else None
