"""What apply does about a plan, and what it leaves alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apply_world import NO_STAGES, NOW, World, a_floor, a_plan, a_world
from kube_server import Asked

from features.frames import SAMPLES
from pipelines.adapters.kube import HPA, NAMESPACE, POD
from pipelines.adapters.store import Store
from pipelines.cli import _run_cli
from pipelines.errors import ConfigError
from pipelines.ledger import Entry, Ledger
from pipelines.rungs.same import same_as_before

WEB = "prod/shop/Deployment/web"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


def whats(told: dict[str, Any]) -> dict[str, str]:
    return {row["workload"].rsplit("/", 1)[1]: row["what"] for row in told["rows"]}


def text(told: dict[str, Any]) -> str:
    return "\n".join(told["notes"])


def test_the_ledger_and_the_snapshot_come_before_the_first_write(world: World) -> None:
    before = world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    seen: list[tuple[list[str], int]] = []

    def look(asked: Asked) -> None:
        if asked.method == "PATCH":
            files = Store(world.out).files("snapshots")
            seen.append(([r["status"] for r in world.ledger()], len(files)))

    world.server.before(look)
    world.apply(0)
    assert seen
    assert all(found == (["intended"], 1) for found in seen)
    rows = world.ledger()
    assert [r["status"] for r in rows] == ["intended", "done"]
    assert len({r["action_id"] for r in rows}) == 1
    done = rows[-1]
    assert (done["before"], done["after"], done["uid"]) == ("2", "12", before["metadata"]["uid"])
    assert "the test's peak" in done["reason"]
    (name,) = Store(world.out).files("snapshots")
    kept = (Store(world.out).get_file(name) or b"").decode()
    assert "managedFields" not in kept
    assert '"minReplicas": 2' in kept


@pytest.mark.parametrize("mode", ["shadow", "recommend"])
def test_what_may_not_act_is_written_down_once_and_nowhere_else(world: World, mode: Any) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12, mode=mode)))
    for minute in (0, 5, 10):
        world.apply(minute)
    assert world.writes() == []
    assert world.states("web") == ["shown" if mode == "shadow" else "waiting"]


def test_a_shut_gate_shows_only(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12, gate="shadow")))
    assert whats(world.apply(0)) == {"web": "show"}
    assert world.writes() == []


def test_a_dry_run_writes_nothing_anywhere(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    told = world.apply(0, dry_run=True)
    assert f"would write: {WEB} 2 -> 12" in text(told)
    assert world.writes() == []
    assert world.ledger() == []
    assert Store(world.out).files("snapshots") == []


def test_recommend_is_done_once_a_person_approves_and_later_plans_ask_no_more(
    world: World,
) -> None:
    world.hpa("web")
    plan = world.keep(a_plan(a_floor("web", 6, mode="recommend")))
    told = world.apply(0)
    assert f"approve plan {plan.plan_id}" in text(told)
    world.apply(1, approve=plan.plan_id)
    assert world.floor("web") == 6
    # the next hour's plan asks for less: still approved; then for more: not any more
    at = NOW + pd.Timedelta(12, "min")
    world.keep(a_plan(a_floor("web", 5, starts=at, minutes=90, mode="recommend"), as_of=at))
    world.apply(20)
    assert world.floor("web") == 5
    at = NOW + pd.Timedelta(30, "min")
    world.keep(a_plan(a_floor("web", 9, starts=at, minutes=90, mode="recommend"), as_of=at))
    assert whats(world.apply(35)) == {"web": "raise"}  # up to what was approved
    assert world.floor("web") == 6
    assert whats(world.apply(41)) == {"web": "wait"}
    assert world.floor("web") == 6


def test_an_approval_of_no_plan_is_refused(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 6)))
    with pytest.raises(ConfigError, match="no such plan"):
        world.apply(0, approve="0123456789ab")
    assert world.writes() == []


def test_a_stateful_set_and_a_large_change_wait_for_a_person(tmp_path: Path) -> None:
    with a_world(tmp_path, guard=NO_STAGES | {"approve_above_share": 0.5}) as world:
        world.hpa("db", kind="StatefulSet")
        world.hpa("web")
        plan = a_plan(a_floor("db", 3, kind="StatefulSet"), a_floor("web", 12))
        world.keep(plan)
        assert whats(world.apply(0)) == {"db": "wait", "web": "wait"}
        world.apply(1, approve=plan.plan_id)
        assert (world.floor("db"), world.floor("web")) == (3, 12)


def test_a_new_workload_is_raised_in_stages(tmp_path: Path) -> None:
    """Fewer than four new ones: a quarter, half, then all of their pods, each stage judged."""
    with a_world(tmp_path, guard=NO_STAGES | {"canary": {}}) as world:
        world.hpa("web")
        world.keep(a_plan(a_floor("web", 10)))
        floors: list[int] = []
        for minute in (-15, -10, -4, 2, 8, 14):
            world.apply(minute)
            floors.append(world.floor("web"))
        assert floors[0] == 4
        assert floors[-1] == 10
        assert floors == sorted(floors)
        assert 6 in floors


def test_stale_forecasts_raise_nothing(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)), forecast_at=NOW - pd.Timedelta(30, "h"))
    told = world.apply(0)
    assert whats(told) == {"web": "refuse"}
    assert "stale" in text(told)
    assert world.writes() == []


def test_forecasts_that_go_stale_in_mid_peak_lower_nothing(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    world.settings["guard"] = NO_STAGES | {"forecast_age_max_h": 0.25}
    told = world.apply(20)
    assert whats(told) == {"web": "keep"}
    assert world.floor("web") == 12
    assert "2026-06-08T07:50:00Z" in world.notes("web").values(), "the newest plan backs it"
    for minute in range(30, 115, 5):
        world.apply(minute)
        world.release(minute)
        assert world.floor("web") == 12, minute
    world.release(121)
    assert world.floor("web") == 2, "and no longer than the plan wants it"


@pytest.mark.parametrize("where", ["config", "object", "namespace"])
def test_kill_switches(world: World, where: str) -> None:
    before = world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    off = {"metadata": {"annotations": {"foretide.dev/mode": "off"}}}
    if where == "config":
        world.settings["apply"] = {"enabled": False}
        told = world.apply(5)
        assert "prescale.apply.enabled is false" in text(told)
        assert world.floor("web") == 12
        assert not world.release(30).failed
        assert same_as_before(before, world.read("web")) == []
        return
    if where == "object":
        world.server.patch(HPA, "web", off, "shop")
    else:
        world.server.patch(NAMESPACE, "shop", off)
    for minute in (6, 12, 18):
        world.apply(minute)
    assert world.floor("web") == 2
    assert not any("valid-until" in note for note in world.notes("web"))


def test_gitops_that_takes_it_back_twice_keeps_it_and_the_snippet_is_printed(world: World) -> None:
    world.hpa("web")
    body = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 40,
        },
    }
    world.settings["rungs"] = {"force_owners": ["helm", "argocd-*"]}
    world.server.gitops(HPA, body)
    world.keep(a_plan(a_floor("web", 12)))
    told = [world.apply(minute) for minute in (0, 5, 10, 15)]
    assert "ignoreDifferences" in text(told[-1])
    assert "argocd-controller" in text(told[-1])
    assert whats(told[-1]) == {"web": "refuse"}
    quiet = len(world.writes())
    world.apply(20)
    assert len(world.writes()) == quiet, "it does not fight"
    assert world.floor("web") == 2


def test_nothing_is_tried_where_policy_does_not_name_the_owner(world: World) -> None:
    world.hpa("web")
    world.settings["rungs"] = {"force_owners": []}
    world.keep(a_plan(a_floor("web", 12)))
    for dry_run in (True, False):
        told = world.apply(0, dry_run=dry_run)
        assert whats(told) == {"web": "refuse"}
        assert "helm" in text(told)
        assert "force_owners" in text(told)
    assert world.writes() == []
    assert world.states("web") == ["refused"]


def test_a_conflict_is_not_forced_where_policy_does_not_name_the_owner(world: World) -> None:
    """An owner who came since the object was read."""
    spec = world.hpa("web")["spec"] | {"minReplicas": 3}
    once = iter([True])

    def claim(asked: Asked) -> None:
        if asked.method == "PATCH" and next(once, False):
            body = {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}
            world.server.put(HPA, body, "argocd-controller")

    world.server.before(claim)
    world.keep(a_plan(a_floor("web", 12)))
    told = world.apply(0)
    assert world.floor("web") == 3
    assert world.states("web") == ["intended", "conflict"]
    assert "argocd-controller" in told["failed"][0]
    assert "ignoreDifferences" in text(told)


def test_an_hpa_that_was_recreated_since_it_was_read_is_left_alone(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    once = iter([True])

    def recreate(asked: Asked) -> None:
        if asked.method == "PATCH" and next(once, False):
            world.server.recreate(HPA, "web", "shop")

    world.server.before(recreate)
    world.apply(0)
    assert world.floor("web") == 2
    assert world.states("web")[-1] in ("changed", "conflict")
    assert world.notes("web") == {}
    assert not [a for a in world.server.asked if a.method == "POST"]


@pytest.mark.parametrize(("moment", "actions"), [("PATCH", 1), ("GET", 2)])
def test_two_applies_at_once_act_once(world: World, moment: str, actions: int) -> None:
    """The second sees the first's ``intended`` row; if it looked before that, the object."""
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    once = iter([True])

    def meanwhile(asked: Asked) -> None:
        if asked.method == moment and asked.path.endswith("/web") and next(once, False):
            world.apply(0)

    world.server.before(meanwhile)
    world.apply(0)
    assert world.floor("web") == 12
    assert world.notes("web")["foretide.dev/original-floor"] == "2"
    assert len({r["action_id"] for r in world.ledger()}) == actions
    assert set(world.states("web")) == {"intended", "done"}
    world.release(30)
    assert world.floor("web") == 2


