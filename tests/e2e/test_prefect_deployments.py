"""The deployments on a real Prefect server with a real worker: same tables as the command line."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from features.synthetic import ClusterSpec, simulate
from pipelines.deploying import create_limits, create_pool

# a machine that is busy with other tests takes minutes to start a dozen processes
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EVERY = {
    "ingest": "15min",
    "score": "15min",
    "forecast": "1h",
    "prescale": "15min",
    "apply": "5min",
    "train": "7D",
    "evaluate": "1D",
    "publish": "4min",
    "notify": "15min",
}
RAN = {
    *("ingest", "train", "forecast", "forecast-next", "score"),
    *("prescale", "evaluate", "retrain", "apply"),
}
LIMITS = {"foretide-source": 1, "foretide-training": 1, "foretide-cluster": 2}
FLOWS = {
    "retrain": "train",
    "forecast-next": "forecast",
}  # where the flow is called otherwise than the deployment
# What is run, in order; what stands in one line runs at the same time.
STAGES = (
    {"ingest": "2026-05-25T00:00Z"},
    {"train": "2026-05-18T00:00Z"},
    {
        "forecast": "2026-05-18T00:00Z",
        "forecast-next": "2026-05-18T00:15Z",
        "score": "2026-05-19T00:00Z",
    },
    {"prescale": "2026-05-18T00:00Z", "evaluate": "2026-05-25T00:00Z"},
    {"retrain": "2026-05-25T00:00Z", "apply": "2026-05-18T00:05Z"},
)
# Where the command is called otherwise than the deployment.
COMMANDS = {
    "forecast-next": ["forecast", "--horizon", "6h"],
    "prescale": ["plan"],
    "retrain": ["train", "--drifted"],
}
# The command line, several times in one process: importing it takes longer than most verbs.
COMMAND_LINES = """
import json, sys
from pipelines.cli import cli
for line in json.loads(sys.argv[1]):
    cli.main(line, standalone_mode=False)
"""
STAMPED = {"mlflow.db", "mlartifacts", "runs"}  # ids and moments of their own


class Patient(httpx.HTTPTransport):
    """Asks again on 503, as Prefect's own client does: its SQLite file has one writer at a time."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        until = time.monotonic() + 90
        while True:
            response = super().handle_request(request)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
                return response
            response.close()
            time.sleep(0.5)


