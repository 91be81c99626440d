"""The Numenta Anomaly Benchmark's score of a detector, over several files at one threshold.

A window is hit by its best alert: the earlier in the window, the nearer to 1. Every other row that
alerts costs ``false_positive``, less of it right after a window. The sum is set between that of a
silent detector (0) and of a perfect one (100).

Source: Lavin & Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015, and the
benchmark's published rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.panel import Floats
from models.detection_measures import Rows, tie_ends

__all__ = ["NabCurve", "NabProfile", "nab_curve"]


@dataclass(frozen=True, slots=True)
class NabProfile:
    """What a hit, an alert beside and a miss weigh; the published standard profile."""

    true_positive: float = 1.0
    false_positive: float = 0.11
    false_negative: float = 1.0
    probation_share: float = 0.15
    """Of a file's rows come first and are not scored …"""
    probation_rows: int = 5_000
    """… but never more than that share of so many rows."""

    def probation(self, n: int) -> int:
        """Rows at the start of a file of ``n`` that are not scored."""
        return int(self.probation_share * min(n, self.probation_rows))


@dataclass(frozen=True, slots=True)
class NabCurve:
    """NAB's score at every threshold: 0 for a silent detector, 100 for a perfect one.

    Attributes
    ----------
    thresholds : float64, (n,)
        Descending from inf (nobody is told), all scores that occur.
    scores : float64, (n,)
    """

    thresholds: Floats
    scores: Floats

    @property
    def best(self) -> float:
        """The score as it is published: at the one threshold that suits all files best."""
        return float(self.scores.max())

    @property
    def best_threshold(self) -> float:
        """Where ``best`` is reached; the highest of equals."""
        return float(self.thresholds[self.scores.argmax()])

    def at(self, line: float) -> float:
        """The score of alerting at ``line`` and above."""
        return float(self.scores[np.flatnonzero(self.thresholds >= line)[-1]])


def nab_curve(
    files: Sequence[tuple[Floats, Rows]], profile: NabProfile | None = None
) -> NabCurve | None:
    """NAB over several files at once.

    ``files`` holds, for each file, the scores of all its rows (n,) and its windows as first and
    last row (k, 2), apart from each other (``window_rows``). A window that ends within the
    probation cannot be found and does not count. None where no window counts.
    """
    p = profile or NabProfile()
    parts = [_gains(np.asarray(scores, dtype=np.float64), rows, p) for scores, rows in files]
    n_windows = sum(n for _, _, n in parts)
    if not n_windows:
        return None
    scores = np.concatenate([s for s, _, _ in parts])
    gains = np.concatenate([g for _, g, _ in parts])
    order = np.argsort(-scores, kind="stable")
    ends = tie_ends(scores[order])
    unit = 100.0 / (n_windows * (p.true_positive + p.false_negative))
    return NabCurve(
        np.r_[np.inf, scores[order][ends]], np.r_[0.0, gains[order].cumsum()[ends] * unit]
    )


def _gains(scores: Floats, windows: Rows, p: NabProfile) -> tuple[Floats, Floats, int]:
    """Scored rows: their scores, what each adds once all higher ones are alerts, and how many
    windows can be found.
    """
    n = len(scores)
    rows = np.arange(n)
    scored = (rows >= p.probation(n)) & ~np.isnan(scores)
    gains = np.full(n, -p.false_positive)  # before the first window: as far from one as can be
    n_windows = 0
    for first, last in windows:
        width = last - first + 1
        away = (rows[last + 1 :] - last) / max(width - 1, 1)
        gains[last + 1 :] = p.false_positive * np.where(away < 3, _sigmoid(away), -1.0)
        n_windows += int(last >= p.probation(n))
    for first, last in windows:
        inside = rows[first : last + 1][scored[first : last + 1]]
        place = -(last - inside + 1) / (last - first + 1)
        worth = p.true_positive * _sigmoid(place) / _sigmoid(np.array(-1.0))
        order = np.argsort(-scores[inside], kind="stable")
        best = np.maximum.accumulate(np.r_[-p.false_negative, worth[order]])
        gains[inside[order]] = np.diff(best)
    return scores[scored], gains[scored], n_windows


def _sigmoid(place: Floats) -> Floats:
    """NAB's: nearly 1 at a window's start (−1), 0 at its end, nearly −1 one width later."""
    return 2 / (1 + np.exp(5 * place)) - 1
