"""Isolation forest: workloads whose signals, taken together, are unlike any training week.

scikit-learn's algorithm and defaults (100 trees, subsamples of 256 without replacement, depth
⌈log₂ 256⌉, score 2^(−mean path / c)), for all workloads in one call. Raw scores are brought to the
score contract of ``models/base.py`` by the alert budget (``models/tail.py``).

A signal that never moved in training is in no tree, as in scikit-learn: there is nothing to cut.
When it moves later the forest cannot say so; the band can, which judges every metric by itself and
gives one that never moved the narrowest of bands (``models/band.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats
from features.signals import Signals
from models.base import Baselines
from models.forest_kernels import grow_forests, occlude, prepare, raw_scores
from models.selection import lower_medians
from models.signal_words import signal_words
from models.tail import tail_thresholds

__all__ = ["TOP", "ForestScores", "IsolationForest", "IsolationForestParams", "contributions_text"]

TOP = 3
"""Signals that are named at a flagged point."""

VERDICTS = ("fitted", "too few signals that vary", "too few rows")

_MONTH = pd.Timedelta(days=365.25 / 12)
_QUIET = pd.Timedelta(hours=1)
_TINY = 1e-9
_REACH = 0.9
_OFF = 100.0
_MOST_TREES = 10_000  # path lengths are summed in 32 bits


@dataclass(frozen=True, slots=True)
class IsolationForestParams:
    """Knobs of the isolation forest."""

    n_trees: int = 100
    subsample: int = 256
    """Rows a tree is grown from."""
    seed: int = 0
    alerts_per_month: float = 0.2
    """Events a clean workload may cause a month."""
    persistence_steps: int = 2
    """Steps in a row with a score from 1 on that make an event."""
    minimum_signals: int = 2
    """Signals that vary without which a workload has no forest: of one the band says all."""
    minimum_rows: int = 96
    """Training rows without which a workload has no forest: a day of quarter hours.

    The threshold is read off the highest twentieth of the rows; of fewer than 96 that would be
    fewer than five, and the hours of the day that were not seen would all look odd.
    """

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for key, least in (
            ("n_trees", 1), ("persistence_steps", 1), ("minimum_rows", 50), ("minimum_signals", 1),
        ):  # fmt: skip
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be at least {least}, got {getattr(self, key)!r}")
        if not 2 <= self.subsample <= 4096:
            raise ValueError(f"subsample must be between 2 and 4096, got {self.subsample!r}")
        if self.n_trees > _MOST_TREES:
            raise ValueError(f"n_trees must be at most {_MOST_TREES}, got {self.n_trees!r}")
        if not self.alerts_per_month > 0:
            raise ValueError(f"alerts_per_month must be above 0, got {self.alerts_per_month!r}")


@dataclass(frozen=True, slots=True)
class ForestScores:
    """What the forest says about every step; all arrays are (n_workloads, n_steps).

    Attributes
    ----------
    score : float64
        On the scale of ``models/base.py``: 0 up to the training median of ``raw``, 1 at the
        threshold, linear in ``raw``. NaN where a workload has no signal or no forest.
    raw : float64
        scikit-learn's score, in (0, 1).
    top : int16
        Where the score is 1 or more: the position in ``Signals.names`` of the signal that adds
        most to it, that is, without which (at its training median) the raw score would be lowest
        (Robnik-Šikonja & Kononenko, IEEE TKDE 20, 2008). Elsewhere -1.
    top_share : float32
        What that signal adds, as a share of what all signals add; 0 where ``top`` is -1.
    tops : int16, (n_flagged, TOP)
        Of the points with a score from 1 on, in the order of ``np.nonzero(score >= 1)``: the
        signals that add most, the most first; -1 where no further signal adds anything.
    shares : float32, (n_flagged, TOP)
        Their shares, falling; 0 where there is none.
    """

    score: Floats
    raw: Floats
    top: NDArray[np.int16]
    top_share: NDArray[np.float32]
    tops: NDArray[np.int16]
    shares: NDArray[np.float32]


class IsolationForest:
    """The detector of whole workloads."""

    name = "isolation_forest"

    def __init__(self, params: IsolationForestParams | None = None) -> None:
        """Take the knobs."""
        self.params = params or IsolationForestParams()

    def fit(self, signals: Signals) -> Baselines:
        """Grow a forest a workload and find its threshold.

        Cells that are NaN count as the signal's training median, rows of NaN are left out. A
        workload's forest depends on its name, its values and the seed, not on its company.

        Returns
        -------
        Baselines
            ``feature``, ``threshold`` and ``path`` int16 (trees: ``models/forest_growth.py``),
            ``median``, ``spread``, ``used`` (n_workloads, n_signals), ``rows``, ``normal`` and
            ``limit`` (raw scores that become 0 and 1), ``verdict`` (index into
            ``meta["verdicts"]``). ``meta["names"]`` are the signals.
        """
        p = self.params
        values = np.require(signals.values, np.float64, ["C", "W"])
        prepared = prepare(values)
        usable = prepared[2].sum(axis=1) >= p.minimum_signals
        prepared[2][~usable] = False
        depth = int(np.ceil(np.log2(p.subsample)))
        seeds = _seeds(signals.workloads, p.seed)
        forest = grow_forests(values, prepared, seeds, p.n_trees, p.subsample, depth)
        raw = raw_scores(values, prepared, forest, p.subsample)
        rows = forest[3]
        verdict = np.where(~usable, 1, np.where(rows < p.minimum_rows, 2, 0)).astype(np.int8)
        raw[verdict != 0] = np.nan
        normal, limit = self._contract(raw, signals.step)
        farthest = _farthest(prepared, forest, p.subsample)
        limit = np.fmin(limit, normal + _REACH * (farthest - normal))  # also without a tail
        alike = (verdict == 0) & ~(limit > normal)  # no row, however far off, would stand out
        verdict[alike], limit[alike] = 1, np.nan
        arrays: dict[str, NDArray[Any]] = dict(
            zip(("feature", "threshold", "path", "rows"), forest, strict=True)
        )
        arrays |= dict(zip(("median", "spread", "used"), prepared, strict=True))
        arrays |= {"normal": normal, "limit": limit, "verdict": verdict}
        keys = pd.DataFrame({"workload": signals.workloads}, dtype="str")
        meta = {"names": signals.names, "subsample": p.subsample, "verdicts": list(VERDICTS)}
        return Baselines(self.name, keys, arrays, meta)

    def score(self, baselines: Baselines, signals: Signals) -> ForestScores:
        """Score every row by itself.

        Workloads and signals are matched by name: a signal that was not there in training is
        ignored, one that is gone counts as its training median, a workload without a forest is NaN.

        Raises
        ------
        ValueError
            The baselines are of a release that kept its trees otherwise.
        """
        if baselines.arrays["threshold"].dtype != np.int16:
            raise ValueError(
                "isolation_forest: expected trees of 16-bit codes, got "
                f"{baselines.arrays['threshold'].dtype}: an earlier release's; run `foretide train`"
            )
        learned = _rows_for(baselines, signals.workloads)
        values, column = _columns_for(list(baselines.meta["names"]), signals)
        prepared = (learned["median"], learned["spread"], learned["used"])
        forest = tuple(learned[name] for name in ("feature", "threshold", "path", "rows"))
        subsample = int(baselines.meta["subsample"])
        raw = raw_scores(values, prepared, forest, subsample)
        normal, limit = learned["normal"][:, None], learned["limit"][:, None]
        raw[np.isnan(learned["limit"])] = np.nan
        score = np.maximum((raw - normal) / (limit - normal), 0.0)
        flagged = score >= 1.0
        added = occlude(values, prepared, forest, subsample, flagged)
        tops, shares = _largest(added, column)
        top = np.full(score.shape, -1, dtype=np.int16)
        share = np.zeros(score.shape, dtype=np.float32)
        top[flagged], share[flagged] = tops[:, 0], shares[:, 0]
        return ForestScores(score, raw, top, share, tops, shares)

    def _contract(self, raw: Floats, step: pd.Timedelta) -> tuple[Floats, Floats]:
        """The raw scores that are 0 and 1 on the contract's scale, (n_workloads,); NaN without
        rows."""
        known = (~np.isnan(raw)).sum(axis=1)
        normal = lower_medians(raw)
        events = np.maximum(self.params.alerts_per_month * known * (step / _MONTH), _TINY)
        quiet = max(int(_QUIET / step), 1)
        limit = tail_thresholds(raw, events, self.params.persistence_steps, quiet)
        return normal, limit


def contributions_text(
    names: Sequence[str], tops: NDArray[np.integer], shares: NDArray[np.floating]
) -> list[str]:
    """``unusual together: p99 latency residual 45 %, CPU per request 30 %`` for each flagged point.

    Parameters
    ----------
    names : the signals
    tops, shares : (n_flagged, TOP)
        As in ``ForestScores``.
    """
    words = np.array([*signal_words(names), ""], dtype=object)[tops]
    percent = np.rint(100 * np.asarray(shares, dtype=np.float64)).astype(int)
    return [
        "unusual together"
        + ": " * bool(told := [f"{w} {p} %" for w, p in zip(*row, strict=True) if w and p])
        + ", ".join(told)
        for row in zip(words.tolist(), percent.tolist(), strict=True)
    ]


def _largest(
    added: NDArray[np.float32], column: NDArray[np.intp]
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The signals that add most to each row and their shares of all that is added, (n, TOP)."""
    gain = np.maximum(added, 0.0)
    order = np.argsort(-gain, axis=1, kind="stable")[:, :TOP]
    tops = np.full((len(gain), TOP), -1, dtype=np.int16)
    shares = np.zeros((len(gain), TOP), dtype=np.float32)
    k = order.shape[1]
    largest = np.take_along_axis(gain, order, axis=1)
    shares[:, :k] = largest / np.maximum(gain.sum(axis=1, keepdims=True), _TINY)
    tops[:, :k] = np.where(largest > 0, column[order], -1)
    return tops, shares


