"""``make up`` in an empty folder: all starts, a schedule fires, and ``down`` leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipelines.local_stack import down, status, up
from pipelines.settings import CONFIG_DIR
from pipelines.stack_ports import Ports
from pipelines.stack_processes import carrying, is_ours, read_state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Folder:
    home: Path
    file: Path
    """Two of the deployments, one of them due every few seconds."""

    def run(self, what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines.local_stack", what, "--home", str(self.home)]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "FORETIDE_"))}
        return subprocess.run(
            [*command, "--prefect-file", str(self.file)],
            env=env,
            text=True,
            capture_output=True,
            timeout=400,
            check=False,
        )

    @property
    def token(self) -> str:
        state = read_state(self.home / ".foretide" / "stack.json")
        assert state is not None
        return state[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    spec: dict[str, Any] = yaml.safe_load((CONFIG_DIR / "prefect.yaml").read_text())
    wanted = {d["name"]: d for d in spec["deployments"] if d["name"] in {"ingest", "train"}}
    wanted["ingest"]["schedules"] = [{"interval": 15, "slug": "often", "timezone": "UTC"}]
    spec["deployments"] = list(wanted.values())
    root = tmp_path_factory.mktemp("up")
    (root / "prefect.yaml").write_text(yaml.safe_dump(spec))
    (root / "home").mkdir()
    made = Folder(root / "home", root / "prefect.yaml")
    yield made
    down(made.home, print)
    for log in sorted(made.home.glob(".foretide/logs/*.log")):
        print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="module")
def addresses(folder: Folder) -> dict[str, str]:
    """What ``up`` says: name → address."""
    done = folder.run("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a simulated cluster" in done.stdout
    return dict(re.findall(r"^(.+): (http://127\.0\.0\.1:\d+\S*)$", done.stdout, re.M))


def test_it_tells_where_the_three_are_and_they_answer(addresses: dict[str, str]) -> None:
    names = {"Prefect server", "MLflow server", "Prefect worker (health)"}
    assert set(addresses) == names
    assert all(httpx.get(a, follow_redirects=True).is_success for a in addresses.values())


def test_a_schedule_fires_and_its_run_completes(addresses: dict[str, str], folder: Folder) -> None:
    api = f"{addresses['Prefect server']}/api"
    until, runs = time.monotonic() + 240, list[dict[str, Any]]()
    while time.monotonic() < until and not runs:
        every = httpx.post(f"{api}/flow_runs/filter", json={"limit": 200}).raise_for_status().json()
        runs = [r for r in every if r["auto_scheduled"] and r["state"]["type"] == "COMPLETED"]
        time.sleep(0.3)
    assert runs, "no scheduled run completed in time"
    # one was asked for; more of them would run beside the rest of the tests
    pause = {"paused": True}
    httpx.patch(f"{api}/deployments/{runs[0]['deployment_id']}", json=pause).raise_for_status()
    assert list((folder.home / ".foretide" / "demo" / "data" / "samples").rglob("*.parquet"))


def test_the_first_training_is_registered(addresses: dict[str, str]) -> None:
    api = f"{addresses['Prefect server']}/api"
    until, state = time.monotonic() + 240, ""
    while time.monotonic() < until and state not in {"COMPLETED", "FAILED", "CRASHED"}:
        asked = {"flows": {"name": {"any_": ["train"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        every = httpx.post(f"{api}/flow_runs/filter", json=asked).raise_for_status().json()
        state = every[0]["state"]["type"] if every else ""
        time.sleep(0.5)
    assert state == "COMPLETED"


def test_a_second_up_changes_nothing(addresses: dict[str, str], folder: Folder) -> None:
    token, said = folder.token, list[str]()
    assert up(folder.home, Ports(), folder.file, said.append) == 0
    assert said[0] == "it is up already"
    assert all(address in "\n".join(said) for address in addresses.values())
    assert folder.token == token


def test_down_leaves_no_process_even_after_a_crash(
    addresses: dict[str, str], folder: Folder
) -> None:
    assert addresses
    state = read_state(folder.home / ".foretide" / "stack.json")
    assert state is not None
    token, started = state
    worker = next(s for s in started if s.name == "worker")
    os.kill(worker.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while is_ours(worker, token) and time.monotonic() < until:
        time.sleep(0.1)
    said: list[str] = []
    assert status(folder.home, said.append) == 1
    assert any(line.startswith("Prefect worker") and line.endswith("DOWN") for line in said)
    done = folder.run("down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not carrying(token)
    assert down(folder.home, said.append) == 0
    assert said[-1] == "nothing is up"
