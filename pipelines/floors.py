"""From what champions forecast to the capacity table: replicas, and whether they may act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.panel import Floats, Panel
from models.capacity import capacity_forecast, capacity_frame
from models.capacity_params import quantiles_of
from models.champion import Champions
from models.hpa_answers import CPU, Told
from models.hpa_demand import Needs, needs
from models.hpa_spec import HpaSpec
from models.state import workload_state
from pipelines.capacity_facts import CapacityFacts
from pipelines.hpa_specs import KnownSpecs
from pipelines.run import Run
from pipelines.verdicts import FLAGGED, newest_verdicts

__all__ = ["CPU", "Grid", "capacity_levels", "capacity_table"]


@dataclass(frozen=True, slots=True)
class Grid:
    """What one bundle forecasts of the metrics that capacity may ask for.

    ``values`` is float64, (levels, s, m), from ``start`` on, of the champions' ``rows``, (s,); at
    which quantile each series is told where a level is asked for is in ``paid``, (levels, s).
    """

    champions: Champions
    start: pd.Timestamp
    values: Floats
    levels: Sequence[float]
    rows: np.ndarray
    paid: Floats

    @property
    def keys(self) -> pd.DataFrame:
        """Workload and metric of each series."""
        return self.champions.chosen.iloc[self.rows][["workload", "metric"]].astype("str")


def capacity_levels(run: Run, workloads: Sequence[str]) -> list[float]:
    """The demand quantiles that the workloads' floors are made of, the median among them."""
    wanted = run.settings.prescale
    return sorted({0.5, *quantiles_of(workloads, wanted.rules, wanted.capacity)})


