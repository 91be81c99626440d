"""Sudden changes: how far a series left the level of its own last hours, for all series at once.

A forecast that knows little (a young series, a level that moved for good) is off for days; what is
news is that a series departs from where it just was. So the residual is held against the median of
the last hours before it, and its mean over spans of growing length against what such means did in
training: one step catches a spike, half an hour a burst, three hours a shift too small for a point
to show (a bank of matched filters; Basseville & Nikiforov, *Detection of Abrupt Changes*, 1993,
ch. 2). Each span has a tail of its own (``models/tail.py``) and a share of the alert budget.

All of it looks back a fixed time, so that a window scored with that much past is the same as the
whole.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.selection import finite_into, quantile
from models.tail import row_threshold

__all__ = ["departure_sizes", "sudden_scores", "sudden_thresholds"]

Ints = NDArray[np.int64]

_RECOVERED = 0.5
_USUAL = 0.9
_KNOWN_SHARE = 2.0 / 3.0
_QUARTER = 4


@njit(cache=True, nogil=True)
def departure_sizes(residual: Floats, window: int) -> Floats:
    """How far a step usually departs from the level of its last hours, (n_series,): the 90 %
    quantile of the size, in the residual's unit; NaN of nothing.

    The less is left, the more the forecast that was taken away knows of the series' moves.
    """
    n = residual.shape[1]
    out = np.full(len(residual), np.nan)
    start = np.zeros(n, dtype=np.int64)
    departed, level, size = np.empty(n), np.empty(n), np.empty(n)
    spare, ordered = np.empty(n), np.empty(window)
    for i in range(len(residual)):
        _departures(residual[i], start, window, ordered, departed, level)
        found = finite_into(size, np.abs(departed), 0)
        out[i] = quantile(size, spare, 0, found, _USUAL)
    return out


@njit(cache=True, nogil=True)
def sudden_thresholds(
    z: Floats,
    direction: NDArray[np.int8],
    events: Floats,
    spans: Ints,
    window: int,
    persistence: int,
    quiet: int,
) -> Floats:
    """The mean departure of each span that training passed in ``events`` events, (n_series,
    n_spans).

    Parameters
    ----------
    z : (n_series, n_steps)
        Residuals in robust standard deviations; NaN where nothing is known.
    direction : (n_series,)
        1: only above counts; -1: only below; 0: both.
    events : (n_series,)
        Events allowed to one span in a period as long as ``z``.
    spans
        Lengths of the means in steps, the first one 1.
    window
        Steps before the present one that its level is the median of.
    persistence, quiet
        As in ``models/tail.py``.

    NaN where there are too few values for a tail.
    """
    out = np.full((len(z), len(spans)), np.nan)
    n = z.shape[1]
    start = np.zeros(n, dtype=np.int64)
    departed, level, mean, raw = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    spare, ordered = np.empty(n), np.empty(window)
    for i in range(len(z)):
        _departures(z[i], start, window, ordered, departed, level)
        for k in range(len(spans)):
            _means(departed, start, spans[k], mean)
            for t in range(n):
                raw[t] = abs(mean[t]) if direction[i] == 0 else max(mean[t] * direction[i], 0.0)
                if np.isnan(mean[t]):
                    raw[t] = np.nan
            out[i, k] = row_threshold(raw, events[i], persistence, quiet, spare)
    return out


@njit(cache=True, nogil=True)
def sudden_scores(
    z: Floats,
    era: NDArray[np.int32],
    thresholds: Floats,
    least: Floats,
    relative: Floats,
    spans: Ints,
    window: int,
) -> tuple[Floats, Floats, Floats, NDArray[np.int8]]:
    """How far every step is along the way to its alert line.

    Parameters
    ----------
    z : (n_series, n_steps)
    era : (n_series, n_steps)
        Of ``models/band_levels.py``: when a level was learned or given up, the past is another
        one's.
    thresholds : (n_series, n_spans)
        What ``sudden_thresholds`` found.
    least, relative : (n_series, n_steps)
        Departure below which nothing is news, in the unit of ``z``. The second is for one step:
        of a mean less is news, as its noise is less, by the root of the span.

    Returns
    -------
    ratio : (n_series, n_steps)
        Signed; 1 is the line. 0 where nothing can be said. A mean of several steps counts as far as
        that of the last few (a quarter of the shortest span) is out as well: what is over is over.
    level : (n_series, n_steps)
        Median of the residuals of the last hours, NaN where unknown.
    line : (n_series, n_steps)
        The departure, of the ratio's mean, that is 1; NaN where nothing can be said.
    span : int8, (n_series, n_steps)
        Position in ``spans`` of the ratio's mean.
    """
    n = z.shape[1]
    start = np.zeros(n, dtype=np.int64)
    ratio, level = np.zeros(z.shape), np.empty(z.shape)
    lines, which = np.full(z.shape, np.nan), np.zeros(z.shape, dtype=np.int8)
    departed, mean, recent = np.empty(n), np.empty(n), np.empty(n)
    ordered = np.empty(window)
    for i in range(len(z)):
        for t in range(1, n):
            changed = era[i, t] <= 1 and era[i, t] != era[i, t - 1]
            start[t] = t if changed else start[t - 1]
        _departures(z[i], start, window, ordered, departed, level[i])
        for k in range(len(spans)):
            if np.isnan(thresholds[i, k]):
                continue
            _means(departed, start, spans[k], mean)
            _means(departed, start, max(spans[min(k, 1)] // _QUARTER, 1), recent)
            for t in range(n):
                line = max(thresholds[i, k], least[i, t], relative[i, t] / np.sqrt(spans[k]))
                if np.isnan(mean[t]) or not line > 0.0:
                    continue
                side = np.sign(mean[t])
                now = side * min(abs(mean[t]), max(side * recent[t], 0.0)) / line
                if abs(now) > abs(ratio[i, t]) or k == 0:
                    ratio[i, t], lines[i, t], which[i, t] = now, line, k
    return ratio, level, lines, which


@njit(cache=True, nogil=True)
def _departures(
    z: Floats, start: Ints, window: int, ordered: Floats, departed: Floats, level: Floats
) -> None:
    """Each step less the median of the ``window`` steps before it, none before its ``start``, into
    ``departed``; the medians into ``level``.

    A step that is back near what was forecast, from a level that was not, is no departure.
    """
    n = 0
    for t in range(len(z)):
        if start[t] == t:
            n = 0
        elif t > window + start[t] and not np.isnan(z[t - window - 1]):
            n = _removed(ordered, n, z[t - window - 1])
        if t > start[t] and not np.isnan(z[t - 1]):
            n = _inserted(ordered, n, z[t - 1])
        level[t] = np.nan
        departed[t] = np.nan
        if _QUARTER * n >= window:
            level[t] = 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
            recovered = abs(z[t]) <= _RECOVERED * abs(level[t])
            departed[t] = z[t] - level[t] if not recovered else 0.0


@njit(cache=True, nogil=True)
def _place(ordered: Floats, n: int, value: float) -> int:
    """Number of the first ``n`` that are below ``value``."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _removed(ordered: Floats, n: int, value: float) -> int:
    at = _place(ordered, n, value)
    for i in range(at, n - 1):
        ordered[i] = ordered[i + 1]
    return n - 1


@njit(cache=True, nogil=True)
def _inserted(ordered: Floats, n: int, value: float) -> int:
    at = _place(ordered, n, value)
    for i in range(n, at, -1):
        ordered[i] = ordered[i - 1]
    ordered[at] = value
    return n + 1


@njit(cache=True, nogil=True)
def _means(values: Floats, start: Ints, span: int, out: Floats) -> None:
    """Mean of the last ``span`` values, none before ``start``; NaN where less than two thirds of
    them are known, or the present one is not."""
    for t in range(len(values)):
        out[t] = values[t]
    if span == 1:
        return
    total, n = 0.0, 0
    for t in range(len(values)):
        if t % span == 0 or start[t] == t:  # anew now and then: only adding and taking away drifts
            total, n = 0.0, 0
            for j in range(max(t - span + 1, start[t]), t + 1):
                if not np.isnan(values[j]):
                    total += values[j]
                    n += 1
        else:
            if not np.isnan(values[t]):
                total += values[t]
                n += 1
            if t >= span + start[t] and not np.isnan(values[t - span]):
                total -= values[t - span]
                n -= 1
        enough = n >= _KNOWN_SHARE * span and not np.isnan(values[t])
        out[t] = total / n if enough else np.nan
