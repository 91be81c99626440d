"""Together: workloads whose signals are jointly far from what the training weeks would allow.

The squared Mahalanobis distance of a step's signals, in robust units and with the correlations of
the training weeks (Hotelling's T²; a fault that keeps every signal in its own band but breaks how
they move together is far away), smoothed over the recent past by an exponential window (Lowry et
al., *A multivariate exponentially weighted moving average control chart*, Technometrics 34, 1992):
what is wrong for half an hour counts for more than what is wrong for one step.

Correlations are shrunk towards none (Ledoit & Wolf, J. Multivariate Analysis 88, 2004, here by a
fixed share: steps in a row are not independent, so that their formula would shrink too little). No
signal counts for more than ``clip`` scales. Raw scores are brought to the score contract of
``models/base.py`` by the alert budget (``models/tail.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.signals import Signals
from models.base import Baselines
from models.selection import lower_medians
from models.signal_words import signal_words
from models.tail import tail_thresholds
from models.together_kernels import (
    Learned,
    correlations,
    distances,
    shares,
    signal_scales,
    smooth,
)
from models.together_params import TogetherParams

__all__ = ["TOP", "Together", "TogetherParams", "TogetherScores", "together_text"]

VERDICTS = ("fitted", "too few signals that vary", "too few rows")
TOP = 3
"""Signals that are named at a flagged point."""

_MONTH = pd.Timedelta(days=365.25 / 12)
_QUIET = pd.Timedelta(hours=1)
_TINY = 1e-9
_REACH = 0.9
_NO_FACTOR = np.zeros((0, 0), dtype=np.float32)
_SPANS = 4.0  # spans that the smoothing looks back; 0.03 % of the weight is beyond
_MOST, _CALM = 0.5, 0.99


@dataclass(frozen=True, slots=True)
class TogetherScores:
    """What is said about every step.

    Attributes
    ----------
    score : float64, (n_workloads, n_steps)
        On the scale of ``models/base.py``: 0 up to the training median of ``raw``, 1 at the
        threshold, linear in ``raw``; just below 1 where it is mostly one signal that is off to its
        good side. NaN where nothing was measured or learned.
    raw : float64, (n_workloads, n_steps)
        Root of the smoothed squared distance.
    points : int64, (n_points, 2)
        Workload and step of the flagged points, those with a score of 1 or more, in order.
    top : int16, (n_points, 3)
        Position in ``Signals.names`` of the signals without which the distance would fall most,
        most first; -1 where there are no more that count.
    share : float32, (n_points, 3)
        Of what all signals would take off, each by itself.
    off : float32, (n_points, 3)
        How far the signal is from its training median, in its scales, signed and smoothed.
    """

    score: Floats
    raw: Floats
    points: NDArray[np.int64]
    top: NDArray[np.int16]
    share: NDArray[np.float32]
    off: NDArray[np.float32]


class Together:
    """The detector of whole workloads by how their signals move together."""

    name = "together"

    def __init__(self, params: TogetherParams | None = None) -> None:
        """Take the knobs."""
        self.params = params or TogetherParams()

    @property
    def context(self) -> pd.Timedelta:
        """How much past to score along with a new point, on any grid."""
        return pd.Timedelta(minutes=_SPANS * self.params.smoothing_min)

    def fit(self, signals: Signals) -> Baselines:
        """Learn scales, correlations and the threshold of every workload.

        Cells that are NaN count as the signal's training median; rows of NaN are left out. What is
        learned of a workload does not depend on its company, nor on the units or the order of its
        signals.

        Returns
        -------
        Baselines
            ``column`` int16 (n_workloads, n_used): the workload's signals as positions in
            ``meta["names"]``, of which the first ``used`` count; ``middle`` and ``scale``
            (n_workloads, n_used); ``factor`` float32 (n_workloads, n_used (n_used + 1) / 2), the
            lower Cholesky factor of the inverse correlation; ``normal`` and ``limit`` (raw scores
            that become 0 and 1; NaN without a baseline); ``verdict`` (index into
            ``meta["verdicts"]``).
        """
        p = self.params
        values = np.require(signals.values, np.float64, ["C", "W"])
        middle, scale, count, moves = signal_scales(values)
        usable = count >= p.minimum_rows
        column, used = _packed(usable)
        middle, scale = (
            np.take_along_axis(a, column.astype(np.intp), axis=1) for a in (middle, scale)
        )
        learned = Learned(column, used, middle, scale, _NO_FACTOR)
        found, rows = correlations(values, learned, p.clip)
        precision = _precision(found, p.shrinkage)
        learned = learned._replace(factor=_factor(precision))
        raw = np.sqrt(smooth(distances(values, learned, p.clip), self._weights(signals.step)))
        thin = (usable & moves).sum(axis=1) < p.minimum_signals
        verdict = np.where(rows < p.minimum_rows, 2, np.where(thin, 1, 0)).astype(np.int8)
        raw[verdict != 0] = np.nan
        normal, limit = self._contract(raw, signals.step)
        farthest = np.sqrt(_farthest(precision, used, p.clip))
        limit = np.fmin(limit, normal + _REACH * (farthest - normal))
        alike = (verdict == 0) & ~(limit > normal)
        verdict[alike], limit[alike] = 1, np.nan
        arrays: dict[str, NDArray[Any]] = {
            **learned._asdict(), "normal": normal, "limit": limit, "verdict": verdict,
        }  # fmt: skip
        keys = pd.DataFrame({"workload": signals.workloads}, dtype="str")
        meta = {"names": signals.names, "clip": p.clip, "verdicts": list(VERDICTS)}
        return Baselines(self.name, keys, arrays, meta)

    def score(self, baselines: Baselines, signals: Signals) -> TogetherScores:
        """Score every step with it and what came before; give ``context`` more past than asked for.

        Workloads and signals are matched by name: a signal that was not there in training is
        ignored, one that is gone counts as its training median, a workload without a baseline is
        NaN.
        """
        arrays = _rows_for(baselines, signals.workloads)
        column = _columns_for(arrays["column"], baselines.meta["names"], signals.names)
        learned = Learned(column, *(arrays[name] for name in Learned._fields[1:]))
        values = np.require(signals.values, np.float64, ["C", "W"])
        clip, weights = float(baselines.meta["clip"]), self._weights(signals.step)
        raw = np.sqrt(smooth(distances(values, learned, clip), weights))
        normal, limit = arrays["normal"][:, None], arrays["limit"][:, None]
        raw[np.isnan(arrays["limit"])] = np.nan
        score = np.maximum((raw - normal) / (limit - normal), 0.0)
        points = np.argwhere(score >= 1.0)
        added, off = shares(values, learned, clip, weights, points)
        top, share, off = _top(column, points, added, off)
        fine = _harmless(signals.signs, top, share, off)
        score[tuple(points[fine].T)] = _CALM
        return TogetherScores(score, raw, points[~fine], top[~fine], share[~fine], off[~fine])

    def _weights(self, step: pd.Timedelta) -> Floats:
        """Weights of the newest step and of those before it; they fall to none at ``context``, so
        that a short past gives the same score as a long one."""
        span = pd.Timedelta(minutes=self.params.smoothing_min) / step
        if not span > 1.0:
            return np.ones(1)
        kept = (span - 1.0) / (span + 1.0)
        return np.power(kept, np.arange(int(_SPANS * span), dtype=np.float64))

    def _contract(self, raw: Floats, step: pd.Timedelta) -> tuple[Floats, Floats]:
        """The raw scores that are 0 and 1 on the contract's scale, (n_workloads,); NaN without
        rows."""
        known = (~np.isnan(raw)).sum(axis=1)
        normal = lower_medians(raw)
        events = np.maximum(self.params.alerts_per_month * known * (step / _MONTH), _TINY)
        quiet = max(int(_QUIET / step), 1)
        limit = tail_thresholds(raw, events, self.params.persistence_steps, quiet)
        return normal, limit


def together_text(signals: Signals, scores: TogetherScores) -> list[str]:
    """What is odd at each flagged point, in words, in the order of ``scores.points``."""
    names = np.array([*signal_words(signals.names), ""], dtype=object)[scores.top]
    return [
        "moves unlike before: "
        + ", ".join(
            f"{name} {off:+.1f}σ ({share:.0%})"
            for name, share, off in zip(row, part, away, strict=True)
            if name
        )
        for row, part, away in zip(names, scores.share, scores.off, strict=True)
    ]


def _packed(usable: NDArray[np.bool_]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Positions of the usable signals, first in each row, and how many there are."""
    used = usable.sum(axis=1).astype(np.int16)
    width = int(used.max(initial=0))
    return np.argsort(~usable, axis=1, kind="stable")[:, :width].astype(np.int16), used


