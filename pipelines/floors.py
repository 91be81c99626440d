"""From a champion's CPU forecast to the capacity table: replicas, and whether they may act."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.panel import Floats, Panel
from models.capacity import capacity_forecast, capacity_frame
from models.champion import Champions
from models.state import workload_state
from pipelines.run import Run
from pipelines.verdicts import FLAGGED, newest_verdicts

__all__ = ["CPU", "capacity_table"]

CPU = "cpu_usage_cores"


def capacity_table(
    run: Run,
    panel: Panel,
    champions: Champions,
    start: pd.Timestamp,
    grid: Floats,
    verdicts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Replicas for every workload whose CPU is forecast: the CAPACITY contract's columns.

    ``grid`` is (2, n_series, n_steps) from ``start`` on: the plan's quantile and the median of all
    series of the champions. Where a forecast must not act the gate says ``shadow``, and why.
    ``verdicts`` are those of ``newest_verdicts``, for who has read them already.
    """
    params = run.settings.prescale.capacity
    rows = np.flatnonzero((champions.chosen["metric"] == CPU).to_numpy())
    names = champions.chosen["workload"].to_numpy()[rows].tolist()
    state = workload_state(panel, names, params)
    column = {c: state[c].to_numpy(dtype=float) for c in state.columns if c != "workload"}
    found = capacity_forecast(
        grid[0][rows],
        grid[1][rows],
        request_per_pod_cores=column["request_cores"],
        request_per_pod_bytes=column["request_bytes"],
        target_ratio=column["target_ratio"],
        min_replicas=column["hpa_min"],
        max_replicas=column["hpa_max"],
        lead_time_s=column["lead_time_s"],
        step=champions.step,
        params=params,
        shadow=_doubts(run, panel, champions, rows, _untrusted(run, verdicts)),
    )
    times = pd.date_range(start, periods=grid.shape[2], freq=champions.step).as_unit("ms")
    valid_until = run.as_of + pd.Timedelta(run.settings.forecast.valid_for_h, "h")
    frame = capacity_frame(found, names, times, issued_at=run.as_of, valid_until=valid_until)
    return frame.assign(run_id=run.run_id)


def _doubts(
    run: Run,
    panel: Panel,
    champions: Champions,
    rows: NDArray[np.intp],
    untrusted: Mapping[str, str],
) -> list[str]:
    """Why a workload's forecast must not act; empty where it may."""
    names = champions.chosen["workload"].to_numpy()[rows].tolist()
    age_d = (run.as_of - champions.trained_until) / pd.Timedelta(days=1)
    oldest_d = run.settings.forecast.maximum_model_age_days
    if age_d > oldest_d:
        return [f"the model is {age_d:.0f} days old, at most {oldest_d:g} may act"] * len(names)
    there = ~np.isnan(panel.matrix(CPU, names))
    last = panel.n_steps - np.argmax(there[:, ::-1], axis=1)
    silent_h = (run.as_of - panel.start) / pd.Timedelta(hours=1) - last * (
        panel.step / pd.Timedelta(hours=1)
    )
    silent_h = np.where(there.any(axis=1), silent_h, np.inf)
    limit_h = run.settings.quality.maximum_staleness_h
    origins = champions.chosen["origins"].to_numpy()[rows]
    return [
        f"no CPU sample in the last {limit_h:g} h"
        if hours > limit_h
        else untrusted.get(name, "" if n > 0 else "no backtest yet: too little history")
        for name, hours, n in zip(names, silent_h, origins, strict=True)
    ]


def _untrusted(run: Run, verdicts: pd.DataFrame | None) -> dict[str, str]:
    """The workloads whose CPU forecast has drifted or was demoted → why."""
    verdicts = newest_verdicts(run) if verdicts is None else verdicts
    flagged = verdicts[verdicts["verdict"].isin(FLAGGED) & (verdicts["metric"] == CPU)]
    return {
        row["workload"]: f"{row['verdict']} since {row['since']:%Y-%m-%d %H:%M} UTC: "
        + row["reason"]
        for row in flagged.to_dict("records")
    }
