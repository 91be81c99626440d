"""The eval of pre-scaling on a directory: traffic is replayed, what is none is passed over by
name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.frames import SAMPLES, conform

REPO = Path(__file__).parents[2]
STEP = pd.Timedelta(30, "min")
DAY = 48


def write(path: Path, metric: str, weeks: int, height: float = 100.0) -> None:
    """Steep mornings, of two workloads."""
    t = np.arange(weeks * 7 * DAY)
    shape = 0.1 + 0.9 * ((t % DAY >= 18) & (t % DAY < 34))
    noise = np.random.default_rng(5).lognormal(0, 0.03, (2, len(t)))
    ts = pd.date_range("2026-05-04T00:00Z", periods=len(t), freq=STEP)
    frames = [
        pd.DataFrame({"name": f"w{i}", "metric": metric, "ts": ts, "value": height * shape * own})
        for i, own in enumerate(noise)
    ]
    pq.write_table(conform(pd.concat(frames, ignore_index=True), SAMPLES), path)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    data = tmp_path_factory.mktemp("data")
    (data / "labels").mkdir()
    (data / "labels" / "server.csv").write_text("name,start,end\n", encoding="utf-8")
    (data / "notes.csv").write_text("name,start,end\nw0,2026-05-04,2026-05-05\n", encoding="utf-8")
    write(data / "traffic.parquet", "hits", weeks=5)
    write(data / "short.parquet", "hits", weeks=4)
    write(data / "idle.parquet", "hits", weeks=5, height=0.0)
    write(data / "server.parquet", "m01", weeks=5)
    write(data / "memory.parquet", "memory_rss_bytes", weeks=5)
    quick = {
        "FORETIDE_PRESCALE__ISSUE": json.dumps({"every_min": 60, "refit_h": 84}),
        "PYTHONPATH": str(REPO),
    }
    command = [sys.executable, "tests/eval/prescale.py", str(data), "--only", "traces"]
    done = subprocess.run(
        command, cwd=REPO, env=os.environ | quick, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_figures_are_those_that_are_asked_for(told: str) -> None:
    figures = dict(re.findall(r"^figure (\w+) (-?[\d.]+) \w+$", told, re.MULTILINE))
    assert {"over_target_cut_share", "replica_hours_vs_reactive"} <= set(figures)
    assert "unserved_demand_cut_share" in told
    assert 0 < float(figures["over_target_cut_share"]) <= 1
    assert float(figures["replica_hours_vs_reactive"]) > 0.9


def test_every_load_is_a_case_with_every_policy(told: str) -> None:
    assert "mean of 2 traces" in told
    for policy in ("reactive", "foretide", "last_week", "four_weeks", "hourly_max", "oracle"):
        assert len(re.findall(rf"^  {policy} ", told, re.MULTILINE)) == 4  # each, their mean, all
    assert told.count("at equal replica-hours") == 4


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("short.parquet", "less than four weeks before the last"),
        ("idle.parquet", "never above 0"),
        ("server.parquet", "unknown, and with labels of anomalies"),
        ("memory.parquet", "no load by the catalog"),
        ("notes.csv", ""),
    ],
)
def test_what_is_no_traffic_is_passed_over_by_name(told: str, file: str, why: str) -> None:
    lines = [line for line in told.splitlines() if line.startswith(file)]
    assert len(lines) == 1
    assert "passed over" in lines[0]
    assert lines[0].endswith(why)
    assert f"\n{file.split('.')[0]} " not in told  # and no table of it
