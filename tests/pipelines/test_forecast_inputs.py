"""Whatever a file holds: a forecast or a skip with a reason, from nothing but its past."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from features.civil import Calendar
from features.metrics import Catalog
from features.panel import Floats, Panel
from features.synthetic import ClusterSpec, simulate
from pipelines.adapters.store import Store
from pipelines.errors import HistoryError, InputError
from pipelines.forecast import forecast
from pipelines.learning import Lesson, learn, told_by
from pipelines.moments import parse_duration
from pipelines.settings import Settings
from pipelines.train import train

START = pd.Timestamp("2026-03-09T00:00Z")  # clocks change on the 8th, the 29th, and on 5 April
QUANTILES = (0.05, 0.5, 0.9, 0.95, 0.99)
COLUMNS = ["q05", "q50", "q90", "q95", "q99"]
PLAIN = Settings()
GRIDS = {
    1: (0.05, 2),
    7: (9,),
    11: (4,),
    20: (10,),
    60: (0.05, 1, 5, 25, 45),
    90: (15,),
    300: (25,),
    1440: (1, 12, 70),
}
"""Minutes of a step, and days of history to try on it."""
ZONES = {
    "UTC": None,
    "Europe/Berlin": "DE",
    "America/New_York": "US",
    "Australia/Lord_Howe": "AU",
    "Asia/Kathmandu": None,
}


# ---- shapes of trouble


def wave(n: int, per_day: float, rng: np.random.Generator) -> Floats:
    shape = 100 + 50 * np.sin(2 * np.pi * np.arange(n) / per_day)
    return shape * rng.lognormal(0, 0.2, n)


def shapes(n: int, per_day: float, seed: int) -> dict[str, Floats]:
    """One series of each kind, (n,); NaN is a step without a sample."""
    rng = np.random.default_rng(seed)
    at, usual = np.arange(n), wave(n, per_day, rng)
    last_day, last_hour = at >= n - per_day, at >= n - max(per_day / 24, 1)
    week = slice(n // 3, n // 3 + max(min(round(7 * per_day), n // 2), 1))
    return {
        "usual": usual,
        "constant": np.full(n, 7.0),
        "zero": np.zeros(n),
        "unmeasured": np.full(n, np.nan),
        "one": np.where(at == n - 1, 3.0, np.nan),
        "two": np.where(at >= n - 2, at + 1.0, np.nan),
        "hour": np.where(last_hour, usual, np.nan),
        "negative": -usual,
        "counts": np.round(usual - 100),
        "large": usual * 1e13,
        "large and small": np.where(at % 2, 1e15, 1e-15),
        "far from zero": 1e15 + usual,
        "small": usual * 1e-302,
        "smallest": np.full(n, 5e-324),
        "largest": np.where(at % 3, -1e308, 1e308),
        "jump": np.where(at == n - 1, 1e5, usual),
        "collapse": np.where(at == n - 1, -1e15, usual),
        "outlier": np.where(at == n // 2, 1e90, usual),
        "gap": np.where((at >= week.start) & (at < week.stop), np.nan, usual),
        "thin": np.where(rng.random(n) < 0.45, np.nan, usual),
        "begun": np.where(last_day, usual, 0.0),
        "ended": np.where(last_day, 0.0, usual),
        "grown": np.where(at < n // 2, usual, usual * 1000),
        "woken": np.where(at < n // 2, 1e-300, usual),
        "all but constant": 7 + 1e-13 * usual,
        "rare": np.where(rng.random(n) < 0.01, 5.0, 0.0),
    }


KINDS = tuple(shapes(4, 24, 0))


def long(rows: dict[str, Floats], start: pd.Timestamp, step: pd.Timedelta) -> pd.DataFrame:
    n = len(next(iter(rows.values())))
    ts = pd.date_range(start, periods=n, freq=step)
    frames = [
        pd.DataFrame({"workload": f"c/n/D/{name}", "metric": "m", "ts": ts, "value": row})
        for name, row in rows.items()
    ]
    return pd.concat(frames, ignore_index=True)


def mangled(frame: pd.DataFrame, step: pd.Timedelta, rng: np.random.Generator) -> pd.DataFrame:
    """Unsorted, off the grid, with samples that are no numbers; newer duplicates come last."""
    infinite = frame.sample(frac=0.1, random_state=1).assign(value=np.inf)
    older = frame.sample(frac=0.2, random_state=2).assign(value=-1e15)
    newer = frame.sample(frac=1, random_state=3)
    off = pd.to_timedelta(rng.random(len(frame)) * 0.9 * step / pd.Timedelta(1, "ms"), "ms")
    infinite["ts"] += pd.Timedelta(1, "ms")
    dirty = pd.concat([older, infinite, newer])
    dirty["ts"] = (dirty["ts"] + off[dirty.index]).dt.as_unit("ms")
    return dirty.reset_index(drop=True)


# ---- laws


def judged(lesson: Lesson, panel: Panel, told: Floats) -> None:
    """Every series is told or skipped, and what is told can be used."""
    skipped = lesson.skipped.set_index("workload")["reason"]
    assert (skipped.str.len() > 0).all()
    done = [w for group in lesson.groups for w in group.champions.keys["workload"]]
    assert sorted([*done, *skipped.index]) == sorted(panel.keys["workload"])
    is_told = panel.keys["workload"].isin(done).to_numpy()
    assert np.isnan(told[:, ~is_told]).all()
    values, history = told[:, is_told], panel.values[is_told]
    assert np.isfinite(values).all(), panel.keys[is_told]
    assert (values[1:] >= values[:-1]).all()
    assert (values[:, np.nanmin(history, axis=1) >= 0] >= 0).all()


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_any_samples_give_a_forecast_or_a_reason(data: st.DataObject) -> None:
    minutes, days = data.draw(
        st.sampled_from([(m, days) for m, lengths in GRIDS.items() for days in lengths])
    )
    step, n = pd.Timedelta(minutes, "min"), max(round(days * 1440 / minutes), 1)
    start = START + pd.Timedelta(data.draw(st.integers(0, 30 * 24)), "h")
    zone = data.draw(st.sampled_from(tuple(ZONES)))
    seed = data.draw(st.integers(0, 99))
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8, unique=True))
    every = shapes(n, 1440 / minutes, seed)
    frame = long({kind: every[kind] for kind in kinds}, start, step)
    if data.draw(st.booleans(), label="mangled"):
        frame = mangled(frame, step, np.random.default_rng(seed))
    if not np.isfinite(frame["value"]).any():
        return  # the door refuses it: see below
    end = start.floor(step) + (n + 1) * step
    panel = Panel.from_frame(frame, step=step, end=end).window(end=end)
    local = PLAIN.model_copy(update={"calendars": (Calendar(timezone=zone, country=ZONES[zone]),)})
    lesson = learn(panel, Catalog({}), local, detectors=False)
    ahead = min(round(9 * 1440 / minutes), 4000)
    told = told_by(lesson.groups, panel.keys, panel.end, ahead, QUANTILES, local)
    judged(lesson, panel, told)


@pytest.mark.parametrize(
    ("minutes", "days"), [(m, days) for m, lengths in GRIDS.items() for days in lengths]
)
def test_all_troubles_at_once_on_every_grid(minutes: int, days: float) -> None:
    step, n = pd.Timedelta(minutes, "min"), max(round(days * 1440 / minutes), 1)
    end = START.floor(step) + (n + 1) * step
    frame = long(shapes(n, 1440 / minutes, 0), START.floor(step), step)
    panel = Panel.from_frame(frame, step=step, end=end)
    lesson = learn(panel, Catalog({}), PLAIN, detectors=False)
    judged(lesson, panel, told_by(lesson.groups, panel.keys, end, 300, QUANTILES, PLAIN))


COMPANY = ("constant", "gap", "large", "negative", "outlier", "usual", "zero")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in COMPANY])
def test_each_trouble_changes_nothing_for_its_company(kind: str) -> None:
    every, hour = shapes(21 * 24, 24, 5), pd.Timedelta("1h")
    end = START + 21 * 24 * hour

    def told(*kinds: str) -> Floats:
        frame = long({name: every[name] for name in kinds}, START, hour)
        panel = Panel.from_frame(frame, step=hour, start=START, end=end)
        lesson = learn(panel, Catalog({}), PLAIN, detectors=False)
        told = told_by(lesson.groups, panel.keys, end, 200, QUANTILES, PLAIN)
        judged(lesson, panel, told)
        return told[:, panel.keys["workload"].isin([f"c/n/D/{k}" for k in COMPANY])]

    np.testing.assert_allclose(told(kind, *COMPANY), told(*COMPANY), rtol=1e-9)  # sums are BLAS's


def test_values_beyond_all_measure_are_refused_by_name() -> None:
    rows = shapes(500, 24, 1)
    panel = Panel.from_frame(long(rows, START, pd.Timedelta("1h")), step=pd.Timedelta("1h"))
    skipped = learn(panel, Catalog({}), PLAIN, detectors=False).skipped
    reason = skipped.set_index("workload")["reason"]
    assert reason["c/n/D/largest"] == "a value is beyond 1e+100"


# ---- horizons


@pytest.mark.parametrize("kind", ["usual", "constant", "counts", "large", "gap", "rare"])
def test_beyond_a_week_bands_stay_and_do_not_narrow(kind: str) -> None:
    hour = pd.Timedelta("1h")
    frame = long({kind: shapes(28 * 24, 24, 3)[kind]}, START, hour)
    panel = Panel.from_frame(frame, step=hour)
    lesson = learn(panel, Catalog({}), PLAIN, detectors=False)
    told = told_by(lesson.groups, panel.keys, panel.end, 28 * 24, QUANTILES, PLAIN)[:, 0]
    assert np.isfinite(told).all()
    width = (told[4] - told[1]).reshape(4, 168).mean(axis=1)
    assert (width[1:] >= 0.98 * width[0]).all()


# ---- the public way


def rows_of(values: Floats, step: str, name: str = "web", start: pd.Timestamp = START) -> Any:
    ts = pd.date_range(start, periods=len(values), freq=step)
    return pd.DataFrame({"name": name, "metric": "requests", "ts": ts, "value": values})


def run(folder: Path, frame: pd.DataFrame, **options: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `foretide forecast --input` does and writes."""
    source, out = folder / "samples.parquet", folder / "out"
    frame.to_parquet(source)
    outcome = forecast.fn(inputs=[str(source)], out=str(out), **options)
    parts = sorted((out / "forecasts").glob("*.parquet"))
    table = pd.concat([pq.read_table(p).to_pandas() for p in parts])
    values = table[COLUMNS].to_numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values >= 0).all()
    assert outcome["done"] + sum(outcome["skipped"].values()) == frame["name"].nunique()
    assert outcome["done"] == table["workload"].nunique()
    return outcome, table