def capacity_table(
    run: Run,
    panel: Panel,
    grids: Sequence[Grid],
    facts: CapacityFacts | None = None,
    verdicts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Replicas for every workload that has an autoscaler or whose CPU is forecast: the CAPACITY
    contract's columns.

    Where a forecast must not act the gate says ``shadow``, and why. ``facts`` are what the cluster
    says beside the samples, ``verdicts`` those of ``newest_verdicts``, for who has read them
    already.
    """
    facts = facts or CapacityFacts()
    verdicts = newest_verdicts(run) if verdicts is None else verdicts
    specs = facts.of(sorted(panel.keys["workload"].astype("str").unique()))
    alike: dict[tuple[pd.Timestamp, pd.Timedelta], list[Grid]] = {}
    for grid in grids:
        alike.setdefault((grid.start, grid.champions.step), []).append(grid)
    tables: list[pd.DataFrame] = []
    seen: set[str] = set()
    told_of = {w for g in grids for w in g.keys["workload"]}
    silent = {*specs.specs, *specs.refused} - told_of
    for same in alike.values():
        told = _told(run, panel, same, verdicts)
        cpu = told.keys.loc[told.keys["metric"] == CPU, "workload"]
        ruled = set(told.keys["workload"]) & {*specs.specs, *specs.refused}
        names = sorted({*cpu, *ruled, *silent} - seen)
        seen |= {*names}
        if names:
            tables.append(_of_grid(run, panel, same[0], told, names, specs, facts))
    return pd.concat(tables) if tables else pd.DataFrame()


def _of_grid(
    run: Run,
    panel: Panel,
    grid: Grid,
    told: Told,
    names: Sequence[str],
    specs: KnownSpecs,
    facts: CapacityFacts,
) -> pd.DataFrame:
    """The capacity of the workloads whose demand is forecast on one grid."""
    wanted = run.settings.prescale
    params = wanted.capacity
    state = workload_state(
        panel,
        names,
        params,
        specs=specs.specs,
        node_start_s=facts.node_start_s,
        starts=facts.starts,
    )
    column = {c: state[c].to_numpy(dtype=float) for c in state.select_dtypes("number").columns}
    level = quantiles_of(names, wanted.rules, params)
    need = _needs(run, panel, told, names, state, specs, level)
    refused = {w: f"its autoscaler is not understood: {why}" for w, why in specs.refused.items()}
    found = capacity_forecast(
        need.quantile,
        need.median,
        request_per_pod_cores=column["request_cores"],
        request_per_pod_bytes=column["request_bytes"],
        target_ratio=column["target_ratio"],
        min_replicas=column["hpa_min"],
        max_replicas=column["hpa_max"],
        lead_time_s=column["lead_time_s"],
        lead_time_source=state["lead_time_source"].tolist(),
        step=grid.champions.step,
        start=grid.start,
        params=params,
        shadow=_against(names, need, refused, column["hpa_max"]),
        per_pod=np.ones(len(names)),
        quantile=need.paid,
        basis=need.basis,
        tolerance=_tolerances(names, specs.specs),
    )
    times = pd.date_range(found.start, periods=found.replicas.shape[1], freq=found.step)
    valid_until = run.as_of + pd.Timedelta(run.settings.forecast.valid_for_h, "h")
    frame = capacity_frame(
        found, names, times.as_unit("ms"), issued_at=run.as_of, valid_until=valid_until
    )
    return frame.assign(run_id=run.run_id)


def _needs(
    run: Run,
    panel: Panel,
    told: Told,
    names: Sequence[str],
    state: pd.DataFrame,
    specs: KnownSpecs,
    level: Sequence[float],
) -> Needs:
    """What the workloads' autoscalers will ask for; without one they scale on CPU."""
    wanted = run.settings.prescale
    target = state["target_ratio"].where(state["target_ratio"] > 0, wanted.capacity.target_ratio)
    return needs(
        names,
        {w: s.metrics for w, s in specs.specs.items()},
        told,
        panel=panel,
        state=state.assign(target_ratio=target),
        quantiles=level,
        names=wanted.hpa_metrics,
        params=wanted.curve,
    )


def _against(
    names: Sequence[str], need: Needs, refused: Mapping[str, str], high: Floats
) -> list[str]:
    """Why a workload must not be acted on; who has no autoscaler hears that, and of no metric."""
    told = zip(names, need.doubts, need.against, high, strict=True)
    return [
        refused.get(w) or doubt or ("" if np.isnan(most) else why) for w, doubt, why, most in told
    ]


def _tolerances(names: Sequence[str], specs: Mapping[str, HpaSpec]) -> tuple[Floats, Floats]:
    mine = [specs.get(w) for w in names]
    up = [0.1 if s is None else s.up.tolerance for s in mine]
    down = [0.1 if s is None else s.down.tolerance for s in mine]
    return np.array(up), np.array(down)


def _told(run: Run, panel: Panel, grids: Sequence[Grid], verdicts: pd.DataFrame) -> Told:
    """All that is forecast on one grid; of a series that several forecast the first counts."""
    keys = pd.concat([g.keys for g in grids], ignore_index=True)
    values = np.concatenate([g.values for g in grids], axis=1)
    doubts = [d for g in grids for d in _doubts(run, panel, g, verdicts)]
    first = ~keys.duplicated().to_numpy()
    kept = [d for d, keep in zip(doubts, first, strict=True) if keep]
    paid = np.concatenate([g.paid for g in grids], axis=1)[:, first]
    keys = keys[first].reset_index(drop=True)
    return Told(keys, values[:, first], grids[0].levels, kept, paid)


def _doubts(run: Run, panel: Panel, grid: Grid, verdicts: pd.DataFrame) -> list[str]:
    """Why a series' forecast must not be acted on; empty where it may."""
    age_d = (run.as_of - grid.champions.trained_until) / pd.Timedelta(days=1)
    oldest_d = run.settings.forecast.maximum_model_age_days
    if age_d > oldest_d:
        return [f"the model is {age_d:.0f} days old, at most {oldest_d:g} may act"] * len(grid.rows)
    keys = grid.keys
    known = pd.MultiIndex.from_frame(panel.keys[["workload", "metric"]].astype("str"))
    at = known.get_indexer(pd.MultiIndex.from_frame(keys))
    there = ~np.isnan(panel.values[at]) & (at >= 0)[:, None]
    last = panel.n_steps - np.argmax(there[:, ::-1], axis=1)
    hour = pd.Timedelta(hours=1)
    silent_h = (run.as_of - panel.start) / hour - last * (panel.step / hour)
    silent_h = np.where(there.any(axis=1), silent_h, np.inf)
    limit_h = run.settings.quality.maximum_staleness_h
    origins = grid.champions.chosen["origins"].to_numpy()[grid.rows]
    untrusted = _untrusted(verdicts)
    return [
        f"no {'CPU' if metric == CPU else metric} sample in the last {limit_h:g} h"
        if hours > limit_h
        else untrusted.get((name, metric), "" if n > 0 else "no backtest yet: too little history")
        for name, metric, hours, n in zip(
            keys["workload"], keys["metric"], silent_h, origins, strict=True
        )
    ]


def _untrusted(verdicts: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The series whose forecast has drifted or was demoted → why."""
    flagged = verdicts[verdicts["verdict"].isin(FLAGGED)]
    return {
        (row["workload"], row["metric"]): f"{row['verdict']} since "
        f"{row['since']:%Y-%m-%d %H:%M} UTC: " + row["reason"]
        for row in flagged.to_dict("records")
    }
