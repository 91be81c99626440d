"""What is no example of usual days: one rule for every training, whoever asks for it."""

from __future__ import annotations

import numpy as np

from features.panel import Panel
from pipelines.hygiene import AnomalousPoints, Hygiene, on_panel
from pipelines.regimes import deploys_of, incident_windows, settling, within
from pipelines.settings import Settings

__all__ = ["unusual"]


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
