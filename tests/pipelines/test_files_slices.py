"""Files that are parted by time are ingested days at a time; what is stored is the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.frames import SAMPLES, conform
from pipelines.ingest import ingest

START = pd.Timestamp("2026-05-04T00:00Z")
DAYS = 4


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    times = pd.date_range(START, periods=DAYS * 24, freq="1h").as_unit("ms")
    keys = [(f"w{i}", metric) for i in range(3) for metric in ("cpu_usage_cores", "replicas")]
    frames = [
        pd.DataFrame({"name": name, "metric": metric, "ts": times, "value": rng.random(len(times))})
        for name, metric in keys
    ]
    table = pd.concat(frames, ignore_index=True)
    again = table.iloc[[5, 100]].assign(value=0.25)  # of equal keys the last is kept
    return pd.concat([table.drop(index=[7, 8, 200]), again], ignore_index=True)


def _ingested(folder: Path, samples: pd.DataFrame, *, group_rows: int) -> tuple[str, float, float]:
    """The store's files as one digest; how many samples were foreseen, and came."""
    (folder / "files").mkdir(parents=True)
    labels = {"cluster": "c", "namespace": "n", "kind": "Deployment"}
    table = conform(samples.assign(**labels), SAMPLES)
    pq.write_table(table, folder / "files" / "all.parquet", row_group_size=group_rows)
    config = folder / "c.json"
    config.write_text(
        json.dumps(
            {
                "source": {"kind": "files", "paths": [str(folder / "files")]},
                "ingest": {"samples_per_commit": 100},
            }
        )
    )
    end = (START + pd.Timedelta(days=DAYS)).isoformat()
    told = ingest.fn(config=str(config), out=str(folder / "store"), as_of=end)
    digest = hashlib.sha256()
    for file in sorted((folder / "store" / "samples").rglob("*.parquet")):
        digest.update(str(file.relative_to(folder / "store")).encode() + file.read_bytes())
    return digest.hexdigest(), told["figures"]["foreseen_samples"], told["figures"]["samples"]


def test_days_at_a_time_or_all_at_once_is_the_same_store(
    samples: pd.DataFrame, tmp_path: Path
) -> None:
    order = np.argsort(samples["ts"].astype("int64").to_numpy(), kind="stable")
    by_time = samples.iloc[order]
    sliced = _ingested(tmp_path / "sliced", by_time, group_rows=48)
    whole = _ingested(tmp_path / "whole", samples, group_rows=10**6)
    assert sliced[0] == whole[0]
    assert sliced[2] == whole[2] == len(samples) - 2
    assert sliced[1] >= len(samples), "its row groups say how much each day has"
    assert whole[1] == 0, "cut into days, a file of all days at once would be read for each of them"
