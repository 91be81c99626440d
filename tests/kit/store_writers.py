"""Writers of a store in processes of their own: to be run side by side, starved and killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pandas as pd

from pipelines.adapters.store import Store
from pipelines.adapters.store.coverage import Coverage, CoverageKey
from pipelines.errors import StoreError

processes = multiprocessing.get_context("forkserver")
# what takes long to import; the server of forks does not know where this module lies
processes.set_forkserver_preload(["pipelines.adapters.store", "boto3"])

DAY = pd.Timestamp("2026-06-01", tz="UTC")
KEY = CoverageKey("http://there", "a_total", "", "q", 300)
BATCHES = 12


def batch(number: int, value: float = 0.0) -> pd.DataFrame:
    """Two metrics of one workload over a day and a half; batches overlap in no key."""
    ts = pd.date_range(DAY, periods=432, freq="5min")
    frames = [
        pd.DataFrame(
            {"name": f"w{number}", "metric": metric, "ts": ts, "value": np.arange(432.0) + value}
        )
        for metric in ("a_total", "b_total")
    ]
    return pd.concat(frames, ignore_index=True)


def write(root: str, numbers: list[int], acks: Connection) -> None:
    """Write batches one by one and say so; each one with its own hour of coverage."""
    store = Store(root)
    for number in numbers:
        days = store.write_samples(batch(number)).days
        span = (number * 3_600_000, (number + 1) * 3_600_000)
        store.cover(KEY, Coverage((span,), tuple(days)))
        acks.send(number)


def write_within(root: str, file_bytes: int, answer: Connection) -> None:
    """Write on a disk on which no file can be larger; says what became of it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    try:
        Store(root).write_samples(batch(1))
        answer.send("written")
    except StoreError as error:
        answer.send(str(error))


def begin(target: Any, *arguments: Any, environment: dict[str, str] | None = None) -> Any:
    """Start a writer; gives the process and the end of the pipe that it talks into."""
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=_run, args=(target, arguments, environment or {}, there))
    process.start()
    there.close()
    return process, here


def _run(target: Any, arguments: Any, environment: dict[str, str], pipe: Connection) -> None:
    os.environ.update(environment)
    target(*arguments, pipe)


def received(pipe: Connection) -> list[Any]:
    """What came until the other end was closed."""
    out: list[Any] = []
    try:
        while True:
            out.append(pipe.recv())
    except (EOFError, ConnectionResetError):
        return out
