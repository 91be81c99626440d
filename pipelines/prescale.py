"""prescale: the newest capacity forecast becomes a plan and its manifests. Nothing is applied
here.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
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
from pipelines.artifacts import publish
from pipelines.catching_up import caught_up_plan
from pipelines.clock import now, present
from pipelines.errors import HistoryError
from pipelines.events import is_live
from pipelines.flow_runs import CLUSTER, as_run
from pipelines.hpa_specs import open_cluster
from pipelines.manifests import render
from pipelines.outcome import Outcome
from pipelines.parameters import Moment
from pipelines.plan_facts import no_cluster, plan_facts
from pipelines.plans import plan_file, plan_folder
from pipelines.run import Run, RunRef
from pipelines.rungs.params import RungParams
from pipelines.tasks import call
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["prescale"]

_AT_ONCE = 16
"""Files of manifests: more would wait for the same disk."""


@flow(name="prescale", timeout_seconds=900)
@as_run(CLUSTER, wait_max_s=300)
@watched("prescale")
def prescale(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    catch_up: bool = False,
) -> dict[str, Any]:
    """Plan floors and placeholder pods, and write them as manifests.

    With ``catch_up`` only where there is no plan of this round yet.

    Raises
    ------
    HistoryError
        There is no capacity forecast that is valid now.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    if catch_up and (told := caught_up_plan(ref.open(), "plan")):
        return publish(told)
    # the present, not the moment a late run was meant for: the cluster is asked as it stands now
    live = not ref.inputs and is_live(pd.Timestamp(ref.as_of), present())
    return publish(call(write_plan, ref, live))


@task(cache_policy=NO_CACHE)
@traced
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
    # each is on disk before the plan names it: waiting for a disk or a bucket is what takes time
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        puts = [pool.submit(run.store.put_file, n, text.encode()) for n, text in wanted.items()]
        for put in puts:
            put.result()
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
