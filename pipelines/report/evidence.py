"""The one drawing of evidence: a metric before and after an onset, with what was expected of it.

What comes out are SVG paths and words for ``templates/evidence.html.j2``; they are made of numbers
alone. Colours are the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.panel import Floats
from pipelines.report.data import Row
from pipelines.report.text import quantity, span

__all__ = ["BAND", "Seen", "drawn", "usual_band"]

WIDTH, HEIGHT = 640.0, 120.0
BAND = (0.05, 0.5, 0.95)
"""Quantiles of the time before that stand in where no band was scored."""
_POINTS = 120
_BAND_ROOM = 1.2
_Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured, and what was expected.

    ``values, lower, expected, upper``: (n_steps,), NaN where not known; ``begins``: the first step
    from the onset on, up to ``n_steps``.
    """

    metric: str
    values: Floats
    begins: int
    lower: Floats
    expected: Floats
    upper: Floats


def usual_band(normal: Floats, n_steps: int) -> tuple[Floats, Floats, Floats]:
    """Lower, middle and upper of what was usual, (n_steps,) each; NaN where nothing was measured.

    ``normal``: (n,), the values before the onset.
    """
    known = normal[np.isfinite(normal)]
    ends = np.quantile(known, BAND) if len(known) else np.full(3, np.nan)
    low, usual, high = (np.full(n_steps, end) for end in ends)
    return low, usual, high


def drawn(seen: Seen) -> Row:
    """Paths ``line, band, usual, dots`` (what left the band from the onset on), ``at`` (the onset),
    whether it ``stayed`` inside, and the words ``range`` (of the drawing), ``after`` (farthest from
    what was expected) and ``expected`` (then); empty where nothing is known.
    """
    picks = _picked(seen.values, _POINTS)
    value, low, usual, high = (
        a[picks] for a in (seen.values, seen.lower, seen.expected, seen.upper)
    )
    n_steps = len(seen.values)
    x = picks.astype(np.float64) * (WIDTH / max(n_steps - 1, 1))
    bottom, top = _ends(value, (low, high))
    y = [_placed(np.clip(v, bottom, top), bottom, top) for v in (value, low, usual, high)]
    out = (picks >= seen.begins) & ~((value >= low) & (value <= high)) & np.isfinite(value)
    return {
        "line": _path(x, y[0]),
        "band": _area(x, y[1], y[3]),
        "usual": _path(x, y[2]),
        "dots": "".join(f"M{a:.0f} {b:.1f}h0" for a, b in zip(x[out], y[0][out], strict=True)),
        "at": f"{WIDTH * min(seen.begins / max(n_steps - 1, 1), 1):.1f}",
        "range": span(bottom, top, seen.metric),
        "stayed": not out.any() and bool(np.isfinite(low).any()),
    } | _words(seen)


def _words(seen: Seen) -> dict[str, str]:
    """The value farthest from what was expected, from the onset on; and what was expected then."""
    after = seen.values[seen.begins :]
    if not np.isfinite(after).any():
        return {"after": "", "expected": ""}
    low, high = seen.lower[seen.begins :], seen.upper[seen.begins :]
    beyond = np.fmax(after / 2 - high / 2, low / 2 - after / 2)
    far = beyond if np.isfinite(beyond).any() else np.abs(after)
    worst = int(np.nanargmax(np.where(np.isfinite(far) & np.isfinite(after), far, -np.inf)))
    return {
        "after": quantity(float(after[worst]), seen.metric),
        "expected": span(float(low[worst]), float(high[worst]), seen.metric),
    }


def _picked(values: Floats, most: int) -> _Ints:
    """Steps that are drawn: of every bucket the lowest and the highest, so that no peak is lost."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    bounds = np.linspace(0, n, most // 2 + 1).astype(np.intp)
    picks: list[int] = []
    for lo, hi in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = values[lo:hi]
        finite = np.isfinite(part)
        if finite.any():
            picks += [lo + int(np.where(finite, part, np.inf).argmin())]
            picks += [lo + int(np.where(finite, part, -np.inf).argmax())]
        else:
            picks.append(lo)
    return np.unique(np.array([*picks, n - 1], dtype=np.intp))


def _ends(values: Floats, bands: Sequence[Floats]) -> tuple[float, float]:
    """Of what was measured, and of the band as far as it does not make that small."""
    known = values[np.isfinite(values)]
    around = np.concatenate(bands)
    around = around[np.isfinite(around)]
    if not len(known):
        return (float(around.min()), float(around.max())) if len(around) else (np.nan, np.nan)
    bottom, top = float(known.min()), float(known.max())
    room = _BAND_ROOM * (top / 2 - bottom / 2) or abs(top) / 2
    if len(around):
        bottom, top = (
            min(bottom, max(float(around.min()), bottom - room)),
            max(top, min(float(around.max()), top + room)),
        )
    return bottom, top


def _placed(values: Floats, bottom: float, top: float) -> Floats:
    span = top / 2 - bottom / 2  # halves: the whole may be more than a float holds
    if not span > 0:
        return np.where(np.isfinite(values), HEIGHT / 2, np.nan)
    return HEIGHT - (values / 2 - bottom / 2) / span * HEIGHT


def _area(x: Floats, low: Floats, high: Floats) -> str:
    """Closed paths around what lies between two lines, one a stretch in which both are known."""
    known = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return "".join(
        _path(x[lo:hi], high[lo:hi]) + _path(x[lo:hi][::-1], low[lo:hi][::-1]).replace("M", "L")
        + "Z"
        for lo, hi in edges.reshape(-1, 2).tolist()
    )  # fmt: skip


def _path(x: Floats, y: Floats) -> str:
    """SVG path, gaps left open."""
    known = np.isfinite(y)
    starts = known & ~np.concatenate([[False], known[:-1]])
    return "".join(
        f"{'M' if begins else 'L'}{a:.0f} {b:.1f}"
        for a, b, begins, there in zip(x, y, starts, known, strict=True)
        if there
    )
