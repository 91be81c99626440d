"""The weekly training of many workloads, from a store on disk to a registered champion.

Each training is a process of its own, timed as a whole (start of Python and imports included); its
memory is what it and its children hold together at most, looked at ten times a second, or its own
high-water mark where that is more.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import forecast_series as made

CAPPED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Trained:
    """One training."""

    workloads: int
    seconds: float
    peak_gib: float
    outcome: dict[str, object]


def train_all(sizes: Sequence[int], n_days: int, workers: int) -> list[Trained]:
    """Train so many workloads after so many; a small training before them is not counted."""
    _trained(20, n_days, workers)
    return [_trained(size, n_days, workers) for size in sizes]


def _trained(n_workloads: int, n_days: int, workers: int) -> Trained:
    with tempfile.TemporaryDirectory(prefix="foretide-bench-") as folder:
        clock = time.perf_counter()
        _run(["store", folder, str(n_workloads), str(n_days)])
        if n_workloads >= 100:
            took = time.perf_counter() - clock
            print(f"store of {n_workloads} workloads written in {took:.0f} s", flush=True)
        as_of = (made.START + n_days * made.DAY).isoformat()
        config = Path(folder) / "foretide.json"  # JSON is YAML
        config.write_text(json.dumps({"history": {"days": n_days}}))
        told, seconds, peak = _run(
            ["train", folder, str(config), as_of], FORETIDE_SHARDS__WORKERS=str(workers)
        )
    outcome = json.loads(told.splitlines()[-1])
    own = outcome.pop("peak_gib")
    done = outcome["done"] + sum(outcome["skipped"].values())
    assert done == n_workloads, f"{n_workloads} workloads went in, {done} came out"
    assert not outcome["failed"], outcome["failed"]
    return Trained(n_workloads, seconds, max(peak, own), outcome)


def _run(arguments: list[str], **environment: str) -> tuple[str, float, float]:
    """What a child said, how long it took, and the most memory that it and its children held."""
    variables = {**os.environ, **dict.fromkeys(CAPPED, "1"), **environment}
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    most = 0
    with tempfile.TemporaryFile("w+") as told:
        began = time.perf_counter()
        child = subprocess.Popen([sys.executable, __file__, *arguments], stdout=told, env=variables)
        while child.poll() is None:
            most = max(most, sum(map(_resident, _family(child.pid))))
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        if child.returncode:
            raise SystemExit(f"the child that was to {arguments[0]} failed: see above")
        told.seek(0)
        return told.read(), seconds, most / 2**30


def _family(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            found += [int(c) for t in tasks for c in (t / "children").read_text().split()]
        except OSError:
            continue  # it is over
    return found


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _train(out: str, config: str, as_of: str) -> dict[str, object]:
    from pipelines.train import train

    began = time.perf_counter()
    outcome = train.fn(config=config, out=out, as_of=as_of)
    status = Path("/proc/self/status").read_text()  # the process's own, without its parent's
    peak_gib = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**20
    return {**outcome, "flow_seconds": time.perf_counter() - began, "peak_gib": peak_gib}


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "store":
        made.store(Path(rest[0]), int(rest[1]), int(rest[2]))
    else:
        print(json.dumps(_train(*rest)))
