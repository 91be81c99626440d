"""Measures of a detector, beside labelled windows: events, precision and recall.

Higher scores are more anomalous; NaN is no answer and is never an alert. Where a measure has no
meaning (nothing labelled, nobody alarmed) it is NaN: "n/a", not zero.

Point-adjusted F1 is not here: one point hit by chance then stands for a whole window, and a random
score comes out near 1 (Kim et al., AAAI 2022).

Sources: Paparrizos et al., VLDB 2022 (VUS), with the rule of the authors' later code that a buffer
counts among the positives only where it was predicted, so that exact labels score 1; Davis &
Goadrich 2006 (areas under precision and recall are not interpolated by lines). NAB's score is in
``models/nab.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.panel import Floats

__all__ = [
    "EventScore",
    "Rows",
    "average_precision",
    "event_score",
    "run_starts",
    "tie_ends",
    "total",
    "vus_pr",
    "window_rows",
]

_WEEK_S = 7 * 86_400.0

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class EventScore:
    """How alerts met labelled windows.

    Attributes
    ----------
    caught, missed : labelled windows with and without an alert
    false : alerts near no window
    alerts : all alerts; several of one window count here, but as one hit
    delays_s : float64, (caught,)
        From a caught window's start to its first alert; negative where the slack reaches before it.
    weeks : how long was looked at
    """

    caught: int
    missed: int
    false: int
    alerts: int
    delays_s: Floats
    weeks: float

    @property
    def precision(self) -> float:
        """Caught windows over caught windows and false alerts."""
        return _share(self.caught, self.caught + self.false)

    @property
    def recall(self) -> float:
        """Caught windows over all windows."""
        return _share(self.caught, self.caught + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where there was no window and no alert."""
        return _share(2 * self.caught, 2 * self.caught + self.false + self.missed)

    @property
    def alerts_a_week(self) -> float:
        """Alerts over the weeks looked at."""
        return _share(self.alerts, self.weeks)

    @property
    def median_delay_s(self) -> float:
        """Of the caught windows."""
        return float(np.median(self.delays_s)) if len(self.delays_s) else float("nan")


def event_score(
    alerts_s: ArrayLike,
    windows_s: ArrayLike,
    weeks: float = float("nan"),
    *,
    before_s: float = 0.0,
    after_s: float = 0.0,
) -> EventScore:
    """Hold alerts against windows.

    Parameters
    ----------
    alerts_s : (n_alerts,)
        The moments at which somebody is told. A run of anomalous points is told of once, when it
        begins: see ``run_starts``. (By overlap, one endless run would catch every window.)
    windows_s : (n_windows, 2)
        Start and end, both inside.
    before_s, after_s
        How much earlier or later than a window an alert still counts as about it.
    """
    alerts = np.asarray(alerts_s, dtype=np.float64).reshape(-1)
    windows = np.asarray(windows_s, dtype=np.float64).reshape(-1, 2)
    met = (alerts >= windows[:, :1] - before_s) & (alerts <= windows[:, 1:] + after_s)
    first = np.where(met, alerts, np.inf).min(axis=1, initial=np.inf)
    caught = np.isfinite(first)
    return EventScore(
        caught=int(caught.sum()),
        missed=int((~caught).sum()),
        false=int((~met.any(axis=0)).sum()),
        alerts=len(alerts),
        delays_s=(first - windows[:, 0])[caught],
        weeks=weeks,
    )


def total(scores: Iterable[EventScore]) -> EventScore:
    """Several series taken together: every window and every alert weighs the same."""
    each = list(scores)
    return EventScore(
        caught=sum(s.caught for s in each),
        missed=sum(s.missed for s in each),
        false=sum(s.false for s in each),
        alerts=sum(s.alerts for s in each),
        delays_s=np.concatenate([np.empty(0), *(s.delays_s for s in each)]),
        weeks=sum(s.weeks for s in each),
    )


def run_starts(scores: Floats, line: float = 1.0) -> Rows:
    """Rows at which a maximal run of ``scores >= line`` begins, (n_runs,)."""
    over = np.asarray(scores) >= line
    return np.flatnonzero(over & ~np.r_[False, over[:-1]])


