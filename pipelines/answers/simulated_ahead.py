"""The capacity forecast of one workload, as `foretide forecast` makes it, with its demand times a
factor. Nothing is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from features.panel import Panel
from models.champion import Champions
from models.champion_fit import only
from pipelines.ahead import up_to_date
from pipelines.answers.shared import Data, Part, data, number, told
from pipelines.answers.stretch import panel_of
from pipelines.capacity_facts import CapacityFacts
from pipelines.errors import HistoryError
from pipelines.floors import capacity_levels, capacity_table
from pipelines.forecast_rows import forecast_rows
from pipelines.hpa_specs import Opener, read_autoscalers
from pipelines.lead_times import measured_node_starts
from pipelines.registry import load_live
from pipelines.run import Run
from pipelines.verdicts import demoted, newest_verdicts

__all__ = ["AheadTold", "ahead"]


class AheadTold(Part):
    """What the forecast, times the factor, asks for in the next hours."""

    horizon_h: float
    replicas_now: int | None
    replicas_peak: int | None
    replicas_peak_at: str | None
    hpa_alone_replicas_peak: int | None
    hours_above_floor: float | None
    """How long the forecast asks for more than ``floor_replicas``; null without one."""
    lead_time_s: float | None
    quantile: float | None
    gate: Literal["act", "shadow"]
    gate_reason: Data


def ahead(
    run: Run, name: str, floor: int | None, factor: float, horizon_h: float, opener: Opener
) -> AheadTold:
    """As the module says.

    Raises
    ------
    ModelError
        No model is live, or it knows what came after the run's clock.
    HistoryError
        There is no history, or nothing of the workload is forecast for capacity.
    ConfigError
        The autoscalers' file cannot be read.
    """
    panel = panel_of(run, [name], run.history_start, run.as_of)
    live = load_live(run, [name], detectors=False)
    found, cluster, _ = read_autoscalers(run.settings, opener=opener)
    facts = CapacityFacts(found, cluster, measured_node_starts(run))
    verdicts = newest_verdicts(run)
    grids = [
        grid
        for shard in live.shards
        if (mine := _mine(run, shard.champions, panel, name, facts, verdicts)) is not None
        and (
            grid := forecast_rows(
                run,
                panel,
                mine,
                live.forecaster.label,
                horizon_s=horizon_h * 3600,
                quantiles=(),
                capacity_levels=capacity_levels(run, [name]),
                capacity_metrics=facts.metrics(run),
            )[1]
        )
        is not None
    ]
    scaled = [replace(grid, values=grid.values * factor) for grid in grids]
    table = capacity_table(run, panel, scaled, facts, verdicts) if scaled else pd.DataFrame()
    if table.empty:
        raise HistoryError("its demand is not forecast: it is no workload that capacity is for")
    until = run.as_of + pd.Timedelta(horizon_h, "h")
    return _told(table[(table["workload"] == name) & (table["ts"] < until)], floor, horizon_h)


def _mine(
    run: Run,
    champions: Champions,
    panel: Panel,
    name: str,
    facts: CapacityFacts,
    verdicts: pd.DataFrame,
) -> Champions | None:

    keys = champions.keys
    measured = pd.MultiIndex.from_frame(panel.keys[["workload", "metric"]].astype("str"))
    here = pd.MultiIndex.from_frame(keys[["workload", "metric"]].astype("str")).isin(measured)
    rows = here & (keys["workload"].astype("str") == name).to_numpy()
    rows &= keys["metric"].astype("str").isin(facts.metrics(run)).to_numpy()
    if not rows.any():
        return None
    mine = up_to_date(only(champions, rows), panel, panel.end, run.settings)
    return mine.demoted(demoted(run, mine.keys, verdicts))


def _told(rows: pd.DataFrame, floor: int | None, horizon_h: float) -> AheadTold:
    rows = rows.sort_values("ts", kind="stable")
    first, peak = rows.iloc[0], rows.iloc[int(rows["replicas"].to_numpy().argmax())]
    step_h = rows["ts"].diff().min() / pd.Timedelta(1, "h") if len(rows) > 1 else 0.0
    above = None if floor is None else float((rows["replicas"] > floor).sum() * step_h)
    return AheadTold(
        horizon_h=horizon_h,
        replicas_now=int(first["replicas"]),
        replicas_peak=int(peak["replicas"]),
        replicas_peak_at=told(peak["ts"]),
        hpa_alone_replicas_peak=int(np.max(rows["reactive_replicas"])),
        hours_above_floor=number(above),
        lead_time_s=number(first["lead_time_s"]),
        quantile=number(first["quantile"]),
        gate="act" if str(first["gate"]) == "act" else "shadow",
        gate_reason=data(str(first["gate_reason"])),
    )
