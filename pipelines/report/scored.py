"""One line of scores a workload: at every moment the highest of its metrics and detectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.panel import Floats
from pipelines.report.index import Index, to_ms

__all__ = ["ScoreLine", "score_lines"]

_MAX_GRID = 50_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """``values``: float64 ``(n_steps,)`` from ``start_ms`` on, NaN where nothing was scored."""

    start_ms: int
    step_ms: int
    values: Floats


def score_lines(index: Index) -> dict[str, ScoreLine]:
    """Workload → its line, for those that have a finite score."""
    scores = index.data.scores
    if scores.empty or not {"workload", "ts", "score"} <= set(scores.columns):
        return {}
    scores = scores[np.isfinite(scores["score"].astype("float64"))].dropna(subset=["ts"])
    if scores.empty:
        return {}
    rows, names = pd.factorize(scores["workload"].astype(str))
    ts, start_ms, step_ms = _grid(scores["ts"])
    lines = np.full((len(names), int(ts.max()) + 1), np.nan)
    np.fmax.at(lines, (rows, ts), scores["score"].to_numpy(dtype=np.float64))
    return {str(w): _trimmed(start_ms, step_ms, line) for w, line in zip(names, lines, strict=True)}


def _grid(stamps: pd.Series) -> tuple[np.ndarray, int, int]:
    """Step numbers of the stamps, and the grid's start and step: the widest that holds them all."""
    at = to_ms(stamps)
    gaps = np.diff(np.unique(at))
    step_ms = int(np.gcd.reduce(gaps)) if len(gaps) else _HOUR_MS
    start_ms = int(at.min())
    step_ms = max(step_ms, (int(at.max()) - start_ms) // _MAX_GRID, 1)
    return (at - start_ms) // step_ms, start_ms, step_ms


def _trimmed(start_ms: int, step_ms: int, line: Floats) -> ScoreLine:
    there = np.flatnonzero(np.isfinite(line))
    lo, hi = int(there[0]), int(there[-1]) + 1
    return ScoreLine(start_ms + lo * step_ms, step_ms, line[lo:hi])
