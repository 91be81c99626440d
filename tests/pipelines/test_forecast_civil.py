"""The clock on the wall, end to end: from a file and a configuration to the forecasts table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray

from pipelines.adapters.store import Store
from pipelines.forecast import forecast
from pipelines.train import train

DAYS = 28


def stamps(as_of: str, step: str, zone: str) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """UTC stamps of the history before a moment, and what the wall said."""
    end = pd.Timestamp(as_of)
    utc = pd.date_range(end - pd.Timedelta(DAYS, "D"), end, freq=step, inclusive="left")
    return utc, utc.tz_convert(zone)


def office(local: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Load that peaks at 09:00 on weekdays and is quiet at weekends."""
    hour = np.asarray(local.hour + local.minute / 60, dtype=np.float64)
    weekday = np.asarray(local.day_of_week) < 5
    return 20 + np.where(weekday, 100 * np.exp(-(((hour - 9) / 2) ** 2)), 0.0)


def rows(name: str, utc: pd.DatetimeIndex, value: Any, cluster: str = "c") -> pd.DataFrame:
    labels = {"cluster": cluster, "namespace": "n", "kind": "Deployment", "name": name}
    noise = np.random.default_rng(0).lognormal(0, 0.005, len(utc))
    return pd.DataFrame({**labels, "metric": "requests", "ts": utc, "value": value * noise})


def told(
    folder: Path, frame: pd.DataFrame, calendars: list[dict[str, Any]], as_of: str, **options: str
) -> pd.DataFrame:
    """The forecasts table of `foretide forecast --input` with these calendars."""
    source, config, out = folder / "samples.parquet", folder / "foretide.yaml", folder / "out"
    frame.to_parquet(source)
    config.write_text(yaml.safe_dump({"calendars": calendars}))
    forecast.fn(config=str(config), inputs=[str(source)], out=str(out), as_of=as_of, **options)
    part = max((out / "forecasts").glob("*.parquet"), key=lambda f: f.stat().st_mtime_ns)
    table = pq.read_table(part).to_pandas()
    values = table[["q05", "q50", "q90", "q95", "q99"]].to_numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()
    return table.astype({"workload": "str"})


def peaks(table: pd.DataFrame, zone: str, after: str) -> set[float]:
    """Hours of the local day at which the median of weekdays after a moment is largest."""
    later = table[table["ts"] >= pd.Timestamp(after)]
    local = later["ts"].dt.tz_convert(zone)
    days = later.groupby(local.dt.date)["q50"]
    full = days.transform("size") >= days.size().max() - 2
    at = later[full & (local.dt.day_of_week < 5)].groupby(local.dt.date)["q50"].idxmax()
    return set((local[at].dt.hour + local[at].dt.minute / 60).tolist())


CHANGES = [
    ("Europe/Berlin", "2026-03-28T00:00Z", "2026-03-29T01:00Z", "1h", 10.0),
    ("Europe/Berlin", "2026-10-24T00:00Z", "2026-10-25T01:00Z", "1h", 8.0),
    ("America/New_York", "2026-03-07T06:00Z", "2026-03-08T07:00Z", "1h", 10.0),
    ("America/New_York", "2026-10-30T06:00Z", "2026-11-01T06:00Z", "30min", 8.0),
    ("Australia/Lord_Howe", "2026-04-03T00:00Z", "2026-04-04T15:00Z", "30min", 8.5),
]


@pytest.mark.parametrize(("zone", "as_of", "change", "step", "in_utc"), CHANGES)
def test_nine_o_clock_stays_nine_when_clocks_change(
    tmp_path: Path, zone: str, as_of: str, change: str, step: str, in_utc: float
) -> None:
    utc, local = stamps(as_of, step, zone)
    load = rows("web", utc, office(local))
    ask = {"step": step, "horizon": "8d"}
    table = told(tmp_path, load, [{"timezone": zone}], as_of, **ask)
    assert peaks(table, zone, change) == {9.0}
    # who knows nothing of the zone is off by the change
    assert peaks(told(tmp_path, load, [], as_of, **ask), zone, change) == {in_utc}


