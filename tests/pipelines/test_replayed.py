"""A file scored as scheduled runs would have, and what both must never do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from features.panel import Panel
from pipelines.adapters.store import Store
from pipelines.catalogs import open_catalog
from pipelines.cli import _run_cli
from pipelines.replayed import replayed
from pipelines.score import score
from pipelines.scoring import Scored, accounted
from pipelines.settings import Settings, load_settings
from pipelines.train import train

STEP = pd.Timedelta("15min")
START = pd.Timestamp("2026-05-01T00:00Z").as_unit("ms")
DAYS = 10.5
UNTIL = START + pd.Timedelta(days=9)
END = START + pd.Timedelta(days=DAYS)
LIGHT = {"forecast": {"models": ["seasonal_naive", "seasonal_day"]}}
QUIET = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


def settings_of(tmp_path: Path, **more: Any) -> tuple[str, Settings]:
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump(LIGHT | more))
    return str(config), load_settings(config)


def series(seed: int, level: float, days: float = DAYS, noise: float = 0.05) -> np.ndarray:
    n = round(days * 96)
    rng = np.random.default_rng(seed)
    day = 1 + 0.4 * np.sin(np.arange(n) * 2 * np.pi / 96)
    return level * day * (1 + noise * rng.standard_normal(n))


def cluster() -> dict[tuple[str, str], np.ndarray]:
    """Two workloads for ten days and a half and what happens to them; a third that comes on day ten."""
    n = round(DAYS * 96)
    out: dict[tuple[str, str], np.ndarray] = {}
    for i, name in enumerate(("one", "two")):
        out[name, "requests_per_second"] = series(10 * i, 100.0)
        out[name, "latency_p99_seconds"] = series(10 * i + 1, 0.2)
        out[name, "memory_rss_bytes"] = series(10 * i + 2, 4e8, noise=0.01)
        out[name, "memory_limit_bytes"] = np.full(n, 1e9)
        out[name, "restarts_total"] = np.zeros(n)
    at = 9 * 96
    out["one", "requests_per_second"][at + 20 : at + 32] *= 4
    out["one", "latency_p99_seconds"][at + 20 : at + 32] *= 6
    out["one", "restarts_total"][at + 50 :] = 3
    out["one", "restarts_total"][at + 44 : at + 50] = np.nan
    out["two", "latency_p99_seconds"][at + 60 :] *= 3  # a level shift that is learned
    out["two", "memory_rss_bytes"][at + 10 :] += np.linspace(0, 6e8, n - at - 10)
    young = np.full((2, n), np.nan)
    young[0, at + 40 :] = series(31, 50.0)[at + 40 :]
    young[1, at + 40 :] = 0.3
    out["three", "requests_per_second"], out["three", "cpu_usage_cores"] = young
    return out


def panel_of(values: dict[tuple[str, str], np.ndarray]) -> Panel:
    keys = [(f"c/shop/Deployment/{w}", m) for w, m in sorted(values)]
    frame = pd.DataFrame(keys, columns=["workload", "metric"], dtype="str")
    return Panel(frame, START, STEP, np.array([values[k] for k in sorted(values)]))


def samples_of(values: dict[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    frame = panel_of(values).to_frame()
    parts = frame["workload"].astype("str").str.split("/", expand=True)
    names = dict(zip(range(4), ("cluster", "namespace", "kind", "name"), strict=True))
    frame = frame.drop(columns="workload").assign(**parts.rename(columns=names))
    return frame.astype({"metric": "str"})


def ran(values: dict[tuple[str, str], np.ndarray], settings: Settings | None = None) -> Scored:
    known = settings or Settings(**LIGHT)
    return replayed(panel_of(values), UNTIL, open_catalog("prometheus"), known)


def skips_of(found: Scored, values: dict[tuple[str, str], np.ndarray]) -> dict[str, str]:
    frame = accounted(found, panel_of(values), UNTIL, open_catalog("prometheus"))
    names = frame["workload"].str.rsplit("/", n=1).str[-1] + " " + frame["metric"]
    return dict(zip(names, frame["reason"], strict=True))


def of(found: Scored, name: str, metric: str) -> pd.DataFrame:
    rows = found.scores
    mine = rows["workload"].str.endswith(f"/{name}") & (rows["metric"] == metric)
    return rows[mine].sort_values("ts", ignore_index=True)


# ---- replay and live


def clocks() -> list[pd.Timestamp]:
    """When runs end: quarters of an hour, and now and then a late one; midnight is among them."""
    gaps = np.tile([1, 2, 13, 1, 31], 20)
    ends = UNTIL + STEP * np.cumsum(gaps[: np.searchsorted(np.cumsum(gaps), 1.5 * 96) + 1])
    return [min(e, END) for e in ends]


def live(tmp_path: Path, config: str, values: dict[tuple[str, str], np.ndarray]) -> Store:
    """A store that fills as time goes: train every day, score now and then."""
    out = str(tmp_path / "live")
    store, samples = Store(out), samples_of(values)
    common: dict[str, Any] = {"config": config, "out": out}
    store.write_samples(samples)
    begin = UNTIL
    train.fn(**common, as_of=begin.isoformat())
    for clock in clocks():
        score.fn(**common, as_of=clock.isoformat(), start=begin.isoformat())
        begin = clock
        if (clock - UNTIL) % pd.Timedelta(days=1) == pd.Timedelta(0) and clock < END:
            train.fn(**common, as_of=clock.isoformat())
    return store


def table(store: Store, name: str, key: list[str], drop: list[str]) -> pd.DataFrame:
    from features.frames import CONTRACTS

    frame = store.read(CONTRACTS[name]).to_pandas().drop_duplicates(key, keep="last")
    words = {c: "str" for c in frame.columns if isinstance(frame.dtypes[c], pd.CategoricalDtype)}
    frame = frame.astype(words).drop(columns=drop)
    return frame.sort_values(key, ignore_index=True)


@QUIET
def test_a_replay_says_what_live_runs_would_have_said(tmp_path: Path) -> None:
    values = cluster()
    config, _ = settings_of(tmp_path)
    file, out = tmp_path / "samples.parquet", str(tmp_path / "file")
    samples_of(values).to_parquet(file)
    score.fn(config=config, inputs=[str(file)], out=out, train_until=UNTIL.isoformat())
    stores = (live(tmp_path, config, values), Store(out))
    stamp = ["model_version", "run_id"]
    scores = [
        table(s, "scores", ["workload", "metric", "ts", "detector"], [*stamp, "valid_until"])
        for s in stores
    ]
    pd.testing.assert_frame_equal(*scores, rtol=1e-9, atol=1e-9)
    assert set(scores[0]["detector"]) >= {"band", "isolation_forest"}
    assert (scores[0]["score"] >= 1).sum() > 20
    leaks = [table(s, "leaks", ["workload", "metric", "issued_at"], stamp) for s in stores]
    pd.testing.assert_frame_equal(*leaks, rtol=1e-9, atol=1e-9)
    assert (leaks[0]["score"] >= 1).any()
    told = [
        table(s, "incidents", ["incident_id"], ["run_id"])[
            ["incident_id", "started_at", "detected_at", "ended_at", "score"]
        ]
        for s in stores
    ]
    pd.testing.assert_frame_equal(*told, rtol=1e-9, atol=1e-9)
    assert len(told[0]) > 1
