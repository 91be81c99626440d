"""evaluate: issued forecasts, floors and alerts held against what then came; a verdict on every
live model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import (
    ACCURACY,
    CAPACITY,
    INCIDENTS,
    REPLAYS,
    SCORES,
    VERDICTS,
)
from features.panel import Floats, Panel
from models.measures import coverage, peak_coverage, pinball, points, wape
from models.replay import compare
from models.replay_case import measured_case
from pipelines.clock import now
from pipelines.errors import HistoryError, StoreError
from pipelines.floors import CPU
from pipelines.floors_held import replay_rows, savings
from pipelines.issued import Issued, as_issued, issued_forecasts, on_grid
from pipelines.outcome import Outcome
from pipelines.run import Run, RunRef
from pipelines.tasks import call, publish
from pipelines.verdicts import judge_issued, summary

__all__ = ["evaluate", "evaluation_file"]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one part of the evaluation found out."""

    table: pd.DataFrame
    figures: dict[str, float]
    reason: str = ""


@flow(name="evaluate")
def evaluate(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
) -> dict[str, Any]:
    """Judge the last days: forecast accuracy and coverage, who has drifted or lost its edge,
    pre-scaling replayed, alert noise."""
    return publish(call(judge_window, RunRef.resolve(config, inputs, out, as_of, now())))


@task(cache_policy=NO_CACHE)
def judge_window(ref: RunRef) -> dict[str, Any]:
    """Evaluate ``[as_of − window, as_of)``; what cannot be judged says why.

    Raises
    ------
    HistoryError
        There are no samples of that time.
    """
    run = ref.open()
    start = run.as_of - pd.Timedelta(days=run.settings.evaluate.window_days)
    issued = issued_forecasts(run, start, run.settings.evaluate.drift.bar_weeks)
    accuracy = _accuracy(issued)
    replays = _replays(run, start)
    noise = _noise(run, start)
    parts = {"forecast accuracy": accuracy, "replay": replays, "alert noise": noise}
    skipped = {f"{name} ({p.reason})": 1 for name, p in parts.items() if p.reason}
    if len(skipped) == len(parts):
        raise HistoryError(
            f"nothing can be judged from {start:%Y-%m-%d %H:%M} to {run.as_of:%Y-%m-%d %H:%M} "
            f"UTC: {'; '.join(p.reason for p in parts.values())}"
        )
    verdicts, notes = _verdicts(run, start, issued)
    figures = accuracy.figures | verdicts.figures | replays.figures | noise.figures
    figures = {name: value for name, value in figures.items() if np.isfinite(value)}
    window = {"evaluated_at": run.as_of, "started_at": start, "run_id": run.run_id}
    tables = {
        ACCURACY: accuracy.table.assign(**window),
        REPLAYS: replays.table.assign(**window),
        VERDICTS: verdicts.table,
    }
    outputs = {c.name: run.store.write(c, t, run.part) for c, t in tables.items() if len(t)}
    text = json.dumps(figures, indent=1, sort_keys=True, allow_nan=False)
    outputs["evaluation"] = run.store.put_file(evaluation_file(run), f"{text}\n".encode())
    return Outcome(
        verb="evaluate",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="judgements",
        done=len(parts) - len(skipped),
        skipped=skipped,
        outputs=outputs,
        figures=figures,
        notes=notes,
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


def _replays(run: Run, start: pd.Timestamp) -> _Part:
    """The floors that were forecast, replayed against the reactive HPA and an oracle."""
    none = pd.DataFrame()
    issued = as_issued(run, CAPACITY, start)
    issued = issued[~issued["gate_reason"].str.startswith("no HPA")]
    if issued.empty:
        return _Part(none, {}, "no floor was forecast for this time")
    floors = on_grid(
        issued.assign(metric="floor", value=issued["replicas"]), "value", start, run.as_of
    )
    names = floors.keys["workload"].tolist()
    panel = run.panel(start - pd.Timedelta(days=8), run.as_of)
    case = measured_case(panel.window(start), names, run.settings.prescale.capacity)
    demand = _resample(panel.of(CPU), floors.step, start, run.as_of, names)
    usable = case.usable & np.isfinite(demand).any(axis=1)
    if not usable.any():
        return _Part(none, {}, "no workload with CPU usage, requests and an HPA")
    history_end = start - pd.Timedelta(days=8)
    history = _resample(panel.of(CPU), floors.step, history_end, start, names)
    held = case.select(usable)
    table = compare(
        demand[usable],
        floors.step / pd.Timedelta(1, "s"),
        workloads=[n for n, ok in zip(names, usable, strict=True) if ok],
        pod_capacity_cores=held.pod_capacity_cores,
        target_ratio=held.target_ratio,
        min_replicas=held.min_replicas,
        max_replicas=held.max_replicas,
        floors=floors.values[usable],
        history=history[usable],
        pod_start_s=held.pod_start_s,
        params=run.settings.prescale.replay,
    )
    return _Part(replay_rows(table), savings(table))


def _noise(run: Run, start: pd.Timestamp) -> _Part:
    """How many points over the alert line became how many incidents."""
    try:
        scores = run.read(SCORES, start).to_pandas()
        incidents = run.read(INCIDENTS, start).to_pandas()
    except StoreError:
        return _Part(pd.DataFrame(), {}, "nothing was scored in this time")
    scores = scores[(scores["ts"] >= start) & (scores["ts"] < run.as_of)]
    scores = scores.drop_duplicates(list(SCORES.key), keep="last")  # runs may overlap
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


def _resample(
    panel: Panel, step: pd.Timedelta, start: pd.Timestamp, end: pd.Timestamp, names: list[str]
) -> Floats:
    """CPU on another grid, (len(names), n_steps); NaN where nothing was measured."""
    frame = panel.window(start - panel.step, end).to_frame()
    if not ((frame["ts"] >= start) & (frame["ts"] < end)).any():
        return np.full((len(names), int(np.ceil((end - start) / step))), np.nan)
    return Panel.from_frame(frame, step=step, start=start, end=end).matrix(CPU, names)
