"""From the target to what explains it: an absorbing walk over services and calls.

Pain (latency, errors) comes to a caller from its callees, and to a service from its own load; more
load comes to a callee from its callers; less load too, or from a caller that is in pain. The walk
starts at the target and goes against these arrows, in proportion to the evidence at their other end
or beyond. It ends where a service shows more than any place ahead: after the random walks of
MonitorRank (Kim et al., 2013), with a part that starts anywhere since graphs miss calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.cause_series import Floats

__all__ = ["FALLEN_LOAD", "PAINS", "RISEN_LOAD", "WalkParams", "numbered_calls", "walk"]

PAINS, RISEN_LOAD, FALLEN_LOAD = 0, 1, 2
"""The three places of a service."""
_ROUNDS = 120
_BRIDGES = 3
"""Services in a row that were not measured."""


@dataclass(frozen=True, slots=True)
class WalkParams:
    """Usual values of random walks. From 0 to 0.5 ``beyond`` ranks alike on simulated and recorded
    incidents; 0.9 is better on the first and worse on the second, where graphs and data are not as
    clean."""

    anywhere: float = 0.1
    """Share of evidence that counts without any call that leads to it."""
    stay: float = 0.05
    """Share of its evidence with which a place ends the walk though one ahead explains it."""
    beyond: float = 0.5
    """What evidence a service further on counts of it: one in between may show little of what
    comes through it, and much lies further on by accident."""
    further: float = 0.9
    """Chance that a step is followed by another."""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        for key in ("anywhere", "stay", "beyond", "further"):
            value = getattr(self, key)
            if not 0 < value < 1:
                raise ValueError(f"{key} must be between 0 and 1, got {value}")


def walk(
    evidence: Floats,
    caller: NDArray[np.intp],
    callee: NDArray[np.intp],
    start: Floats,
    params: WalkParams,
) -> Floats:
    """Where the walk ends: shares that sum to 1, (3, n_services); 0 everywhere without evidence.

    ``evidence`` (3, n_services) is ≥ 0; ``caller`` calls ``callee``, (n_calls,); ``start``
    (3, n_services) is where the walk begins, in any scale; all 0 is everywhere by evidence.
    """
    total = evidence.sum()
    if not total > 0:
        return np.zeros_like(evidence)
    n = evidence.shape[1]
    flat = evidence.ravel()
    source, ahead = _arrows(caller, callee, n)
    weight = _best_from_here_on(flat, source, ahead, params.beyond)[ahead]
    strongest = np.zeros(3 * n)
    np.maximum.at(strongest, source, weight)
    ends = np.maximum(flat - strongest, 0.0) + params.stay * flat
    leaves = np.bincount(source, weight, 3 * n) + ends
    alive = leaves > 0
    leaves = np.where(alive, leaves, 1.0)
    ends, weight = ends / leaves, params.further * weight / leaves[source]
    first = start.ravel() if start.sum() > 0 else flat
    here = first / first.sum()
    visits = np.zeros(3 * n)
    for _ in range(_ROUNDS):
        visits += here
        here = np.bincount(ahead, here[source] * weight, 3 * n)
    ended = visits * ends
    ended = ended / ended.sum() if ended.sum() > 0 else flat / total
    mixed = (1 - params.anywhere) * ended + params.anywhere * flat / total
    return mixed.reshape(3, n)


def _best_from_here_on(
    evidence: Floats, source: NDArray[np.intp], ahead: NDArray[np.intp], beyond: float
) -> Floats:
    """The strongest evidence at a place or beyond, worth ``beyond`` of it a step away."""
    best = evidence.copy()
    for _ in range(_ROUNDS):
        known = best.copy()
        np.maximum.at(best, source, beyond * known[ahead])
        if np.array_equal(best, known):
            break
    return best


def _arrows(
    caller: NDArray[np.intp], callee: NDArray[np.intp], n: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """From a place to what may explain it."""
    pairs = np.unique(np.stack([caller, callee], axis=1)[caller != callee], axis=0)
    up, down, one = pairs[:, 0], pairs[:, 1], np.arange(n)
    source = [up, one, n + down, 2 * n + down, 2 * n + down]
    ahead = [down, n + one, n + up, 2 * n + up, up]
    return np.concatenate(source), np.concatenate(ahead)


def numbered_calls(
    edges: pd.DataFrame | None, services: pd.Index, target: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places of callers and callees in ``services``, both (n_calls,).

    Who calls something that was not measured is taken to call what that calls. Without edges the
    target is taken to call everybody: pain reaches it from anywhere, and load comes through it.
    """
    if edges is None or edges.empty:
        if target is None:
            return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
        return np.full(len(services), target), np.arange(len(services))
    calls = edges[["caller", "callee"]].astype("str")
    for _ in range(_BRIDGES):
        inner = calls[~calls["callee"].isin(services)]
        through = inner.merge(calls.rename(columns={"caller": "callee", "callee": "next"}))
        through = through[["caller", "next"]].rename(columns={"next": "callee"})
        calls = pd.concat([calls[calls["callee"].isin(services)], through]).drop_duplicates()
    caller, callee = (services.get_indexer(pd.Index(calls[c])) for c in ("caller", "callee"))
    known = (caller >= 0) & (callee >= 0)
    return caller[known], callee[known]
