"""One line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Status"]

Status = Literal["ok", "warn", "fail"]
"""fail: something stops a step; warn: it works less well, or is not there yet."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and found; ``remedy`` says what to do and is empty where all is well."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
