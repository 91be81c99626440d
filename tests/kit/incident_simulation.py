"""Made-up incidents of a random call graph, with their root cause.

Latency and errors come to callers, traffic comes to callees. Services differ in load, noise and
spikes; some are measured rarely, some only before or only after, and some change their level by
accident at the onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

__all__ = ["Fault", "Incident", "simulate"]

Fault = Literal["latency", "errors", "cpu", "surge", "drop"]
N_NORMAL, N_INCIDENT = 400, 8
START = pd.Timestamp("2026-01-05", tz="UTC")


@dataclass(frozen=True)
class Incident:
    """``samples`` of before and after ``at``; trouble is seen at ``target``."""

    samples: pd.DataFrame
    at: pd.Timestamp
    edges: pd.DataFrame
    target: str
    root: str

    @property
    def before(self) -> pd.DataFrame:
        """The normal part."""
        return self.samples[self.samples["ts"] < self.at]

    @property
    def after(self) -> pd.DataFrame:
        """From the onset on."""
        return self.samples[self.samples["ts"] >= self.at]


def simulate(seed: int, fault: Fault) -> Incident:
    """One incident; the target is the entry, and the root one of those that it needs."""
    rng = np.random.default_rng(seed)
    n, steps = int(rng.integers(10, 25)), N_NORMAL + N_INCIDENT
    parent = {j: int(rng.integers(0, j)) for j in range(1, n)}
    share = {j: float(rng.choice([0.3, 0.7, 1.0, 1.5])) for j in parent}
    late = np.arange(steps) >= N_NORMAL
    root = int(rng.integers(0, n)) if fault in ("latency", "errors", "cpu") else 0
    strikes = late & (rng.random(steps) < rng.choice([1.0, 0.6]))
    strikes[N_NORMAL + 2] = strikes[N_NORMAL + 5] = True
    strength = {"surge": rng.uniform(2, 4), "drop": rng.uniform(0.05, 0.4)}.get(fault, 1.0)
    load = np.empty((n, steps))
    load[0] = 400 * (1 + 0.3 * np.sin(np.arange(steps) / 288 * 2 * np.pi))
    load[0] *= np.exp(rng.normal(0, 0.05, steps)) * np.where(strikes, strength, 1.0)
    for j, i in parent.items():
        load[j] = share[j] * load[i]
    count = rng.poisson(load * 10).astype(float)
    noise = rng.uniform(0.03, 0.3, (n, 1)) * rng.normal(0, 1, (n, steps))
    latency = np.exp(rng.normal(-4, 1, (n, 1)) + noise)
    accident = (rng.random(n) < 0.15) & (np.arange(n) != root) & (np.arange(n) > 0)
    latency *= np.where(accident[:, None] & late, np.exp(rng.normal(0, 0.7, (n, 1))), 1.0)
    cpu = 0.2 * count / count.mean(axis=1, keepdims=True) * np.exp(rng.normal(0, 0.1, (n, steps)))
    errors = 10 ** rng.uniform(-5, -3, (n, 1)) * np.exp(rng.normal(0, 0.4, (n, steps)))
    if fault in ("latency", "cpu"):
        # enough to be seen at the entry, whatever lies between
        latency[root, strikes] += rng.uniform(1.5, 4) * latency.sum(axis=0).mean()
    if fault == "cpu":
        cpu[root, strikes] *= rng.uniform(3, 5)
    if fault == "errors":
        errors[root, strikes] += rng.uniform(0.05, 0.3)
    for j in sorted(parent, reverse=True):
        latency[parent[j]] += share[j] * latency[j]
        errors[parent[j]] = 1 - (1 - errors[parent[j]]) * (1 - min(share[j], 1) * errors[j])
    failed = rng.binomial(count.astype(int), errors.clip(0, 1)) / np.maximum(count, 1)
    names = [f"svc-{k:02d}" for k in rng.permutation(n)]
    metrics = {
        "requests_per_second": count / 300, "latency_p99_seconds": 2.5 * latency,
        "error_ratio": failed, "cpu_usage_cores": cpu,
    }  # fmt: skip
    samples = _seen(metrics, names, root, rng)
    edges = pd.DataFrame({"caller": [names[i] for i in parent.values()],
                          "callee": [names[j] for j in parent]})  # fmt: skip
    return Incident(samples, START + N_NORMAL * pd.Timedelta("5min"), edges, names[0], names[root])


def _seen(
    metrics: dict[str, np.ndarray], names: list[str], root: int, rng: np.random.Generator
) -> pd.DataFrame:
    steps = N_NORMAL + N_INCIDENT
    times = pd.date_range(START, periods=steps, freq="5min").as_unit("ms")
    at = np.arange(steps)
    parts: list[pd.DataFrame] = []
    for j, name in enumerate(names):
        odd = rng.random() if j not in (0, root) else 1.0
        seen = rng.random(steps) > (0.9 if odd < 0.1 else 0.01)
        if 0.1 < odd < 0.15:
            seen &= at < N_NORMAL
        if 0.15 < odd < 0.2:
            seen &= at > N_NORMAL - 10
        for metric, values in metrics.items():
            mine = {"ts": times[seen], "value": values[j, seen]}
            parts.append(pd.DataFrame({"workload": name, "metric": metric, **mine}))
    return pd.concat(parts, ignore_index=True)
