"""Leaks that are made and found again, harmless growth that stays quiet, two real servers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.panel import Panel
from models.memory_slope import LEAK_COLUMNS, MemorySlope, MemorySlopeParams, prefer_anonymous

START = pd.Timestamp("2026-05-04", tz="UTC")
STEP = pd.Timedelta(5, "min")
DAY = 288
WEEKS = 3
N = WEEKS * 7 * DAY
HOURLY = pd.date_range(START + pd.Timedelta(14, "D"), periods=168, freq="1h")
"""The last of the three weeks."""
AGING = Path(__file__).parents[2].parent / "shared" / "data" / "memory_aging.parquet"
GIB = 2.0**30


@dataclass
class Made:
    """A made-up series: resource and what is beside it, each (N,); the step of its out-of-memory
    kill.
    """

    x: np.ndarray
    load: np.ndarray
    restarts: np.ndarray
    deploys: np.ndarray
    limit: float = GIB
    killed: int | None = None
    onset: int = 0


def weekly(rng: np.random.Generator) -> np.ndarray:
    hour = np.arange(N) / 12 % 24
    weekend = (np.arange(N) // DAY) % 7 >= 5
    day = np.exp(-0.5 * ((hour - rng.uniform(10, 15)) / 3.5) ** 2)
    return 100 * (0.2 + day * np.where(weekend, 0.4, 1.0)) * np.exp(rng.normal(0, 0.05, N))


def wander(rng: np.random.Generator, rho: float = 0.9) -> np.ndarray:
    shocks = rng.normal(0, np.sqrt(1 - rho * rho), N)
    out = np.zeros(N)
    for i in range(1, N):
        out[i] = rho * out[i - 1] + shocks[i]
    return out


def clean(rng: np.random.Generator) -> Made:
    load = weekly(rng)
    x = 0.3 + rng.uniform(0, 0.3) * load / 120 + 0.01 * wander(rng)
    return Made(x * GIB, load, np.zeros(N), np.ones(N))


def sawtooth(rng: np.random.Generator, period_h: float) -> np.ndarray:
    return rng.uniform(0.05, 0.2) * ((np.arange(N) / 12 / period_h + rng.random()) % 1)


def leaking(rng: np.random.Generator, take_h: float) -> Made:
    """Grows from its onset in week 3 on and reaches the limit after take_h."""
    made = clean(rng)
    if rng.random() < 0.3:
        made.x += sawtooth(rng, rng.uniform(0.3, 1.5)) * GIB
    onset = 14 * DAY + int(rng.integers(0, DAY))
    since = np.maximum(np.arange(N) - onset, 0) / 12
    if rng.random() < 0.5:
        made.restarts[onset:] = 1
    made.x += since * (made.limit - made.x[onset : onset + 12].mean()) / take_h
    over = np.flatnonzero(made.x >= made.limit)
    made.onset, made.killed = onset, int(over[0]) if len(over) else None
    if made.killed is not None:
        made.x[made.killed :] = 0.3 * GIB
        made.restarts[made.killed :] += 1
    return made


def harmless(kind: str, rng: np.random.Generator) -> Made:
    made = clean(rng)
    at = 14 * DAY + int(rng.integers(0, 5 * DAY))
    since = np.maximum(np.arange(N) - at, 0) / 12
    match kind:
        case "weekly" | "no_load":
            pass
        case "warm_up":
            made.deploys[at:] = 2
            made.x -= 0.2 * GIB * np.exp(-since / rng.uniform(0.5, 6)) * (since > 0)
        case "page_cache":
            made.deploys[at:] = 2
            made.x -= (
                rng.uniform(0.1, 0.25) * GIB * np.exp(-since / rng.uniform(4, 20)) * (since > 0)
            )
        case "new_cache":
            made.deploys[at:] = 2
            made.x += rng.uniform(0.1, 0.3) * GIB * (1 - np.exp(-since / rng.uniform(4, 20)))
        case "sawtooth":
            made.x += sawtooth(rng, rng.uniform(0.3, 8)) * GIB
        case "step":
            made.x += rng.uniform(0.05, 0.3) * GIB * (since > 0)
            made.x += rng.uniform(0.05, 0.1) * GIB * (since > 3)
        case "restarts":
            made.restarts = np.cumsum(rng.random(N) < 1 / DAY).astype(float)
    if kind == "no_load":
        made.load = np.full(N, np.nan)
    return made


def detect(series: list[Made], issued: pd.DatetimeIndex = HOURLY, n: int = N) -> pd.DataFrame:
    found = findings(series, issued, n)
    assert len(found.leaks["workload"].unique()) + len(found.skipped) == len(series)
    return found.leaks


def findings(series: list[Made], issued: pd.DatetimeIndex, n: int = N):
    keys = pd.DataFrame(
        {"workload": [f"w{i:04d}" for i in range(len(series))], "metric": "memory_rss_bytes"}
    )
    panel = Panel(keys, START, STEP, np.array([m.x[:n] for m in series]))
    limit = np.array([np.full(n, m.limit) for m in series])
    load, restarts, deploys = (
        np.array([getattr(m, name)[:n] for m in series]) for name in ("load", "restarts", "deploys")
    )
    return MemorySlope().detect(
        panel, limit=limit, load=load, restarts=restarts, deploys=deploys, issued=issued
    )


def lead_h(leaks: pd.DataFrame, made: Made) -> float:
    """Hours between the first warning after the onset and the kill; nan without one."""
    at = leaks.loc[leaks["score"] >= 1, "issued_at"]
    kill, onset = START + made.killed * STEP, START + made.onset * STEP
    at = at[(at >= onset) & (at < kill)]
    return (kill - at.min()) / pd.Timedelta(1, "h") if len(at) else np.nan


@pytest.fixture(scope="module")
def leaks() -> list[tuple[Made, pd.DataFrame]]:
    rng = np.random.default_rng(7)
    made = [leaking(rng, take_h) for take_h in np.geomspace(13, 130, 34)]
    made = [m for m in made if m.killed is not None and m.killed - m.onset >= 12 * 12]
    found = detect(made)
    by = dict(list(found.groupby(found["workload"].astype(str))))
    return [(m, by[f"w{i:04d}"]) for i, m in enumerate(made)]


def test_nine_of_ten_leaks_are_seen_six_hours_before_the_limit(leaks):
    assert len(leaks) >= 25
    assert np.mean([lead_h(rows, m) >= 6 for m, rows in leaks]) >= 0.9


def test_four_of_five_intervals_hold_the_moment_of_the_kill(leaks):
    shares = []
    for made, rows in leaks:
        kill = START + made.killed * STEP
        seen = rows[
            (rows["score"] >= 1)
            & (rows["issued_at"] >= START + made.onset * STEP)
            & (rows["issued_at"] < kill)
        ]
        left = (kill - seen["issued_at"]).dt.total_seconds()
        inside = (left >= seen["time_to_limit_p10_s"]) & (left <= seen["time_to_limit_p90_s"])
        shares += inside.tolist()
    assert np.mean(shares) >= 0.8


@pytest.mark.parametrize(
    "kind", ["weekly", "no_load", "warm_up", "page_cache", "sawtooth", "step", "restarts"]
)
def test_harmless_growth_is_no_leak(kind):
    rng = np.random.default_rng(11)
    found = detect([harmless(kind, rng) for _ in range(8)], HOURLY[::2])
    assert len(found)
    assert not found.loc[found["score"] >= 1, "workload"].nunique()


@pytest.mark.skipif(not AGING.exists(), reason="memory_aging.parquet is not beside the repository")
def test_two_real_servers_age():
    samples = pd.read_parquet(AGING).rename(columns={"name": "workload"})
    for name, rows in samples.groupby("workload", observed=True):
        wide = Panel.from_frame(
            rows[rows["metric"].isin(["memory_used_bytes", "memory_limit_bytes"])]
        )
        used = wide.of("memory_used_bytes")
        absent = np.full(used.values.shape, np.nan)
        found = MemorySlope().detect(
            used,
            limit=wide.matrix("memory_limit_bytes", [name]),
            load=absent,
            restarts=absent,
            deploys=absent,
            issued=pd.date_range(used.start.ceil("h"), used.end, freq="1h"),
        )
        assert (found.leaks["score"] >= 1).any()


def test_a_row_needs_nothing_that_comes_later():
    rng = np.random.default_rng(3)
    made = [leaking(rng, 30), clean(rng), harmless("restarts", rng), harmless("no_load", rng)]
    n = 16 * DAY + 7
    issued = HOURLY[START + n * STEP >= HOURLY]
    pd.testing.assert_frame_equal(detect(made, issued), detect(made, issued, n))


@given(
    level=st.sampled_from([0.0, -3.0, 1.0, 1e15]),
    shape=st.sampled_from(["flat", "nan", "two", "noise", "late", "gaps"]),
    limit=st.sampled_from([np.nan, 0.0, 1.0, 2e15]),
)
@settings(max_examples=25, deadline=None)
def test_no_series_is_too_odd(level, shape, limit):
    x = np.full(N, level)
    empty = np.full(N, np.nan)
    match shape:
        case "nan":
            x[:] = np.nan
        case "two":
            x[2:] = np.nan
        case "noise":
            x += np.random.default_rng(0).normal(size=N)
        case "late":
            x[: N - 2 * DAY] = np.nan
        case "gaps":
            x[np.random.default_rng(0).random(N) < 0.6] = np.nan
    found = findings([Made(x, empty, empty, empty, limit)], HOURLY[::24])
    bounded = limit > 0
    numbers = found.leaks[[c for c in LEAK_COLUMNS[3:12] if bounded or c != "limit"]]
    assert not numbers.isna().any(axis=None)
    assert bounded or np.isinf(found.leaks["time_to_limit_p10_s"]).all()
    assert not (found.leaks["score"] >= 1).any()
    assert bool(len(found.leaks)) != (len(found.skipped) == 1)
    assert found.skipped["reason"].str.len().gt(0).all()


def test_a_leak_does_not_depend_on_the_unit():
    made = leaking(np.random.default_rng(5), 40)
    small = Made(made.x / GIB, made.load, made.restarts, made.deploys, 1.0)
    one, other = detect([made], HOURLY[::6]), detect([small], HOURLY[::6])
    columns = ["score", "time_to_limit_p50_s"]
    pd.testing.assert_frame_equal(one[columns], other[columns], rtol=1e-6)


def test_the_purest_name_of_memory_that_has_samples_is_judged():
    anon, rss, ws = "memory_anon_bytes", "memory_rss_bytes", "memory_working_set_bytes"
    names = [("a", anon), ("a", rss), ("a", ws), ("b", rss), ("b", ws), ("c", ws), ("c", "disk")]
    values = np.zeros((len(names), 4))
    panel = Panel(pd.DataFrame(names, columns=["workload", "metric"]), START, STEP, values)
    kept = prefer_anonymous(panel).keys.to_numpy().tolist()
    assert kept == [["a", anon], ["b", rss], ["c", ws], ["c", "disk"]]
    values[0] = values[3] = np.nan
    kept = prefer_anonymous(panel).keys.to_numpy().tolist()
    assert kept == [["a", rss], ["b", ws], ["c", ws], ["c", "disk"]]


def alone(made: Made, metric: str, **beside: np.ndarray) -> pd.DataFrame:
    """Rows of one series under another name, with something else beside it."""
    panel = Panel(pd.DataFrame({"workload": ["w"], "metric": [metric]}), START, STEP, made.x[None])
    usual = {"limit": np.full(N, made.limit), "load": made.load,
             "restarts": made.restarts, "deploys": made.deploys}  # fmt: skip
    given = {name: values[None] for name, values in {**usual, **beside}.items()}
    return MemorySlope().detect(panel, issued=HOURLY, **given).leaks


def test_a_working_set_says_that_it_holds_cache():
    made = leaking(np.random.default_rng(5), 40)
    pure, mixed = alone(made, "memory_rss_bytes"), alone(made, "memory_working_set_bytes")
    assert set(pure["note"]) == {""}
    assert mixed["note"].str.contains("page cache").all()
    both = pure.merge(mixed, on="issued_at")
    later = both["time_to_limit_p90_s_y"] - both["time_to_limit_p90_s_x"]
    assert (later[np.isfinite(later)] >= 0).all()


def test_without_a_limit_growth_is_found_and_no_time_is_told():
    made = leaking(np.random.default_rng(5), 130)
    rows = alone(made, "memory_rss_bytes", limit=np.full(N, np.nan))
    assert (rows["score"] >= 1).any()
    assert rows["limit"].isna().all()
    assert np.isinf(rows["time_to_limit_p10_s"]).all()
    assert rows["note"].str.contains("no limit known").all()


def test_the_newest_limit_counts():
    made = leaking(np.random.default_rng(5), 130)
    raised = np.full(N, made.limit)
    raised[made.onset + DAY :] *= 2
    rows = alone(made, "memory_rss_bytes", limit=raised).set_index("issued_at")
    changed = START + (made.onset + DAY) * STEP
    assert (rows.loc[rows.index <= changed, "limit"] == made.limit).all()
    assert (rows.loc[rows.index > changed, "limit"] == 2 * made.limit).all()


def test_negative_amounts_count_as_missing():
    made = leaking(np.random.default_rng(5), 40)
    wrong = np.random.default_rng(0).random(N) < 0.01
    missing, negative = (Made(made.x.copy(), made.load, made.restarts, made.deploys) for _ in "ab")
    missing.x[wrong], negative.x[wrong] = np.nan, -1.0
    pd.testing.assert_frame_equal(detect([missing]), detect([negative]))


def test_more_past_than_the_context_changes_nothing():
    rng = np.random.default_rng(3)
    made = [leaking(rng, 30), clean(rng), harmless("restarts", rng), harmless("no_load", rng)]
    cut = 14 * DAY + 12 - int(MemorySlope().context / STEP)
    keys = pd.DataFrame({"workload": [f"w{i:04d}" for i in range(4)], "metric": "threads"})
    short = Panel(keys, START + cut * STEP, STEP, np.array([m.x[cut:] for m in made]))
    given = {"limit": np.full(short.values.shape, GIB)}
    for name in ("load", "restarts", "deploys"):
        given[name] = np.array([getattr(m, name)[cut:] for m in made])
    rows = MemorySlope().detect(short, issued=HOURLY[1:], **given).leaks
    numbers = list(LEAK_COLUMNS[2:12])
    whole = detect(made, HOURLY[1:])
    pd.testing.assert_frame_equal(rows[numbers], whole[numbers])


def test_a_restart_of_another_pod_hides_no_leak():
    made = leaking(np.random.default_rng(5), 40)
    others = made.restarts + np.arange(N) // 20  # one every 100 minutes, and nothing is given back
    busy = alone(made, "memory_rss_bytes", restarts=others)
    found = busy[busy["issued_at"] < START + made.killed * STEP]
    assert lead_h(found, made) >= 18


@pytest.mark.parametrize(
    "wrong", [{"windows_h": (12.0, 6.0)}, {"horizon_h": 0.0}, {"points": 3}, {"warmup_h": -1.0}]
)
def test_knobs_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MemorySlopeParams(**wrong)
