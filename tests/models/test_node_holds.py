"""Nodes are held from the first floor or room to the end of the peak; schedules are UTC."""

import re
from datetime import date

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.actions import Floor, Hold, Placeholder
from models.node_holds import civil_schedule, hold_schedule, node_holds

AT = pd.Timestamp("2026-06-08T08:00", tz="UTC")
DURATION = re.compile(r"^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$")
"""What the NodePool's schema takes."""


def minute(m):
    return AT + pd.Timedelta(m, "min")


def floor(begin, end, after, workload="prod/shop/Deployment/a", **columns):
    return Floor(
        workload, "a", 2, 2, after, minute(begin), minute(end), "act", "", "act", **columns
    )


def room(begin, end, **columns):
    return Placeholder("prod", 0, 1, 1.0, 1.0, minute(begin), minute(end), "act", "", "act",
                       **columns)  # fmt: skip


def spans(holds):
    return [
        tuple(int((t - AT) / pd.Timedelta(1, "min")) for t in (h.starts_at, h.ends_at))
        for h in holds
    ]


def test_a_hold_lasts_from_the_first_room_until_the_peak_begins_to_end():
    day = [floor(10, 20, 4), floor(20, 60, 9), floor(60, 70, 6), floor(70, 80, 3)]
    (hold,) = node_holds(day, [room(5, 10), room(15, 20)])
    assert spans([hold]) == [(5, 60)]
    assert (hold.cluster, hold.nodepool, hold.gate, hold.mode) == ("prod", "", "act", "act")
    assert isinstance(hold, Hold)


def test_the_last_of_several_peaks_counts_and_nights_are_free():
    morning = [floor(0, 30, 4), floor(30, 40, 3), floor(40, 60, 4), floor(60, 70, 3)]
    other = [floor(20, 90, 5, "prod/shop/Deployment/b")]
    assert spans(node_holds([*morning, *other], [])) == [(0, 90)]
    assert spans(node_holds(morning, [])) == [(0, 60)]
    evening = [floor(600, 660, 3), floor(660, 700, 2)]
    assert spans(node_holds([*morning, *evening], [])) == [(0, 60), (600, 660)]


def test_every_nodepool_and_mode_has_its_own():
    one = floor(0, 10, 4, nodepool="spot")
    other = floor(5, 20, 4, "prod/shop/Deployment/b", nodepool="general")
    shown = Floor(
        "prod/shop/Deployment/c", "c", 2, 2, 4, minute(0), minute(90), "shadow", "", "act"
    )
    held = node_holds([one, other, shown], [room(0, 5, nodepool="general")])
    found = {(h.nodepool, h.gate): s for h, s in zip(held, spans(held), strict=True)}
    assert found == {("spot", "act"): (0, 10), ("general", "act"): (0, 20), ("", "shadow"): (0, 90)}
    assert node_holds([], []) == []


def test_a_schedule_is_whole_minutes_around_its_window():
    start = pd.Timestamp("2026-06-08T08:52:30", tz="UTC")
    assert hold_schedule(start, start + pd.Timedelta(89, "min")) == ("52 8 8 6 *", "1h30m")
    assert hold_schedule(AT, minute(45)) == ("0 8 8 6 *", "45m")
    assert hold_schedule(AT, minute(120)) == ("0 8 8 6 *", "2h")
    berlin = AT.tz_convert("Europe/Berlin")
    assert hold_schedule(berlin, berlin + pd.Timedelta(1, "D"))[0] == "0 8 8 6 *"
    for end in (AT, minute(-1), AT + pd.Timedelta(365, "D")):
        with pytest.raises(ValueError, match="less than a year"):
            hold_schedule(AT, end)


