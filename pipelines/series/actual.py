"""What was measured last of each series, beside which a forecast can be shown.

It is what was scored: the same workloads, metrics and units as all else that is published, whatever
the source of the metrics is.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.frames import SCORES
from models.band import Band
from pipelines.run import Run
from pipelines.series.gauge import Gauge
from pipelines.series.names import gauge
from pipelines.series.told import workload_columns

__all__ = ["actual_gauges"]

_COLUMNS = ("workload", "metric", "ts", "detector", "value")


def actual_gauges(run: Run) -> list[Gauge]:
    """``foretide_actual`` of the newest scores, as long as scores may be used."""
    valid = pd.Timedelta(run.settings.detect.valid_for_h, "h")
    parts = run.parts(SCORES, run.as_of - valid)
    newest = [p for p in parts if p.startswith(parts[-1].split("-", 1)[0])]
    if not newest:
        return []
    found = [run.store.read(SCORES, part=p, columns=_COLUMNS).to_pandas() for p in newest]
    # what other detectors call a value may be a measure of their own
    found = [f[f["detector"] == Band.name] for f in found]
    rows = pd.concat([f.astype({"workload": "str", "metric": "str"}) for f in found])
    rows = rows[rows["value"].notna() & (rows["ts"] + valid > run.as_of)]
    if run.settings.publish.metrics:
        rows = rows[rows["metric"].isin(run.settings.publish.metrics)]
    last = rows.sort_values("ts", kind="stable").drop_duplicates(
        ["workload", "metric"], keep="last"
    )
    last = last.sort_values(["workload", "metric"], ignore_index=True)
    labels = workload_columns(last["workload"]).assign(metric=last["metric"])
    return [gauge("foretide_actual", labels, last["value"].to_numpy(dtype=np.float64))]
