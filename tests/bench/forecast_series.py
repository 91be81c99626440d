"""Made-up demand that looks like real load, as a panel and as a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from features.frames import SAMPLES
from features.panel import Floats, Panel
from pipelines.adapters.store import Store

METRIC = "cpu_usage_cores"
START = pd.Timestamp("2026-05-04", tz="UTC").as_unit("ms")
DAY = pd.Timedelta(1, "D")
FIVE_MINUTES, HOUR = pd.Timedelta(300, "s"), pd.Timedelta(3600, "s")
_TEAMS, _BATCH = 20, 500


def panel(n_series: int, n_days: int, step: pd.Timedelta, first: int = 0) -> Panel:
    """``n_series`` workloads from the ``first`` on; each is the same whatever else there is."""
    values = np.empty((n_series, int(n_days * DAY / step)))
    for at in range(0, n_series, _BATCH):
        part = values[at : at + _BATCH]
        part[:] = demand(first + at, len(part), part.shape[1], step)
    names = [workload(first + i) for i in range(n_series)]
    keys = pd.DataFrame({"workload": names, "metric": METRIC}, dtype="str")
    return Panel(keys, START, step, values)


def workload(number: int) -> str:
    """Name of a workload; names sort as numbers do."""
    namespace, name = _namespace_and_name(number)
    return f"bench/{namespace}/Deployment/{name}"


def demand(seed: int, n_series: int, n_steps: int, step: pd.Timedelta) -> Floats:
    """Daily and weekly shape, trend, noise that stays for an hour, level shifts in every third.

    A tenth of the series has about 2 % of its steps missing: single steps and one longer hole.
    """
    rng = np.random.default_rng(seed)
    day = np.arange(n_steps) * (step / DAY)
    column = (n_series, 1)
    phase, depth = 6.3 * rng.uniform(size=column), rng.uniform(0.1, 0.6, column)
    wave = depth * np.sin(2 * np.pi * day + phase)
    wave += 0.4 * depth * np.sin(4 * np.pi * day + 2 * phase)
    weekend = 1 - rng.uniform(0, 0.5, column) * (np.floor(day + START.dayofweek) % 7 >= 5)
    trend = 1 + 0.01 * rng.normal(size=column) * day
    shift_at = rng.integers(n_steps // 6, n_steps - n_steps // 6, column)
    shifted = (rng.uniform(size=column) < 1 / 3) & (np.arange(n_steps) >= shift_at)
    level = np.where(shifted, rng.uniform(0.6, 1.7, column), 1.0)
    white = rng.standard_normal((n_series, n_steps))
    lasting = np.repeat(
        rng.standard_normal((n_series, -(-n_steps // max(int(HOUR / step), 1)))),
        max(int(HOUR / step), 1),
        axis=1,
    )[:, :n_steps]
    noise = rng.uniform(0.03, 0.15, column) * (0.7 * white + 0.7 * lasting)
    usual = rng.lognormal(0, 1, column) * (1 + wave) * weekend * np.maximum(trend, 0.2) * level
    return _with_gaps(usual * np.exp(noise), rng)


def store(root: Path, n_workloads: int, n_days: int) -> None:
    """Write a store of so many workloads at 5 minutes, day by day."""
    values = np.empty((n_workloads, int(n_days * DAY / FIVE_MINUTES)), dtype=np.float32)
    for at in range(0, n_workloads, _BATCH):
        part = values[at : at + _BATCH]
        part[:] = demand(at, len(part), part.shape[1], FIVE_MINUTES)
    opened, per_day = Store(root), int(DAY / FIVE_MINUTES)
    for day in range(n_days):
        opened.write_samples(_day(values[:, day * per_day : (day + 1) * per_day], day))


def _namespace_and_name(number: int) -> tuple[str, str]:
    return f"team-{number % _TEAMS:02d}", f"service-{number:05d}"


def _with_gaps(values: Floats, rng: np.random.Generator) -> Floats:
    n_series, n_steps = values.shape
    thin = rng.uniform(size=(n_series, 1)) < 0.1
    hole_at = rng.integers(0, n_steps, (n_series, 1))
    since = np.arange(n_steps) - hole_at
    hole = (since >= 0) & (since < n_steps // 100)
    values[thin & (hole | (rng.uniform(size=values.shape) < 0.01))] = np.nan
    return values


def _day(values: np.ndarray, day: int) -> pa.Table:
    """One day of all workloads as the samples table."""
    n_workloads, n_steps = values.shape
    number = np.repeat(np.arange(n_workloads, dtype=np.int32), n_steps)
    zero, label = np.zeros(len(number), np.int32), pa.DictionaryArray.from_arrays
    stamps = START.value // 10**6 + 86_400_000 * day + 300_000 * np.arange(n_steps)
    columns = {
        "cluster": label(zero, ["bench"]),
        "namespace": label(number % _TEAMS, [f"team-{i:02d}" for i in range(_TEAMS)]),
        "kind": label(zero, ["Deployment"]),
        "name": label(number, [_namespace_and_name(i)[1] for i in range(n_workloads)]),
        "metric": label(zero, [METRIC]),
        "ts": pa.array(np.tile(stamps, n_workloads)).cast(SAMPLES.schema.field("ts").type),
        "value": values.ravel().astype(np.float64),
    }
    table = pa.table(columns).select(SAMPLES.schema.names)
    there = np.isfinite(values.ravel())
    return table if there.all() else table.filter(pa.array(there))
