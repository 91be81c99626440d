"""Stamps as the workload's people read them on their clock."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from features.civil import Calendar, calendar_of

__all__ = ["local_clock"]


def local_clock(
    ts: pd.Series, workloads: pd.Series, calendars: Sequence[Calendar], form: str = "%H:%M %Z"
) -> pd.Series:
    """``16:05 CEST`` for each UTC stamp, on the clock of its workload's calendar; empty for NaT."""
    known = ts.notna()
    zones = {w: calendar_of(w, calendars).timezone for w in workloads[known].astype("str").unique()}
    zone = workloads.astype("str").map(zones)
    out = pd.Series("", index=ts.index, dtype="str")
    for name in sorted(set(zones.values())):
        mine = known & (zone == name)
        out[mine] = ts[mine].dt.tz_convert(name).dt.strftime(form)
    return out
