"""Signals as 16-bit whole numbers: what the isolation trees compare.

A value's distance from its signal's median, in units of the signal's training range, as single
precision with 9 bits of mantissa (steps of 0.1–0.2 % of the distance) and exponents from 2⁻⁶³ to 1.
The code of a larger value is never smaller, so trees grown on codes are trees grown on values that
were rounded a little. Twice as many 16-bit numbers as floats fit a vector register and a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features.panel import Floats

__all__ = ["LEAF", "Codes", "code_of", "code_rows", "value_of"]

Codes = NDArray[np.int16]

LEAF = np.int16(32767)
"""As a threshold: nothing is above it."""

_LAST = 32766
_BEYOND = 1.9  # ranges from the median; training rows are within 1
_DROPPED = 14  # of the 23 bits of a single's mantissa
_STEPS = 512  # codes an exponent
_WIDTH, _WITHIN = np.uint64(9), np.uint64(_STEPS - 1)
_LEAST = 64 * _STEPS  # the code of 2⁻⁶³ before it is moved to 0
_POWERS = 2.0 ** (np.arange(64) - 63)


@njit(cache=True, nogil=True)
def code_rows(
    rows: Floats, median: Floats, spread: Floats, used: NDArray[np.bool_]
) -> tuple[Codes, NDArray[np.bool_]]:
    """Codes of every signal, (n_signals, n_rows), and which rows hold anything at all, (n_rows,).

    Missing cells and signals of no use are at the median, 0. ``rows`` is (n_rows, n_signals).
    """
    n_rows, n_signals = rows.shape
    single = np.zeros((n_signals, n_rows), dtype=np.float32)
    known = np.zeros(n_rows, dtype=np.bool_)
    for s in range(n_signals):
        if used[s]:
            for t in range(n_rows):
                v = rows[t, s]
                there = not np.isnan(v)
                known[t] |= there
                away = min(max((v - median[s]) / spread[s], -_BEYOND), _BEYOND)
                single[s, t] = away if there else 0.0
    bits = single.view(np.int32)
    out = np.empty((n_signals, n_rows), dtype=np.int16)
    for s in range(n_signals):
        for t in range(n_rows):
            out[s, t] = _code(bits[s, t])
    return out, known


@njit(cache=True, nogil=True)
def _code(bits: Any) -> Any:
    """Code of a single given as its bits."""
    size = ((bits & np.int32(0x7FFFFFFF)) >> np.int32(_DROPPED)) - np.int32(_LEAST)
    size = min(max(size, np.int32(0)), np.int32(_LAST))
    return np.int16(-size if bits < 0 else size)


@njit(cache=True, nogil=True)
def code_of(value: float, single: Any, bits: Any) -> Any:
    """Code of one value; ``bits`` is a view of ``single``, (1,) float32."""
    single[0] = value
    return _code(bits[0])


@njit(cache=True, nogil=True)
def value_of(code: int) -> float:
    """The value nearest to 0 that has the code."""
    size = np.uint64(abs(code))
    away = _POWERS[size >> _WIDTH] * (1.0 + float(size & _WITHIN) / _STEPS)
    return 0.0 if size == 0 else (away if code > 0 else -away)
