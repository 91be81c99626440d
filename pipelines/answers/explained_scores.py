"""Why the newest scores of a workload are what they are, its leaks, and the incidents it is in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from features.frames import INCIDENTS, LEAKS
from models.base import CRITICAL, WHOLE_WORKLOAD
from pipelines.answers.explained_rows import Rows, amount, iso, newest_rows, number
from pipelines.answers.explained_types import LeakWhy, NamedIncident, ScoreWhy
from pipelines.run import Run

__all__ = ["ALERT_LINE", "incidents_of", "leaks_of", "scores_why"]

ALERT_LINE = 1.0
_CLOSE = 0.02
"""Of the score: as near as this, the distance from the shown edge is the score."""
_INCIDENTS = 5
_DAY = pd.Timedelta(1, "D")


def scores_why(run: Run, rows: Rows, metric: str | None) -> tuple[ScoreWhy, ...]:
    """One a metric and detector, the highest first; ``rows`` are of the SCORES contract."""
    if metric is not None:
        rows = rows[rows["metric"] == metric]
    found = [
        _score(run, group.sort_values("ts"))
        for _, group in rows.groupby(["metric", "detector"], sort=True)
    ]
    return tuple(sorted(found, key=lambda s: -s.score))


def leaks_of(run: Run, workload: str, metric: str | None) -> tuple[LeakWhy, ...]:
    """The newest judgement of each metric, the highest score first."""
    rows = newest_rows(run, LEAKS, workload)
    rows = rows[rows["issued_at"] <= run.as_of].sort_values("issued_at")
    if metric is not None:
        rows = rows[rows["metric"] == metric]
    last = rows.drop_duplicates("metric", keep="last").to_dict("records")
    return tuple(sorted((_leak(run, row) for row in last), key=lambda leak: -leak.score))


def incidents_of(run: Run, workload: str) -> tuple[NamedIncident, ...]:
    """Those that are open or ended in the last day, the newest first."""
    if not run.parts(INCIDENTS):
        return ()
    table: pd.DataFrame = run.read(INCIDENTS, newest=True).to_pandas()
    mine = table[table["workloads"].map(lambda names: workload in set(names)).astype(bool)]
    lately = mine["ended_at"].isna() | (mine["ended_at"] >= run.as_of - _DAY)
    mine = mine[lately & (mine["started_at"] <= run.as_of)].sort_values("started_at")
    return tuple(
        NamedIncident(
            incident_id=str(row["incident_id"]),
            title=str(row["title"]),
            severity=str(row["severity"]),
            started_at=iso(row["started_at"]),
            ended_at=iso(row["ended_at"]) or None,
        )
        for row in reversed(mine.tail(_INCIDENTS).to_dict("records"))
    )


def _score(run: Run, group: Rows) -> ScoreWhy:
    """Of one metric and detector, the rows of a run in the order of time."""
    row = {str(k): v for k, v in group.iloc[-1].items()}
    high = group.iloc[int(group["score"].to_numpy().argmax())]
    return ScoreWhy(
        metric=str(row["metric"]),
        detector=str(row["detector"]),
        ts=iso(row["ts"]),
        score=float(row["score"]),
        alert_line=ALERT_LINE,
        critical_line=CRITICAL,
        severity=str(row["severity"]),
        unit="" if row["metric"] == WHOLE_WORKLOAD else run.catalog[str(row["metric"])].unit,
        **{name: number(row[name]) for name in ("value", "expected", "lower", "upper")},
        reason=str(row["reason"]),
        arithmetic=_score_arithmetic(row),
        steps=len(group),
        steps_over_line=int((group["score"] >= ALERT_LINE).sum()),
        highest=float(high["score"]),
        highest_ts=iso(high["ts"]),
        highest_reason=str(high["reason"]),
        model_version=str(row["model_version"]),
        run_id=str(row["run_id"]),
        valid_until=iso(row["valid_until"]),
    )


def _score_arithmetic(row: dict[str, Any]) -> tuple[str, ...]:
    """From the value to the score, in sentences."""
    against = _against_line(row["score"])
    value, expected = number(row["value"]), number(row["expected"])
    if value is None:
        return (f"no value was measured: the score is {row['score']:.2f}, {against}",)
    if expected is None:
        own = f"the detector's own measure is {value:.3g}"
        return (
            f"{own}; calibrated on the training weeks, so that 1 is where the alert budget lies: "
            f"the score is {row['score']:.2f}, {against}",
        )
    if np.isnan(row["lower"]) and np.isnan(row["upper"]):  # a detector of the user's own: no band
        return (
            f"{row['detector']} has its own measure, calibrated on the training weeks so that 1 "
            f"is where its alert budget lies: the score is {row['score']:.2f}, {against}",
        )
    return (*_distance(row, value, expected), f"the score is {row['score']:.2f}, {against}")


def _distance(row: dict[str, Any], value: float, expected: float) -> tuple[str, ...]:
    """How far the value is on its way from what is expected to the edge of the band."""
    metric, off = str(row["metric"]), value - expected
    side, edge = ("above", row["upper"]) if off >= 0 else ("below", row["lower"])
    told = f"{amount(value, metric)} is {amount(abs(off), metric)} {side} the expected "
    told += amount(expected, metric)
    if np.isinf(edge):
        return (told, f"{side} is harmless for {metric}: there the score stays below 1")
    room = abs(edge - expected)
    if not room > 0:
        return (told,)
    share = abs(off) / room
    told += f"; the band ends {amount(room, metric)} {side} it: {share:.2f} of the way"
    if abs(share - row["score"]) <= _CLOSE * max(share, 1.0):
        return (told,)
    return (
        told,
        "counted is what is further off: this point, or the last minutes and hours beside the "
        "level before them, each in units of its own line; never less for a drop to zero",
    )


def _against_line(score: float) -> str:
    if score >= CRITICAL:
        return f"at or over the critical line of {CRITICAL:g}"
    if score >= ALERT_LINE:
        return f"at or over the alert line of {ALERT_LINE:g}"
    return f"below the alert line of {ALERT_LINE:g}: normal"


def _leak(run: Run, row: dict[Any, Any]) -> LeakWhy:
    metric = str(row["metric"])
    return LeakWhy(
        metric=metric,
        unit=run.catalog[metric].unit,
        issued_at=iso(row["issued_at"]),
        score=float(row["score"]),
        value=number(row["value"]),
        limit=number(row["limit"]),
        slope_per_h=number(row["slope_per_h"]),
        time_to_limit_p50_s=number(row["time_to_limit_p50_s"]),
        note=row["note"] if isinstance(row["note"], str) else "",
        arithmetic=_leak_arithmetic(row, metric),
    )


def _leak_arithmetic(row: dict[Any, Any], metric: str) -> tuple[str, ...]:
    value, limit, slope = (number(row[k]) for k in ("value", "limit", "slope_per_h"))
    if value is None or limit is None or slope is None:
        return ()
    left = f"{amount(limit - value, metric)} are left to the limit of {amount(limit, metric)}"
    seconds = number(row["time_to_limit_p50_s"])
    if seconds is None or slope <= 0:
        return (f"{left}; it does not grow once its load is accounted for",)
    grows = f"it grows by {amount(slope, metric)} an hour once its load is accounted for"
    return (f"{left}; {grows}: reached in {amount(seconds, '_seconds')}, by the median",)
