"""Requests and retention as laws: what is asked, how often, and within which limits."""

from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.cloudwatch.requests import Group, Stat, batches, cut
from pipelines.adapters.cloudwatch.retention import Part, check_step, notes_on, parts_of
from pipelines.adapters.source import Window
from pipelines.errors import ConfigError

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
NOW_MS = pd.Timestamp("2026-06-30T10:17:23Z").value // 10**6
KEPT_MS = [(1_000, 3 * HOUR_MS), (60_000, 15 * DAY_MS), (300_000, 63 * DAY_MS),
           (HOUR_MS, 455 * DAY_MS)]  # fmt: skip
STEPS_MS = st.sampled_from([1000, 10_000, 30_000, 60_000, 300_000, 420_000, 900_000, HOUR_MS])


def stat(number: int, statistic: str = "Sum") -> Stat:
    return Stat("", "N", "m", (("PodName", str(number)),), statistic)


def plain(number: int) -> Group:
    return Group({"name": str(number)}, {"metric": ((stat(number),), "")})


@st.composite
def groups(draw: st.DrawFn) -> list[Group]:
    """Plain ones, and expressions of which some share an input."""
    out = []
    for number in range(draw(st.integers(0, 700))):
        if number % 3:
            out.append(plain(number))
        else:
            inputs = {
                "a": ((stat(number), stat(number + 10_000)), "sum"),
                "b": ((stat(-1),), "sum"),
            }
            out.append(Group({"name": str(number)}, inputs, "a / b", "0 / b"))
    return out


@st.composite
def parts(draw: st.DrawFn) -> Part:
    period_ms = draw(st.sampled_from([60_000, 300_000, 420_000, HOUR_MS, 7 * HOUR_MS]))
    first_ms = draw(st.integers(20_000 * 1440, 20_100 * 1440)) * MINUTE_MS
    return Part(first_ms, first_ms + draw(st.integers(1, 40 * 1440)) * MINUTE_MS, period_ms)


@given(all_=groups(), part=parts(), points=st.sampled_from([1, 1000, 200_000, 2_000_000]))
def test_every_metric_and_stamp_is_asked_for_once_and_no_request_breaks_a_limit(
    all_: list[Group], part: Part, points: int
):
    pieces = cut(part, all_, points) if points > 1 else cut(part, all_, points)[:50]
    assert (pieces[0].first_ms, pieces[0].period_ms) == (part.first_ms, part.period_ms)
    assert points == 1 or pieces[-1].end_ms == part.end_ms
    assert all(one.end_ms == other.first_ms for one, other in pairwise(pieces))
    asked = [ms for p in pieces for ms in range(p.ask_first_ms, p.ask_end_ms, p.period_ms)]
    here = range(part.ask_first_ms, pieces[-1].end_ms, part.period_ms)
    assert asked == list(here)
    for steps in {p.steps for p in pieces if p.steps and all_}:
        cost = []
        for batch in batches(all_, steps):
            queries = batch.request(Part(0, steps * 60_000, 60_000))["MetricDataQueries"]
            assert len(queries) == batch.size <= 500
            assert len(queries) * steps <= 100_800
            ids = {q["Id"] for q in queries}
            assert len(ids) == len(queries)
            assert ids >= {name for _, names in batch.results() for name in names}
            assert batch.metrics_requested == len(batch.names)
            cost += [group.labels["name"] for group in batch.groups]
        assert cost == [group.labels["name"] for group in all_]


@given(number=st.integers(1, 2000), days=st.integers(1, 60), points=st.integers(10_000, 10**7))
def test_a_piece_holds_no_more_than_was_allowed(number: int, days: int, points: int):
    part = Part(20_000 * DAY_MS, (20_000 + days) * DAY_MS, 300_000)
    for piece in cut(part, [plain(i) for i in range(number)], points):
        assert piece.steps * number <= points


def test_a_piece_ends_with_a_utc_day_where_a_day_fits():
    part = Part(20_000 * DAY_MS + 7 * HOUR_MS, 20_030 * DAY_MS, 300_000)
    pieces = cut(part, [plain(i) for i in range(1000)], 2_000_000)
    assert [p.end_ms % DAY_MS for p in pieces] == [0] * len(pieces)
    assert len(pieces) == 5  # 6.9 days at a time


@pytest.mark.parametrize(("steps", "queries"), [(1, 500), (201, 500), (202, 499), (288, 350),
                                            (100_800, 1)])  # fmt: skip
def test_a_request_is_as_full_as_it_may_be(steps: int, queries: int):
    made = batches([plain(i) for i in range(501)], steps)
    assert made[0].size == queries


def test_five_statistics_of_a_metric_are_billed_as_one():
    names = ["Sum", "Average", "Minimum", "Maximum", "p50", "p99"]
    one = [Group({"name": n}, {"metric": ((stat(1, n),), "")}) for n in names]
    assert batches(one[:5], 1)[0].metrics_requested == 1
    assert batches(one, 1)[0].metrics_requested == 2


