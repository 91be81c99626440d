"""What a report is made of: tables in the contracts of ``features/frames.py``, and its knobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from features.frames import FrameError
from features.panel import Panel
from features.workloads import split_workload

__all__ = [
    "ReportData",
    "ReportParams",
    "Row",
    "history_panel",
    "listed",
    "number",
    "records",
    "text",
    "utc",
    "workload_parts",
]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReportParams:
    """How much a report shows.

    Attributes
    ----------
    horizon_h
        What "the next hours" means, from ``as_of`` on.
    recent_h
        How long ago a leak may have been seen last to be current, and an anomaly to be recent.
    projection_h
        How far past ``as_of`` the line of a leak is drawn.
    chart_points
        Points of one line in one chart; longer lines are thinned, keeping minima and maxima.
    chart_values
        Values in the whole file, about; with many workloads it lowers ``chart_points``, so that
        the file can still be opened.
    anomalies_per_chart
        Markers in one chart; the strongest are kept.
    evidence_incidents
        Incidents with evidence plots: the open ones, then the newest.
    series_rows
        Series in the table of champions: those that drifted and those that gain least on the bar.
    naive_model
        Name of the model that is the bar.
    """

    horizon_h: float = 24.0
    recent_h: float = 24.0
    projection_h: float = 168.0
    chart_points: int = 2500
    chart_values: int = 6_000_000
    anomalies_per_chart: int = 300
    evidence_incidents: int = 150
    series_rows: int = 3000
    naive_model: str = "seasonal_naive"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be."""
        for key in ("horizon_h", "recent_h", "projection_h"):
            value = getattr(self, key)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{key} must be a positive number of hours, got {value!r}")
        least_of = {"chart_points": 100, "chart_values": 1, "anomalies_per_chart": 0}
        least_of |= {"evidence_incidents": 0}
        for key, least in (least_of | {"series_rows": 1}).items():
            value = getattr(self, key)
            if value < least:
                raise ValueError(f"{key} must be at least {least}, got {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """Everything a report shows. All but ``as_of`` may be empty; its section then says so.

    Attributes
    ----------
    as_of : timestamp, UTC
        The moment the report speaks of: nothing after it was known.
    title, run_id
        What the report is about, and the run that made it.
    history : Panel or frame ``workload, metric, ts, value``
        What was measured, for the window that is charted.
    scores, leaks, incidents, forecasts, capacity, backtest, skips : frames
        The tables of those names in ``features/frames.py``. ``forecasts`` and ``capacity`` may hold
        several ``issued_at``: an older one gives way where a newer one begins.
    verdicts : frame
        The table of that name. A column ``holds`` may say which verdicts are about the live model,
        which was not trained anew since; without it all are.
    plan : rows
        Mappings with ``workload, ts_from, ts_to, floor_from, floor_to, mode, reason``; ``mode`` is
        ``act``, ``recommend`` or ``shadow``.
    shortfalls : rows
        What the plan says cannot be held: mappings with ``what, at, wanted, held, reason``.
    room : rows
        What is held of nodes: mappings with ``what, where, size, ts_from, ts_to, mode, reason``.
    left_alone : rows ``workload, reason``
        Whose floors the plan does not move.
    plan_id
        The name of the plan that counts now; empty where there is none.
    plan_problem
        Why there is a plan that cannot be shown; else empty.
    advice : frame
        The table of that name.
    ledger : rows of the table of that name, each action as it stands
    approvals : rows
        What somebody said yes to and holds now: mappings with ``plan_id, approved_at, expires_at,
        floors`` (workload → the highest floor).
    value : rows
        What ``pipelines.value_text.value_lines`` says: ``scope, name, what, told, figure, interval,
        reason``.
    value_window
        From when to when that is told; nothing where it was never judged.
    deploys, restarts : frames ``workload, ts``
    summary : (label, value, hint)
        Figures of the run, worded by whoever measured them.
    """

    as_of: pd.Timestamp
    title: str = ""
    run_id: str = ""
    history: Panel | pd.DataFrame | None = None
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    leaks: pd.DataFrame = field(default_factory=pd.DataFrame)
    incidents: pd.DataFrame = field(default_factory=pd.DataFrame)
    forecasts: pd.DataFrame = field(default_factory=pd.DataFrame)
    capacity: pd.DataFrame = field(default_factory=pd.DataFrame)
    backtest: pd.DataFrame = field(default_factory=pd.DataFrame)
    verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)
    skips: pd.DataFrame = field(default_factory=pd.DataFrame)
    plan: Sequence[Mapping[str, Any]] = ()
    shortfalls: Sequence[Mapping[str, Any]] = ()
    room: Sequence[Mapping[str, Any]] = ()
    left_alone: Sequence[Mapping[str, Any]] = ()
    plan_id: str = ""
    plan_problem: str = ""
    advice: pd.DataFrame = field(default_factory=pd.DataFrame)
    ledger: Sequence[Mapping[str, Any]] = ()
    approvals: Sequence[Mapping[str, Any]] = ()
    value: Sequence[Mapping[str, Any]] = ()
    value_window: tuple[pd.Timestamp, pd.Timestamp] | None = None
    deploys: pd.DataFrame = field(default_factory=pd.DataFrame)
    restarts: pd.DataFrame = field(default_factory=pd.DataFrame)
    summary: Sequence[tuple[str, str, str]] = ()


def history_panel(history: Panel | pd.DataFrame | None) -> Panel | None:
    """The history as a panel without infinities, or nothing where nothing was measured."""
    if isinstance(history, pd.DataFrame):
        try:
            history = Panel.from_frame(history) if len(history) else None
        except FrameError:
            return None
    if history is None or not history.values.size:
        return None
    return history.with_values(np.where(np.isfinite(history.values), history.values, np.nan))


def records(frame: pd.DataFrame, *columns: str) -> list[Row]:
    """The rows of a small table; a column that is absent reads as missing."""
    return [
        {str(k): v for k, v in row.items()}
        for row in frame.reindex(columns=list(columns)).to_dict("records")
    ]


def utc(value: Any) -> pd.Timestamp | None:
    """A stamp in UTC, or nothing where there is none."""
    at = pd.Timestamp(value) if value is not None else pd.NaT
    if pd.isna(at):
        return None
    return at.tz_localize("UTC") if at.tz is None else at.tz_convert("UTC")


def workload_parts(workload: str) -> tuple[str, str, str, str]:
    """Cluster, namespace, kind, name; what has other than four parts is all name."""
    try:
        return split_workload(workload)
    except ValueError:
        return "", "", "", workload


def number(value: Any) -> float:
    """A float, NaN for what is no number at all."""
    return math.nan if value is None or value is pd.NA else float(value)


def text(value: Any) -> str:
    """A text, empty for what is none."""
    return value if isinstance(value, str) else ""


def listed(value: Any) -> list[Any]:
    """A list, empty for what is none."""
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else []
