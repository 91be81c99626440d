"""What the detectors say about a stretch of time: scores and leaks as tables.

Pure: a panel and what was learned in, tables out. A score at ``ts`` uses nothing after its own
step, and is the same however the time is cut into runs (``pipelines/stretches.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import maintenance_mask
from features.frames import LEAKS, SCORES
from features.metrics import Catalog
from features.panel import Panel
from features.quality import judge
from models.band import Band
from models.memory_slope import LEAK_COLUMNS, MemorySlope
from pipelines.accounting import NOT_WATCHED
from pipelines.leak_scoring import find_leaks
from pipelines.learning import Learned, learn_young
from pipelines.settings import Settings
from pipelines.stretch_scoring import DAY, WEEK, context_of, rows_of
from pipelines.stretches import clock_stretches, compact, reaching_back, stretches

__all__ = [
    "NOTHING_TO_SCORE",
    "Scored",
    "accounted",
    "leaks_reach",
    "reach",
    "scorable",
    "score_window",
]

NOTHING_TO_SCORE = "no sample in the window"

_KEY = ["workload", "metric"]


@dataclass(frozen=True, slots=True)
class Scored:
    """The tables of one window, without run id and version.

    Attributes
    ----------
    scores, leaks : frames in their contracts' columns
    refused : frame ``workload, metric, reason`` of the series that are too young for a baseline
    not_judged : the same of the resources that could not be judged for leaks
    """

    scores: pd.DataFrame
    leaks: pd.DataFrame
    refused: pd.DataFrame
    not_judged: pd.DataFrame

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """Windows that follow each other; of what was refused the last reason counts."""
        nothing: pd.DataFrame = SCORES.schema.empty_table().to_pandas()
        leaks = _rows([p.leaks for p in parts], _no_leaks())
        judged = pd.MultiIndex.from_frame(leaks[_KEY].drop_duplicates())
        not_judged = _last([p.not_judged for p in parts])
        not_judged = not_judged[~pd.MultiIndex.from_frame(not_judged[_KEY]).isin(judged)]
        scores = _rows([p.scores for p in parts], nothing)
        return cls(scores, leaks, _last([p.refused for p in parts]), not_judged)

    @classmethod
    def refusing(cls, *refused: pd.DataFrame) -> Scored:
        """Nothing was scored, and why."""
        nothing: pd.DataFrame = SCORES.schema.empty_table().to_pandas()
        return cls(nothing, _no_leaks(), _last(refused), _last([]))

    def since(self, start: pd.Timestamp) -> Scored:
        """What is said of times from then on."""
        scores = self.scores[self.scores["ts"] >= start].reset_index(drop=True)
        leaks = self.leaks[self.leaks["issued_at"] > start].reset_index(drop=True)
        return replace(self, scores=scores, leaks=leaks)


def reach(settings: Settings) -> pd.Timedelta:
    """How much past a panel must hold for what is scored in it.

    The anchor is up to a stretch, of a day at most, and a context before; what stands in for a
    forecast before the training is a week before that.
    """
    return _look_back(settings) + WEEK


def leaks_reach(settings: Settings) -> pd.Timedelta:
    """The same for leaks."""
    return DAY + MemorySlope(settings.detect.memory_slope).context.ceil("1h")


def score_window(
    baselines: Sequence[Learned],
    panel: Panel,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
) -> Scored:
    """Score every step of ``[start, panel.end)``; the panel goes back by ``reach``.

    ``baselines`` may come in several parts, each for its own workloads. What they do not know is
    learned at fixed hours from what is there by then.

    Raises
    ------
    ModelError
        The baselines are of another grid.
    """
    trained = [b for b in baselines if b.detectors]
    parts = [
        rows
        for learned in trained
        for rows in rows_of(learned, panel, start, panel.end, catalog, settings)
    ]
    more, refused = _young_rows(trained, panel, start, catalog, settings)
    leaks, not_judged = _no_leaks(), _last([])
    if "memory_slope" in settings.detect.detectors:
        leaks, not_judged = _leaks(panel, start, catalog, settings)
    nothing: pd.DataFrame = SCORES.schema.empty_table().to_pandas()
    scores = _outside_maintenance(_rows([*parts, *more], nothing), settings)
    return Scored(scores, leaks, refused, not_judged)


def accounted(
    scored: Scored, panel: Panel, start: pd.Timestamp, catalog: Catalog, settings: Settings
) -> pd.DataFrame:
    """The series that ought to be scored from ``start`` on and were not: ``workload, metric,
    reason``."""
    rows = scorable(panel, catalog)
    told = pd.MultiIndex.from_frame(scored.scores[_KEY].drop_duplicates())
    rows = rows[~pd.MultiIndex.from_frame(panel.keys.iloc[rows]).isin(told)]
    missed = panel.select(rows)
    now = judge(missed, settings.quality)["reason"]
    before = missed.keys.merge(scored.refused, on=_KEY, how="left")["reason"]
    reason = now.where(now != "", before.fillna("too few points for a baseline"))
    silent: NDArray[np.bool_] = np.asarray(
        np.isnan(missed.values[:, panel.times >= start]).all(axis=1)
    )
    return missed.keys.assign(reason=reason.mask(silent, NOTHING_TO_SCORE).astype("str"))


def points_without_score(
    scored: Scored, panel: Panel, start: pd.Timestamp, catalog: Catalog
) -> Counter[str]:
    """How many samples' steps from ``start`` on nobody has judged."""
    rows = scorable(panel, catalog)
    measured = int((~np.isnan(panel.values[rows][:, panel.times >= start])).sum())
    judged = int(scored.scores.loc[scored.scores["detector"] == Band.name, "value"].notna().sum())
    return Counter({"not scored: too young, or too little to learn from": measured - judged})


