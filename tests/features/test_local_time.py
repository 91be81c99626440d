from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.local_time import to_wall, wall_positions, wall_time
from features.panel import Panel

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",  # half an hour off, no changes
    "Australia/Lord_Howe",  # half an hour off, changes by half an hour
    "Pacific/Apia",
]
STEPS_MIN = [1, 5, 7, 15, 30, 45, 60, 120, 360, 1440]
MINUTE = pd.Timedelta(1, "min")
BERLIN_SPRING = pd.Timestamp("2026-03-29T01:00Z")
BERLIN_AUTUMN = pd.Timestamp("2026-10-25T01:00Z")

zones, steps = st.sampled_from(ZONES), st.sampled_from(STEPS_MIN).map(lambda m: m * MINUTE)
CHANGES = [
    BERLIN_SPRING,
    BERLIN_AUTUMN,
    *map(
        pd.Timestamp,
        (
            "2026-03-08T07:00Z",  # New York
            "2026-11-01T06:00Z",
            "2026-04-04T15:00Z",  # Lord Howe
            "2026-10-03T15:30Z",
            "2011-12-30T10:00Z",  # Apia leaves out a day
        ),
    ),
]
starts = st.builds(
    lambda change, before: change - before * MINUTE,
    st.sampled_from(CHANGES),
    st.one_of(st.integers(-90, 400), st.integers(0, 100_000)),
)


def panel_of(values: np.ndarray, start: pd.Timestamp, step: pd.Timedelta) -> Panel:
    keys = pd.DataFrame(
        {"workload": [f"c/n/k/w{i}" for i in range(len(values))], "metric": "m"}, dtype="str"
    )
    return Panel(keys, start.as_unit("ms"), step, values)


def counted(start: pd.Timestamp, step: pd.Timedelta, n_steps: int) -> Panel:
    """Two series whose every value is its own."""
    return panel_of(np.arange(2.0 * n_steps).reshape(2, -1), start, step)


def offsets(times: pd.DatetimeIndex, zone: str) -> np.ndarray:
    return (times.tz_convert(zone).tz_localize(None) - times.tz_localize(None)).to_numpy()


# ---- the clock


def test_the_wall_says_what_people_see():
    assert wall_time(pd.Timestamp("2026-07-01T07:00Z"), "Europe/Berlin") == pd.Timestamp(
        "2026-07-01T09:00Z"
    )
    assert wall_time(pd.Timestamp("2026-01-01T20:00Z"), "Asia/Kolkata") == pd.Timestamp(
        "2026-01-02T01:30Z"
    )


def test_utc_is_left_alone():
    panel = counted(BERLIN_SPRING, 5 * MINUTE, 300)
    assert to_wall(panel, "UTC") is panel


@given(start=starts, step=steps)
def test_where_clocks_never_change_only_the_label_moves(start: pd.Timestamp, step: pd.Timedelta):
    panel = counted(start, step, 50)
    wall = to_wall(panel, "Asia/Kolkata")
    assert wall.values is panel.values
    assert wall.start == start + pd.Timedelta("5h30min")


# ---- the changed nights


def test_the_hour_that_does_not_exist_is_empty():
    panel = counted(BERLIN_SPRING - pd.Timedelta("2h"), 5 * MINUTE, 60)
    wall = to_wall(panel, "Europe/Berlin")
    assert wall.start == pd.Timestamp("2026-03-29T00:00Z")
    hour = np.asarray(wall.times.hour)
    assert np.isnan(wall.values[:, hour == 2]).all()
    np.testing.assert_array_equal(wall.values[:, hour != 2], panel.values)


def test_the_hour_that_comes_twice_is_the_mean_of_what_was_measured():
    values = np.arange(5.0) + np.array([[0.0], [10.0], [20.0], [30.0]])
    values[1, 1] = np.nan
    values[2, 2] = np.nan
    values[3, 1:3] = np.nan
    panel = panel_of(values, BERLIN_AUTUMN - pd.Timedelta("2h"), 60 * MINUTE)
    wall = to_wall(panel, "Europe/Berlin")
    assert list(wall.times.hour) == [1, 2, 3, 4]
    np.testing.assert_array_equal(wall.values[0], [0, 1.5, 3, 4])
    np.testing.assert_array_equal(wall.values[1], [10, 12, 13, 14])
    np.testing.assert_array_equal(wall.values[2], [20, 21, 23, 24])
    np.testing.assert_array_equal(wall.values[3], [30, np.nan, 33, 34])


def test_half_an_hour_is_a_change_too():
    change = pd.Timestamp("2026-04-04T15:00Z")  # 02:00 becomes 01:30
    panel = counted(change - pd.Timedelta("1h"), 10 * MINUTE, 12)
    wall = to_wall(panel, "Australia/Lord_Howe")
    assert wall.start == pd.Timestamp("2026-04-05T01:00Z")
    np.testing.assert_array_equal(wall.values[0], [0, 1, 2, 4.5, 5.5, 6.5, 9, 10, 11])


def test_a_panel_that_starts_in_the_second_half_of_the_night_reaches_back():
    start = BERLIN_AUTUMN - pd.Timedelta("30min")  # 02:30, of which the hour begins anew
    wall = to_wall(counted(start, 30 * MINUTE, 4), "Europe/Berlin")
    assert wall.start == pd.Timestamp("2026-10-25T02:00Z")
    np.testing.assert_array_equal(wall.values[0], [1, 1, 3])  # 1 and the mean of 0 and 2


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_days_stay_days(zone: str):
    panel = counted(pd.Timestamp("2025-12-01T00:00Z"), pd.Timedelta(days=1), 730)
    assert to_wall(panel, zone).values is panel.values


