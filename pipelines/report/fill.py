"""What the report is filled with: the store's tables of one moment, and the figures that were
measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pandas as pd

from features.changes import DEPLOY, RESTART, change_events
from features.frames import (
    ADVICE,
    BACKTEST,
    CAPACITY,
    FORECASTS,
    INCIDENTS,
    LEAKS,
    SCORES,
    SKIPS,
    VALUE,
    Contract,
)
from features.panel import Panel
from models.actions import Hold, Placeholder, Plan
from pipelines.approvals import approvals
from pipelines.errors import StoreError
from pipelines.evaluate import evaluation_file
from pipelines.explaining import told_verdicts
from pipelines.ledger import Ledger
from pipelines.outcome import Outcome
from pipelines.plans import newest_plan
from pipelines.report import render_report
from pipelines.report.data import ReportData
from pipelines.run import Run, RunRef
from pipelines.value import ALL
from pipelines.value_text import value_lines

__all__ = ["report_data", "write_report"]

_FIGURES = {
    "foretide_over_target_cut_share": (
        "Demand above the HPA's target",
        "less than with the HPA alone",
        "cut",
    ),
    "foretide_unserved_cut_share": (
        "Demand that found no ready pod",
        "less than with the HPA alone",
        "cut",
    ),
    "foretide_replica_hours_vs_reactive": ("Replica-hours", "of the HPA alone", "ratio"),
    "forecast_q90_coverage": (
        "Hours at or below the 90 % forecast",
        "should be near 90 %",
        "share",
    ),
    "forecast_q90_peak_coverage": ("The same in the busiest tenth", "where it matters", "share"),
    "forecast_wape_median": ("Forecast error, median series", "WAPE of the last week", "share"),
    "incidents_per_day": ("Incidents a day", "what a person is told about", "number"),
    "points_over_alert_line": (
        "Points over the alert line",
        "grouped into those incidents",
        "count",
    ),
}


_DAY = pd.Timedelta(1, "D")


def write_report(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
    *,
    now: pd.Timestamp,
    extra: list[tuple[str, str, str]] | None = None,
) -> dict[str, Any]:
    """Render ``report.html`` beside the tables; ``extra`` figures come first.

    Raises
    ------
    HistoryError
        There are no samples to show.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now)
    run = ref.open()
    data = report_data(run, extra or [])
    html = render_report(data, run.settings.report)
    path = run.store.put_file("report.html", html.encode())
    shown = data.history.keys["workload"].nunique() if isinstance(data.history, Panel) else 0
    return Outcome(
        verb="report",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="workloads",
        done=int(shown),
        outputs={"report": path},
    ).to_dict()


def report_data(run: Run, extra: list[tuple[str, str, str]]) -> ReportData:
    """The tables of the last ``report_days`` before the run's clock."""
    start = run.as_of - pd.Timedelta(days=run.settings.report_days)
    history = run.panel(start, run.as_of)
    forecasts = _since(run, FORECASTS, start - pd.Timedelta(run.settings.forecast.horizon_h, "h"))
    leaks = _since(run, LEAKS, start)
    events = change_events(history)
    clusters = sorted({w.split("/", 1)[0] for w in history.keys["workload"]})
    return ReportData(
        as_of=run.as_of,
        title=", ".join(clusters),
        run_id=run.run_id,
        history=history,
        scores=_since(run, SCORES, start),
        leaks=leaks,
        incidents=_since(run, INCIDENTS, start).drop_duplicates("incident_id", keep="last"),
        forecasts=forecasts[forecasts["ts"] >= start],
        capacity=_since(run, CAPACITY, start),
        backtest=_backtest(run, history.keys["workload"]),
        verdicts=told_verdicts(run),
        skips=_newest(run, SKIPS),
        **_planned(run),
        advice=_newest(run, ADVICE),
        ledger=_ledger(run),
        approvals=[asdict(a) for a in approvals(run)],
        **_value(run),
        deploys=events.loc[events["event"] == DEPLOY, ["workload", "ts"]],
        restarts=events.loc[events["event"] == RESTART, ["workload", "ts"]],
        summary=[*extra, *_summary(run)],
    )


