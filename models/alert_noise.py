"""How many alerts became how many incidents, and how soon somebody was told."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["beginnings", "noise"]


def noise(scores: pd.DataFrame, leaks: pd.DataFrame, incidents: pd.DataFrame) -> dict[str, float]:
    """Figures of one run.

    Parameters
    ----------
    scores, leaks
        ``workload, metric, ts`` (``issued_at`` for leaks)``, score``, of scores also ``detector``
        where there are several.
    incidents
        ``started_at, detected_at``, of the same stretch.

    Returns
    -------
    ``alert_points``: points at or above 1; ``raw_alerts``: stretches of such points in a row of
    one series and detector, what would have been told each by itself; ``incidents``;
    ``alerts_per_incident``; ``alert_noise_cut_share``: 1 - incidents / raw alerts;
    ``detection_delay_median_s``: from an incident's beginning to its detection. NaN where there is
    nothing to divide or to take a median of.
    """
    points = [int((t["score"] >= 1).sum()) for t in (scores, leaks)]
    raw = len(beginnings(scores, "ts")) + len(beginnings(leaks, "issued_at"))
    delay = (incidents["detected_at"] - incidents["started_at"]).dt.total_seconds()
    told = len(incidents)
    return {
        "alert_points": float(sum(points)),
        "raw_alerts": float(raw),
        "incidents": float(told),
        "alerts_per_incident": raw / told if told else float("nan"),
        "alert_noise_cut_share": 1 - told / raw if raw else float("nan"),
        "detection_delay_median_s": float(delay.median()) if told else float("nan"),
    }


def beginnings(table: pd.DataFrame, at: str) -> NDArray[np.int64]:
    """When series came to 1 or above: the stamps (Unix ms, in no order) of their points there that
    follow none there. ``at`` is the column of stamps; else the columns of ``noise``."""
    hot = table[(table["score"] >= 1).to_numpy()]
    if hot.empty:
        return np.empty(0, dtype=np.int64)
    by = [c for c in ("workload", "metric", "detector") if c in hot.columns]
    series = hot.groupby(by, observed=True, sort=False).ngroup().to_numpy()
    stamp = hot[at].dt.as_unit("ms").astype("int64").to_numpy()
    order = np.lexsort((stamp, series))
    series, stamp = series[order], stamp[order]
    follows = (np.diff(series) == 0) & (np.diff(stamp) <= 1.5 * _step_ms(table[at]))
    return stamp[np.concatenate([[True], ~follows])]


def _step_ms(ts: pd.Series) -> float:
    """Length of a step: the usual distance of neighbouring stamps, in milliseconds."""
    stamps: NDArray[np.int64] = np.sort(ts.dt.as_unit("ms").astype("int64").unique())
    return float(np.median(np.diff(stamps))) if len(stamps) > 1 else 300_000.0