DAY = wave(28 * 24, 24, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("step", "horizon", "rows"),
    [
        ("1h", "168h", 168),
        ("1h", "28d", 672),
        ("1d", "90d", 90),
        ("5h", "50h", 10),
        ("90min", "6h", 4),
    ],
)
def test_a_file_on_any_coarser_grid(tmp_path: Path, step: str, horizon: str, rows: int) -> None:
    outcome, table = run(tmp_path, rows_of(DAY, "h"), step=step, horizon=horizon)
    assert outcome["skipped"] == {}
    assert len(table) in {rows, rows + 1}  # the running step is still to come
    length = parse_duration(step, "--step")
    assert (table["ts"].diff().dropna() == length).all()
    asked_end = START + pd.Timedelta(len(DAY), "h") + parse_duration(horizon, "--horizon")
    assert table["ts"].max() + length >= asked_end


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (DAY[:1], "h"),
        (DAY[:2], "h"),
        (wave(60, 1440, np.random.default_rng(2)), "min"),
        (wave(1500, 1440 / 7, np.random.default_rng(2)), "7min"),
        (wave(1500, 1440 / 11, np.random.default_rng(2)), "11min"),
    ],
)
def test_a_file_of_any_length_and_resolution(tmp_path: Path, values: Floats, step: str) -> None:
    asked = {"step": step} if step.endswith("min") and step[0].isdigit() else {}
    outcome, _ = run(tmp_path, rows_of(values, step), horizon="24h", **asked)
    assert outcome["skipped"] == {}


