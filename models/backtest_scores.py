"""All measures of one model at one origin in one pass: ``models/measures.py``, read once.

A backtest measures every series × model × origin; measure by measure, each a few passes over
matrices, that took as long as some of the models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.measures import PEAK_SHARE, least_of_largest

__all__ = ["PREDICTED", "SCORES", "all_scores"]

SCORES = (
    "wape", "mase", "pinball_q50", "pinball_q90", "pinball_q99", "coverage_q90",
    "peak_coverage_q90",
)  # fmt: skip
PREDICTED = (0.5, 0.9, 0.99)
"""Quantiles that models are asked for, the median first."""

_MEDIAN, _HIGH, _HIGHEST = PREDICTED


def all_scores(
    actual: NDArray[np.floating], told: NDArray[np.floating], scale: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """The measures of ``models/measures.py`` and the comparable steps of the median.

    Parameters
    ----------
    actual : (n_series, n_steps)
    told : (3, n_series, n_steps), at ``PREDICTED``
    scale : (n_series,), what MASE divides by

    Returns
    -------
    scores : (n_scores, n_series), in the order of ``SCORES``
    points : int64, (n_series,)
    """
    actual, told = (np.require(a, None, ["C", "W"]) for a in (actual, told))
    return _all_scores(actual, told, np.ascontiguousarray(scale))


@njit(cache=True, nogil=True)
def _all_scores(actual: Any, told: Any, scale: Floats) -> tuple[Floats, NDArray[np.int64]]:
    n_series, n_steps = actual.shape
    out = np.full((len(SCORES), n_series), np.nan)
    points = np.zeros(n_series, dtype=np.int64)
    comparable, spare = np.empty(n_steps), np.empty(n_steps)
    for i in range(n_series):
        error, size, n = _median(actual[i], told[0, i])
        points[i] = n
        if size > 0:
            out[0, i] = error / size
        if n:
            if scale[i] > 0:
                out[1, i] = error / n / scale[i]
            out[2, i] = error / n / 2
        out[3, i] = _pinball(actual[i], told[1, i], _HIGH)
        out[4, i] = _pinball(actual[i], told[2, i], _HIGHEST)
        out[5, i], out[6, i] = _coverages(actual[i], told[1, i], comparable, spare)
    return out, points


@njit(cache=True, nogil=True)
def _median(actual: Any, predicted: Any) -> tuple[float, float, int]:
    """Sum of absolute errors, sum of absolute values, and how many steps can be compared."""
    error, size, n = 0.0, 0.0, 0
    for t in range(len(actual)):
        off = np.float64(actual[t]) - np.float64(predicted[t])
        if np.isfinite(off):
            error += abs(off)
            size += abs(np.float64(actual[t]))
            n += 1
    return error, size, n


@njit(cache=True, nogil=True)
def _pinball(actual: Any, predicted: Any, quantile: float) -> float:
    loss, n = 0.0, 0
    for t in range(len(actual)):
        off = np.float64(actual[t]) - np.float64(predicted[t])
        if np.isfinite(off):
            loss += max(quantile * off, (quantile - 1) * off)
            n += 1
    return loss / n if n else np.nan


@njit(cache=True, nogil=True)
def _coverages(actual: Any, upper: Any, comparable: Floats, spare: Floats) -> tuple[float, float]:
    """Share of the steps, and of the busiest of them, at or below ``upper``."""
    covered, n = 0, 0
    for t in range(len(actual)):
        value = np.float64(actual[t])
        if np.isfinite(value - np.float64(upper[t])):
            comparable[n] = value
            covered += value <= upper[t]
            n += 1
    if n == 0:
        return np.nan, np.nan
    least = least_of_largest(comparable, spare, n, PEAK_SHARE)
    held, busy = 0, 0
    for t in range(len(actual)):
        value = np.float64(actual[t])
        if value >= least and np.isfinite(value - np.float64(upper[t])):
            held += value <= upper[t]
            busy += 1
    return covered / n, held / busy
