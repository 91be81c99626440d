"""The value at a rank without sorting: what a quantile of many rows costs is mostly sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from features.panel import Floats

__all__ = ["finite_into", "lower_medians", "nth", "quantile"]

_SHORT = 16
_FACTOR, _PRIME = 48_271, 2**31 - 1  # Park, Miller & Stockmeyer, CACM 36, 1993


@njit(cache=True, nogil=True)
def nth(values: Floats, spare: Floats, first: int, n: int, k: int) -> float:
    """The ``k``-th smallest of ``values[:n]``, counted from 0, of which the first ``first`` are in
    place already.

    ``values`` is reordered so that no value before ``k`` is larger and none after it smaller;
    ``spare`` is as long. NaN must not be among them. (Hoare's selection, CACM 4, 1961, parted
    without branches: a processor guesses half of them wrong.)
    """
    low, high, dice = first, n, 1
    while high - low > _SHORT:
        dice = dice * _FACTOR % _PRIME  # anywhere: load is periodic, so its fixed places are alike
        a = values[low + dice % (high - low)]
        dice = dice * _FACTOR % _PRIME
        b = values[low + dice % (high - low)]
        dice = dice * _FACTOR % _PRIME
        c = values[low + dice % (high - low)]
        pivot = max(min(a, b), min(max(a, b), c))
        below, above = low, 0
        for i in range(low, high):
            v = values[i]
            values[below] = v
            spare[above] = v
            below += v < pivot
            above += v > pivot
        values[below : high - above] = pivot
        values[high - above : high] = spare[:above]
        if k < below:
            high = below
        elif k >= high - above:
            low = high - above
        else:
            return float(pivot)
    for i in range(low + 1, high):
        v, j = values[i], i
        while j > low and values[j - 1] > v:
            values[j] = values[j - 1]
            j -= 1
        values[j] = v
    return float(values[k])


@njit(cache=True, nogil=True)
def quantile(values: Floats, spare: Floats, first: int, n: int, probability: float) -> float:
    """Quantile of ``values[:n]`` by linear interpolation, NaN of none; see ``nth``."""
    if n == 0:
        return np.nan
    at = min(max(probability, 0.0), 1.0) * (n - 1)
    below = int(np.floor(at))
    lower = nth(values, spare, first, n, below)
    upper = nth(values, spare, below, n, min(below + 1, n - 1))
    return lower + (at - below) * (upper - lower)


@njit(cache=True, nogil=True)
def finite_into(values: Floats, row: Any, n: int) -> int:
    """Put the finite values of a row behind the first ``n`` of ``values``; how many there are
    then."""
    for v in row:
        values[n] = v
        n += np.isfinite(v)
    return n


@njit(cache=True, nogil=True)
def lower_medians(values: Floats) -> Floats:
    """The lower of the middle values of each row, (n_rows,); NaN without any."""
    out = np.full(len(values), np.nan)
    row, spare = np.empty(values.shape[1]), np.empty(values.shape[1])
    for i in range(len(values)):
        n = finite_into(row, values[i], 0)
        if n:
            out[i] = nth(row, spare, 0, n, (n - 1) // 2)
    return out
