import re
from datetime import date, datetime
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.civil import (
    Calendar,
    calendar_of,
    local_days,
    local_hour_of_week,
    local_text,
    maintenance_mask,
    special_days,
    special_mask,
)

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]
EU = "prod-eu/shop/Deployment/checkout"
US = "prod-us/shop/Deployment/checkout"
CALENDARS = (
    Calendar("prod-eu/*", "Europe/Berlin", "DE", special_days=("2026-05-06",)),
    Calendar("prod-us/*", "America/New_York", "US"),
)


def hours(start: str, n: int) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq="h", tz="UTC")


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        # Berlin changes on 03-29 and 10-25, New York on 03-08 and 11-01
        ("Europe/Berlin", "2026-03-23T08:00Z", "2026-03-30T07:00Z"),
        ("Europe/Berlin", "2026-10-19T07:00Z", "2026-10-26T08:00Z"),
        ("America/New_York", "2026-03-02T14:00Z", "2026-03-09T13:00Z"),
        ("America/New_York", "2026-10-26T13:00Z", "2026-11-02T14:00Z"),
    ],
)
def test_monday_nine_stays_nine_across_daylight_saving(zone: str, before: str, after: str):
    stamps = pd.DatetimeIndex([before, after])
    assert list(local_hour_of_week(stamps, zone)) == [9, 9]
    assert [local_text(ts, zone) for ts in stamps] == ["Monday 09:00"] * 2


@pytest.mark.parametrize(
    ("zone", "sunday", "missing", "twice"),
    [
        ("Europe/Berlin", "2026-03-29", [2], []),
        ("Europe/Berlin", "2026-10-25", [], [2]),
        ("America/New_York", "2026-03-08", [2], []),
        ("America/New_York", "2026-11-01", [], [1]),
    ],
)
def test_the_changed_night_has_23_or_25_hours(
    zone: str, sunday: str, missing: list[int], twice: list[int]
):
    start = pd.Timestamp(sunday, tz=zone)
    end = pd.Timestamp(sunday, tz=zone) + pd.DateOffset(days=1)
    day = pd.date_range(start, end, freq="h", inclusive="left").tz_convert("UTC")
    seen = pd.Series(local_hour_of_week(day, zone) - 6 * 24).value_counts()
    assert sorted(set(range(24)) - set(seen.index)) == missing
    assert sorted(seen.index[seen == 2]) == twice


@given(
    start=st.datetimes(pd.Timestamp("2015-01-01"), pd.Timestamp("2035-01-01")),
    zone=st.sampled_from(ZONES),
)
def test_hour_of_week_agrees_with_the_text_and_the_day(start: datetime, zone: str):
    times = hours(pd.Timestamp(start).floor("h").isoformat(), 60)
    week_hours = local_hour_of_week(times, zone)
    names = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    days = local_days(times, zone)
    assert ((week_hours >= 0) & (week_hours < 168)).all()
    for ts, hour, day in zip(times, week_hours, days, strict=True):
        assert local_text(ts, zone).startswith(f"{names[hour // 24]} {hour % 24:02d}:")
        assert day.weekday() == hour // 24


def test_a_holiday_is_the_local_civil_day():
    times = hours("2026-05-24T00:00", 72)
    eu, us = special_mask([EU, US], times, CALENDARS)
    assert times[eu][0] == pd.Timestamp("2026-05-24T22:00Z")
    assert times[us][0] == pd.Timestamp("2026-05-25T04:00Z")
    assert eu.sum() == us.sum() == 24


def test_special_days_and_holidays_belong_to_their_own_calendar():
    times = hours("2026-05-04T00:00", 24 * 14)
    eu, us = special_mask([EU, US], times, CALENDARS)
    free = {str(day.date()) for day in local_days(times[eu], "Europe/Berlin")}
    assert free == {"2026-05-06", "2026-05-14"}  # the special day, Ascension Day
    assert not us.any()


def test_no_calendar_means_utc_and_no_free_day():
    times = hours("2026-12-24T00:00", 72)
    assert calendar_of("other/x/Deployment/y", CALENDARS).timezone == "UTC"
    assert not special_mask(["other/x/Deployment/y"], times, CALENDARS).any()
    assert special_mask([], times, CALENDARS).shape == (0, 72)
    assert special_mask([EU], times[:0], CALENDARS).shape == (1, 0)


