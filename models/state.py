"""What the cluster's settings are now: HPA bounds, requests of a pod, replicas, lead time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.capacity_params import CapacityParams
from models.hpa_spec import HpaSpec
from models.lead_times import lead_times

__all__ = ["workload_state"]


def workload_state(
    panel: Panel,
    workloads: Sequence[str],
    params: CapacityParams | None = None,
    *,
    specs: Mapping[str, HpaSpec] | None = None,
    node_start_s: Mapping[str, float] | None = None,
    starts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The newest settings of every workload at the end of a panel; NaN where one was not seen
    lately.

    ``specs`` are HPAs by workload: what they say wins over the samples. ``node_start_s`` and
    ``starts`` are those of ``models.lead_times.lead_times``, for who has read them.

    Columns: ``workload, hpa, hpa_min, hpa_max, target_ratio, replicas, request_cores,
    request_bytes, lead_time_s, lead_time_source``; ``hpa`` is its object's name, empty where it is
    not known; the two requests are of one pod, ``lead_time_s`` is learned from all of the panel.

    By the samples ``hpa_min`` is the smallest that was seen: a floor of ours, which stands for a
    part of the day, is not taken for the user's own and built upon.
    """
    params = params or CapacityParams()
    names = list(workloads)
    lately = panel.window(panel.end - pd.Timedelta(params.state_window_h, "h"))

    def newest(metric: str) -> Floats:
        return _last(lately.matrix(metric, names))

    cores, replicas = lately.matrix("cpu_request_cores", names), lately.matrix("replicas", names)
    lead_s, source = lead_times(
        names,
        panel.matrix("pod_start_seconds", names),
        node_start_s=node_start_s,
        starts=starts,
        params=params,
    )
    state = pd.DataFrame(
        {
            "workload": pd.array(names, dtype="str"),
            "hpa": pd.array([""] * len(names), dtype="str"),
            "hpa_min": _least(lately.matrix("hpa_min_replicas", names)),
            "hpa_max": newest("hpa_max_replicas"),
            "target_ratio": newest("hpa_target_cpu_ratio"),
            "replicas": _last(replicas),
            # cpu_request_cores is summed over pods: divide step by step, where both were seen
            "request_cores": _last(cores / np.where(replicas > 0, replicas, np.nan)),
            "request_bytes": newest("memory_request_bytes"),
            "lead_time_s": lead_s,
            "lead_time_source": pd.array(source, dtype="str"),
        }
    )
    return _as_specified(state, specs) if specs else state


def _as_specified(state: pd.DataFrame, specs: Mapping[str, HpaSpec]) -> pd.DataFrame:
    """HPAs' own words over what samples say."""
    known = state["workload"].map(lambda w: str(w) in specs).to_numpy(dtype=bool)
    if not known.any():
        return state
    mine = [specs[str(w)] for w in state.loc[known, "workload"]]
    cpu = [
        next((m.target for m in s.metrics if _is_cpu_share(m.name, m.target_type)), np.nan)
        for s in mine
    ]
    told = {
        "hpa": [s.name for s in mine],
        "hpa_min": [float(s.min_replicas) for s in mine],
        "hpa_max": [float(s.max_replicas) for s in mine],
        "target_ratio": cpu,
    }
    out = state.copy()
    for column, values in told.items():
        out.loc[known, column] = values
    return out


def _is_cpu_share(name: str, target_type: str) -> bool:
    return name == "cpu" and target_type == "utilization"


def _least(values: Floats) -> Floats:
    """The smallest value of each row; NaN where there is none."""
    least = np.where(np.isnan(values), np.inf, values).min(axis=1, initial=np.inf)
    return np.where(np.isinf(least), np.nan, least)


def _last(values: Floats) -> Floats:
    """The last value of each row that is not NaN."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    at = values.shape[1] - 1 - np.argmax(~np.isnan(values[:, ::-1]), axis=1)
    return values[np.arange(len(values)), at]
