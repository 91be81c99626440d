"""Plans in the store: the newest that counts; and how a plan is made of what is known there."""

import json

import numpy as np
import pandas as pd
import pytest

from features.frames import CAPACITY
from models.actions import Plan
from models.cluster_facts import ClusterFacts, PodShape
from models.plan import make_plan
from pipelines.errors import ClusterUnreachable, StoreError
from pipelines.plan_facts import PlanFacts, no_cluster, plan_facts
from pipelines.plans import newest_plan, plan_file, plan_folder, read_plan
from pipelines.prescale import write_plan
from pipelines.run import RunRef

AS_OF = pd.Timestamp("2026-06-08T08:00", tz="UTC").as_unit("ms")
STEP = pd.Timedelta(300, "s")
NAMES = [f"prod/shop/Deployment/{n}" for n in ("cart", "checkout", "search")]


def run_at(folder, moment=AS_OF, config=None):
    return RunRef(config, (), str(folder), moment.isoformat()).open()


def capacity(issued=AS_OF):
    n, m = len(NAMES), 12
    return pd.DataFrame(
        {
            "workload": np.repeat(NAMES, m),
            "issued_at": issued,
            "ts": np.tile(pd.date_range(issued, periods=m, freq=STEP).as_unit("ms"), n),
            "replicas": 3, "ready_replicas": np.tile([2] * 4 + [40] * 4 + [2] * 4, n),
            "reactive_replicas": 2, "cpu_cores": 1.0, "memory_bytes": 1.0,
            "lead_time_s": 137.0, "lead_time_source": "default", "quantile": 0.95,
            "gate": "act", "gate_reason": "carries it",
            "run_id": "r", "valid_until": issued + pd.Timedelta(26, "h"),
        }
    )  # fmt: skip


def samples():
    values = {"hpa_min_replicas": 2, "hpa_max_replicas": 30, "replicas": 2,
              "cpu_request_cores": 1.0, "memory_request_bytes": 2.0**30}  # fmt: skip
    times = pd.date_range(AS_OF - 12 * STEP, periods=12, freq=STEP).as_unit("ms")
    rows = [
        (*name.split("/"), metric, ts, float(value))
        for name in NAMES for metric, value in values.items() for ts in times
    ]  # fmt: skip
    columns = ["cluster", "namespace", "kind", "name", "metric", "ts", "value"]
    return pd.DataFrame(rows, columns=columns)


def kept(folder, moment, **changes):
    """A plan of that moment in the store."""
    run = run_at(folder, moment)
    state = pd.DataFrame({"workload": NAMES, "hpa_min": 2.0, "hpa_max": 30.0,
                          "request_cores": 0.5, "request_bytes": 1.0})  # fmt: skip
    plan = make_plan(capacity(moment), state, as_of=moment)
    text = json.dumps(plan.to_dict() | changes)
    run.store.put_file(plan_file(run), text.encode())
    run.store.put_file(f"{plan_folder(run)}/manifests/a.yaml", b"{}")
    return plan


def test_the_newest_plan_is_that_of_the_clock_or_before(tmp_path):
    day = pd.Timedelta(1, "D")
    assert newest_plan(run_at(tmp_path)) is None
    old, new = kept(tmp_path, AS_OF - STEP), kept(tmp_path, AS_OF)
    assert newest_plan(run_at(tmp_path, AS_OF - 2 * STEP)) is None
    assert newest_plan(run_at(tmp_path, AS_OF - pd.Timedelta(1, "s"))) == old
    assert newest_plan(run_at(tmp_path, AS_OF)) == new
    assert newest_plan(run_at(tmp_path, AS_OF + day - STEP / 2)) == new
    assert newest_plan(run_at(tmp_path, AS_OF + day)) is None


def test_a_plan_that_was_touched_is_no_plan_and_hides_no_older_one(tmp_path):
    kept(tmp_path, AS_OF - STEP)
    kept(tmp_path, AS_OF, mode="act")
    run = run_at(tmp_path)
    with pytest.raises(StoreError, match=r"plans/20260608T080000Z/plan\.json: plan .* was changed"):
        newest_plan(run)
    run.store.put_file(plan_file(run), b"{")
    with pytest.raises(StoreError, match="run `foretide plan` again"):
        newest_plan(run)
    assert read_plan(run, "plans/none/plan.json") is None


def issue(run, names, hours, replicas, minutes_ago):
    at = AS_OF - pd.Timedelta(minutes_ago, "min")
    steps = pd.date_range(at.floor("15min"), periods=4 * hours, freq="15min").as_unit("ms")
    table = capacity(at).iloc[:1].drop(columns=["workload", "ts"])
    rows = pd.MultiIndex.from_product([names, steps], names=["workload", "ts"]).to_frame(
        index=False
    )
    rows = rows.merge(table, how="cross").assign(ready_replicas=replicas, replicas=replicas)
    run.store.write(CAPACITY, rows, f"{at:%Y%m%dT%H%M%SZ}")


