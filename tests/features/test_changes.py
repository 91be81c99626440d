"""A moved revision is a deploy, a grown counter a restart, a moved setting a change."""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.changes import EVENT_COLUMNS, change_events
from features.panel import Panel

START = pd.Timestamp("2026-06-01", tz="UTC").as_unit("ms")
STEP = pd.Timedelta(300, "s")


def panel(**series: list[float]) -> Panel:
    keys = pd.DataFrame({"workload": "c/n/D/w", "metric": sorted(series)}, dtype="str")
    values = np.array([series[m] for m in sorted(series)], dtype=float)
    return Panel(keys, START, STEP, values)


def test_each_change_is_one_event_at_the_step_that_shows_it() -> None:
    found = change_events(
        panel(
            deploy_timestamp_seconds=[100, 100, 200, np.nan, 200, 300],
            restarts_total=[0, 1, 1, 1, 0, 2],
        )
    )
    assert list(zip(found["ts"], found["event"], strict=True)) == [
        (START + STEP, "restart"),
        (START + 2 * STEP, "deploy"),
        (START + 5 * STEP, "deploy"),
        (START + 5 * STEP, "restart"),
    ]


def test_a_rollback_is_a_deploy_and_a_counter_reset_is_no_restart() -> None:
    found = change_events(panel(deploy_timestamp_seconds=[200, 100], restarts_total=[5, 0]))
    assert found["event"].tolist() == ["deploy"]


def test_a_gap_hides_no_deploy_and_makes_none() -> None:
    found = change_events(panel(deploy_timestamp_seconds=[np.nan, 100, np.nan, np.nan, 200]))
    assert found["ts"].tolist() == [START + 4 * STEP]


def test_without_such_metrics_there_are_no_events() -> None:
    found = change_events(panel(requests_per_second=[1.0, 2.0]))
    assert found.empty
    assert list(found.columns) == list(EVENT_COLUMNS)


def test_a_moved_setting_says_from_what_to_what() -> None:
    found = change_events(
        panel(
            memory_limit_bytes=[4.0, 4.0, np.nan, 2.0],
            hpa_max_replicas=[6.0, 6.0, 6.0, 6.0],
            replicas=[5.0, 6.0, 6.0, 6.0],
        )
    )
    said = found[["ts", "event", "metric", "was", "became"]].to_numpy().tolist()
    assert said == [
        [START + STEP, "HPA at its maximum", "hpa_max_replicas", 5.0, 6.0],
        [START + 3 * STEP, "memory limit change", "memory_limit_bytes", 4.0, 2.0],
    ]


def test_only_lost_nodes_are_events_and_rounding_is_none() -> None:
    found = change_events(panel(nodes=[3.0, 4.0, 3.0], memory_limit_bytes=[1e9, 1e9 + 1e-6, 1e9]))
    assert found[["ts", "event"]].to_numpy().tolist() == [[START + 2 * STEP, "node loss"]]
