"""Who is told what: once, in order, whatever runs do; on every channel by itself."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.adapters.notify import Message, Trouble
from pipelines.notices import Decision, decide
from pipelines.notices_terms import NoticeParams, Past, Route

T0 = pd.Timestamp("2026-06-01T12:00Z").as_unit("ms")
MIN = pd.Timedelta(1, "min")
PARAMS = NoticeParams(per_hour_max=10, retry_h=24, settle_min=30, leak_hours=(24, 6, 1))


def at(minutes: float) -> pd.Timestamp:
    return (T0 + minutes * MIN).as_unit("ms")


def trouble(name: str = "a", **changes: Any) -> Trouble:
    usual: dict[str, Any] = {
        "trouble_id": name, "what": "incident", "severity": "warning", "title": f"{name}: odd",
        "workloads": (f"c/n/Deployment/{name}",), "started_at": at(-20), "detected_at": at(-10),
    }  # fmt: skip
    return Trouble(**usual | changes)


@dataclass
class Told:
    """A channel's readers, and the table between the runs."""

    routes: Sequence[Route] = ()
    params: NoticeParams = PARAMS
    channels: tuple[str, ...] = ("ops",)
    past: list[Past] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def run(
        self,
        minute: float,
        *troubles: Trouble,
        as_of: float | None = None,
        become: str = "sent",
    ) -> Decision:
        decision = decide(
            troubles, self.past, self.channels, self.routes, self.params,
            as_of=at(minute if as_of is None else as_of), now=at(minute),
        )  # fmt: skip
        self.past += [replace(row, status=become) for row in decision.rows]
        self.messages += decision.messages if become == "sent" else ()
        return decision

    def kinds(self, channel: str = "ops") -> list[str]:
        return [m.kind for m in self.messages if m.channel == channel]


def test_an_incident_opens_gets_worse_and_is_closed_each_told_once() -> None:
    ops = Told()
    for minute in (0, 0, 5, 15):
        ops.run(minute, trouble())
    for minute in (20, 30):
        ops.run(minute, trouble(severity="critical"))
    over = trouble(severity="critical", ended_at=at(35))
    for minute in (40, 64):
        ops.run(minute, over)
    assert ops.kinds() == ["opened", "worse"]  # not over for long enough
    for minute in (65, 80):
        ops.run(minute, over)
    assert ops.kinds() == ["opened", "worse", "closed"]


def test_a_leak_is_told_again_at_each_threshold_and_never_backwards() -> None:
    ops = Told()
    for minute, left in enumerate((40.0, 30.0, 23.0, 25.0, 22.0, 5.0, 4.0, math.nan, 0.5, 7.0)):
        ops.run(minute, trouble(what="leak", left_h=left))
    told = [(m.kind, m.news[0][1].note) for m in ops.messages]
    assert [k for k, _ in told] == ["opened", "worse", "worse", "worse"]
    assert ["24 h" in n or "6 h" in n or "1 h" in n for _, n in told] == [False, True, True, True]


def test_a_leak_that_opens_near_its_limit_has_told_the_far_thresholds() -> None:
    ops = Told()
    ops.run(0, trouble(what="leak", left_h=5.0))
    ops.run(1, trouble(what="leak", left_h=4.0))
    assert ops.kinds() == ["opened"]


def test_what_was_over_before_anybody_was_told_is_counted_and_not_told() -> None:
    ops = Told()
    decision = ops.run(0, trouble(ended_at=at(-30)))
    assert ops.messages == []
    assert decision.untold == {"over before it was told": 1}


def test_it_begins_again_after_it_was_closed() -> None:
    ops = Told()
    ops.run(0, trouble())
    ops.run(60, trouble(ended_at=at(10)))
    ops.run(60, trouble())  # the same clock: its windows were only scored again
    assert ops.kinds() == ["opened", "closed"]
    ops.run(75, trouble())
    ops.run(90, trouble())
    assert ops.kinds() == ["opened", "closed", "opened"]
    assert "again" in ops.messages[-1].news[0][1].note


def test_an_earlier_clock_tells_nothing_of_what_a_later_run_has_told() -> None:
    ops = Told()
    ops.run(0, trouble())
    ops.run(60, trouble(ended_at=at(10)))
    ops.run(70, trouble(severity="critical"), as_of=5)
    assert ops.kinds() == ["opened", "closed"]


def test_the_same_trouble_under_another_id_is_the_one_that_was_told_of() -> None:
    """Late samples move the beginning, and with it the id: the old one is closed by the run."""
    ops = Told()
    old = trouble("a")
    new = replace(old, trouble_id="b", started_at=at(-25))
    ops.run(0, old)
    ops.run(15, replace(old, ended_at=at(14)), new)
    ops.run(30, replace(old, ended_at=at(14)), new)
    ops.run(120, replace(old, ended_at=at(14)), new)
    assert ops.kinds() == ["opened"]
    ops.run(130, new)  # the run of that clock was repeated: the old id is nowhere
    ops.run(200, replace(new, ended_at=at(140)))
    assert ops.kinds() == ["opened", "closed"]
    assert {m.news[0][1].trouble_id for m in ops.messages} == {"a"}


def test_two_troubles_of_one_workload_after_each_other_are_two() -> None:
    ops = Told()
    first = trouble("a")
    ops.run(0, first)
    first = replace(first, ended_at=at(10))
    ops.run(60, first)
    ops.run(300, first, replace(trouble("b"), workloads=first.workloads, started_at=at(280)))
    assert ops.kinds() == ["opened", "closed", "opened"]


