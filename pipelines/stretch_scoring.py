"""What the detectors say of one training's workloads, each stretch of time from its own anchor.

A stretch is scored along with the band's context before it, a scheduled run's few steps along with
their stretch as far as it has come: the shorter stretches are, the less a run does again, and the
more a long replay does twice. Quarters of a day are 24 h a run on the average, 27 h at most, of
which 21 h are the context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from features.metrics import Catalog
from features.panel import Floats, Panel
from models.band import Band
from pipelines.errors import ModelError
from pipelines.extensions import own_detectors
from pipelines.learning import Learned, forecasters
from pipelines.plugins import is_spec
from pipelines.score_rows import band_rows, forest_rows, own_rows
from pipelines.settings import Settings
from pipelines.stretches import on_grid, reaching_back, stretches
from pipelines.together_rows import together_rows

__all__ = ["DAY", "WEEK", "context_of", "rows_of"]

DAY = pd.Timedelta(days=1)
WEEK = pd.Timedelta(days=7)
_STRETCH = pd.Timedelta(hours=6)
_OWN_CONTEXT = pd.Timedelta(hours=20)  # what docs/extend.md promises to a user's own detectors
_KEY = ["workload", "metric"]


def context_of(settings: Settings) -> pd.Timedelta:
    """How much past the detectors look at before a stretch."""
    context = Band(settings.detect.band).context.ceil("1h")
    has_own = any(is_spec(name) for name in settings.detect.detectors)
    return max(context, _OWN_CONTEXT) if has_own else context


def rows_of(
    learned: Learned,
    panel: Panel,
    start: pd.Timestamp,
    end: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
) -> Iterator[pd.DataFrame]:
    """Scores of ``[start, end)`` by what was learned, each stretch from its own anchor."""
    champions = learned.champions
    mine = panel.keys["workload"].isin(champions.chosen["workload"].unique())
    if not mine.any():
        return
    own = panel.select(mine.to_numpy(dtype=bool))
    if own.step != champions.step:
        raise ModelError(
            f"the samples have a step of {own.step}, the live model was trained on "
            f"{champions.step}; run `foretide train`, or set history.step_s"
        )
    learned = _as_registered(learned)
    context = on_grid(context_of(settings), own.step)
    for begin, until in stretches(champions.end, start, end, on_grid(_STRETCH, own.step)):
        piece = reaching_back(own, begin - context, min(until, end))
        if piece.end <= max(begin, start):
            continue
        expected = _expected(learned, own, piece, settings)
        first = max(begin, start)
        yield _still_there(band_rows(learned, piece, expected, first, settings), piece, settings)
        if _asked("isolation_forest", learned, settings):
            yield forest_rows(learned, piece, expected, first, catalog, settings)
        if _asked("together", learned, settings):
            yield together_rows(learned, piece, expected, first, catalog, settings)
        for detector in own_detectors(settings):
            if detector.name in learned.detectors:
                yield own_rows(detector, learned, piece, expected, first)


def _asked(name: str, learned: Learned, settings: Settings) -> bool:
    """Whether a detector is configured, and was trained for somebody."""
    return (
        name in settings.detect.detectors
        and name in learned.detectors
        and len(learned.detectors[name].keys) > 0
    )


def _as_registered(learned: Learned) -> Learned:
    """As a later run reads it: without what the backtest had said, and without bands that are none
    (the series are then learned anew)."""
    band = learned.detectors["band"]
    fitted = np.isfinite(band.arrays["threshold"])
    bands = band if fitted.all() else band.select(fitted)
    champions = replace(learned.champions, outlook=None)
    return replace(learned, champions=champions, detectors={**learned.detectors, "band": bands})


def _expected(learned: Learned, own: Panel, piece: Panel, settings: Settings) -> Floats:
    """What the champions say of a piece of a panel, with the week before where that is needed."""
    champions = learned.champions
    if piece.start >= champions.end:
        return champions.expected(piece, forecasters(settings))
    week = reaching_back(own, piece.start - on_grid(WEEK, own.step), piece.end)
    return champions.expected(week, forecasters(settings))[:, -piece.n_steps :]


def _still_there(rows: pd.DataFrame, piece: Panel, settings: Settings) -> pd.DataFrame:
    """Without the absence of what has been gone for longer than ``quality.maximum_staleness_h``:
    that is no outage any more, it has ended."""
    absent = rows["value"].isna().to_numpy()
    if not absent.any():
        return rows
    gone = rows[absent]
    at = pd.MultiIndex.from_frame(piece.keys).get_indexer(pd.MultiIndex.from_frame(gone[_KEY]))
    col = ((gone["ts"] - piece.start) // piece.step).to_numpy(dtype=np.int64)
    which, row = np.unique(at, return_inverse=True)
    there = ~np.isnan(piece.values[which])
    last = np.maximum.accumulate(np.where(there, np.arange(piece.n_steps), -1), axis=1)
    silent = (col - last[row, col]) * piece.step
    over = silent > pd.Timedelta(settings.quality.maximum_staleness_h, "h").to_timedelta64()
    keep = np.ones(len(rows), dtype=bool)
    keep[np.flatnonzero(absent)[over | (last[row, col] < 0)]] = False
    return rows[keep]
