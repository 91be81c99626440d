"""What if: a floor, or a load of x times today's, for one workload.

The past is replayed as the weekly verdicts do it, over the measured CPU times the factor. What is
ahead goes the way of `foretide forecast`: the live champions' quantiles times the factor become
replicas under the workload's own autoscaler.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from models.replay import compare
from models.replay_case import ReplayCase, measured_case, with_hpas
from pipelines.answers.known import known_workload
from pipelines.answers.shared import Answer, Data, Part, age, data, number, told
from pipelines.answers.simulated_ahead import AheadTold, ahead
from pipelines.answers.stretch import panel_of
from pipelines.errors import ConfigError, ForetideError
from pipelines.floors import CPU
from pipelines.hpa_specs import Opener, known_specs, open_cluster
from pipelines.run import Run

__all__ = ["AheadTold", "Past", "Simulated", "simulated"]

_DAYS_MAX = 14.0
_FACTORS = (0.1, 10.0)
_FLOOR_MAX = 10_000
_Policy = Literal["hpa_alone", "with_floor", "oracle"]
_POLICIES: dict[str, _Policy] = {
    "reactive": "hpa_alone", "foretide": "with_floor", "oracle": "oracle",
}  # fmt: skip


class Past(Part):
    """One policy over the replayed days. ``oracle`` knows the load in advance: no floor can do
    better."""

    policy: _Policy
    load_factor: float
    short_pod_minutes: float | None
    """Pod-minutes that were missing to carry the load at the HPA's target."""
    over_target_core_hours: float | None
    unserved_core_hours: float | None
    """Load that no ready pod could burn."""
    replica_hours: float | None
    """What is paid for."""


class Simulated(Answer):
    """What the change would have meant, and what it would mean."""

    workload: Data
    load_factor: float
    floor_replicas: int | None
    replayed_from: str | None
    replayed_to: str | None
    replayed: tuple[Past, ...]
    replay_problem: Data
    """Why nothing could be replayed; empty where it was."""
    hpa_min_replicas: int | None
    hpa_max_replicas: int | None
    ahead: AheadTold | None
    ahead_problem: Data
    notes: tuple[str, ...]


def simulated(
    run: Run,
    workload: str,
    *,
    floor_replicas: int | None = None,
    load_factor: float = 1.0,
    days: float = 7.0,
    horizon_h: float = 24.0,
    opener: Opener = open_cluster,
) -> Simulated:
    """Replay the last ``days`` with the factor and the floor, and look ahead with both.

    Raises
    ------
    ConfigError
        A number is out of range.
    NoSuchName
        The workload is not known.
    """
    _check(floor_replicas, load_factor, days)
    name = known_workload(run, workload)
    end = _end(run)
    lasts = pd.Timedelta(run.settings.quality.maximum_staleness_h, "h")
    rows, bounds, problem = _replayed(run, name, end, floor_replicas, load_factor, days, opener)
    forward, why_not = _ahead(run, name, floor_replicas, load_factor, horizon_h, opener)
    return Simulated(
        **age(
            run,
            end,
            end + lasts,
            f"samples of the {days:g} days to {told(end)}, replayed; the live forecast model",
            nothing="there are no samples",
        ),
        workload=data(name),
        load_factor=load_factor,
        floor_replicas=floor_replicas,
        replayed_from=told(end - pd.Timedelta(days, "D")) if rows else None,
        replayed_to=told(end) if rows else None,
        replayed=rows,
        replay_problem=data(problem),
        hpa_min_replicas=bounds[0],
        hpa_max_replicas=bounds[1],
        ahead=forward,
        ahead_problem=data(why_not),
        notes=_notes(floor_replicas, bounds, load_factor),
    )


def _end(run: Run) -> pd.Timestamp:
    """The clock, or the end of the samples where those are older."""
    newest = run.store.newest(run.as_of) if run.store.days() else None
    recent = newest is None or run.as_of - newest <= pd.Timedelta(1, "h")
    return run.as_of if recent or newest is None else newest + (run.step or _STEP)