@pytest.mark.parametrize(("zone", "as_of", "change", "step", "in_utc"), CHANGES)
def test_nine_o_clock_stays_nine_when_clocks_have_changed(
    tmp_path: Path, zone: str, as_of: str, change: str, step: str, in_utc: float
) -> None:
    """The change lies in the middle of the history, and the levels on both sides are one."""
    del in_utc
    later = (pd.Timestamp(as_of) + pd.Timedelta("14D")).isoformat()
    utc, local = stamps(later, step, zone)
    assert utc[0] < pd.Timestamp(change) < utc[-1]
    table = told(tmp_path, rows("web", utc, office(local)), [{"timezone": zone}], later, step=step)
    assert peaks(table, zone, later) == {9.0}
    truth = office(pd.DatetimeIndex(table["ts"]).tz_convert(zone))
    assert np.abs(table["q50"] - truth).sum() < 0.05 * truth.sum()


def test_two_calendars_are_followed_in_one_run(tmp_path: Path) -> None:
    zones = {"eu": "Europe/Berlin", "us": "America/New_York"}
    as_of, change = "2026-03-28T00:00Z", "2026-03-29T01:00Z"  # New York's was on the 8th
    frames = [
        rows("web", utc, office(local), cluster)
        for cluster, zone in zones.items()
        for utc, local in [stamps(as_of, "1h", zone)]
    ]
    elsewhere, _ = stamps(as_of, "1h", "UTC")
    frames.append(rows("web", elsewhere, office(elsewhere), "elsewhere"))
    calendars = [{"match": f"{name}/*", "timezone": zone} for name, zone in zones.items()]
    table = told(tmp_path, pd.concat(frames), calendars, as_of, step="1h", horizon="8d")
    for name, zone in {**zones, "elsewhere": "UTC"}.items():
        mine = table[table["workload"].str.startswith(f"{name}/")]
        assert len(mine) == 8 * 24
        assert peaks(mine, zone, change) == {9.0}


# ---- days that are not like other days

BERLIN = "Europe/Berlin"


def by_day(table: pd.DataFrame, zone: str = BERLIN) -> pd.Series:
    """Mean of the median, by local day."""
    return table.groupby(table["ts"].dt.tz_convert(zone).dt.date.astype(str))["q50"].mean()


def days_of(local: pd.DatetimeIndex, *days: str) -> NDArray[np.bool_]:
    return np.isin(local.strftime("%Y-%m-%d"), days)


def test_a_holiday_is_like_the_last_holiday(tmp_path: Path) -> None:
    as_of = "2026-04-04T22:00Z"  # Good Friday was yesterday, Easter Monday is ahead
    utc, local = stamps(as_of, "1h", BERLIN)
    load = rows("web", utc, np.where(days_of(local, "2026-04-03"), 8.0, office(local)))
    german = [{"timezone": BERLIN, "country": "DE"}]
    with_holidays = by_day(told(tmp_path, load, german, as_of))
    assert with_holidays["2026-04-06"] == pytest.approx(8, rel=0.05)
    usual = office(local)[days_of(local, "2026-03-31")].mean()
    for day in ("2026-04-07", "2026-04-10"):  # not the Friday after Good Friday
        assert with_holidays[day] == pytest.approx(usual, rel=0.1)
    without = by_day(told(tmp_path, load, [{"timezone": BERLIN}], as_of))
    assert without["2026-04-06"] > 2 * with_holidays["2026-04-06"]


def test_a_special_day_is_like_the_last_special_day(tmp_path: Path) -> None:
    as_of = "2026-06-18T22:00Z"
    utc, local = stamps(as_of, "1h", BERLIN)
    sale = days_of(local, "2026-06-12")
    load = rows("web", utc, office(local) * np.where(sale, 5.0, 1.0))
    calendar = {"timezone": BERLIN, "special_days": ["2026-06-12", "2026-06-24"]}
    means = by_day(told(tmp_path, load, [calendar], as_of))
    usual = office(local)[days_of(local, "2026-06-17")].mean()
    assert means["2026-06-24"] == pytest.approx(5 * usual, rel=0.05)
    for day in ("2026-06-19", "2026-06-22", "2026-06-23", "2026-06-25"):
        assert means[day] == pytest.approx(usual, rel=0.1)


