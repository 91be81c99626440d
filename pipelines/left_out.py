"""What a training leaves out: read once from earlier runs' tables, noted aside for every shard."""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.panel import Panel
from pipelines.hygiene import AnomalousPoints, Hygiene, anomalous_points, on_panel
from pipelines.regimes import deploys_of, incident_windows, settling, within
from pipelines.run import Run
from pipelines.say import say
from pipelines.settings import Settings
from pipelines.staging import aside

__all__ = ["leave_out", "left_out_of", "unusual"]

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


def unusual(panel: Panel, flagged: AnomalousPoints, settings: Settings) -> Hygiene:
    """What no example is of usual days: flagged points, incidents, the time after a deploy.

    Maintenance and special days are blanked where the models learn.
    """
    params, rule = settings.hygiene, settings.detect.incidents
    if not params.enabled:
        return Hygiene(np.zeros(panel.values.shape, dtype=bool))
    also = settling(panel, deploys_of(panel), params.settle_min)
    step = flagged.step or panel.step
    windows = incident_windows(flagged.points, step, rule.gap_min, rule.persist_m)
    return on_panel(flagged, panel, params, also | within(panel, windows))
