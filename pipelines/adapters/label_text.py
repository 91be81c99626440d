"""Label values as metric stores take them: valid text, not too long, and still all different."""

from __future__ import annotations

import hashlib

__all__ = ["fitted"]

_HASH = 16


def fitted(value: str, longest: int, *, ascii_only: bool = False) -> str:
    """The value itself where it fits into ``longest`` bytes of UTF-8, else a likeness of it.

    What had to be changed ends in ``~`` and 16 digits of the SHA-256 of the whole, so that two
    values that differ stay two. ``ascii_only`` also takes away what is not printable ASCII.
    """
    plain = value.encode("utf-8", "replace")  # a lone surrogate has no UTF-8
    if ascii_only:
        kept = "".join(c if c.isascii() and c.isprintable() else "?" for c in value)
        plain = kept.encode()
    if plain.decode() == value and len(plain) <= longest:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    # a character that is cut in the middle is left out
    short = plain[: max(longest - _HASH - 1, 0)].decode("utf-8", "ignore")
    return f"{short}~{digest}"
