"""What a server said may hold what it was sent: AWS answers a bad signature with the whole request.

Everything secret that a request carried is taken out of such a text before anyone sees it.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from urllib.parse import quote, unquote

import httpx

__all__ = ["without_secrets"]

_OPEN = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-amz-content-sha256",
        "x-amz-date",
    ]
)
"""Headers that hold no secret; of others nobody knows."""
_WORDS = frozenset(
    ["Bearer", "Basic", "AWS4-HMAC-SHA256", "Credential", "SignedHeaders", "Signature"]
)
_SPLIT = re.compile(r"[\s,;=]+")
_KEY_ID = re.compile(r"Credential=([^/,\s]+)/")
_LEAST = 6
"""Shorter words are no secrets, and would be found inside other words."""


def without_secrets(text: str, request: httpx.Request) -> str:
    """The text with ``…`` where it repeats a credential of the request."""
    for secret in sorted(set(_secrets(request)), key=len, reverse=True):
        for form in (secret, quote(secret, safe="")):
            text = text.replace(form, "…")
    return text


def _secrets(request: httpx.Request) -> Iterator[str]:
    words = [request.url.password, unquote(request.url.password)]
    for name, value in request.headers.items():
        if name.lower() not in _OPEN:
            words += [value, *_SPLIT.split(value), *_basic(value), *_KEY_ID.findall(value)]
    return (word for word in words if len(word) >= _LEAST and word not in _WORDS)


def _basic(value: str) -> list[str]:
    """User and password of basic authentication."""
    scheme, _, coded = value.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        pair = b64decode(coded).decode()
    except (NotBase64, UnicodeDecodeError):
        return []
    return [pair, pair.partition(":")[2]]
