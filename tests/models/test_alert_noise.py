"""Alerts are runs of points at or above 1; an incident stands for many."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.alert_noise import noise

START = pd.Timestamp("2026-06-01", tz="UTC")
NO_LEAKS = pd.DataFrame({"workload": [], "metric": [], "score": []}).assign(
    issued_at=pd.DatetimeIndex([], tz="UTC")
)


def scores(*series: list[float]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "workload": "w",
                "metric": f"m{i}",
                "detector": "band",
                "ts": pd.date_range(START, periods=len(said), freq="5min"),
                "score": said,
            }
        )
        for i, said in enumerate(series)
    ]
    return pd.concat(frames, ignore_index=True)


def incidents(*delays_min: float) -> pd.DataFrame:
    started = pd.DatetimeIndex([START] * len(delays_min))
    return pd.DataFrame({"started_at": started}).assign(
        detected_at=started + pd.to_timedelta(list(delays_min), unit="min")
    )


def test_each_stretch_of_a_series_is_an_alert_and_a_gap_ends_it() -> None:
    table = scores([0, 1, 2, 0, 1, np.nan, 1], [1, 1, 1, 1, 1, 1, 1])
    found = noise(table, NO_LEAKS, incidents(10, 20))
    assert (found["alert_points"], found["raw_alerts"]) == (11, 4)
    assert (found["incidents"], found["alerts_per_incident"]) == (2, 2)
    assert found["alert_noise_cut_share"] == 0.5
    assert found["detection_delay_median_s"] == 900


def test_nothing_is_nothing() -> None:
    found = noise(scores([0, 0]), NO_LEAKS, incidents())
    assert found["raw_alerts"] == found["incidents"] == 0
    assert np.isnan([found["alerts_per_incident"], found["alert_noise_cut_share"]]).all()
