"""The picture that shows why: each cause's metric before and after the onset, with what is normal.

One HTML page without script, style sheet or image from elsewhere. Label values are escaped by the
template; what is drawn is made of numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.cause_series import Floats, align
from pipelines.report.text import quantity

__all__ = ["picture"]

WIDTH, HEIGHT = 640.0, 120.0
_TEMPLATES = Path(__file__).parent / "report" / "templates"
_SHOWN_BEFORE = 36
_BAND = (0.05, 0.5, 0.95)


def picture(
    causes: Sequence[Mapping[str, Any]],
    before: pd.DataFrame,
    after: pd.DataFrame,
    onset: pd.Timestamp,
    target: str | None,
) -> str:
    """The page; ``causes`` have ``workload, metric, name, score, confidence, evidence``."""
    drawn = [
        {**cause, **_chart(str(cause["metric"]), _of(before, cause), _of(after, cause))}
        for cause in causes
    ]
    return (
        _environment()
        .get_template("causes.html.j2")
        .render(
            causes=drawn, onset=f"{onset:%Y-%m-%d %H:%M} UTC", target=target,
            width=WIDTH, height=HEIGHT,
        )
    )  # fmt: skip


def _of(samples: pd.DataFrame, cause: Mapping[str, Any]) -> pd.DataFrame:
    mine = (samples["workload"] == cause["workload"]) & (samples["metric"] == cause["metric"])
    return samples[mine]


def _chart(metric: str, before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    """Steps side by side: the last normal ones, which may be of another day, and the incident's."""
    series = align(before, after)
    normal, now = series.normal[0], series.incident[0]
    low, usual, high = np.nanquantile(normal, _BAND)
    shown = normal[-max(_SHOWN_BEFORE, 3 * len(now)) :]
    values = np.concatenate([shown, now])
    bottom, top = (f([f(values[np.isfinite(values)]), e]) for f, e in ((min, low), (max, high)))
    y = _scale(bottom, top)
    x = np.linspace(0, WIDTH, len(values)) if len(values) > 1 else np.array([WIDTH / 2])
    return {
        "line": _path(x, y(values)),
        "dots": [
            (f"{a:.1f}", f"{b:.1f}")
            for a, b in zip(x[len(shown) :], y(now), strict=True)
            if np.isfinite(b)
        ],
        "at": f"{x[len(shown)]:.1f}",
        "band": [f"{v:.1f}" for v in y(np.array([high, usual, low]))],
        "band_height": f"{y(np.array([low]))[0] - y(np.array([high]))[0]:.1f}",
        "top": quantity(float(top), metric),
        "bottom": quantity(float(bottom), metric),
        "usual": f"{quantity(float(low), metric)} – {quantity(float(high), metric)}",
    }


def _scale(bottom: float, top: float) -> Any:
    span = top / 2 - bottom / 2  # halves: the whole may be more than a float holds

    def place(values: Floats) -> Floats:
        if not span > 0:
            return np.where(np.isfinite(values), HEIGHT / 2, np.nan)
        return HEIGHT - (values / 2 - bottom / 2) / span * HEIGHT

    return place


def _path(x: Floats, y: Floats) -> str:
    """SVG path, gaps left open."""
    known = np.isfinite(y)
    starts = known & ~np.concatenate([[False], known[:-1]])
    return "".join(
        f"{'M' if begins else 'L'}{a:.1f} {b:.1f}"
        for a, b, begins, there in zip(x, y, starts, known, strict=True)
        if there
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
