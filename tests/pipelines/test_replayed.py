"""A file scored as scheduled runs would have, and what both must never do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from features.frames import CONTRACTS, SCORES
from features.panel import Panel
from pipelines.adapters.store import Store
from pipelines.catalogs import open_catalog
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
    """Two workloads for ten days and a half, what happens to them; a third comes on day ten."""
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
    frame = accounted(found, panel_of(values), UNTIL, open_catalog("prometheus"), Settings())
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


# ---- time runs one way


def test_no_score_sees_its_future() -> None:
    values = cluster()
    cut = 9 * 96 + 37
    other = {k: v.copy() for k, v in values.items()}
    rng = np.random.default_rng(5)
    for v in other.values():
        v[cut:] = np.where(rng.random(len(v) - cut) < 0.1, np.nan, v[cut:] * 7 + 1)
    last = START + cut * STEP
    found = [ran(v) for v in (values, other)]
    keys = ["workload", "metric", "ts", "detector"]
    scores = [f.scores[f.scores["ts"] < last].sort_values(keys, ignore_index=True) for f in found]
    assert len(scores[0])
    pd.testing.assert_frame_equal(*scores)
    leaks = [f.leaks[f.leaks["issued_at"] <= last].reset_index(drop=True) for f in found]
    pd.testing.assert_frame_equal(*leaks)


def test_what_was_flagged_is_not_learned_and_without_refits_nothing_is() -> None:
    """Half a day of trouble that would be in the next day's lesson."""
    values = {k: v for k, v in cluster().items() if k[0] == "one" and "restarts" not in k[1]}
    values["one", "latency_p99_seconds"][9 * 96 + 20 : 9 * 96 + 60] *= 6
    for refit, clean in ((24, True), (24, False), (0, True)):
        known = Settings(**LIGHT, detect={"refit_every_h": refit}, hygiene={"enabled": clean})
        rows = of(ran(values, known), "one", "latency_p99_seconds")
        second = rows[rows["ts"] >= UNTIL + pd.Timedelta(days=1)]
        width = float((second["upper"] - second["expected"]).median())
        if refit and clean:
            learned = width
        elif refit:
            assert width > 1.05 * learned
        else:
            assert len(second) == len(rows) - 96


# ---- who is young


def test_a_newcomer_is_scored_from_its_sixth_hour_on_and_before_that_says_why() -> None:
    values = cluster()
    found = ran(values)
    rows = of(found, "three", "requests_per_second")
    born = UNTIL + 40 * STEP  # 10:00
    assert rows["ts"].min() == born.ceil("6h") + pd.Timedelta(hours=6)  # 18:00, on the clock
    early = {k: v[: 9 * 96 + 48] for k, v in values.items()}
    skipped = skips_of(ran(early), early)
    assert skipped["three requests_per_second"] == "history 2.0 h, needs 6 h"


def test_fifteen_hours_are_enough_to_learn_from() -> None:
    values = {("one", "requests_per_second"): series(1, 100.0)}
    values["one", "requests_per_second"][: 9 * 96 - 60] = np.nan
    found = ran(values)
    rows = of(found, "one", "requests_per_second")
    assert rows["ts"].min() == UNTIL
    assert len(rows) == 144
    assert (rows["score"] >= 1).mean() < 0.1


# ---- what became of a workload


def test_what_vanishes_is_missed_and_then_it_has_ended() -> None:
    values = cluster()
    at = 9 * 96 + 8
    for (name, _), v in values.items():
        if name == "two":
            v[at:] = np.nan
    rows = of(ran(values), "two", "requests_per_second")
    gone = rows[rows["value"].isna()]
    assert (gone["score"] >= 1).all()
    assert gone["ts"].min() < START + (at + 6) * STEP
    assert gone["ts"].max() < START + at * STEP + pd.Timedelta(hours=24)


def deployed(after_days: float) -> dict[tuple[str, str], np.ndarray]:
    """A deploy that triples latency; scored from day nine on."""
    values = {("one", "latency_p99_seconds"): series(3, 0.2)}
    n = len(values["one", "latency_p99_seconds"])
    at = round((9 - after_days) * 96)
    values["one", "latency_p99_seconds"][at:] *= 3
    values["one", "deploy_timestamp_seconds"] = np.where(np.arange(n) < at, 1e9, 2e9)
    return values


