"""What was pulled, kept beside the samples: a small JSON file for each query."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import pyarrow as pa

from features.frames import FrameError
from pipelines.adapters.objects.protocol import Objects, steady
from pipelines.adapters.store.coverage import Coverage, CoverageKey, decode, encode, merge
from pipelines.adapters.store.days import one_line
from pipelines.errors import StoreError

__all__ = ["add_coverage", "clip_coverage", "read_coverage"]

_FOLDER = "samples/_coverage/"


def read_coverage(objects: Objects, key: CoverageKey) -> Coverage:
    """What was pulled so far; nothing where nobody has."""
    name = _FOLDER + key.file

    def read() -> Coverage:
        with objects.open(name) as file:
            found = _decoded(objects, name, file)
        return found[1] if found else Coverage()

    return steady(read)


def add_coverage(objects: Objects, key: CoverageKey, more: Coverage) -> None:
    """Add to it, whoever else does at the same time."""
    name = _FOLDER + key.file

    def change(old: pa.NativeFile | None, out: BinaryIO) -> None:
        found = _decoded(objects, name, old)
        out.write(encode(key, merge(found[1] if found else Coverage(), more)))

    objects.update(name, change)


def clip_coverage(objects: Objects, start_ms: int) -> None:
    """Forget what was pulled before a moment (Unix ms), because its samples go away."""
    for stat in objects.list(_FOLDER):
        objects.update(stat.name, _clipping(objects, stat.name, start_ms))


def _clipping(
    objects: Objects, name: str, start_ms: int
) -> Callable[[pa.NativeFile | None, BinaryIO], None]:
    def change(old: pa.NativeFile | None, out: BinaryIO) -> None:
        found = _decoded(objects, name, old)
        if found is not None and found[1].since(start_ms) != found[1]:
            out.write(encode(found[0], found[1].since(start_ms)))

    return change


def _decoded(
    objects: Objects, name: str, file: pa.NativeFile | None
) -> tuple[CoverageKey, Coverage] | None:
    if file is None:
        return None
    try:
        return decode(file.read())
    except FrameError as error:
        raise StoreError(
            f"{objects.where(name)} cannot be read: {one_line(error)}; "
            "delete it: its metric will be pulled again"
        ) from error
