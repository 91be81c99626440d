"""A floor stands exactly a lead time before its pods must be ready; modes; what cannot be held."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.actions import Plan, Shortfall, floors_at, holds_at, placeholders_at
from models.capacity import capacity_forecast, capacity_frame
from models.plan import PlanParams, describe, make_plan

STEP = pd.Timedelta(300, "s")
AS_OF = pd.Timestamp("2026-06-08", tz="UTC").as_unit("ms")
FINE = PlanParams(mode="act", windows_max=99)
NODES = PlanParams(mode="act", nodes_first=True, placeholder_lead_s=420, windows_max=99)
# a first example compiles, and machines are shared: time is no law
law = settings(deadline=None, max_examples=25)
ready_of = arrays(np.int64, (3, 12), elements=st.integers(1, 12))
leads = st.lists(st.integers(0, 1300), min_size=3, max_size=3)


def name(i):
    return f"prod/shop/Deployment/w{i}"


def table(ready, lead_s, *, first=AS_OF, issued=AS_OF, **columns):
    ready = np.asarray(ready)
    n, m = ready.shape
    base = {
        "workload": np.repeat([name(i) for i in range(n)], m),
        "issued_at": issued,
        "ts": np.tile(pd.date_range(first, periods=m, freq=STEP).as_unit("ms"), n),
        "replicas": 99,
        "ready_replicas": ready.ravel(),
        "reactive_replicas": 1,
        "lead_time_s": np.repeat(np.asarray(lead_s, dtype=float), m),
        "gate": "act",
        "gate_reason": "carries it",
        "valid_until": issued + pd.Timedelta(26, "h"),
    }
    return pd.DataFrame(base | columns)


def state(n, **columns):
    base = {"hpa_min": 2.0, "hpa_max": 10.0, "request_cores": 0.5, "request_bytes": 2.0**29}
    return pd.DataFrame({"workload": [name(i) for i in range(n)]} | base | columns)


def at_s(seconds):
    return AS_OF + pd.Timedelta(seconds, "s")


@law
@given(ready=ready_of, lead_s=leads, begins=st.integers(0, 3))
def test_a_floor_is_what_its_lead_time_asks_for_at_every_moment(ready, lead_s, begins):
    plan = make_plan(table(ready, lead_s, first=AS_OF + begins * STEP), state(3), as_of=AS_OF,
                     params=FINE)  # fmt: skip
    wanted = np.clip(np.hstack([np.full((3, begins), 2), ready]), 2, 10)
    edges = np.arange(wanted.shape[1]) * 300
    stamps = {*edges, *(e - lead for e in edges for lead in lead_s)}
    for t in sorted({t + d for t in stamps for d in (-1, 0, 1) if 0 <= t + d < 300 * 12}):
        held = floors_at(plan, at_s(t))
        for i, lead in enumerate(lead_s):
            due = wanted[i, t // 300 : (t + lead) // 300 + 1].max()
            floor = held[name(i)].after if name(i) in held else 2
            assert floor == due, (i, t)


def test_workloads_move_by_their_own_lead_time_to_the_second():
    rows = table([[2, 2, 2, 6, 6, 2]] * 3, [0, 137.2, 610])
    plan = make_plan(rows, state(3), as_of=AS_OF, params=FINE)
    assert [f.starts_at for f in plan.floors] == [at_s(900 - s) for s in (610, 138, 0)]
    assert {f.ends_at for f in plan.floors} == {at_s(1500)}


@pytest.mark.parametrize("gone", ["dropped", "null"])
def test_a_table_that_does_not_say_what_must_be_ready_stands_as_it_is(gone):
    rows = table([[2, 2, 6, 6]], [100], replicas=np.array([2, 2, 5, 5]))
    old = rows.drop(columns="ready_replicas") if gone == "dropped" else rows.assign(
        ready_replicas=pd.array([None] * 4, dtype="Int64")
    )  # fmt: skip
    (floor,) = make_plan(old, state(1), as_of=AS_OF).floors
    assert (floor.after, floor.starts_at) == (5, at_s(600))


def test_what_should_have_stood_before_the_plan_is_cut_and_told():
    rows = table([[2, 6, 6, 2]], [500])
    (floor,) = make_plan(rows, state(1), as_of=AS_OF).floors
    assert floor.starts_at == AS_OF
    assert "500 s of lead time, 200 s late" in floor.reason
    (there,) = make_plan(rows, state(1, replicas=6.0), as_of=AS_OF).floors
    assert "late" not in there.reason
    (few,) = make_plan(rows, state(1, replicas=5.0), as_of=AS_OF).floors
    assert "200 s late" in few.reason


def test_issues_that_lie_between_each_others_steps_leave_no_hole():
    one = table([[6] * 6], [0])
    other = table([[1] * 6, [5] * 6], [0, 0], first=AS_OF + STEP / 2).iloc[6:]
    plan = make_plan(pd.concat([one, other]), state(2), as_of=AS_OF)
    assert len(plan.floors) == 2
    assert all(f.ends_at - f.starts_at >= 6 * STEP for f in plan.floors)


def test_a_grid_finer_than_an_hpa_looks_is_covered_from_above():
    rows = table([[2] * 30 + [6] * 30 + [2] * 30], [7])
    rows["ts"] = AS_OF + pd.to_timedelta(np.arange(90), unit="s")
    (floor,) = make_plan(rows, state(1), as_of=AS_OF).floors
    assert (floor.starts_at, floor.ends_at) == (at_s(23), at_s(60))


@law
@given(ready=ready_of, lead_s=leads)
def test_a_plan_of_every_kind_survives_json_and_has_one_name(ready, lead_s):
    found = [Shortfall("NodePool general", at_s(60), 40, 31.5, "its limit")]
    plan = make_plan(table(ready, lead_s), state(3, nodepool=["a", "a", None]), as_of=AS_OF,
                     params=NODES, limits=lambda *_: found)  # fmt: skip
    text = json.dumps(plan.to_dict())
    again = Plan.from_dict(json.loads(text))
    assert again == plan
    assert json.dumps(again.to_dict()) == text


def test_a_changed_shortfall_or_hold_is_refused():
    plan = make_plan(table([[2, 40]], [0]), state(1), as_of=AS_OF)
    for key in ("shortfalls", "actions"):
        data = json.loads(json.dumps(plan.to_dict()))
        data[key][-1]["reason"] = "another"
        with pytest.raises(ValueError, match="was changed"):
            Plan.from_dict(data)


def test_each_workload_has_its_own_mode_and_off_is_left_alone():
    modes = {name(0): "off", name(1): "recommend", name(2): "act"}
    rows = table([[2, 6, 6]] * 4, [0] * 4)
    plan = make_plan(rows, state(4), as_of=AS_OF, params=replace(NODES, mode="shadow"), modes=modes)
    assert {f.workload[-2:]: plan.mode_of(f) for f in plan.floors} == {
        "w1": "recommend", "w2": "act", "w3": "shadow"
    }  # fmt: skip
    assert [(n.workload, n.reason) for n in plan.notes] == [(name(0), "its mode is off")]
    assert {plan.mode_of(a) for a in plan.placeholders} == {"recommend", "act", "shadow"}
    assert {plan.mode_of(a) for a in plan.holds} == {"recommend", "act", "shadow"}
    assert plan.mode == "shadow"


def test_what_holds_now_is_what_the_windows_say():
    plan = make_plan(table([[2, 2, 4, 6, 2]], [100]), state(1), as_of=AS_OF, params=NODES)
    assert floors_at(plan, at_s(499)) == {}
    assert floors_at(plan, at_s(500))[name(0)].after == 4
    assert floors_at(plan, at_s(800))[name(0)].after == 6
    assert floors_at(plan, at_s(1200)) == {}
    assert sum(p.count for p in placeholders_at(plan, at_s(79))) == 0
    assert sum(p.count for p in placeholders_at(plan, at_s(80))) == 2
    assert not holds_at(plan, at_s(79))
    assert holds_at(plan, at_s(1199))
    assert not holds_at(plan, at_s(1200))


def test_more_than_max_replicas_is_said_beforehand():
    demand = np.array([[1.0, 1.0, 30.0, 1.0]])
    one = np.ones(1)
    found = capacity_forecast(
        demand, demand, request_per_pod_cores=one, request_per_pod_bytes=one * 2**29,
        target_ratio=one * 0.7, min_replicas=one * 2, max_replicas=one * 10, lead_time_s=one * 60,
        step=STEP,
    )  # fmt: skip
    times = pd.date_range(AS_OF, periods=4, freq=STEP).as_unit("ms")
    rows = capacity_frame(
        found, [name(0)], times, issued_at=AS_OF, valid_until=AS_OF + pd.Timedelta(26, "h")
    )
    plan = make_plan(rows, state(1), as_of=AS_OF)
    at_max = next(f for f in plan.floors if f.after == 10)
    (short,) = plan.shortfalls
    assert short == Shortfall(name(0), at_max.starts_at, 43, 10, "maxReplicas is 10")
    assert describe(plan).startswith(f"cannot be held: {name(0)} at 2026-06-08T00:")
    # the HPA has changed since the forecast
    lower = make_plan(table([[2, 8]], [0]), state(1, hpa_max=5.0), as_of=AS_OF)
    assert [(s.wanted, s.held) for s in lower.shortfalls] == [(8, 5)]
    assert not make_plan(table([[2, 8]], [0]), state(1), as_of=AS_OF).shortfalls


def test_whoever_knows_limits_is_asked_about_the_floors():
    seen = []

    def limits(floors, pods):
        seen.append((floors, pods))
        return [Shortfall("NodePool b", at_s(9), 9, 1, "x"), Shortfall("a", AS_OF, 2, 1, "y")]

    now = state(2, nodepool=["general", None])
    plan = make_plan(table([[2, 6], [1, 1]], [0, 0]), now, as_of=AS_OF, limits=limits)
    assert [s.what for s in plan.shortfalls] == ["a", "NodePool b"]
    ((floors, pods),) = seen
    assert tuple(floors) == plan.floors
    assert pods["nodepool"].tolist() == ["general", ""]
    assert pods["request_cores"].tolist() == [0.5, 0.5]
    assert "cannot be held: NodePool b at 2026-06-08T00:00:09Z: wanted 9, 1 can be held: x\n" in (
        describe(plan)
    )


@pytest.mark.parametrize("lead", [np.nan, np.inf, -5.0, 1e12])
def test_any_lead_time_gives_a_plan(lead):
    plan = make_plan(table([[2, 6, 2]], [lead]), state(1), as_of=AS_OF, params=NODES)
    assert all(AS_OF <= f.starts_at < f.ends_at <= plan.expires_at for f in plan.floors)
    assert plan.floors
