"""What was pulled, kept beside the samples: a small JSON file for each query."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import BinaryIO

import pyarrow as pa

from features.frames import FrameError
from pipelines.adapters.objects.protocol import Objects, steady
from pipelines.adapters.store.coverage import (
    Coverage,
    CoverageKey,
    decode,
    encode,
    forget,
    merge,
)
from pipelines.adapters.store.days import one_line
from pipelines.errors import StoreError

__all__ = ["add_coverage", "clip_coverage", "forget_coverage", "read_coverage"]

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
    _change_all(objects, lambda coverage: coverage.since(start_ms))


def forget_coverage(objects: Objects, days: Collection[str]) -> None:
    """Forget what was pulled into these days (UTC, ISO), because their files are gone."""
    _change_all(objects, lambda coverage: forget(coverage, days))


def _change_all(objects: Objects, changed: Callable[[Coverage], Coverage]) -> None:
    for stat in objects.list(_FOLDER):
        objects.update(stat.name, _changing(objects, stat.name, changed))


def _changing(
    objects: Objects, name: str, changed: Callable[[Coverage], Coverage]
) -> Callable[[pa.NativeFile | None, BinaryIO], None]:
    def change(old: pa.NativeFile | None, out: BinaryIO) -> None:
        found = _decoded(objects, name, old)
        if found is not None and changed(found[1]) != found[1]:
            out.write(encode(found[0], changed(found[1])))

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
