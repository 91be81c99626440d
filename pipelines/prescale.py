"""prescale: the newest capacity forecast becomes a plan and its manifests. Nothing is applied
here.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pandas as pd
import pyarrow.compute as pc
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.frames import CAPACITY, FORECASTS
from features.panel import Panel
from models.modes import mode_of
from models.plan import Plan, describe, make_plan
from models.state import workload_state
from pipelines.clock import now
from pipelines.errors import HistoryError
from pipelines.hpa_specs import open_cluster
from pipelines.manifests import render
from pipelines.outcome import Outcome
from pipelines.plan_facts import no_cluster, plan_facts
from pipelines.plans import plan_file, plan_folder
from pipelines.run import Run, RunRef
from pipelines.rungs.params import RungParams
from pipelines.tasks import call, publish

__all__ = ["prescale"]

_LIVE = pd.Timedelta(1, "h")
"""A run whose clock is further from the present than this asks no cluster."""


@flow(name="prescale")
def prescale(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
) -> dict[str, Any]:
    """Plan floors and placeholder pods, and write them as manifests.

    Raises
    ------
    HistoryError
        There is no capacity forecast that is valid now.
    """
    moment = now()
    ref = RunRef.resolve(config, inputs, out, as_of, moment)
    return publish(call(write_plan, ref, _is_live(ref, moment)))


def _is_live(ref: RunRef, moment: pd.Timestamp) -> bool:
    """Whether the cluster as it stands says anything about the run's moment."""
    return not ref.inputs and abs(moment - pd.Timestamp(ref.as_of)) <= _LIVE


@task(cache_policy=NO_CACHE)
def write_plan(ref: RunRef, live: bool = False) -> dict[str, Any]:
    """Make the plan of one moment; the same input gives the same files.

    Only a ``live`` plan asks the configured cluster what it can hold.
    """
    run = ref.open()
    capacity = _valid_capacity(run)
    planned = sorted(capacity["workload"].astype("str").unique())
    panel = _lately(run)
    wanted = run.settings.prescale
    facts = plan_facts(run, panel, planned, opener=open_cluster if live else no_cluster)
    current = facts.placed(workload_state(panel, planned, wanted.capacity, specs=facts.specs))
    plan = make_plan(
        capacity,
        current,
        as_of=run.as_of,
        params=wanted.plan,
        modes={w: mode_of(w, wanted.rules, wanted.plan.mode) for w in planned},
        limits=partial(facts.limits, as_of=run.as_of),
    )
    written = _write(run, plan)
    raised = {f.workload for f in plan.floors}
    return Outcome(
        verb="plan",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="workloads",
        done=len(raised),
        skipped=_counted(plan) | _without_forecast(panel, planned),
        outputs={"plan": written, "manifests": written.removesuffix("plan.json") + "manifests"},
        figures={
            "floors": float(len(plan.floors)),
            "placeholders": float(len(plan.placeholders)),
            "holds": float(len(plan.holds)),
            "shortfalls": float(len(plan.shortfalls)),
        },
        notes=(*_lines(plan), *_only_shown(plan, wanted.rungs), *facts.notes),
    ).to_dict()


def _valid_capacity(run: Run) -> pd.DataFrame:
    """Of each workload the newest issue of all capacity that may still be used, and those before it
    that reach further: the plan joins them."""
    since = run.as_of - pd.Timedelta(run.settings.forecast.valid_for_h, "h")
    # a lead time counts as no longer than the plan: nothing later than this matters
    enough = run.as_of + 2 * pd.Timedelta(run.settings.prescale.plan.horizon_h, "h")
    parts = run.parts(CAPACITY, since)
    if not parts and run.parts(FORECASTS, since):  # forecast, and of no workload's CPU
        nothing: pd.DataFrame = CAPACITY.schema.empty_table().to_pandas()
        return nothing
    if not parts:
        run.read(CAPACITY, since)  # says what is missing
    found: list[pd.DataFrame] = []
    reached = pd.Series(dtype="datetime64[ms, UTC]")
    for part in reversed(parts):  # the newest first
        there = (pc.field("valid_until") > run.as_of) & (pc.field("issued_at") <= run.as_of)
        rows = run.store.read(CAPACITY, part=part).filter(there & (pc.field("ts") < enough))
        table: pd.DataFrame = rows.to_pandas()
        table = table.assign(workload=table["workload"].astype("str"))
        last = table.groupby("workload")["ts"].max()
        further = last[~(last <= reached.reindex(last.index))]
        if further.empty:
            continue
        found.append(table[table["workload"].isin(further.index)])
        reached = further.combine_first(reached)
    if not found:
        raise HistoryError(
            f"no capacity forecast is valid at {run.as_of:%Y-%m-%d %H:%M} UTC; "
            "run `foretide forecast` first"
        )
    return pd.concat(found, ignore_index=True)


def _lately(run: Run) -> Panel:
    hours = run.settings.prescale.capacity.state_window_h
    return run.panel(run.as_of - pd.Timedelta(hours, "h"), run.as_of)


def _write(run: Run, plan: Plan) -> str:
    """The plan and its manifests; everything is rendered before the first file is touched."""
    folder = plan_folder(run)
    wanted = {f"{folder}/manifests/{name}": text for name, text in render(plan).items()}
    text = json.dumps(plan.to_dict(), indent=1, sort_keys=True, allow_nan=False)
    for old in run.store.files(f"{folder}/manifests"):
        if old not in wanted:
            run.store.delete_file(old)
    for name, manifest in wanted.items():
        run.store.put_file(name, manifest.encode())
    return run.store.put_file(plan_file(run), f"{text}\n".encode())


def _counted(plan: Plan) -> dict[str, int]:
    reasons = pd.Series([n.reason for n in plan.notes], dtype="str")
    return {str(k): int(v) for k, v in reasons.value_counts().items()}


def _without_forecast(panel: Panel, planned: list[str]) -> dict[str, int]:
    """Workloads that are there and have no capacity forecast."""
    missing = set(panel.keys["workload"]) - set(planned)
    return {"no capacity forecast": len(missing)} if missing else {}


def _lines(plan: Plan) -> tuple[str, ...]:
    return tuple(describe(plan).splitlines())


def _only_shown(plan: Plan, rungs: RungParams) -> tuple[str, ...]:
    """What the plan has and no rung may write: it is planned all the same, to be seen."""
    found: list[str] = []
    if plan.holds and not rungs.hold_nodes:
        found.append("holds of nodes are shown only: prescale.rungs.hold_nodes is false")
    if plan.placeholders and rungs.room == "none":
        found.append("room for pods is shown only: prescale.rungs.room is none")
    return tuple(found)
