"""A detector of a user's own under the score contract: its raw scores in units of the alert line.

The line is what a clean period passes in no more events than the alert budget allows
(``models/tail.py``), of the training weeks' own raw scores. A score is 0 up to their median and 1
at the line, linear in the raw score, as the isolation forest's. A detector may have said the same
of nearly every step: then its line is its median, and what is above it scores 1 and more by as much
as it is above it, in the raw score's own unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.base import Baselines, Detector
from models.selection import lower_medians
from models.tail import STEPS_FOR_A_TAIL, tail_thresholds

__all__ = ["Budgeted", "BudgetedParams", "BudgetedScores"]

NORMAL, LINE = "foretide_normal", "foretide_line"
"""Arrays of ours beside the detector's own: the raw scores that become 0 and 1."""

_MONTH = pd.Timedelta(days=365.25 / 12)
_QUIET = pd.Timedelta(hours=1)
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class BudgetedParams:
    """How loud each detector of a user's own may be."""

    alerts_per_month: float = 0.2
    """Events a clean workload may cause a month, over its metrics."""
    persistence_steps: int = 2
    """Steps in a row with a score from 1 on that make an event."""
    minimum_points: int = 96
    """Raw scores in training without which a series has no line: a day of quarter hours."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 < self.alerts_per_month < np.inf:
            raise ValueError(f"alerts_per_month must be above 0, got {self.alerts_per_month!r}")
        if self.persistence_steps < 1:
            raise ValueError(
                f"persistence_steps must be at least 1, got {self.persistence_steps!r}"
            )
        if self.minimum_points < STEPS_FOR_A_TAIL:
            raise ValueError(
                f"minimum_points must be at least {STEPS_FOR_A_TAIL}, got {self.minimum_points!r}"
            )


@dataclass(frozen=True, slots=True)
class BudgetedScores:
    """What a detector says; NaN where it has no line, no answer, or nothing was measured.

    Attributes
    ----------
    score : float64, (n_series, n_steps), on the scale of ``models/base.py``
    raw : float64, (n_series, n_steps)
    line : float64, (n_series,)
        The raw score at which the score is 1.
    """

    score: Floats
    raw: Floats
    line: Floats


class Budgeted:
    """A ``Detector`` whose scores are comparable with those of others."""

    def __init__(self, detector: Detector, params: BudgetedParams | None = None) -> None:
        """Take the detector and the budget."""
        self.detector = detector
        self.name = detector.name
        self.params = params or BudgetedParams()

    def fit(self, panel: Panel, expected: Floats) -> Baselines:
        """What the detector learned, with ``foretide_normal`` and ``foretide_line`` (n_series,).

        They are NaN for a series with fewer than ``minimum_points`` raw scores.
        """
        p, learned = self.params, self.detector.fit(panel, expected)
        raw = self._raw(learned, panel, expected)
        known = np.isfinite(raw).sum(axis=1)
        metrics = panel.keys.groupby("workload")["workload"].transform("size").to_numpy(dtype=float)
        events = p.alerts_per_month * known * (panel.step / _MONTH) / metrics
        quiet = max(int(_QUIET / panel.step), 1)
        line = tail_thresholds(raw, np.maximum(events, _TINY), p.persistence_steps, quiet)
        normal = lower_medians(raw)
        line = np.where(known >= p.minimum_points, np.fmax(line, normal), np.nan)
        arrays = {**learned.arrays, NORMAL: normal, LINE: line}
        return Baselines(self.name, panel.keys, arrays, learned.meta)

    def score(self, baselines: Baselines, panel: Panel, expected: Floats) -> BudgetedScores:
        """Score every step of the panel's series; one that was never fitted is NaN throughout."""
        out = np.full((2, *panel.values.shape), np.nan)
        lines = np.full(panel.n_series, np.nan)
        known = pd.MultiIndex.from_frame(baselines.keys[["workload", "metric"]])
        row = known.get_indexer(pd.MultiIndex.from_frame(panel.keys[["workload", "metric"]]))
        there = np.flatnonzero(row >= 0)
        if len(there):
            learned = baselines.select(row[there])
            raw = self._raw(learned, panel.select(there), expected[there])
            normal, lines[there] = learned.arrays[NORMAL], learned.arrays[LINE]
            out[:, there] = raw, _on_the_scale(raw, normal, lines[there])
        return BudgetedScores(out[1], out[0], lines)

    def _raw(self, learned: Baselines, panel: Panel, expected: Floats) -> Floats:
        """Where nothing was measured, the band says what that means."""
        own = {k: a for k, a in learned.arrays.items() if k not in {NORMAL, LINE}}
        raw = self.detector.score(replace(learned, arrays=own), panel, expected)
        raw = np.where(np.isnan(panel.values), np.nan, raw)
        return np.require(raw, np.float64, ["C", "W"])


def _on_the_scale(raw: Floats, normal: Floats, line: Floats) -> Floats:
    """Scores from raw scores; ``normal`` and ``line`` (n_series,)."""
    above = raw - normal[:, None]
    width = (line - normal)[:, None]
    flat = width <= 0
    score = np.maximum(above / np.where(flat, 1.0, width), 0.0)
    return np.where(flat & (above > 0), 1.0 + above, score)
