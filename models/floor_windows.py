"""How much a floor has to carry: the most that demand reaches while it stands and its lead time
after; and what comes of it."""

from __future__ import annotations

import numpy as np
from numba import njit

from features.panel import Floats
from models.hpa import ROUNDING, Ints

__all__ = ["carried", "laid_over", "largest", "straight"]


def carried(
    paths: Floats, last: Floats, step_s: float, begin_s: Floats, length_s: Floats
) -> Floats:
    """The most that floors have to carry, (n, n_moments, n_floors).

    Parameters
    ----------
    paths : (n, n_moments, n_ahead)
        Means of the steps after each moment.
    last : (n, n_moments)
        That of the step before it; where it is NaN the first step's stands.
    begin_s : (n_floors,)
        When floors begin, after the moment.
    length_s : (n,)
        How long what they have to carry reaches from there.
    """
    n, n_moments = last.shape
    last = np.where(np.isfinite(last), last, paths[:, :, 0])
    points = np.concatenate([last[:, :, None], paths], axis=2).reshape(n * n_moments, -1)
    lengths = np.repeat(np.asarray(length_s, dtype=np.float64), n_moments)
    return largest(points, -step_s / 2, step_s, begin_s, lengths).reshape(n, n_moments, -1)


@njit(cache=True, nogil=True)
def largest(
    values: Floats, first_s: float, step_s: float, begin_s: Floats, length_s: Floats
) -> Floats:
    """Largest value of straight lines between points, in windows: (n, k) → (n, n_windows).

    Parameters
    ----------
    values : (n, k)
        At ``first_s + i · step_s``; before the first and after the last point the line is flat. NaN
        is bridged; a row of NaN gives NaN.
    begin_s : (n_windows,)
        Where windows begin.
    length_s : (n,)
        How long each row's windows are, ends included.
    """
    n, k = values.shape
    out = np.full((n, len(begin_s)), np.nan)
    at, height = np.empty(k), np.empty(k)
    for i in range(n):
        m = 0
        for j in range(k):
            if np.isfinite(values[i, j]):
                at[m], height[m] = first_s + j * step_s, values[i, j]
                m += 1
        if m == 0:
            continue
        for w in range(len(begin_s)):
            begin, end = begin_s[w], begin_s[w] + length_s[i]
            top = max(np.interp(begin, at[:m], height[:m]), np.interp(end, at[:m], height[:m]))
            j = np.searchsorted(at[:m], begin)
            while j < m and at[j] < end:
                top = max(top, height[j])
                j += 1
            out[i, w] = top
    return out


@njit(cache=True, nogil=True)
def straight(values: Floats, parts: int) -> Floats:
    """Steps' means cut into parts, along straight lines between their middles, (n, k) → (n, k ·
    parts); a step that is NaN stays so."""
    n, k = values.shape
    out = np.full((n, k * parts), np.nan)
    for i in range(n):
        for j in range(k):
            here = values[i, j]
            if np.isnan(here):
                continue
            for p in range(parts):
                place = (p + 0.5) / parts - 0.5
                other = j + 1 if place > 0 else j - 1
                there = values[i, other] if 0 <= other < k else here
                if np.isnan(there):
                    there = here
                out[i, j * parts + p] = here + (there - here) * abs(place)
    return out


@njit(cache=True, nogil=True)
def laid_over(
    alone: Floats, wanted: Floats, floors: Floats, first: int, length: int, lead: Ints
) -> Floats:
    """Floors laid over what an HPA had asked for by itself: pods there, and whole pods missing,
    summed over the ticks whose demand is known, (n, 2).

    Parameters
    ----------
    alone, wanted : (n, m)
        Pods that were asked for, and that the demand needed; NaN where that is not known.
    floors : (n, k)
        From tick ``first`` on, for ``length`` ticks each; none before and after.
    lead : (n,)
        Ticks until a pod that is asked for is ready.
    """
    n, m = alone.shape
    out, asked = np.zeros((n, 2)), np.empty(m)
    for i in range(n):
        for t in range(m):
            asked[t] = alone[i, t]
            k = (t - first) // length
            if 0 <= k < floors.shape[1] and floors[i, k] > asked[t]:
                asked[t] = floors[i, k]
        for t in range(m):
            need = np.ceil(wanted[i, t] * ROUNDING)
            if np.isnan(need):  # what would have been missing there is not known
                continue
            out[i, 0] += asked[t]
            ready = asked[t]
            for back in range(1, min(lead[i], t) + 1):
                ready = min(ready, asked[t - back])
            if need > ready:
                out[i, 1] += need - ready
    return out