def _since(run: Run, contract: Contract, start: pd.Timestamp) -> pd.DataFrame:
    try:
        table: pd.DataFrame = run.read(contract, start).to_pandas()
    except StoreError:
        return pd.DataFrame(columns=contract.schema.names)
    return table.drop_duplicates(list(contract.key), keep="last")  # runs may overlap


def _newest(run: Run, contract: Contract) -> pd.DataFrame:
    try:
        table: pd.DataFrame = run.read(contract, newest=True).to_pandas()
    except StoreError:
        return pd.DataFrame(columns=contract.schema.names)
    return table


def _backtest(run: Run, measured: Iterable[str]) -> pd.DataFrame:
    """By what the live models were chosen: of every workload its newest training.

    A training of some workloads alone leaves the others as they were; what is no longer measured
    counts only in the newest.
    """
    parts = run.parts(BACKTEST, run.history_start)
    left, tables = {str(name) for name in measured}, list[pd.DataFrame]()
    for _, same in groupby(reversed(parts), lambda part: part.split("-", 1)[0]):
        found = [run.store.read(BACKTEST, part=part).to_pandas() for part in same]
        table = pd.concat(found, ignore_index=True)
        tables.append(table[table["workload"].isin(left)] if tables else table)
        left -= {str(name) for name in table["workload"].unique()}
        if not left:
            break
    return pd.concat(tables, ignore_index=True) if tables else _newest(run, BACKTEST)


def _planned(run: Run) -> dict[str, Any]:
    """What the plan that counts now says, for the report's fields."""
    try:
        plan = newest_plan(run)
    except StoreError as error:
        return {"plan_problem": str(error)}
    if plan is None:
        return {}
    return {
        "plan_id": plan.plan_id,
        "plan": plan.rows(),
        "shortfalls": [asdict(s) for s in plan.shortfalls],
        "left_alone": [asdict(n) for n in plan.notes],
        "room": [_room(plan, a) for a in (*plan.placeholders, *plan.holds)],
    }


def _room(plan: Plan, action: Placeholder | Hold) -> dict[str, Any]:
    size = "no consolidation"
    if isinstance(action, Placeholder):
        gib = action.memory_bytes / 2**30
        size = f"{action.count} × {action.cpu_cores:.3g} cores, {gib:.3g} GiB"
    return {
        "what": "room" if isinstance(action, Placeholder) else "nodes held",
        "where": "/".join(filter(None, (action.cluster, action.nodepool))),
        "size": size,
        "ts_from": action.starts_at,
        "ts_to": action.ends_at,
        "mode": plan.mode_of(action),
        "reason": action.reason,
    }


def _ledger(run: Run) -> list[dict[str, Any]]:
    """What was done to clusters in the last day, each action as it stands."""
    return [asdict(e) for e in Ledger(run).entries(run.as_of - _DAY)]


def _value(run: Run) -> dict[str, Any]:
    """The newest week that was judged, all clusters first."""
    table = _newest(run, VALUE)
    if table.empty:
        return {}
    lines = value_lines(table)
    window = table["started_at"].min(), table["evaluated_at"].max()
    return {"value": sorted(lines, key=lambda r: r["scope"] != ALL), "value_window": window}


def _summary(run: Run) -> list[tuple[str, str, str]]:
    text = run.store.get_file(evaluation_file(run))
    if text is None:
        return []
    figures: Mapping[str, float] = json.loads(text)
    return [
        (label, _shown(figures[name], kind), hint)
        for name, (label, hint, kind) in _FIGURES.items()
        if name in figures
    ]


def _shown(value: float, kind: str) -> str:
    match kind:
        case "share":
            return f"{value:.0%}"
        case "cut":
            return f"{-value:+.0%}"
        case "ratio":
            return f"{value:.2f}×"
        case "count":
            return f"{value:,.0f}"
        case _:
            return f"{value:.1f}"