def _farthest(prepared: tuple[Any, ...], forest: tuple[Any, ...], subsample: int) -> Floats:
    """The raw score of a row that is off in every signal, (n_workloads,).

    A threshold has to stay below it: one that nothing can reach is none.
    """
    median, spread, _ = prepared
    corners = np.stack([median - _OFF * spread, median + _OFF * spread], axis=1)
    return raw_scores(corners, prepared, forest, subsample).max(axis=1)


def _seeds(workloads: list[str], seed: int) -> NDArray[np.uint64]:
    """A seed a workload, from its name: the same in every batch and on every machine."""
    digests = [hashlib.blake2b(f"{seed}/{w}".encode(), digest_size=8).digest() for w in workloads]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _rows_for(baselines: Baselines, workloads: list[str]) -> dict[str, NDArray[Any]]:
    """The arrays in the order of ``workloads``; blank, with limit NaN, where one was never
    fitted."""
    known = baselines.keys["workload"].to_list()
    if known == workloads:
        return {name: np.require(a, None, ["C", "W"]) for name, a in baselines.arrays.items()}
    row = pd.Index(known).get_indexer(pd.Index(workloads))
    blank = {name: np.zeros((1, *a.shape[1:]), a.dtype) for name, a in baselines.arrays.items()}
    blank["limit"][:] = np.nan
    return {name: np.concatenate([a, blank[name]])[row] for name, a in baselines.arrays.items()}


def _columns_for(names: list[str], signals: Signals) -> tuple[Floats, NDArray[np.intp]]:
    """Values with the columns that training had, and where each of them is in ``signals``."""
    column = pd.Index(signals.names).get_indexer(pd.Index(names))
    if names == signals.names:
        return np.require(signals.values, np.float64, ["C", "W"]), column
    values = np.full((*signals.values.shape[:2], len(names)), np.nan)
    values[:, :, column >= 0] = signals.values[:, :, column[column >= 0]]
    return values, column
