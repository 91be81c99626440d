"""What the joint score says, as rows of the scores table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.metrics import Catalog
from features.panel import Floats, Panel
from models.base import CRITICAL, WHOLE_WORKLOAD
from models.together import Together, together_text
from pipelines.learning import Learned
from pipelines.score_rows import signals_since
from pipelines.settings import Settings

__all__ = ["together_rows"]


def together_rows(
    learned: Learned,
    panel: Panel,
    expected: Floats,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
) -> pd.DataFrame:
    """What is said of every workload from ``start`` on; the panel goes back by the detector's
    context and what counters look back."""
    detector = Together(settings.detect.together)
    signals = signals_since(panel, expected, start - detector.context, catalog)
    times = panel.times[-signals.values.shape[1] :]
    said = detector.score(learned.detectors["together"], signals)
    rows, cols = np.nonzero(~np.isnan(said.score) & (times >= start))
    text = np.full(said.score.shape, "", dtype=object)
    if len(said.points):
        text[said.points[:, 0], said.points[:, 1]] = together_text(signals, said)
    score = said.score[rows, cols]
    return pd.DataFrame(
        {
            "workload": pd.array(np.array(signals.workloads, dtype=object)[rows], dtype="str"),
            "metric": pd.array(np.full(len(rows), WHOLE_WORKLOAD, dtype=object), dtype="str"),
            "ts": times[cols],
            "detector": detector.name,
            "score": score,
            "expected": np.nan,
            "lower": np.nan,
            "upper": np.nan,
            "value": said.raw[rows, cols],
            "severity": np.select(
                [score >= CRITICAL, score >= 1], ["critical", "warning"], "normal"
            ),
            "reason": text[rows, cols],
        }
    )
