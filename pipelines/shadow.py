"""The verdict of the shadow: the floors that were forecast, replayed over what then came, and for
whom they are worth switching on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.frames import CAPACITY, REPLAYS
from features.panel import Floats, Panel
from models.advice import DO_NOT, ENABLE, UNKNOWN, advise, weeks_apart
from models.capacity_params import quantiles_of
from models.replay import compare
from models.replay_case import ReplayCase, measured_case, with_hpas
from models.state import workload_state
from pipelines.errors import HistoryError, StoreError
from pipelines.floors import CPU
from pipelines.floors_held import floors_on_parts, replay_rows, savings
from pipelines.hpa_specs import Opener, known_specs
from pipelines.issued import as_issued, on_grid
from pipelines.run import Run
from pipelines.settings import Settings

__all__ = ["Shadow", "advice_of", "advice_of_loads", "replay_issued", "told_advice"]

_RULES = pd.Timedelta(28, "D")
"""How far back the rules look that floors are compared with."""
_SAID = 5


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a replay of issued floors found; ``reason`` says why there is nothing.

    ``table`` has the columns of the REPLAYS contract but for who evaluated and when.
    """

    table: pd.DataFrame
    figures: dict[str, float]
    reason: str = ""


def replay_issued(run: Run, start: pd.Timestamp, opener: Opener) -> Shadow:
    """The floors of ``[start, as_of)``, replayed beside the reactive HPA, an oracle and rules.

    In each moment the floor of the newest issue stands, until it expires. Demand stays on its own
    step, floors on theirs.
    """
    issued = as_issued(run, CAPACITY, start)
    issued = issued[~issued["gate_reason"].str.startswith("no HPA")]
    if issued.empty:
        return _nothing("no floor was forecast for this time")
    lasting = issued[issued["ts"] < issued["valid_until"]]
    if lasting.empty:
        return _nothing("every floor that was forecast for this time had expired")
    floors = on_grid(
        lasting.assign(metric="floor", value=lasting["replicas"]), "value", start, run.as_of
    )
    names = [str(w) for w in floors.keys["workload"]]
    try:
        load = run.panel(start - _RULES, run.as_of, [CPU])
        lately = run.panel(start, run.as_of)
    except HistoryError as error:
        return _nothing(str(error))
    case = _case(run, lately, names, opener)
    demand, history = _halves(load, start, names)
    usable = case.usable & np.isfinite(demand).any(axis=1)
    if not usable.any():
        return _nothing("no workload with CPU usage, requests and an HPA")
    asked = floors_on_parts(floors, load, demand.shape[1])[usable]
    held, demand = case.select(usable), demand[usable]
    table = compare(
        demand,
        load.step.total_seconds(),
        workloads=[n for n, ok in zip(names, usable, strict=True) if ok],
        pod_capacity_cores=held.pod_capacity_cores,
        target_ratio=held.target_ratio,
        min_replicas=held.min_replicas,
        max_replicas=held.max_replicas,
        floors=asked,
        history=history[usable],
        pod_start_s=held.pod_start_s,
        params=run.settings.prescale.replay,
        hpas=held.hpas,
    )
    hours = _both_h(demand, asked, load.step)
    measured = dict(zip([n for n, ok in zip(names, usable, strict=True) if ok], hours, strict=True))
    table["measured_h"] = table["workload"].map(measured).astype("float64")
    return Shadow(replay_rows(table), savings(table))


def advice_of(run: Run, replays: pd.DataFrame) -> pd.DataFrame:
    """For each workload of this run's replays whether pre-scaling is worth it, by the weeks until
    now: the ADVICE contract's columns.

    ``replays``, which is not empty, has all columns of the REPLAYS contract.
    """
    wanted, params = run.settings.prescale, run.settings.prescale.advice
    names = sorted(replays["workload"].astype("str").unique())
    known = [t for t in (_before(run, names), _sides(replays)) if len(t)]
    weeks = weeks_apart(pd.concat(known, ignore_index=True), params.weeks_max)
    told = advise(
        weeks,
        params,
        quantiles=dict(zip(names, quantiles_of(names, wanted.rules, wanted.capacity), strict=True)),
        pods=_pods(run, names) if params.priced else None,
    )
    begun = weeks.groupby("workload")["started_at"].min()
    return told.assign(
        evaluated_at=run.as_of, started_at=told["workload"].map(begun), run_id=run.run_id
    )