def pending(world: World, name: str, count: int) -> None:
    for i in range(count):
        owner = {
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-5d4", "uid": "x",
            "controller": True,
        }  # fmt: skip
        meta = {
            "name": f"{name}-5d4-{i}",
            "namespace": "shop",
            "labels": {"pod-template-hash": "5d4"},
            "ownerReferences": [owner],
        }
        spec = {"containers": [{"name": "main", "image": "shop"}]}
        body = {"metadata": meta, "spec": spec}
        world.server.put(POD, body)
        made = (NOW + pd.Timedelta(1, "min")).strftime("%Y-%m-%dT%H:%M:%SZ")
        stored = world.server.store.objects[POD]["shop", f"{name}-5d4-{i}"]
        stored["metadata"]["creationTimestamp"] = made
        stored["status"] = {"phase": "Pending"}


def test_pods_that_were_stuck_before_take_nothing_back(world: World) -> None:
    """A pod that nobody can place is no reason to take from those that run."""
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    pending(world, "web", 1)
    told = world.apply(12)
    assert world.floor("web") == 12, text(told)
    told = world.apply(30)
    assert world.floor("web") == 12, text(told)


def test_pods_that_stay_pending_are_taken_back_as_it_was(world: World) -> None:
    before = world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    pending(world, "web", 10)
    world.server.patch(
        HPA,
        "web",
        {"status": {"currentReplicas": 12, "desiredReplicas": 12}},
        "shop",
        subresource="status",
    )
    world.apply(5)
    assert world.floor("web") == 12, "they have had no time yet"
    told = world.apply(15)
    assert world.floor("web") == 2
    assert "10 pods stay pending" in text(told)
    assert "as it was, by the snapshot" in text(told)
    assert same_as_before(before, world.read("web")) == []
    rows = world.ledger()
    back = next(r for r in rows if r["status"] == "rolled_back")
    raised = next(r for r in rows if r["rolled_back_by"])
    assert raised["rolled_back_by"] == back["action_id"]
    assert whats(world.apply(20)) != {"web": "raise"}, "and nothing flaps"


