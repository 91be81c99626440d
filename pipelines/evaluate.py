"""evaluate: issued forecasts, floors and alerts held against what then came; a verdict on every
live model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import ACCURACY, ADVICE, INCIDENTS, REPLAYS, SCORES, VALUE, VERDICTS
from models.measures import coverage, peak_coverage, pinball, points, wape
from pipelines.artifacts import publish
from pipelines.clock import now, present
from pipelines.errors import HistoryError, StoreError
from pipelines.events import is_live
from pipelines.flow_runs import CLUSTER, as_run
from pipelines.hpa_specs import open_cluster
from pipelines.issued import Issued, issued_forecasts
from pipelines.outcome import Outcome
from pipelines.parameters import Moment
from pipelines.plan_facts import no_cluster
from pipelines.run import Run, RunRef
from pipelines.shadow import advice_of, replay_issued, told_advice
from pipelines.tasks import call
from pipelines.telemetry import traced
from pipelines.value import value_rows
from pipelines.value_text import told_value, value_document, value_file
from pipelines.verdicts import judge_issued, summary
from pipelines.watching import watched

__all__ = ["evaluate", "evaluation_file", "window_scores"]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one part of the evaluation found out."""

    table: pd.DataFrame
    figures: dict[str, float]
    reason: str = ""


@flow(name="evaluate", timeout_seconds=3 * 3600)
@as_run(CLUSTER)
@watched("evaluate")
def evaluate(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
) -> dict[str, Any]:
    """Judge the last days: forecast accuracy and coverage, who has drifted or lost its edge,
    pre-scaling replayed and for whom it is worth it, alert noise."""
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    live = not ref.inputs and is_live(pd.Timestamp(ref.as_of), present())
    return publish(call(judge_window, ref, live))


@task(cache_policy=NO_CACHE)
@traced
def judge_window(ref: RunRef, live: bool = False) -> dict[str, Any]:
    """Evaluate ``[as_of − window, as_of)``; what cannot be judged says why.

    Only a ``live`` evaluation asks the configured cluster how its autoscalers move.

    Raises
    ------
    HistoryError
        There are no samples of that time.
    """
    run = ref.open()
    start = run.as_of - pd.Timedelta(days=run.settings.evaluate.window_days)
    issued = issued_forecasts(run, start, run.settings.evaluate.drift.bar_weeks)
    accuracy = _accuracy(issued)
    replays = replay_issued(run, start, open_cluster if live else no_cluster)
    scores = window_scores(run, start)
    noise = _noise(run, start, scores)
    parts = {"forecast accuracy": accuracy, "replay": replays, "alert noise": noise}
    skipped = {f"{name} ({p.reason})": 1 for name, p in parts.items() if p.reason}
    if len(skipped) == len(parts):
        raise HistoryError(
            f"nothing can be judged from {start:%Y-%m-%d %H:%M} to {run.as_of:%Y-%m-%d %H:%M} "
            f"UTC: {'; '.join(p.reason for p in parts.values())}"
        )
    verdicts, notes = _verdicts(run, start, issued)
    window = {"evaluated_at": run.as_of, "started_at": start, "run_id": run.run_id}
    replayed = replays.table.assign(**window)
    advice = advice_of(run, replayed) if len(replayed) else pd.DataFrame()
    value = value_rows(run, start, scores=scores, accuracy=accuracy.table, replays=replays.table)
    worth, said = told_advice(advice)
    figures = accuracy.figures | verdicts.figures | replays.figures | worth | noise.figures
    figures = {name: value for name, value in figures.items() if np.isfinite(value)}
    tables = {
        ACCURACY: accuracy.table.assign(**window),
        REPLAYS: replayed,
        ADVICE: advice,
        VERDICTS: verdicts.table,
        VALUE: value,
    }
    outputs = {c.name: run.store.write(c, t, run.part) for c, t in tables.items() if len(t)}
    text = json.dumps(figures, indent=1, sort_keys=True, allow_nan=False)
    outputs["evaluation"] = run.store.put_file(evaluation_file(run), f"{text}\n".encode())
    report = value_document(value, run.settings.evaluate.value)
    outputs["value report"] = run.store.put_file(value_file(run), report.encode())
    return Outcome(
        verb="evaluate",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="judgements",
        done=len(parts) - len(skipped),
        skipped=skipped,
        outputs=outputs,
        figures=figures,
        notes=(*notes, *said, *told_value(value)),
    ).to_dict()


