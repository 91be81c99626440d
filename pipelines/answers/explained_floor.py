"""Why the floor of a workload is what it is: from demand to pods, and the gates on the way."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from features.frames import ADVICE
from models.actions import Floor, Plan
from models.hpa_answers import carried_by
from models.modes import mode_of, rule_of
from pipelines.answers.explained_forecasts import step_at
from pipelines.answers.explained_rows import Rows, amount, iso, newest_rows, number
from pipelines.answers.explained_types import CapacityStep, FloorWhy, Gate, PlannedFloor
from pipelines.ledger import Ledger
from pipelines.plans import newest_plan
from pipelines.run import Run

__all__ = ["floor_why"]

_DAY = pd.Timedelta(1, "D")


def floor_why(run: Run, capacity: Rows, forecasts: Rows, workload: str) -> FloorWhy:
    """``capacity`` and ``forecasts``: the workload's rows of one issue, of these contracts.

    Raises
    ------
    StoreError
        The newest plan is damaged, or was changed by hand.
    """
    rows = capacity.sort_values("ts")
    row = step_at(rows, run.as_of)
    begin = max(run.as_of, rows["ts"].iloc[0])
    day = rows[(rows["ts"] >= row["ts"]) & (rows["ts"] < begin + _DAY)]
    peak = {str(k): v for k, v in day.iloc[int(day["replicas"].to_numpy().argmax())].items()}
    plan = newest_plan(run)
    floors = [f for f in plan.floors if f.workload == workload] if plan else []
    mode = mode_of(workload, run.settings.prescale.rules, run.settings.prescale.plan.mode)
    advice = newest_rows(run, ADVICE, workload).tail(1).to_dict("records")
    gates = (_forecast_gate(row), _mode_gate(run, workload, mode), _plan_gate(plan, workload))
    return FloorWhy(
        issued_at=iso(row["issued_at"]),
        now=_step(row),
        peak_24h=_step(peak),
        quantile=float(row["quantile"]),
        lead_time_s=float(row["lead_time_s"]),
        lead_time_source=str(row["lead_time_source"]),
        cpu_cores=number(row["cpu_cores"]),
        memory_bytes=number(row["memory_bytes"]),
        plan_id=plan.plan_id if plan else "",
        plan_expires_at=iso(plan.expires_at) if plan else None,
        mode=mode,
        floors=tuple(_planned(plan, f) for f in floors) if plan else (),
        gates=gates,
        advice=str(advice[0]["verdict"]) if advice else "",
        advice_reason=str(advice[0]["reason"]) if advice else "",
        last_action=_last_action(run, workload),
        arithmetic=_arithmetic(run, peak, forecasts),
        run_id=str(row["run_id"]),
        valid_until=iso(row["valid_until"]),
    )


def _step(row: dict[str, Any]) -> CapacityStep:
    ready = row["ready_replicas"]
    return CapacityStep(
        ts=iso(row["ts"]),
        replicas=int(row["replicas"]),
        ready_replicas=int(row["replicas"] if pd.isna(ready) else ready),
        reactive_replicas=int(row["reactive_replicas"]),
    )


def _planned(plan: Plan, floor: Floor) -> PlannedFloor:
    return PlannedFloor(
        starts_at=iso(floor.starts_at),
        ends_at=iso(floor.ends_at),
        original=floor.original,
        before=floor.before,
        after=floor.after,
        mode=plan.mode_of(floor),
        reason=floor.reason,
    )


def _forecast_gate(row: dict[str, Any]) -> Gate:
    return Gate(name="forecast", passes=row["gate"] == "act", reason=str(row["gate_reason"]))


def _mode_gate(run: Run, workload: str, mode: str) -> Gate:
    told = {
        "off": "is not planned at all",
        "shadow": "floors are written down and judged, never set",
        "recommend": "a person approves: foretide apply --approve PLAN_ID",
        "act": "floors are set, within the guardrails",
    }[mode]
    rule = rule_of(workload, run.settings.prescale.rules)
    by = "prescale.plan.mode" if rule is None or rule.mode is None else f"rule {rule.match}"
    return Gate(name="mode", passes=mode == "act", reason=f"{mode}, by {by}: {told}")


def _plan_gate(plan: Plan | None, workload: str) -> Gate:
    if plan is None:
        why = "no plan holds at this moment: run `foretide plan`"
        return Gate(name="plan", passes=False, reason=why)
    if note := next((n.reason for n in plan.notes if n.workload == workload), ""):
        return Gate(name="plan", passes=False, reason=f"left alone: {note}")
    short = [
        f"; at {iso(s.at)} {s.held:g} of {s.wanted:g} can be held: {s.reason}"
        for s in plan.shortfalls
        if s.what == workload
    ]
    raised = any(f.workload == workload for f in plan.floors)
    told = f"plan {plan.plan_id} {'raises it' if raised else 'does not name it'}"
    return Gate(name="plan", passes=raised, reason=told + "".join(short[:1]))


def _last_action(run: Run, workload: str) -> str:
    """What was last done, or refused, in the last day."""
    mine = [e for e in Ledger(run).entries(run.as_of - _DAY) if e.target == workload]
    if not mine:
        return ""
    last = max(mine, key=lambda e: e.applied_at)
    why = "; ".join(filter(None, (last.reason, last.detail)))
    change = f"{last.before} -> {last.after} until {iso(last.expires_at)}"
    return f"{iso(last.applied_at)} {last.status}: {last.field} {change}: {why}"


def _arithmetic(run: Run, peak: dict[str, Any], forecasts: Rows) -> tuple[str, ...]:
    """From the demand around the highest step of the next day to its pods."""
    params, lead_s = run.settings.prescale.capacity, float(peak["lead_time_s"])
    begin = peak["ts"] - pd.Timedelta(params.hold_min, "min")
    end = peak["ts"] + pd.Timedelta(params.floor_step_min, "min") + pd.Timedelta(lead_s, "s")
    window = forecasts[(forecasts["ts"] < end) & (forecasts["ts"] > begin - _step_of(forecasts))]
    lines = [
        f"the floor from {iso(peak['ts'])} on carries the demand until {iso(end)}: a step of "
        f"{params.floor_step_min:g} min and {lead_s:.0f} s of lead time, and of the "
        f"{params.hold_min:g} min before"
    ]
    for metric, carries in carried_by(str(peak["gate_reason"])).items():
        mine = window[window["metric"] == metric]
        if not mine.empty and carries > 0:
            lines.append(_pods(mine, metric, carries))
    lines.append(
        f"at the {100 * peak['quantile']:.4g} % quantile, corrected by the last errors where the "
        "hour is near, stepped down slowly and kept within minReplicas and maxReplicas: "
        f"{int(peak['replicas'])} pods; the HPA alone would have {int(peak['reactive_replicas'])}"
    )
    return tuple(lines)


def _pods(mine: Rows, metric: str, carries: float) -> str:
    half, most = float(mine["q50"].max()), float(mine["q90"].max())
    told = f"{metric}: at most {amount(half, metric)} by the median, {amount(most, metric)} by q90"
    pods = f"{_rounded_up(half, carries)} and {_rounded_up(most, carries)} pods"
    return f"{told}; at {amount(carries, metric)} a pod these are {pods}, rounded up"


def _rounded_up(demand: float, carries: float) -> str:
    return str(math.ceil(demand / carries)) if math.isfinite(demand) else "no number of"


def _step_of(forecasts: Rows) -> pd.Timedelta:
    gaps = forecasts["ts"].drop_duplicates().sort_values().diff()
    step = gaps.min()
    return pd.Timedelta(0) if pd.isna(step) else pd.Timedelta(step)