def window_rows(times: NDArray[np.generic], windows: NDArray[np.generic]) -> Rows:
    """First and last row of each window, (k, 2): windows that touch or overlap become one, windows
    without a row are left out.

    ``times`` (n,) ascending and ``windows`` (n_windows, 2), both ends inside, are of one type.
    """
    first = np.searchsorted(times, windows[:, 0], side="left")
    last = np.searchsorted(times, windows[:, 1], side="right") - 1
    marks = np.zeros(len(times) + 1, dtype=np.int64)
    there = first <= last
    np.add.at(marks, first[there], 1)
    np.add.at(marks, last[there] + 1, -1)
    return _runs(marks.cumsum()[:-1] > 0)


def average_precision(labels: NDArray[np.bool_], scores: Floats) -> float:
    """Area under precision and recall in steps; a constant score gets the share of labels.

    ``labels`` and ``scores`` are (n,). NaN where nothing is labelled.
    """
    order, ends = _descending(scores)
    hit = np.asarray(labels, dtype=np.float64)[order].cumsum()
    if not hit.size or not hit[-1]:
        return float("nan")
    return _area(hit[ends] / hit[-1], hit[ends] / (ends + 1))


def vus_pr(labels: NDArray[np.bool_], scores: Floats, longest_buffer: int) -> float:
    """Volume under precision, recall and the length of a buffer around each window.

    For every buffer length 0 … ``longest_buffer`` (rows) labels fall off on both sides of a window
    as √(1 − distance / length), half the length far. Recall is that of the weighted labels, times
    the share of windows in which anything was predicted. Every distinct score is a threshold.

    The paper joins thresholds by lines from (0, 1): a constant score would get over 1/2. Here the
    area is summed in steps. NaN where nothing is labelled.
    """
    labels = np.asarray(labels, dtype=np.bool_)
    windows = _runs(labels)
    if not len(windows):
        return float("nan")
    order, ends = _descending(scores)
    inside = labels[order].cumsum()[ends]
    clean = np.where(np.isnan(scores), -np.inf, scores)
    lines = clean[order][ends]
    areas = np.empty(longest_buffer + 1)
    for length in range(longest_buffer + 1):
        near = _buffer(windows, len(labels), length)[order].cumsum()[ends]
        recall = np.minimum((inside + near) / (labels.sum() + near / 2), 1.0)
        recall = recall * _existence(windows, clean, lines, length // 2)
        areas[length] = _area(recall, (inside + near) / (ends + 1))
    return float(areas.mean())


def _buffer(windows: Rows, n: int, length: int) -> Floats:
    """Weights of the rows beside the windows, (n,); 0 inside them."""
    out = np.zeros(n)
    distance = np.arange(1, length // 2 + 1)
    weight = np.sqrt(1 - distance / max(length, 1))
    for rows in (windows[:, :1] - distance, windows[:, 1:] + distance):
        there = (rows >= 0) & (rows < n)
        np.add.at(out, rows[there], np.broadcast_to(weight, rows.shape)[there])
    for first, last in windows:
        out[first : last + 1] = 0.0
    return np.minimum(out, 1.0)


def _existence(windows: Rows, scores: Floats, lines: Floats, half: int) -> Floats:
    """Share of the buffered windows that hold a score at or above each line, (n_lines,)."""
    first = np.maximum(windows[:, 0] - half, 0)
    last = np.minimum(windows[:, 1] + half, len(scores) - 1)
    apart = first[1:] > last[:-1]  # buffers that overlap make one window
    spans = zip(first[np.r_[True, apart]], last[np.r_[apart, True]], strict=True)
    highest = np.sort([scores[a : b + 1].max() for a, b in spans])
    return 1 - np.searchsorted(highest, lines, side="left") / len(highest)


def _descending(scores: Floats) -> tuple[Rows, Rows]:
    """Rows from the highest score down, NaN last; and where each value's last row comes in it."""
    clean = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-clean, kind="stable")
    return order, tie_ends(clean[order])


def tie_ends(ordered: Floats) -> Rows:
    """Where the last of each run of equal values is, (n_distinct,)."""
    return np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], np.ones(min(len(ordered), 1), bool)])


def _area(recall: Floats, precision: Floats) -> float:
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _runs(flags: NDArray[np.bool_]) -> Rows:
    """First and last row of each maximal run, (k, 2)."""
    edges = np.diff(np.r_[0, np.asarray(flags, dtype=np.int8), 0])
    return np.column_stack([np.flatnonzero(edges > 0), np.flatnonzero(edges < 0) - 1])


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
