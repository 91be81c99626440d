"""Holds: nodes that were started early stay until the peak is over.

Karpenter removes a node without pods at once where ``consolidateAfter`` is 0 s, its default; a
disruption budget of no nodes with a schedule keeps it. The budget's schedule is a cron line in UTC,
so one that is meant in civil time moves with daylight saving and is computed for its day.

Source: Karpenter documentation, "Disruption, NodePool disruption budgets".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd

from features.workloads import split_workload
from models.actions import Floor, Hold, Placeholder

__all__ = ["civil_schedule", "hold_schedule", "node_holds"]

_GROUP = ["cluster", "nodepool", "gate", "mode"]


def node_holds(floors: Sequence[Floor], placeholders: Sequence[Placeholder]) -> list[Hold]:
    """A hold for every stretch over which floors or room stand on a NodePool's nodes.

    It begins with the first of them and ends where the last floor begins to step down from its
    peak.
    """
    if not floors:
        return []
    raised = pd.DataFrame(
        [(split_workload(a.workload)[0], *_common(a), a.workload, a.after) for a in floors]
        + [(a.cluster, *_common(a), "", 0) for a in placeholders],
        columns=[*_GROUP, "begin", "end", "workload", "after"],
    ).sort_values([*_GROUP, "begin", "end", "workload"], ignore_index=True)
    reached = raised.groupby(_GROUP)["end"].transform("cummax").shift()
    same = (raised[_GROUP] == raised[_GROUP].shift()).all(axis=1)
    raised["stretch"] = (~(same & (raised["begin"] <= reached))).cumsum()
    tops = raised.groupby(["stretch", "workload"])["after"].transform("max")
    raised["peak_end"] = raised["end"].where((raised["after"] == tops) & (raised["after"] > 0))
    raised["workload"] = raised["workload"].replace("", np.nan)
    found = raised.groupby("stretch").agg(
        begin=("begin", "min"), end=("peak_end", "max"), n=("workload", "nunique"),
        **{c: (c, "first") for c in _GROUP},
    )  # fmt: skip
    found = found[found["end"].notna()]
    return [
        Hold(
            cluster=row["cluster"],
            nodepool=row["nodepool"],
            starts_at=row["begin"],
            ends_at=row["end"],
            gate=row["gate"],
            mode=row["mode"],
            reason="nodes that were started early stay until the peak is over: floors of "
            f"{row['n']} workload{'' if row['n'] == 1 else 's'}",
        )
        for row in found.to_dict("records")
    ]


def _common(action: Floor | Placeholder) -> tuple[object, ...]:
    return action.nodepool, action.gate, action.mode, action.starts_at, action.ends_at


def hold_schedule(start: pd.Timestamp, end: pd.Timestamp) -> tuple[str, str]:
    """A budget's ``schedule`` and ``duration`` for ``[start, end)``: whole minutes around it.

    ``"52 8 8 6 *", "1h30m"``: UTC, once a year. Karpenter takes hours and minutes alone.

    Raises
    ------
    ValueError
        The window is empty, or a year and more: it would meet itself.
    """
    begin = start.tz_convert("UTC").floor("min")
    minutes = int((end.tz_convert("UTC").ceil("min") - begin) / pd.Timedelta(1, "min"))
    if not start < end or minutes >= 365 * 24 * 60:
        raise ValueError(f"hold: expected a window of less than a year, got {start} to {end}")
    return f"{begin.minute} {begin.hour} {begin.day} {begin.month} *", _duration(minutes)


def civil_schedule(
    start: str, end: str, weekdays: Sequence[int], timezone: str, day: date
) -> tuple[str, str]:
    """A budget's ``schedule`` and ``duration`` of a window in civil time, as they are on a day.

    Where daylight saving moves the window, or a change lies in it, the next day's are others:
    compute them again every day. A time that the day skips begins where the day goes on; of one
    that comes twice the whole hour is held.

    Parameters
    ----------
    start, end : ``"HH:MM"``; an end that is not after the start is of the day after
    weekdays : of the start, Monday is 0
    timezone : IANA name
    day : the day of the start in that zone, whose offset from UTC counts

    Raises
    ------
    ValueError
        A time, weekday or zone is none.
    """
    days = sorted(set(weekdays))
    if not days or days[0] < 0 or days[-1] > 6:
        raise ValueError(f"hold: weekdays must be some of 0 (Monday) to 6, got {weekdays!r}")
    last = day if _minutes(start) < _minutes(end) else day + timedelta(days=1)
    begin = _utc(day, start, timezone, first=True)
    minutes = int((_utc(last, end, timezone, first=False) - begin) / pd.Timedelta(1, "min"))
    # a cron line's Sunday is 0, and its weekday is the one in UTC
    moved = (begin.date() - day).days
    names = ",".join(str(d) for d in sorted((d + 1 + moved) % 7 for d in days))
    return f"{begin.minute} {begin.hour} * * {names if len(days) < 7 else '*'}", _duration(minutes)


def _utc(day: date, at: str, timezone: str, *, first: bool) -> pd.Timestamp:
    local = pd.Timestamp(day) + pd.Timedelta(_minutes(at), "min")
    try:
        there = local.tz_localize(timezone, ambiguous=first, nonexistent="shift_forward")
    except KeyError as error:  # zoneinfo.ZoneInfoNotFoundError is one
        raise ValueError(f"hold: timezone must be an IANA name, got {timezone!r}") from error
    return there.tz_convert("UTC")


def _minutes(at: str) -> int:
    hour, colon, minute = at.partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and len(minute) == 2):
        raise ValueError(f"hold: a time must be HH:MM, got {at!r}")
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"hold: a time must be HH:MM, got {at!r}")
    return int(hour) * 60 + int(minute)


def _duration(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest}m"
    return f"{hours}h{rest}m" if rest else f"{hours}h"
