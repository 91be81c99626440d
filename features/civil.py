"""Civil time: what the clock on the wall says where a workload's users live.

Load follows local hours, weekends and holidays, while samples are stamped in UTC. Everything here
takes UTC stamps and a zone of the IANA database, so that a change to or from daylight saving moves
the UTC instant of 09:00 and not the hour that people see. Holidays come from ``holidays``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays
import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = [
    "Calendar",
    "calendar_of",
    "local_days",
    "local_hour_of_week",
    "local_text",
    "maintenance_mask",
    "special_days",
    "special_kinds",
    "special_mask",
]

_CONFIGURED = "special day"
_REMARK = re.compile(r"(?:\s*[(（][^()（）]*[)）])+\s*$")


@dataclass(frozen=True, slots=True)
class Calendar:
    """Whose clock and whose free days a group of workloads follows."""

    match: str = "*"
    """Glob on the workload id, e.g. ``prod-eu/*``; ``*`` crosses slashes."""
    timezone: str = "UTC"
    """IANA name, e.g. ``Europe/Berlin``."""
    country: str | None = None
    """ISO 3166 code whose public holidays count, with or without subdivision: ``DE``, ``DE-BY``."""
    special_days: tuple[str, ...] = ()
    """Further days that are not like other days: ISO dates, in local time."""
    maintenance: tuple[str, ...] = ()
    """Windows in which nobody wants to be told: ``START/END``, local ISO stamps, half-open."""

    def __post_init__(self) -> None:
        """Refuse zones, countries, days and windows that do not exist."""
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"timezone: expected an IANA name such as Europe/Berlin, got {self.timezone!r}"
            ) from error
        if self.country is not None:
            _check_country(self.country)
        for day in self.special_days:
            try:
                date.fromisoformat(day)
            except ValueError as error:
                raise ValueError(
                    f"special_days: expected ISO dates such as 2026-12-24, got {day!r}"
                ) from error
        for window in self.maintenance:
            _window(window, self.timezone)


_EVERYWHERE = Calendar()


def calendar_of(workload: str, calendars: Sequence[Calendar]) -> Calendar:
    """The first calendar whose ``match`` fits; UTC without free days where none does."""
    return next((c for c in calendars if fnmatch.fnmatchcase(workload, c.match)), _EVERYWHERE)


def special_mask(
    workloads: Sequence[str], times: pd.DatetimeIndex, calendars: Sequence[Calendar]
) -> NDArray[np.bool_]:
    """Which steps lie in a holiday or special day of the workload's local civil day.

    Parameters
    ----------
    workloads
        Workload ids, (n_workloads,).
    times
        Left edges of the steps, UTC, (n_steps,).
    calendars
        The first that matches a workload is its calendar.

    Returns
    -------
    bool, (n_workloads, n_steps)
    """
    out = np.zeros((len(workloads), len(times)), dtype=bool)
    for calendar, rows in _by_calendar(workloads, calendars):
        days = local_days(times, calendar.timezone)
        out[rows] = days.isin(_free_days(calendar, days))
    return out


def special_kinds(times: pd.DatetimeIndex, calendar: Calendar) -> NDArray[np.bool_]:
    """Which steps lie in a public holiday, and which in another special day, bool (2, n_steps).

    All workloads follow the calendar. The two kinds are told apart because a holiday is mostly
    quiet, and a day that somebody wrote into a configuration mostly busy.
    """
    every, public = (
        special_mask(["*"], times, [replace(calendar, match="*", special_days=days)])[0]
        for days in (calendar.special_days, ())
    )
    return np.stack([public, every & ~public])


def special_days(calendar: Calendar, first: date, last: date) -> list[tuple[str, str]]:
    """The holidays and special days from ``first`` to ``last``, both included, in order.

    Returns
    -------
    (ISO local day, name)
        The same holiday of another year has the same name, on any machine: names are English where
        ``holidays`` has them in English, and without the remark in parentheses that says how this
        year's date came about (observed, estimated, substituted for another day). Days of the
        configuration are each a ``special day`` unless they are a holiday. A day with two holidays
        comes twice.

    Raises
    ------
    ValueError
        ``last`` is before ``first``.
    """
    if last < first:
        raise ValueError(f"expected a last day from {first} on, got {last}")
    years = tuple(range(first.year, last.year + 1))
    named = set(_holidays(calendar.country, years)) if calendar.country else set[tuple[str, str]]()
    public = {day for day, _ in named}
    named |= {(day, _CONFIGURED) for day in map(_iso, calendar.special_days) if day not in public}
    return sorted((d, name) for d, name in named if first.isoformat() <= d <= last.isoformat())


def maintenance_mask(
    workloads: Sequence[str], times: pd.DatetimeIndex, calendars: Sequence[Calendar]
) -> NDArray[np.bool_]:
    """Which steps start inside a maintenance window: bool, (n_workloads, n_steps)."""
    out = np.zeros((len(workloads), len(times)), dtype=bool)
    for calendar, rows in _by_calendar(workloads, calendars):
        inside = np.zeros(len(times), dtype=bool)
        for window in calendar.maintenance:
            start, end = _window(window, calendar.timezone)
            inside |= np.asarray((times >= start) & (times < end))
        out[rows] = inside
    return out


def local_days(times: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """The local civil day of each UTC stamp, as naive midnights, (n_steps,)."""
    return times.tz_convert(timezone).tz_localize(None).normalize()


def local_hour_of_week(times: pd.DatetimeIndex, timezone: str) -> NDArray[np.int64]:
    """Hours since Monday 00:00 on the local clock, 0 … 167, (n_steps,).

    In the night when clocks go back one hour of the week comes twice; when they go forward one is
    left out.
    """
    local = times.tz_convert(timezone)
    return np.asarray(local.day_of_week, np.int64) * 24 + np.asarray(local.hour, np.int64)


def local_text(ts: pd.Timestamp, timezone: str) -> str:
    """``Monday 09:00`` on the local clock."""
    local = ts.tz_convert(timezone)
    return f"{local.day_name()} {local:%H:%M}"


def _by_calendar(
    workloads: Sequence[str], calendars: Sequence[Calendar]
) -> list[tuple[Calendar, NDArray[np.intp]]]:
    """Each calendar with the rows of the workloads that follow it."""
    ids = pd.Series(list(workloads), dtype="str")
    free = np.ones(len(ids), dtype=bool)
    groups: list[tuple[Calendar, NDArray[np.intp]]] = []
    for calendar in calendars:
        pattern = re.compile(fnmatch.translate(calendar.match))
        hits = free & np.fromiter((pattern.match(w) is not None for w in ids), bool, len(ids))
        groups.append((calendar, np.flatnonzero(hits)))
        free &= ~hits
    return groups


def _free_days(calendar: Calendar, days: pd.DatetimeIndex) -> pd.DatetimeIndex:
    if not len(days):
        return days
    named = special_days(calendar, days.min().date(), days.max().date())
    return pd.DatetimeIndex(sorted({day for day, _ in named}))


@lru_cache(maxsize=64)
def _holidays(country: str, years: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    code, _, subdivision = country.partition("-")
    # without a language the names are in that of the machine
    found = holidays.country_holidays(
        code, subdiv=subdivision or None, years=years, language="en_US"
    )
    every = ((day.isoformat(), name) for day in found for name in found.get_list(day))
    return tuple((day, _REMARK.sub("", name) or name) for day, name in every)


def _iso(day: str) -> str:
    """Python reads 20261224 as well."""
    return date.fromisoformat(day).isoformat()


def _check_country(country: str) -> None:
    code, dash, subdivision = country.partition("-")
    known = holidays.list_supported_countries()
    if code not in known or (dash and subdivision not in known[code]):
        raise ValueError(
            "country: expected an ISO 3166 code with known holidays such as DE or US-NY, "
            f"got {country!r}"
        )


def _window(text: str, timezone: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    try:
        start, end = (
            pd.Timestamp(part).tz_localize(timezone, ambiguous=True, nonexistent="shift_forward")
            for part in text.split("/")
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            "maintenance: expected START/END in local time such as "
            f"2026-06-03T01:00/2026-06-03T03:00, got {text!r}"
        ) from error
    if not start < end:
        raise ValueError(f"maintenance: expected a window that ends after it starts, got {text!r}")
    return start, end
