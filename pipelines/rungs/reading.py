"""Reading the JSON of an API server: of any shape, never trusted to have the one expected."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["Object", "dig", "items", "mapping", "meta", "text", "whole"]

Object = dict[str, Any]


def dig(value: Any, *keys: str) -> Any:
    """What lies under nested keys; None where there is nothing of that shape."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = cast("Object", value).get(key)
    return value


def mapping(value: Any, *keys: str) -> Object:
    """A map under nested keys, empty where there is none."""
    found = dig(value, *keys)
    return cast("Object", found) if isinstance(found, dict) else {}


def items(value: Any, *keys: str) -> list[Any]:
    """A list under nested keys, empty where there is none."""
    found = dig(value, *keys)
    return cast("list[Any]", found) if isinstance(found, list) else []


def whole(value: Any, *keys: str) -> int | None:
    """A whole number under nested keys; None where there is none, booleans are none."""
    found = dig(value, *keys)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def text(value: Any, *keys: str) -> str:
    """A text under nested keys, empty where there is none."""
    found = dig(value, *keys)
    return found if isinstance(found, str) else ""


def meta(obj: Any, key: str) -> str:
    """A text of an object's metadata."""
    return text(obj, "metadata", key)
