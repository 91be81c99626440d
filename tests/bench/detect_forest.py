"""Isolation forests of 1,000 workloads beside scikit-learn's, in one run and on one thread.

``python tests/bench/detect_forest.py`` makes 2,016 rows of 6 signals to train on and 288 to score
for each workload: daily load in all of them, noise that lasts, one signal of heavy tails, one that
counts. Anomalies are put into the rows to score. In turns: ours for all workloads, scikit-learn's
for a few more of them (defaults, ``n_jobs=1``).

trees    grow the trees and score the 288 rows: what scikit-learn's fit and score_samples do
product  ``IsolationForest.fit`` and ``score``: also the alert line, for which every training row is
         scored, and at flagged points what each signal adds

Parity is of the scores of the same rows: the mean difference between ours and scikit-learn's beside
that between two of scikit-learn's seeds, and the area under the ROC curve.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import lfilter
from sklearn.ensemble import IsolationForest as Reference
from sklearn.metrics import roc_auc_score

from features.panel import Floats
from features.signals import Signals
from models.forest_kernels import grow_forests, prepare, raw_scores
from models.isolation_forest import IsolationForest, IsolationForestParams

N_TRAIN, N_SCORE, N_SIGNALS = 2016, 288, 6
START, STEP = pd.Timestamp("2026-05-04", tz="UTC"), pd.Timedelta(300, "s")
N_ANOMALIES, ROUNDS = 12, 5
N_PARITY, N_SEEDS = 20, 8


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds a workload, on the wall and of a processor, of each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, work: Callable[[], object], n_workloads: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall.append((time.perf_counter() - wall) / n_workloads)
        self.cpu.append((time.process_time() - cpu) / n_workloads)

    def middle(self) -> tuple[float, float]:
        return statistics.median(self.wall), statistics.median(self.cpu)


def made(n_workloads: int, seed: int = 0) -> tuple[Signals, Signals, NDArray[np.bool_]]:
    """Signals to train on, signals to score, and where in those the anomalies are."""
    rng = np.random.default_rng(seed)
    n_steps = N_TRAIN + N_SCORE
    noise = rng.standard_normal((n_workloads, n_steps, N_SIGNALS))
    values = lfilter([0.6], [1, -0.8], noise, axis=1)
    load = np.sin(np.arange(n_steps) * (2 * np.pi / 288))[:, None] + 0.5 * values[:, :, :1]
    values += rng.uniform(0, 1.5, (n_workloads, 1, N_SIGNALS)) * load
    values[:, :, 4] = np.exp(values[:, :, 4])
    values[:, :, 5] = np.maximum(np.floor(values[:, :, 5]), 0.0)
    truth = np.zeros((n_workloads, N_SCORE), dtype=bool)
    for w, where in enumerate(rng.integers(0, N_SCORE - N_ANOMALIES, n_workloads)):
        truth[w, where : where + N_ANOMALIES] = True
    size = values[:, :N_TRAIN].std(axis=1)[:, None, :] * rng.normal(0, 2.5, noise[:, :1].shape)
    values[:, N_TRAIN:] += truth[:, :, None] * size
    names = [f"s{i}" for i in range(N_SIGNALS)]
    workloads = [f"bench/team/Deployment/service-{i:05d}" for i in range(n_workloads)]

    def part(rows: slice) -> Signals:
        return Signals(workloads, names, START, STEP, np.ascontiguousarray(values[:, rows]))

    return part(slice(0, N_TRAIN)), part(slice(N_TRAIN, None)), truth


def trees(train: Floats, later: Floats, params: IsolationForestParams) -> Floats:
    """Grow, and score the rows: no alert line."""
    depth = int(np.ceil(np.log2(params.subsample)))
    seeds = np.arange(len(train), dtype=np.uint64) + np.uint64(1000 * params.seed)
    prepared = prepare(train)
    forest = grow_forests(train, prepared, seeds, params.n_trees, params.subsample, depth)
    return raw_scores(later, prepared, forest, params.subsample)


def reference(train: Floats, later: Floats, seed: int = 0) -> Floats:
    """scikit-learn's scores, one workload after the other."""
    return np.array(
        [
            -Reference(random_state=1000 * seed + w, n_jobs=1).fit(a).score_samples(b)
            for w, (a, b) in enumerate(zip(train, later, strict=True))
        ]
    )


