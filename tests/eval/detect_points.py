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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from detect_answers import (
    CONSTANT,
    LONGEST_BUFFER,
    RANDOM,
    SLACK_S,
    Answers,
    areas,
    chances,
    event_total,
    incidents,
    product,
    rival_answers,
)
from detect_files import Case, cases_of, read_labels, samples_files, score_cases
from detect_rivals import (
    EWMA_SPAN,
    OF_MANY,
    OF_ONE,
    PCA_VARIANCE,
    RARE,
    SIGMAS,
)

from models.base import WHOLE_WORKLOAD
from pipelines.errors import ForetideError

POINTS, TOLD = "foretide, points", "foretide, incidents"
WHOLE = f"foretide, {WHOLE_WORKLOAD}"
MEASURES = ("NAB", "event F1", "AUC-PR", "VUS-PR")
HEADS = ("NAB", "at line", "event F1", "prec", "recall", "delay h", "a week", "AUC-PR", "VUS-PR")


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
        TOLD: incidents(cases),
        POINTS: product(cases, lambda points: np.ones(len(points), bool)),
        **{name: rival_answers(cases, rival) for name, rival in OF_ONE.items()},
        **chances(cases),
    }


def _of_many(cases: list[Case]) -> dict[str, Answers]:
    whole = sorted({d for c in cases for d in _whole(c.points)["detector"].astype(str)})
    return {
        WHOLE: product(cases, lambda points: (points["metric"] == WHOLE_WORKLOAD).to_numpy()),
        **{
            f"  {d}": product(
                cases,
                lambda points, d=d: (
                    (points["metric"] == WHOLE_WORKLOAD) & (points["detector"] == d)
                ).to_numpy(),
            )
            for d in whole
        },
        POINTS: product(cases, lambda points: np.ones(len(points), bool)),
        TOLD: incidents(cases),
        **{name: rival_answers(cases, rival) for name, rival in OF_MANY.items()},
        **chances(cases),
    }


def _whole(points: pd.DataFrame) -> pd.DataFrame:
    if points.empty:
        return pd.DataFrame(columns=["detector"])
    return points[points["metric"] == WHOLE_WORKLOAD]


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
        events = said.events or event_total(cases, said.alerts)
        rows[name] = {
            **(said.columns or areas(cases, said)),
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
        found = event_total([case], incidents([case]).alerts)
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
