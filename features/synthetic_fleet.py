"""Who lives in the simulated cluster: names, load shapes, sizes, limits. One row a workload.

The same twenty services run in two regions, each on its own clock; larger fleets repeat them for
further tenants. What a workload is sized for is its usual weekday peak, as people size them: the
Monday peak, spikes and leaks are not in the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import Calendar, local_days, special_mask
from features.panel import Floats
from features.workloads import workload_id

__all__ = ["CALENDARS", "Clock", "ClusterSpec", "clock_of", "make_fleet", "spec_times"]

CALENDARS = (
    Calendar("prod-eu/*", "Europe/Berlin", "DE"),
    Calendar("prod-us/*", "America/New_York", "US"),
)
_CLUSTERS = ("prod-eu", "prod-us")
_MIB = 2.0**20

Column = NDArray[Any] | pd.Series

# namespace, name, kind, load shape, requests a second at the usual weekday peak, JVM, autoscaled
_SERVICES = (
    ("shop", "checkout", "Deployment", "office", 140.0, True, True),
    ("shop", "storefront", "Deployment", "consumer", 420.0, False, True),
    ("shop", "cart", "Deployment", "consumer", 180.0, False, True),
    ("platform", "config-server", "Deployment", "constant", 0.2, False, False),
    ("payments", "payments-api", "Deployment", "office", 60.0, True, True),
    ("payments", "fraud-check", "Deployment", "office", 60.0, True, True),
    ("payments", "invoice-batch", "Deployment", "hourly", 1.0, True, False),
    ("search", "query-api", "Deployment", "consumer", 260.0, True, True),
    ("search", "suggest", "Deployment", "consumer", 310.0, False, True),
    ("internal", "admin-console", "Deployment", "tiny", 0.03, False, False),
    ("search", "index", "StatefulSet", "consumer", 90.0, True, False),
    ("identity", "login", "Deployment", "office", 35.0, False, True),
    ("identity", "token-store", "StatefulSet", "office", 700.0, False, False),
    ("messaging", "kafka", "StatefulSet", "office", 900.0, True, False),
    ("messaging", "notifier", "Deployment", "consumer", 12.0, False, True),
    ("analytics", "event-collector", "Deployment", "consumer", 1500.0, False, True),
    ("analytics", "report-builder", "Deployment", "nightly", 1.0, True, False),
    ("crm", "customer-api", "Deployment", "office", 24.0, True, True),
    ("crm", "document-render", "Deployment", "office", 3.0, False, True),
    ("platform", "ingress-gateway", "Deployment", "office", 2000.0, False, True),
)


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """How large a cluster, how long a history, and which one of all the possible ones."""

    n_workloads: int = 40
    start: datetime = datetime(2026, 5, 4, tzinfo=UTC)
    """First step; has a time zone."""
    weeks: int = 5
    step_s: int = 300
    seed: int = 7
    monday_factor: float = 2.5
    """Load after Monday 09:00 local time, as a multiple of other weekdays at that hour."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        for key, low, high in (
            ("n_workloads", 1, 100_000),
            ("weeks", 1, 260),
            ("step_s", 30, 3600),
            ("seed", 0, 2**31 - 1),
            ("monday_factor", 1, 10),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"{key}: expected {low} to {high}, got {value!r}")
        if 3600 % self.step_s:
            raise ValueError(f"step_s: expected a step that divides the hour, got {self.step_s!r}")
        if self.start.tzinfo is None:
            raise ValueError(f"start: expected a stamp with a time zone, got {self.start!r}")


def spec_times(spec: ClusterSpec) -> pd.DatetimeIndex:
    """Left edges of the steps, (n_steps,), UTC, milliseconds."""
    first = pd.Timestamp(spec.start).tz_convert("UTC").floor(f"{spec.step_s}s")
    n_steps = spec.weeks * 7 * 86400 // spec.step_s
    return pd.date_range(first, periods=n_steps, freq=f"{spec.step_s}s").as_unit("ms")


