"""A disruption budget of a Karpenter NodePool that lets no node be consolidated for a while.

Source: Karpenter documentation, "Disruption": of all budgets that are active the strictest counts;
a schedule is cron in UTC, so civil time is turned into UTC for the very day that is meant, and
daylight saving cannot move it.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from models.node_holds import hold_schedule

__all__ = ["hold_budget"]

_REASONS = ("Empty", "Underutilized")
"""Both kinds of consolidation. Drift and expiry go on: they replace nodes for other reasons."""


def hold_budget(start: pd.Timestamp, end: pd.Timestamp) -> dict[str, Any]:
    """The budget for ``[start, end)``, widened to whole minutes.

    The schedule names day and month, so that a budget that nobody takes away comes again in a year
    at the earliest.

    Raises
    ------
    ValueError
        A time has no time zone, ``end`` is not after ``start``, or they are a year or more apart.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError(f"expected times with a time zone, got {start} and {end}")
    schedule, duration = hold_schedule(start, end)
    return {
        "nodes": "0",
        "reasons": list(_REASONS),
        "schedule": schedule,
        "duration": duration,
    }
