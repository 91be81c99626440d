"""release and status on the command line, with the cluster alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from apply_world import NOW, World, a_floor, a_plan, a_world

from pipelines.cli import _run_cli
from pipelines.status import status


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two floors that are held, since 2026: expired by the machine's clock."""
    with a_world(tmp_path) as world:
        for name in ("cart", "web"):
            world.hpa(name)
        world.keep(a_plan(a_floor("cart", 9), a_floor("web", 12)))
        world.apply(0)
        world.server.asked.clear()
        yield world


def floors(world: World) -> tuple[int, int]:
    return world.floor("cart"), world.floor("web")


def test_release_needs_no_store_and_no_configuration(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    kubeconfig = str(world.server.kubeconfig(tmp_path))
    assert _run_cli(["release", "--all", "--kubeconfig", kubeconfig]) == 0
    assert floors(world) == (2, 2)
    assert list(empty.iterdir()) == []


def test_release_of_some(world: World, tmp_path: Path) -> None:
    kubeconfig = str(world.server.kubeconfig(tmp_path))
    args = ["release", "--workload", "*/shop/Deployment/web", "--kubeconfig", kubeconfig]
    assert _run_cli(args) == 0
    assert floors(world) == (9, 2)


def test_what_is_left_is_named_and_the_exit_code_is_1(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.server.fail("PATCH", "web", status=403, times=1000)
    kubeconfig = str(world.server.kubeconfig(tmp_path))
    assert _run_cli(["release", "--all", "--kubeconfig", kubeconfig, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [x["what"] for x in told["left"]] == ["HorizontalPodAutoscaler shop/web"]
    assert floors(world) == (2, 12)


def test_what_release_may_mean_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run_cli(["release", "--all", "--expired"]) == 2
    assert "give one of" in capsys.readouterr().err


def test_two_ways_to_the_cluster_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run_cli(["release", "--in-cluster", "--context", "prod"]) == 1
    assert "give one of them" in capsys.readouterr().err


def test_without_a_cluster_it_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run_cli(["release", "--config", "config/foretide.yaml"]) == 1
    assert "cluster.connect is no" in capsys.readouterr().err


def test_release_starts_fast_and_without_the_heavy_packages() -> None:
    """It runs every five minutes in a small pod."""
    code = (
        "import sys, pipelines.cli, pipelines.release, pipelines.clusters, pipelines.clock\n"
        "heavy = ['prefect', 'numba', 'scipy', 'sklearn', 'mlflow', 'pydantic', 'kubernetes']\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_with_the_cluster_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = str(world.server.kubeconfig(tmp_path))
    assert _run_cli(["status", "--kubeconfig", kubeconfig, "--cluster", "prod"]) == 0
    told = capsys.readouterr().out
    assert "2 held" in told
    assert "HorizontalPodAutoscaler shop/web: 2 -> 12 until 06-08 07:30 UTC" in told
    assert "the test's peak" in told
    assert "hpa: possible" in told
    assert world.writes() == []


def test_status_with_the_store_says_who_waits(world: World) -> None:
    world.hpa("db", kind="StatefulSet")
    plan = world.keep(a_plan(a_floor("db", 4, kind="StatefulSet"), a_floor("web", 12)))
    world.apply(5)
    with world.kube() as kube:
        at = NOW + pd.Timedelta(6, "min")
        found = status(kube, "prod", at, store=(world.config(), world.out))
        over = status(kube, "prod", at + pd.Timedelta(3, "h"), store=(world.config(), world.out))
    (waiting,) = found.waiting
    assert waiting.workload == "prod/shop/StatefulSet/db"
    assert waiting.plan_id == plan.plan_id
    assert json.loads(json.dumps(found.to_dict()))["waiting"][0]["after"] == "4"
    assert over.waiting == (), "its window is over"
