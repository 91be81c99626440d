"""What the API server says when it says no, as one of our errors.

A ``Status`` object names a reason and, for some reasons, causes: a conflict of an apply names each
field and its manager, ``conflict with "x" with subresource "scale" using apps/v1``. Source:
Kubernetes API conventions, "Response Status Kind"; the messages of a real API server 1.36.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pipelines.errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnreachable,
    FieldConflict,
    ObjectChanged,
    ObjectMissing,
    ObjectRefused,
)

__all__ = ["RETRIED", "GoneError", "failure_of", "json_of"]

RETRIED = frozenset({429, 500, 502, 503, 504})
_LONGEST = 600
_MANAGER = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')
_NEVER_CREATED = "no existing object was found"
_NO_SUCH_FIELD = "failed to create typed patch object"
_DUMP = re.compile(r'Invalid value: "\{.*\}": ', re.DOTALL)
"""The decoder quotes the whole object, annotations and all: longer than what is wrong with it."""
_WEBHOOK = re.compile(r"failed calling webhook|conversion webhook for .* failed", re.DOTALL)
"""A 500 of one kind's or one namespace's own: the API server is there, and asking on is no use."""
_NOT_SERVED = "the server could not find the requested resource"


class GoneError(ClusterError):
    """410: a list's continue token, or a resourceVersion, is older than the server remembers."""


def json_of(body: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer; None where it is something else."""
    try:
        value = json.loads(body)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return value if isinstance(value, dict) else None


def failure_of(asked: str, status: int, body: bytes, *, who: str, what: str) -> ClusterError:
    """The error of an answer that is no success.

    Parameters
    ----------
    asked : the request in words: ``apply horizontalpodautoscalers.autoscaling shop/web``
    status : of HTTP
    body : what came
    who : who we are, in words that hold no secret
    what : the kind of object, for a kind that is not served
    """
    said = json_of(body)
    if said is None or said.get("kind") != "Status":
        return _no_status(asked, status, body, who)
    message = _DUMP.sub("", str(said.get("message") or said.get("reason") or f"status {status}"))
    message = _short(message)
    text = f"{asked}: {message}"
    if status in (401, 403):
        return ClusterForbidden(f"{text} (as {who})")
    if status == 404:
        return ObjectMissing(f"{text}: {what}" if message == _NOT_SERVED else text)
    if status == 409:
        return _conflict(text, said)
    if status == 410:
        return GoneError(text)
    return _refused(text, status, said)


def _refused(text: str, status: int, said: Mapping[str, Any]) -> ClusterError:
    if status == 422 and _recreated(said):
        return ObjectChanged(f"{text}: it was recreated since it was read")
    message = str(said.get("message"))
    its_own = _NO_SUCH_FIELD in message or (status == 500 and _WEBHOOK.search(message))
    if status in RETRIED and not its_own:
        return ClusterUnreachable(text)
    return ObjectRefused(text)


def _no_status(asked: str, status: int, body: bytes, who: str) -> ClusterError:
    shown = _short(" ".join(body[:200].decode(errors="replace").split()), 80)
    text = f"{asked}: status {status} and no Kubernetes answer, but {shown!r}"
    if status in (401, 403):
        return ClusterForbidden(f"{text} (as {who}); something before the API server refuses us")
    hint = "is the address that of the API server, and is there a proxy before it?"
    return ClusterUnreachable(f"{text}; {hint}")


def _conflict(text: str, said: Mapping[str, Any]) -> ClusterError:
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for cause in _causes(said):
        if cause.get("reason") != "FieldManagerConflict":
            continue
        named = _MANAGER.match(str(cause.get("message", "")))
        manager = _unquoted(named.group(1)) if named else str(cause.get("message", "?"))
        owners[manager].append(str(cause.get("field", "")))
    if owners:
        return FieldConflict(text, {who: tuple(fields) for who, fields in owners.items()})
    return ObjectMissing(text) if _NEVER_CREATED in text else ObjectChanged(text)


def _recreated(said: Mapping[str, Any]) -> bool:
    """Whether the only complaint is that our uid is another object's."""
    causes = _causes(said)
    return bool(causes) and all(
        cause.get("field") == "metadata.uid" and "immutable" in str(cause.get("message"))
        for cause in causes
    )


def _causes(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = said.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [c for c in causes if isinstance(c, dict)] if isinstance(causes, list) else []


def _unquoted(name: str) -> str:
    """A manager's name out of Go's quotes."""
    try:
        return str(json.loads(f'"{name}"'))
    except ValueError:
        return name


def _short(text: str, longest: int = _LONGEST) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
