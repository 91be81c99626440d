"""A file scored as scheduled runs would have: learned anew at fixed moments, each time from the
past alone.

What one block is scored to is known at the next: what was flagged, and the incidents that were told
of, are left out of what is learned then, as a live training leaves out what it finds in the store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from features.metrics import Catalog
from features.panel import Panel
from models.band import Band
from models.incidents import group_incidents
from pipelines.continuity import continued
from pipelines.hygiene import AnomalousPoints
from pipelines.learning import learn
from pipelines.left_out import unusual
from pipelines.regimes import incident_windows
from pipelines.scoring import Scored, score_window
from pipelines.settings import Settings
from pipelines.stretches import compact

__all__ = ["replayed"]


def replayed(
    panel: Panel, train_until: pd.Timestamp, catalog: Catalog, settings: Settings
) -> Scored:
    """Score ``[train_until, panel.end)``, learned anew every ``detect.refit_every_h``.

    The panel goes back by ``history.days`` before ``train_until``, and by what detectors look at.
    A boundary at which nothing can be learned is no end: what is there by the next one counts.
    """
    parts: list[Scored] = []
    past = _Past(settings)
    for begin, until in _blocks(train_until.floor(panel.step), panel.end, settings):
        before = panel.window(begin - pd.Timedelta(days=settings.history.days), begin)
        lesson = learn(past.left_out_of(compact(before), begin), catalog, settings)
        there = panel.window(end=until)
        scored = score_window(lesson.groups, there, begin, catalog, settings)
        past.add(scored, begin)
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


class _Past:
    """What the blocks so far have shown, as a store would hold it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._flagged: list[pd.DataFrame] = []
        self._recent: list[Scored] = []
        self._told: pd.DataFrame | None = None

    def add(self, scored: Scored, begin: pd.Timestamp) -> None:
        """A block that was scored from ``begin`` on."""
        scores, memory = scored.scores, pd.Timedelta(self._settings.detect.regroup_h, "h")
        hot = (scores["score"] >= 1) & (scores["detector"] == Band.name)
        self._flagged.append(scores.loc[hot, ["workload", "metric", "ts"]])
        near = Scored.joined([*self._recent, scored]).since(begin - memory)
        self._recent = [near]
        found = group_incidents(
            near.scores,
            near.leaks,
            self._settings.detect.incidents,
            calendars=self._settings.calendars,
        )
        if self._told is None:
            self._told = found
        elif len(self._told) or len(found):
            known = continued(found, self._told, begin)
            self._told = pd.concat([t for t in (self._told, known) if len(t)], ignore_index=True)

    def left_out_of(self, history: Panel, at: pd.Timestamp) -> Panel:
        """The history without what is no example, as far as it is known at ``at``."""
        flagged = AnomalousPoints.of(self._flagged, history.step)
        windows = None if self._told is None else incident_windows(self._told, at)
        return unusual(history, flagged, windows, self._settings).applied(history)
