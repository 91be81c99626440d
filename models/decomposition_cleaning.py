"""Outliers drawn in to what season and level allow, by medians: the robust first step of
``models.decomposition``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from features.panel import Floats

__all__ = ["clean"]

_MAD_TO_SIGMA = 1.4826
_ROUNDS = 2  # of medians along both ways, to tell season from level
_ENOUGH = 336  # values behind the median of a cycle
_FEW = 12  # values up to which sorting by insertion is the fastest


@njit(cache=True, nogil=True)
def clean(cube: Floats, levels: Floats, layout: Any, seasonal: bool, clip: float) -> None:
    """Draw outliers in, and give the level of every cycle (NaN for an empty one).

    Season and level are told apart by medians along both ways in turn (Tukey's median polish); how
    far is far is judged by the hour of the day, since busy hours stray more.

    Parameters
    ----------
    cube : (n_cycles, n_slots)
        Changed in place.
    levels : (n_cycles,)
        Written.
    layout
        ``decomposition_kernels.Layout``.
    clip
        How many robust sigma are far.
    """
    cycles, slots = cube.shape
    season, found = np.zeros(slots), np.empty(max(cycles * slots, 1))
    for _ in range(_ROUNDS if seasonal else 1):
        for c in range(cycles):
            levels[c] = _median_of(cube[c], season, found)
        if seasonal:
            _season_of_medians(cube, levels, season, found)
    if not seasonal:  # one level for all: days are told apart by the level models
        levels[:] = _median_of(cube.ravel(), np.zeros(cube.size), found)
    scale = _scales(cube, levels, layout, season, found)
    bins = len(scale)
    for c in range(cycles):
        total, k = 0.0, 0
        for s in range(slots):
            if np.isfinite(cube[c, s]):
                b = layout.block_of_day[layout.block[s]]
                most = clip * (scale[b - 1] + scale[b] + scale[(b + 1) % bins]) / 3
                r = cube[c, s] - season[s] - levels[c]
                cube[c, s] += min(max(r, -most), most) - r
                total += cube[c, s] - season[s]
                k += 1
        levels[c] = total / k if k else np.nan


@njit(cache=True, nogil=True)
def _scales(cube: Floats, levels: Floats, layout: Any, season: Floats, found: Floats) -> Floats:
    """Robust sigma of every hour of the day."""
    cycles = len(cube)
    bins = layout.block_of_day.max() + 1
    scale = np.zeros(bins)
    for b in range(bins):
        k = 0
        for at in range(len(layout.block_of_day)):
            if layout.block_of_day[at] == b:
                for s in range(layout.begins[at], layout.begins[at + 1]):
                    for c in range(cycles):
                        r = abs(cube[c, s] - season[s] - levels[c])
                        if np.isfinite(r):
                            found[k] = r
                            k += 1
        scale[b] = _MAD_TO_SIGMA * _median(found, k) if k else 0.0
    return scale


@njit(cache=True, nogil=True)
def _season_of_medians(cube: Floats, levels: Floats, season: Floats, found: Floats) -> None:
    for s in range(len(season)):
        k = 0
        for c in range(len(cube)):
            if np.isfinite(cube[c, s]):
                found[k] = cube[c, s] - levels[c]
                k += 1
        season[s] = _median(found, k) if k else 0.0


@njit(cache=True, nogil=True)
def _median_of(row: Floats, season: Floats, found: Floats) -> float:
    """Median of a row less its season, of every so many values where there are very many; NaN of
    none."""
    k, there, every = 0, 0, max(len(row) // _ENOUGH, 1)
    for s in range(len(row)):
        if np.isfinite(row[s]):
            if there % every == 0:
                found[k] = row[s] - season[s]
                k += 1
            there += 1
    return _median(found, k) if k else np.nan


@njit(cache=True, nogil=True)
def _median(found: Floats, k: int) -> float:
    """Median of the first ``k`` entries, at least one (Hoare's selection); reorders them."""
    if k <= _FEW:
        for i in range(1, k):
            v, j = found[i], i
            while j > 0 and found[j - 1] > v:
                found[j] = found[j - 1]
                j -= 1
            found[j] = v
        return (found[(k - 1) // 2] + found[k // 2]) / 2
    upper = _select(found, 0, k - 1, k // 2)
    if k % 2:
        return upper
    lower = found[0]
    for j in range(1, k // 2):
        lower = max(lower, found[j])
    return (lower + upper) / 2


@njit(cache=True, nogil=True)
def _select(found: Floats, lo: int, hi: int, at: int) -> float:
    while lo < hi:
        pivot = found[(lo + hi) // 2]
        i, j = lo, hi
        while i <= j:
            while found[i] < pivot:
                i += 1
            while found[j] > pivot:
                j -= 1
            if i <= j:
                found[i], found[j] = found[j], found[i]
                i += 1
                j -= 1
        if at <= j:
            hi = j
        elif at >= i:
            lo = i
        else:
            break
    return float(found[at])
