"""What a training leaves out: read once from earlier runs' tables, noted aside for every shard."""

from __future__ import annotations

import pandas as pd

from features.panel import Panel
from pipelines.hygiene import AnomalousPoints, Hygiene, anomalous_points
from pipelines.run import Run
from pipelines.say import say
from pipelines.staging import aside
from pipelines.unusual import unusual

__all__ = ["leave_out", "left_out_of"]

_POINTS = "anomalous.parquet"


def leave_out(run: Run) -> None:
    """Note aside, once for all shards of a training, what earlier runs found anomalous."""
    if run.settings.hygiene.enabled and not run.ref.inputs:
        found = anomalous_points(run, run.history_start)
        step_s = 0.0 if found.step is None else found.step.total_seconds()
        points = found.points.assign(step_s=step_s)
        points.to_parquet(aside(run, "train") / _POINTS, index=False)
        if found.unread_parts:
            n = found.unread_parts
            say(f"train: {n} files of scores cannot be read; anomalies in them stay")


def left_out_of(run: Run, panel: Panel) -> Hygiene:
    """What ``leave_out`` noted, on one shard's panel, and the time after each deploy."""
    noted = aside(run, "train") / _POINTS
    if not noted.is_file():
        return unusual(panel, AnomalousPoints.of([]), run.settings)
    points = pd.read_parquet(noted)
    step_s = points["step_s"].max() if len(points) else 0.0
    step = pd.Timedelta(step_s, "s") if step_s else None
    return unusual(panel, AnomalousPoints(points, step), run.settings)
