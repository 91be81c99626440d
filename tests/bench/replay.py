"""bench-replay: a week of 1,000 workloads at 15 s steps, every policy, and what an issue costs.

Prints ``figure NAME VALUE UNIT`` lines. ``--workloads`` makes it smaller.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from features.panel import Floats
from models.floors import last_week_floors
from models.replay import compare

STEPS = 7 * 5760
"""A week of 15 s steps."""
BLOCK = 128
"""Workloads made at a time: five weeks at 15 s are 1.6 MB each."""


def load(n: int, steps: int, rng: np.random.Generator) -> Floats:
    """Working days of different heights and hours, with noise, (n, steps)."""
    hour = np.arange(steps) / 240
    height, begin = rng.lognormal(2, 1, (n, 1)), rng.uniform(6, 11, (n, 1))
    of_day = (hour % 24 - begin) % 24
    busy = np.clip(np.minimum(of_day, 9 - of_day), 0, 1) * (hour // 24 % 7 < 5)
    noise = np.repeat(rng.lognormal(0, 0.08, (n, steps // 4)), 4, axis=1)
    return height * (0.2 + busy) * noise


def main() -> None:
    """Time ``compare`` alone; making the loads is not in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=1000)
    n = parser.parse_args().workloads
    rng = np.random.default_rng(7)
    compare_block(load(2, 5 * STEPS, rng))  # compiles, or reads what was compiled
    seconds = 0.0
    tables: list[pd.DataFrame] = []
    for begin in range(0, n, BLOCK):
        whole = load(min(BLOCK, n - begin), 5 * STEPS, rng)
        began = time.perf_counter()
        tables.append(compare_block(whole))
        seconds += time.perf_counter() - began
    every = pd.concat(tables)
    policies = list(dict.fromkeys(every["policy"]))
    print(f"{n} workloads, {STEPS} syncs of 15 s each, policies: {', '.join(policies)}")
    sums = every.groupby("policy", sort=False)[["over_target", "unserved", "replica_hours"]].sum()
    print(sums.round(1).to_string())
    print(f"figure replay_week_1000_seconds {seconds * 1000 / n:.1f} s")
    print(f"figure replay_ns_per_sync {seconds * 1e9 / (n * STEPS * len(policies)):.0f} ns")


def compare_block(whole: Floats) -> pd.DataFrame:
    """All policies over the last week; a rule's floors stand for Foretide's: they cost the same to
    replay."""
    demand, history = whole[:, -STEPS:], whole[:, :-STEPS]
    floors = last_week_floors(demand, history, 15, target_per_pod_cores=0.7)
    return compare(
        demand,
        15,
        workloads=[str(i) for i in range(len(demand))],
        floors=floors,
        history=history,
        pod_capacity_cores=1.0,
        target_ratio=0.7,
        min_replicas=2,
        max_replicas=400,
    )


if __name__ == "__main__":
    main()