def test_of_two_equally_near_points_the_earlier_one_counts():
    panel = counted(pd.Timestamp("2026-02-01T00:00Z"), 120 * MINUTE, 12 * 365)
    assert to_wall(panel, "Europe/Berlin").values is panel.values


# ---- laws


@given(start=starts, step=steps, n_steps=st.integers(1, 400), zone=zones)
def test_every_value_comes_back_unless_its_local_time_came_twice(
    start: pd.Timestamp, step: pd.Timedelta, n_steps: int, zone: str
):
    panel = counted(start, step, n_steps)
    wall = to_wall(panel, zone)
    first, n_wall, position = wall_positions(panel.start, n_steps, step, zone, wall.start)
    assert first == wall.start
    assert n_wall == wall.n_steps
    once = np.bincount(position)[position] == 1
    np.testing.assert_array_equal(wall.values[:, position][:, once], panel.values[:, once])
    assert np.isfinite(wall.values[:, position]).all()
    assert np.isnan(wall.values).sum(axis=1).tolist() == [n_wall - len(set(position))] * 2


@given(start=starts, step=steps, n_steps=st.integers(1, 400), zone=zones)
def test_a_grid_point_is_within_half_a_step_of_the_local_time(
    start: pd.Timestamp, step: pd.Timedelta, n_steps: int, zone: str
):
    anchor = wall_time(start, zone) - 10_000 * step
    first, n_wall, position = wall_positions(start, n_steps, step, zone, anchor)
    times = pd.date_range(start, periods=n_steps, freq=step)
    local = times.tz_convert(zone).tz_localize(None).tz_localize("UTC")
    off = abs(first + pd.TimedeltaIndex(position * step.to_timedelta64()) - local)
    assert (off <= step / 2).all()
    changes = np.unique(offsets(times, zone)) - offsets(times[:1], zone)
    if not (changes % step.to_timedelta64()).astype(np.int64).any():
        assert (off == pd.Timedelta(0)).all()
    assert position.min() == 0
    assert position.max() == n_wall - 1


@given(start=starts, step=steps, n_steps=st.integers(2, 400), zone=zones)
def test_positions_rise_but_for_the_hour_that_comes_twice(
    start: pd.Timestamp, step: pd.Timedelta, n_steps: int, zone: str
):
    anchor = wall_time(start, zone) - 10_000 * step
    _, _, position = wall_positions(start, n_steps, step, zone, anchor)
    offset = offsets(pd.date_range(start, periods=n_steps, freq=step), zone)
    for (p, q), (was, now) in zip(pairwise(position), pairwise(offset), strict=True):
        if now == was:
            assert q == p + 1
        elif now > was:
            assert q > p
        else:
            assert q >= p + 1 - np.ceil((was - now) / step.to_timedelta64())
    if step >= pd.Timedelta("1h"):
        assert (np.diff(position) >= 0).all()


@given(start=starts, step=steps, zone=zones, n_steps=st.integers(1, 300), cut=st.integers(0, 300))
def test_a_forecast_never_asks_for_what_was_learned_and_continues_its_grid(
    start: pd.Timestamp, step: pd.Timedelta, zone: str, n_steps: int, cut: int
):
    panel = counted(start, step, cut + 1)
    learned = to_wall(panel, zone)
    first, n_wall, position = wall_positions(panel.end, n_steps, step, zone, learned.end)
    assert first >= learned.end
    assert (first - learned.end) % step == pd.Timedelta(0)
    assert len(position) == n_steps
    assert ((position >= 0) & (position < n_wall)).all()


@given(start=starts, step=steps, zone=zones, cut=st.integers(1, 299))
def test_two_panels_meet_on_one_grid(start: pd.Timestamp, step: pd.Timedelta, zone: str, cut: int):
    whole = counted(start, step, 300)
    wall = to_wall(whole, zone)
    late = to_wall(whole.window(start=whole.start + cut * step), zone, anchor=wall.start)
    shift = (late.start - wall.start) / step
    assert shift == round(shift)
    # the night that comes twice may be cut in two: then one end or beginning lacks its twin
    night = max(pd.Timedelta("1h") / step, 1)
    assert 0 <= wall.n_steps - round(shift) - late.n_steps <= night
    aligned = wall.values[:, round(shift) :][:, : late.n_steps]
    same = (late.values == aligned) | (np.isnan(late.values) & np.isnan(aligned))
    assert (~same).sum(axis=1).max() <= night


def test_who_asks_in_the_hour_that_comes_twice_gets_what_the_model_can_say():
    panel = counted(BERLIN_AUTUMN - pd.Timedelta("24h"), 30 * MINUTE, 49)
    learned = to_wall(panel, "Europe/Berlin")  # ends at 02:30, of the second time
    assert learned.end == pd.Timestamp("2026-10-25T03:00Z")
    first, n_wall, position = wall_positions(panel.end, 4, panel.step, "Europe/Berlin", learned.end)
    assert first == learned.end
    assert (n_wall, position.tolist()) == (3, [0, 0, 1, 2])


@pytest.mark.parametrize("zone", ZONES)
def test_nothing_stays_nothing(zone: str):
    empty = counted(BERLIN_SPRING, 5 * MINUTE, 0)
    assert to_wall(empty, zone).values.shape == (2, 0)
    with pytest.raises(ValueError, match="n_steps must be 1 or more, got 0"):
        wall_positions(BERLIN_SPRING, 0, 5 * MINUTE, zone, BERLIN_SPRING)
    none = panel_of(np.empty((0, 30)), BERLIN_SPRING, 60 * MINUTE)
    assert to_wall(none, zone).n_series == 0