def test_a_workload_that_no_request_can_hold_is_refused_by_name():
    many = Group({"name": "checkout"}, {"a": (tuple(stat(i) for i in range(600)), "sum")}, "a")
    with pytest.raises(ConfigError, match="checkout"):
        batches([many], 1)
    long = Group({"name": "checkout"}, {"a": (tuple(stat(i) for i in range(450)), "sum")}, "a")
    with pytest.raises(ConfigError, match="2048"):
        batches([long], 1)


@given(step_ms=STEPS_MS, age_min=st.integers(0, 480 * 1440), length=st.integers(1, 3000))
def test_no_part_is_asked_finer_than_it_is_kept_and_all_of_the_window_is_in_one(
    step_ms: int, age_min: int, length: int
):
    first_ms = (NOW_MS - age_min * MINUTE_MS) // step_ms * step_ms
    window = Window(first_ms, min(first_ms + length * step_ms * 10, NOW_MS + step_ms), step_ms)
    if not window.steps:
        return
    found = parts_of(window, NOW_MS, 0)
    assert (found[0].first_ms, found[-1].end_ms) == (window.first_ms, window.end_ms)
    assert all(one.end_ms == other.first_ms for one, other in pairwise(found))
    stamps: list[int] = []
    for part in found:
        age_ms = NOW_MS - part.ask_first_ms if part.period_ms else 0
        for unit_ms, kept_ms in KEPT_MS[:-1]:
            if part.period_ms and age_ms > kept_ms and part.steps:
                coarser = next(u for u, _ in KEPT_MS if u > unit_ms)
                assert part.period_ms % coarser == 0
        if part.period_ms:
            assert part.period_ms % step_ms == 0
            assert age_ms <= 455 * DAY_MS or not part.steps
            if part.steps < 10_000:
                stamps += range(part.ask_first_ms, part.ask_end_ms, part.period_ms)
        else:
            assert NOW_MS - (part.end_ms - 1) > 454 * DAY_MS
    assert stamps == sorted(set(stamps))
    assert all(window.first_ms <= t < window.end_ms for t in stamps)
    # a period's end is the next part's first stamp: nothing is counted twice, nothing is left out
    for one, other in pairwise([p for p in found if p.period_ms]):
        assert one.ask_end_ms == other.ask_first_ms


@pytest.mark.parametrize(("step_ms", "kept_ms", "coarser_ms"), [
    (1_000, 3 * HOUR_MS, 60_000),
    (30_000, 3 * HOUR_MS, 60_000),
    (60_000, 15 * DAY_MS, 300_000),
    (300_000, 63 * DAY_MS, HOUR_MS),
])  # fmt: skip
def test_the_boundary_is_where_cloudwatch_has_it(step_ms: int, kept_ms: int, coarser_ms: int):
    now_ms = NOW_MS // DAY_MS * DAY_MS
    at = now_ms - kept_ms
    inside = parts_of(Window(at, at + coarser_ms, step_ms), now_ms, 0)
    assert [p.period_ms for p in inside] == [step_ms]
    before = parts_of(Window(at - coarser_ms, at, step_ms), now_ms, 0)
    assert [(p.period_ms, p.steps) for p in before] == [(coarser_ms, 1)]
    both = parts_of(Window(at - coarser_ms, at + coarser_ms, step_ms), now_ms, 0)
    assert [(p.first_ms, p.period_ms) for p in both] == [
        (at - coarser_ms, coarser_ms),
        (at, step_ms),
    ]
    with_margin = parts_of(Window(at, at + coarser_ms, step_ms), now_ms, 1)
    assert with_margin[0].period_ms == coarser_ms


def test_what_cloudwatch_no_longer_has_is_not_asked_and_said():
    first_ms = NOW_MS // DAY_MS * DAY_MS - 460 * DAY_MS
    window = Window(first_ms, first_ms + 10 * DAY_MS, 300_000)
    found = parts_of(window, NOW_MS, 0)
    assert [p.period_ms for p in found] == [0, HOUR_MS]
    assert found[0].steps == 0
    notes = notes_on("cpu", window, found, NOW_MS)
    assert "not asked" in notes[0]
    assert "coarser" in notes[1]
    assert "two weeks" in notes[2]
    assert notes_on("cpu", Window(NOW_MS - 300_000, NOW_MS, 300_000), [], NOW_MS) == ()


@given(st.integers(1, 10**7))
def test_only_periods_of_cloudwatch_are_steps(step_ms: int):
    allowed = step_ms % 60_000 == 0 or step_ms in (1000, 5000, 10_000, 20_000, 30_000)
    if allowed:
        check_step(step_ms)
    else:
        with pytest.raises(ConfigError, match=r"history\.step_s"):
            check_step(step_ms)
