"""Tasks that another process can find by name: tests' own modules cannot be imported there."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import task_run

from features.frames import SKIPS
from pipelines.errors import HistoryError
from pipelines.run import RunRef
from pipelines.staging import aside, keep

VERB = "train"


@task(cache_policy=NO_CACHE)
def double(x: int) -> int:
    if x < 0:
        raise HistoryError(f"{x} is too little")
    if x == 13:
        raise RuntimeError("unlucky")
    return 2 * x


@task(cache_policy=NO_CACHE)
def deadly(x: int) -> int:
    if x == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * x


@task(cache_policy=NO_CACHE)
def deadly_once_seen(x: int) -> int:
    """As ``deadly``, in a flow run, as soon as its server knows that it runs."""
    if x == 13:
        until = time.monotonic() + 60
        with get_client(sync_client=True) as client:
            while time.monotonic() < until:
                with suppress(ObjectNotFound):
                    if client.read_task_run(UUID(str(task_run.id))).state_name == "Running":
                        os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(0.1)
    return 2 * x


@dataclass(frozen=True)
class Once:
    """Kills whoever takes it first, after half of the work; the file says that it was done."""

    run: RunRef
    mark: str = ""


@task(cache_policy=NO_CACHE)
def keeps(once: Once) -> int:
    """Reads what the flow laid aside, keeps a table and a folder aside."""
    run = once.run.open()
    folder = aside(run, VERB)
    told = (folder / "told.txt").read_text()
    (folder / "bundle" / f"shard-{run.ref.shard}").mkdir(parents=True)
    (folder / "bundle" / f"shard-{run.ref.shard}" / "a.txt").write_text(told)
    if once.mark and not Path(once.mark).exists():
        Path(once.mark).touch()
        (folder / "bundle" / "half.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    row = {
        "step": VERB, "workload": f"w/{run.ref.shard}", "metric": "m", "reason": told,
        "issued_at": run.as_of, "run_id": run.run_id,
    }  # fmt: skip
    keep(run, VERB, SKIPS, pd.DataFrame([row]))
    return run.ref.shard
