"""What the detectors say about a stretch of time: scores and leaks as tables.

Pure: a panel and what was learned in, tables out. A score at ``ts`` uses nothing after its own
step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.civil import maintenance_mask
from features.frames import LEAKS, SCORES
from features.metrics import Catalog
from features.panel import Floats, Panel
from features.signals import build_signals
from models.band import Band, reasons_text
from models.base import WHOLE_WORKLOAD
from models.isolation_forest import IsolationForest
from models.memory_slope import LEAK_COLUMNS, MemorySlope, prefer_rss
from pipelines.accounting import NOT_WATCHED
from pipelines.errors import ModelError
from pipelines.learning import Learned, forecasters
from pipelines.settings import Settings

__all__ = [
    "NOTHING_TO_SCORE",
    "Scored",
    "context",
    "find_leaks",
    "scorable",
    "score_window",
]

NOTHING_TO_SCORE = "no sample in the window"

_CRITICAL = 2.0
_USED = re.compile(r"(?P<what>\w+?)_(?:used|usage|rss|working_set)_(?P<unit>\w+)")


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
        parts.append(_band(learned, own, expected, start, settings))
        parts.append(_forest(learned, own, expected, start, catalog, settings))
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


def find_leaks(
    panel: Panel, start: pd.Timestamp, catalog: Catalog, settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leaks issued in ``(start, panel.end]``, and the resources that could not be judged.

    Leaks are judged on the full hours (``leak_every_s``) however the runs are cut, since what
    persists is counted in issues; a window without one has nothing to say.
    """
    every = pd.Timedelta(settings.detect.leak_every_s, "s")
    issued = pd.date_range(start.floor(every) + every, panel.end, freq=every).as_unit("ms")
    if not len(issued):
        nothing: pd.DataFrame = LEAKS.schema.empty_table().to_pandas()
        return nothing[list(LEAK_COLUMNS)], panel.keys[:0].assign(reason="")
    limits = _limits(panel, catalog)
    resources = prefer_rss(panel.select(limits != ""))
    found = MemorySlope(settings.detect.memory_slope).detect(
        resources,
        limit=_beside(panel, resources, limits[_positions(resources, panel)]),
        load=_load(panel, resources, catalog),
        restarts=_beside(panel, resources, "restarts_total"),
        deploys=_beside(panel, resources, "deploy_timestamp_seconds"),
        issued=issued,
    )
    return found.leaks, found.skipped


def _band(
    learned: Learned, panel: Panel, expected: Floats, start: pd.Timestamp, settings: Settings
) -> pd.DataFrame:
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


def _forest(
    learned: Learned,
    panel: Panel,
    expected: Floats,
    start: pd.Timestamp,
    catalog: Catalog,
    settings: Settings,
) -> pd.DataFrame:
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


def _limits(panel: Panel, catalog: Catalog) -> NDArray[np.str_]:
    """For each series the metric that bounds it, or nothing where it is no bounded resource."""
    there = set(panel.keys["metric"])

    def of(name: str) -> str:
        metric = catalog[name]
        if metric.limit is not None:
            return metric.limit if metric.limit in there else ""
        match = _USED.fullmatch(name)
        guess = f"{match['what']}_limit_{match['unit']}" if match else ""
        return guess if guess in there and not catalog.knows(name) else ""

    return np.array([of(str(m)) for m in panel.keys["metric"]], dtype=str)


def _positions(part: Panel, whole: Panel) -> NDArray[np.intp]:
    return pd.MultiIndex.from_frame(whole.keys).get_indexer(pd.MultiIndex.from_frame(part.keys))


def _beside(panel: Panel, resources: Panel, metric: str | NDArray[np.str_]) -> Floats:
    """A metric of the same workload on the same grid, one row a resource; NaN where it has none."""
    wanted = pd.MultiIndex.from_arrays(
        [resources.keys["workload"], np.broadcast_to(metric, resources.n_series)]
    )
    row = pd.MultiIndex.from_frame(panel.keys).get_indexer(wanted)
    return np.vstack([panel.values, np.full(panel.n_steps, np.nan)])[row]


def _load(panel: Panel, resources: Panel, catalog: Catalog) -> Floats:
    """What explains a resource: the workload's first demand metric that there is."""
    out = np.full(resources.values.shape, np.nan)
    for metric in catalog.names("demand"):
        candidate = _beside(panel, resources, metric)
        none_yet = np.isnan(out).all(axis=1)
        out[none_yet] = candidate[none_yet]
    return out