_STEP = pd.Timedelta(5, "min")


def _check(floor: int | None, factor: float, days: float) -> None:
    if floor is not None and not 1 <= floor <= _FLOOR_MAX:
        raise ConfigError(f"floor_replicas: expected 1 to {_FLOOR_MAX}, got {floor}")
    if not _FACTORS[0] <= factor <= _FACTORS[1]:
        raise ConfigError(
            f"load_factor: expected {_FACTORS[0]:g} to {_FACTORS[1]:g}, got {factor:g}"
        )
    if not 0 < days <= _DAYS_MAX:
        raise ConfigError(f"days: expected more than 0 and at most {_DAYS_MAX:g}, got {days:g}")


Bounds = tuple[int | None, int | None]


def _replayed(
    run: Run,
    name: str,
    end: pd.Timestamp,
    floor: int | None,
    factor: float,
    days: float,
    opener: Opener,
) -> tuple[tuple[Past, ...], Bounds, str]:
    """Every policy at today's load and at the factor; the HPA's bounds; why there is nothing."""
    try:
        panel = panel_of(run, [name], end - pd.Timedelta(days, "D"), end)
        specs = known_specs(run, [name], opener=opener).specs
    except ForetideError as error:
        return (), (None, None), str(error)
    case = measured_case(panel, [name], run.settings.prescale.capacity)
    load = pd.DataFrame({"workload": [name], "metric": [CPU]})
    case = with_hpas(case, load, specs)[0]
    bounds = _whole(case.min_replicas[0]), _whole(case.max_replicas[0])
    demand = panel.matrix(CPU, [name])
    if case.refusal[0] or not np.isfinite(demand).any():
        return (), bounds, case.refusal[0] or "its CPU usage was not measured in these days"
    loads = dict.fromkeys((1.0, factor))
    tables = [(_compared(run, demand * x, panel.step, floor, case), x) for x in loads]
    rows = [_past(row, x) for table, x in tables for row in table.to_dict("records")]
    return tuple(rows), bounds, ""


def _compared(
    run: Run, demand: np.ndarray, step: pd.Timedelta, floor: int | None, case: ReplayCase
) -> pd.DataFrame:
    return compare(
        demand,
        step.total_seconds(),
        workloads=[""],
        floors=None if floor is None else np.full(demand.shape, float(floor)),
        pod_capacity_cores=case.pod_capacity_cores,
        target_ratio=case.target_ratio,
        min_replicas=case.min_replicas,
        max_replicas=case.max_replicas,
        pod_start_s=case.pod_start_s,
        params=run.settings.prescale.replay,
        hpas=case.hpas or None,
    )


def _past(row: Mapping[Hashable, Any], factor: float) -> Past:
    return Past(
        policy=_POLICIES[str(row["policy"])],
        load_factor=factor,
        short_pod_minutes=number(row["short_pod_min"]),
        over_target_core_hours=number(row["over_target"]),
        unserved_core_hours=number(row["unserved"]),
        replica_hours=number(row["replica_hours"]),
    )


def _ahead(
    run: Run, name: str, floor: int | None, factor: float, horizon_h: float, opener: Opener
) -> tuple[AheadTold | None, str]:
    try:
        return ahead(run, name, floor, factor, min(max(horizon_h, 1.0), 168.0), opener), ""
    except ForetideError as error:
        return None, str(error)


def _notes(floor: int | None, bounds: Bounds, factor: float) -> tuple[str, ...]:
    notes: list[str] = []
    if floor is not None and bounds[1] is not None and floor > bounds[1]:
        notes.append(f"the HPA's maxReplicas {bounds[1]} caps the floor of {floor}")
    if floor is not None and bounds[0] is not None and floor <= bounds[0]:
        notes.append(f"the user's own floor is {bounds[0]}: a floor of {floor} changes nothing")
    if factor != 1:
        notes.append("the factor is on CPU in the past, and on every forecast demand ahead")
    notes.append("measured CPU is what pods could burn: where they were saturated more was asked")
    return tuple(notes)


def _whole(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None
