"""From load and events to what a monitoring system would show of simulated workloads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.synthetic_faults import Effects
from features.synthetic_fleet import Clock, ClusterSpec
from features.synthetic_load import ar_noise, column, offered_load, served_counts
from features.synthetic_pods import autoscale, pod_memory

__all__ = ["measure"]

_REACTION_S = 180.0  # the autoscaler sees, decides, and waits for a node
_CACHE_FILLS_S = 6 * 3600.0
_WARM_S = 1800.0
_TIMEOUT_S = 30.0


def measure(
    spec: ClusterSpec,
    fleet: pd.DataFrame,
    clock: Clock,
    effects: Effects,
    times: pd.DatetimeIndex,
    rng: np.random.Generator,
) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """Metrics by name, (n_workloads, n_steps), NaN where there is no sample; and the OOM kills."""
    born = fleet["born_step"].to_numpy(np.int64)[:, None]
    begins = effects.deploy | ((np.arange(len(times)) == born) & (born > 0))
    counts, pods = _load(spec, fleet, clock, effects, rng)
    rss, killed, age = _memory(spec, fleet, pods["relative"], begins, effects, rng)
    metrics = {
        "requests_per_second": counts / spec.step_s,
        "cpu_usage_cores": pods["usage"],
        "cpu_request_cores": pods["replicas"] * column(fleet, "cpu_request_cores"),
        "memory_rss_bytes": rss,
        "memory_working_set_bytes": _working_set(spec, fleet, rss, age, rng),
        **_health(fleet, counts, pods["utilisation"], effects, rng),
        **_state(fleet, pods["replicas"], begins, killed, times, rng),
    }
    batch = fleet["shape"].isin(["hourly", "nightly"]).to_numpy()
    for name in ("requests_per_second", "error_ratio", "latency_p99_seconds"):
        metrics[name] = np.where(batch[:, None], np.nan, metrics[name])
    unseen = effects.hidden | (np.arange(len(times)) < born)
    return {m: np.where(unseen, np.nan, v) for m, v in metrics.items()}, killed


def _load(
    spec: ClusterSpec,
    fleet: pd.DataFrame,
    clock: Clock,
    effects: Effects,
    rng: np.random.Generator,
) -> tuple[Floats, dict[str, Floats]]:
    """Requests in each step, and the pods that serve them."""
    exact = (fleet["shape"] == "constant").to_numpy()
    load = offered_load(fleet, clock, spec.step_s, spec.monday_factor, rng) * effects.load
    counts = served_counts(load, fleet, spec.step_s, rng)
    rps = counts / spec.step_s
    wobble = np.where(exact, 0.005, 0.03)[:, None]
    noise = np.exp(wobble * ar_noise(rng, load.shape, 900 / spec.step_s))
    work = rps * column(fleet, "cost_core_s") * effects.cost * noise
    request = column(fleet, "cpu_request_cores")
    idle = column(fleet, "idle_cores")
    lag = np.ceil((fleet["pod_start_s"].to_numpy() + _REACTION_S) / spec.step_s)
    replicas, usage = autoscale(
        work,
        idle[:, 0],
        request[:, 0],
        fleet["target_ratio"].to_numpy(np.float64),
        fleet["min_replicas"].to_numpy(np.int64),
        fleet["max_replicas"].to_numpy(np.int64),
        lag.astype(np.int64),
        round(300 / spec.step_s),
    )
    usual = column(fleet, "rps") / column(fleet, "usual_replicas")
    return counts, {
        "replicas": replicas,
        "usage": usage,
        "utilisation": work / (request * replicas) + idle / request,
        "relative": np.minimum(rps / replicas / usual, 3.0),
    }


def _memory(
    spec: ClusterSpec,
    fleet: pd.DataFrame,
    relative: Floats,
    begins: NDArray[np.bool_],
    effects: Effects,
    rng: np.random.Generator,
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    noise = np.clip(ar_noise(rng, relative.shape, 3600 / spec.step_s), -3, 3)
    return pod_memory(
        relative,
        begins,
        effects.leak,
        noise * column(fleet, "memory_cv"),
        fleet["memory_base_bytes"].to_numpy(np.float64),
        fleet["memory_load_bytes"].to_numpy(np.float64),
        fleet["memory_sawtooth_bytes"].to_numpy(np.float64),
        fleet["sawtooth_s"].to_numpy(np.float64) / spec.step_s,
        fleet["memory_warm_ratio"].to_numpy(np.float64),
        _WARM_S / spec.step_s,
        fleet["memory_limit_bytes"].to_numpy(np.float64),
    )


def _working_set(
    spec: ClusterSpec,
    fleet: pd.DataFrame,
    rss: Floats,
    age: NDArray[np.int64],
    rng: np.random.Generator,
) -> Floats:
    """Resident memory and page cache, which fills for hours after a start and yields to need."""
    filled = 1 - np.exp(-age * (spec.step_s / _CACHE_FILLS_S))
    breath = np.exp(0.1 * ar_noise(rng, rss.shape, 7200 / spec.step_s))
    cache = column(fleet, "memory_cache_bytes") * filled * breath
    return np.maximum(rss, np.minimum(rss + cache, 0.97 * column(fleet, "memory_limit_bytes")))


def _health(
    fleet: pd.DataFrame,
    counts: Floats,
    utilisation: Floats,
    effects: Effects,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Errors and latency, both worse when pods are overrun; neither exists without a request."""
    overrun = np.maximum(utilisation - column(fleet, "target_ratio") - 0.05, 0.0)
    chance = column(fleet, "error_ratio") + effects.errors + 0.05 * np.maximum(overrun - 0.5, 0)
    sure = np.maximum(counts, 1.0)
    errors = rng.binomial(np.ceil(sure).astype(np.int64), np.clip(chance, 0, 0.95))
    cv = column(fleet, "latency_cv")
    spread = np.hypot(cv, np.where(cv > 0.01, np.minimum(0.5 / np.sqrt(sure), 0.5), 0.0))
    latency = (
        column(fleet, "latency_s")
        * (0.9 + 0.2 * utilisation)
        * (1 + 8 * overrun**1.5)
        * effects.latency
        * np.exp(spread * rng.standard_normal(counts.shape))
    )
    silent = counts <= 0
    return {
        "error_ratio": np.where(silent, np.nan, errors / np.ceil(sure)),
        "latency_p99_seconds": np.where(silent, np.nan, np.minimum(latency, _TIMEOUT_S)),
    }