def test_a_plan_joins_forecasts_of_the_next_hours_to_those_of_the_week(tmp_path):
    run = run_at(tmp_path)
    run.store.write_samples(samples())
    issue(run, NAMES, 168, 9, 200)  # nothing of it is needed
    issue(run, NAMES, 168, 5, 60)
    issue(run, NAMES[:2], 6, 3, 15)
    issue(run, NAMES[:1], 6, 4, 1)
    told = write_plan.fn(RunRef(None, (), str(tmp_path), AS_OF.isoformat()))
    plan = read_plan(run, plan_file(run))
    found = {
        name: [
            f.after for f in sorted(plan.floors, key=lambda f: f.starts_at) if f.workload == name
        ]
        for name in NAMES
    }
    assert found == {NAMES[0]: [4, 5], NAMES[1]: [3, 5], NAMES[2]: [5]}
    assert {f.ends_at for f in plan.floors if f.after == 5} == {AS_OF + pd.Timedelta(24, "h")}
    assert "holds of nodes are shown only: prescale.rungs.hold_nodes is false" in told["notes"]


@pytest.fixture
def filled(tmp_path):
    run = run_at(tmp_path)
    run.store.write_samples(samples())
    run.store.write(CAPACITY, capacity(), run.part)
    return tmp_path


def config(folder, text):
    file = folder / "foretide.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_rules_and_limits_reach_the_plan_and_its_file_is_always_the_same(filled):
    knobs = config(filled, """
prescale:
  rules:
    - {match: "*/cart", mode: "off"}
    - {match: "*/checkout", mode: act}
  plan: {mode: recommend, nodes_first: true}
""")  # fmt: skip
    ref = RunRef(knobs, (), str(filled), AS_OF.isoformat())
    told = write_plan.fn(ref)
    name = plan_file(ref.open())
    text = ref.open().store.get_file(name)
    assert write_plan.fn(ref) == told
    assert ref.open().store.get_file(name) == text
    plan = newest_plan(ref.open())
    assert plan == Plan.from_dict(json.loads(text))
    assert {f.workload: plan.mode_of(f) for f in plan.floors} == {
        NAMES[1]: "act", NAMES[2]: "recommend"
    }  # fmt: skip
    assert told["skipped"] == {"its mode is off": 1}
    assert [f.starts_at for f in plan.floors] == [AS_OF + 4 * STEP - pd.Timedelta(137, "s")] * 2
    assert [(s.what, s.wanted, s.held) for s in plan.shortfalls] == [
        (NAMES[1], 40, 30), (NAMES[2], 40, 30)
    ]  # fmt: skip
    assert told["notes"][0].startswith(f"cannot be held: {NAMES[1]} at 2026-06-08T08:17:43Z: ")
    assert told["figures"]["shortfalls"] == 2


def test_a_cluster_that_does_not_answer_is_told_and_the_samples_do(filled):
    def away(_settings):
        raise ClusterUnreachable("no answer from 127.0.0.1:6443")

    knobs = config(filled, "cluster: {connect: kubeconfig, name: prod}\n")
    run = run_at(filled, config=knobs)
    panel = run.panel(AS_OF - 12 * STEP, AS_OF)
    found = plan_facts(run, panel, NAMES, opener=away)
    assert [c.cluster for c in found.clusters] == ["prod"]
    assert any("no answer from 127.0.0.1:6443" in note for note in found.notes)
    assert plan_facts(run, panel, NAMES, opener=no_cluster).notes == ()


def test_a_cluster_that_answers_says_where_pods_run(filled):
    class Nothing:
        """A cluster whose every list is empty."""

        def list(self, *_args, **_kwargs):
            return iter(())

        def get(self, *_args, **_kwargs):
            return {}

        def serves(self, _kind):
            return True

        def close(self):
            closed.append(1)

    closed = []
    run = run_at(filled, config=config(filled, "cluster: {connect: in_cluster, name: prod}\n"))
    panel = run.panel(AS_OF - 12 * STEP, AS_OF)
    found = plan_facts(run, panel, NAMES, opener=lambda _: Nothing())
    assert len(closed) == 2
    assert found.clusters[0].cluster == "prod"
    pods = (PodShape(NAMES[0], nodepool="spot"), PodShape(NAMES[1], nodepool=None))
    placed = PlanFacts({}, (ClusterFacts("prod", pods=pods),)).placed(
        pd.DataFrame({"workload": NAMES})
    )
    assert placed["nodepool"].tolist() == ["spot", "", ""]