@dataclass(frozen=True, slots=True)
class Clock:
    """Civil time in each of the two zones; every array is (2, n_steps)."""

    hour: Floats
    """Local hour of the middle of the step, 0 ≤ hour < 24."""
    weekday: NDArray[np.int64]
    """Monday is 0."""
    special: NDArray[np.bool_]
    """Holidays of the zone."""
    day: NDArray[np.int64]
    """Counts local days from the first."""


def clock_of(times: pd.DatetimeIndex) -> Clock:
    """What the clocks of both zones show at the given steps."""
    middle = (times[1] - times[0]) / pd.Timedelta(hours=2)
    local = [times.tz_convert(c.timezone) for c in CALENDARS]
    day = [local_days(times, c.timezone) for c in CALENDARS]
    return Clock(
        hour=np.stack([np.asarray(x.hour + x.minute / 60 + x.second / 3600) for x in local])
        + middle,
        weekday=np.stack([np.asarray(x.day_of_week, np.int64) for x in local]),
        special=special_mask([c.match for c in CALENDARS], times, CALENDARS),
        day=np.stack([np.asarray((d - d[0]).days, np.int64) for d in day]),
    )


def make_fleet(spec: ClusterSpec) -> pd.DataFrame:
    """The workloads and all that stays the same about them, one row each, index 0 … n-1.

    Columns: who it is (``cluster namespace kind name workload zone shape jvm hpa seasonal``); its
    load (``rps`` at the usual weekday peak, ``noise_cv``, ``growth_per_week``, ``weekend`` as a
    share of weekdays, ``hour_shift_h``); its pods (``cost_core_s`` of one request, ``idle_cores``,
    ``cpu_request_cores``, ``min_replicas``, ``max_replicas``, ``usual_replicas``,
    ``target_ratio``, ``pod_start_s``); the memory of one pod (``memory_*_bytes``, ``sawtooth_s``);
    health (``latency_s``, ``error_ratio``); ``born_step``: the first step in which it exists.
    """
    rng = np.random.default_rng([spec.seed, 0])
    fleet = _named(spec.n_workloads)
    fleet = fleet.assign(**_load_of(fleet, rng))
    fleet = fleet.assign(**_pods_of(fleet, rng))
    fleet = fleet.assign(**_memory_of(fleet, rng))
    return fleet.assign(born_step=_born_step(fleet, spec, rng))


