"""Which layout of folders a store has: ``store.json`` in its root.

Tables carry their own versions; this is for what no table could tell, a file that lies elsewhere
or is named otherwise. A reader that does not know a layout would find nothing there and think that
the store is empty, so it refuses. A store without the file has layout 1.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import msgspec

from pipelines.adapters.objects.protocol import Conflict, Objects, steady
from pipelines.errors import StoreError

__all__ = ["LAYOUT", "bytes_of", "check_layout", "mark_layout"]

LAYOUT = 1
"""Raised when a release before this one would miss what is written."""

_FILE = "store.json"


class _Document(msgspec.Struct):
    layout: int
    written_by: str = ""


def check_layout(objects: Objects) -> None:
    """Refuse a store that this release would misread.

    Raises
    ------
    StoreError
        The store is of a newer layout, or says nothing that can be read.
    """
    text = bytes_of(objects, _FILE)
    if text is None:
        return
    try:
        told = msgspec.json.decode(text, type=_Document)
    except msgspec.DecodeError as error:
        raise StoreError(
            f"{objects.where(_FILE)} is damaged: {error}; delete it if no newer release has "
            "written to this store"
        ) from error
    if told.layout > LAYOUT:
        by = f" by foretide {told.written_by}" if told.written_by.isprintable() else ""
        raise StoreError(
            f"{objects.root} was written{by} with layout {told.layout}; this release reads up to "
            f"{LAYOUT}: upgrade foretide"
        )


def mark_layout(objects: Objects) -> None:
    """Write down this release's layout, where nothing is written down yet."""
    try:
        release = version("foretide")
    except PackageNotFoundError:  # run from a checkout that is not installed
        release = ""
    text = msgspec.json.encode(_Document(LAYOUT, release))
    if objects.stat(_FILE) is None:
        with suppress(Conflict):  # another writer did, just now
            objects.put(_FILE, text + b"\n", replacing=None)


def bytes_of(objects: Objects, name: str) -> bytes | None:
    """A small object, whole; nothing where there is none."""

    def read() -> bytes | None:
        with objects.open(name) as file:
            return None if file is None else file.read()

    return steady(read)
