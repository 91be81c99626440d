"""The words that notices are decided in: routes, knobs, and what was told before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import pandas as pd

from pipelines.adapters.notify import Trouble
from pipelines.adapters.notify.message import Kind

__all__ = ["RANKS", "NoticeParams", "Past", "Route"]

Severity = Literal["warning", "critical"]

RANKS = {"warning": 0, "critical": 1}


@dataclass(frozen=True, slots=True)
class Route:
    """Where troubles of the workloads that ``match`` are told, from a severity on.

    ``match`` is a glob over ``cluster/namespace/kind/name``, and one of several workloads is
    enough; a trouble goes to the channels of every route that matches.
    """

    match: str
    channels: tuple[str, ...]
    severity: Severity = "warning"

    def __post_init__(self) -> None:
        """Refuse a route that leads nowhere."""
        if not self.match:
            raise ValueError("route: match must be a glob like prod/shop/*, got ''")
        if not self.channels:
            raise ValueError(f"route {self.match!r}: channels must name at least one, got none")
        if self.severity not in RANKS:
            raise ValueError(f"route: severity must be warning or critical, got {self.severity!r}")

    def leads(self, trouble: Trouble) -> bool:
        """Whether a trouble goes this way."""
        if RANKS.get(trouble.severity, 0) < RANKS[self.severity]:
            return False
        return any(fnmatchcase(workload, self.match) for workload in trouble.workloads)


@dataclass(frozen=True, slots=True)
class NoticeParams:
    """When something is news; the defaults are those of the settings.

    Attributes
    ----------
    per_hour_max : messages a channel gets in an hour, digests included
    retry_h : a message that no channel takes is given up after this
    settle_min : so long an incident must be over before that is told
    leak_hours : hours to a leak's limit; each that is passed is worth a message
    """

    per_hour_max: int
    retry_h: float
    settle_min: float
    leak_hours: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what would tell nothing or never end."""
        if self.per_hour_max < 1:
            raise ValueError(f"per_hour_max must be at least 1, got {self.per_hour_max}")
        if not 0 < self.retry_h < math.inf:
            raise ValueError(f"retry_h must be more than 0 hours, got {self.retry_h}")
        if not 0 <= self.settle_min < math.inf:
            raise ValueError(f"settle_min must be 0 minutes or more, got {self.settle_min}")
        if not all(0 < hours < math.inf for hours in self.leak_hours):
            raise ValueError(f"leak_hours must be more than 0, got {list(self.leak_hours)}")

    def under_h(self, left_h: float) -> float:
        """The least of ``leak_hours`` that a time to the limit is under; NaN for none."""
        return min((h for h in self.leak_hours if left_h < h), default=math.nan)


@dataclass(frozen=True, slots=True)
class Past:
    """One row of NOTICES: a trouble in a message. ``as_of`` is the clock it was seen by."""

    incident_id: str
    channel: str
    kind: Kind
    told_at: pd.Timestamp
    what: str
    severity: str
    under_h: float
    started_at: pd.Timestamp
    workloads: tuple[str, ...]
    as_of: pd.Timestamp
    message_id: str
    status: str
    detail: str = ""
