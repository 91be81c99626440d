"""Who was there and is not looked at: a file's series outside the window are accounted for too."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipelines.run import Run

__all__ = ["NOT_WATCHED", "silent_series"]

NOT_WATCHED = ("limit", "state")
"""Roles of metrics that are settings: they are neither forecast nor anomalous."""


def silent_series(run: Run, since: pd.Timestamp, reason: str) -> pd.DataFrame:
    """``workload, metric, reason`` of the files' series without a finite sample since then."""
    key = ["workload", "metric"]
    if not run.ref.inputs:
        return pd.DataFrame(columns=[*key, "reason"])
    frame = run.samples(pd.Timestamp(0, tz="UTC"), run.as_of)
    near = frame["ts"] >= since
    there = frame.loc[near & np.isfinite(frame["value"]), key].drop_duplicates()
    every = frame[key].drop_duplicates().astype("str")
    gone = every[~pd.MultiIndex.from_frame(every).isin(pd.MultiIndex.from_frame(there))]
    wanted = [run.catalog[m].role not in NOT_WATCHED for m in gone["metric"]]
    return gone[np.array(wanted, dtype=bool)].assign(reason=reason)