def test_errors_that_rise_after_the_raise_take_it_back(world: World) -> None:
    before = world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    times = pd.date_range(NOW - pd.Timedelta(60, "min"), periods=80, freq="1min")
    rows = pd.DataFrame(
        {
            "cluster": "prod", "namespace": "shop", "kind": "Deployment", "name": "web",
            "metric": "error_ratio", "ts": times,
            "value": [0.001 if t < NOW else 0.2 for t in times],
        }
    )  # fmt: skip
    assert set(rows.columns) == set(SAMPLES.schema.names)
    Store(world.out).write_samples(rows)
    told = world.apply(20)
    assert "errors rose" in text(told)
    assert same_as_before(before, world.read("web")) == []


def test_without_a_cluster_or_a_plan_it_says_so_and_is_green(world: World) -> None:
    world.hpa("web")
    told = world.apply(0)
    assert "no plan is valid now" in text(told)
    assert world.writes() == []


def test_an_expired_plan_raises_nothing(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12, minutes=5000), as_of=NOW - pd.Timedelta(27, "h")))
    assert whats(world.apply(0)) == {}
    assert world.writes() == []


def test_floors_for_gitops_go_to_a_folder_and_the_cluster_is_only_read(world: World) -> None:
    folder = world.folder / "patches"
    world.hpa("web")
    world.settings["rungs"] = {"floor": "gitops", "gitops_folder": str(folder)}
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    (patch,) = folder.glob("floor_*.yaml")
    assert "minReplicas: 12" in patch.read_text()
    world.apply(5)
    assert patch.exists(), "it stands"
    for minute in (121, 127, 133):
        world.apply(minute)
    assert not list(folder.glob("floor_*.yaml"))
    assert world.writes() == []


