"""How a day of samples should lie in Parquet: one day, written and read in every variant.

``python tests/bench/layout.py [--series N] [--repeats N]`` prints a table; ``*`` marks what the
store does. Values are a daily wave with noise (cpu, latency), whole numbers (memory in pages,
replicas) and constants (limits). All in memory, the variants in turn, medians.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import SAMPLES
from pipelines.adapters.store.samples_file import GROUP_ROWS, OPTIONS

DAY_MS, STEP_MS = 86_400_000, 300_000
N_STEPS = DAY_MS // STEP_MS
LABELS = ("metric", "cluster", "namespace", "kind", "name")
BASE = dict(OPTIONS)
PLAIN_LABELS = pa.schema(
    [pa.field(f.name, pa.string() if f.name in LABELS else f.type, False) for f in SAMPLES.schema]
)
REQUIRED = pa.schema([f.with_nullable(False) for f in SAMPLES.schema])


@dataclass
class Variant:
    topic: str
    name: str
    options: dict = field(default_factory=dict)
    rows: int = GROUP_ROWS // N_STEPS * N_STEPS
    order: tuple[str, ...] = ("metric", *LABELS[1:], "ts")
    schema: pa.Schema = REQUIRED
    size: int = 0
    write_s: list[float] = field(default_factory=list)
    read_s: list[float] = field(default_factory=list)
    value_s: list[float] = field(default_factory=list)


def values(rng: np.random.Generator, n_series: int) -> dict[str, np.ndarray]:
    """One day of every kind of metric, (n_series, 288)."""
    wave = 1 + 0.5 * np.sin(np.arange(N_STEPS) / N_STEPS * 2 * np.pi + rng.random((n_series, 1)))
    noise = rng.lognormal(0, 0.1, (n_series, N_STEPS))
    level = rng.lognormal(0, 1, (n_series, 1))
    pages = np.cumsum(rng.integers(-40, 42, (n_series, N_STEPS)), axis=1)
    return {
        "cpu_usage_cores": level * wave * noise,
        "latency_p99_seconds": 0.05 * level * noise,
        "memory_rss_bytes": 4096.0 * np.maximum(20_000 * level // 1 + pages, 1),
        "replicas": np.ceil(level * wave * 3),
        "cpu_limit_cores": np.repeat(np.ceil(level * 4) / 2, N_STEPS, axis=1),
        "memory_limit_bytes": np.repeat(2.0**28 * np.ceil(level), N_STEPS, axis=1),
    }


def day(n_series: int) -> pa.Table:
    """All metrics of ``n_series`` workloads, sorted as the store sorts."""
    kinds = values(np.random.default_rng(7), n_series)
    metrics = sorted(kinds)
    series = np.tile(np.repeat(np.arange(n_series), N_STEPS), len(metrics)).astype(np.int32)
    metric = np.repeat(np.arange(len(metrics)), n_series * N_STEPS).astype(np.int32)
    ts = np.tile(np.arange(N_STEPS) * STEP_MS, n_series * len(metrics)) + 20_000 * DAY_MS
    namespaces = [f"team-{i:02d}" for i in range(20)]
    names = [f"service-{i:05d}-{'api' if i % 3 else 'worker'}" for i in range(n_series)]
    zero = np.zeros(len(ts), np.int32)
    label = pa.DictionaryArray.from_arrays
    columns = {
        "cluster": label(zero, ["prod-eu-1"]),
        "namespace": label(series * 20 // n_series, namespaces),
        "kind": label(zero, ["Deployment"]),
        "name": label(series, names),
        "metric": label(metric, metrics),
        "ts": pa.array(ts).cast(SAMPLES.schema.field("ts").type),
        "value": np.concatenate([kinds[m].ravel() for m in metrics]),
    }
    return pa.table(columns).select(SAMPLES.schema.names)


def variants() -> Iterator[Variant]:
    """The store's own, and then one thing of it changed at a time."""
    plain, delta = BASE["column_encoding"]["value"], BASE["column_encoding"]["ts"]
    labels = list(LABELS)
    yield Variant("", "* the store's")
    for codec, level in [("none", None), ("snappy", None), ("lz4", None),
                         ("zstd", 1), ("zstd", 3), ("zstd", 6), ("zstd", 9)]:  # fmt: skip
        packed = {"compression": codec, "compression_level": level}
        name = codec + (f" {level}" if level else "")
        for value in ("BYTE_STREAM_SPLIT", "PLAIN"):
            coded = {"column_encoding": {"value": value, "ts": delta}}
            yield Variant("values, compression", f"{value} + {name}", packed | coded)
        yield Variant(
            "values, compression",
            f"dictionary + {name}",
            packed | {"column_encoding": {"ts": delta}, "use_dictionary": [*labels, "value"]},
        )
    for ts in ("PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"):
        yield Variant(
            "ts", ts, {"column_encoding": {"value": plain, "ts": ts}, "use_dictionary": labels}
        )
    yield Variant(
        "ts", "dictionary", {"column_encoding": {"value": plain}, "use_dictionary": [*labels, "ts"]}
    )
    yield Variant(
        "labels",
        "plain strings",
        {"use_dictionary": False, "column_encoding": {"value": plain, "ts": delta}},
        schema=PLAIN_LABELS,
    )
    yield Variant("labels", "dictionary pages, strings in Arrow", schema=PLAIN_LABELS)
    yield Variant("statistics", "of all columns", {"write_statistics": list(SAMPLES.schema.names)})
    yield Variant("nulls", "columns that may hold null", schema=SAMPLES.schema)
    for rows in (50_000, 250_000, 500_000, 1_000_000, 4_000_000):
        yield Variant("rows a row group", f"{rows:,}", rows=rows // N_STEPS * N_STEPS)
    for name, order in {
        "workload, metric, ts": (*LABELS[1:], "metric", "ts"),
        "ts, metric, workload": ("ts", *LABELS),
    }.items():
        yield Variant("sort", name, order=order)


def in_order(table: pa.Table, order: tuple[str, ...]) -> pa.Table:
    """Sorted by the columns; the codes of these labels are in the order of their texts."""
    codes = table.to_pandas().assign(**{c: table[c].chunk(0).indices.to_numpy() for c in LABELS})
    return table.take(np.lexsort([codes[c] for c in reversed(order)])).combine_chunks()


def timed(action: Callable[[], object]) -> tuple[float, object]:
    begin = time.perf_counter()
    answer = action()
    return time.perf_counter() - begin, answer


def write(table: pa.Table, one: Variant) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=one.rows, **(BASE | one.options))
    return sink.getvalue()


