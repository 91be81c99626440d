import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.metrics import Catalog, Metric
from features.panel import Panel
from features.signals import LOOK_BACK_STEPS, build_signals

MONDAY = pd.Timestamp("2026-05-04", tz="UTC")
STEP = pd.Timedelta("5min")
CATALOG = Catalog(
    {
        m.name: m
        for m in (
            Metric("requests_per_second", role="demand"),
            Metric("cpu_usage_cores", role="demand"),
            Metric("cpu_request_cores", role="state"),
            Metric("memory_rss_bytes", role="resource", limit="memory_limit_bytes"),
            Metric("memory_limit_bytes", role="limit"),
            Metric("restarts_total", role="state"),
            Metric("replicas", role="state"),
        )
    }
)


def panel_of(series: dict[tuple[str, str], np.ndarray]) -> Panel:
    ordered = sorted(series)
    keys = pd.DataFrame(ordered, columns=["workload", "metric"], dtype="str")
    return Panel(keys, MONDAY, STEP, np.array([series[k] for k in ordered], dtype=float))


def column(panel: Panel, name: str, workload: int = 0) -> np.ndarray:
    signals = build_signals(panel, panel.values.copy(), CATALOG)
    return signals.values[workload, :, signals.names.index(name)]


def cluster(n_steps: int = 50, seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    series = {("a", m): rng.gamma(4, size=n_steps) for m in CATALOG.metrics}
    series[("a", "restarts_total")] = np.cumsum(rng.poisson(0.2, n_steps)).astype(float)
    series[("b", "cpu_usage_cores")] = rng.gamma(4, size=n_steps)
    series[("b", "m01")] = rng.normal(size=n_steps)
    return panel_of(series)


def test_a_workload_has_its_own_signals_and_nothing_of_the_others() -> None:
    panel = cluster()
    signals = build_signals(panel, 0.9 * panel.values, CATALOG)
    assert signals.workloads == ["a", "b"]
    assert signals.names == [
        "cpu_per_request",
        "cpu_usage_cores:residual",
        "cpu_usage_cores:saturation",
        "m01:residual",
        "memory_rss_bytes:residual",
        "memory_rss_bytes:saturation",
        "requests_per_replica",
        "requests_per_second:residual",
        "restarts_total:increase",
    ]
    known = ~np.isnan(signals.values).all(axis=1)
    assert list(known[0]) == [name != "m01:residual" for name in signals.names]
    assert list(known[1]) == [
        name in ("m01:residual", "cpu_usage_cores:residual") for name in signals.names
    ]


def test_a_residual_is_zero_when_the_forecast_was_right_and_has_its_sign_else() -> None:
    panel = panel_of({("a", "m01"): np.array([4.0, 9.0, -4.0, 0.0, np.nan])})
    signals = build_signals(panel, np.array([[4.0, 4.0, 4.0, 1.0, 1.0]]), CATALOG)
    np.testing.assert_array_equal(signals.values[0, :, 0], [0.0, 1.0, -4.0, -1.0, np.nan])


def test_a_metric_without_a_forecast_has_no_residual() -> None:
    panel = panel_of({("a", "m01"): np.arange(5.0), ("a", "m02"): np.arange(5.0)})
    expected = np.array([np.full(5, np.nan), np.zeros(5)])
    assert build_signals(panel, expected, CATALOG).names == ["m02:residual"]


def test_ratios_are_nan_where_there_is_nothing_to_divide_by() -> None:
    panel = panel_of(
        {
            ("a", "cpu_usage_cores"): np.array([1.0, 1.0, 1.0, 1e308]),
            ("a", "requests_per_second"): np.array([4.0, 0.0, np.nan, 1e-300]),
        }
    )
    np.testing.assert_array_equal(column(panel, "cpu_per_request"), [0.25, np.nan, np.nan, np.nan])


def test_a_counter_grows_over_gaps_and_never_shrinks() -> None:
    counts = np.array([np.nan, 5.0, 6.0, np.nan, 9.0, 2.0, 3.0])
    panel = panel_of({("a", "restarts_total"): counts})
    np.testing.assert_array_equal(
        column(panel, "restarts_total:increase"), [np.nan, np.nan, 1.0, np.nan, 3.0, 0.0, 1.0]
    )


@settings(deadline=None, max_examples=25)
@given(at=st.integers(1, 49), seed=st.integers(0, 99))
def test_a_row_does_not_know_what_follows(at: int, seed: int) -> None:
    panel = cluster(seed=seed)
    other = panel.values.copy()
    other[:, at:] = np.random.default_rng(seed + 1).gamma(2, size=other[:, at:].shape)
    one = build_signals(panel, panel.values * 0.9, CATALOG)
    two = build_signals(panel.with_values(other), other * 0.9, CATALOG)
    assert one.names == two.names
    np.testing.assert_array_equal(one.values[:, :at], two.values[:, :at])


@settings(deadline=None, max_examples=25)
@given(start=st.integers(1, 70), seed=st.integers(0, 99))
def test_the_signals_of_a_window_are_the_window_of_the_signals(start: int, seed: int) -> None:
    panel = cluster(100, seed)
    gaps = np.random.default_rng(seed).random(panel.values.shape) < 0.5
    gaps[:, 40:58] |= seed % 2 == 0
    panel = panel.with_values(np.where(gaps, np.nan, panel.values))
    expected = 0.9 * panel.values
    whole = build_signals(panel, expected, CATALOG)
    part = build_signals(panel.window(panel.times[start]), expected[:, start:], CATALOG)
    column = [whole.names.index(name) for name in part.names]
    np.testing.assert_array_equal(
        part.values[:, LOOK_BACK_STEPS:], whole.values[:, start + LOOK_BACK_STEPS :, column]
    )


def test_what_a_counter_grew_over_a_long_hole_is_not_the_next_step_s() -> None:
    counts = np.full(LOOK_BACK_STEPS + 4, np.nan)
    counts[[1, LOOK_BACK_STEPS + 1]] = 1.0, 4.0
    near = column(panel_of({("a", "restarts_total"): counts}), "restarts_total:increase")
    assert near[LOOK_BACK_STEPS + 1] == 3.0
    counts[[LOOK_BACK_STEPS + 1, LOOK_BACK_STEPS + 2, LOOK_BACK_STEPS + 3]] = np.nan, 4.0, 5.0
    far = column(panel_of({("a", "restarts_total"): counts}), "restarts_total:increase")
    assert np.isnan(far[LOOK_BACK_STEPS + 2])
    assert far[LOOK_BACK_STEPS + 3] == 1.0


@pytest.mark.parametrize("fill", [0.0, 7.0, 1e15, -1e15, np.nan])
def test_degenerate_values_give_finite_signals_or_nan(fill: float) -> None:
    panel = cluster()
    panel = panel.with_values(np.full(panel.values.shape, fill))
    signals = build_signals(panel, panel.values, CATALOG)
    assert not np.isinf(signals.values).any()
    assert signals.values.shape == (2, 50, len(signals.names))
