"""Made-up pods whose memory is worked out from what they do, with and without a leak.

Written apart from ``features/synthetic*``, from what a process does: it serves requests and holds
sessions for a while, fills a cache with what it has not seen before, makes garbage and collects it,
keeps pages that the allocator does not give back, warms up after a start, is deployed, crashes, and
is killed at its limit. A workload shows its fullest pod. All workloads advance together, a step at
a time. Every parameter is drawn per workload from a range that is wider than what was looked at.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from leak_world import (
    CLEAN,
    DAYS,
    GIB,
    LEAKS,
    METRICS,
    PODS,
    START,
    Fleet,
    World,
    parameters,
    remember,
)  # fmt: skip

from features.panel import Panel

__all__ = ["START", "Fleet", "simulate"]


def simulate(seed: int, per_kind: int, *, step_min: int = 5) -> Fleet:
    """``per_kind`` workloads of every kind, clean and leaking."""
    kind = np.repeat([*CLEAN, *LEAKS], per_kind)
    leaks = np.repeat(np.arange(len(CLEAN) + len(LEAKS)) >= len(CLEAN), per_kind)
    n_steps = DAYS * 1440 // step_min
    world = World(kind, leaks, np.random.default_rng(seed), step_min, n_steps)
    parameters(world)
    load = _load(world)
    starts = _starts(world)
    used, killed, crashes = _lives(world, load, starts)
    return _shown(world, load, starts, used, killed, crashes)


def _load(w: World) -> np.ndarray:
    """Requests a second, (n, n_steps): two humps a day, quieter weekends, noise that has memory."""
    n = len(w.kind)
    rng, t = w.rng, np.arange(w.n_steps) * w.step_min / 60
    hour, day = t % 24, (t // 24).astype(int)
    shift = rng.uniform(-4, 6, (n, 1))
    second = rng.uniform(0, 0.9, (n, 1))
    width = rng.uniform(1.5, 4, (n, 1))

    def hump(at: float) -> np.ndarray:
        away = np.abs((hour[None] - at - shift + 12) % 24 - 12)
        return np.exp(-0.5 * (away / width) ** 2)

    shape = rng.uniform(0.05, 0.5, (n, 1)) + hump(10) + second * hump(19)
    weekend = np.where(
        w.p["weekly"][:, None] & (day % 7 >= 5)[None], rng.uniform(0.2, 0.8, (n, 1)), 1
    )
    shape = np.where(w.p["flat"][:, None], 0.7, shape * weekend)
    shape *= np.exp(rng.normal(0, 0.05, (n, DAYS)))[:, day]
    slow = remember(rng.normal(size=(n, w.n_steps)), 60 / w.step_min) * 0.05
    growth = (1 + w.p["growth"])[:, None] ** (t[None] / 168)
    sure = np.maximum(w.p["peak"][:, None] * shape * growth * np.exp(slow), 0.01)
    return rng.poisson(sure * w.step_min * 60) / (w.step_min * 60)


def _starts(w: World) -> dict[str, np.ndarray]:
    """Steps with a deploy (all pods) and with a crash (one pod), (n, n_steps)."""
    n, per_day = len(w.kind), 1440 // w.step_min
    rate = np.full(n, 0.03) / per_day
    rate[np.isin(w.kind, ["deploys", "warm_up", "slow_cache", "page_cache"])] = 0.3 / per_day
    rate[w.leaks] = 0.0
    deploy = w.rng.random((n, w.n_steps)) < rate[:, None]
    onset = np.minimum(w.p["onset"], w.n_steps - 1)
    begins = w.leaks & np.isin(w.kind, ["after_deploy", "warm_up"])
    deploy[begins, onset[begins]] = True
    deploy[w.leaks] |= (w.rng.random((int(w.leaks.sum()), w.n_steps)) < 0.05 / per_day) & (
        np.arange(w.n_steps) < onset[w.leaks][:, None]
    )
    crashing = np.where(w.kind == "restarts", 0.5, 0.01) / per_day
    crash = w.rng.random((n, w.n_steps)) < crashing[:, None]
    still = np.isin(w.kind, ["disk", "disk_rotated"])
    deploy[still] = crash[still] = False
    return {"deploy": deploy, "crash": crash}


def _lives(
    w: World, load: np.ndarray, starts: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Used shares of the limit by pod, (n, PODS, n_steps), who was killed when, and restarts."""
    n, p, rng = len(w.kind), {k: v[:, None] for k, v in w.p.items()}, w.rng
    step_h = w.step_min / 60
    relative = (
        load
        / np.maximum(np.quantile(load[:, : 14 * 1440 // w.step_min], 0.95, axis=1), 1e-9)[:, None]
    )
    share = rng.uniform(0.85, 1.0, (n, PODS))
    share[:, 0] = 1.0  # a pod that is always among the fullest
    age = rng.uniform(24, 24 * 20, (n, PODS))
    age[w.kind == "from_start"] = 0
    session, cache = np.zeros((n, PODS)), p["cache"] * (1 - np.exp(-age / p["cache_h"]))
    leaked, garbage, high = np.zeros((n, PODS)), np.zeros((n, PODS)), np.zeros((n, PODS))
    wander, log = rng.normal(size=(n, PODS)), rng.random((n, PODS)) * 0.3
    job_h = rng.choice([1.0, 3.0, 6.0, 24.0], (n, 1))
    job_h = np.where(job_h > p["need_h"] / 8, 1.0, job_h)  # fewer than eight jobs are steps
    peak = w.p["base"] + w.p["session"] + w.p["cache"] + w.p["warm"] + 0.5 * w.p["garbage"]
    free = np.maximum(0.97 - peak, 0.15)[:, None]
    rate = free / p["need_h"] * step_h * rng.choice([1.0, 1.0, 0.7], (n, PODS))
    rate[:, 0] = (free / p["need_h"] * step_h)[:, 0]
    usual = relative[:, : 14 * 1440 // w.step_min].mean(axis=1)[:, None]
    doubling = p["need_h"] / rng.uniform(1.0, 2.2, (n, 1))
    kinds = {k: (w.kind == k)[:, None] for k in {*CLEAN, *LEAKS}}
    steps_up = np.where(kinds["step"], rng.integers(7 * 24, 27 * 24, (n, 3)) / step_h, np.inf)
    size = rng.uniform(0.05, 0.15, (n, 3))
    used = np.empty((n, PODS, w.n_steps), np.float32)
    killed = np.full(n, -1)
    crashes = np.zeros((n, w.n_steps))
    killing = np.zeros((n, PODS), bool)
    victim = rng.integers(0, PODS, (n, w.n_steps))
    for i in range(w.n_steps):
        born = starts["deploy"][:, i, None] | killing
        born |= (starts["crash"][:, i, None]) & (np.arange(PODS) == victim[:, i, None])
        crashes[:, i] = (killing | (born & ~starts["deploy"][:, i, None])).sum(axis=1)
        for state in (age, session, cache, leaked, garbage, high):
            state[born] = 0.0
        age += step_h
        now = relative[:, i, None] * share
        session += (now - session) * (1 - np.exp(-step_h / p["session_h"]))
        cache += (p["cache"] - cache) * (1 - np.exp(-step_h * (0.3 + now) / p["cache_h"]))
        garbage += p["garbage"] * (0.3 + now) * step_h / p["garbage_h"]
        on = w.leaks[:, None] & (i >= p["onset"])
        grow = np.where(kinds["by_requests"], rate * now / usual, rate)
        grow = np.where(
            kinds["exponential"], (0.25 * free + leaked) * np.log(2) / doubling * step_h, grow
        )
        hour = i * step_h
        jumps = (hour % job_h[:, 0] < step_h)[:, None]
        grow = np.where(kinds["staircase"], rate * job_h / step_h * jumps, grow)
        leaked += np.where(on, grow, 0.0)
        log += np.where(kinds["disk_rotated"], 0.3 * step_h / np.maximum(p["rotation_h"], 1), 0.0)
        log[log > 0.3 + 0.02 * np.sin(i)] = 0.0
        wander += -wander * step_h / p["wander_h"]
        wander += rng.normal(size=wander.shape) * np.sqrt(2 * step_h / p["wander_h"])
        live = p["base"] * (1 + p["wander"] / 0.25 * wander)
        live -= p["warm"] * np.exp(-age / p["warm_h"]) * (p["base"] / (p["base"] + p["warm"]))
        live += p["warm"] + p["session"] * session + cache + leaked
        live += (size * (hour >= steps_up * step_h)).sum(axis=1)[:, None]
        live += np.where(kinds["disk_rotated"], log, 0.0)
        over = garbage > p["garbage"]
        over |= p["aware"] & (live + garbage > 0.97)
        garbage[over] = 0.0
        level = live + garbage
        keeps = kinds["high_water"]
        high = np.where(keeps, np.maximum(high * np.exp(-step_h / 400), level), level)
        total = high * (1 + p["noise"] * rng.normal(size=high.shape) * 0.3)
        killing = (total >= 1.0) & w.leaks[:, None]
        used[:, :, i] = np.clip(total, 0.01, 1.0)
        first = killing.any(axis=1) & (killed < 0) & (i > w.p["onset"])
        killed[first] = i
    return used, killed, crashes


def _shown(
    w: World,
    load: np.ndarray,
    starts: dict[str, np.ndarray],
    used: np.ndarray,
    killed: np.ndarray,
    crashes: np.ndarray,
) -> Fleet:
    """What the monitoring system has of it."""
    n, rng = len(w.kind), w.rng
    noise = rng.normal(size=(n, w.n_steps)) * w.p["noise"][:, None]
    top = used.max(axis=1).astype(float) * (1 + noise)
    times = np.arange(w.n_steps)
    last_deploy = np.maximum.accumulate(np.where(starts["deploy"], times, -1), axis=1)
    unit = np.where(np.isin(w.kind, ["connections", "threads_by_load"]), 200.0, GIB)
    unit[w.kind == "file_descriptors"] = 1024.0
    limit = np.repeat(unit[:, None], w.n_steps, axis=1)
    changed = w.kind == "limit_changed"
    limit[changed, : w.n_steps // 3] *= 0.8
    limit[(w.kind == "limit_missing")] = np.nan
    x = top * unit[:, None]
    whole = unit < GIB
    x[whole] = np.round(x[whole])
    age_h = (times - np.maximum(last_deploy, -3000)) * w.step_min / 60
    breath = 1 + 0.1 * remember(rng.normal(size=(n, w.n_steps)), 24)
    fill = w.p["file_cache"][:, None] * (1 - np.exp(-age_h / w.p["file_cache_h"][:, None])) * breath
    cache = fill * unit[:, None]
    hidden = rng.random((n, w.n_steps)) < 0.002
    for i in np.flatnonzero(w.kind == "gaps"):
        hidden[i] |= rng.random(w.n_steps) < 0.08
        for at in rng.integers(0, w.n_steps, 4):
            hidden[i, at : at + rng.integers(6, 120)] = True
    for i in np.flatnonzero(w.kind == "negative"):
        x[i, rng.random(w.n_steps) < 0.003] = -1.0
    columns = {
        "rps": np.where((w.kind == "no_load")[:, None], np.nan, load),
        "cpu": np.where(
            (w.kind == "no_load")[:, None],
            np.nan,
            load * 0.004 * np.exp(rng.normal(0, 0.04, load.shape)),
        ),
        "restarts": np.cumsum(crashes, axis=1),
        "deploys": START.timestamp() + last_deploy * w.step_min * 60.0,
    }
    names, rows, values = [], [], []

    def add(i: int, metric: str, row: np.ndarray) -> None:
        names.append((f"w{i:05d}", metric))
        values.append(np.where(hidden[i], np.nan, row))

    for i, kind in enumerate(w.kind):
        metric, bound = METRICS.get(kind, ("memory_rss_bytes", "memory_limit_bytes"))
        only_working_set = kind in ("working_set", "page_cache")
        if metric == "memory_rss_bytes":
            polluted = np.maximum(
                x[i],
                np.minimum(
                    x[i] + cache[i], 0.97 * limit[i] if np.isfinite(limit[i, 0]) else np.inf
                ),
            )
            add(i, "memory_working_set_bytes", polluted)
            metric = "memory_working_set_bytes" if only_working_set else metric
        if not only_working_set:
            add(i, metric, x[i])
        add(i, bound, limit[i])
        for name, row in (("requests_per_second", "rps"), ("cpu_usage_cores", "cpu")):
            if i % 5 or row == "cpu":  # every fifth has nothing but its cpu
                add(i, name, columns[row][i])
        add(i, "restarts_total", columns["restarts"][i])
        add(i, "deploy_timestamp_seconds", columns["deploys"][i])
        rows.append(metric)
    keys = pd.DataFrame(names, columns=["workload", "metric"], dtype="str")
    order = keys.sort_values(["workload", "metric"]).index
    panel = Panel(
        keys.loc[order].reset_index(drop=True),
        START,
        pd.Timedelta(w.step_min, "min"),
        np.array(values)[order],
    )
    begun = np.where(w.leaks, np.minimum(w.p["onset"], w.n_steps), -1)
    born = np.array([_last(starts["deploy"][i], killed[i]) for i in range(n)])
    cases = pd.DataFrame(
        {
            "workload": [f"w{i:05d}" for i in range(n)],
            "kind": w.kind, "leaks": w.leaks, "metric": rows, "onset": begun,
            "killed": killed, "need_h": (killed - np.maximum(begun, born)) * w.step_min / 60,
        }
    )  # fmt: skip
    return Fleet(cases, panel)


def _last(flags: np.ndarray, before: int) -> int:
    at = np.flatnonzero(flags[: max(before, 0)])
    return int(at[-1]) if len(at) else -1
