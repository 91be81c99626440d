"""explained: why a workload has this score, this forecast, this floor.

All of it is read from the tables that the verbs wrote; nothing is run and nothing is fitted. What
is not known is in ``missing``, with a reason.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from features.frames import CAPACITY, FORECASTS, SKIPS
from pipelines.answers.explained_floor import floor_why
from pipelines.answers.explained_forecasts import forecasts_why
from pipelines.answers.explained_rows import (
    Rows,
    iso,
    known_workloads,
    newest_rows,
    require_known,
    rows_that_scored,
)
from pipelines.answers.explained_scores import incidents_of, leaks_of, scores_why
from pipelines.answers.explained_types import Explained, FloorWhy, ForecastWhy, Missing, ScoreWhy
from pipelines.run import Run

__all__ = ["Explained", "explained", "known_workloads"]

_STEPS = {"train": "it was not trained", "score": "it was not scored", "forecast": "no forecast"}
"""What a skip of each step means; those of others tell nothing about these parts."""


def explained(
    run: Run, workload: str, *, metric: str | None = None, at: pd.Timestamp | None = None
) -> Explained:
    """Why the newest score, forecast and floor of a workload are what they are, or those at ``at``.

    Parameters
    ----------
    workload : ``cluster/namespace/kind/name``, or the end of one alone
    metric : only the scores and forecasts of this one; ``*`` for all of the workload together
    at : UTC; by default, and at the latest, the run's clock

    Raises
    ------
    InputError
        No table knows the workload: the text says who comes close.
    StoreError
        A table or the plan is damaged.
    """
    workload = require_known(run, workload)
    moment = run.as_of if at is None else min(at, run.as_of)
    then = replace(run, ref=replace(run.ref, as_of=moment.isoformat()))
    issued, asked = newest_rows(then, FORECASTS, workload), newest_rows(then, CAPACITY, workload)
    scores = scores_why(run, rows_that_scored(run, workload, moment), metric)
    forecasts = forecasts_why(then, issued, workload, metric)
    floor = floor_why(then, asked, issued, workload) if len(asked) else None
    ends = [part.valid_until for part in (*scores, *forecasts, *([floor] if floor else []))]
    past = _past(scores, forecasts, floor, iso(moment))
    return Explained(
        workload=workload,
        as_of=iso(run.as_of),
        at=iso(moment),
        scores=scores,
        leaks=leaks_of(then, workload, metric),
        incidents=incidents_of(then, workload),
        forecasts=forecasts,
        floor=floor,
        missing=_missing(newest_rows(run, SKIPS, workload), scores, forecasts, floor),
        evidence=_evidence(scores, forecasts, floor),
        valid_until=min(ends, default=None),
        stale=bool(past),
        stale_reason=past,
    )


def _past(
    scores: tuple[ScoreWhy, ...],
    forecasts: tuple[ForecastWhy, ...],
    floor: FloorWhy | None,
    moment: str,
) -> str:
    """What of the answer was not valid any more at the moment; stamps compare as text."""
    parts = {
        "score": (max((s.valid_until for s in scores), default=""), "score"),
        "forecast": (min((f.valid_until for f in forecasts), default=""), "forecast"),
        "floor": (floor.valid_until if floor else "", "forecast"),
    }
    return "; ".join(
        f"the {what} was valid until {until}: run `foretide {verb}`"
        for what, (until, verb) in parts.items()
        if until and until <= moment
    )


def _missing(
    skips: Rows,
    scores: tuple[ScoreWhy, ...],
    forecasts: tuple[ForecastWhy, ...],
    floor: FloorWhy | None,
) -> tuple[Missing, ...]:
    """The parts without an answer; the reason is that of the skip where the workload has one."""
    told = [
        Missing(what=_what(row["step"], row["metric"]), reason=f"skipped: {row['reason']}")
        for row in skips.drop_duplicates(["metric", "step"], keep="last").to_dict("records")
    ]
    empty = {
        "score": (not scores, "no score of it in the store: run `foretide score`"),
        "forecast": (not forecasts, "no forecast of it in the store: run `foretide forecast`"),
        "floor": (floor is None, "no capacity forecast of it: run `foretide forecast`"),
    }
    return (*told, *(Missing(what=k, reason=why) for k, (gone, why) in empty.items() if gone))


def _what(step: str, metric: str) -> str:
    word = _STEPS.get(step, step)
    return f"{word}: {metric}" if metric else word


def _evidence(
    scores: tuple[ScoreWhy, ...], forecasts: tuple[ForecastWhy, ...], floor: FloorWhy | None
) -> tuple[str, ...]:
    """Which rows the answer was read from."""
    found = [f"scores of run {s.run_id} by {s.model_version}" for s in scores]
    found += [f"forecasts of run {f.run_id} by {f.model_version}" for f in forecasts]
    if floor:
        found.append(f"capacity of run {floor.run_id}")
        found += [f"plan {floor.plan_id}"] if floor.plan_id else []
    return tuple(dict.fromkeys(found))