def parity(train: Signals, later: Signals, truth: NDArray[np.bool_]) -> Iterable[tuple[str, float]]:
    """Differences of scores, and the area under the curve, on some workloads."""
    a, b = train.values[:N_PARITY], later.values[:N_PARITY]
    theirs = [reference(a, b, seed) for seed in range(N_SEEDS)]
    ours = [trees(a, b, IsolationForestParams(seed=seed)) for seed in range(N_SEEDS)]
    within = np.mean([np.abs(x - y).mean() for x, y in itertools.combinations(theirs, 2)])
    across = np.mean([np.abs(x - y).mean() for x in theirs for y in ours])
    area = [
        np.mean([roc_auc_score(t, s) for said in each for t, s in zip(truth, said, strict=False)])
        for each in (ours, theirs)
    ]
    print(
        f"  score difference {across:.4f} to scikit-learn, {within:.4f} between its seeds; area "
        f"under the ROC curve {area[0]:.4f}, scikit-learn {area[1]:.4f}"
    )
    yield "iforest_score_difference_vs_seed_spread", float(across / within)
    yield "iforest_auc_difference", float(abs(area[0] - area[1]))


def run(n_workloads: int = 1000, n_reference: int = 10) -> Iterable[tuple[str, float, str]]:
    """The speed-up and the parity; prints the table."""
    train, later, truth = made(n_workloads)
    params, detector = IsolationForestParams(), IsolationForest()
    small = [s.values[:2] for s in (train, later)]
    trees(small[0], small[1], params)  # compiles
    detector.score(detector.fit(train), later)
    reference(small[0], small[1])
    taken = {name: Took() for name in ("scikit-learn", "trees", "product")}
    whose = np.arange(ROUNDS * n_reference).reshape(ROUNDS, n_reference) % n_workloads
    for rows in whose:
        taken["trees"].add(lambda: trees(train.values, later.values, params), n_workloads)
        taken["product"].add(lambda: detector.score(detector.fit(train), later), n_workloads)
        a, b = train.values[rows], later.values[rows]
        taken["scikit-learn"].add(lambda a=a, b=b: reference(a, b), n_reference)
    theirs = taken["scikit-learn"].middle()
    print(
        f"isolation forests, {N_TRAIN:,} × {N_SIGNALS} rows to train and {N_SCORE} to score, "
        f"{n_workloads:,} workloads (scikit-learn {n_reference} a round), median of {ROUNDS} rounds"
    )
    print(f"  {'ms a workload':<16}{'wall':>9}{'CPU':>9}{'× wall':>9}{'× CPU':>9}")
    for name, took in taken.items():
        wall, cpu = took.middle()
        print(
            f"  {name:<16}{1e3 * wall:9.2f}{1e3 * cpu:9.2f}{theirs[0] / wall:9.1f}"
            f"{theirs[1] / cpu:9.1f}"
        )
    per = sum(a.nbytes for a in detector.fit(train).arrays.values()) / n_workloads / 1024
    print(f"  kept: {per:.0f} KiB a workload")
    yield "iforest_speedup_vs_sklearn", theirs[0] / taken["trees"].middle()[0], "ratio"
    yield "iforest_product_speedup_vs_sklearn", theirs[0] / taken["product"].middle()[0], "ratio"
    for name, value in parity(train, later, truth):
        yield name, value, "ratio" if name.endswith("spread") else "area"


def main() -> None:
    """Print the table and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", type=int, default=1000)
    parser.add_argument("--reference", type=int, default=10, help="that scikit-learn fits a round")
    args = parser.parse_args()
    for name, value, unit in run(args.workloads, args.reference):
        print(f"{name} {value:.4g} {unit}")


if __name__ == "__main__":
    main()