def test_routes_choose_by_workload_and_severity() -> None:
    routes = (
        Route("c/shop/*", ("shop",)),
        Route("*", ("oncall",), "critical"),
    )
    both = Told(routes=routes, channels=("shop", "oncall"))
    mine = trouble(workloads=("c/other/Deployment/x", "c/shop/Deployment/y"))
    both.run(0, mine, trouble("z"))
    assert [(m.channel, m.news[0][1].trouble_id) for m in both.messages] == [("shop", "a")]
    both.run(15, replace(mine, severity="critical"))
    # who hears of it for the first time is told that it opened
    assert [(m.channel, m.kind) for m in both.messages[1:]] == [
        ("shop", "worse"), ("oncall", "opened"),
    ]  # fmt: skip


def test_the_hour_has_so_many_messages_and_the_last_one_has_the_rest() -> None:
    ops = Told()
    many = [trouble(f"w{i:03d}") for i in range(200)]
    ops.run(0, *many)
    assert len(ops.messages) == 8  # two in ten are kept for what is critical
    assert ops.kinds()[-1] == "digest"
    assert sum(len(m.news) for m in ops.messages) == 200
    held = ops.run(10, *many, trouble("late"))
    assert held.messages == ()
    assert sum(held.untold.values()) == 1
    urgent = (trouble(f"u{i}", severity="critical") for i in range(9))
    at_last = ops.run(20, *many, trouble("late"), *urgent)
    assert [len(m.news) for m in at_last.messages] == [1, 9]
    assert at_last.messages[-1].news[-1][1].trouble_id == "late"
    assert at_last.untold == {}
    ops.run(61, *many, trouble("later"))
    assert ops.messages[-1].news[0][1].trouble_id == "later"


def test_what_is_critical_comes_first() -> None:
    ops = Told(params=replace(PARAMS, per_hour_max=3))
    ops.run(0, trouble("a"), trouble("b"), trouble("c", severity="critical"), trouble("d"))
    assert [[t.trouble_id for _, t in m.news] for m in ops.messages] == [["c"], ["a"], ["b", "d"]]


@pytest.mark.parametrize("become", ["failed", "intended"])
def test_a_message_that_was_not_taken_is_sent_again_until_it_is_too_old(become: str) -> None:
    ops = Told()
    first = ops.run(0, trouble(), become=become)
    again = ops.run(16, trouble(), become=become)
    assert first.messages[0].message_id == again.messages[0].message_id
    gone = ops.run(24 * 60 + 1, trouble(), become=become)
    assert gone.messages == ()
    assert any("given up" in reason for reason in gone.untold)


def test_a_run_that_may_still_be_sending_is_left_to_do_it() -> None:
    ops = Told()
    ops.run(0, trouble(), become="intended")
    assert ops.run(14, trouble()).messages == ()
    assert len(ops.run(15, trouble()).messages) == 1


def test_what_a_channel_refuses_for_good_is_not_sent_again() -> None:
    ops = Told()
    ops.run(0, trouble(), become="refused")
    assert ops.run(30, trouble()).messages == ()


def test_a_shortfall_is_told_once_and_never_closed() -> None:
    ops = Told()
    short = trouble("s", what="shortfall", started_at=at(600))
    ops.run(0, short)
    ops.run(15, short)
    ops.run(30)
    ops.run(45, short)
    assert ops.kinds() == ["opened"]


Step = tuple[int, list[tuple[str, int, bool, bool]], str, int]
steps = st.lists(
    st.tuples(
        st.integers(0, 40),  # minutes since the step before
        st.lists(
            st.tuples(
                st.sampled_from("abc"), st.integers(0, 3), st.booleans(), st.booleans()
            ),
            max_size=3, unique_by=lambda t: t[0],
        ),
        st.sampled_from(["sent", "sent", "failed", "intended"]),
        st.integers(0, 60),  # how late the run's clock is
    ),
    max_size=25,
)  # fmt: skip


@given(steps=steps)
def test_whatever_runs_do_readers_hear_a_story_that_makes_sense(steps: list[Step]) -> None:
    """Opened first, closed once, no message twice, no more an hour than allowed."""
    ops = Told(params=replace(PARAMS, per_hour_max=4))
    minute = 0
    for gap, seen, become, late in steps:
        minute += gap
        clock = minute - late
        here = [
            trouble(
                name,
                severity="critical" if critical else "warning",
                ended_at=at(clock - 31) if over else None,
                left_h=(40.0, 20.0, 3.0, 0.5)[left],
                what="leak",
                started_at=at(-1000),
            )
            for name, left, critical, over in seen
        ]
        ops.run(minute, *here, as_of=clock, become=become)
    stories: dict[str, list[str]] = defaultdict(list)
    for message in ops.messages:
        for kind, about in message.news:
            stories[about.trouble_id].append(kind)
    for story in stories.values():
        is_open = False
        for kind in story:
            assert is_open == (kind != "opened")
            is_open = kind != "closed"
    sent = ops.messages
    assert len({m.message_id for m in sent}) == len(sent)
    times = sorted({(p.told_at, p.message_id) for p in ops.past if p.status == "sent"})
    for moment, _ in times:
        lately = [t for t, _ in times if pd.Timedelta(0) <= t - moment < 60 * MIN]
        assert len(lately) <= 4
