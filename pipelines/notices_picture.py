"""The picture of a trouble: a value against its band, or a leak's line against its limit, as PNG.

Drawn by matplotlib's own PNG canvas, without a window system and without its global state. Names
come from clusters: they are drawn as they are and never read as formulas.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.adapters.notify.message import clean
from pipelines.report.text import metric_title, unit_of

if TYPE_CHECKING:  # it costs half a second, and most runs have nothing to draw
    from matplotlib.axes import Axes

__all__ = ["Against", "Climb", "draw"]

Floats = NDArray[np.float64]

_SIZE_IN, _DPI = (8.0, 3.6), 100
_INK, _SOFT, _BAND, _BLUE, _RED = "#1f2933", "#7b8794", "#cfe0f3", "#1f6feb", "#c62828"
_H = pd.Timedelta(1, "h")
_CHARS = frozenset("–…→≥≤’“”σΔμ")
"""Beside Latin-1: what our own words use, and the font has."""


@dataclass(frozen=True, slots=True)
class Against:
    """A metric and what was expected of it.

    ``ts``: UTC, (n,); ``value, expected, lower, upper, score``: (n,), NaN where not known.
    """

    workload: str
    metric: str
    ts: pd.DatetimeIndex
    value: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
    began: pd.Timestamp


@dataclass(frozen=True, slots=True)
class Climb:
    """A resource that grows, and where it goes.

    ``ts, value``: (n,), what was measured; ``slopes_per_h``: lower, middle, upper; ``limit`` and
    ``left_h`` (the median) are NaN where they are not known.
    """

    workload: str
    metric: str
    ts: pd.DatetimeIndex
    value: Floats
    at: pd.Timestamp
    at_value: float
    slopes_per_h: tuple[float, float, float]
    limit: float
    left_h: float
    began: pd.Timestamp


def draw(evidence: Against | Climb, title: str) -> bytes:
    """The PNG, 800 × 360."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.135, 0.89, 0.63))
    factor, unit = unit_of(evidence.metric, _peak(evidence))
    if isinstance(evidence, Against):
        _against(axes, evidence, factor)
    else:
        _climb(axes, evidence, factor)
    _dress(axes, unit)
    parts = evidence.workload.split("/")
    where = f"{metric_title(evidence.metric)} of {parts[-1]} · {' / '.join(parts[:-1])} · UTC"
    words: Any = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(0.02, 0.965, _shown(title, 76), fontsize=11.5, weight="bold", color=_INK, **words)
    figure.text(0.02, 0.885, _shown(where, 100), fontsize=9.5, color=_SOFT, **words)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _against(axes: Axes, e: Against, factor: float) -> None:
    x = _naive(e.ts)
    value, low, high, usual = (v * factor for v in (e.value, e.lower, e.upper, e.expected))
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        axes.fill_between(x, low, high, where=known, color=_BAND, lw=0, label="normal")
        axes.plot(x, usual, color=_SOFT, lw=1, ls="--", label="expected")
    axes.plot(x, value, color=_INK, lw=1.6, label="measured")
    odd = (e.score >= 1) & np.isfinite(value)
    if odd.any():
        axes.plot(x[odd], value[odd], "o", color=_RED, ms=4, label="anomalous")
    if len(x) and x[0] <= (began := _naive(pd.DatetimeIndex([e.began]))[0]):
        axes.axvline(began, color=_RED, lw=1, ls=":")
    shown = np.concatenate([value, low[known], high[known]])
    _room(axes, shown, is_from_zero=False)


def _climb(axes: Axes, e: Climb, factor: float) -> None:
    x = _naive(e.ts)
    axes.plot(x, e.value * factor, color=_INK, lw=1.6, label="measured")
    hours = np.linspace(0, _ahead_h(e), 40)
    ahead = _naive(e.at + pd.to_timedelta(hours * 3600, unit="s").as_unit("ms"))
    top = e.limit if np.isfinite(e.limit) else np.inf
    lines = [np.minimum(e.at_value + s * hours, top) * factor for s in e.slopes_per_h]
    axes.fill_between(ahead, lines[0], lines[2], color=_BAND, lw=0)
    # the line ends at the limit, as the workload does
    middle = np.where(e.at_value + e.slopes_per_h[1] * hours <= top, lines[1], np.nan)
    axes.plot(ahead, middle, color=_BLUE, lw=1.6, ls="--", label="if it goes on")
    if np.isfinite(e.limit):
        axes.axhline(e.limit * factor, color=_RED, lw=1.4, label="limit")
    _room(axes, np.concatenate([e.value * factor, *lines, [e.limit * factor]]), is_from_zero=True)


def _ahead_h(e: Climb) -> float:
    """How far the line is drawn: to the limit and a bit, or as far as was measured."""
    behind = float((e.at - e.ts[0]) / _H) if len(e.ts) else 0.0
    usual = min(max(behind, 6.0), 72.0)
    if not np.isfinite(e.left_h):
        return usual
    return float(np.clip(1.15 * e.left_h, 0.15 * usual, 3 * usual))


def _room(axes: Axes, shown: Floats, *, is_from_zero: bool) -> None:
    finite = shown[np.isfinite(shown)]
    if not len(finite):
        return
    low, high = float(finite.min()), float(finite.max())
    span = high - low or abs(high) or 1.0
    bottom = 0.0 if is_from_zero and low >= 0 else low - 0.08 * span
    axes.set_ylim(max(bottom, 0.0) if low >= 0 else bottom, high + 0.12 * span)


def _dress(axes: Axes, unit: str) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    # of fewer than ten ticks it finds none that fit a stretch just under four hours, or four days
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_SOFT)
    axes.tick_params(colors=_SOFT, labelsize=9)
    axes.grid(axis="y", color="#e4e7eb", lw=0.8)
    axes.set_axisbelow(True)
    if unit:
        axes.set_title(unit, loc="left", fontsize=9, color=_SOFT, pad=4)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False, fontsize=9,
        borderaxespad=0.1, handlelength=1.6, columnspacing=1.2, labelcolor=_INK,
    )  # fmt: skip


def _peak(e: Against | Climb) -> float:
    shown = [e.value, e.upper] if isinstance(e, Against) else [e.value, np.array([e.limit])]
    everything = np.abs(np.concatenate(shown))
    return float(np.nanmax(everything, initial=0.0, where=np.isfinite(everything)))


def _naive(ts: pd.DatetimeIndex) -> NDArray[np.datetime64]:
    """As numpy's, UTC: matplotlib would otherwise look for a zone of its own."""
    return ts.tz_convert("UTC").tz_localize(None).as_unit("ms").to_numpy()


def _shown(text: str, most: int) -> str:
    """One line of characters that the font has."""
    return "".join(c if ord(c) < 256 or c in _CHARS else "?" for c in clean(text, most))
