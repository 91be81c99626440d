"""``make up`` and ``make down``: everything on this machine, on 127.0.0.1 alone.

A Prefect server, an MLflow server, a worker that runs flows as processes, and the deployments. All
that is kept is in ``.foretide/`` of the folder: databases, logs, and the note of what was started.
Where nothing says which metrics to read, a simulated cluster stands in, so that the schedules have
something to do.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import httpx

from pipelines.clock import present
from pipelines.deploying import POOLS, create_pool, deploy
from pipelines.errors import ForetideError
from pipelines.stack_demo import Prepared, first_runs, prepared
from pipelines.stack_ports import HOST, Ports
from pipelines.stack_processes import (
    Started,
    end_all,
    is_ours,
    new_token,
    read_state,
    start,
    write_state,
)

__all__ = ["down", "status", "up"]

_HEALTHY_MAX_S = 180.0
_NAMES = {
    "prefect": "Prefect server",
    "mlflow": "MLflow server",
    "worker": "Prefect worker (health)",
}
_HEALTH = {"prefect": "/api/health", "mlflow": "/health", "worker": "/health"}

Say = Callable[[str], None]


def up(home: Path, ports: Ports, prefect_file: Path | None = None, say: Say = print) -> int:
    """Start what does not run yet, deploy, wait until all is healthy and print the addresses.

    Parameters
    ----------
    home
        The folder in which runs work: it has ``config/foretide.yaml``, and ``.foretide`` is made.
    prefect_file
        Other deployments than those of ``config/prefect.yaml``.

    Raises
    ------
    ForetideError
        Something did not come up; what did is ended again, and the text names its log.
    """
    with _alone(home):
        began = time.monotonic()
        token, started = read_state(_note(home)) or ("", [])
        if started and all(is_ours(s, token) and _healthy(s) for s in started):
            say("it is up already")
            _tell(started, say)
            return 0
        if started:
            say("some of it had ended: starting anew")
            _ended(home, token, started)
        before = {s.name: int(s.address.rpartition(":")[2]) for s in started}
        chosen = {name: ports.of(name, before) for name in _NAMES}
        demo = prepared(home, present(), say)
        token = new_token()
        running: list[Started] = []
        try:
            _start_all(home, token, chosen, running, demo, prefect_file)
        except BaseException:
            end_all(running, token)
            _note(home).unlink(missing_ok=True)
            raise
        if demo.is_new:
            first_runs(f"{running[0].address}/api")
            say("the simulated cluster is ingested now and learned from in a minute")
        _tell(running, say)
        say(f"up in {time.monotonic() - began:.0f} s; `make down` ends it")
    return 0


def down(home: Path, say: Say = print) -> int:
    """End what ``up`` started in this folder, and nothing else; 1 if something would not end."""
    with _alone(home):
        known = read_state(_note(home))
        if known is None:
            say("nothing is up")
            return 0
        left = _ended(home, *known)
    say(f"still there: {left}" if left else "down")
    return 1 if left else 0


def status(home: Path, say: Say = print) -> int:
    """Say what runs; 0 where all of it does."""
    token, started = read_state(_note(home)) or ("", [])
    if not started:
        say("nothing is up")
        return 1
    states = [is_ours(s, token) and _healthy(s) for s in started]
    for one, healthy in zip(started, states, strict=True):
        say(f"{_NAMES[one.name]}: {one.address} {'healthy' if healthy else 'DOWN'}")
    return 0 if all(states) else 1


def _start_all(
    home: Path,
    token: str,
    ports: Mapping[str, int],
    running: list[Started],
    demo: Prepared,
    prefect_file: Path | None,
) -> None:
    """Both servers side by side, then the deployments, then the worker."""
    root = home / ".foretide"
    env = _environment(home, ports, demo.tracking_uri)
    prefect, mlflow = [sys.executable, "-m", "prefect"], [sys.executable, "-m", "mlflow"]

    def begin(name: str, command: list[str]) -> Started:
        log = root / "logs" / f"{name}.log"
        address = f"http://{HOST}:{ports[name]}"
        one = start(name, command, token=token, env=env, folder=root, log=log, address=address)
        running.append(one)
        write_state(_note(home), token, running)
        return one

    server = begin(
        "prefect", [*prefect, "server", "start", "--host", HOST, "--port", str(ports["prefect"])]
    )
    store = ["--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"]
    artifacts = ["--artifacts-destination", (root / "mlartifacts").as_uri(), "--workers", "1"]
    place = ["--host", HOST, "--port", str(ports["mlflow"])]
    tracker = begin("mlflow", [*mlflow, "server", *store, *artifacts, *place])
    _await(server, token, root)
    _deploy(demo.config, prefect_file, env)
    worker = begin("worker", [*prefect, "worker", "start", "--pool", POOLS["process"],
                              "--name", "foretide-local", "--with-healthcheck"])  # fmt: skip
    _await(tracker, token, root)
    _await(worker, token, root)


def _deploy(config: str, prefect_file: Path | None, env: Mapping[str, str]) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: env["PREFECT_API_URL"]}):
        create_pool("process")
    deploy("process", config, prefect_file, env)


def _environment(home: Path, ports: Mapping[str, int], tracking_uri: str) -> dict[str, str]:
    """Ours for Prefect, whatever profile the user has; all else as it is."""
    root = home / ".foretide"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return kept | {
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nobody here uses
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_API_URL": f"http://{HOST}:{ports['prefect']}/api",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "5",
        "PREFECT_WORKER_WEBSERVER_HOST": HOST,
        "PREFECT_WORKER_WEBSERVER_PORT": str(ports["worker"]),
        "FORETIDE_HOME": str(home),
        "FORETIDE_TRACKING__URI": tracking_uri or f"http://{HOST}:{ports['mlflow']}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
    }


def _await(one: Started, token: str, root: Path) -> None:
    """Wait until it answers.

    Raises
    ------
    ForetideError
        It ended, or did not answer in time.
    """
    until = time.monotonic() + _HEALTHY_MAX_S
    while time.monotonic() < until and is_ours(one, token):
        if _healthy(one):
            return
        time.sleep(0.2)
    log = root / "logs" / f"{one.name}.log"
    last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise ForetideError(f"{_NAMES[one.name]} did not come up; {log} ends with:\n{last}")


def _healthy(one: Started) -> bool:
    try:
        answer = httpx.get(one.address + _HEALTH[one.name], timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.is_success


def _ended(home: Path, token: str, started: list[Started]) -> list[int]:
    left = end_all(started, token)
    if not left:
        _note(home).unlink(missing_ok=True)
    return left


def _tell(started: list[Started], say: Say) -> None:
    for one in started:
        say(f"{_NAMES[one.name]}: {one.address}{'/health' if one.name == 'worker' else ''}")


def _note(home: Path) -> Path:
    return home / ".foretide" / "stack.json"


@contextmanager
def _alone(home: Path) -> Generator[None]:
    """One ``up`` or ``down`` at a time in a folder."""
    folder = home / ".foretide"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@click.command()
@click.argument("what", type=click.Choice(["up", "down", "status"]))
@click.option("--home", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--prefect-port", default=0, help="0: the last one, 4200, or any that is free.")
@click.option("--mlflow-port", default=0, help="0: the last one, 5000, or any that is free.")
@click.option("--worker-port", default=0, help="0: the last one, 8080, or any that is free.")
@click.option("--prefect-file", type=click.Path(exists=True, path_type=Path))
def main(
    what: str,
    home: Path,
    prefect_port: int,
    mlflow_port: int,
    worker_port: int,
    prefect_file: Path | None,
) -> None:
    """Start, end or show the local Prefect server, MLflow server and worker of a folder."""
    home = home.resolve()
    try:
        if what == "up":
            ports = Ports(prefect_port, mlflow_port, worker_port)
            raise SystemExit(up(home, ports, prefect_file, click.echo))
        raise SystemExit((down if what == "down" else status)(home, click.echo))
    except ForetideError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
