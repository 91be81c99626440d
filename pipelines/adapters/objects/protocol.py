"""Named objects under one root, on local disk or in an S3 bucket: every put is whole or not at all.

::

    LocalObjects    write aside in the same folder, fsync, rename, fsync it (local.py)
    S3Objects       one conditional PutObject (s3.py)

``update`` is read, change, replace, such that two writers at once lose nothing: on disk they take
turns by a lock that the kernel gives back when its holder dies; in a bucket the one who comes
second is refused and begins again. Names are ours: whoever builds one from text that came from
outside gets a ``ValueError`` before any file is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from pipelines.errors import StoreError

__all__ = [
    "ANY",
    "Conflict",
    "Objects",
    "Stat",
    "checked",
    "open_objects",
    "steady",
]

T = TypeVar("T")
ANY = "*"
"""``replacing=ANY``: whatever is there, the last put wins."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*")


class Conflict(StoreError):
    """The object is not the one that was read before: someone else has replaced it."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One object that is there; ``version`` is opaque and changes with every put."""

    name: str
    size: int
    version: str


class Objects(Protocol):
    """A place of objects; a name is ``table/…/file`` relative to the root.

    Every method raises ``StoreError`` with one line that says what cannot be done, and the way out.
    """

    root: str
    readers: int
    """How many reads at once pay."""

    def where(self, name: str) -> str:
        """The path or address of an object, for messages and manifests."""
        ...

    def list(self, prefix: str) -> list[Stat]:
        """Every object whose name begins so, by name; none that is hidden."""
        ...

    def stat(self, name: str) -> Stat | None:
        """Nothing where there is no such object."""
        ...

    def open(self, name: str) -> AbstractContextManager[pa.NativeFile | None]:
        """The object as it is now, to be read in any order; nothing where there is none.

        Reading raises ``Conflict`` where the object was replaced and the old one is gone.
        """
        ...

    def put(self, name: str, data: bytes | Path, *, replacing: str | None = ANY) -> None:
        """Write the object whole; ``replacing`` names the version that must be there, or ``None``.

        Raises
        ------
        Conflict
            Another version is there.
        """
        ...

    def update(self, name: str, change: Callable[[pa.NativeFile | None, BinaryIO], T]) -> T:
        """Read, change, replace, as if nobody else were there; gives what ``change`` gives.

        ``change(old, out)`` reads the old object (or ``None``) and writes the new one; it may be
        called again. Where it writes nothing, the old object stays.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens where there is none."""
        ...

    def sweep(self, before_ms: int) -> int:
        """Remove what crashed writers left before then (Unix ms); says how much that was."""
        ...


def open_objects(root: str | Path) -> Objects:
    """The objects of a local folder, a ``file://`` or an ``s3://BUCKET/PREFIX`` address.

    Raises
    ------
    StoreError
        It is another address.
    """
    from pipelines.adapters.objects.local import LocalObjects

    text = str(root)
    if text.startswith("s3://"):
        from pipelines.adapters.objects.s3 import S3Objects

        return S3Objects(text)
    if "://" not in text:
        return LocalObjects(root)
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return LocalObjects(unquote(parts.path), shown=text)
    raise StoreError(
        f"{parts.scheme}://… is no store's address; expected a folder, file:///FOLDER or "
        "s3://BUCKET/PREFIX"
    )


def steady(read: Callable[[], T], attempts: int = 8) -> T:
    """Read again from the beginning where the object was replaced while it was read.

    Raises
    ------
    StoreError
        It was replaced every time.
    """
    for attempt in range(attempts):
        try:
            return read()
        except Conflict:
            if attempt == attempts - 1:
                raise
    raise AssertionError


def checked(name: str) -> str:
    """The name, if it is one."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a name such as samples/date=2026-06-01/x.parquet, got {name!r}")
    return name
