"""What the cluster's settings are now: HPA bounds, requests of a pod, replicas, lead time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.capacity import CapacityParams, lead_time_s

__all__ = ["workload_state"]


def workload_state(
    panel: Panel, workloads: Sequence[str], params: CapacityParams | None = None
) -> pd.DataFrame:
    """The newest settings of every workload at the end of a panel; NaN where one was not seen
    lately.

    Columns: ``workload, hpa_min, hpa_max, target_ratio, replicas, request_cores, request_bytes,
    lead_time_s``; the two requests are of one pod, ``lead_time_s`` is learned from all of the
    panel.
    """
    params = params or CapacityParams()
    names = list(workloads)
    lately = panel.window(panel.end - pd.Timedelta(params.state_window_h, "h"))

    def newest(metric: str) -> Floats:
        return _last(lately.matrix(metric, names))

    cores, replicas = lately.matrix("cpu_request_cores", names), lately.matrix("replicas", names)
    return pd.DataFrame(
        {
            "workload": pd.array(names, dtype="str"),
            "hpa_min": newest("hpa_min_replicas"),
            "hpa_max": newest("hpa_max_replicas"),
            "target_ratio": newest("hpa_target_cpu_ratio"),
            "replicas": _last(replicas),
            # cpu_request_cores is summed over pods: divide step by step, where both were seen
            "request_cores": _last(cores / np.where(replicas > 0, replicas, np.nan)),
            "request_bytes": newest("memory_request_bytes"),
            "lead_time_s": lead_time_s(panel.matrix("pod_start_seconds", names), params),
        }
    )


def _last(values: Floats) -> Floats:
    """The last value of each row that is not NaN."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    at = values.shape[1] - 1 - np.argmax(~np.isnan(values[:, ::-1]), axis=1)
    return values[np.arange(len(values)), at]
