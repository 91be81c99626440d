"""A small store with one run of every table that is published, at one clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from features.frames import ACCURACY, CAPACITY, FORECASTS, INCIDENTS, LEAKS, SCORES
from models.actions import Floor, Plan
from pipelines.adapters.store import Store
from pipelines.run import Run, RunRef, part_name

__all__ = ["CLOCK", "WORKLOADS", "add_forecast", "add_scores", "fill", "opened"]

CLOCK = pd.Timestamp("2026-06-08T12:00Z")
WORKLOADS = ("prod/shop/Deployment/web", "prod/shop/Deployment/api", "prod/pay/Deployment/bank")
STEP = pd.Timedelta("5min")
METRICS = ("cpu_usage_cores", "requests_per_second")


def opened(
    folder: Path, settings: Mapping[str, Any] | None = None, at: pd.Timestamp = CLOCK
) -> Run:
    """A run of the store in ``folder / "store"``, with these sections of the configuration."""
    config = folder / "publish.yaml"
    config.write_text(yaml.safe_dump(dict(settings or {})))
    return RunRef.resolve(str(config), None, str(folder / "store"), at.isoformat(), at).open()


def fill(folder: Path, workloads: Sequence[str] = WORKLOADS, at: pd.Timestamp = CLOCK) -> Store:
    """The store, with everything as a schedule would have written it at ``at``."""
    store = Store(folder / "store")
    add_scores(store, workloads, at)
    add_forecast(store, workloads, at, hours=30)
    run = {"run_id": "r"}
    leak = {
        "metric": "memory_rss_bytes", "issued_at": at, "slope_per_h": 1e6,
        "slope_per_h_lower": 9e5, "slope_per_h_upper": 2e6, "value": 1e9, "limit": 2e9,
        "time_to_limit_p10_s": 3600.0, "time_to_limit_p50_s": 7200.0,
        "time_to_limit_p90_s": np.inf, "note": "", "model_version": "detector/1",
    }  # fmt: skip
    grow = pd.DataFrame([{"workload": w, "score": 2.0 if i == 0 else 0.0} | leak | run
                         for i, w in enumerate(workloads)])  # fmt: skip
    store.write(LEAKS, grow, part_name(at))
    cause = {"workload": workloads[-1], "metric": "error_ratio", "score": 1.0,
             "confidence": 0.9, "evidence": "e"}  # fmt: skip
    open_one = {
        "incident_id": "i-open", "started_at": at, "detected_at": at, "ended_at": pd.NaT,
        "title": "t", "workloads": list(workloads[:1]), "causes": [cause], "score": 4.0,
        "severity": "critical", "suppressed_alerts": 0,
    }  # fmt: skip
    over = open_one | {"incident_id": "i-over", "ended_at": at, "causes": []}
    incidents = pd.DataFrame([open_one | run, over | run])
    incidents["ended_at"] = pd.to_datetime(incidents["ended_at"], utc=True)
    store.write(INCIDENTS, incidents, part_name(at))
    week = {"metric": "cpu_usage_cores", "evaluated_at": at, "started_at": at, "model": "m",
            "wape": 0.25, "pinball_q90": 0.1, "coverage_q90": 0.9, "peak_coverage_q90": 0.9,
            "points": 10}  # fmt: skip
    store.write(ACCURACY, pd.DataFrame([{"workload": w} | week | run for w in workloads]),
                part_name(at))  # fmt: skip
    floor = Floor(workloads[0], "web", 2, 2, 7, at, at + pd.Timedelta("1h"), "act", "peak", "act")
    later = Floor(workloads[-1], "bank", 2, 2, 9, at + pd.Timedelta("1h"), at + pd.Timedelta("2h"),
                  "act", "peak", "act")  # fmt: skip
    plan = Plan(at, at + pd.Timedelta("20h"), "act", (floor, later), ())
    store.put_file(f"plans/{part_name(at)}/plan.json", _json(plan))
    return store


def add_scores(
    store: Store, workloads: Sequence[str], at: pd.Timestamp, score: float = 0.5
) -> None:
    """The last half hour of scores; the last step has ``score``, those before it 0.1."""
    ts = pd.date_range(at - 6 * STEP, at, freq=STEP, inclusive="left")
    n = len(ts)
    each = {
        "metric": METRICS[0], "ts": ts, "detector": "band",
        "score": [0.1] * (n - 1) + [score], "expected": 1.0, "lower": 0.0, "upper": 2.0,
        "value": 1.0, "severity": "normal", "reason": "", "model_version": "detector/1",
        "run_id": "r", "valid_until": at + pd.Timedelta("1h"),
    }  # fmt: skip
    rows = pd.concat([pd.DataFrame(each | {"workload": w}) for w in workloads])
    store.write(SCORES, rows, part_name(at))


def add_forecast(
    store: Store, workloads: Sequence[str], at: pd.Timestamp, *, hours: float, base: float = 100.0
) -> None:
    """Forecasts of two metrics and capacity; ``q50`` of hour h is ``base + h``, replicas 2 + h."""
    ts = pd.date_range(at, at + pd.Timedelta(hours, "h"), freq=STEP, inclusive="left")
    hour = ((ts - at) // pd.Timedelta("1h")).to_numpy().astype(float)
    until = at + pd.Timedelta("26h")
    series = [(w, m) for w in workloads for m in METRICS]
    middle = np.tile(base + hour, len(series))
    forecasts = {
        "workload": np.repeat([w for w, _ in series], len(ts)),
        "metric": np.repeat([m for _, m in series], len(ts)),
        "issued_at": at, "ts": np.tile(ts, len(series)),
        "q05": middle - 9, "q50": middle, "q90": middle + 10, "q95": middle + 20,
        "q99": middle + 30, "model": "m", "confidence": "week", "model_version": "f/1",
        "run_id": "r", "valid_until": until,
    }  # fmt: skip
    frame = pd.DataFrame(forecasts).assign(ts=pd.DatetimeIndex(np.tile(ts, len(series)), tz="UTC"))
    store.write(FORECASTS, frame, part_name(at))
    ready = np.tile(2 + hour, len(workloads)).astype(int)
    capacity = {
        "workload": np.repeat(list(workloads), len(ts)), "issued_at": at,
        "ts": pd.DatetimeIndex(np.tile(ts, len(workloads)), tz="UTC"), "replicas": ready,
        "ready_replicas": ready, "reactive_replicas": ready - 1, "cpu_cores": 1.0,
        "memory_bytes": 1e9, "lead_time_s": 600.0, "lead_time_source": "measured",
        "quantile": 0.95, "gate": "act", "gate_reason": "", "run_id": "r", "valid_until": until,
    }  # fmt: skip
    store.write(CAPACITY, pd.DataFrame(capacity), part_name(at))


def _json(plan: Plan) -> bytes:
    import json

    return json.dumps(plan.to_dict()).encode()