def measure(table: pa.Table, chosen: list[Variant], repeats: int) -> None:
    tables = {order: in_order(table, order) for order in {v.order for v in chosen}}
    for _ in range(repeats):
        for one in chosen:
            rows = tables[one.order].cast(one.schema)
            seconds, data = timed(lambda rows=rows, one=one: write(rows, one))
            one.size = len(data)
            one.write_s.append(seconds)
            source = pa.BufferReader(data)
            one.read_s.append(timed(lambda s=source: pq.ParquetFile(s).read())[0])
            only = timed(lambda s=source: pq.ParquetFile(s).read(columns=["value"]))[0]
            one.value_s.append(only)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    table, chosen = day(args.series), list(variants())
    measure(table, chosen, args.repeats)
    n = len(table)
    print(f"{n:,} samples of one day: {args.series:,} workloads × 6 metrics × {N_STEPS} steps;")
    print(f"medians of {args.repeats}, the variants in turn; millions of samples a second")
    print(f"{'':22}{'':36}{'B/sample':>9}{'write':>8}{'read':>8}{'value alone':>13}")
    for one in chosen:
        rates = [n / statistics.median(s) / 1e6 for s in (one.write_s, one.read_s, one.value_s)]
        print(
            f"{one.topic:22}{one.name:36}{one.size / n:9.2f}"
            f"{rates[0]:8.1f}{rates[1]:8.1f}{rates[2]:13.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