def test_floors_as_a_series(world: World) -> None:
    file = world.folder / "foretide.prom"
    world.hpa("web")
    world.settings["rungs"] = {"floor": "metric", "metric_file": str(file)}
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    assert 'name="web"} 12' in file.read_text()
    assert b"foretide_required_replicas" in (
        Store(world.out).get_file("metric-manifests.yaml") or b""
    )
    assert math.isclose(NOW.timestamp() + 1800, float(file.read_text().split()[-3]), abs_tol=1)
    assert world.writes() == []


def test_a_store_of_two_clusters(world: World) -> None:
    """What was done in one of them says nothing of the other."""
    world.hpa("web")
    other = replace(a_floor("web", 12), workload="stage/shop/Deployment/web")
    world.keep(a_plan(a_floor("web", 12), other))
    ledger = Ledger(world.run(NOW - pd.Timedelta(10, "min")))
    at = NOW - pd.Timedelta(10, "min")
    row = Entry(
        target=other.workload, field="hpa shop/web", before="2", after="12", reason="", plan_id="p",
        mode="act", applied_at=at, expires_at=at, status="intended", cluster="stage", uid="x",
    )  # fmt: skip
    ledger.append(ledger.numbered([row]))
    assert whats(world.apply(0)) == {"web": "raise"}
    assert [r["status"] for r in world.ledger() if r["cluster"] == "stage"] == ["intended"]


def test_on_the_command_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    args = ["apply", "--config", world.config(), "--as-of", NOW.isoformat(), "--json"]
    assert _run_cli([*args, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["what"] == "raise"
    assert world.floor("web") == 2
    assert _run_cli([*args, "--watch"]) == 2
    now = pd.Timestamp.now("UTC").floor("s")
    ago = now - pd.Timedelta(1, "min")
    world.keep(a_plan(a_floor("web", 12, starts=ago), as_of=ago))
    assert _run_cli(["apply", "--config", world.config(), "--json"]) == 0
    assert world.floor("web") == 12


def test_names_from_the_cluster_cannot_steer_a_terminal(world: World) -> None:
    world.hpa("web", annotations={"foretide.dev/mode": "\x1b[31moff"})
    world.keep(a_plan(a_floor("web", 12)))
    assert "\x1b" not in text(world.apply(0))
    assert world.floor("web") == 2
