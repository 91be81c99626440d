"""Change events that the metrics themselves show: a new revision, a restart."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Panel

__all__ = ["CHANGE_METRICS", "DEPLOY", "RESTART", "change_events"]

CHANGE_METRICS = ("deploy_timestamp_seconds", "restarts_total")
"""What a panel must hold for its changes to be seen."""

DEPLOY = "deploy"
RESTART = "restart"


def change_events(panel: Panel) -> pd.DataFrame:
    """When workloads changed: ``workload, ts, event``, sorted by time.

    A deploy is a newest revision's stamp (``deploy_timestamp_seconds``) that moves; a restart is a
    counter (``restarts_total``) that grows. ``ts`` is the step in which the change is first seen.
    """
    parts = [
        _events(panel.of("deploy_timestamp_seconds"), DEPLOY, falls=True),
        _events(panel.of("restarts_total"), RESTART, falls=False),
    ]
    return pd.concat(parts, ignore_index=True).sort_values(
        ["ts", "workload", "event"], ignore_index=True
    )


def _events(panel: Panel, event: str, *, falls: bool) -> pd.DataFrame:
    known = pd.DataFrame(panel.values).ffill(axis=1).to_numpy()
    change = np.diff(known, axis=1)
    moved: NDArray[np.bool_] = (change > 0) | ((change < 0) & falls)
    rows, cols = np.nonzero(moved)
    return pd.DataFrame(
        {
            "workload": panel.keys["workload"].to_numpy(dtype=object)[rows],
            "ts": panel.times[cols + 1],
            "event": event,
        }
    )
