"""One run of `score` as it is scheduled every quarter of an hour: from the store to its tables.

A store of made-up workloads (six metrics, 5-minute steps, 8 days), trained once and scored once for
the day before; then the next quarter of an hour, on the full hour, so that leaks are judged too.
Each tick is a process of its own, timed without its start, and runs twice, as a worker that stays
does: the first time libraries and compiled kernels are loaded. A machine that others use shows in
the load average, and in wall time that is far more than half the seconds of CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

START = pd.Timestamp("2026-05-01T00:00Z")
DAYS = 8
STEP_S = 300
SIZES = (1_000, 5_000, 10_000)
CAPPED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LEVELS = {
    "cpu_usage_cores": 0.5,
    "error_ratio": 0.01,
    "latency_p99_seconds": 0.2,
    "memory_limit_bytes": 1e9,
    "memory_rss_bytes": 5e8,
    "requests_per_second": 80.0,
}
TRAINED = START + pd.Timedelta(days=DAYS) - pd.Timedelta(hours=24)
AS_OF = START + pd.Timedelta(days=DAYS)


def run(sizes: Iterable[int] = SIZES, workers: int = 2) -> Iterable[tuple[str, float, str]]:
    """Seconds of one tick for each size, with the peak of memory; prints a table."""
    print(
        f"{'workloads':>9} {'fixture s':>9} {'first s':>8} {'CPU s':>6} {'tick s':>8} {'CPU s':>6} "
        f"{'peak GiB':>8} {'load':>5}  scored, incidents"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="foretide-tick-") as folder:
            began = time.perf_counter()
            _child("build", folder, size, workers)
            built = time.perf_counter() - began
            told = json.loads(_child("tick", folder, size, workers).splitlines()[-1])
        print(
            f"{size:>9} {built:>9.0f} {told['first_s']:>8.1f} {told['first_cpu_s']:>6.1f} "
            f"{told['again_s']:>8.1f} {told['cpu_s']:>6.1f} {told['peak_gib']:>8.2f} "
            f"{told['load']:>5.1f}  {told['done']}, {told['incidents']:g}",
            flush=True,
        )
        yield f"score_tick_seconds_{size}", told["first_s"], "s"
        yield f"score_tick_peak_gib_{size}", told["peak_gib"], "GiB"


def _child(verb: str, folder: str, size: int, workers: int) -> str:
    variables = {**os.environ, **dict.fromkeys(CAPPED, "1"), "PREFECT_LOGGING_LEVEL": "ERROR"}
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, __file__, "--child", verb, folder, str(size), str(workers)]
    return subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _day(size: int, day: int) -> pa.Table:
    """A day of all workloads: daily and weekly shape, noise, a few that go wrong."""
    steps = 86400 // STEP_S
    rng = np.random.default_rng([day, size])
    hour = np.arange(steps) * STEP_S / 3600
    phase = np.random.default_rng(size).uniform(0, 24, size)[:, None]
    shape = 1 + 0.4 * np.sin((hour + phase) * np.pi / 12)
    shape *= 0.8 if (START + pd.Timedelta(days=day)).weekday() > 4 else 1.0
    load = shape * (1 + 0.05 * rng.standard_normal((size, steps)))
    if day == DAYS - 1:
        ill = np.random.default_rng(7).choice(size, max(size // 50, 1), replace=False)
        load[ill, -12:] *= 4
    columns: list[np.ndarray] = []
    for name, level in LEVELS.items():
        if name == "memory_limit_bytes":
            columns.append(np.full((size, steps), level))
        elif name == "memory_rss_bytes":
            columns.append(level * (0.9 + 0.1 * load))
        else:
            noise = 1 + 0.05 * rng.standard_normal((size, steps))
            columns.append(level * load * noise)
    stamp_ms = (START + pd.Timedelta(days=day)).value // 10**6 + np.arange(steps) * STEP_S * 1000
    value = np.stack(columns)  # metric, workload, step
    n = value.size

    def label(codes: np.ndarray, words: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(words))

    zero = np.zeros(n, dtype=np.int32)
    who = np.tile(np.repeat(np.arange(size), steps), len(LEVELS))
    namespaces = [f"n{i:03d}" for i in range(200)]
    return pa.table(
        {
            "cluster": label(zero, ["bench"]),
            "namespace": label(who % 200, namespaces),
            "kind": label(zero, ["Deployment"]),
            "name": label(who, [f"w{i:05d}" for i in range(size)]),
            "metric": label(np.repeat(np.arange(len(LEVELS)), size * steps), list(LEVELS)),
            "ts": pa.array(np.tile(stamp_ms, size * len(LEVELS))).cast(
                pa.timestamp("ms", tz="UTC")
            ),
            "value": value.ravel(),
        }
    )


def _config(folder: str, workers: int) -> str:
    path = Path(folder) / "foretide.json"  # JSON is YAML
    known = {
        "history": {"days": DAYS, "step_s": STEP_S},
        "forecast": {"models": ["seasonal_naive", "seasonal_day"]},
        "shards": {"workers": workers},
    }
    path.write_text(json.dumps(known))
    return str(path)


def _build(folder: str, size: int, workers: int) -> None:
    """Store, training, and the scores of the day before."""
    from pipelines.adapters.store import Store
    from pipelines.score import score
    from pipelines.train import train

    store = Store(folder)
    for day in range(DAYS):
        clock = time.perf_counter()
        store.write_samples(_day(size, day))
        print(f"day {day}: {time.perf_counter() - clock:.1f} s", file=sys.stderr)
    common = {"config": _config(folder, workers), "out": folder}
    clock = time.perf_counter()
    train.fn(**common, as_of=TRAINED.isoformat())
    print(f"train: {time.perf_counter() - clock:.1f} s", file=sys.stderr)
    clock = time.perf_counter()
    before = AS_OF - pd.Timedelta(minutes=15)
    score.fn(**common, as_of=before.isoformat(), start=TRAINED.isoformat())
    print(f"day of scores: {time.perf_counter() - clock:.1f} s", file=sys.stderr)


def _tick(folder: str, workers: int) -> None:
    """The tick, twice, and what it took, as JSON."""
    from pipelines.score import score

    common = {"config": _config(folder, workers), "out": folder}
    start = AS_OF - pd.Timedelta(minutes=15)
    told: dict[str, float] = {"load": os.getloadavg()[0]}
    for wall, cpu in (("first_s", "first_cpu_s"), ("again_s", "cpu_s")):
        clock, used = time.perf_counter(), time.process_time()
        outcome = score.fn(**common, as_of=AS_OF.isoformat(), start=start.isoformat())
        told |= {wall: time.perf_counter() - clock, cpu: time.process_time() - used}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told |= {"peak_gib": peak, "done": outcome["done"]}
    print(json.dumps(told | {"incidents": outcome["figures"]["incidents"]}))


def main() -> None:
    """``--small``: 200 workloads only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--child", nargs=4, metavar=("VERB", "FOLDER", "SIZE", "WORKERS"))
    asked = parser.parse_args()
    if asked.child:
        verb, folder, size, workers = asked.child
        if verb == "build":
            _build(folder, int(size), int(workers))
        else:
            _tick(folder, int(workers))
        return
    for name, value, unit in run((200,) if asked.small else asked.sizes, asked.workers):
        print(f"{name}: {value:.3g} {unit}")


if __name__ == "__main__":
    main()
