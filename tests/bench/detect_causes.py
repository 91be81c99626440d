"""How long diagnose takes: 500 metrics, a week of 5-minute samples and an hour of incident.

``python tests/bench/detect_causes.py`` times the command's own function, from files to the result,
and the whole process beside it; medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from features.frames import SAMPLES, conform
from pipelines.diagnose import diagnose

N_WORKLOADS, N_METRICS = 50, 10
N_NORMAL, N_INCIDENT = 2016, 12
REPEATS = 5
START = pd.Timestamp("2026-01-05", tz="UTC")
METRICS = (
    "requests_per_second", "latency_p50_seconds", "latency_p99_seconds", "error_ratio",
    "cpu_usage_cores", "memory_rss_bytes", "network_receive_bytes_per_second", "replicas",
    "queue_depth", "threads",
)  # fmt: skip


def made(folder: Path) -> tuple[list[str], str, str]:
    """Samples of the normal time and of the incident, and the calls; the onset."""
    rng = np.random.default_rng(7)
    steps = N_NORMAL + N_INCIDENT
    n = N_WORKLOADS * N_METRICS
    times = pd.date_range(START, periods=steps, freq="5min").as_unit("ms")
    wave = 1 + 0.5 * np.sin(np.arange(steps) / 288 * 2 * np.pi)
    values = rng.lognormal(0, 2, (n, 1)) * wave * (1 + 0.1 * rng.normal(0, 1, (n, steps)))
    values[2::N_METRICS, N_NORMAL:] *= rng.uniform(1, 6, (N_WORKLOADS, 1))
    code = np.repeat(np.arange(n), steps)
    names = [f"service-{i:02d}" for i in range(N_WORKLOADS)]
    frame = pd.DataFrame(
        {
            "name": pd.Categorical.from_codes(code // N_METRICS, names),
            "metric": pd.Categorical.from_codes(code % N_METRICS, METRICS),
            "ts": np.tile(times.to_numpy(), n),
            "value": values.ravel(),
        }
    )
    frame["ts"] = frame["ts"].dt.tz_localize("UTC") if frame["ts"].dt.tz is None else frame["ts"]
    at = times[N_NORMAL]
    late = frame["ts"] >= at
    files = [str(folder / "normal.parquet"), str(folder / "incident.parquet")]
    for file, part in zip(files, (frame[~late], frame[late]), strict=True):
        pq.write_table(conform(part, SAMPLES), file)
    graph = folder / "calls.csv"
    calls = [f"{names[(i - 1) // 2]},{names[i]}" for i in range(1, N_WORKLOADS)]
    graph.write_text("\n".join(["caller,callee", *calls]) + "\n")
    return files, at.isoformat(), str(graph)


def run() -> Iterable[tuple[str, float, str]]:
    """Seconds of the function; prints those of the process."""
    with tempfile.TemporaryDirectory() as folder:
        files, at, graph = made(Path(folder))
        inside: list[float] = []
        for _ in range(REPEATS):
            clock = time.perf_counter()
            result = diagnose(files, at, target="service-00", graph=graph)
            inside.append(time.perf_counter() - clock)
        if result["done"] != N_WORKLOADS * N_METRICS or not result["causes"]:
            raise SystemExit(f"expected all series and a cause, got {result}")
        inputs = [option for file in files for option in ("--input", file)]
        command = [sys.executable, "-m", "pipelines.cli", "diagnose", *inputs, "--at", at, "--json",
                   "--target", "service-00", "--graph", graph]  # fmt: skip
        whole: list[float] = []
        for _ in range(REPEATS):
            clock = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            whole.append(time.perf_counter() - clock)
    seconds = statistics.median(inside)
    print(
        f"diagnose, {N_WORKLOADS * N_METRICS} metrics × {N_NORMAL + N_INCIDENT} steps: "
        f"{seconds:.2f} s; the whole process {statistics.median(whole):.2f} s "
        f"({os.cpu_count()} processors)"
    )
    yield "diagnose_seconds_500", seconds, "s"


def main() -> None:
    """Print the figure."""
    for name, value, unit in run():
        print(f"{name} {value:.3f} {unit}")


if __name__ == "__main__":
    main()
