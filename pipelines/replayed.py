"""A file scored as scheduled runs would have: learned anew at fixed moments, each time from the
past alone.

What one block is scored to is known at the next: what was flagged is left out of what is learned
then, as a live training leaves out what it finds in the store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from features.metrics import Catalog
from features.panel import Panel
from models.band import Band
from pipelines.hygiene import AnomalousPoints
from pipelines.learning import learn
from pipelines.scoring import Scored, score_window
from pipelines.settings import Settings
from pipelines.stretches import compact
from pipelines.unusual import unusual

__all__ = ["replayed"]


def replayed(
    panel: Panel, train_until: pd.Timestamp, catalog: Catalog, settings: Settings
) -> Scored:
    """Score ``[train_until, panel.end)``, learned anew every ``detect.refit_every_h``.

    The panel goes back by ``history.days`` before ``train_until``, and by what detectors look at.
    A boundary at which nothing can be learned is no end: what is there by the next one counts.
    """
    parts: list[Scored] = []
    flagged: list[pd.DataFrame] = []
    first = compact(panel).start
    for begin, until in _blocks(train_until.floor(panel.step), panel.end, settings):
        if until <= first:  # nothing was measured yet, for whatever time
            continue
        before = panel.window(begin - pd.Timedelta(days=settings.history.days), begin)
        history = compact(before)
        known = AnomalousPoints.of(flagged, history.step)
        usual = unusual(history, known, settings).applied(history)
        lesson = learn(usual, catalog, settings)
        there = panel.window(end=until)
        scored = score_window(lesson.groups, there, begin, catalog, settings)
        hot = (scored.scores["score"] >= 1) & (scored.scores["detector"] == Band.name)
        flagged.append(scored.scores.loc[hot, ["workload", "metric", "ts"]])
        parts.append(Scored.joined([Scored.refusing(lesson.skipped, lesson.young), scored]))
    return Scored.joined(parts)


def _blocks(
    start: pd.Timestamp, end: pd.Timestamp, settings: Settings
) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    """From one training to the next."""
    hours = settings.detect.refit_every_h
    every = pd.Timedelta(hours, "h") if hours else max(end - start, pd.Timedelta(1, "h"))
    while start < end:
        yield start, min(start + every, end)
        start += every
