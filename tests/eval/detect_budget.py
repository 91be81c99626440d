"""Alerts of healthy workloads: is the alert budget kept on weeks that nobody learned from?

``python tests/eval/detect_budget.py [--workloads 60 --weeks 2 --seed 5]`` makes up workloads that
nothing ever happens to (daily and weekly load, noise that remembers, latency with a heavy tail,
errors that are counted), learns from four weeks, scores the next ones with the score verb, and
counts the incidents. The configured budget is one a workload and month.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from features.frames import INCIDENTS, SCORES
from features.panel import Panel
from pipelines.run import RunRef
from pipelines.score import score

START = pd.Timestamp("2026-03-02", tz="UTC")
STEP = pd.Timedelta("5min")
WEEK = 2016
MONTH_WEEKS = 365.25 / 12 / 7
LEARNED = 4


def remembering(rng: np.random.Generator, shape: tuple[int, int], hours: float) -> np.ndarray:
    """Standard normal noise that forgets within so many hours, (n, n_steps)."""
    keep = np.exp(-5 / 60 / hours)
    out = rng.normal(size=shape)
    for t in range(1, shape[1]):
        out[:, t] = keep * out[:, t - 1] + np.sqrt(1 - keep**2) * out[:, t]
    return out


def healthy(workloads: int, weeks: int, seed: int) -> Panel:
    """Five metrics of workloads without trouble."""
    rng = np.random.default_rng(seed)
    shape = (workloads, weeks * WEEK)
    hour = np.arange(shape[1]) / 12
    day = 1 - np.cos(2 * np.pi * (hour - 3) / 24)
    weekend = (hour // 24) % 7 >= 5

    def each(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, size=(workloads, 1))

    shape_of_week = 1 + each(0, 1.5) * day * np.where(weekend, each(0.2, 1), 1.0)
    wander = each(0.02, 0.08) * remembering(rng, shape, 4) + each(0.02, 0.1) * rng.normal(
        size=shape
    )
    requests = np.exp(rng.uniform(2, 6, (workloads, 1))) * shape_of_week * np.exp(wander)
    cpu = each(0.002, 0.02) * requests * np.exp(each(0.01, 0.06) * rng.normal(size=shape)) + 0.05
    memory = 3e8 * each(0.5, 4) * (1 + each(0.02, 0.2) * shape_of_week)
    memory *= np.exp(each(0.003, 0.02) * remembering(rng, shape, 2))
    tail = rng.standard_t(5, size=shape)
    latency = each(0.02, 0.3) * (1 + each(0, 0.3) * day) * np.exp(each(0.03, 0.12) * tail)
    served = np.maximum(requests * 300, 1)
    errors = rng.poisson(served * each(0.0005, 0.004)) / served
    metrics = {
        "requests_per_second": requests,
        "cpu_usage_cores": cpu,
        "memory_rss_bytes": memory,
        "latency_p99_seconds": latency,
        "error_ratio": errors,
    }
    names = [f"c/n{i % 7}/Deployment/w{i:03d}" for i in range(workloads)]
    keys = pd.DataFrame(
        [(w, m) for w in names for m in sorted(metrics)], columns=["workload", "metric"]
    ).astype("str")
    values = np.stack([metrics[m] for m in sorted(metrics)], axis=1).reshape(-1, shape[1])
    return Panel(keys, START, STEP, values)


def told(panel: Panel, folder: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Incidents and anomalous points of what comes after the weeks that are learned from."""
    file = str(Path(folder) / "samples.parquet")
    frame = panel.to_frame()
    parts = frame["workload"].str.split("/", expand=True)
    parts.columns = ["cluster", "namespace", "kind", "name"]
    pd.concat([parts, frame.drop(columns="workload")], axis=1).to_parquet(file)
    assert pq.read_metadata(file).num_rows == len(frame)
    until = panel.start + pd.Timedelta(weeks=LEARNED)
    score.fn(inputs=[file], out=folder, train_until=until.isoformat())
    run = RunRef(None, (file,), folder, panel.end.isoformat()).open()
    incidents = run.read(INCIDENTS, until).to_pandas().drop_duplicates("incident_id")
    scores = run.read(SCORES, until).to_pandas()
    return incidents, scores[scores["score"] >= 1]


def evaluate(
    data: Path, workloads: int = 60, weeks: int = 2, seed: int = 5
) -> Iterable[tuple[str, float, str]]:
    """Figures of made-up workloads; ``data`` is not looked at."""
    del data
    with tempfile.TemporaryDirectory(prefix="foretide-eval-") as folder:
        incidents, points = told(healthy(workloads, LEARNED + weeks, seed), folder)
    months = workloads * weeks / MONTH_WEEKS
    print(f"\nHealthy workloads: {workloads}, {weeks} weeks after {LEARNED} learned from")
    print(f"incidents {len(incidents)}, {len(incidents) / months:.2f} a workload and month")
    by = points.groupby("detector").size() / months
    for detector, count in by.items():
        print(f"  points over the line, {detector}: {count:.1f} a workload and month")
    first = incidents["title"].str.split(": ").str[1].str.split(" ").str[0]
    print(first.value_counts().to_string())
    return [("alerts_per_clean_workload_month", len(incidents) / months, "alerts")]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=60)
    parser.add_argument("--weeks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    for name, value, unit in evaluate(Path(), args.workloads, args.weeks, args.seed):
        print(f"{name}: {value:.3g} {unit}")


if __name__ == "__main__":
    main()
