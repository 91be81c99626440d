"""How the fake API server misbehaves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Fault"]


@dataclass
class Fault:
    """What requests get whose method is ``method`` and whose path with its query has ``path``.

    Attributes
    ----------
    method : empty for all
    path : a regular expression, searched for
    status : answered with a Status object of it; 0: the connection is dropped without an answer
    times : how many requests get it
    after : the request is done first, and the answer lost
    skip : how many matching requests are let through before
    retry_after : seconds, as header
    html : a proxy's page with that status in the place of a Status object
    delay_s : waited before all else; with ``status`` 200 the request is then answered as ever
    cut : of an answer as ever, only this many bytes
    message : of the Status
    """

    method: str
    path: str
    status: int = 500
    times: int = 1
    after: bool = False
    skip: int = 0
    retry_after: float | None = None
    html: bool = False
    delay_s: float = 0.0
    cut: int | None = None
    message: str = "the fake server was told to fail"
    seen: int = field(default=0, init=False)

    def takes(self, method: str, target: str) -> bool:
        """Whether it is this one's turn."""
        if self.times <= 0 or (self.method and self.method != method):
            return False
        if not re.search(self.path, target):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.times -= 1
        return True
