"""The ``Status`` objects by which an API server says no, as a real one 1.36 words them."""

from __future__ import annotations

import json
from typing import Any

from pipelines.adapters.kube import Kind

__all__ = [
    "RefusedError",
    "conflict",
    "exists",
    "forbidden",
    "invalid",
    "missing",
    "not_served",
    "quoted",
    "status_of",
    "uid_mismatch",
]

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

Cause = tuple[str, str, str]
"""field, reason, message."""


class RefusedError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["message"])
        self.status, self.body = status, body


def status_of(
    code: int, message: str, *, reason: str | None = "", details: dict[str, Any] | None = None
) -> RefusedError:
    """A Status; ``reason`` None leaves it out."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
    }
    if reason is not None:
        body["reason"] = reason or REASONS.get(code, "")
    if details is not None:
        body["details"] = details
    return RefusedError(code, body | {"code": code})


def _named(kind: Kind, name: str) -> dict[str, Any]:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in details.items() if value}


def missing(kind: Kind, name: str) -> RefusedError:
    text = f'{kind.resource} "{name}" not found'
    return status_of(404, text, details=_named(kind, name))


def not_served() -> RefusedError:
    return status_of(404, "the server could not find the requested resource", details={})


def exists(kind: Kind, name: str) -> RefusedError:
    text = f'{kind.resource} "{name}" already exists'
    return status_of(409, text, reason="AlreadyExists", details=_named(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> RefusedError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try "
        "again"
    )
    text = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return status_of(409, text, details=_named(kind, name))


def uid_mismatch(kind: Kind, name: str, uid: str) -> RefusedError:
    why = f"the provided object specified uid {uid}, and no existing object was found"
    return conflict(kind, name, f"uid mismatch: {why}")


def forbidden(kind: Kind, user: str, verb: str, resource: str, where: tuple[str, str]) -> Any:
    """``resource`` with its subresource; ``where`` is namespace and name."""
    namespace, name = where
    place = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    named = f' "{name}"' if name else ""
    text = (
        f'{kind.resource}{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" '
        f'in API group "{kind.group}"{place}'
    )
    return status_of(403, text, details=_named(kind, name))


def invalid(kind: Kind, name: str, causes: list[Cause]) -> RefusedError:
    shown = list(dict.fromkeys(f"{field}: {message}" for field, _, message in causes))
    text = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
    group = f".{kind.group}" if kind.group else ""
    details = {
        "name": name,
        "group": kind.group,
        "kind": kind.kind,
        "causes": [{"reason": r, "message": m, "field": f} for f, r, m in causes],
    }
    return status_of(422, f'{kind.kind}{group} "{name}" is invalid: {text}', details=details)


def quoted(value: Any) -> str:
    """As Go prints it in a message."""
    return json.dumps(value, separators=(",", ":"))