def test_a_quiet_holiday_is_not_taken_for_a_sale(tmp_path: Path) -> None:
    as_of = "2026-05-23T22:00Z"
    utc, local = stamps(as_of, "1h", BERLIN)
    sale, free = days_of(local, "2026-05-20"), days_of(local, "2026-05-01", "2026-05-14")
    load = rows("web", utc, np.where(free, 8.0, office(local) * np.where(sale, 5.0, 1.0)))
    sales = ["2026-05-20", "2026-05-28"]
    calendar = {"timezone": BERLIN, "country": "DE", "special_days": sales}
    means = by_day(told(tmp_path, load, [calendar], as_of))
    assert means["2026-05-25"] == pytest.approx(8, rel=0.05)  # Whit Monday
    usual = office(local)[days_of(local, "2026-05-19")].mean()
    assert means["2026-05-28"] == pytest.approx(5 * usual, rel=0.05)


def test_the_first_holiday_ever_is_like_a_sunday(tmp_path: Path) -> None:
    as_of = "2026-12-22T23:00Z"
    utc, local = stamps(as_of, "1h", BERLIN)
    german = [{"timezone": BERLIN, "country": "DE"}]
    means = by_day(told(tmp_path, rows("web", utc, office(local)), german, as_of))
    sunday, friday = (
        office(local)[days_of(local, day)].mean() for day in ("2026-12-20", "2026-12-18")
    )
    assert means["2026-12-25"] == pytest.approx(sunday, rel=0.1)
    assert sunday < 0.7 * friday


def test_maintenance_is_not_learned(tmp_path: Path) -> None:
    as_of = "2026-06-12T22:00Z"
    utc, local = stamps(as_of, "1h", BERLIN)
    usual = rows("web", utc, office(local))
    windows = ["2026-06-03T06:00/2026-06-03T14:00", "2026-06-10T06:00/2026-06-10T14:00"]
    is_down = np.zeros(len(utc), dtype=bool)
    for window in windows:
        start, end = (pd.Timestamp(part, tz=BERLIN) for part in window.split("/"))
        is_down |= np.asarray((utc >= start) & (utc < end))
    assert is_down.sum() == 16
    down = usual.assign(value=usual["value"].mask(is_down, 0.0))
    plain = {"timezone": BERLIN}
    aware = {**plain, "maintenance": windows}
    # what was measured in a window is as if nothing had been measured
    gap = told(tmp_path, usual.assign(value=usual["value"].mask(is_down)), [plain], as_of)
    left_out = told(tmp_path, down, [aware], as_of)
    columns = ["workload", "ts", "q05", "q50", "q90", "q95", "q99", "model"]
    pd.testing.assert_frame_equal(left_out[columns], gap[columns])
    truth = office(pd.DatetimeIndex(left_out["ts"]).tz_convert(BERLIN))
    assert np.abs(left_out["q50"] - truth).sum() < 0.05 * truth.sum()
    learned = told(tmp_path, down, [plain], as_of)
    wednesday = left_out["ts"].between("2026-06-17T04:00Z", "2026-06-17T11:59Z")
    assert learned["q50"][wednesday].sum() < 0.9 * left_out["q50"][wednesday].sum()


# mlflow, sqlalchemy and alembic warn about themselves while a new SQLite file is migrated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_maintenance_after_the_training_is_not_learned_from_a_store(tmp_path: Path) -> None:
    """Forecasts are issued by members that are fitted on what came since the training."""
    trained, as_of, window = "2026-06-05T22:00Z", "2026-06-12T22:00Z", ("06:00", "14:00")
    utc, local = stamps(as_of, "1h", BERLIN)
    is_down = days_of(local, "2026-06-10") & np.isin(local.hour, range(6, 14))
    frame = rows("web", utc, np.where(is_down, 1e9, office(local)))
    out, config = tmp_path / "out", tmp_path / "foretide.yaml"
    Store(str(out)).write_samples(frame)
    windows = [f"2026-06-10T{window[0]}/2026-06-10T{window[1]}"]
    for moment, maintenance in ((trained, []), (as_of, windows)):
        calendar = {"timezone": BERLIN, "maintenance": maintenance}
        config.write_text(yaml.safe_dump({"calendars": [calendar]}))
        verb = forecast if maintenance else train
        verb.fn(config=str(config), out=str(out), as_of=moment)
    [part] = (out / "forecasts").glob("*.parquet")
    table = pq.read_table(part).to_pandas()
    truth = office(pd.DatetimeIndex(table["ts"]).tz_convert(BERLIN))
    assert np.abs(table["q50"] - truth).sum() < 0.05 * truth.sum()
    assert table["q99"].max() < 10 * truth.max()
