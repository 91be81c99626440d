"""Apply where something is broken: what is held stands, nothing new is raised, no other suffers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from apply_world import NO_STAGES, NOW, World, a_floor, a_plan, a_world

from pipelines.adapters.kube import HPA
from pipelines.adapters.store import Store
from pipelines.apply import apply, clock_apart
from pipelines.applying_files import drop_expired_patches
from pipelines.cli import _run_cli
from pipelines.errors import ClusterUnreachable, ConfigError
from pipelines.pace import Pace
from pipelines.release_job import CRON_JOB, release_job
from pipelines.round import Round, done_by
from pipelines.status import status

MINUTE = pd.Timedelta(1, "min")
TTL = 30 * MINUTE


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


def whats(told: dict[str, Any]) -> dict[str, str]:
    return {row["workload"].rsplit("/", 1)[1]: row["what"] for row in told["rows"]}


def text(told: dict[str, Any]) -> str:
    return "\n".join(told["notes"])


def until(world: World, name: str) -> pd.Timestamp:
    return pd.Timestamp(world.notes(name)["foretide.dev/valid-until"])


# -- what cannot be read


def test_pods_that_cannot_be_listed_stop_raises_and_renew_what_stands(world: World) -> None:
    for name in ("cart", "web"):
        world.hpa(name)
    world.keep(a_plan(a_floor("web", 12), a_floor("cart", 9, starts=NOW + 10 * MINUTE)))
    world.apply(0)
    world.server.fail("GET", "/pods", status=504, times=10_000)
    told = world.apply(20)
    assert "pods of shop are not known" in text(told)
    assert (world.floor("web"), world.floor("cart")) == (12, 2)
    assert until(world, "web") == NOW + 50 * MINUTE
    assert not world.release(31).failed
    assert world.floor("web") == 12, "in mid-peak it stands"


def test_a_damaged_part_of_the_ledger_is_passed_over_and_nothing_is_lost(world: World) -> None:
    for name in ("cart", "web"):
        world.hpa(name)
    world.keep(a_plan(a_floor("web", 12), a_floor("cart", 9, starts=NOW + 10 * MINUTE)))
    world.apply(0)
    part = min(Path(world.out).rglob("ledger/**/*.parquet"))
    part.write_bytes(b"PAR1garbage")
    told = world.apply(20)
    assert f"part {part.stem} of the ledger is passed over" in text(told)
    assert (world.floor("web"), world.floor("cart")) == (12, 2)
    assert until(world, "web") == NOW + 50 * MINUTE
    part.unlink()
    world.apply(25)
    assert world.floor("cart") == 9


def test_a_damaged_forecast_does_not_end_the_run(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    for part in Path(world.out).rglob("capacity*/**/*.parquet"):
        part.write_bytes(b"PAR1garbage")
    told = world.apply(5)
    assert "a forecast is passed over" in text(told)
    assert world.floor("web") == 12


# -- one that fails stops no other


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_one_object_whose_requests_fail_stops_no_other(world: World, method: str) -> None:
    names = ("api", "cart", "web")
    for name in names:
        world.hpa(name)
    world.keep(a_plan(*(a_floor(name, 12) for name in names)))
    world.server.fail(method, "/horizontalpodautoscalers/api", status=503, times=10_000)
    told = world.apply(0)
    assert [world.floor(name) for name in names] == [2, 12, 12]
    assert any("Deployment/api: unreachable" in line for line in told["failed"])
    assert world.states("api")[-1] == "unreachable"


def test_after_two_different_objects_the_server_counts_as_gone(world: World) -> None:
    names = ("api", "cart", "shop", "web")
    for name in names:
        world.hpa(name)
    world.keep(a_plan(*(a_floor(name, 12) for name in names)))
    world.server.fail("PATCH", "/horizontalpodautoscalers/", status=503, times=10_000)
    with pytest.raises(ClusterUnreachable, match="went away"):
        world.apply(0)
    ends = [world.states(name)[-1] for name in names]
    assert sorted(ends) == ["not_done", "not_done", "unreachable", "unreachable"]


def test_a_pace_ends_by_time_and_by_two_failures_in_a_row() -> None:
    now = [0.0]
    pace = Pace(10, lambda: now[0])
    for what, ended in [("a", "unreachable"), ("a", "unreachable"), ("b", "done")]:
        pace.saw(what, ended)
        assert not pace.stop()
    for what in ("b", "c"):
        pace.saw(what, "unreachable")
    assert "gone" in pace.stop()
    late = Pace(10, lambda: now[0])
    now[0] = 10.0
    assert "10 s were over" in late.stop()


def test_a_run_out_of_time_has_renewed_what_ends_soonest(world: World) -> None:
    names = ("api", "cart", "web")
    for name in names:
        world.hpa(name)
    world.keep(a_plan(a_floor("web", 12), a_floor("cart", 9, starts=NOW + 12 * MINUTE)))
    world.apply(0)
    world.apply(8)
    assert until(world, "web") < until(world, "cart")
    at = NOW + 9 * MINUTE
    world.keep(a_plan(*(a_floor(n, f) for n, f in zip(names, (5, 9, 12), strict=True)), as_of=at))
    run = world.run(NOW + 25 * MINUTE)
    calls = iter(range(1000))
    with world.kube() as kube:
        # its time is over after the first write
        rows = done_by(Round.read(run, kube, "prod"), Pace(1.5, lambda: float(next(calls))))
    assert [(r.target.rsplit("/", 1)[1], r.status) for r in rows] == [
        ("web", "kept"),
        ("cart", "not_done"),
        ("api", "not_done"),
    ]
    assert (world.floor("web"), world.floor("api")) == (12, 2)


# -- clocks


def test_a_clock_that_is_not_the_servers_writes_nothing(world: World) -> None:
    world.hpa("web")
    now = pd.Timestamp.now("UTC").floor("s")
    world.keep(a_plan(a_floor("web", 12, starts=now - MINUTE), as_of=now - MINUTE))
    world.server.clock_s = -3600.0
    with pytest.raises(ConfigError, match="more than 60 s apart"):
        apply.fn(config=world.config())
    assert world.writes() == []
    world.server.clock_s = 5.0
    apply.fn(config=world.config())
    assert world.floor("web") == 12


def test_clocks_are_apart_in_both_directions() -> None:
    for seconds, apart in [(-61, True), (-60, False), (0, False), (60, False), (61, True)]:
        assert bool(clock_apart(NOW + pd.Timedelta(seconds, "s"), NOW)) == apart
    assert clock_apart(None, NOW) == ""


def test_the_servers_time(world: World) -> None:
    world.server.clock_s = 7200.0
    with world.kube() as kube:
        ahead = kube.server_time() - pd.Timestamp.now("UTC")
    assert abs(ahead - pd.Timedelta(2, "h")) < pd.Timedelta(30, "s")


# -- the way back


def cron_job(world: World, last: pd.Timestamp | None, **spec: Any) -> None:
    world.server.more = (CRON_JOB,)
    meta = {
        "name": "foretide-release",
        "namespace": "foretide",
        "labels": {"app.kubernetes.io/name": "foretide-release"},
    }
    world.server.put(CRON_JOB, {"metadata": meta, "spec": {"schedule": "*/5 * * * *", **spec}})
    if last is not None:
        stored = world.server.store.objects[CRON_JOB]["foretide", "foretide-release"]
        stored["status"] = {"lastSuccessfulTime": f"{last:%Y-%m-%dT%H:%M:%SZ}"}


@pytest.mark.parametrize("how", ["missing", "never", "old", "suspended"])
def test_nothing_new_is_raised_where_nothing_gives_back(world: World, how: str) -> None:
    for name in ("cart", "web"):
        world.hpa(name)
    world.keep(a_plan(a_floor("web", 12), a_floor("cart", 9, starts=NOW + 10 * MINUTE)))
    world.apply(0)
    assert world.floor("web") == 12, "where CronJobs cannot be seen it is only said"
    world.server.more = (CRON_JOB,)
    if how == "never":
        cron_job(world, None)
    elif how == "old":
        cron_job(world, NOW - 31 * MINUTE)
    elif how == "suspended":
        cron_job(world, NOW + 18 * MINUTE, suspend=True)
    told = world.apply(20)
    assert "WARNING: nothing gives back" in text(told)
    assert (world.floor("web"), world.floor("cart")) == (12, 2)
    assert until(world, "web") == NOW + 50 * MINUTE, "what stands is renewed"
    world.settings["apply"] = {"require_release": False}
    assert "WARNING" in text(world.apply(21))
    assert world.floor("cart") == 9


def test_a_release_job_that_succeeds_is_no_trouble(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    cron_job(world, NOW - 5 * MINUTE)
    with world.kube() as kube:
        assert release_job(kube, "foretide", NOW, TTL).runs is True
        assert release_job(kube, "elsewhere", NOW, TTL).runs is False
        assert release_job(kube, "foretide", NOW + 26 * MINUTE, TTL).runs is False
    assert "WARNING" not in text(world.apply(0))
    assert world.floor("web") == 12


# -- those who take it back


def test_a_self_heal_is_fought_twice_a_day_and_no_more(world: World) -> None:
    world.hpa("web")
    spec = dict(world.read("web")["spec"])
    world.settings["rungs"] = {"force_owners": ["helm", "argocd-*"]}
    world.server.gitops(HPA, {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    world.keep(a_plan(a_floor("web", 12, minutes=600)))
    for minute in range(0, 360, 5):
        world.apply(minute)
        world.release(minute + 1)
    assert world.states("web").count("reverted") == 2
    assert world.states("web").count("intended") == 2
    assert world.floor("web") == 2
    with world.kube() as kube:
        at = NOW + 361 * MINUTE
        told = status(kube, "prod", at, store=(world.config(), world.out))
    assert [t.status for t in told.taken] == ["reverted"]


# -- people


def test_files_for_gitops_end_without_apply(world: World) -> None:
    folder = world.folder / "patches"
    for name in ("cart", "web"):
        world.hpa(name)
    world.settings["rungs"] = {"floor": "gitops", "gitops_folder": str(folder)}
    world.keep(a_plan(a_floor("web", 12), a_floor("cart", 9, minutes=10)))
    world.apply(0)
    assert len(list(folder.glob("floor_*.yaml"))) == 2
    world.settings["apply"] = {"enabled": False}
    world.apply(11)
    (left,) = folder.glob("floor_*.yaml")
    assert "web" in left.name
    assert left.name in (folder / "kustomization.yaml").read_text()
    assert (folder / "README.md").exists()
    assert drop_expired_patches(folder, NOW + 11 * MINUTE) == []
    # by now its time is over by any clock: the release takes it out, too
    assert _run_cli(["release", "--config", world.config()]) == 0
    assert not list(folder.glob("floor_*.yaml"))
    assert "floor_" not in (folder / "kustomization.yaml").read_text()
    assert drop_expired_patches(folder / "absent", NOW) == []


def test_what_still_stands_against_its_mode_is_said(tmp_path: Path) -> None:
    with a_world(tmp_path, guard=NO_STAGES | {"step_down_share": 0.1}) as world:
        world.hpa("web")
        world.keep(a_plan(a_floor("web", 20)))
        world.apply(0)
        off = {"metadata": {"annotations": {"foretide.dev/mode": "off"}}}
        world.server.patch(HPA, "web", off, "shop")
        world.server.patch(
            HPA, "web", {"status": {"currentReplicas": 20, "desiredReplicas": 20,
                                    "currentMetrics": []}},
            "shop", subresource="status",
        )  # fmt: skip
        told = [world.apply(minute) for minute in (6, 7)]
        assert world.floor("web") > 2
        said = "\n".join(map(text, told))
        assert "web" in said
        assert all("web" in text(t) for t in told), "each run says what became of it"


def test_status_names_what_waits_under_the_newest_plan_only(world: World) -> None:
    for name in ("cart", "web"):
        world.hpa(name)
    floors = {n: a_floor(n, 6, mode="recommend") for n in ("cart", "web")}
    old = world.keep(a_plan(*floors.values()))
    world.apply(0)
    at = NOW + 5 * MINUTE
    new = world.keep(a_plan(replace(floors["web"], starts_at=at), as_of=at))
    world.apply(6)
    with world.kube() as kube:
        told = status(kube, "prod", NOW + 7 * MINUTE, store=(world.config(), world.out))
    assert [(t.workload.rsplit("/", 1)[1], t.plan_id) for t in told.waiting] == [
        ("web", new.plan_id)
    ]
    assert old.plan_id not in "\n".join(told.lines())


def test_an_empty_store_leaves_what_others_hold_to_expire(world: World) -> None:
    for name in ("cart", "web"):
        world.hpa(name)
    held = world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    config = world.config()
    elsewhere = World(world.server, world.folder / "other", world.settings)
    elsewhere.folder.mkdir()
    told = elsewhere.apply(6)
    assert held.plan_id in json.dumps(told)
    assert world.floor("web") == 12
    elsewhere.keep(a_plan(a_floor("web", 5), as_of=NOW + 7 * MINUTE))
    elsewhere.apply(12)
    assert world.floor("web") == 12, "not lowered by another plan either"
    assert world.config() == config
    world.release(31)
    assert world.floor("web") == 2


def test_a_stop_is_done_whoever_holds_it(world: World) -> None:
    world.hpa("web")
    world.keep(a_plan(a_floor("web", 12)))
    world.apply(0)
    off = {"metadata": {"annotations": {"foretide.dev/mode": "off"}}}
    world.server.patch(HPA, "web", off, "shop")
    elsewhere = World(world.server, world.folder / "other", world.settings)
    elsewhere.folder.mkdir()
    for minute in (6, 12, 18):
        elsewhere.apply(minute)
    assert world.floor("web") == 2


def test_no_secret_of_an_object_is_in_a_snapshot(world: World) -> None:
    world.scaled_object("web", 1)
    from pipelines.adapters.kube import SCALED_OBJECT

    trigger = {"type": "kafka", "metadata": {"password": "hunter2"}}
    note = {"kubectl.kubernetes.io/last-applied-configuration": '{"password":"hunter2"}'}
    world.server.patch(
        SCALED_OBJECT,
        "web",
        {"metadata": {"annotations": note}, "spec": {"triggers": [trigger]}},
        "shop",
        manager="helm",
    )
    world.keep(a_plan(a_floor("web", 12)))
    told = world.apply(0)
    assert told["figures"]["raised"] == 1.0
    (name,) = Store(world.out).files("snapshots")
    kept = (Store(world.out).get_file(name) or b"").decode()
    assert '"minReplicaCount": 1' in kept
    assert "hunter2" not in kept
