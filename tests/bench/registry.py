"""Loading one workload's baselines out of a version of 10,000.

``python tests/bench/registry.py [--workloads N] [--repeats N]`` trains two workloads on four weeks
of 5-minute samples (the default models, three metrics, an isolation forest), multiplies them to N
in shards of 500, registers them in an SQLite tracker and loads one at a time as ``score`` does: ask
the registry, find the bundle, read the rows of both families. Prints figures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from models.base import Baselines
from models.bundle import load, save
from models.bundle_index import write_index
from pipelines.adapters.tracking import ModelVersion
from pipelines.pairs import crown, live_pair
from pipelines.registry import load_live
from pipelines.run import Run, RunRef
from pipelines.train import train

END = pd.Timestamp("2026-06-15T00:00Z")
SHARD = 500
LEVELS = {"requests_per_second": 50.0, "cpu_usage_cores": 2.0, "memory_rss_bytes": 3e8}
SEED_WORKLOADS = 2


def samples() -> pd.DataFrame:
    ts = pd.date_range(END - pd.Timedelta(days=28), END, freq="5min", inclusive="left")
    rng, turn = np.random.default_rng(0), np.arange(len(ts)) * 2 * np.pi / 288
    parts = [
        pd.DataFrame(
            {
                "cluster": "c",
                "namespace": "n",
                "kind": "Deployment",
                "name": f"seed{i}",
                "metric": metric,
                "ts": ts.as_unit("ms"),
                "value": level * (1 + 0.4 * np.sin(turn + i)) * rng.lognormal(0, 0.1, len(ts)),
            }
        )
        for i in range(SEED_WORKLOADS)
        for metric, level in LEVELS.items()
    ]
    return pd.concat(parts)


def trained(root: Path) -> Run:
    config = root / "foretide.yaml"
    config.write_text(yaml.safe_dump({"store": {"path": str(root / "store")}}))
    samples().to_parquet(root / "samples.parquet")
    train.fn(str(config), [str(root / "samples.parquet")], None, END.isoformat())
    return RunRef.resolve(str(config), None, None, END.isoformat(), END).open()


def repeated(baselines: Baselines, first: int, n: int) -> Baselines:
    """The same rows again and again, under other names; all of one workload stay together."""
    each = len(baselines.keys) // SEED_WORKLOADS
    turn = np.resize(np.arange(SEED_WORKLOADS), n)
    rows = (turn[:, None] * each + np.arange(each)).ravel()
    made = baselines.select(rows)
    names = np.repeat([f"c/n/Deployment/w{first + i:06d}" for i in range(n)], each)
    return replace(made, keys=made.keys.assign(workload=pd.array(names, dtype="str")))


def registered(run: Run, root: Path, n: int) -> float:
    """Log N workloads of both families; gives the bundles' bytes a workload."""
    tracking, versions = run.tracking(), []
    for version in live_pair(tracking):
        assert version is not None
        folder = root / "many" / version.family
        with tracking.files(version) as model:
            (seed,) = (model / "data" / version.family).glob("*/bundle.json")
            bundle, meta = load(seed.parent)
        for shard, first in enumerate(range(0, n, SHARD)):
            rows = {k: repeated(b, first, min(SHARD, n - first)) for k, b in bundle.items()}
            save(folder / f"{shard:04d}-0", rows, meta)
        tags = {"training": "bench", "as_of": END.isoformat(), "index_sha256": write_index(folder)}
        versions.append(logged(run, folder, tags))
    crown(tracking, tuple(versions))
    files = [p for p in (root / "many").rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / n


def logged(run: Run, folder: Path, tags: dict[str, str]) -> ModelVersion:
    return run.tracking().log_bundle(
        folder.name, folder, params={}, metrics={}, tags=tags,
        loader_module="pipelines.registry", check=lambda _: None,
    )  # fmt: skip


def cold(root: Path) -> None:
    """Drop the version's pages from the kernel's cache, as far as it lets us."""
    for file in root.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    n: int = asked.workloads
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        run = trained(root)
        size = registered(run, root, n)
        load_live(run, ["c/n/Deployment/w000000"], detectors=True)  # imports, kernels
        rng, taken = np.random.default_rng(1), {"warm": [], "cold": []}
        used: list[float] = []
        for kind, each in taken.items():
            for i in rng.integers(0, n, asked.repeats):
                if kind == "cold":
                    cold(root / "store" / "mlartifacts")
                begun, cpu = time.perf_counter(), time.process_time()
                live = load_live(run, [f"c/n/Deployment/w{i:06d}"], detectors=True)
                each.append(1000 * (time.perf_counter() - begun))
                used.append(1000 * (time.process_time() - cpu))
                (learned,) = live.shards
                assert len(learned.champions.chosen) == len(LEVELS)
                assert len(learned.detectors["isolation_forest"].keys) == 1
    for kind, each in taken.items():
        print(f"{kind}: median {statistics.median(each):.0f} ms, worst {max(each):.0f} ms")
    print(f"figure model_load_ms_{n} {statistics.median(taken['cold']):.0f} ms")
    print(f"figure model_load_cpu_ms_{n} {statistics.median(used):.0f} ms")
    print(f"figure model_kib_per_workload {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
