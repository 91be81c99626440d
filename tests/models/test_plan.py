"""Laws of the plan: it only raises, in few windows, and never plans a pod twice."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.plan import Plan, PlanParams, describe, make_plan
from models.windows import cover, runs

STEP = pd.Timedelta(300, "s")
AS_OF = pd.Timestamp("2026-06-08", tz="UTC").as_unit("ms")
ACT = PlanParams(mode="act")
NODES = PlanParams(mode="act", nodes_first=True, placeholder_lead_s=600)

floors_of = arrays(np.int64, (3, 20), elements=st.integers(1, 12))
# a first example compiles, and machines are shared: time is no law
law = settings(deadline=None, max_examples=25)


def capacity(
    replicas,
    *,
    reactive=None,
    gate="act",
    reason="carries it",
    issued=AS_OF,
    first=AS_OF,
    valid_h=26,
):
    replicas = np.asarray(replicas)
    n, m = replicas.shape
    return pd.DataFrame(
        {
            "workload": np.repeat([f"prod/shop/Deployment/w{i}" for i in range(n)], m),
            "issued_at": issued,
            "ts": np.tile(pd.date_range(first, periods=m, freq=STEP).as_unit("ms"), n),
            "replicas": replicas.ravel(),
            "reactive_replicas": np.ones(n * m, int) if reactive is None else reactive.ravel(),
            "lead_time_s": 120.0,
            "gate": gate,
            "gate_reason": reason,
            "valid_until": issued + pd.Timedelta(valid_h, "h"),
        }
    )


def state(n, **columns):
    base = {"hpa_min": 2.0, "hpa_max": 10.0, "request_cores": 0.5, "request_bytes": 2.0**29}
    names = [f"prod/shop/Deployment/w{i}" for i in range(n)]
    return pd.DataFrame({"workload": names} | base | columns)


def floor_at(plan, n, m):
    """What the plan's floors hold at every step; 0 where it says nothing."""
    out = np.zeros((n, m), dtype=int)
    for a in plan.floors:
        begin, end = (int((t - AS_OF) / STEP) for t in (a.starts_at, a.ends_at))
        assert (out[int(a.workload[-1]), begin:end] == 0).all(), "two floors at one time"
        out[int(a.workload[-1]), begin:end] = a.after
    return out


@law
@given(replicas=floors_of, windows=st.integers(3, 12))
def test_a_plan_covers_the_forecast_and_only_raises_within_the_users_bounds(replicas, windows):
    plan = make_plan(
        capacity(replicas), state(3), as_of=AS_OF, params=PlanParams(windows_max=windows, exact_h=0)
    )
    held = floor_at(plan, 3, 20)
    assert (np.maximum(held, 2) >= np.minimum(replicas, 10)).all()
    assert all(a.original < a.after <= 10 for a in plan.floors)
    for w in range(3):
        assert sum(a.workload.endswith(f"w{w}") for a in plan.floors) <= windows


@law
@given(replicas=floors_of, reactive=floors_of)
def test_a_pod_is_never_planned_twice(replicas, reactive):
    plan = make_plan(capacity(replicas, reactive=reactive), state(3), as_of=AS_OF, params=NODES)
    held = np.maximum(floor_at(plan, 3, 20), 2)
    soon = np.stack([held[:, t : t + 3].max(axis=1) for t in range(20)], axis=1)
    room = np.zeros(20, dtype=int)
    for a in plan.placeholders:
        begin, end = (int((t - AS_OF) / STEP) for t in (a.starts_at, a.ends_at))
        room[begin:end] += a.count
    # all pods are of one size here: placeholders and floors are together what floors will be
    assert (room <= (soon - held).sum(axis=0)).all()
    quiet = make_plan(capacity(replicas), state(3), as_of=AS_OF, params=NODES)
    assert bool(quiet.placeholders) == bool((soon > held).any())


@law
@given(replicas=floors_of)
def test_a_plan_survives_json_and_has_one_name(replicas):
    plan = make_plan(capacity(replicas), state(3), as_of=AS_OF, params=NODES)
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.plan_id == plan.plan_id