def _precision(correlation: Floats, shrinkage: float) -> Floats:
    """Inverse of the shrunk correlation, (n_workloads, n, n): no eigenvalue above 1/shrinkage."""
    shrunk = (1.0 - shrinkage) * correlation + shrinkage * np.eye(correlation.shape[1])
    return np.asarray(np.linalg.inv(shrunk), dtype=np.float64)


def _factor(precision: Floats) -> NDArray[np.float32]:
    """Lower Cholesky factor, row after row, (n_workloads, n (n + 1) / 2)."""
    lower = np.linalg.cholesky(0.5 * (precision + precision.transpose(0, 2, 1)))
    rows, cols = np.tril_indices(precision.shape[1])
    return lower[:, rows, cols].astype(np.float32)


def _farthest(precision: Floats, used: NDArray[np.int16], clip: float) -> Floats:
    """A distance that can be reached, (n_workloads,): all signals off, the way that one of them
    finds strangest.

    A threshold has to stay below it: one that nothing can reach is none.
    """
    there = np.arange(precision.shape[1]) < used[:, None]
    corner = np.where(precision < 0, -clip, clip) * there[:, None, :]
    reached = ((corner @ precision) * corner).sum(axis=2)
    return np.where(there, reached, 0.0).max(axis=1, initial=0.0)


