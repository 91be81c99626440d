"""evaluate: issued forecasts, floors and alerts held against what then came."""

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
    FORECASTS,
    INCIDENTS,
    REPLAYS,
    SCORES,
    Contract,
    FrameError,
)
from features.panel import Floats, Panel
from models.measures import coverage, peak_coverage, pinball, points, wape
from models.replay import compare
from models.replay_case import measured_case
from pipelines.clock import now
from pipelines.errors import HistoryError, StoreError
from pipelines.floors import CPU
from pipelines.floors_held import replay_rows, savings
from pipelines.outcome import Outcome
from pipelines.run import Run, RunRef
from pipelines.tasks import call, publish

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
    """Judge the last days: forecast accuracy and coverage, pre-scaling replayed, alert noise."""
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
    accuracy = _accuracy(run, start)
    replays = _replays(run, start)
    noise = _noise(run, start)
    parts = {"forecast accuracy": accuracy, "replay": replays, "alert noise": noise}
    skipped = {f"{name} ({p.reason})": 1 for name, p in parts.items() if p.reason}
    if len(skipped) == len(parts):
        raise HistoryError(
            f"nothing can be judged from {start:%Y-%m-%d %H:%M} to {run.as_of:%Y-%m-%d %H:%M} "
            f"UTC: {'; '.join(p.reason for p in parts.values())}"
        )
    figures = accuracy.figures | replays.figures | noise.figures
    figures = {name: value for name, value in figures.items() if np.isfinite(value)}
    outputs: dict[str, str] = {}
    for contract, part in ((ACCURACY, accuracy), (REPLAYS, replays)):
        if len(part.table):
            table = part.table.assign(evaluated_at=run.as_of, started_at=start, run_id=run.run_id)
            outputs[contract.name] = run.store.write(contract, table, run.part)
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
    ).to_dict()


def evaluation_file(run: Run) -> str:
    """Where in the store the figures of this run are."""
    return f"evaluation/{run.part}.json"


def _accuracy(run: Run, start: pd.Timestamp) -> _Part:
    """Every series' newest forecast of each step against what was measured."""
    issued = _as_issued(run, FORECASTS, start)
    if issued.empty:
        return _Part(issued, {}, "no forecast was issued for this time")
    told = {q: _grid(issued, q, start, run.as_of) for q in ("q50", "q90")}
    seen = _measured(run, told["q50"], start)
    q50, q90 = told["q50"].values, told["q90"].values
    models = issued.groupby(["workload", "metric"], observed=True)["model"].last()
    keys = told["q50"].keys
    table = keys.assign(
        model=models.reindex(pd.MultiIndex.from_frame(keys)).astype("str").to_numpy(),
        wape=wape(seen, q50),
        pinball_q90=pinball(seen, q90, 0.9),
        coverage_q90=coverage(seen, q90),
        peak_coverage_q90=peak_coverage(seen, q90),
        points=points(seen, q50),
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


def _replays(run: Run, start: pd.Timestamp) -> _Part:
    """The floors that were forecast, replayed against the reactive HPA and an oracle."""
    none = pd.DataFrame()
    issued = _as_issued(run, CAPACITY, start)
    issued = issued[~issued["gate_reason"].str.startswith("no HPA")]
    if issued.empty:
        return _Part(none, {}, "no floor was forecast for this time")
    floors = _grid(
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


def _as_issued(run: Run, contract: Contract, start: pd.Timestamp) -> pd.DataFrame:
    """For every step of the window the row that was issued last before the step began."""
    horizon = pd.Timedelta(run.settings.forecast.horizon_h, "h")
    try:
        table: pd.DataFrame = run.read(contract, start - horizon).to_pandas()
    except StoreError:
        return pd.DataFrame(columns=contract.schema.names)
    ahead = (table["ts"] >= start) & (table["ts"] < run.as_of) & (table["issued_at"] <= table["ts"])
    key = [c for c in contract.key if c != "issued_at"]
    return table[ahead].sort_values("issued_at").drop_duplicates(key, keep="last")


def _grid(table: pd.DataFrame, column: str, start: pd.Timestamp, end: pd.Timestamp) -> Panel:
    long = table[["workload", "metric", "ts"]].assign(value=table[column])
    return Panel.from_frame(long, start=start, end=end)


def _measured(run: Run, like: Panel, start: pd.Timestamp) -> Floats:
    """What was measured, on the forecast's grid and in its order; NaN where nothing was."""
    frame = run.samples(start, run.as_of)
    wanted = pd.MultiIndex.from_frame(like.keys)
    try:
        panel = Panel.from_frame(
            frame, step=like.step, start=start, end=run.as_of, aggregates=run.catalog.aggregates()
        )
    except FrameError as error:
        raise HistoryError(str(error)) from error
    row = pd.MultiIndex.from_frame(panel.keys).get_indexer(wanted)
    values = np.vstack([panel.values, np.full(panel.n_steps, np.nan)])
    return values[row]


def _resample(
    panel: Panel, step: pd.Timedelta, start: pd.Timestamp, end: pd.Timestamp, names: list[str]
) -> Floats:
    """CPU on another grid, (len(names), n_steps); NaN where nothing was measured."""
    frame = panel.window(start - panel.step, end).to_frame()
    if not ((frame["ts"] >= start) & (frame["ts"] < end)).any():
        return np.full((len(names), int(np.ceil((end - start) / step))), np.nan)
    return Panel.from_frame(frame, step=step, start=start, end=end).matrix(CPU, names)
