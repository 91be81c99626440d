"""From the store to a panel, held against a raw read of the same Parquet files.

``python tests/bench/panel.py [--series N] [--days N] [--repeats N] [--gaps SHARE]`` makes a store
in a temporary folder (merged as ingest does it), then reads it in turns; medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import SAMPLES
from features.panel import Panel
from features.workloads import with_workload
from pipelines.adapters.store.samples import merge_day, split_days
from pipelines.adapters.store.samples_panel import panel_of

DAY_MS, STEP_MS = 86_400_000, 300_000
N_STEPS = DAY_MS // STEP_MS
FIRST_MS = 20_605 * DAY_MS


def samples(n_series: int, n_days: int, gaps: float) -> pa.Table:
    """Series after series, each of all days, as a pull gives them; in no order of names."""
    rng = np.random.default_rng(7)
    step = np.arange(n_days * N_STEPS)
    wave = 1 + 0.5 * np.sin(step / N_STEPS * 2 * np.pi)
    value = rng.lognormal(0, 1, (n_series, 1)) * wave * (1 + 0.1 * rng.random(len(step)))
    zero, label = np.zeros(n_series * len(step), np.int32), pa.DictionaryArray.from_arrays
    series = rng.permutation(n_series).astype(np.int32)
    columns = {
        "cluster": label(zero, ["prod-eu-1"]),
        "namespace": label(np.repeat(series % 20, len(step)), [f"team-{i:02d}" for i in range(20)]),
        "kind": label(zero, ["Deployment"]),
        "name": label(np.repeat(series, len(step)), [f"service-{i:05d}" for i in range(n_series)]),
        "metric": label(zero, ["cpu_usage_cores"]),
        "ts": pa.array(np.tile(FIRST_MS + step * STEP_MS, n_series)).cast(
            SAMPLES.schema.field("ts").type
        ),
        "value": value.ravel(),
    }
    table = pa.table(columns).select(SAMPLES.schema.names)
    return table.filter(pa.array(rng.random(len(table)) >= gaps)) if gaps else table


def made(root: Path, n_series: int, n_days: int, gaps: float) -> tuple[list[tuple[int, Path]], int]:
    """A store, made in batches of 1,000 series; prints how long it took to split and to merge."""
    days: dict[int, list[pa.Table]] = {}
    split_s = merge_s = 0.0
    for begin in range(0, n_series, 1000):
        part = samples(min(1000, n_series - begin), n_days, gaps)
        if begin:
            part = part.set_column(3, "name", pa.DictionaryArray.from_arrays(
                part["name"].chunk(0).indices,
                [f"service-{begin + i:05d}" for i in range(len(part["name"].chunk(0).dictionary))],
            ))  # fmt: skip
        clock = time.perf_counter()
        for start, rows in split_days(part):
            days.setdefault(start, []).append(rows)
        split_s += time.perf_counter() - clock
    files: list[tuple[int, Path]] = []
    n = 0
    for start in sorted(days):
        fresh = days.pop(start)
        n += sum(map(len, fresh))
        path = root / f"{start}.parquet"
        clock = time.perf_counter()
        with path.open("wb") as out:
            merge_day(None, fresh, out)
        merge_s += time.perf_counter() - clock
        files.append((start, path))
    size = sum(path.stat().st_size for _, path in files)
    print(
        f"split by day {n / split_s / 1e6:.1f} M samples/s; sorted and written "
        f"{n / merge_s / 1e6:.1f} M samples/s ({merge_s:.2f} s); {size / n:.2f} B a sample"
    )
    return files, n


def peak_bytes() -> int:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gaps", type=float, default=0.0, help="share of samples left out")
    parser.add_argument("--frame", action="store_true", help="also time the way through a frame")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foretide-bench-") as folder:
        child = os.fork()  # what makes the store must not count as the reader's memory
        if not child:
            made(Path(folder), args.series, args.days, args.gaps)
            os._exit(0)
        os.waitpid(child, 0)
        report(folder, args)


def report(folder: str, args: argparse.Namespace) -> None:
    files = [(int(path.stem), path) for path in sorted(Path(folder).glob("*.parquet"))]
    start = pd.Timestamp(FIRST_MS, unit="ms", tz="UTC")
    end, step = start + pd.Timedelta(days=args.days), pd.Timedelta(STEP_MS, "ms")

    def panel() -> Panel:
        opened = [(day, pq.ParquetFile(path)) for day, path in files]
        answer = panel_of(opened, None, start, end, step)
        assert answer is not None
        return answer

    def columns(names: list[str] | None) -> Callable[[], object]:
        return lambda: [pq.read_table(path, columns=names) for _, path in files]

    def frame() -> Panel:
        tables = [pq.read_table(path) for _, path in files]
        whole = pa.concat_tables(tables).unify_dictionaries()
        return Panel.from_frame(with_workload(whole), step=step, start=start, end=end)

    before = peak_bytes()
    first = panel()
    held, peak = first.values.nbytes, peak_bytes() - before
    n_bytes = first.values.nbytes
    del first
    ways: dict[str, Callable[[], object]] = {
        "panel": panel,
        "raw read, all columns": columns(None),
        "raw read, values alone": columns(["value"]),
    }
    if args.frame:
        ways["panel, through a frame"] = frame
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, way in ways.items():
            clock = time.perf_counter()
            answer = way()
            taken[name].append(time.perf_counter() - clock)
            del answer
    middle = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in middle.items():
        print(f"{name:26}{seconds:8.3f} s {n_bytes / seconds / 1e9:8.2f} GB/s of values")
    print(
        f"panel: {held / 2**30:.2f} GiB; reading it took {peak / held:.2f} times that at the most"
    )
    share = middle["raw read, all columns"] / middle["panel"]
    alone = middle["raw read, values alone"] / middle["panel"]
    print(f"figure panel_share_of_raw_parquet_read {share:.2f} ratio")
    print(f"figure panel_share_of_raw_value_column_read {alone:.2f} ratio")
    print(f"figure panel_gb_per_s {n_bytes / middle['panel'] / 1e9:.2f} GB/s")


if __name__ == "__main__":
    main()
