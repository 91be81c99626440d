"""Closed loop: floors make pods, pods burn CPU of their own, and the next forecast learns from what
was then measured. Floors must settle, not climb upon themselves."""

import numpy as np
import pandas as pd
import pytest

from features.panel import Panel
from models.capacity import CapacityParams, capacity_forecast
from models.hpa_answers import CPU, REQUESTS, Told
from models.hpa_demand import needs
from models.hpa_spec import HpaMetric
from models.state import workload_state

STEP = pd.Timedelta(15, "min")
DAY = 96
START = pd.Timestamp("2026-06-01", tz="UTC")
NAMES = [f"c/n/Deployment/idle-{i}" for i in range(4)]
IDLE = np.array([0.0, 0.1, 0.2, 0.35])  # of a core, what a pod burns without requests
SLOPE = np.full(4, 0.02)
TARGET, LIMIT, HIGH = 0.7, 1.0, 200.0
PARAMS = CapacityParams(hold_min=15, lead_time_s=300)
CPU_TARGET = (HpaMetric("resource", "cpu", "utilization", TARGET),)
WARM, AFTER = 21, 28  # days under the HPA alone, and days with floors


def true_requests(days):
    t = np.arange(days * DAY) / DAY
    shape = 120 + 480 * np.clip(np.sin((t % 1) * np.pi * 2 - 1.2), 0, 1) ** 1.5
    weekday = np.where(t.astype(int) % 7 < 5, 1.0, 0.6)
    noise = np.random.default_rng(7).normal(1, 0.05, (len(NAMES), len(t)))
    return shape * weekday * noise


class Cluster:
    """Pods, their HPA and what is measured of them, day by day."""

    def __init__(self):
        self.requests = true_requests(WARM + AFTER + 1)
        self.rng = np.random.default_rng(1)
        self.pods = np.full(len(NAMES), 5.0)
        self.seen = {m: [] for m in (REQUESTS, CPU, "replicas")}

    def day(self, floors):
        for t in range(DAY):
            at = len(self.seen[CPU])
            self.pods = np.maximum(self.pods, floors[:, t])
            wanted = IDLE * self.pods + SLOPE * self.requests[:, at]
            burned = np.minimum(wanted, LIMIT * self.pods)  # a full pod hides demand
            served = (burned - IDLE * self.pods) / SLOPE
            burned = burned * self.rng.normal(1, 0.02, len(NAMES))
            for metric, value in ((REQUESTS, served), (CPU, burned), ("replicas", self.pods)):
                self.seen[metric].append(value.copy())
            need = burned / TARGET
            moved = np.where(np.abs(need / self.pods - 1) > 0.1, np.ceil(need), self.pods)
            self.pods = np.clip(np.maximum(moved, floors[:, t]), 1, HIGH)

    def panel(self):
        seen = {m: np.array(v).T for m, v in self.seen.items()}
        seen["cpu_request_cores"] = seen["replicas"] * 1.0
        n, m = seen[CPU].shape
        seen |= {
            "hpa_min_replicas": np.ones((n, m)),
            "hpa_max_replicas": np.full((n, m), HIGH),
            "hpa_target_cpu_ratio": np.full((n, m), TARGET),
        }
        keys = [(w, k) for k in seen for w in NAMES]
        frame = pd.DataFrame(keys, columns=["workload", "metric"], dtype="str")
        return Panel(frame, START, STEP, np.concatenate([seen[k] for k in seen]))


def forecast(history):
    """The same moment of the last three weeks: its mean, and the 95 % quantile about it."""
    m = history.shape[1]
    weeks = [history[:, m - 7 * DAY * k : m - 7 * DAY * k + DAY] for k in (1, 2, 3)]
    mean = np.mean(weeks, axis=0)
    spread = np.quantile(np.array(weeks) / np.maximum(mean, 1e-9), 0.95, axis=(0, 2))
    return np.stack([mean, mean * spread[:, None]])


def floors_of(pods_q, pods_median):
    n = len(NAMES)
    return capacity_forecast(
        pods_q,
        pods_median,
        request_per_pod_cores=np.ones(n),
        request_per_pod_bytes=np.full(n, np.nan),
        target_ratio=np.full(n, TARGET),
        min_replicas=np.ones(n),
        max_replicas=np.full(n, HIGH),
        lead_time_s=np.full(n, 300.0),
        step=STEP,
        params=PARAMS,
        per_pod=np.ones(n),
    ).replicas.astype(float)


def ours(panel, metrics=(REQUESTS, CPU)):
    """The floors of the next day, by the real code, from what was measured so far."""
    keys = panel.keys[panel.keys["metric"].isin(metrics)].reset_index(drop=True)
    values = forecast(panel.of(*metrics).values)
    told = Told(keys, values, (0.5, 0.95), [""] * len(keys))
    need = needs(
        NAMES,
        dict.fromkeys(NAMES, CPU_TARGET),
        told,
        panel=panel,
        state=workload_state(panel, NAMES),
        quantiles=[0.95] * len(NAMES),
    )
    assert need.against == [""] * len(NAMES)
    return floors_of(need.quantile, need.median)


def by_cpu(panel):
    return ours(panel, (CPU,))


def by_replicas(panel):
    """The naive way: what pods there were is what pods there will be."""
    mean, high = forecast(panel.of("replicas").values)
    return floors_of(high, mean)


def open_loop(cluster, day):
    """The floors of somebody who knows the true curve, from true requests."""
    mean, high = forecast(cluster.requests[:, : day * DAY])
    carries = ((TARGET - IDLE) / SLOPE)[:, None]
    return floors_of(high / carries, mean / carries)


def run(policy):
    """Daily peaks of the floors and of the open-loop answer, both (days, n)."""
    cluster = Cluster()
    for _ in range(WARM):
        cluster.day(np.zeros((len(NAMES), DAY)))
    closed, opened = [], []
    for day in range(WARM, WARM + AFTER):
        floors = policy(cluster.panel())
        closed.append(floors.max(axis=1))
        opened.append(open_loop(cluster, day).max(axis=1))
        cluster.day(floors)
    return np.array(closed), np.array(opened)


def settles(closed, opened):
    """Within a week, and to within one replica of the open-loop answer, for all of the weeks after
    it."""
    return bool((np.abs(closed - opened)[7:] <= 1).all())


def test_floors_from_requests_settle_to_the_open_loop_answer():
    closed, opened = run(ours)
    assert settles(closed, opened), (closed - opened).T


def test_forecasting_replica_counts_fails_the_same_check_by_climbing():
    closed, opened = run(by_replicas)
    assert not settles(closed, opened)
    assert (closed[-7:].max(axis=0) > closed[:7].max(axis=0) + 2).all()


def test_floors_from_cpu_itself_settle_too_a_little_higher():
    closed, opened = run(by_cpu)
    third, fourth = closed[14:21], closed[21:28]
    assert np.abs(third - fourth).max() <= 2
    assert (closed <= opened * 1.25 + 1).all()


@pytest.mark.parametrize("first", [1.0, 3.0])
def test_a_flood_of_pods_is_forgotten(first):
    """Floors that were far too high for a week leave no trace in what requests ask for."""
    cluster = Cluster()
    for day in range(WARM):
        is_late = day >= WARM - 7
        cluster.day(np.full((len(NAMES), DAY), 20.0 * first if is_late else 0.0))
    calm = ours(cluster.panel()).max(axis=1)
    assert (np.abs(calm - open_loop(cluster, WARM).max(axis=1)) <= 1).all()