def _state(
    fleet: pd.DataFrame,
    replicas: Floats,
    begins: NDArray[np.bool_],
    killed: NDArray[np.bool_],
    times: pd.DatetimeIndex,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Settings and counters. New pods count their restarts from zero, as in a cluster."""
    n, n_steps = replicas.shape
    last = np.maximum.accumulate(np.where(begins, np.arange(n_steps), -1), axis=1)
    seconds = times.as_unit("s").astype("int64").to_numpy().astype(np.float64)
    before = seconds[0] - np.round(rng.uniform(1, 30, (n, 1)) * 86400)
    kills = np.cumsum(killed, axis=1).astype(np.float64)
    earlier = np.take_along_axis(kills, np.maximum(last - 1, 0), axis=1)
    grows = np.diff(replicas, axis=1, prepend=replicas[:, :1]) > 0
    started = np.maximum.accumulate(np.where(grows | begins, np.arange(n_steps), 0), axis=1)
    luck = np.exp(0.1 * rng.standard_normal((n, n_steps)))
    flat = np.ones((n, n_steps))
    scaled = np.where(fleet["hpa"].to_numpy()[:, None], 1.0, np.nan)
    return {
        "memory_limit_bytes": column(fleet, "memory_limit_bytes") * flat,
        "memory_request_bytes": column(fleet, "memory_request_bytes") * flat,
        "restarts_total": kills - np.where(last > 0, earlier, 0.0),
        "replicas": replicas,
        "hpa_min_replicas": column(fleet, "min_replicas") * scaled * flat,
        "hpa_max_replicas": column(fleet, "max_replicas") * scaled * flat,
        "hpa_target_cpu_ratio": column(fleet, "target_ratio") * scaled * flat,
        "deploy_timestamp_seconds": np.where(last >= 0, seconds[np.maximum(last, 0)], before),
        "pod_start_seconds": column(fleet, "pod_start_s")
        * np.take_along_axis(luck, started, axis=1),
    }
