"""What will be needed: quantiles of a workload's demand, and the replicas that they ask for."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from features.frames import CAPACITY, FORECASTS
from pipelines.answers.known import known_workload, rows_of
from pipelines.answers.shared import Answer, Data, NoSuchName, Part, age, data, iso, number, told
from pipelines.run import Run

__all__ = ["CapacityTold", "Forecast", "Forecasts", "Point", "forecasts"]

_QUANTILES = ("q05", "q50", "q90", "q95", "q99")
_METRICS = 4
_POINTS_MAX = 48
_HORIZON_H_MAX = 24.0 * 28


class Point(Part):
    """One step; the quantiles are in the metric's unit, null where nothing was forecast."""

    at: str
    q05: float | None
    q50: float | None
    q90: float | None
    q95: float | None
    q99: float | None


class Forecast(Part):
    """One metric ahead."""

    metric: Data
    unit: str
    """As the catalog says; empty where it does not know the metric."""
    issued_at: str | None
    valid_until: str | None
    model: Data
    model_version: Data
    step_s: float | None
    steps_count: int
    peak: Point | None
    """The step with the highest 90 % quantile, among all of them."""
    points: tuple[Point, ...]
    """Evenly picked among the steps."""


class CapacityTold(Part):
    """The replicas that the forecast asks for; nothing of it is applied by being forecast."""

    issued_at: str | None
    valid_until: str | None
    replicas_now: int | None
    """The floor of now, lead time included."""
    replicas_peak: int | None
    replicas_peak_at: str | None
    hpa_alone_replicas_now: int | None
    hpa_alone_replicas_peak: int | None
    lead_time_s: float | None
    lead_time_source: Data
    quantile: float | None
    gate: Literal["act", "shadow"]
    """``shadow``: nothing may act on it; ``gate_reason`` says why."""
    gate_reason: Data


class Forecasts(Answer):
    """A workload's demand and capacity from the question's clock on."""

    workload: Data
    horizon_h: float
    forecasts: tuple[Forecast, ...]
    metrics_count: int
    capacity: CapacityTold | None


def forecasts(
    run: Run,
    workload: str,
    *,
    metric: str | None = None,
    horizon_h: float = 24.0,
    points: int = 12,
) -> Forecasts:
    """The newest forecasts of a workload, each step by the run that was issued last.

    Raises
    ------
    NoSuchName
        The workload, or that metric of it, is not known.
    StoreError
        A table is damaged.
    """
    name = known_workload(run, workload)
    horizon_h = min(max(horizon_h, 0.25), _HORIZON_H_MAX)
    until = run.as_of + pd.Timedelta(horizon_h, "h")
    rows = rows_of(run, FORECASTS, name, until=until)
    known = sorted(rows["metric"].astype("str").unique())
    if metric is not None and known and metric not in known:
        raise NoSuchName("metric: it is not forecast for this workload", tuple(known[:_METRICS]))
    wanted = [m for m in known if metric in (None, m)][:_METRICS]
    points = min(max(points, 1), _POINTS_MAX)
    newest = rows[rows["metric"].isin(wanted)]
    return Forecasts(
        **age(
            run,
            None if newest.empty else newest["issued_at"].max(),
            None if newest.empty else newest["valid_until"].max(),
            *(("tables forecasts and capacity",) if len(newest) else ()),
            nothing="nothing was forecast for it: run `foretide forecast`, or see why it is "
            "skipped with `foretide report`",
        ),
        workload=data(name),
        horizon_h=horizon_h,
        forecasts=tuple(_forecast(run, rows, m, until, points) for m in wanted),
        metrics_count=len(known),
        capacity=_capacity(run, rows_of(run, CAPACITY, name, until=until), until),
    )


def _forecast(
    run: Run, every: pd.DataFrame, metric: str, until: pd.Timestamp, points: int
) -> Forecast:
    mine = every[every["metric"] == metric].sort_values("ts", kind="stable")
    step = mine["ts"].diff().min()
    step = pd.Timedelta(0) if pd.isna(step) else step
    ahead = mine[(mine["ts"] + step > run.as_of) & (mine["ts"] < until)]
    first = (ahead if len(ahead) else mine).iloc[0]
    picked = np.unique(np.linspace(0, max(len(ahead) - 1, 0), min(points, len(ahead)) or 1))
    rows = [ahead.iloc[int(i)] for i in picked.round()] if len(ahead) else []
    told_q90 = ahead["q90"].notna().any()
    return Forecast(
        metric=data(metric),
        unit=run.catalog[metric].unit if run.catalog.knows(metric) else "",
        issued_at=iso(first["issued_at"]),
        valid_until=iso(first["valid_until"]),
        model=data(str(first["model"])),
        model_version=data(str(first["model_version"])),
        step_s=number(step.total_seconds()) or None,
        steps_count=len(ahead),
        peak=_point(ahead.loc[ahead["q90"].idxmax()]) if told_q90 else None,
        points=tuple(_point(row) for row in rows),
    )


def _point(row: Any) -> Point:
    return Point(at=told(row["ts"]), **{q: number(row[q]) for q in _QUANTILES})


def _capacity(run: Run, rows: pd.DataFrame, until: pd.Timestamp) -> CapacityTold | None:
    """Of the newest issue that tells of it; None where the workload has no capacity forecast."""
    if rows.empty:
        return None
    rows = rows.sort_values("ts", kind="stable")
    step = rows["ts"].diff().min()
    step = pd.Timedelta(0) if pd.isna(step) else step
    ahead = rows[(rows["ts"] + step > run.as_of) & (rows["ts"] < until)]
    first = (ahead if len(ahead) else rows).iloc[0]
    peak = ahead.loc[ahead["replicas"].idxmax()] if len(ahead) else None
    covers = len(ahead) > 0 and first["ts"] <= run.as_of
    alone = ahead["reactive_replicas"].max() if len(ahead) else None
    return CapacityTold(
        issued_at=iso(first["issued_at"]),
        valid_until=iso(first["valid_until"]),
        replicas_now=_count(first["replicas"]) if covers else None,
        replicas_peak=None if peak is None else _count(peak["replicas"]),
        replicas_peak_at=None if peak is None else told(peak["ts"]),
        hpa_alone_replicas_now=_count(first["reactive_replicas"]) if covers else None,
        hpa_alone_replicas_peak=_count(alone),
        lead_time_s=number(first["lead_time_s"]),
        lead_time_source=data(first["lead_time_source"]),
        quantile=number(first["quantile"]),
        gate="act" if str(first["gate"]) == "act" else "shadow",
        gate_reason=data(first["gate_reason"]),
    )


def _count(value: Any) -> int | None:
    return None if value is None or pd.isna(value) else int(value)
