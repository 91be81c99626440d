"""An MLflow server on 127.0.0.1 that keeps its runs in PostgreSQL and its files in S3 (moto).

PostgreSQL (Debian's) refuses to run as root, and CI runs as root: then it runs as ``postgres``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from s3_server import S3Server, s3_server

STARTS_WITHIN_S = 240
_PASSWORD = "hunter2-of-the-database"  # noqa: S105


@dataclass(frozen=True)
class MlflowServer:
    url: str
    database: str
    s3: S3Server

    @property
    def password(self) -> str:
        return _PASSWORD


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def postgres() -> Iterator[str]:
    """A fresh database's address, password and all."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not versions:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
    programs, as_user = versions[-1], []
    if os.getuid() == 0:
        as_user = [shutil.which("setpriv") or "setpriv", "--reuid=postgres", "--regid=postgres",
                   "--clear-groups", "--"]  # fmt: skip
    # not under pytest's folder, which other users may not enter
    root = Path(tempfile.mkdtemp(prefix="foretide-postgres-"))
    (root / "password").write_text(_PASSWORD)
    if as_user:
        shutil.chown(root, "postgres", "postgres")
        shutil.chown(root / "password", "postgres", "postgres")
    data, port = root / "data", free_port()
    initdb = [*as_user, str(programs / "initdb"), "-D", str(data), "-U", "mlflow", "-A",
              "scram-sha-256", f"--pwfile={root / 'password'}", "--no-sync"]  # fmt: skip
    run = [*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-h",
           "127.0.0.1", "-k", str(root), "-c", "fsync=off"]  # fmt: skip
    process = None
    try:
        subprocess.run(initdb, check=True, capture_output=True, cwd=root)
        with (root.with_name(root.name + ".log")).open("wb") as log:
            process = subprocess.Popen(run, stdout=log, stderr=log, cwd=root)
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        _wait(lambda: subprocess.run(ready, check=False).returncode == 0, process, "postgres")
        yield f"postgresql://mlflow:{_PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # fast: clients are cut off
            process.wait(30)
        shutil.rmtree(root, ignore_errors=True)
        root.with_name(root.name + ".log").unlink(missing_ok=True)


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Files go through the server to the bucket (``mlflow-artifacts:``)."""
    with s3_server() as s3, postgres() as database:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port",
                   str(port), "--workers", "1", "--backend-store-uri", database,
                   "--artifacts-destination", s3.root("models"), "--serve-artifacts"]  # fmt: skip
        environment = os.environ | s3.environment | {"MLFLOW_S3_ENDPOINT_URL": s3.url}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # as config/deploy/servers
        with (folder / "mlflow.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
            )
        try:
            _wait(lambda: _healthy(url), process, (folder / "mlflow.log").read_text)
            yield MlflowServer(url, database, s3)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(ready, process: subprocess.Popen[bytes], told) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"the server did not start: {told() if callable(told) else told}")
        time.sleep(0.1)
