"""Point scores and alerts held against labelled windows, on any directory of samples files.

``python tests/eval/detect_points.py [DIR]`` takes every samples file right under DIR, with labels
as in ``detect_files.py``. The product scores each case causally by the flow behind ``foretide score
--train-until``, settings as they come. Series by themselves are judged by NAB's standard profile,
workloads of several metrics by VUS-PR; both by events and AUC-PR. Simple detectors and chance stand
in the same table; docs/detection.md says what every column means.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from detect_files import Case, cases_of, read_labels, samples_files, score_cases, seconds
from detect_rivals import (
    EWMA_SPAN,
    OF_MANY,
    OF_ONE,
    PCA_VARIANCE,
    RARE,
    SEEDS,
    SIGMAS,
    Rival,
    chance,
    constant,
)

from models.base import WHOLE_WORKLOAD
from models.detection_measures import (
    EventScore,
    average_precision,
    event_score,
    run_starts,
    total,
    vus_pr,
)
from models.nab import nab_curve
from pipelines.errors import ForetideError

SLACK_S = 1800.0  # before and after a window: labels are a person's
SAME_RUN = 12  # rows below the line that do not end a rival's run
LONGEST_BUFFER = 100  # rows
RANDOM, CONSTANT = "random", "constant"
POINTS, TOLD = "foretide, points", "foretide, incidents"
WHOLE = f"foretide, {WHOLE_WORKLOAD}"
MEASURES = ("NAB", "event F1", "AUC-PR", "VUS-PR")
HEADS = ("NAB", "at line", "event F1", "prec", "recall", "delay h", "a week", "AUC-PR", "VUS-PR")


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


def evaluate(data: Path, *, each: bool = False) -> Iterator[tuple[str, float, str]]:
    """Judge all files of a directory, print the tables, and give the figures.

    ``each``: print beside them what the incidents of every case were worth.
    """
    ones: list[Case] = []
    many: list[Case] = []
    for file in samples_files(data):
        cases = _scored(data, file)
        labelled = [c for c in cases if c.windows is not None]
        ones += [c for c in labelled if c.single]
        many += [c for c in labelled if not c.single]
    if each:
        _show_each([*ones, *many])
    if ones:
        table = _table("series by themselves", ones, _of_one(ones))
        points, told = table[POINTS], table[TOLD]
        yield "nab_aws_standard", told["NAB"], "points"
        yield "nab_aws_standard_points", points["NAB"], "points"
        yield "nab_aws_at_alert_line", told["at line"], "points"
        yield "event_f1", told["event F1"], "share"
        yield "event_delay_hours", told["delay h"], "h"
        yield "alerts_a_week", told["a week"], "alerts"
    if many:
        table = _table("workloads of several metrics", many, _of_many(many))
        yield "asd_vus_pr", table[WHOLE]["VUS-PR"], "share"
        yield "asd_vus_pr_pca_ewma", table["PCA + EWMA"]["VUS-PR"], "share"
        yield "asd_event_f1", table[TOLD]["event F1"], "share"


def _scored(data: Path, file: Path) -> list[Case]:
    """A file's cases, scored; says what was left out and how often unlabelled ones alarm."""
    labels, why = read_labels(data, file)
    try:
        cases = cases_of(file, labels)
    except ForetideError as error:
        print(f"{file.name}: left out, {error}")
        return []
    for case in [c for c in cases if not c.judgeable]:
        print(f"{file.name}: {case.name} is not judged, nothing before or after {case.train_until}")
    cases = [c for c in cases if c.judgeable]
    score_cases(cases)
    for case in [c for c in cases if c.reason]:
        print(f"{file.name}: {case.name} has no score, {case.reason}")
    told = [c for c in cases if not c.reason]
    if labels is not None and not any(len(c.windows) for c in cases if c.windows is not None):
        labels, why = None, "no label is about a workload of this file"
        for case in cases:
            case.windows = None
    if told:
        rate = sum(len(c.incidents) for c in told) / sum(c.weeks for c in told)
        note = f"; {why}, so nothing else can be said" if labels is None else ""
        print(
            f"{file.name}: {len(told)} of {len(cases)} scored, {rate:.2f} alerts a week each{note}",
            flush=True,
        )
    return cases


def _of_one(cases: list[Case]) -> dict[str, Answers]:
    return {
        TOLD: _incidents(cases),
        POINTS: _product(cases, lambda points: np.ones(len(points), bool)),
        **{name: _rival(cases, rival) for name, rival in OF_ONE.items()},
        **_chances(cases),
    }


def _of_many(cases: list[Case]) -> dict[str, Answers]:
    whole = sorted({d for c in cases for d in _whole(c.points)["detector"].astype(str)})
    return {
        WHOLE: _product(cases, lambda points: (points["metric"] == WHOLE_WORKLOAD).to_numpy()),
        **{
            f"  {d}": _product(
                cases,
                lambda points, d=d: (
                    (points["metric"] == WHOLE_WORKLOAD) & (points["detector"] == d)
                ).to_numpy(),
            )
            for d in whole
        },
        POINTS: _product(cases, lambda points: np.ones(len(points), bool)),
        TOLD: _incidents(cases),
        **{name: _rival(cases, rival) for name, rival in OF_MANY.items()},
        **_chances(cases),
    }


