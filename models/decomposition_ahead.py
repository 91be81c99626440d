"""What a fitted decomposition says of the time after training: its season, and bands round a
point. Shared by the forecasters that stand on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.base import Baselines

__all__ = [
    "BASE_LEAD_DAYS",
    "DAY_MS",
    "PROBABILITIES",
    "WEEK_MS",
    "bands",
    "days_ahead",
    "deseasonalised",
    "season_ahead",
    "slots_at",
]

DAY_MS, WEEK_MS = 86_400_000, 604_800_000
BASE_LEAD_DAYS = np.array([4.0, 1.0, 1.0, 1.0])
"""By ``kind``: how far ahead the residuals behind the bands were on average."""

_TAIL = np.array([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4])
PROBABILITIES = np.concatenate([_TAIL, [0.5], 1 - _TAIL[::-1]])


def season_ahead(baselines: Baselines, start: pd.Timestamp, n_steps: int) -> Floats:
    """Season from ``start`` on, on the nearest steps of the grid, (n_series, n_steps)."""
    template = baselines.arrays["template"]
    return template[:, slots_at(_ahead_ms(baselines, start, n_steps), template.shape[1], WEEK_MS)]


def days_ahead(baselines: Baselines, start: pd.Timestamp, n_steps: int) -> Floats:
    """How far the middle of each step lies ahead of the middle of training's last day, (n_steps,).

    Raises
    ------
    ValueError
        ``start`` is before the end of training.
    """
    step_ms = baselines.meta["step_s"] * 1000
    return (_ahead_ms(baselines, start, n_steps) + step_ms / 2) / DAY_MS + 0.5


def deseasonalised(baselines: Baselines, panel: Panel) -> Floats:
    """The panel that was fitted less its season, (n_series, n_steps)."""
    template, step_ms = baselines.arrays["template"], round(panel.step.total_seconds() * 1000)
    ahead_ms = np.arange(-panel.n_steps, 0) * step_ms
    return panel.values - template[:, slots_at(ahead_ms, template.shape[1], WEEK_MS)]


def bands(
    baselines: Baselines, point: Floats, widening: Floats, quantiles: Sequence[float]
) -> Floats:
    """Quantiles round a point forecast: residuals by its level, times ``widening``.

    Linear between the stored probabilities, flat beyond; never below zero where the history never
    was.

    Parameters
    ----------
    point, widening : (n_series, n_steps)
        Widening is not negative.

    Returns
    -------
    (n_quantiles, n_series, n_steps)

    Raises
    ------
    ValueError
        A quantile is not between 0 and 1.
    """
    if not all(0 < q < 1 for q in quantiles):
        raise ValueError(f"quantiles must be between 0 and 1, got {list(quantiles)}")
    a = baselines.arrays
    at = np.clip(np.asarray(quantiles, dtype=np.float64), PROBABILITIES[0], PROBABILITIES[-1])
    right = np.clip(np.searchsorted(PROBABILITIES, at), 1, len(PROBABILITIES) - 1)
    share = (at - PROBABILITIES[right - 1]) / (PROBABILITIES[right] - PROBABILITIES[right - 1])
    spread = a["spread"][..., right - 1] * (1 - share) + a["spread"][..., right] * share
    lowest = np.where(a["non_negative"], 0.0, -np.inf)
    return _bands(point, a["edges"], spread, lowest, widening)


@njit(cache=True, nogil=True)
def _bands(
    point: Floats, edges: Floats, spread: Floats, lowest: Floats, widening: Floats
) -> Floats:
    n, steps = point.shape
    out = np.empty((spread.shape[2], n, steps))
    level = np.empty(steps, np.int64)
    for i in range(n):
        for t in range(steps):
            level[t] = 0
            for edge in edges[i]:
                level[t] += point[i, t] > edge
        for q in range(len(out)):
            for t in range(steps):
                v = point[i, t] + spread[i, level[t], q] * widening[i, t]
                out[q, i, t] = lowest[i] if v < lowest[i] else v
    return out


def slots_at(at_ms: NDArray[np.int64], slots: int, period_ms: int) -> NDArray[np.int64]:
    """Which of so many slots of a period each moment is in."""
    return at_ms % period_ms * slots // period_ms


def _ahead_ms(baselines: Baselines, start: pd.Timestamp, n_steps: int) -> NDArray[np.int64]:
    """Nearest grid moments from ``start`` on, counted from the end of training."""
    end, step_ms = pd.Timestamp(baselines.meta["end"]), round(baselines.meta["step_s"] * 1000)
    if start < end:
        raise ValueError(f"start must be {end} (the end of training) or later, got {start}")
    first = round((start - end) / pd.Timedelta(step_ms, "ms"))
    return (first + np.arange(n_steps)) * step_ms