@law
@given(replicas=floors_of, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(replicas, seed):
    rows = capacity(replicas)
    mixed = rows.sample(frac=1, random_state=seed)
    assert make_plan(rows, state(3), as_of=AS_OF) == make_plan(mixed, state(3), as_of=AS_OF)


def test_a_changed_plan_is_refused():
    data = make_plan(capacity([[5, 5]]), state(1), as_of=AS_OF).to_dict()
    data["actions"][0]["after"] = 9
    with pytest.raises(ValueError, match="was changed"):
        Plan.from_dict(data)
    with pytest.raises(ValueError, match="not a plan"):
        Plan.from_dict({"mode": "act"})


def test_placeholders_stand_before_the_floor_and_shrink_as_it_lands():
    plan = make_plan(capacity([[2, 2, 2, 2, 4, 6, 6, 2]]), state(1), as_of=AS_OF, params=NODES)
    steps = [(int((a.starts_at - AS_OF) / STEP), a.count) for a in plan.placeholders]
    assert steps == [(2, 2), (3, 4), (4, 2)]
    assert plan.placeholders[-1].ends_at == AS_OF + 5 * STEP
    assert plan.placeholders[0].cpu_cores == 0.5


def test_placeholders_are_of_the_largest_pod_and_hold_cpu_and_memory():
    now = state(2, request_cores=[0.5, 2.0], request_bytes=[2.0**32, 2.0**30])
    plan = make_plan(capacity([[2, 4], [2, 3]]), now, as_of=AS_OF, params=NODES)
    first = plan.placeholders[0]
    assert (first.cpu_cores, first.memory_bytes) == (2.0, 2.0**32)
    assert first.count == 3  # 3 cores need 2 pods, 9 GiB need 3


def test_what_the_reactive_hpa_holds_already_needs_no_placeholder():
    reactive = np.full((1, 4), 6)
    plan = make_plan(
        capacity([[2, 2, 6, 6]], reactive=reactive), state(1), as_of=AS_OF, params=NODES
    )
    assert plan.floors
    assert not plan.placeholders


def test_every_workload_has_an_action_or_a_note():
    rows = pd.concat(
        [
            capacity(np.full((6, 4), 5)),
            capacity(np.full((1, 4), 5)).assign(workload="prod/shop/Deployment/unknown"),
        ]
    )
    stale = rows["workload"].str.endswith("w4")
    rows.loc[stale, "valid_until"] = AS_OF
    now = state(6, hpa_max=[10, np.nan, 10, 10, 10, 3], hpa_min=[2, 2, 0, 7, 2, 5.0])
    plan = make_plan(rows, now, as_of=AS_OF)
    assert {a.workload[-2:] for a in plan.floors} == {"w0"}
    assert {n.workload.rsplit("/", 1)[1]: n.reason for n in plan.notes} == {
        "unknown": "its settings are not known",
        "w1": "no HPA: there is no floor to raise",
        "w2": "minReplicas is 0: an HPA at zero replicas does not follow its floor",
        "w3": "nothing to raise: the forecast stays within the user's minReplicas",
        "w4": "no valid capacity forecast for the plan's time",
        "w5": "the HPA's minReplicas is above its maxReplicas",
    }


def test_both_the_mode_and_the_gate_have_to_act():
    rows, now = capacity([[5, 5]]), state(1)
    for mode, gate, want in [
        ("shadow", "act", "shadow"), ("act", "shadow", "shadow"), ("act", "act", "act"),
        ("recommend", "act", "recommend"), ("recommend", "shadow", "shadow"),
    ]:  # fmt: skip
        params = replace(NODES, mode=mode)
        plan = make_plan(rows.assign(gate=gate), now, as_of=AS_OF, params=params)
        assert {plan.mode_of(a) for a in plan.actions} == {want}
        assert plan.rows()[0]["mode"] == want
    assert PlanParams().mode == "shadow"


def test_the_newest_issue_counts_and_the_future_is_not_known():
    old = capacity([[9] * 6], issued=AS_OF - STEP)
    new = capacity([[5] * 6])
    later = capacity([[7] * 6], issued=AS_OF + STEP)
    plan = make_plan(pd.concat([old, later, new]), state(1), as_of=AS_OF)
    assert [a.after for a in plan.floors] == [5]


def test_a_plan_begins_when_it_is_made_and_dies_with_its_forecast():
    rows = capacity(np.full((1, 48), 5), first=AS_OF - STEP, issued=AS_OF - STEP, valid_h=2)
    at = AS_OF + pd.Timedelta(100, "s")
    plan = make_plan(rows, state(1), as_of=at)
    (only,) = plan.floors
    assert only.starts_at == at
    assert only.ends_at == plan.expires_at == AS_OF - STEP + pd.Timedelta(2, "h")
    horizon = make_plan(rows, state(1), as_of=at, params=PlanParams(horizon_h=1))
    assert horizon.expires_at == at + pd.Timedelta(1, "h")


def test_an_empty_forecast_is_an_empty_plan():
    plan = make_plan(capacity([[5]]).iloc[:0], state(0), as_of=AS_OF)
    assert (plan.actions, plan.notes) == ((), ())
    assert "nothing to do" in describe(plan)


def test_a_plan_reads_as_a_table(snapshot):
    rows = capacity([[2, 2, 4, 6, 6, 2], [1, 1, 1, 1, 1, 1]])
    assert describe(make_plan(rows, state(2), as_of=AS_OF, params=NODES)) == snapshot


def test_a_name_cannot_write_to_the_terminal():
    plan = make_plan(capacity([[5, 5]]), state(1), as_of=AS_OF)
    changed = replace(plan.floors[0], workload="a/b/c/\x1b[2J\nroot")
    hostile = replace(plan, actions=(changed, *plan.actions[1:]))
    text = describe(hostile)
    assert "\x1b" not in text
    assert len(text.splitlines()) == len(describe(plan).splitlines())


@law
@given(values=floors_of, n=st.integers(1, 20))
def test_a_cover_is_never_lower_and_has_few_runs(values, n):
    out = cover(values, n)
    assert (out >= values).all()
    assert (out.max(axis=1) == values.max(axis=1)).all()
    found = runs(out)
    assert np.bincount(found.row, minlength=3).max() <= n
    rebuilt = np.concatenate(
        [np.full(e - b, v) for b, e, v in zip(found.begin, found.end, found.value, strict=True)]
    )
    assert (rebuilt.reshape(out.shape) == out).all()
    assert (cover(values, 20) == values).all()


def test_the_next_hours_are_as_they_were_forecast_and_further_windows_are_joined():
    replicas = np.tile(np.array([4, 9, 6, 10, 5, 8, 7, 9, 3, 10, 6, 9]), 3)[None]
    params = PlanParams(windows_max=3, exact_h=1)
    plan = make_plan(capacity(replicas), state(1), as_of=AS_OF, params=params)
    near = AS_OF + pd.Timedelta(1, "h")
    steps = [f for f in plan.floors if f.ends_at <= near]
    assert [f.after for f in steps] == replicas[0, :12].tolist()
    assert 1 <= len(plan.floors) - len(steps) <= 3


@pytest.mark.parametrize(
    ("key", "value"), [("mode", "on"), ("horizon_h", 0), ("windows_max", 2), ("exact_h", -1)]
)
def test_a_knob_without_meaning_is_refused_by_name(key, value):
    with pytest.raises(ValueError, match=f"plan: {key} must be"):
        PlanParams(**{key: value})


def issues(far, near, *, near_at=6, **newer):
    """An issue from ``AS_OF`` on, and a shorter one that came ``near_at`` steps later."""
    at = AS_OF + near_at * STEP
    later = capacity([near], issued=at, first=at).assign(**newer)
    return pd.concat([capacity([far]), later]), at


def demand(plan, n):
    """What floors hold at each of the steps after ``AS_OF``."""
    held = floor_at(plan, 1, n)[0]
    return np.where(held > 0, held, 2).tolist()


def test_a_short_issue_leaves_the_hours_after_it_to_the_long_one_before():
    rows, at = issues([2] * 8 + [5] * 4 + [2] * 4 + [9] * 4, [2, 7, 7, 2])
    plan = make_plan(rows, state(1), as_of=at, params=ACT)
    # until the short one's last step it alone counts; that step may not be known to its end
    assert demand(plan, 20)[6:] == [2, 7, 7, 5, 5, 5, 2, 2, 2, 2, 9, 9, 9, 9]


def test_two_issues_of_one_length_are_as_the_newest_alone():
    rows, at = issues([9] * 6 + [5, 5, 5, 5], [3, 3, 3, 3])
    newest = rows[rows["issued_at"] == at]
    both, alone = (make_plan(r, state(1), as_of=at, params=ACT) for r in (rows, newest))
    assert both == alone


def test_the_newest_issue_says_whether_a_workload_may_act_also_where_an_older_one_counts():
    rows, at = issues([2] * 8 + [9] * 8, [2, 2], gate="shadow", gate_reason="drifted")
    (floor,) = make_plan(rows, state(1), as_of=at, params=ACT).floors
    assert (floor.gate, floor.after) == ("shadow", 9)
    assert floor.reason.startswith("drifted")


def test_the_newest_lead_time_counts_also_where_an_older_issue_does():
    rows, at = issues([2] * 12 + [9] * 4, [2, 2], lead_time_s=600.0)
    rows = rows.assign(ready_replicas=rows["replicas"])
    (floor,) = make_plan(rows, state(1), as_of=at, params=ACT).floors
    assert floor.starts_at == AS_OF + 12 * STEP - pd.Timedelta(600, "s")


def test_a_shortfall_of_the_late_hours_outlives_a_short_issue():
    rows, at = issues([2] * 12 + [10] * 4, [2, 2])
    far = rows["issued_at"] < at
    rows.loc[far, "gate_reason"] = "carries it; asks for 60 replicas, maxReplicas is 10"
    (short,) = make_plan(rows, state(1), as_of=at, params=ACT).shortfalls
    assert (short.wanted, short.held) == (60, 10)
    over = rows.assign(replicas=np.where(far, rows["replicas"], 2))
    over = over[~far | (over["replicas"] < 10)]
    assert not make_plan(over, state(1), as_of=at, params=ACT).shortfalls


@law
@given(
    far=arrays(np.int64, (1, 20), elements=st.integers(1, 10)),
    near=arrays(np.int64, st.integers(2, 16), elements=st.integers(1, 10)),
    at=st.integers(1, 18),
    shift_s=st.sampled_from([0, 0, 60, 150]),
    times=st.sampled_from([1, 1, 2]),
)
def test_at_the_joint_of_two_issues_there_is_no_hole_and_no_double(far, near, at, shift_s, times):
    """Against a look at every second minute, one issue after the other."""
    step, begin = times * STEP, AS_OF + at * STEP + pd.Timedelta(shift_s, "s")
    later = capacity([near], issued=begin, first=begin)
    later = later.assign(ts=begin + step * np.arange(len(near)))
    rows = pd.concat([capacity(far), later])
    params = PlanParams(windows_max=99, mode="act")
    plan = make_plan(rows, state(1), as_of=begin, params=params)
    ends = begin + len(near) * step
    alone = ends if ends >= AS_OF + 20 * STEP else ends - step
    for moment in pd.date_range(begin, AS_OF + 20 * STEP, freq="2min", inclusive="left"):
        old = int(far[0, int((moment - AS_OF) / STEP)])
        new = int(near[int((moment - begin) / step)]) if moment < ends else 0
        need = max(new if moment < alone else max(old, new), 2)
        held = [f.after for f in plan.floors if f.starts_at <= moment < f.ends_at]
        assert len(held) <= 1
        assert (held or [2])[0] >= need
        if shift_s == 0:
            assert (held or [2])[0] == need