def _whole(points: pd.DataFrame) -> pd.DataFrame:
    if points.empty:
        return pd.DataFrame(columns=["detector"])
    return points[points["metric"] == WHOLE_WORKLOAD]


def _product(cases: list[Case], which: Callable[[pd.DataFrame], np.ndarray]) -> Answers:
    """The highest of the product's scores at every moment, among the chosen ones."""
    scores: list[np.ndarray] = []
    for case in cases:
        mine = case.points[which(case.points)] if len(case.points) else case.points
        highest = mine.groupby("ts")["score"].max() if len(mine) else pd.Series(dtype=float)
        scores.append(case.on_rows(highest))
    return Answers(scores, [_told(c, s) for c, s in zip(cases, scores, strict=True)])


def _incidents(cases: list[Case]) -> Answers:
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


def _rival(cases: list[Case], rival: Rival) -> Answers:
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


def _chances(cases: list[Case]) -> dict[str, Answers]:
    """Random scores, which tell of something as often as the product does; and one constant."""
    often = [len(c.incidents) for c in cases]
    rng = np.random.default_rng(0)
    each = [_rival(cases, chance(seed)) for seed in range(SEEDS)]
    moments = [
        _events(cases, [rng.uniform(*_span(c), n) for c, n in zip(cases, often, strict=True)])
        for _ in range(20)
    ]
    columns = [_areas(cases, a) for a in each]
    mean = {k: float(np.mean([c[k] for c in columns])) for k in columns[0]}
    drawn = Answers(each[0].scores, each[0].alerts, events=total(moments), columns=mean)
    return {RANDOM: drawn, CONSTANT: _rival(cases, constant)}


def _span(case: Case) -> tuple[float, float]:
    return tuple(seconds(pd.Series([case.train_until, case.times[-1]])))


def _events(cases: list[Case], alerts: Iterable[np.ndarray]) -> EventScore:
    found: list[EventScore] = []
    for case, moments in zip(cases, alerts, strict=True):
        w = case.windows
        windows = w[(w["end"] >= case.train_until) & (w["start"] <= case.times[-1])]
        spans = windows[["start", "end"]].apply(seconds).to_numpy(float)
        found.append(event_score(moments, spans, case.weeks, before_s=SLACK_S, after_s=SLACK_S))
    return total(found)


def _areas(cases: list[Case], answers: Answers) -> dict[str, float]:
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


def _table(
    title: str, cases: list[Case], answers: dict[str, Answers]
) -> dict[str, dict[str, float]]:
    """Measure and print: a row a detector."""
    n_windows = sum(len(c.rows) for c in cases)
    print(f"\n{title}: {len(cases)} cases, {n_windows} windows")
    print(
        f"  lines: rivals at {SIGMAS:g} σ, or what {1 - RARE:.1%} of their training rows exceed; "
        "random tells as often as the product\n"
        f"  PCA: {PCA_VARIANCE:.0%} of variance, EWMA span {EWMA_SPAN} rows; VUS buffers to "
        f"{LONGEST_BUFFER} rows; slack {SLACK_S / 60:g} min"
    )
    print(f"  {'':22s}" + "".join(f"{head:>10s}" for head in HEADS))
    rows: dict[str, dict[str, float]] = {}
    for name, said in answers.items():
        events = said.events or _events(cases, said.alerts)
        rows[name] = {
            **(said.columns or _areas(cases, said)),
            "event F1": events.f1,
            "prec": events.precision,
            "recall": events.recall,
            "delay h": events.median_delay_s / 3600,
            "a week": events.alerts_a_week,
        }
        cells = [rows[name].get(head, float("nan")) for head in HEADS]
        print(f"  {name:22s}" + "".join(_cell(c) for c in cells), flush=True)
    _chance_last(rows)
    return rows


def _show_each(cases: list[Case]) -> None:
    print(f"\n  {'incidents by case':40s}  caught  missed   false  delay h")
    for case in cases:
        found = _events([case], _incidents([case]).alerts)
        print(
            f"  {case.name:40.40s}{found.caught:8d}{found.missed:8d}{found.false:8d}"
            f"{found.median_delay_s / 3600:9.2f}"
        )


def _cell(value: float) -> str:
    if np.isnan(value):
        return f"{'–':>10s}"
    return f"{value:10.1f}" if abs(value) >= 10 else f"{value:10.3f}"


def _chance_last(rows: dict[str, dict[str, float]]) -> None:
    """A measure that chance does well in measures nothing: say so where nobody can miss it."""
    for measure in MEASURES:
        told = {n: r[measure] for n, r in rows.items() if np.isfinite(r.get(measure, np.nan))}
        bar = max((told[n] for n in (RANDOM, CONSTANT) if n in told), default=-np.inf)
        below = [n.strip() for n, v in told.items() if n not in (RANDOM, CONSTANT) and v <= bar]
        if below:
            print(f"  !!! {measure}: CHANCE IS NOT LAST, it reaches {bar:.3f}: {', '.join(below)}")


def main() -> None:
    """Print tables and what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--each", action="store_true", help="what became of every case, too")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"{args.data} is no directory of samples files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value, unit in list(evaluate(args.data, each=args.each)):
            print(f"{name:28s}{value:10.3f} {unit}")


if __name__ == "__main__":
    main()
