"""The next hours: what was just measured moves them, what comes later does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from features.metrics import Catalog
from features.panel import Panel
from models.floor_costs import CANDIDATES
from pipelines.ahead import at_level, look_back, look_from
from pipelines.floor_learning import COSTS, paying_levels
from pipelines.forecast import forecast
from pipelines.learning import learn
from pipelines.settings import Settings

START = pd.Timestamp("2026-05-04T00:00Z")
STEP = pd.Timedelta(15, "min")
DAYS = 28
N = DAYS * 96
KEYS = pd.DataFrame(
    {"workload": ["a/b/Deployment/x", "a/b/Deployment/y"], "metric": "hits"}, dtype="str"
)
FEW: dict[str, Any] = {"forecast": {"models": ["seasonal_naive", "seasonal_median"]}}


def load(seed: int = 1) -> np.ndarray:
    """Two workloads whose errors last for hours, (2, N)."""
    rng = np.random.default_rng(seed)
    day = 100 + 80 * np.sin((np.arange(N) / 96 - 0.4) * 2 * np.pi)
    error = np.zeros((2, N))
    for t in range(1, N):
        error[:, t] = 0.97 * error[:, t - 1] + rng.normal(0, 0.02, 2)
    return np.array([[1.0], [5.0]]) * day * np.exp(error)


@pytest.fixture(scope="module")
def learned() -> Any:
    panel = Panel(KEYS, START, STEP, load())
    cut = panel.end - pd.Timedelta(1, "D")
    settings = Settings.model_validate(FEW)
    lesson = learn(panel.window(end=cut), Catalog({}), settings, detectors=False)
    return panel, cut, lesson.groups[0].champions, settings


def path(learned: Any, values: np.ndarray, level: float) -> np.ndarray:
    panel, cut, champions, settings = learned
    seen = panel.with_values(values)
    back = look_back(champions, settings)
    assert back == pd.Timedelta(3, "h")
    ahead = look_from(champions, seen, cut - back, back + pd.Timedelta(6, "h"), settings)
    moment = np.array([back // STEP])
    told = ahead.paths(ahead.since_then(seen), moment, 24, np.full(2, level), settings)
    return told[:, 0]


def test_load_above_its_forecast_stays_above_it_for_a_while(learned: Any) -> None:
    panel, cut, _, _ = learned
    at = (cut - START) // STEP
    busy = panel.values.copy()
    busy[0, at - 8 : at] *= 1.5
    usual, raised = path(learned, panel.values, 0.5), path(learned, busy, 0.5)
    assert (raised[0, :4] > 1.15 * usual[0, :4]).all()
    more = raised[0] - usual[0]
    assert more[0] > more[11]
    np.testing.assert_array_equal(raised[1], usual[1])


def test_nothing_after_the_moment_is_looked_at(learned: Any) -> None:
    panel, cut, _, _ = learned
    other = panel.values.copy()
    other[:, (cut - START) // STEP :] *= 9
    np.testing.assert_array_equal(path(learned, panel.values, 0.9), path(learned, other, 0.9))


def test_a_level_of_none_asks_for_nothing(learned: Any) -> None:
    panel = learned[0]
    assert (path(learned, panel.values, 0.0) == 0).all()
    low, high = (path(learned, panel.values, q) for q in (0.3, 0.95))
    assert (low < high).all()


def test_what_pays_is_known_of_loads_alone_and_can_be_left_out(learned: Any) -> None:
    _, _, champions, settings = learned
    costs = champions.calibration.arrays[COSTS]
    assert costs.shape == (2, len(CANDIDATES), 2)
    asked = np.array([0.95, 0.5])
    paying = paying_levels(champions, asked, settings)
    assert set(paying) <= set(CANDIDATES)
    plain = Settings.model_validate(FEW | {"prescale": {"capacity": {"beside_hpa": False}}})
    np.testing.assert_array_equal(paying_levels(champions, asked, plain), asked)


def test_between_told_quantiles_lies_the_normal_distributions() -> None:
    from scipy.special import ndtri

    told = ndtri(np.array([0.05, 0.5, 0.9, 0.95, 0.99]))[:, None, None] * np.ones((5, 3, 2))
    levels = np.array([0.3, 0.9, 0.999])
    np.testing.assert_allclose(at_level(told, levels), np.repeat(ndtri(levels)[:, None], 2, 1))


def test_the_capacity_of_the_next_hours_follows_what_was_just_measured(tmp_path: Path) -> None:
    """Two clusters of the same past, but for the last two hours of one."""
    values = load()[:1]
    ts = pd.date_range(START, periods=N, freq=STEP).as_unit("ms")
    config = tmp_path / "foretide.yaml"
    config.write_text(yaml.safe_dump({"forecast": {**FEW["forecast"], "horizon_h": 24}}))
    tables = []
    for name, last in (("usual", 1.0), ("busy", 1.6)):
        cpu = values[0].copy()
        cpu[-8:] *= last
        rows = {"cpu_usage_cores": cpu, "cpu_request_cores": 200.0, "replicas": 200.0}
        rows |= {"hpa_min_replicas": 2.0, "hpa_max_replicas": 900.0, "hpa_target_cpu_ratio": 0.7}
        frame = pd.concat(
            pd.DataFrame({"name": "web", "metric": m, "ts": ts, "value": v})
            for m, v in rows.items()
        )
        frame.to_parquet(tmp_path / f"{name}.parquet")
        out = tmp_path / name
        inputs = [str(tmp_path / f"{name}.parquet")]
        forecast.fn(config=str(config), inputs=inputs, out=str(out))
        tables.append(pq.read_table(next((out / "capacity").glob("*.parquet"))).to_pandas())
    usual, busy = (t.sort_values("ts")["ready_replicas"].to_numpy() for t in tables)
    assert (busy[:4] > 1.1 * usual[:4]).all()
    assert abs(busy[60:90].mean() / usual[60:90].mean() - 1) < 0.1