@given(begin=st.integers(0, 10**8), seconds=st.integers(1, 10**7))
def test_a_schedule_covers_its_window_and_is_what_the_api_server_takes(begin, seconds):
    start = AT + pd.Timedelta(begin, "s")
    cron, duration = hold_schedule(start, start + pd.Timedelta(seconds, "s"))
    assert DURATION.match(duration)
    at, hour, day, month, _ = cron.split()
    hit = start.replace(month=int(month), day=int(day), hour=int(hour), minute=int(at), second=0)
    assert pd.Timedelta(0) <= start - hit < pd.Timedelta(1, "min")
    held = hit + pd.Timedelta(duration.replace("h", "h ").replace("m", "min"))
    assert pd.Timedelta(0) <= held - (start + pd.Timedelta(seconds, "s")) < pd.Timedelta(1, "min")


WORKDAYS = (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("day", "zone", "cron"),
    [
        (date(2026, 10, 23), "Europe/Berlin", "30 6 * * 1,2,3,4,5"),  # summer, +2
        (date(2026, 10, 26), "Europe/Berlin", "30 7 * * 1,2,3,4,5"),  # after 2026-10-25, +1
        (date(2026, 10, 30), "America/New_York", "30 12 * * 1,2,3,4,5"),  # -4
        (date(2026, 11, 2), "America/New_York", "30 13 * * 1,2,3,4,5"),  # after 2026-11-01, -5
        (date(2027, 3, 26), "Europe/Berlin", "30 7 * * 1,2,3,4,5"),
        (date(2027, 3, 29), "Europe/Berlin", "30 6 * * 1,2,3,4,5"),  # after 2027-03-28
    ],
)
def test_a_civil_window_moves_with_daylight_saving(day, zone, cron):
    assert civil_schedule("08:30", "10:00", WORKDAYS, zone, day) == (cron, "1h30m")


@pytest.mark.parametrize(
    ("start", "end", "day", "zone", "wanted"),
    [
        # the change lies in the window: an hour more, an hour less
        ("01:30", "04:00", date(2026, 10, 25), "Europe/Berlin", ("30 23 * * 6", "3h30m")),
        ("01:30", "04:00", date(2027, 3, 28), "Europe/Berlin", ("30 0 * * 0", "1h30m")),
        ("00:30", "03:00", date(2026, 11, 1), "America/New_York", ("30 4 * * 0", "3h30m")),
        # 02:30 comes twice: all of it; 02:30 does not come: from 03:00 on
        ("02:30", "02:45", date(2026, 10, 25), "Europe/Berlin", ("30 0 * * 0", "1h15m")),
        ("02:30", "03:30", date(2027, 3, 28), "Europe/Berlin", ("0 1 * * 0", "30m")),
        # over midnight, and the day before in UTC
        ("22:00", "06:00", date(2026, 10, 24), "Europe/Berlin", ("0 20 * * 0", "9h")),
        ("08:00", "09:00", date(2026, 6, 7), "Pacific/Auckland", ("0 20 * * 6", "1h")),
    ],
)
def test_windows_around_a_change_cover_what_people_mean(start, end, day, zone, wanted):
    assert civil_schedule(start, end, [6], zone, day) == wanted


def test_every_day_of_the_week_is_a_star():
    every = civil_schedule("08:00", "09:00", range(7), "UTC", date(2026, 6, 8))
    assert every == ("0 8 * * *", "1h")


@pytest.mark.parametrize(
    ("change", "text"),
    [({"start": "8:3"}, "HH:MM"), ({"end": "24:00"}, "HH:MM"), ({"weekdays": []}, "weekdays"),
     ({"weekdays": [7]}, "weekdays"), ({"timezone": "Berlin"}, "IANA"), ({"start": "x"}, "HH:MM")],
)  # fmt: skip
def test_what_is_no_window_is_refused_by_name(change, text):
    good = {"start": "08:00", "end": "09:00", "weekdays": [0], "timezone": "Europe/Berlin"}
    with pytest.raises(ValueError, match=text):
        civil_schedule(**(good | change), day=date(2026, 6, 8))
