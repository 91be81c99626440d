"""The season of a series from cycle to cycle: exponential smoothing of every slot at a few rates,
averaged by how well each told the next cycle, with the noise of the slots shrunk away.

A slot's season over four weeks rests on four values. Two things lend it strength, each as far as
the data show no more than noise between them (empirical Bayes, after James and Stein 1961): its
neighbours within an hour, and, for weeks, the same time on all days. Around a sharp ramp, or on a
weekend, the differences are larger than the noise, and stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats
from models.decomposition_levels import weights_of

__all__ = ["season_paths"]

_NEAR_BLOCKS = 3  # to either side: what is shrunk alike

Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def season_paths(
    cube: Floats, levels: Floats, layout: Any, weekly: bool, rates: Floats, out: Floats
) -> None:
    """Write the season known after each cycle, mean zero.

    Parameters
    ----------
    cube, out : (n_cycles, n_slots)
    levels : (n_cycles,)
        NaN where a cycle is empty.
    layout
        ``decomposition_kernels.Layout``.
    rates : (n_rates,)
    """
    cycles, slots = cube.shape
    paths, errors = np.empty((len(rates), cycles, slots)), np.zeros(len(rates))
    for r in range(len(rates)):
        _follow(cube, levels, layout, weekly, rates[r], paths[r])
        for c in range(1, cycles):
            for s in range(slots):
                e = abs(cube[c, s] - levels[c] - paths[r, c - 1, s])
                if np.isfinite(e):
                    errors[r] += e
    share = weights_of(errors)
    out[:] = 0
    for r in range(len(rates)):
        out += share[r] * paths[r]


@njit(cache=True, nogil=True)
def _follow(
    cube: Floats, levels: Floats, layout: Any, weekly: bool, rate: float, out: Floats
) -> None:
    """One rate: smooth, and after each cycle write the shrunk season."""
    cycles, slots = cube.shape
    blocks, bins = len(layout.block_of_day), layout.block_of_day.max() + 1
    season, seen = np.full(slots, np.nan), np.zeros(slots, np.int64)
    # By how often a slot was seen: cycles behind its season, the next value's weight, and what
    # brings an innovation to the size of the noise.
    worth = np.minimum(np.arange(cycles + 1.0), 2 / rate - 1)
    gain = np.maximum(rate, 1 / np.maximum(np.arange(cycles + 1.0), 1))
    size = np.sqrt(worth / (worth + 1))
    noise = np.zeros((4, bins))  # squares and numbers, between blocks and within them
    mean, number = np.empty(blocks), np.empty(blocks)
    innovation = np.empty(slots)
    for c in range(cycles):
        mean[:] = 0
        number[:] = 0
        for s in range(slots):
            innovation[s] = cube[c, s] - levels[c] - season[s]
            if np.isfinite(innovation[s]):
                innovation[s] *= size[seen[s]]
                mean[layout.block[s]] += innovation[s]
                number[layout.block[s]] += 1
        _add_noise(innovation, mean, number, layout, noise)
        for s in range(slots):
            v = cube[c, s] - levels[c]
            if np.isfinite(v):
                seen[s] += 1
                if seen[s] == 1:
                    season[s] = v
                else:
                    season[s] += gain[seen[s]] * (v - season[s])
        _shrink(season, worth[seen], layout, weekly, noise, out[c])


@njit(cache=True, nogil=True)
def _add_noise(
    innovation: Floats, mean: Floats, number: Floats, layout: Any, noise: Floats
) -> None:
    for b in range(len(mean)):
        if number[b] > 0:
            mean[b] /= number[b]
            noise[0, layout.block_of_day[b]] += mean[b] ** 2
            noise[1, layout.block_of_day[b]] += 1
    for s in range(len(innovation)):
        b = layout.block[s]
        if np.isfinite(innovation[s]) and number[b] > 1:
            noise[2, layout.block_of_day[b]] += (innovation[s] - mean[b]) ** 2
            noise[3, layout.block_of_day[b]] += (number[b] - 1) / number[b]


@njit(cache=True, nogil=True)
def _shrink(
    season: Floats, known: Floats, layout: Any, weekly: bool, noise: Floats, out: Floats
) -> None:
    """The season with the noise taken out, gaps filled, mean zero."""
    slots, blocks = len(season), len(layout.block_of_day)
    worth = np.zeros(blocks)  # cycles behind a block
    per_block = np.zeros(blocks)
    for s in range(slots):
        worth[layout.block[s]] += known[s]
        per_block[layout.block[s]] += 1
    worth = np.maximum(worth / per_block, 1)
    out[:] = season
    if slots > blocks:
        _near(out, worth, layout, noise, slots // blocks)
    if weekly:
        _to_days(out, worth, layout, noise)
    _bridge(out)
    out -= out.mean()


@njit(cache=True, nogil=True)
def _near(out: Floats, worth: Floats, layout: Any, noise: Floats, width: int) -> None:
    """Draw every slot to the mean of its hour, as far as noise within blocks tells them apart."""
    smooth = _running_mean(out, width // 2)
    own = out - smooth
    square = _running_mean(own * own, width // 2)
    for s in range(len(out)):
        b = layout.block[s]
        h = layout.block_of_day[b]
        if np.isfinite(out[s]) and noise[3, h] > 0:
            expected = noise[2, h] / noise[3, h] / worth[b]
            out[s] = smooth[s] + own[s] * _kept(square[s], expected)
        elif np.isnan(out[s]):
            out[s] = smooth[s]


@njit(cache=True, nogil=True)
def _to_days(out: Floats, worth: Floats, layout: Any, noise: Floats) -> None:
    """Draw every slot to the mean day, as far as noise between blocks tells them apart."""
    slots, blocks = len(out), len(worth)
    day = _mean_day(out, layout)
    own, inside, expected = np.zeros(blocks), np.zeros(blocks), np.full(blocks, np.nan)
    for s in range(slots):
        v = out[s] - day[layout.slot_of_day[s]]
        if np.isfinite(v):
            own[layout.block[s]] += v
            inside[layout.block[s]] += 1
    for b in range(blocks):
        h = layout.block_of_day[b]
        own[b] = (own[b] / inside[b]) ** 2 if inside[b] else np.nan
        if noise[1, h] > 0:
            expected[b] = noise[0, h] / noise[1, h] / worth[b]
    square, expected = _running_mean(own, _NEAR_BLOCKS), _running_mean(expected, _NEAR_BLOCKS)
    for s in range(slots):
        d, b = layout.slot_of_day[s], layout.block[s]
        if np.isnan(out[s]):
            out[s] = day[d]
        elif np.isfinite(expected[b]):
            out[s] = day[d] + (out[s] - day[d]) * _kept(float(square[b]), float(expected[b]))


@njit(cache=True, nogil=True)
def _mean_day(row: Floats, layout: Any) -> Floats:
    """Mean over the days of every slot of the day; NaN where none was seen."""
    slots = layout.slot_of_day.max() + 1
    day, number = np.zeros(slots), np.zeros(slots)
    for s in range(len(row)):
        if np.isfinite(row[s]):
            day[layout.slot_of_day[s]] += row[s]
            number[layout.slot_of_day[s]] += 1
    return np.where(number > 0, day / np.maximum(number, 1), np.nan)


@njit(cache=True, nogil=True)
def _kept(square: float, noise: float) -> float:
    return max(1 - noise / square, 0.0) if square > 0 else 0.0


@njit(cache=True, nogil=True)
def _running_mean(row: Floats, reach: int) -> Floats:
    """Mean of the finite values at most ``reach`` to either side, round the end; NaN of none."""
    n = len(row)
    reach = min(reach, (n - 1) // 2)
    out = np.empty(n)
    total, k = 0.0, 0
    for j in range(-reach, reach + 1):
        if np.isfinite(row[j]):  # from the end where below zero
            total += row[j]
            k += 1
    left, right = (n - reach) % n, reach + 1
    for s in range(n):
        out[s] = total / k if k else np.nan
        if right == n:
            right = 0
        if left == n:
            left = 0
        if np.isfinite(row[left]):
            total -= row[left]
            k -= 1
        if np.isfinite(row[right]):
            total += row[right]
            k += 1
        left += 1
        right += 1
    return out


@njit(cache=True, nogil=True)
def _bridge(out: Floats) -> None:
    """Straight lines over what was never seen, round the end; zeros where nothing was."""
    n, first = len(out), -1
    for s in range(n):
        if np.isfinite(out[s]):
            first = s
            break
    if first < 0:
        out[:] = 0
        return
    last = first
    for j in range(first + 1, first + n + 1):
        if np.isfinite(out[j % n]):
            for gap in range(last + 1, j):
                share = (gap - last) / (j - last)
                out[gap % n] = (1 - share) * out[last % n] + share * out[j % n]
            last = j