@dataclass(frozen=True)
class Server:
    home: Path
    """Where runs work: holds config/, the samples and the store."""
    env: dict[str, str]
    api: httpx.Client

    def prefect(self, *args: str) -> None:
        command = [BIN / "prefect", "--no-prompt", *args]
        output(command, cwd=REPO, env=self.env)

    def ask(self, path: str, **body: Any) -> Any:
        return self.api.post(path, json=body).raise_for_status().json()

    def start(self, name: str, **parameters: Any) -> str:
        with temporary_settings({PREFECT_API_URL: str(self.api.base_url)}):
            run = run_deployment(
                f"{FLOWS.get(name, name)}/{name}",
                parameters=parameters,
                timeout=0,
                as_subflow=False,
            )
        return str(run.id)  # pyright: ignore[reportAttributeAccessIssue]

    def end_of(self, run_id: str, within_s: float = 300) -> dict[str, Any]:
        """The state in which a run ended, or in which it still is."""
        until = time.monotonic() + within_s
        while True:
            state = self.api.get(f"/flow_runs/{run_id}").raise_for_status().json()["state"]
            ended = state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
            if ended or time.monotonic() > until:
                return state
            time.sleep(0.3)

    def scheduled(self) -> pd.DataFrame:
        """What the server's scheduler planned by itself: deployment, at."""
        names = {d["id"]: d["name"] for d in self.ask("/deployments/filter")}
        runs = self.ask("/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
        planned = [(names[r["deployment_id"]], r["expected_start_time"]) for r in runs]
        frame = pd.DataFrame(planned, columns=["deployment", "at"])
        return frame.assign(at=pd.to_datetime(frame["at"], utc=True)).sort_values("at")

    def started_by_events(self) -> list[dict[str, Any]]:
        """Runs that a trigger has made; ``deployment`` is the deployment's name."""
        names = {d["id"]: d["name"] for d in self.ask("/deployments/filter")}
        runs = self.ask("/flow_runs/filter", sort="EXPECTED_START_TIME_DESC")
        made = [r for r in runs if (r["created_by"] or {}).get("type") == "AUTOMATION"]
        return [r | {"deployment": names[r["deployment_id"]]} for r in made]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated weeks of four workloads, and a configuration that reads them; and a week of
    one around the present, which no run of those weeks sees.
    """
    home = tmp_path_factory.mktemp("foretide-home")
    start = (pd.Timestamp.now("UTC") - pd.Timedelta(1, "D")).floor("D").to_pydatetime()
    live = simulate(ClusterSpec(n_workloads=1, weeks=1, start=start)).samples
    pq.write_table(live, home / "live.parquet")
    pq.write_table(simulate(ClusterSpec(n_workloads=4, weeks=3)).samples, home / "samples.parquet")
    settings = {
        "source": {"kind": "files", "paths": ["samples.parquet", "live.parquet"]},
        "history": {"days": 21, "step_s": 300},
    }
    (home / "config").mkdir()
    (home / "config" / "foretide.yaml").write_text(yaml.safe_dump(settings))
    return home


@pytest.fixture(scope="module")
def from_command_line(home: Path) -> Iterator[Future[Path]]:
    """The tables that the command line makes of the same input; computed beside the rest."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "FORETIDE_"))}

    def run() -> Path:
        shared = ["--config", "config/foretide.yaml", "--out", "cli"]
        steps = itertools.chain.from_iterable(stage.items() for stage in STAGES)
        lines = [[*COMMANDS.get(verb, [verb]), *shared, "--as-of", as_of] for verb, as_of in steps]
        output([sys.executable, "-c", COMMAND_LINES, json.dumps(lines)], cwd=home, env=plain)
        return home / "cli"

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run)


