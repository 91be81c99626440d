"""What a detector said of every case, and what that is worth beside the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from detect_files import Case, seconds
from detect_rivals import SEEDS, Rival, chance, constant

from models.detection_measures import (
    EventScore,
    average_precision,
    event_score,
    run_starts,
    total,
    vus_pr,
)
from models.nab import nab_curve

SLACK_S = 1800.0  # before and after a window: labels are a person's
SAME_RUN = 12  # rows below the line that do not end a rival's run
LONGEST_BUFFER = 100  # rows
RANDOM, CONSTANT = "random", "constant"


@dataclass(slots=True)
class Answers:
    """What one detector said of every case: scores on the case's rows, alerts in seconds."""

    scores: list[np.ndarray]
    alerts: list[np.ndarray]
    line: float = 1.0
    areas: bool = True
    """Scores are of points: areas under their curves mean something."""
    events: EventScore | None = None
    columns: dict[str, float] = field(default_factory=dict)


def product(cases: list[Case], which: Callable[[pd.DataFrame], np.ndarray]) -> Answers:
    """The highest of the product's scores at every moment, among the chosen ones."""
    scores: list[np.ndarray] = []
    for case in cases:
        mine = case.points[which(case.points)] if len(case.points) else case.points
        highest = mine.groupby("ts")["score"].max() if len(mine) else pd.Series(dtype=float)
        scores.append(case.on_rows(highest))
    return Answers(scores, [_told(c, s) for c, s in zip(cases, scores, strict=True)])


def incidents(cases: list[Case]) -> Answers:
    """What a person is told of: one alert an incident, when it is detected.

    It is scored by the points that were known then, not by what became of it. A row of a file
    stands for the step that it begins, so the alert's row is the last whose step had ended.
    """
    scores, alerts = [], []
    for case in cases:
        row = np.zeros(len(case.values))
        for incident in case.incidents.itertuples():
            known = case.points[
                (case.points["ts"] >= incident.started_at)
                & (case.points["ts"] < incident.detected_at)
            ]["score"].max()
            at = case.times.searchsorted(incident.detected_at) - 1
            row[at] = max(row[at], known if np.isfinite(known) else 1.0)
        scores.append(row)
        moments = case.incidents.get("detected_at", pd.Series(dtype="datetime64[ms, UTC]"))
        alerts.append(seconds(moments).to_numpy(float))
    return Answers(scores, alerts, line=1e-9, areas=False)


def rival_answers(cases: list[Case], rival: Rival) -> Answers:
    scores = [_from_train(c, rival(c.values, ~c.tested)) for c in cases]
    return Answers(scores, [_told(c, s) for c, s in zip(cases, scores, strict=True)])


def _from_train(case: Case, scores: np.ndarray) -> np.ndarray:
    return np.where(case.tested, scores, np.nan)


def _told(case: Case, scores: np.ndarray, line: float = 1.0) -> np.ndarray:
    """Moments at which a run begins, as the end of its first step; short breaks do not end one."""
    over = pd.Series(np.where(scores >= line, 1.0, np.nan)).ffill(limit=SAME_RUN)
    starts = run_starts(over.to_numpy())
    ends = pd.Series(case.times[starts] + case.step)
    return seconds(ends).to_numpy(float) if len(starts) else np.empty(0)


def chances(cases: list[Case]) -> dict[str, Answers]:
    """Random scores, which tell of something as often as the product does; and one constant."""
    often = [len(c.incidents) for c in cases]
    rng = np.random.default_rng(0)
    each = [rival_answers(cases, chance(seed)) for seed in range(SEEDS)]
    moments = [
        event_total(cases, [rng.uniform(*_span(c), n) for c, n in zip(cases, often, strict=True)])
        for _ in range(20)
    ]
    columns = [areas(cases, a) for a in each]
    mean = {k: float(np.mean([c[k] for c in columns])) for k in columns[0]}
    drawn = Answers(each[0].scores, each[0].alerts, events=total(moments), columns=mean)
    return {RANDOM: drawn, CONSTANT: rival_answers(cases, constant)}


def _span(case: Case) -> tuple[float, float]:
    return tuple(seconds(pd.Series([case.train_until, case.times[-1]])))


def event_total(cases: list[Case], alerts: Iterable[np.ndarray]) -> EventScore:
    found: list[EventScore] = []
    for case, moments in zip(cases, alerts, strict=True):
        w = case.windows
        windows = w[(w["end"] >= case.train_until) & (w["start"] <= case.times[-1])]
        spans = windows[["start", "end"]].apply(seconds).to_numpy(float)
        found.append(event_score(moments, spans, case.weeks, before_s=SLACK_S, after_s=SLACK_S))
    return total(found)


def areas(cases: list[Case], answers: Answers) -> dict[str, float]:
    """NAB over all cases together; the areas as means over cases with a label."""
    curve = nab_curve([(s, c.rows) for c, s in zip(cases, answers.scores, strict=True)])
    columns = {
        "NAB": float("nan") if curve is None else curve.best,
        "at line": float("nan") if curve is None else curve.at(answers.line),
    }
    if answers.areas:
        tested = [
            (c.labels[c.tested], s[c.tested])
            for c, s in zip(cases, answers.scores, strict=True)
            if c.labels[c.tested].any()
        ]
        columns["AUC-PR"] = _mean([average_precision(*t) for t in tested])
        columns["VUS-PR"] = _mean([vus_pr(*t, LONGEST_BUFFER) for t in tested])
    return columns


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