def test_a_deploy_begins_a_new_regime_once_there_is_enough_of_it() -> None:
    widths = []
    for days in (0.5, 3.5):
        rows = of(ran(deployed(days)), "one", "latency_p99_seconds")
        day = rows[rows["ts"] < UNTIL + pd.Timedelta(days=1)]
        widths.append(float((day["upper"] - day["expected"]).median()))
    plain = deployed(3.5)
    del plain["one", "deploy_timestamp_seconds"]
    rows = of(ran(plain), "one", "latency_p99_seconds")
    day = rows[rows["ts"] < UNTIL + pd.Timedelta(days=1)]
    assert widths[1] < float((day["upper"] - day["expected"]).median())


# ---- bad input, on the whole way


def spoiled(kind: str) -> pd.DataFrame:
    values = cluster()
    at = 9 * 96
    match kind:
        case "renamed":
            new = values["one", "requests_per_second"].copy()
            new[: at + 30] = np.nan
            values["one", "requests_per_second"][at + 30 :] = np.nan
            values["one", "http_requests_per_second"] = new
        case "limit missing":
            del values["one", "memory_limit_bytes"]
        case "limit changed":
            values["two", "memory_limit_bytes"][at + 30 :] = 5e8
        case "negative":
            values["one", "memory_rss_bytes"][at + 5] = -1e9
        case "counter reset":
            values["one", "restarts_total"] = np.arange(len(values["one", "restarts_total"])) % 50.0
        case "constant, then moving":
            values["one", "requests_per_second"][: at + 20] = 5.0
        case "huge":
            values["one", "latency_p99_seconds"][at + 5] = 1e300
        case _:
            pass
    frame = samples_of(values)
    match kind:
        case "unsorted twice":
            frame = pd.concat([frame, frame.assign(value=frame["value"] * 2)])
            frame = frame.sample(frac=1.0, random_state=1)
        case "future":
            late = frame.tail(1).assign(ts=END + pd.Timedelta(days=400))
            frame = pd.concat([frame, late])
        case _:
            pass
    return frame


@pytest.mark.parametrize(
    "kind",
    [
        "renamed", "limit missing", "limit changed", "negative", "counter reset",
        "constant, then moving", "huge", "unsorted twice", "future",
    ],
)  # fmt: skip
def test_whatever_comes_in_is_scored_or_skipped_with_a_reason(tmp_path: Path, kind: str) -> None:
    frame = spoiled(kind)
    frame.to_parquet(tmp_path / "samples.parquet")
    config, _ = settings_of(tmp_path)
    outcome = score.fn(
        config=config,
        inputs=[str(tmp_path / "samples.parquet")],
        out=str(tmp_path / "out"),
        train_until=UNTIL.isoformat(),
        as_of=END.isoformat(),
    )
    catalog = open_catalog("prometheus")
    keys = frame[["name", "metric"]].drop_duplicates()
    n = sum(catalog[m].role not in ("limit", "state") for m in keys["metric"])
    assert outcome["done"] + sum(outcome["skipped"].values()) == n
    assert outcome["done"] >= n - 1
    assert not outcome["failed"]
    scores = Store(tmp_path / "out").read(SCORES)["score"].to_numpy()
    assert np.isfinite(scores).all()


def test_pods_that_are_all_new_every_day_leave_their_workload_scored() -> None:
    """Identity is the workload's: what churns below it shows as a restart counter that falls."""
    values = {("one", "requests_per_second"): series(1, 100.0)}
    n = len(values["one", "requests_per_second"])
    values["one", "restarts_total"] = np.arange(n) % 96 * 1.0
    values["one", "memory_rss_bytes"] = 2e8 + 1e6 * (np.arange(n) % 96)
    values["one", "memory_limit_bytes"] = np.full(n, 1e9)
    found = ran(values)
    told = found.scores[found.scores["detector"] == "band"].groupby("metric").size()
    assert (told >= 0.99 * 144).all()
    assert {"requests_per_second", "memory_rss_bytes"} <= set(told.index)