def advice_of_loads(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """The verdict on loads that were replayed over several weeks, a row each: the columns of
    ``models.advice.advise``, with ``metric``.

    ``table`` has ``models.replay.compare``'s columns, and ``metric, evaluated_at, started_at,
    measured_h``. Of assumed pods no price is known.
    """
    wanted = settings.prescale
    loads = table[["workload", "metric"]].astype("str").agg("\n".join, axis=1)
    names = sorted(loads.unique())
    owners = [name.partition("\n")[0] for name in names]
    level = quantiles_of(owners, wanted.rules, wanted.capacity)
    told = advise(
        weeks_apart(table.assign(workload=loads), wanted.advice.weeks_max),
        wanted.advice,
        quantiles=dict(zip(names, level, strict=True)),
    )
    of = told["workload"].str.partition("\n")
    return told.assign(workload=of[0], metric=of[2])


def told_advice(advice: pd.DataFrame) -> tuple[dict[str, float], tuple[str, ...]]:
    """How many workloads have each verdict, and the lines that say so and why for the first few."""
    if advice.empty:
        return {}, ()
    count = {v: int((advice["verdict"] == v).sum()) for v in (ENABLE, DO_NOT, UNKNOWN)}
    lines = ["  pre-scaling: " + ", ".join(f"{v}: {n}" for v, n in count.items() if n)]
    for verdict in (ENABLE, DO_NOT):
        rows = advice[advice["verdict"] == verdict].head(_SAID).to_dict("records")
        lines += [f"  {verdict}: {r['workload']}: {r['reason']}" for r in rows]
    return {f"advice_{v.replace(' ', '_')}": float(n) for v, n in count.items()}, tuple(lines)


def _nothing(reason: str) -> Shadow:
    return Shadow(pd.DataFrame(), {}, reason)


def _case(run: Run, lately: Panel, names: list[str], opener: Opener) -> ReplayCase:
    """Pods and HPAs as measured; what an autoscaler itself says wins over the samples."""
    case = measured_case(lately, names, run.settings.prescale.capacity)
    specs = known_specs(run, names, opener=opener).specs
    return with_hpas(case, pd.DataFrame({"workload": names, "metric": CPU}), specs)[0]


def _halves(load: Panel, start: pd.Timestamp, names: list[str]) -> tuple[Floats, Floats]:
    """Demand from the start on, and all that is known before it; NaN where nothing was measured."""
    values = load.matrix(CPU, names)
    first = load.n_steps - load.window(start).n_steps
    return values[:, first:], values[:, :first]


def _both_h(demand: Floats, floors: Floats, step: pd.Timedelta) -> Floats:
    """Hours of which demand was measured and a floor stood, (n,)."""
    n_parts = floors.shape[1] // max(demand.shape[1], 1)
    both = np.repeat(np.isfinite(demand), n_parts, axis=1) & np.isfinite(floors)
    return both.sum(axis=1) * (step / pd.Timedelta(1, "h") / n_parts)


def _before(run: Run, names: list[str]) -> pd.DataFrame:
    """Replays of these workloads by earlier evaluations, twice as far back as is looked at: one may
    be missing."""
    days = 2 * run.settings.prescale.advice.weeks_max * run.settings.evaluate.window_days
    try:
        table: pd.DataFrame = run.read(REPLAYS, run.as_of - pd.Timedelta(days, "D")).to_pandas()
    except StoreError:
        table = REPLAYS.schema.empty_table().to_pandas()
    known = table["workload"].astype("str").isin(names) & (table["evaluated_at"] < run.as_of)
    return _sides(table[known])


def _sides(replays: pd.DataFrame) -> pd.DataFrame:
    """The two policies that a verdict is about, with plain names."""
    names = {c: replays[c].astype("str") for c in ("workload", "policy", "run_id")}
    stamps = {
        c: pd.to_datetime(replays[c]).dt.as_unit("ms") for c in ("evaluated_at", "started_at")
    }
    hours = replays["measured_h"].astype("float64")
    rows = replays.assign(**names, **stamps, measured_h=hours)
    rows = rows[rows["policy"].isin(["reactive", "foretide"])]
    return rows[REPLAYS.schema.names]


def _pods(run: Run, names: list[str]) -> pd.DataFrame:
    """What one pod requests, for money."""
    hours = run.settings.prescale.capacity.state_window_h
    panel = run.panel(run.as_of - pd.Timedelta(hours, "h"), run.as_of)
    return workload_state(panel, names, run.settings.prescale.capacity)
