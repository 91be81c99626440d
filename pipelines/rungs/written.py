"""How a write to a cluster ended, as a value: what can be expected is no exception."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipelines.errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnreachable,
    FieldConflict,
    ObjectChanged,
    ObjectMissing,
)

__all__ = ["Status", "Written", "failed"]

Status = Literal[
    "done",
    "conflict",
    "changed",
    "gone",
    "forbidden",
    "refused",
    "unreachable",
    "reverted",
]
"""``done``: it is as we wanted. ``conflict``: somebody else owns it, and nothing was done.
``changed``: somebody else changed or recreated it, and that was left alone. ``gone``: the object is
not there. ``forbidden``, ``refused``, ``unreachable``: the API server's answer, or none.
``reverted``: somebody took it back again and again, and we stopped."""


@dataclass(frozen=True, slots=True)
class Written:
    """One write: the field's value before and after, as text, and what there is to say.

    ``what`` names the object: ``HorizontalPodAutoscaler shop/web``. ``taken`` names who has taken
    the field back since we wrote it, also where it was raised again; empty where nobody has.
    """

    status: Status
    before: str = ""
    after: str = ""
    detail: str = ""
    what: str = ""
    taken: str = ""

    def about(self, what: str) -> Written:
        """The same, of a named object."""
        return replace(self, what=what)


def failed(error: ClusterError, before: str = "") -> Written:
    """The value of an error: the field is taken to be as it was, which nobody knows where the
    server went away in mid-write; to repeat is safe."""
    match error:
        case FieldConflict():
            status = "conflict"
        case ObjectMissing():
            status = "gone"
        case ObjectChanged():
            status = "changed"
        case ClusterForbidden():
            status = "forbidden"
        case ClusterUnreachable():
            status = "unreachable"
        case _:
            status = "refused"
    return Written(status, before, before, str(error))