def scorable(panel: Panel, catalog: Catalog) -> NDArray[np.intp]:
    """The rows of a panel that ought to be scored."""
    roles = np.array([catalog[m].role for m in panel.keys["metric"]], dtype=str)
    return np.flatnonzero(~np.isin(roles, NOT_WATCHED))


def _look_back(settings: Settings) -> pd.Timedelta:
    return DAY + context_of(settings)


def _young_rows(
    trained: Sequence[Learned],
    panel: Panel,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Scores of the series that came since the training, and those still too young, why."""
    known = _known(trained)
    every = pd.Timedelta(settings.detect.newcomer_every_h, "h")
    rows: list[pd.DataFrame] = []
    refused: list[pd.DataFrame] = []
    new = ~pd.MultiIndex.from_frame(panel.keys).isin(pd.MultiIndex.from_frame(known["band"]))
    new[np.setdiff1d(np.arange(panel.n_series), scorable(panel, catalog))] = False
    if not new.any():
        return rows, _last(refused)
    theirs = panel.keys["workload"].isin(panel.keys.loc[new, "workload"].unique())
    young = panel.select(theirs.to_numpy(dtype=bool))
    for begin, until in clock_stretches(start, panel.end, every):
        at = begin.floor(panel.step)
        seen = compact(young.window(at - _look_back(settings), at))
        if not seen.n_series:
            continue
        lesson = learn_young(seen, known, catalog, settings)
        refused += [lesson.young, lesson.skipped]
        for learned in (g for g in lesson.groups if g.detectors):
            first, last = max(start, at), min(until.floor(panel.step), panel.end)
            found = rows_of(learned, young, first, last, catalog, settings)
            rows += [r[_not_of(r, known)] for r in found]
    return rows, _last(refused)


def _known(trained: Sequence[Learned]) -> dict[str, pd.DataFrame]:
    """Whom each detector was trained for: a band that is none (no threshold) does not count."""
    keys = pd.DataFrame({c: pd.Series(dtype="str") for c in _KEY})
    bands = [b.detectors["band"] for b in trained]
    usable = [b.keys[np.isfinite(b.arrays["threshold"])] for b in bands]
    whole = ("isolation_forest", "together")  # whoever there is, both know the same workloads
    forests = [b.detectors[n].keys for b in trained for n in whole if n in b.detectors]
    return {
        "band": pd.concat([keys, *(k[_KEY] for k in usable)]),
        "isolation_forest": pd.concat([keys[["workload"]], *forests]),
    }


def _not_of(rows: pd.DataFrame, known: dict[str, pd.DataFrame]) -> NDArray[np.bool_]:
    """The rows of series that nobody was trained for before."""
    told = pd.MultiIndex.from_frame(known["band"]).append(
        pd.MultiIndex.from_product([known["isolation_forest"]["workload"].unique(), ["*"]])
    )
    return ~pd.MultiIndex.from_frame(rows[_KEY]).isin(told)


def _leaks(
    panel: Panel, start: pd.Timestamp, catalog: Catalog, settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leaks issued in ``(start, panel.end]``, each day from its own anchor, and who has none."""
    every = pd.Timedelta(settings.detect.leak_every_s, "s")
    leaks: list[pd.DataFrame] = []
    skipped: list[pd.DataFrame] = []
    for day, until in stretches(start.floor("1D"), start, panel.end, DAY):
        first, last = max(start, day), min(until, panel.end)
        if first.floor(every) + every > last:
            continue
        anchor = (day - leaks_reach(settings) + DAY).floor(panel.step)
        found, none = find_leaks(reaching_back(panel, anchor, last), first, catalog, settings)
        leaks.append(found)
        skipped.append(none)
    return _rows(leaks, _no_leaks()), _last(skipped)


def _no_leaks() -> pd.DataFrame:
    nothing: pd.DataFrame = LEAKS.schema.empty_table().to_pandas()
    return nothing[list(LEAK_COLUMNS)]


def _rows(parts: Sequence[pd.DataFrame], nothing: pd.DataFrame) -> pd.DataFrame:
    some = [p for p in parts if len(p)]
    return pd.concat(some, ignore_index=True) if some else nothing


def _last(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """``workload, metric, reason``: of several reasons the last."""
    nothing = pd.DataFrame({c: pd.Series(dtype="str") for c in (*_KEY, "reason")})
    return _rows(parts, nothing)[[*_KEY, "reason"]].drop_duplicates(_KEY, keep="last")


def _outside_maintenance(scores: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Nobody is told of what happens in a maintenance window."""
    if not len(scores) or not any(c.maintenance for c in settings.calendars):
        return scores
    row, workloads = pd.factorize(scores["workload"])
    col, times = pd.factorize(scores["ts"])
    stamps = pd.DatetimeIndex(times)
    quiet = maintenance_mask([str(w) for w in workloads], stamps, settings.calendars)
    return scores[~quiet[row, col]].reset_index(drop=True)
