"""Text that a server or a label may have had a hand in."""

from __future__ import annotations

__all__ = ["plain"]


def plain(line: str) -> str:
    """The line without what could steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in line)
