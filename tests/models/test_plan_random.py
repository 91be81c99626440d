"""Ten thousand random plans: whatever the tables say, a plan only raises, and expires."""

import numpy as np
import pandas as pd
import pytest

from models.plan import PlanParams, make_plan

AS_OF = pd.Timestamp("2026-06-08T08:47:13", tz="UTC").as_unit("ms")
TABLES, WORKLOADS = 25, 400
MODES = ("off", "shadow", "recommend", "act")


def random_case(seed):
    """A capacity table of one or two issues, settings with every kind of trouble, and knobs."""
    rng = np.random.default_rng(seed)
    n, m, step = WORKLOADS, int(rng.integers(1, 40)), int(rng.choice([60, 300, 900, 3600]))
    names = np.array([f"c{i % 3}/ns{i % 7}/Deployment/w{i}" for i in range(n)])
    bounds = {"hpa_min": rng.integers(0, 20, n), "hpa_max": rng.integers(1, 60, n)}
    state = pd.DataFrame(
        {"workload": names, "replicas": rng.integers(0, 60, n), "request_cores": rng.random(n),
         "request_bytes": rng.random(n) * 2**31, "nodepool": rng.choice(["a", "b", ""], n)}
        | bounds
    ).astype(dict.fromkeys(bounds, "float64"))  # fmt: skip
    holes = rng.random((n, 4)) < 0.05
    for column, hole in zip(("hpa_min", "hpa_max", "request_cores", "replicas"), holes.T,
                            strict=True):  # fmt: skip
        state.loc[hole, column] = np.nan
    first = AS_OF + pd.Timedelta(int(rng.integers(-2 * step, 2 * step)), "s")
    level = np.clip(rng.integers(-5, 40, (n, 1)) + rng.integers(-9, 30, (n, m)), 0, None)
    level = np.where(rng.random((n, m)) < 0.5, level, np.roll(level, 1, axis=1))
    issued = AS_OF - pd.to_timedelta(rng.choice([0, 1800], n), unit="s")
    rows = pd.DataFrame(
        {"workload": np.repeat(names, m), "issued_at": np.repeat(issued, m),
         "ts": np.tile(pd.date_range(first, periods=m, freq=f"{step}s").as_unit("ms"), n),
         "replicas": level.ravel(), "ready_replicas": level.ravel().astype(float),
         "reactive_replicas": rng.integers(0, 40, n * m),
         "lead_time_s": np.repeat(rng.choice([0, 47.5, 300, 911, 1e5, np.nan], n), m),
         "gate": np.repeat(rng.choice(["act", "shadow"], n), m),
         "gate_reason": "forecast asks for 70 replicas, maxReplicas is 9: 61 short",
         "valid_until": np.repeat(issued + pd.to_timedelta(rng.integers(0, 9000, n), unit="s"), m)}
    )  # fmt: skip
    rows.loc[np.repeat(rng.random(n) < 0.1, m), "ready_replicas"] = np.nan
    params = PlanParams(
        mode=str(rng.choice(MODES)), horizon_h=float(rng.choice([0.2, 2, 24])),
        windows_max=int(rng.integers(3, 9)), exact_h=0, nodes_first=bool(rng.random() < 0.5),
        placeholder_lead_s=float(rng.integers(1, 2000)),
    )  # fmt: skip
    modes = dict(zip(names, rng.choice(MODES, n), strict=True))
    return rows, state[rng.random(n) > 0.02], params, modes


def test_ten_thousand_random_plans_only_raise_and_all_expire():
    floors = []
    for seed in range(TABLES):
        rows, state, params, modes = random_case(seed)
        plan = make_plan(rows, state, as_of=AS_OF, params=params, modes=modes)
        told = {n.workload for n in plan.notes}
        raised = {f.workload for f in plan.floors}
        assert not told & raised
        assert told | raised == set(rows["workload"]), "a workload is silently skipped"
        assert not [f for f in plan.floors if modes[f.workload] == "off"]
        assert plan.expires_at <= AS_OF + pd.Timedelta(params.horizon_h, "h")
        assert all(AS_OF <= a.starts_at < a.ends_at <= plan.expires_at for a in plan.actions)
        assert all(a.gate == "act" for a in plan.actions if plan.mode_of(a) == "act")
        found = pd.DataFrame(
            [(f.workload, f.original, f.before, f.after, f.starts_at, f.ends_at) for f in
             plan.floors],
            columns=["workload", "original", "before", "after", "start", "end"],
        )  # fmt: skip
        valid = rows.groupby("workload")["valid_until"].max().rename("valid")
        reactive = rows.groupby("workload")["reactive_replicas"].max().rename("reactive")
        found = found.join(valid, on="workload").join(reactive, on="workload")
        floors.append(found.merge(state, on="workload").assign(seed=seed, most=params.windows_max))
    check(pd.concat(floors, ignore_index=True))


def check(floors):
    """The laws of every window of every plan at once."""
    assert len(floors) > 5000
    assert (floors["original"] == floors["hpa_min"].fillna(1)).all()
    assert (floors["after"] > floors["original"]).all(), "below, or at, the user's own floor"
    assert (floors["before"] >= floors["original"]).all()
    assert (floors["after"] <= floors["hpa_max"]).all(), "above maxReplicas"
    # an HPA has the larger of its floor and what its metrics ask for
    alone = np.maximum(floors["reactive"], floors["original"])
    assert (np.maximum(floors["reactive"], floors["after"]) >= alone).all()
    assert (floors["end"] <= floors["valid"]).all(), "outlives its forecast"
    floors = floors.sort_values(["seed", "workload", "start"])
    each = floors.groupby(["seed", "workload"])
    assert (each["start"].shift(-1).isna() | (each["start"].shift(-1) >= floors["end"])).all()
    assert (each.size() <= each["most"].first()).all()


def broken(**changes):
    at = AS_OF
    row = {"original": 2, "before": 2, "after": 5, "start": at, "end": at + pd.Timedelta(1, "h"),
           "valid": at + pd.Timedelta(1, "h"), "reactive": 3, "hpa_min": 2.0, "hpa_max": 9.0,
           "seed": 0, "most": 9, "workload": "a"}  # fmt: skip
    rows = pd.DataFrame([row] * 5001).assign(workload=[f"w{i}" for i in range(5001)])
    for column, value in changes.items():
        rows.loc[7, column] = value
    return rows


@pytest.mark.parametrize(
    "changes",
    [{"after": 1}, {"after": 10}, {"end": AS_OF + pd.Timedelta(2, "h")}, {"workload": "w8"}],
)
def test_the_laws_catch_a_plan_that_breaks_them(changes):
    check(broken())
    with pytest.raises(AssertionError):
        check(broken(**changes))
