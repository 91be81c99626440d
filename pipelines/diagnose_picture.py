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

from models.cause_series import align
from pipelines.report.evidence import Seen, drawn, usual_band
from pipelines.report.text import span

__all__ = ["picture"]

_TEMPLATES = Path(__file__).parent / "report" / "templates"
_SHOWN_BEFORE = 36


def picture(
    causes: Sequence[Mapping[str, Any]],
    before: pd.DataFrame,
    after: pd.DataFrame,
    onset: pd.Timestamp,
    target: str | None,
) -> str:
    """The page; ``causes`` have ``workload, metric, name, score, confidence, evidence``."""
    shown = [
        {**cause, **_chart(str(cause["metric"]), _of(before, cause), _of(after, cause))}
        for cause in causes
    ]
    return (
        _environment()
        .get_template("causes.html.j2")
        .render(
            causes=shown, onset=f"{onset:%Y-%m-%d %H:%M} UTC", target=target,
        )
    )  # fmt: skip


def _of(samples: pd.DataFrame, cause: Mapping[str, Any]) -> pd.DataFrame:
    mine = (samples["workload"] == cause["workload"]) & (samples["metric"] == cause["metric"])
    return samples[mine]


def _chart(metric: str, before: pd.DataFrame, after: pd.DataFrame) -> dict[str, Any]:
    """Steps side by side: the last normal ones, which may be of another day, and the incident's."""
    series = align(before, after)
    normal, now = series.normal[0], series.incident[0]
    shown = normal[-max(_SHOWN_BEFORE, 3 * len(now)) :]
    values = np.concatenate([shown, now])
    low, usual, high = usual_band(normal, len(values))
    normally = span(float(low[0]), float(high[0]), metric)
    return drawn(Seen(metric, values, len(shown), low, usual, high)) | {"normally": normally}


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
