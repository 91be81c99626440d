"""What the detectors say, as rows of the scores table: one a point, with its reason in words.

The severity is a word for the score, the same for every detector, said here and nowhere else:
``normal`` below the alert line (1), ``warning`` from it on, ``critical`` from twice the alert line
on, and ``silenced`` instead of either where somebody asked not to be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.metrics import Catalog
from features.panel import Floats, Panel
from features.signals import LOOK_BACK_STEPS, Signals, build_signals
from features.silences import Silence, silenced_rows
from models.band import Band, reasons_text
from models.base import CRITICAL, WHOLE_WORKLOAD
from models.budgeted import Budgeted
from models.isolation_forest import IsolationForest, contributions_text
from pipelines.learning import Learned
from pipelines.settings import Settings

__all__ = ["SILENCED", "band_rows", "forest_rows", "own_rows", "signals_since", "with_silences"]

SILENCED = "silenced"
"""The severity of what nobody wants to be told of: it makes no incident."""


def band_rows(
    learned: Learned, panel: Panel, expected: Floats, start: pd.Timestamp, settings: Settings
) -> pd.DataFrame:
    """What the band says of every series from ``start`` on: SCORES columns, without run and
    version.
    """
    detector = Band(settings.detect.band)
    said = detector.score(learned.detectors["band"], panel, expected)
    shown = ~np.isnan(said.score) & (panel.times >= start)
    flagged = shown & (said.score >= 1)
    rows, cols = np.nonzero(shown)
    text = np.full(len(rows), "", dtype=object)
    text[flagged[rows, cols]] = reasons_text(panel, said, flagged, settings.calendars)
    columns = {
        "score": said.score,
        "expected": said.expected,
        "lower": said.lower,
        "upper": said.upper,
    }
    frame = _rows(panel.keys, panel.times, rows, cols, detector.name)
    return frame.assign(
        **{name: values[rows, cols] for name, values in columns.items()},
        value=panel.values[rows, cols],
        severity=_severity(said.score[rows, cols]),
        reason=text,
    )


def forest_rows(
    learned: Learned,
    panel: Panel,
    expected: Floats,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
) -> pd.DataFrame:
    """What the forest says of every workload from ``start`` on, as ``band_rows``."""
    detector = IsolationForest(settings.detect.isolation_forest)
    signals = signals_since(panel, expected, start, catalog)
    said = detector.score(learned.detectors["isolation_forest"], signals)
    rows, cols = np.nonzero(~np.isnan(said.score))
    keys = pd.DataFrame({"workload": signals.workloads, "metric": WHOLE_WORKLOAD}, dtype="str")
    score = said.score[rows, cols]
    text = np.full(len(rows), "", dtype=object)
    text[score >= 1] = contributions_text(signals.names, said.tops, said.shares)
    times = panel.times[panel.times >= start]
    return _rows(keys, times, rows, cols, detector.name).assign(
        score=score,
        expected=np.nan,
        lower=np.nan,
        upper=np.nan,
        value=said.raw[rows, cols],
        severity=_severity(score),
        reason=text,
    )


def own_rows(
    detector: Budgeted, learned: Learned, panel: Panel, expected: Floats, start: pd.Timestamp
) -> pd.DataFrame:
    """What a detector of the user's own says of every series, as ``band_rows``."""
    said = detector.score(learned.detectors[detector.name], panel, expected)
    rows, cols = np.nonzero(~np.isnan(said.score) & (panel.times >= start))
    score, raw, line = said.score[rows, cols], said.raw[rows, cols], said.line[rows]
    text = np.full(len(rows), "", dtype=object)
    for i in np.flatnonzero(score >= 1):
        text[i] = f"{detector.name} {raw[i]:.3g}, alert line {line[i]:.3g}"
    return _rows(panel.keys, panel.times, rows, cols, detector.name).assign(
        score=score,
        expected=expected[rows, cols],
        lower=np.nan,
        upper=np.nan,
        value=panel.values[rows, cols],
        severity=_severity(score),
        reason=text,
    )


def signals_since(panel: Panel, expected: Floats, start: pd.Timestamp, catalog: Catalog) -> Signals:
    """The signals of the steps from ``start`` on, with the look back that counters need."""
    window = panel.window(start - LOOK_BACK_STEPS * panel.step)
    signals = build_signals(window, expected[:, panel.n_steps - window.n_steps :], catalog)
    wanted = panel.window(start)
    return replace(
        signals, start=wanted.start, values=signals.values[:, window.n_steps - wanted.n_steps :]
    )


def with_silences(scores: pd.DataFrame, silences: Sequence[Silence]) -> pd.DataFrame:
    """The same rows; what is anomalous within a silence has the severity ``silenced``.

    The score stays, so training leaves the point out as it does any other anomaly.
    """
    inside = silenced_rows(scores, silences)
    quiet = (inside >= 0) & (scores["score"] >= 1).to_numpy(dtype=bool)
    if not quiet.any():
        return scores
    why = np.array([f"silenced, {s.shown}: " for s in silences], dtype=object)
    reason = scores["reason"].to_numpy(dtype=object, copy=True)
    reason[quiet] = why[inside[quiet]] + reason[quiet]
    severity = np.where(quiet, SILENCED, scores["severity"].to_numpy(dtype=object))
    return scores.assign(severity=severity, reason=reason)


def _rows(
    keys: pd.DataFrame,
    times: pd.DatetimeIndex,
    rows: NDArray[np.intp],
    cols: NDArray[np.intp],
    detector: str,
) -> pd.DataFrame:
    def label(column: str) -> pd.Categorical:
        codes, words = pd.factorize(keys[column])
        return pd.Categorical.from_codes(codes[rows], categories=pd.Index(words, dtype="str"))

    return pd.DataFrame(
        {
            "workload": label("workload").astype("str"),
            "metric": label("metric").astype("str"),
            "ts": times[cols],
            "detector": detector,
        }
    )


def _severity(score: Floats) -> NDArray[Any]:
    return np.select([score >= CRITICAL, score >= 1], ["critical", "warning"], "normal")
