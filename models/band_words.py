"""Words for the points that the band flagged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.panel import Panel
from models.band_states import BandScores, Reason

__all__ = ["reasons_text"]


def reasons_text(
    panel: Panel, scores: BandScores, flagged: NDArray[np.bool_], time_zone: str = "UTC"
) -> list[str]:
    """Words for the flagged points, in the order of ``np.nonzero(flagged)``.

    ``latency_p99_seconds 0.84, expected 0.21 (0.17–0.26) for Monday 09:00; above``
    """
    rows, columns = np.nonzero(flagged)
    metrics = panel.keys["metric"].to_numpy(dtype=object)[rows]
    when = panel.times[columns].tz_convert(time_zone).strftime("%A %H:%M")
    picked = (a[rows, columns] for a in (panel.values, scores.expected, scores.lower, scores.upper))
    names = np.array([r.name.lower().replace("_", " ") for r in Reason])[
        scores.reason[rows, columns]
    ]
    return [
        f"{metric} {_short(value)}, expected {_short(centre)}{_range(low, high)} for {at}; {reason}"
        for metric, at, value, centre, low, high, reason in zip(
            metrics, when, *picked, names, strict=True
        )
    ]


def _range(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return ""
    if np.isinf(low):
        return f" (up to {_short(high)})"
    return f" (from {_short(low)})" if np.isinf(high) else f" ({_short(low)}–{_short(high)})"


def _short(value: float) -> str:
    if np.isnan(value):
        return "nothing"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.4g}" if abs(value) >= 1e3 else f"{value:.3g}"
