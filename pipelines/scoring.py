"""What the detectors say about a stretch of time: scores and leaks as tables.

Pure: a panel and what was learned in, tables out. A score at ``ts`` uses nothing after its own
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import maintenance_mask
from features.frames import SCORES
from features.metrics import Catalog
from features.panel import Panel
from models.band import Band
from pipelines.accounting import NOT_WATCHED
from pipelines.errors import ModelError
from pipelines.leak_scoring import find_leaks
from pipelines.learning import Learned, forecasters
from pipelines.score_rows import band_rows, forest_rows
from pipelines.settings import Settings

__all__ = [
    "NOTHING_TO_SCORE",
    "Scored",
    "context",
    "scorable",
    "score_window",
]

NOTHING_TO_SCORE = "no sample in the window"


@dataclass(frozen=True, slots=True)
class Scored:
    """The tables of one window, without run id and version.

    Attributes
    ----------
    scores, leaks : frames in their contracts' columns
    skipped : frame ``workload, metric, step, reason`` of what could not be scored (step ``score``)
        or judged for leaks (step ``leaks``)
    """

    scores: pd.DataFrame
    leaks: pd.DataFrame
    skipped: pd.DataFrame


def context(settings: Settings) -> pd.Timedelta:
    """How much past the detectors look at beside the window they score."""
    leaks_h = max(settings.detect.memory_slope.windows_h)
    return max(Band(settings.detect.band).context, pd.Timedelta(leaks_h, "h"), pd.Timedelta(days=8))


def score_window(
    baselines: Sequence[Learned],
    panel: Panel,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
    refused: pd.DataFrame | None = None,
) -> Scored:
    """Score every step of ``[start, panel.end)``; the panel reaches back by ``context``.

    ``baselines`` may come in several parts, each for its own workloads; ``refused`` is a frame
    ``workload, metric, reason`` of the series that have none.
    """
    leaks, skipped = find_leaks(panel, start, catalog, settings)
    parts: list[pd.DataFrame] = []
    for learned in baselines:
        if not learned.detectors:
            continue
        mine = panel.keys["workload"].isin(learned.champions.chosen["workload"].unique())
        own = panel.select(mine.to_numpy())
        if own.step != learned.champions.step:
            raise ModelError(
                f"the samples have a step of {own.step}, the live model was trained on "
                f"{learned.champions.step}; run `foretide train`, or set history.step_s"
            )
        expected = learned.champions.expected(own, forecasters(settings))
        parts.append(band_rows(learned, own, expected, start, settings))
        parts.append(forest_rows(learned, own, expected, start, catalog, settings))
    nothing: pd.DataFrame = SCORES.schema.empty_table().to_pandas()
    scores = pd.concat(parts, ignore_index=True) if parts else nothing
    scores = _outside_maintenance(scores, settings)
    unscored = _unscored(scores, refused, panel, start, catalog).assign(step="score")
    return Scored(scores, leaks, pd.concat([unscored, skipped.assign(step="leaks")]))


def _outside_maintenance(scores: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Nobody is told of what happens in a maintenance window."""
    if not len(scores) or not any(c.maintenance for c in settings.calendars):
        return scores
    row, workloads = pd.factorize(scores["workload"])
    col, times = pd.factorize(scores["ts"])
    stamps = pd.DatetimeIndex(times)
    quiet = maintenance_mask([str(w) for w in workloads], stamps, settings.calendars)
    return scores[~quiet[row, col]].reset_index(drop=True)


def scorable(panel: Panel, catalog: Catalog) -> NDArray[np.intp]:
    """The rows of a panel that ought to be scored."""
    roles = np.array([catalog[m].role for m in panel.keys["metric"]], dtype=str)
    return np.flatnonzero(~np.isin(roles, NOT_WATCHED))


def _unscored(
    scores: pd.DataFrame,
    refused: pd.DataFrame | None,
    panel: Panel,
    start: pd.Timestamp,
    catalog: Catalog,
) -> pd.DataFrame:
    """The series that ought to be scored and were not, each with its reason."""
    rows = scorable(panel, catalog)
    scored = pd.MultiIndex.from_frame(scores[["workload", "metric"]].drop_duplicates())
    rows = rows[~pd.MultiIndex.from_frame(panel.keys.iloc[rows]).isin(scored)]
    keys = panel.keys.iloc[rows].reset_index(drop=True)
    silent = np.isnan(panel.values[rows][:, panel.times >= start]).all(axis=1)
    usual = np.where(silent, NOTHING_TO_SCORE, "no baseline yet")
    if refused is None:
        return keys.assign(reason=usual.astype("str"))
    found = keys.merge(refused, on=["workload", "metric"], how="left")["reason"]
    return keys.assign(reason=found.where(found.notna(), usual).astype("str"))
