"""Lines made small: thinned without losing a peak, and written as short JSON.

A line is ``"t": [start_ms, step_ms]`` with ``"v": [value, …]``, or with ``"r": [value, count, …]``
where runs of equal values are shorter; scattered points have ``"x": [ms, …]`` instead of ``t``.
Values have four significant digits; null is a gap.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from features.panel import Floats

__all__ = ["encode", "listed", "sparkline", "thin"]


def thin(values: Floats, most: int) -> tuple[Floats, int]:
    """At most ``most`` (≥ 2) of a regular series' values, and how many steps each now stands for.

    Every bucket of 2k steps gives its minimum and its maximum in the order in which they came, so
    no peak is lost; a value may move by less than one bucket in time. All-NaN buckets stay gaps.
    """
    if len(values) <= most:
        return values, 1
    half = -(-len(values) // (most // 2 * 2))
    pad = np.full(-len(values) % (2 * half), np.nan)
    buckets = np.r_[values, pad].reshape(-1, 2 * half)
    empty = np.isnan(buckets)
    low = np.where(empty, np.inf, buckets).argmin(axis=1)
    high = np.where(empty, -np.inf, buckets).argmax(axis=1)
    picks = np.sort(np.c_[low, high], axis=1)
    return np.take_along_axis(buckets, picks, axis=1).ravel(), half


def encode(values: Floats) -> dict[str, msgspec.Raw]:
    """``v`` (every value) or ``r`` (value, count, …), the shorter; NaN becomes null."""
    if not len(values):
        return {"v": msgspec.Raw(b"[]")}
    finite = np.isfinite(values)
    same = (values[1:] == values[:-1]) | (~finite[1:] & ~finite[:-1])
    begins = np.flatnonzero(np.r_[True, ~same])
    if 2 * len(begins) >= len(values):
        return {"v": listed("%.4g", values)}
    counts = np.diff(np.r_[begins, len(values)])
    return {"r": listed("%.4g,%d", values[begins], counts)}


def sparkline(values: Floats, buckets: int = 60) -> str:
    """SVG path of a series in a box of 120 × 28, gaps left open; empty if nothing can be drawn."""
    picked, _ = thin(values, buckets)
    finite = picked[np.isfinite(picked)]
    if len(finite) < 2:
        return ""
    low, high = float(finite.min()), float(finite.max())
    y = 26 - 24 * (picked - low) / (high - low) if high > low else picked * 0 + 14
    x = np.linspace(0, 120, len(picked))
    path, pen = [], "M"
    for at, level in zip(x.tolist(), y.tolist(), strict=True):
        if math.isnan(level):
            pen = "M"
        else:
            path.append(f"{pen}{at:.0f} {level:.1f}")
            pen = "L"
    return "".join(path)


def listed(form: str, *columns: Any) -> msgspec.Raw:
    """A JSON list of the columns' values, row by row in a %-format; null if not finite."""
    flat = tuple(np.stack(columns, axis=1).ravel().tolist())
    text = ",".join([form] * len(columns[0])) % flat
    for word in ("-inf", "inf", "nan"):
        text = text.replace(word, "null")
    return msgspec.Raw(f"[{text}]".encode())
