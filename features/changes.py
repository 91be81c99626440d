"""Change events that the metrics themselves show: a new revision, a restart, a moved limit, an
autoscaler with other bounds or at its end, a lost node."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel

__all__ = ["CHANGE_METRICS", "CLUSTER_NAMESPACE", "DEPLOY", "EVENT_COLUMNS", "RESTART",
           "change_events"]  # fmt: skip

DEPLOY = "deploy"
RESTART = "restart"
CLUSTER_NAMESPACE = "_cluster"
"""Where the catalogs keep what belongs to a cluster as a whole: its changes concern all of it."""

# Of one pod, or of the workload: what sums over pods (CPU limits do) moves with every scaling.
_SETTINGS = {
    "memory_limit_bytes": "memory limit change",
    "memory_request_bytes": "memory request change",
    "hpa_min_replicas": "HPA minimum change",
    "hpa_max_replicas": "HPA maximum change",
    "hpa_target_cpu_ratio": "HPA target change",
    "config_timestamp_seconds": "config change",
}
_FULL = "HPA at its maximum"
_LOST = "node loss"
_SAME = 1e-6  # relative: what an average of equal numbers may be off by

CHANGE_METRICS = ("deploy_timestamp_seconds", "restarts_total", "replicas", "nodes", *_SETTINGS)
"""What a panel must hold for its changes to be seen; what it lacks shows none."""
EVENT_COLUMNS = ("workload", "ts", "event", "metric", "was", "became")


def change_events(panel: Panel) -> pd.DataFrame:
    """When workloads changed: ``EVENT_COLUMNS``, sorted by time.

    A deploy is a newest revision's stamp (``deploy_timestamp_seconds``) that moves, a restart a
    counter (``restarts_total``) that grows, a node loss a count of ``nodes`` that falls; settings
    (limits, requests, bounds of the autoscaler) are events when they move, and an autoscaler that
    comes to its maximum is one. ``ts`` is the step in which the change is first seen; ``was`` and
    ``became`` are in the metric's own unit.
    """
    parts = [
        _events(panel.of("deploy_timestamp_seconds"), DEPLOY),
        _events(panel.of("restarts_total"), RESTART, side=1),
        _events(panel.of("nodes"), _LOST, side=-1),
        *(_events(panel.of(metric), event) for metric, event in _SETTINGS.items()),
        _at_maximum(panel),
    ]
    return pd.concat(parts, ignore_index=True).sort_values(
        ["ts", "workload", "event"], ignore_index=True
    )


def _events(panel: Panel, event: str, side: int = 0) -> pd.DataFrame:
    """Steps in which a value moved; ``side`` 1: only up, -1: only down."""
    known = _filled(panel.values)
    change = np.diff(known, axis=1)
    moved = np.abs(change) > _SAME * np.abs(known[:, 1:])
    return _rows(panel, moved & (change * side >= 0), event, known)


def _at_maximum(panel: Panel) -> pd.DataFrame:
    """Steps in which the replicas reach what the autoscaler may give at most."""
    highest = panel.of("hpa_max_replicas")
    names = [str(w) for w in highest.keys["workload"]]
    replicas, most = _filled(panel.matrix("replicas", names)), _filled(highest.values)
    full = replicas >= most
    reached = full[:, 1:] & (replicas[:, :-1] < most[:, :-1])
    return _rows(highest, reached, _FULL, replicas)


def _filled(values: Floats) -> Floats:
    """Each step's last known value; rows without a gap are not touched."""
    gaps = np.isnan(values).any(axis=1)
    if not gaps.any():
        return values
    out = values.copy()
    out[gaps] = pd.DataFrame(values[gaps]).ffill(axis=1).to_numpy()
    return out


def _rows(panel: Panel, moved: NDArray[np.bool_], event: str, known: Floats) -> pd.DataFrame:
    rows, cols = np.nonzero(moved)
    return pd.DataFrame(
        {
            "workload": panel.keys["workload"].to_numpy(dtype=object)[rows],
            "ts": panel.times[cols + 1],
            "event": pd.Series(event, index=range(len(rows)), dtype="str"),
            "metric": panel.keys["metric"].to_numpy(dtype=object)[rows],
            "was": known[rows, cols],
            "became": known[rows, cols + 1],
        }
    )