def _named(n: int) -> pd.DataFrame:
    i = np.arange(n)
    service = pd.DataFrame(
        list(_SERVICES), columns=["namespace", "name", "kind", "shape", "rps", "jvm", "hpa"]
    ).iloc[i // len(_CLUSTERS) % len(_SERVICES)]
    tenant = i // (len(_CLUSTERS) * len(_SERVICES))
    fleet = service.reset_index(drop=True)
    fleet["zone"] = i % len(_CLUSTERS)
    fleet["cluster"] = np.array(_CLUSTERS, dtype=object)[fleet["zone"]]
    suffix = pd.Series([f"-t{t:02d}" if t else "" for t in tenant], dtype="str")
    fleet["namespace"] = fleet["namespace"] + suffix
    fleet["workload"] = [
        workload_id(*parts)
        for parts in zip(
            fleet["cluster"], fleet["namespace"], fleet["kind"], fleet["name"], strict=True
        )
    ]
    fleet["seasonal"] = fleet["shape"].isin(["office", "consumer"])
    return fleet


def _load_of(fleet: pd.DataFrame, rng: np.random.Generator) -> dict[str, Column]:
    n = len(fleet)
    office = (fleet["shape"] != "consumer").to_numpy()
    constant = (fleet["shape"] == "constant").to_numpy()
    return {
        "rps": np.where(constant, fleet["rps"], fleet["rps"] * rng.lognormal(0, 0.35, n)),
        "noise_cv": np.where(constant, 0.0, np.exp(rng.uniform(np.log(0.03), np.log(0.25), n))),
        "growth_per_week": np.where(constant, 0.0, rng.uniform(0, 0.02, n)),
        "weekend": np.where(office, rng.uniform(0.25, 0.5, n), rng.uniform(0.85, 1.15, n)),
        "hour_shift_h": rng.uniform(-0.75, 0.75, n),
        "latency_s": np.exp(rng.uniform(np.log(0.04), np.log(0.6), n)),
        "latency_cv": np.where(constant, 0.01, rng.uniform(0.04, 0.15, n)),
        "error_ratio": np.where(constant, 0.0, np.exp(rng.uniform(np.log(5e-4), np.log(8e-3), n))),
    }


def _pods_of(fleet: pd.DataFrame, rng: np.random.Generator) -> dict[str, Column]:
    """Pods sized so that the usual weekday peak needs ``usual`` of them at the target of 70 %."""
    n = len(fleet)
    jvm = fleet["jvm"].to_numpy()
    hpa = fleet["hpa"].to_numpy()
    lonely = fleet["shape"].isin(["constant", "tiny", "hourly", "nightly"]).to_numpy()
    usual = np.where(lonely, 1, np.where(hpa, rng.integers(3, 9, n), 3))
    cores = usual * np.exp(rng.uniform(np.log(0.15), np.log(0.9), n))
    cost = np.where(fleet["shape"] == "tiny", 0.03, cores / fleet["rps"])
    cost = np.where(fleet["shape"] == "constant", 0.05, cost)
    target = np.where(hpa, rng.choice([0.6, 0.7, 0.7, 0.7], n), 0.7)
    # what does not scale is given room: the Monday peak fills it, and does not break it
    room = np.where(hpa, 1.0, 1.8)
    work = fleet["rps"] * cost / usual
    request = np.maximum(np.ceil(work * room / target * 1.06 / 0.05) * 0.05, 0.1)
    return {
        "cost_core_s": cost,
        "cpu_request_cores": request,
        "idle_cores": request * rng.uniform(0.02, 0.06, n),
        "min_replicas": np.where(hpa, np.maximum(2, usual // 2), usual),
        "max_replicas": np.where(hpa, np.ceil(usual * 3.6).astype(int), usual),
        "usual_replicas": usual,
        "target_ratio": target,
        "pod_start_s": np.where(jvm, rng.uniform(70, 200, n), rng.uniform(8, 45, n)),
    }


def _memory_of(fleet: pd.DataFrame, rng: np.random.Generator) -> dict[str, Column]:
    """Memory of one pod; the limit clears everything that a healthy pod can need."""
    n = len(fleet)
    jvm = fleet["jvm"].to_numpy()
    base = np.exp(rng.uniform(np.log(120), np.log(900), n)) * np.where(jvm, 2.0, 1.0) * _MIB
    load = base * rng.uniform(0.05, 0.3, n)
    sawtooth = np.where(jvm, base * rng.uniform(0.06, 0.2, n), 0.0)
    worst = (base + 3 * load + sawtooth) * 1.1
    limit = np.ceil(worst * rng.uniform(1.15, 1.6, n) / (64 * _MIB)) * 64 * _MIB
    return {
        "memory_base_bytes": base,
        "memory_load_bytes": load,
        "memory_sawtooth_bytes": sawtooth,
        "memory_cache_bytes": limit * rng.uniform(0.02, 0.25, n),
        "memory_cv": np.where(fleet["shape"] == "constant", 0.001, rng.uniform(0.003, 0.02, n)),
        "memory_warm_ratio": rng.uniform(0.15, 0.45, n),
        "sawtooth_s": np.exp(rng.uniform(np.log(1800), np.log(6 * 3600), n)),
        "memory_limit_bytes": limit,
        "memory_request_bytes": np.ceil(limit * 0.6 / (64 * _MIB)) * 64 * _MIB,
    }


def _born_step(
    fleet: pd.DataFrame, spec: ClusterSpec, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Of every forty workloads one begins in the last week, one two weeks before."""
    born = np.zeros(len(fleet), dtype=np.int64)
    week = 7 * 86400 // spec.step_s
    pool = rng.permutation(np.flatnonzero((fleet["seasonal"] & fleet["hpa"]).to_numpy()))
    share = round(len(fleet) / 40)
    born[pool[:share]] = round((spec.weeks - 1 + 2.4 / 7) * week)
    if spec.weeks > 2:
        born[pool[share : 2 * share]] = round((spec.weeks - 3 + 1.4 / 7) * week)
    return born
