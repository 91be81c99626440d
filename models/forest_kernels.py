"""Isolation forests of many workloads at once: what is learned of the signals, raw scores, and what
each signal adds to them. The trees are grown in ``models/forest_growth.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.forest_codes import code_rows
from models.forest_growth import PATH_UNIT, average_path, grow_forests
from models.forest_walks import path_totals
from models.selection import nth

__all__ = ["grow_forests", "occlude", "prepare", "raw_scores"]


@njit(cache=True, nogil=True)
def prepare(values: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Median, range and use of every signal of every workload, each (n_workloads, n_signals).

    A signal is of use when it has values and is not constant.
    """
    n_workloads, n_steps, n_signals = values.shape
    median = np.zeros((n_workloads, n_signals))
    spread = np.ones((n_workloads, n_signals))
    used = np.zeros((n_workloads, n_signals), dtype=np.bool_)
    column, spare = np.empty(n_steps), np.empty(n_steps)
    for w in range(n_workloads):
        for s in range(n_signals):
            n = 0
            for t in range(n_steps):
                if not np.isnan(values[w, t, s]):
                    column[n] = values[w, t, s]
                    n += 1
            if n:
                median[w, s] = nth(column, spare, 0, n, n // 2)
                low, high = column[:n].min(), column[:n].max()
                width = high - low
                if width > 1e-12 * max(abs(low), abs(high)):
                    spread[w, s], used[w, s] = width, True
    return median, spread, used


@njit(cache=True, nogil=True)
def raw_scores(values: Floats, prepared: Any, forest: Any, subsample: int) -> Floats:
    """Anomaly score ``2 ** (-mean path / c(subsample))`` of every row, (n_workloads, n_steps).

    NaN for a row of NaN and for a workload without trees.
    """
    median, spread, used = prepared
    feature, threshold, path, rows = forest
    out = np.full(values.shape[:2], np.nan)
    for w in range(len(values)):
        n = min(subsample, rows[w])
        if n < 2:
            continue
        x, known = code_rows(values[w], median[w], spread[w], used[w])
        usable = np.flatnonzero(used[w])
        total = path_totals(x, usable, feature[w], threshold[w], path[w])
        raw = _of_totals(total, len(feature[w]), n)
        out[w] = np.where(known, raw, np.nan)
    return out


@njit(cache=True, nogil=True)
def _of_totals(total: Any, n_trees: int, n: int) -> Floats:
    """Scores of summed path lengths."""
    return 2.0 ** (-total / (PATH_UNIT * n_trees * average_path(n)))


@njit(cache=True, nogil=True)
def occlude(
    values: Floats, prepared: Any, forest: Any, subsample: int, flagged: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """How much each signal adds to the raw score of the flagged rows, (n_flagged, n_signals).

    The raw score less what it would be with the signal at its training median. Rows in the order
    of ``np.nonzero(flagged)``.
    """
    median, spread, used = prepared
    feature, threshold, path, rows = forest
    out = np.zeros((int(np.sum(flagged)), values.shape[2]), dtype=np.float32)
    first = 0
    for w in range(len(values)):
        chosen = np.flatnonzero(flagged[w])
        if not len(chosen):
            continue
        n, usable = min(subsample, rows[w]), np.flatnonzero(used[w])
        x, _ = code_rows(values[w][chosen], median[w], spread[w], used[w])
        total = path_totals(x, usable, feature[w], threshold[w], path[w])
        whole = _of_totals(total, len(feature[w]), n)
        for s in usable:
            seen = x[s].copy()
            x[s] = 0
            total = path_totals(x, usable, feature[w], threshold[w], path[w])
            less = whole - _of_totals(total, len(feature[w]), n)
            out[first : first + len(chosen), s] = less.astype(np.float32)
            x[s] = seen
        first += len(chosen)
    return out
