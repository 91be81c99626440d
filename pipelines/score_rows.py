"""What the detectors say, as rows of the scores table: one a point, with its reason in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.metrics import Catalog
from features.panel import Floats, Panel
from features.signals import build_signals
from models.band import Band, reasons_text
from models.base import WHOLE_WORKLOAD
from models.isolation_forest import IsolationForest
from pipelines.learning import Learned
from pipelines.settings import Settings

__all__ = ["band_rows", "forest_rows"]

_CRITICAL = 2.0


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
    text = np.full(shown.shape, "", dtype=object)
    text[flagged] = reasons_text(panel, said, flagged)
    rows, cols = np.nonzero(shown)
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
        reason=text[rows, cols],
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
    window = panel.window(start - 2 * panel.step)  # a counter's growth needs the step before
    signals = build_signals(window, expected[:, panel.n_steps - window.n_steps :], catalog)
    said = detector.score(learned.detectors["isolation_forest"], signals)
    shown = ~np.isnan(said.score) & (window.times >= start)
    rows, cols = np.nonzero(shown)
    keys = pd.DataFrame({"workload": signals.workloads, "metric": WHOLE_WORKLOAD}, dtype="str")
    names = np.array([*signals.names, ""], dtype=object)[said.top[rows, cols]]
    share = said.top_share[rows, cols]
    words = [
        f"unusual together, most of all {n} ({s:.0%})" if n else ""
        for n, s in zip(names, share, strict=True)
    ]
    score = said.score[rows, cols]
    return _rows(keys, window.times, rows, cols, detector.name).assign(
        score=score,
        expected=np.nan,
        lower=np.nan,
        upper=np.nan,
        value=said.raw[rows, cols],
        severity=_severity(score),
        reason=np.array(words, dtype=object),
    )


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
    return np.select([score >= _CRITICAL, score >= 1], ["critical", "warning"], "normal")