def test_a_grid_finer_than_the_samples_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"covers 11 % of its steps"):
        run(tmp_path, rows_of(DAY, "h"), step="7min")


def test_who_has_nothing_is_counted_beside_who_is_forecast(tmp_path: Path) -> None:
    nothing = rows_of(np.full(672, np.nan), "h", "nothing")
    huge = rows_of(np.full(672, 1e308), "h", "huge")
    silent = rows_of(DAY[:100], "h", "silent")
    outcome, _ = run(tmp_path, pd.concat([rows_of(DAY, "h"), nothing, huge, silent]))
    assert outcome["done"] == 1
    assert len(outcome["skipped"]) == 3


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_file_without_a_number_is_refused(tmp_path: Path, nothing: float) -> None:
    with pytest.raises(InputError, match="finite"):
        run(tmp_path, rows_of(np.full(48, nothing), "h"))


# ---- no leakage


def written(out: Path) -> dict[str, bytes]:
    """The forecasts and capacity of a run, file by file."""
    files = [f for part in ("forecasts", "capacity", "skips") for f in (out / part).glob("*")]
    return {f"{f.parent.name}/{f.name}": f.read_bytes() for f in sorted(files)}


def learned(out: Path) -> Counter[tuple[str, bytes]]:
    """How often an array was registered under a name, by name and content."""
    arrays = (out / "mlartifacts").rglob("*.npy")
    return Counter(("/".join(f.parts[-4:]), f.read_bytes()) for f in arrays)


