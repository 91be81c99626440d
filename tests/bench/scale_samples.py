"""Made-up samples of many workloads, written fast: Parquet files as an exporter would leave them.

One file a UTC day, its row groups cut by time, so that whoever reads a stretch of time reads little
else. Of each workload there are the metrics that a floor is made of: CPU with a daily and a weekly
shape, growth and noise; the replicas that an HPA would have had for it, what they request, and the
HPA's bounds. With ``memory`` also its resident memory and the limit. Faults here and there: spikes
in the last hour, level shifts in the last week, gaps, leaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["FLOORS", "MEMORY", "SCORED", "START", "STEP_S", "Fleet", "write_days"]

START = pd.Timestamp("2026-05-04T00:00Z")
STEP_S = 300
SCORED = pd.Timedelta(hours=1)
"""So much comes after the whole weeks: what is scored."""
FLOORS = (
    "cpu_request_cores",
    "cpu_usage_cores",
    "hpa_max_replicas",
    "hpa_min_replicas",
    "replicas",
)
MEMORY = ("memory_limit_bytes", "memory_rss_bytes")
_DAY_STEPS = 86_400 // STEP_S
_GROUP_ROWS = 1_000_000
_TARGET = 0.7
_STAMP = pa.timestamp("ms", tz="UTC")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many workloads, for so many weeks and the hour that is scored."""

    workloads: int
    weeks: int
    memory: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """What each workload has, by name."""
        return tuple(sorted((*FLOORS, *MEMORY))) if self.memory else FLOORS

    @property
    def trained(self) -> pd.Timestamp:
        """The end of the whole weeks."""
        return START + pd.Timedelta(weeks=self.weeks)

    @property
    def end(self) -> pd.Timestamp:
        """Where the samples end."""
        return self.trained + SCORED

    @property
    def samples(self) -> int:
        """At most: gaps are missing."""
        steps = (self.end - START) // pd.Timedelta(STEP_S, "s")
        return self.workloads * len(self.metrics) * steps


def write_days(fleet: Fleet, folder: Path) -> int:
    """Write the files; gives how many samples they hold."""
    folder.mkdir(parents=True)
    written = 0
    for day in range(fleet.weeks * 7 + 1):
        steps = min(_DAY_STEPS, (fleet.end - START) // pd.Timedelta(STEP_S, "s") - day * _DAY_STEPS)
        at = day * _DAY_STEPS + np.arange(steps)
        written += _write_day(fleet, _values(fleet, at), at, folder)
    return written


def _values(fleet: Fleet, at: NDArray[np.int64]) -> dict[str, Floats]:
    """Metric → (workloads, steps) of the given steps since ``START``; NaN where a gap is."""
    n = fleet.workloads
    who = np.random.default_rng([n, 1])
    peak_h, swing = who.normal(14, 2.5, (n, 1)), who.uniform(0.2, 0.6, (n, 1))
    weekend, growth = who.uniform(0.3, 1.0, (n, 1)), who.uniform(0, 0.02, (n, 1))
    mean, noise = np.exp(who.normal(0.5, 0.8, (n, 1))), who.uniform(0.02, 0.12, (n, 1))
    hour = at * STEP_S / 3600
    week = hour / 168
    shape = 1 + swing * np.cos((hour - peak_h) * np.pi / 12)
    shape *= np.where((hour // 24 % 7 > 4)[None], weekend, 1.0) * (1 + growth * week)
    now = np.random.default_rng([n, 2, int(at[0])])
    cpu = mean * np.maximum(shape * (1 + noise * now.standard_normal((n, len(at)))), 0.02)
    ill = who.random(n)
    last, scored = fleet.weeks * 168 - 84, fleet.weeks * 168
    cpu[ill < 0.01] *= np.where(hour > scored + 0.25, 3.0, 1.0)
    cpu[(ill > 0.01) & (ill < 0.02)] *= np.where(hour > last, 1.6, 1.0)
    request = np.ceil(mean * 5) / 10 / _TARGET
    least = np.full((n, 1), 2.0)
    most = np.ceil(mean * 4 / request / _TARGET) + 2
    replicas = np.clip(np.ceil(cpu / (request * _TARGET)), least, most)
    found = {
        "cpu_usage_cores": cpu,
        "cpu_request_cores": replicas * request,
        "hpa_max_replicas": np.broadcast_to(most, cpu.shape),
        "hpa_min_replicas": np.broadcast_to(least, cpu.shape),
        "replicas": replicas,
    }
    if fleet.memory:
        leak = np.where((ill > 0.02) & (ill < 0.025), np.maximum(hour[:, None] - last, 0), 0).T
        base = mean * 3e8 * (1 + 0.1 * shape + 0.004 * now.standard_normal(cpu.shape))
        found["memory_rss_bytes"] = base + mean * 4e6 * leak
        found["memory_limit_bytes"] = np.broadcast_to(np.ceil(mean * 12) * 1e8, cpu.shape)
    gap = (ill > 0.9) & (now.random(n) < 0.1)  # an hour or two of a few workloads, each day
    hidden = gap[:, None] & (hour % 24 // 2 == now.integers(12, size=(n, 1)))
    return {m: np.where(hidden, np.nan, v) for m, v in found.items()}


def _write_day(fleet: Fleet, values: dict[str, Floats], at: NDArray[np.int64], folder: Path) -> int:
    stamp_ms = START.value // 10**6 + at * STEP_S * 1000
    long = max(_GROUP_ROWS // (fleet.workloads * len(fleet.metrics)), 1)
    name = f"{START + pd.Timedelta(int(at[0]) * STEP_S, 's'):%Y-%m-%d}.parquet"
    parts = [_rows(fleet, values, stamp_ms, slice(i, i + long)) for i in range(0, len(at), long)]
    with pq.ParquetWriter(folder / name, parts[0].schema, compression="lz4") as writer:
        for part in parts:
            writer.write_table(part, row_group_size=len(part))
    return sum(len(part) for part in parts)


def _rows(
    fleet: Fleet, values: dict[str, Floats], stamp_ms: NDArray[np.int64], steps: slice
) -> pa.Table:
    """Some steps of all series, by metric, workload and stamp."""
    value = np.stack([values[m][:, steps] for m in fleet.metrics])
    n_metrics, n, n_steps = value.shape
    there = np.flatnonzero(~np.isnan(value.ravel()))
    who = np.repeat(np.arange(n, dtype=np.int32), n_steps)

    def label(codes: NDArray[np.int32], words: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes[there]), pa.array(words))

    zero = np.zeros(value.size, dtype=np.int32)
    what = np.repeat(np.arange(n_metrics, dtype=np.int32), n * n_steps)
    return pa.table(
        {
            "cluster": label(np.tile(who * 50 // n, n_metrics), [f"c{i:02d}" for i in range(50)]),
            "namespace": label(np.tile(who % 40, n_metrics), [f"team-{i:02d}" for i in range(40)]),
            "kind": label(zero, ["Deployment"]),
            "name": label(np.tile(who, n_metrics), [f"service-{i:05d}" for i in range(n)]),
            "metric": label(what, list(fleet.metrics)),
            "ts": pa.array(np.tile(stamp_ms[steps], n_metrics * n)[there]).cast(_STAMP),
            "value": value.ravel()[there],
        }
    )
