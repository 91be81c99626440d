"""The whole way against real servers: ingest, train, score, forecast, plan, report, over HTTP.

Each server holds a simulated cluster and a real trace of traffic. VictoriaMetrics gets the cluster
as kube-state-metrics and cAdvisor would show it and is asked by the shipped catalog; Prometheus, far
slower at such queries, gets it as recording rules would and is asked by the plain one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features.frames import SAMPLES, conform
from features.synthetic import ClusterSpec, simulate
from features.workloads import with_workload
from pipelines.adapters.tracking import Tracking
from pipelines.cli import _run_cli

pytestmark = [
    pytest.mark.e2e,
    # mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
TRACE = ROOT.parent / "shared" / "data" / "traffic_nyc_taxi.parquet"
TRAINED, NOW = pd.Timestamp("2026-06-01T00:00Z"), pd.Timestamp("2026-06-02T00:00Z")
STEP = pd.Timedelta(minutes=15)
HORIZON = pd.Timedelta(hours=48)
REAL = "nyc/demand/Deployment/taxi"


@dataclass(frozen=True)
class Case:
    server: str
    catalog: str
    workloads: int
    metrics: tuple[str, ...]
    """Of the simulated ones; all of them where none is named."""


CASES = {
    "victoria": Case("victoria_server", "prometheus", 8, ()),
    "prometheus": Case(
        "prometheus_server",
        "plain",
        5,
        (
            *("requests_per_second", "cpu_usage_cores", "cpu_request_cores", "replicas"),
            *("memory_rss_bytes", "memory_limit_bytes", "memory_request_bytes"),
            *("hpa_min_replicas", "hpa_max_replicas", "hpa_target_cpu_ratio", "error_ratio"),
            *("restarts_total", "deploy_timestamp_seconds", "pod_start_seconds"),
        ),
    ),
}


@dataclass(frozen=True)
class Way:
    """What was loaded into a server, and what the verbs made of it."""

    loaded: pd.DataFrame
    out: Path
    config: Path
    outcomes: dict[str, dict[str, Any]]

    def table(self, name: str) -> pd.DataFrame:
        parts = [pq.read_table(p).to_pandas() for p in sorted((self.out / name).rglob("*.parquet"))]
        return pd.concat(parts, ignore_index=True)


def cluster_samples(case: Case) -> pa.Table:
    """Four weeks and a day that end now."""
    spec = ClusterSpec(n_workloads=case.workloads, weeks=5, step_s=int(STEP.total_seconds()))
    samples = simulate(spec).samples.to_pandas()
    wanted = samples["metric"].isin(case.metrics or samples["metric"].cat.categories)
    wanted &= (samples["ts"] < NOW) & (samples["metric"] != "latency_p50_seconds")
    return conform(samples[wanted], SAMPLES)


def real_samples() -> pa.Table:
    """The trace at its own 30 minutes, moved by whole weeks: Prometheus refuses stamps of 2014."""
    trace = pd.read_parquet(TRACE)
    weeks = (NOW - trace["ts"].max()) // pd.Timedelta(weeks=1)
    trace["ts"] += weeks * pd.Timedelta(weeks=1)
    recent = trace[(trace["ts"] >= NOW - pd.Timedelta(days=36)) & (trace["ts"] < NOW)]
    return conform(recent.assign(metric="requests_per_second"), SAMPLES)