@given(
    globs=st.lists(
        st.sampled_from(["*", "prod-eu/*", "*/shop/*", "*/checkout", "prod-[e]u/*", "nothing"]),
        max_size=4,
    )
)
def test_masks_follow_the_calendar_that_calendar_of_names(globs: list[str]):
    zones = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"]
    calendars = [
        Calendar(
            glob,
            zone,
            special_days=("2026-07-01",),
            maintenance=("2026-07-02T01:00/2026-07-02T03:00",),
        )
        for glob, zone in zip(globs, zones, strict=False)
    ]
    times = hours("2026-06-30T00:00", 96)
    both = zip(
        [EU, US],
        special_mask([EU, US], times, calendars),
        maintenance_mask([EU, US], times, calendars),
        strict=True,
    )
    for workload, special, maintenance in both:
        calendar = calendar_of(workload, calendars)
        local = times.tz_convert(calendar.timezone)
        assert list(special) == [str(t.date()) in calendar.special_days for t in local]
        assert maintenance.sum() == 2 * len(calendar.maintenance)


def test_maintenance_is_half_open_local_time():
    calendar = Calendar("*", "Europe/Berlin", maintenance=("2026-06-03T01:00/2026-06-03T03:00",))
    times = hours("2026-06-02T20:00", 8)
    inside = maintenance_mask([EU], times, [calendar])[0]
    assert list(times[inside].strftime("%d %H:%M")) == ["02 23:00", "03 00:00"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timezone", "Mars/Olympus"),
        ("timezone", ""),
        ("timezone", "../etc/passwd"),
        ("country", "XX"),
        ("country", "DE-ZZ"),
        ("country", "DE-"),
        ("special_days", ("24.12.2026",)),
        ("maintenance", ("2026-06-03",)),
        ("maintenance", ("2026-06-03T03:00/2026-06-03T01:00",)),
        ("maintenance", ("a/b",)),
    ],
)
def test_a_wrong_knob_is_named_with_what_came(key: str, value: Any):
    came = value if isinstance(value, str) else value[0]
    knobs: dict[str, Any] = {key: value}
    with pytest.raises(ValueError, match=key) as error:
        Calendar(**knobs)
    assert repr(came) in str(error.value)


# ---- names


def names(calendar: Calendar, year: int) -> dict[str, str]:
    return dict(special_days(calendar, date(year, 1, 1), date(year, 12, 31)))


def test_special_days_have_names_and_both_ends_count():
    calendar = Calendar("*", "Europe/Berlin", "DE", special_days=("2026-12-24", "2027-12-24"))
    assert special_days(calendar, date(2026, 12, 24), date(2027, 1, 1)) == [
        ("2026-12-24", "special day"),
        ("2026-12-25", "Christmas Day"),
        ("2026-12-26", "Second Day of Christmas"),
        ("2027-01-01", "New Year's Day"),
    ]
    assert special_days(Calendar(), date(2026, 1, 1), date(2026, 12, 31)) == []
    with pytest.raises(ValueError, match="from 2026-01-02 on, got 2026-01-01"):
        special_days(calendar, date(2026, 1, 2), date(2026, 1, 1))


@pytest.mark.parametrize("country", ["DE-BY", "US", "GB", "JP", "CN", "TR", "SA"])
def test_a_holiday_has_the_same_name_next_year(country: str):
    one, other = (set(names(Calendar("*", "UTC", country), y).values()) for y in (2026, 2027))
    assert len(one & other) >= 0.75 * len(one)
    assert not [name for name in one | other if re.search(r"[)）]$|\d{4}|observed", name)]


def test_a_configured_day_that_is_a_holiday_keeps_the_holidays_name():
    calendar = Calendar("*", "UTC", "US", special_days=("20260704", "2026-07-05"))
    days = names(calendar, 2026)
    assert days["2026-07-04"] == days["2026-07-03"] == "Independence Day"  # a Saturday's is Friday
    assert days["2026-07-05"] == "special day"


@pytest.mark.parametrize("calendar", CALENDARS)
def test_the_mask_holds_the_named_days_and_no_others(calendar: Calendar):
    times = hours("2026-01-01T00:00", 366 * 24)
    workload = calendar.match.replace("*", "x")
    mask = special_mask([workload], times, [calendar])[0]
    local = local_days(times, calendar.timezone)
    masked = sorted(set(local[mask].strftime("%Y-%m-%d")))
    assert masked == sorted(
        {day for day, _ in special_days(calendar, local[0].date(), local[-1].date())}
    )
