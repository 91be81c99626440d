"""The verdict of the shadow, week by week: floors in a store, what came, and what evaluate says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.frames import ADVICE, CAPACITY, REPLAYS
from features.panel import Panel
from pipelines.adapters.store import Store
from pipelines.errors import HistoryError
from pipelines.evaluate import evaluate
from pipelines.floors_held import floors_on_parts
from pipelines.run import part_name

T0 = pd.Timestamp("2026-06-01T00:00Z").as_unit("ms")
WEEK, MIN = pd.Timedelta(7, "D"), pd.Timedelta(1, "min")
NAME = "prod/shop/Deployment/cart"
CPU = "cpu_usage_cores"
BUSY, IDLE = 40.0, 2.0


def is_busy(ts: pd.DatetimeIndex, early_min: int = 0) -> np.ndarray:
    return ((ts + early_min * MIN).hour >= 9) & (ts.hour < 17)


def write_samples(store: Store, weeks: int) -> None:
    """A jump every morning; pods of one core, of which the HPA wants 70 % used."""
    ts = pd.date_range(T0, T0 + weeks * WEEK, freq="5min", inclusive="left").as_unit("ms")
    values = {CPU: np.where(is_busy(ts), BUSY, IDLE), "cpu_request_cores": 4.0, "replicas": 4.0,
              "hpa_min_replicas": 2.0, "hpa_max_replicas": 100.0, "hpa_target_cpu_ratio": 0.7,
              "memory_request_bytes": 2.0**30}  # fmt: skip
    parts = dict(zip(("cluster", "namespace", "kind", "name"), NAME.split("/"), strict=True))
    for metric, value in values.items():
        store.write_samples(pd.DataFrame({"metric": metric, "ts": ts, "value": value, **parts}))


def write_floors(store: Store, at: pd.Timestamp, valid_h: float = 168, peak: int = 58) -> None:
    """A quarter of an hour before the jump, in quarters of an hour."""
    ts = pd.date_range(at, at + WEEK, freq="15min", inclusive="left").as_unit("ms")
    table = pd.DataFrame({"ts": ts, "replicas": np.where(is_busy(ts, 15), peak, 3)}).assign(
        workload=NAME, issued_at=at, ready_replicas=3, reactive_replicas=3, cpu_cores=1.0,
        memory_bytes=1.0, lead_time_s=180.0, lead_time_source="default", quantile=0.95, gate="act",
        gate_reason="carries it", run_id="r", valid_until=at + pd.Timedelta(valid_h, "h"),
    )  # fmt: skip
    store.write(CAPACITY, table, part_name(at))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    write_samples(store, 5)
    return store


def judged(store: Store, week: int, config: str | None = None) -> dict[str, Any]:
    """Evaluate at the end of a week, the first is 1."""
    as_of = (T0 + week * WEEK).isoformat()
    return evaluate.fn(config=config, out=str(store.root), as_of=as_of)


def table(store: Store, contract: Any, week: int) -> pd.DataFrame:
    return store.read(contract, part=part_name(T0 + week * WEEK)).to_pandas()


def test_good_floors_are_advised_once_three_weeks_were_judged(store: Store) -> None:
    for week in range(2, 5):
        write_floors(store, T0 + (week - 1) * WEEK)
        told = judged(store, week)
        row = table(store, ADVICE, week).iloc[0]
        assert (row["workload"], row["weeks"]) == (NAME, week - 1)
        enough = week == 4
        assert row["verdict"] == ("enable" if enough else "not enough data")
        assert told["figures"]["advice_enable"] == float(enough)
        assert told["figures"]["advice_not_enough_data"] == float(not enough)
    assert row["short_pod_min_foretide"] == 0
    assert row["short_pod_min_reactive"] > 60
    assert row["started_at"] == T0 + WEEK
    assert "  pre-scaling: enable: 1" in told["notes"]
    assert any(n.startswith(f"  enable: {NAME}: ") for n in told["notes"])
    judged(store, 4)
    pd.testing.assert_series_equal(table(store, ADVICE, 4).iloc[0], row)


def test_floors_that_help_nobody_are_not_advised(store: Store) -> None:
    for week in range(2, 5):
        write_floors(store, T0 + (week - 1) * WEEK, peak=3)
        told = judged(store, week)
    assert told["figures"]["advice_do_not_enable"] == 1
    assert table(store, ADVICE, 4)["verdict"].tolist() == ["do not enable"]


def test_a_floor_that_expired_does_not_stand(store: Store) -> None:
    """Who forecasts once a week and lets it expire has floors for a day, and no verdict."""
    for week in range(2, 5):
        write_floors(store, T0 + (week - 1) * WEEK, valid_h=26)
        judged(store, week)
    sides = table(store, REPLAYS, 4).set_index("policy")
    assert (sides["measured_h"] == 26).all()
    short = sides["short_pod_min"]
    assert 0 < short["foretide"] == pytest.approx(short["reactive"] * 6 / 7, rel=0.02)
    assert table(store, ADVICE, 4)["weeks"].tolist() == [0]


def test_a_forecast_that_died_is_said(store: Store) -> None:
    write_floors(store, T0 + WEEK * 1.5, valid_h=26)
    with pytest.raises(HistoryError, match=r"every floor .* had expired"):
        judged(store, 3)


def test_money_is_told_where_a_price_is(store: Store, tmp_path: Path) -> None:
    config = tmp_path / "foretide.yaml"
    config.write_text("prescale: {advice: {usd_per_core_hour: 0.05, weeks_min: 1}}\n")
    write_floors(store, T0 + WEEK)
    judged(store, 2, str(config))
    row = table(store, ADVICE, 2).iloc[0]
    assert row["extra_cost_usd_per_week"] == pytest.approx(0.05 * row["extra_replica_hours"])


@given(
    step_min=st.sampled_from([1, 5, 7, 15, 20, 60]),
    floor_min=st.sampled_from([1, 5, 15, 45, 60]),
    late=st.integers(0, 3),
)
def test_in_every_part_of_a_step_the_floor_of_that_moment_stands(
    step_min: int, floor_min: int, late: int
) -> None:
    keys = pd.DataFrame({"workload": [NAME], "metric": ["floor"]})
    floors = Panel(keys, T0, floor_min * MIN, np.arange(50.0)[None])
    load = Panel(keys, T0 + late * step_min * MIN, step_min * MIN, np.zeros((1, 20)))
    asked = floors_on_parts(floors, load, 12)[0]
    assert len(asked) % 12 == 0
    part = 12 * load.step / len(asked)
    assert floors.step % part == pd.Timedelta(0)
    begin = load.end - 12 * load.step
    for i, value in enumerate(asked):
        place = (begin + i * part - T0) // floors.step
        assert value == place if place < 50 else np.isnan(value)
