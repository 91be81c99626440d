"""The workloads of ``leak_simulation.py``: their kinds, and every parameter drawn from a range."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from features.panel import Panel

START = pd.Timestamp("2026-03-02", tz="UTC")
DAYS = 28
GIB = 2.0**30
PODS = 3

CLEAN = (
    "steady", "weekly", "no_load", "warm_up", "slow_cache", "page_cache", "page_cache_beside",
    "sawtooth", "long_sawtooth", "step", "restarts", "deploys", "gaps", "load_growth",
    "limit_missing", "limit_changed", "negative", "noisy", "wandering", "high_water",
    "disk_rotated", "connections", "threads_by_load",
)  # fmt: skip
LEAKS = (
    "linear", "by_requests", "exponential", "staircase", "after_deploy", "from_start", "sawtooth",
    "gaps", "noisy", "no_load", "working_set", "limit_changed", "load_growth", "high_water",
    "disk", "connections", "file_descriptors", "restarts", "negative", "warm_up",
)  # fmt: skip
METRICS = {
    "disk": ("disk_used_bytes", "disk_limit_bytes"),
    "disk_rotated": ("disk_used_bytes", "disk_limit_bytes"),
    "connections": ("connections_used", "connections_limit"),
    "file_descriptors": ("file_descriptors_used", "file_descriptors_limit"),
    "threads_by_load": ("threads_used", "threads_limit"),
}


@dataclass
class Fleet:
    """Workloads that were simulated.

    Attributes
    ----------
    cases : frame, a row a workload: ``workload, kind, leaks, metric, onset, killed, born`` (steps;
        -1 where there is none), ``need_h`` from the onset or the last start to the limit.
    panel : their metrics as a monitoring system would show them.
    """

    cases: pd.DataFrame
    panel: Panel


@dataclass
class World:
    """Parameters of each workload, (n,), and its clockwork, (n, n_steps)."""

    kind: np.ndarray
    leaks: np.ndarray
    rng: np.random.Generator
    step_min: int
    n_steps: int
    p: dict[str, np.ndarray] = field(default_factory=dict)

    def draw(self, name: str, low: float, high: float, *kinds: str, log: bool = False) -> None:
        """A parameter for the workloads of the named kinds, for all where none is named."""
        n = len(self.kind)
        drawn = (
            np.exp(self.rng.uniform(np.log(low), np.log(high), n))
            if log
            else self.rng.uniform(low, high, n)
        )
        mine = np.isin(self.kind, kinds) if kinds else np.ones(n, bool)
        self.p[name] = np.where(mine, drawn, self.p.get(name, np.zeros(n)))


def parameters(w: World) -> None:
    n = len(w.kind)
    w.draw("peak", 3, 800, log=True)
    w.draw("noise", 0.003, 0.02)
    w.draw("noise", 0.03, 0.08, "noisy")
    w.draw("base", 0.12, 0.35)  # shares of the limit from here on
    w.draw("session", 0.0, 0.25)
    w.draw("session", 0.1, 0.3, "load_growth", "threads_by_load", "connections")
    w.draw("session_h", 0.1, 2.0, log=True)
    w.draw("cache", 0.0, 0.05)
    w.draw("cache", 0.15, 0.35, "slow_cache")
    w.draw("cache_h", 0.5, 6, log=True)
    w.draw("cache_h", 8, 48, "slow_cache", log=True)
    w.draw("warm", 0.0, 0.1)
    w.draw("warm", 0.1, 0.3, "warm_up")
    w.draw("warm_h", 0.1, 0.6)
    w.draw("warm_h", 0.5, 6, "warm_up", log=True)
    w.draw("garbage", 0.0, 0.04)
    w.draw("garbage", 0.08, 0.3, "sawtooth", "long_sawtooth")
    w.draw("garbage_h", 0.2, 1.5, log=True)
    w.draw("garbage_h", 0.5, 6, "sawtooth", log=True)
    w.draw("garbage_h", 8, 60, "long_sawtooth", log=True)
    w.draw("wander", 0.0, 0.012)
    w.draw("wander", 0.015, 0.04, "wandering")
    w.draw("wander_h", 1, 12, log=True)
    w.draw("wander_h", 6, 60, "wandering", log=True)
    w.draw("growth", -0.03, 0.03)  # of the load, a week
    w.draw("growth", 0.05, 0.3, "load_growth")
    w.draw("file_cache", 0.05, 0.3)
    w.draw("file_cache", 0.2, 0.5, "page_cache", "page_cache_beside")
    w.draw("file_cache_h", 1, 8, log=True)
    w.draw("file_cache_h", 3, 40, "page_cache", "page_cache_beside", log=True)
    w.draw("rotation_h", 20, 170, "disk_rotated", log=True)
    w.draw("need_h", 7, 336, log=True)
    w.draw("need_h", 200, 450, "from_start")
    w.p["aware"] = w.rng.random(n) < 0.5  # the runtime collects before it would be killed
    w.p["weekly"] = (w.rng.random(n) < 0.7) | (w.kind == "weekly")
    w.p["flat"] = (w.rng.random(n) < 0.15) & ~np.isin(w.kind, ["weekly", "load_growth"])
    for name in ("cache", "warm", "garbage", "file_cache"):
        w.p[name][np.isin(w.kind, ["disk", "disk_rotated", *METRICS])] = 0.0
    still = np.isin(w.kind, ["disk", "disk_rotated"])
    w.p["session"][still] *= 0.05
    w.p["wander"][still] *= 0.2
    w.p["noise"][still] *= 0.1
    latest = (DAYS - 1) * 24 - w.p["need_h"] * 1.25
    onset_h = w.rng.uniform(7 * 24, np.maximum(latest, 7.1 * 24))
    onset_h[w.kind == "from_start"] = 0
    w.p["onset"] = np.where(w.leaks, onset_h * 60 // w.step_min, w.n_steps).astype(int)


def remember(shocks: np.ndarray, steps: float | np.ndarray) -> np.ndarray:
    """Unit-variance first-order autoregression along the last axis."""
    phi = np.broadcast_to(np.exp(-1 / np.asarray(steps, float)), shocks.shape[:1])
    out = shocks.copy()
    fresh = np.sqrt(1 - phi**2)
    for i in range(1, shocks.shape[1]):
        out[:, i] = phi * out[:, i - 1] + fresh * shocks[:, i]
    return out
