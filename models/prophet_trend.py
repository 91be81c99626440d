"""Prophet's trend: the piecewise linear path, and how far the future may stray from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["add_trend", "spread"]

_KURTOSIS_MAX = 4.0  # the Cornish-Fisher correction is monotone up to 8


def add_trend(arrays: Mapping[str, NDArray[Any]], epoch_s: Floats, out: Floats) -> None:
    """Add ``m + k t + Σ δ_j (t - c_j)₊`` of every series to ``out``, (n_series, n_times), in place.

    ``arrays`` are those of prophet's baselines.
    """
    _add_trend(
        epoch_s,
        arrays["t_start_s"],
        arrays["t_span_s"],
        arrays["m"],
        arrays["k"],
        arrays["delta"],
        arrays["changepoints"],
        out,
    )


def spread(
    a: Mapping[str, NDArray[Any]], epoch_s: Floats, factor: Floats | None = None
) -> tuple[Floats, Floats]:
    """Deviation and excess kurtosis of noise plus future trend changes, (n_series, n_times).

    ``factor`` is what multiplies the trend, nothing if that is 1.

    A new slope L ~ Laplace(b) that begins x before time h after the history adds L x; with rate r
    of beginnings the variance is r ∫ 2 b² x² dx = 2/3 r b² h³ and the fourth cumulant r ∫ 24 b⁴ x⁴
    dx = 24/5 r b⁴ h⁵.
    """
    number = a["n_changepoints"][:, None]
    b = np.abs(a["delta"]).sum(axis=1, keepdims=True) / np.maximum(number, 1)
    h = (epoch_s - a["t_start_s"][:, None]) / a["t_span_s"][:, None] - 1
    h = np.maximum(h, 0)
    b = b if factor is None else b * factor
    variance = a["sigma"][:, None] ** 2 + 2 / 3 * number * b**2 * h**3
    kurtosis = 24 / 5 * number * b**4 * h**5 / variance**2
    return np.sqrt(variance), np.minimum(kurtosis, _KURTOSIS_MAX)


@njit(cache=True, nogil=True)
def _add_trend(
    epoch_s: Floats,
    t_start_s: Floats,
    t_span_s: Floats,
    m: Floats,
    k: Floats,
    delta: Floats,
    changepoints: Floats,
    out: Floats,
) -> None:
    for i in range(len(out)):
        slope, offset, passed = k[i], m[i], 0
        for h in range(len(epoch_s)):
            t = (epoch_s[h] - t_start_s[i]) / t_span_s[i]
            while passed < delta.shape[1] and changepoints[i, passed] <= t:
                slope += delta[i, passed]
                offset -= delta[i, passed] * changepoints[i, passed]
                passed += 1
            out[i, h] += slope * t + offset