def _harmless(
    signs: tuple[int, ...],
    top: NDArray[np.int16],
    share: NDArray[np.float32],
    off: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Points that are odd for most because one signal is off to its good side, (n_points,): memory
    that a new pod has not filled yet is no trouble."""
    side = np.array([*(signs or ()), 0], dtype=np.float32)
    if not signs:
        return np.zeros(len(top), dtype=bool)
    return (share[:, 0] >= _MOST) & (side[top[:, 0]] * off[:, 0] < 0)


def _top(
    column: NDArray[np.int16], points: NDArray[np.int64], added: Floats, off: Floats
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32]]:
    """The signals that add most, their shares and distances, all (n_points, 3)."""
    top = np.full((len(points), TOP), -1, dtype=np.int16)
    share, away = (np.zeros((len(points), TOP), dtype=np.float32) for _ in range(2))
    best = np.argsort(-added, axis=1, kind="stable")[:, :TOP]
    n = best.shape[1]
    total = np.maximum(added.sum(axis=1, keepdims=True), _TINY)
    share[:, :n] = np.take_along_axis(added, best, axis=1) / total
    away[:, :n] = np.take_along_axis(off, best, axis=1)
    top[:, :n] = np.take_along_axis(column[points[:, 0]], best, axis=1)
    top[share <= 0] = -1
    return top, share, away


def _rows_for(baselines: Baselines, workloads: list[str]) -> dict[str, NDArray[Any]]:
    """The arrays in the order of ``workloads``; blank, with limit NaN, where one was never
    fitted."""
    row = pd.Index(baselines.keys["workload"]).get_indexer(pd.Index(workloads))
    blank = {name: np.zeros((1, *a.shape[1:]), a.dtype) for name, a in baselines.arrays.items()}
    blank["limit"][:] = np.nan
    return {name: np.concatenate([a, blank[name]])[row] for name, a in baselines.arrays.items()}


def _columns_for(
    column: NDArray[np.int16], names: list[str], given: list[str]
) -> NDArray[np.int16]:
    """Learned positions as positions in ``given``; -1 where a signal is gone."""
    place = np.append(pd.Index(given).get_indexer(pd.Index(names)), -1).astype(np.int16)
    return place[column]
