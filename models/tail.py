"""From a detector's raw score to the threshold that an alert budget buys, for all series at once.

What a person is told about is an *event*: a run of points that stays high for
``persistence_steps``. So the tail that matters is that of the running minimum of the raw score; its
runs above a high quantile are declustered and their peaks extrapolated with a generalised Pareto
tail (Coles, *An Introduction to Statistical Modeling of Extreme Values*, 2001, ch. 4–5). Scale and
shape come from quantiles of the excesses (after Pickands, Annals of Statistics 3, 1975), not from
their mean: incidents that nobody flagged are a few huge peaks among many, and quantiles do not
follow them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.selection import nth

__all__ = ["STEPS_FOR_A_TAIL", "row_threshold", "tail_thresholds"]

STEPS_FOR_A_TAIL = 50
"""Fewer values than this have no tail to speak of: the threshold is then NaN."""

_BODY = 0.95
_HEAVIEST = 0.2
_SHAPE_PRIOR = 100.0
_FEWEST_PEAKS = 16
_FURTHEST = 2.0  # times the highest peak: further is no extrapolation but a guess


def tail_thresholds(
    raw: NDArray[np.floating], events: Floats, persistence_steps: int, quiet_steps: int
) -> Floats:
    """The raw score that a clean period as long as this one would exceed in ``events`` events.

    Parameters
    ----------
    raw : (n_series, n_steps)
        Larger is more anomalous; NaN is left out and ends a run.
    events : (n_series,)
        Events allowed in a period as long as ``raw``, > 0; may be far below 1: then the tail is
        extrapolated.
    persistence_steps
        Consecutive steps that make an event.
    quiet_steps
        Runs closer together than this are one event.

    Returns
    -------
    thresholds : (n_series,)
        NaN where there are fewer than ``STEPS_FOR_A_TAIL`` values.
    """
    return _thresholds(
        np.require(raw, np.float64, ["C", "W"]), events, persistence_steps, quiet_steps
    )


@njit(cache=True, nogil=True)
def _thresholds(raw: Floats, events: Floats, persistence: int, quiet: int) -> Floats:
    out = np.full(len(raw), np.nan)
    spare = np.empty(raw.shape[1])
    for i in range(len(raw)):
        out[i] = row_threshold(raw[i], events[i], persistence, quiet, spare)
    return out


@njit(cache=True, nogil=True)
def row_threshold(raw: Floats, events: float, persistence: int, quiet: int, spare: Floats) -> float:
    """``tail_thresholds`` of one row, for other kernels; ``spare`` is as long as the row."""
    held = _running_minimum(raw, persistence)
    known = held[~np.isnan(held)]
    n = len(known)
    if n < STEPS_FOR_A_TAIL:
        return np.nan
    body = nth(known, spare, 0, n, int(_BODY * n))
    return body + _extrapolate(_peaks(held, body, quiet), events)


@njit(cache=True, nogil=True)
def _running_minimum(raw: Floats, steps: int) -> Floats:
    """Minimum of the last ``steps`` values; NaN until there are that many in a row."""
    out = np.full(len(raw), np.nan)
    run = 0
    for t in range(len(raw)):
        run = 0 if np.isnan(raw[t]) else run + 1
        if run >= steps:
            low = raw[t]
            for j in range(t - steps + 1, t):
                low = min(low, raw[j])
            out[t] = low
    return out


@njit(cache=True, nogil=True)
def _peaks(held: Floats, body: float, quiet: int) -> Floats:
    """How far each separate run above ``body`` rises over it."""
    out = np.empty(len(held))
    n, last = 0, -quiet - 1
    for t in range(len(held)):
        if not held[t] > body:
            continue
        if t - last > quiet:
            out[n] = 0.0
            n += 1
        out[n - 1] = max(out[n - 1], held[t] - body)
        last = t
    return out[:n]


@njit(cache=True, nogil=True)
def _extrapolate(peaks: Floats, events: float) -> float:
    """The excess that ``events`` of the peaks would pass; an exponential tail unless the quantiles
    say heavier."""
    n = len(peaks)
    if n <= events:
        return 0.0
    if n < _FEWEST_PEAKS:
        return np.sort(peaks)[n // 2] / np.log(2.0) * np.log(n / events)
    ordered = np.sort(peaks)
    furthest = _FURTHEST * ordered[-1]
    low, middle, high = ordered[n // 2], ordered[3 * n // 4], ordered[7 * n // 8]
    shape = np.log2(max(high - middle, 1e-12) / max(middle - low, 1e-12)) * n / (n + _SHAPE_PRIOR)
    beyond = max(n / (2.0 * events), 1.0)
    if shape < 1e-3:
        return min(low + (middle - low) / np.log(2.0) * np.log(beyond), furthest)
    shape = min(shape, _HEAVIEST)
    return min(low + (middle - low) / (2.0**shape - 1.0) * (beyond**shape - 1.0), furthest)