def evaluation_file(run: Run) -> str:
    """Where in the store the figures of this run are."""
    return f"evaluation/{run.part}.json"


def _accuracy(issued: Issued | None) -> _Part:
    """Every series' newest forecast of each step against what was measured."""
    if issued is None:
        return _Part(pd.DataFrame(), {}, "no forecast was issued for this time")
    actual, q50, q90 = issued.actual, issued.q50, issued.q90
    table = issued.keys.assign(
        model=issued.models,
        wape=wape(actual, q50),
        pinball_q90=pinball(actual, q90, 0.9),
        coverage_q90=coverage(actual, q90),
        peak_coverage_q90=peak_coverage(actual, q90),
        points=points(actual, q50),
    )
    judged = table[table["points"] > 0]
    if judged.empty:
        return _Part(judged, {}, "nothing was measured where something was forecast")
    figures = {
        "forecast_wape_median": float(judged["wape"].median()),
        "forecast_q90_coverage": float(judged["coverage_q90"].mean()),
        "forecast_q90_peak_coverage": float(judged["peak_coverage_q90"].mean()),
    }
    return _Part(judged.reset_index(drop=True), figures)


def _verdicts(
    run: Run, start: pd.Timestamp, issued: Issued | None
) -> tuple[_Part, tuple[str, ...]]:
    """Whose model has drifted or lost its edge, and a line for each of the worst."""
    if issued is None:
        return _Part(pd.DataFrame(), {}), ()
    table = judge_issued(run, start, issued, run.settings.evaluate.drift)
    figures, worst = summary(table)
    return _Part(table, figures), worst


def window_scores(run: Run, start: pd.Timestamp) -> pd.DataFrame:
    """What was scored of this time, once: all that is over the alert line, and one row of each
    step. Of runs that overlap the newest counts.

    A part at a time: a week of 10,000 workloads is over 100 million rows.
    """
    kept: list[tuple[pd.Timestamp, pd.DataFrame]] = []
    for _, parts in groupby(run.parts(SCORES, start), key=lambda p: p.split("-", 1)[0]):
        fresh: list[pd.DataFrame] = []
        for part in parts:
            rows: pd.DataFrame = run.store.read(SCORES, part=part, columns=_SCORED).to_pandas()
            rows = rows[(rows["ts"] >= start) & (rows["ts"] < run.as_of)]
            if rows.empty:
                continue
            begin = rows["ts"].min()
            kept = [(end, k if end < begin else _without(k, rows)) for end, k in kept]
            told = rows[(rows["score"] >= 1) | ~rows["ts"].duplicated()]
            fresh.append(told.astype(dict.fromkeys(_LABELS, "str")))
        if fresh:
            one = pd.concat(fresh, ignore_index=True)
            kept.append((one["ts"].max(), one))
    if not kept:
        return SCORES.schema.empty_table().to_pandas()[list(_SCORED)]
    return pd.concat([k for _, k in kept], ignore_index=True)


_LABELS = ("workload", "metric", "detector")
_SCORED = (*_LABELS, "ts", "score")


def _without(kept: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Earlier rows that are not among those of a newer run."""
    mine = kept["workload"].isin(rows["workload"].cat.categories)
    if not mine.any():
        return kept
    asked = kept[mine]
    again = rows[rows["ts"].isin(asked["ts"]) & rows["workload"].isin(asked["workload"])]
    key = list(SCORES.key)
    newer = again[key].astype(dict.fromkeys(_LABELS, "str")).drop_duplicates()
    found = kept[key].merge(newer, on=key, how="left", indicator=True)["_merge"] == "both"
    return kept[~found.to_numpy()].reset_index(drop=True)


def _noise(run: Run, start: pd.Timestamp, scores: pd.DataFrame) -> _Part:
    """How many points over the alert line became how many incidents."""
    try:
        incidents = run.read(INCIDENTS, start).to_pandas()
    except StoreError:
        return _Part(pd.DataFrame(), {}, "nothing was scored in this time")
    days = (run.as_of - start) / pd.Timedelta(days=1)
    recent = incidents[incidents["detected_at"] >= start].drop_duplicates("incident_id")
    alerts = int((scores["score"] >= 1).sum())
    return _Part(
        pd.DataFrame(),
        {
            "points_over_alert_line": float(alerts),
            "incidents": float(len(recent)),
            "incidents_per_day": len(recent) / days,
        },
    )
