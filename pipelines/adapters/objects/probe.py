"""Whether a place of objects can be written as the store writes, found out by writing nothing."""

from __future__ import annotations

from pipelines.adapters.objects.protocol import Conflict, Objects

__all__ = ["probe_write"]

_NAME = "_probe"
_NO_VERSION = '"00000000000000000000000000000000"'


def probe_write(objects: Objects) -> bool:
    """Ask to replace a version of an object that there never was.

    Who may not write is refused for that; who may, because of the version. False where it was
    written all the same: conditions are not kept there, and of two writers at once one loses.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    try:
        objects.put(_NAME, b"", replacing=_NO_VERSION)
    except Conflict:
        return True
    objects.delete(_NAME)
    return False