@pytest.fixture(scope="module")
def server(
    home: Path, from_command_line: Future[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with its own database, the work pool and the deployments, schedules running."""
    folder = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "FORETIDE_"))} | {
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "FORETIDE_HOME": str(home),
        "NO_COLOR": "1",
    }
    start = ["server", "start", "--host", "127.0.0.1", "--port", port, "--no-ui"]
    with (
        running(start, env, folder) as process,
        httpx.Client(base_url=env["PREFECT_API_URL"], timeout=120, transport=Patient()) as api,
    ):
        await_health(process, api)
        server = Server(home, env, api)
        with temporary_settings({PREFECT_API_URL: str(api.base_url)}):
            assert create_pool("process") == "foretide"
        server.prefect("deploy", "--all", "--prefect-file", "config/prefect.yaml")
        yield server


@pytest.fixture(scope="module")
def worker(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A worker, started in a folder that has nothing to do with the code or the configuration.

    The schedules are paused, so that it runs what the tests ask for and nothing else.
    """
    for deployment in server.ask("/deployments/filter"):
        server.api.patch(
            f"/deployments/{deployment['id']}", json={"paused": True}
        ).raise_for_status()
    due = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    for run in server.ask("/flow_runs/filter", flow_runs=due):  # pausing leaves what is due now
        server.api.delete(f"/flow_runs/{run['id']}").raise_for_status()
    assert server.scheduled().empty
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with running(["worker", "start", "--pool", "foretide"], server.env, elsewhere):
        yield server


@pytest.fixture(scope="module")
def broken(worker: Server) -> str:
    """A run that cannot work; it runs beside the others."""
    return worker.start("evaluate", config="config/absent.yaml")


@pytest.fixture(scope="module")
def ran(worker: Server, broken: str) -> dict[str, dict[str, Any]]:
    """The state in which each deployment's run ended."""
    states: dict[str, dict[str, Any]] = {}
    for stage in STAGES:
        runs = {name: worker.start(name, as_of=as_of) for name, as_of in stage.items()}
        states |= {name: worker.end_of(run) for name, run in runs.items()}
    return states


@contextmanager
def running(
    args: list[str], env: dict[str, str], folder: Path
) -> Generator[subprocess.Popen[bytes]]:
    """A Prefect command; ended afterwards with all that it started. A failing test shows its
    log.
    """
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [BIN / "prefect", *args],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        left = descendants(process.pid)  # a worker's flows are in process groups of their own
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # a worker that was told once may linger
            process.kill()
            process.wait(10)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        print(
            f"--- prefect {' '.join(args)}\n{(folder / 'log').read_text(errors='replace')[-8000:]}"
        )


def descendants(pid: int) -> list[int]:
    """All that a process started and that what it started started; empty without /proc."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def output(command: Sequence[str | Path], *, cwd: Path, env: dict[str, str]) -> None:
    """Run to the end; what it said is the message if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=env, text=True, capture_output=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def await_health(process: subprocess.Popen[bytes], api: httpx.Client) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if api.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail("the Prefect server did not start; its log is below")


def test_every_verb_is_scheduled_as_promised(server: Server) -> None:
    until = time.monotonic() + 60
    while set(server.scheduled()["deployment"]) != set(EVERY) and time.monotonic() < until:
        time.sleep(0.5)
    times = {str(name): part["at"] for name, part in server.scheduled().groupby("deployment")}
    assert set(times) == set(EVERY)
    gaps = {name: set(at.diff().dropna()) for name, at in times.items()}
    wanted = {name: {pd.Timedelta(gap) for gap in every.split()} for name, every in EVERY.items()}
    assert gaps == wanted
    assert times["train"].iloc[0].day_name() == "Sunday"


def test_a_fallback_is_due_after_the_chain_and_before_the_next_round(server: Server) -> None:
    planned = server.scheduled()
    minutes = {str(name): {at.minute for at in part["at"]} for name, part in
               planned.groupby("deployment")}  # fmt: skip
    for name in ("score", "forecast", "prescale"):
        assert {m % 15 for m in minutes[name]} <= {11, 12, 13}
    assert {m % 15 for m in minutes["ingest"]} == {0}


def test_a_deployment_never_runs_twice_at_once(server: Server) -> None:
    for deployment in server.ask("/deployments/filter"):
        assert deployment["global_concurrency_limit"]["limit"] == 1
        rare = deployment["name"] not in {"ingest", "apply", "prescale", "score", "publish"}
        rare &= not deployment["name"].startswith("forecast")
        expected = "ENQUEUE" if rare else "CANCEL_NEW"
        assert deployment["concurrency_options"]["collision_strategy"] == expected


def test_a_parameter_of_the_wrong_type_is_refused(server: Server) -> None:
    deployment = server.ask("/deployments/filter")[0]
    answer = server.api.post(
        f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": {"as_of": [1]}}
    )
    assert answer.status_code == 409
    assert "as_of" in answer.text


def test_a_moment_that_is_none_is_refused_when_a_run_is_asked_for(server: Server) -> None:
    deployment = next(d for d in server.ask("/deployments/filter") if d["name"] == "score")
    answer = server.api.post(
        f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": {"as_of": "now"}}
    )
    assert answer.status_code == 409
    assert "as_of" in answer.text


def test_limits_are_made_on_deploy_and_a_changed_one_stays(server: Server) -> None:
    there = {limit["name"]: limit for limit in server.ask("/v2/concurrency_limits/filter")}
    assert {n: there[n]["limit"] for n in LIMITS} == LIMITS
    assert all(there[name]["active"] for name in LIMITS)
    changed = server.api.patch("/v2/concurrency_limits/foretide-source", json={"limit": 7})
    changed.raise_for_status()
    with temporary_settings({PREFECT_API_URL: str(server.api.base_url)}):
        assert create_limits(LIMITS) == LIMITS | {"foretide-source": 7}


def test_every_deployment_completes(ran: dict[str, dict[str, Any]]) -> None:
    assert {name: state["type"] for name, state in ran.items()} == dict.fromkeys(RAN, "COMPLETED")


def test_a_run_that_cannot_work_fails_and_says_why(worker: Server, broken: str) -> None:
    state = worker.end_of(broken)
    assert state["type"] == "FAILED"
    assert "config/absent.yaml: no such configuration file" in state["message"]


def test_tables_are_those_of_the_command_line(
    ran: dict[str, dict[str, Any]], home: Path, from_command_line: Future[Path]
) -> None:
    expected, made = from_command_line.result(), home / "foretide-data"
    files = sorted(content(expected))
    assert sorted(content(made)) == files
    assert {Path(f).parts[0] for f in files} >= {
        *("samples", "backtest", "forecasts", "capacity", "scores", "leaks", "incidents"),
        *("plans", "accuracy", "verdicts", "replays", "evaluation", "skips"),
    }
    assert [f for f in files if not is_same(made / f, expected / f)] == []
    assert all(pq.read_table(made / table).num_rows for table in ("samples", "scores", "capacity"))


def test_every_run_shows_what_it_did(ran: dict[str, dict[str, Any]], worker: Server) -> None:
    shown = [a for a in worker.ask("/artifacts/filter", limit=200) if a["key"]]
    summaries = [a for a in shown if a["key"] in {COMMANDS.get(n, [n])[0] for n in ran}]
    assert {a["key"] for a in summaries} == {COMMANDS.get(n, [n])[0] for n in ran}
    trained = [a["data"] for a in summaries if a["key"] == "train"]
    assert sum("24 of 24 series" in text for text in trained) == 1
    assert len(trained) == 2  # the other one is of what had drifted
    assert "24 of 24 series" in ran["train"]["message"]
    kinds = {a["key"]: a["type"] for a in shown}
    assert kinds["ingest-figures"] == "table"
    assert kinds["score-scores"] == "markdown"  # a link
    assert kinds["score-shard-progress"] == "progress"
    links = [a["data"] for a in shown if a["key"] == "score-scores"]
    assert all(f"(file://{worker.home}/foretide-data/scores/" in link for link in links)
    done = [a["data"] for a in shown if a["key"].endswith("-progress")]
    assert set(map(float, done)) == {100.0}


@pytest.fixture(scope="module")
def chained(
    ran: dict[str, dict[str, Any]], worker: Server, broken: str
) -> tuple[str, list[dict[str, Any]]]:
    """A live run of ingest, its clock, and the runs that events have started."""
    worker.end_of(broken)
    as_of = pd.Timestamp.now("UTC").floor("min").isoformat()
    twins = [worker.start("ingest", as_of=as_of) for _ in range(2)]
    ends = sorted(worker.end_of(run)["type"] for run in twins)
    assert ends == ["CANCELLED", "COMPLETED"]  # the later one is dropped, not run beside it
    until = time.monotonic() + 60
    while len(found := worker.started_by_events()) < 2 and time.monotonic() < until:
        time.sleep(0.3)
    return as_of, found


def test_what_was_ingested_is_scored_and_forecast_by_the_same_clock(
    chained: tuple[str, list[dict[str, Any]]],
) -> None:
    as_of, runs = chained
    assert {r["deployment"] for r in runs} == {
        "score",
        "forecast" if pd.Timestamp(as_of).minute < 15 else "forecast-next",
    }
    # none of the runs of the past has started anything
    assert {pd.Timestamp(r["parameters"]["as_of"]) for r in runs} == {pd.Timestamp(as_of)}


def test_without_its_limit_a_run_fails_and_is_not_unlimited(
    chained: tuple[str, list[dict[str, Any]]], worker: Server
) -> None:
    assert chained
    until = time.monotonic() + 60
    while worker.api.delete("/v2/concurrency_limits/foretide-cluster").status_code == 503:
        assert time.monotonic() < until, "its database is locked for a minute"
    state = worker.end_of(worker.start("prescale", as_of="2026-05-18T00:00Z"))
    assert state["type"] == "FAILED"
    assert "foretide-cluster" in state["message"]
    assert "must be created" in state["message"]


def is_same(one: Path, other: Path) -> bool:
    if one.suffix == ".parquet":
        return pq.read_table(one).equals(pq.read_table(other))
    return one.read_bytes() == other.read_bytes()


def content(root: Path) -> Iterator[str]:
    """Every file of a store that must not depend on who made it."""
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] not in STAMPED:
            yield str(relative)