@pytest.mark.parametrize("as_of", ["2026-03-30T00:00Z", "2026-03-29T13:20Z"])
def test_no_file_of_the_future_changes_a_byte(tmp_path: Path, as_of: str) -> None:
    now, source = pd.Timestamp(as_of), tmp_path / "samples.parquet"
    load = pd.concat([rows_of(DAY, "h"), rows_of(DAY[::-1], "h", "api")])
    is_past, ahead = load["ts"] < now, pd.Timedelta("1h") + now.ceil("h") - START
    minutes = rows_of(DAY, "min", start=now)
    futures = {
        "as it came": load,
        "a hundredfold": load.assign(value=load["value"].where(is_past, load["value"] * 100)),
        "no numbers": load.assign(value=load["value"].where(is_past, np.inf)),
        "none": load[is_past],
        "finer": pd.concat([load[is_past], minutes, minutes.assign(name="newcomer")]),
        "shifted": pd.concat([load[is_past], load.assign(ts=load["ts"] + ahead)]),
    }
    told: list[dict[str, bytes]] = []
    for name, frame in futures.items():
        frame.to_parquet(source)
        out = tmp_path / name
        forecast.fn(inputs=[str(source)], out=str(out), as_of=as_of, horizon="72h", step="1h")
        told.append(written(out))
    assert any(name.startswith("forecasts/") for name in told[0])
    assert all(other == told[0] for other in told[1:])


# mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_future_of_a_store_changes_a_byte(tmp_path: Path) -> None:
    config, out, as_of = tmp_path / "foretide.yaml", tmp_path / "out", "2026-05-25T00:00Z"
    config.write_text(yaml.safe_dump({"history": {"step_s": 3600}}))
    common = {"config": str(config), "out": str(out), "as_of": as_of}
    samples = simulate(ClusterSpec(n_workloads=2, weeks=4, step_s=3600)).samples.to_pandas()
    is_past = samples["ts"] < pd.Timestamp(as_of)
    assert 0 < is_past.sum() < len(samples)

    Store(str(out)).write_samples(samples)
    train.fn(**common)
    forecast.fn(**common)
    told = written(out)
    assert any(name.startswith("capacity/") for name in told)
    planted = samples.assign(value=samples["value"].where(is_past, samples["value"] * 100))
    Store(str(out)).write_samples(planted[~is_past])
    assert Store(str(out)).read_samples()["value"].to_numpy().max() > samples["value"].max()
    forecast.fn(**common)
    assert written(out) == told
    train.fn(**common)
    assert set(learned(out).values()) == {2}  # nothing but what was learned before, once more
