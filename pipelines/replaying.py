"""replay: pre-scaling over the last week of history, beside a reactive HPA, last week's one-line
rule and an oracle.

Champions are fitted on what is before the week, and their forecast gives the floors of the whole
week at once: what came in it is only looked at by the replay. Where the samples know pods and HPAs,
those are replayed; else every load is given the pods of ``prescale.replay_case``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from features.metrics import Catalog
from features.panel import Floats, Panel
from models.capacity import capacity_forecast
from models.replay import compare, totals
from models.replay_case import ReplayCase, assumed_case, measured_case
from pipelines.clock import now
from pipelines.errors import HistoryError
from pipelines.floors_held import replay_rows, savings
from pipelines.learning import Learned, learn, told_by
from pipelines.outcome import Outcome, merge_reasons, reasons
from pipelines.run import Run, RunRef
from pipelines.settings import Settings
from pipelines.tasks import publish, run_shards, threads

__all__ = ["WeekReplay", "replay", "replay_week"]

_CPU = "cpu_usage_cores"
_HPA = {_CPU, "cpu_request_cores", "replicas", "hpa_max_replicas"}
_WEEK = pd.Timedelta(7, "D")
_RULE = pd.Timedelta(1, "h")
"""How much further than a week back last week's rule needs its history."""


@dataclass(frozen=True, slots=True)
class WeekReplay:
    """What came out for some workloads.

    Attributes
    ----------
    table : frame
        ``models.replay.compare``'s rows, and ``metric``, whose load was replayed. Core-hours: an
        assumed pod can burn one core.
    skipped : frame ``workload, metric, reason``
    """

    table: pd.DataFrame
    skipped: pd.DataFrame


@dataclass(frozen=True, slots=True)
class _Ask:
    """What one task replays."""

    run: RunRef
    measured: bool


@flow(name="replay", task_runner=threads())
def replay(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
) -> dict[str, Any]:
    """Replay the week (``evaluate.window_days``) before ``as_of``. Nothing is written: the store's
    replays are of floors that were issued.

    Raises
    ------
    HistoryError
        Nothing could be replayed.
    """
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    run = ref.open()
    measured = _knows_pods(run)
    shards = run_shards(
        replay_shard,
        [_Ask(r, measured) for r in run.shards(_begin(run))],
        workers=run.settings.shards.workers,
        max_failed_share=run.settings.shards.max_failed_share,
    )
    table = pd.concat([done.table for done in shards.results], ignore_index=True)
    skipped = merge_reasons(reasons(done.skipped) for done in shards.results)
    if table.empty:
        raise HistoryError(
            f"nothing can be replayed before {run.as_of:%Y-%m-%d %H:%M} UTC: "
            + ("; ".join(f"{n} × {why}" for why, n in skipped.items()) or "no series of load")
        )
    done = table[["workload", "metric"]].drop_duplicates()
    outcome = Outcome(
        verb="replay",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="workloads" if measured else "loads",
        done=len(done),
        skipped=skipped,
        failed=shards.failed,
        figures=savings(table) | {"replayed_workloads": float(len(done))},
        notes=_notes(run, measured),
        rows=tuple(_rows(table)),
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
def replay_shard(ask: _Ask) -> WeekReplay:
    """Replay one shard."""
    run = ask.run.open()
    panel = run.panel(_begin(run), run.as_of)
    return replay_week(panel, _start(run), run.catalog, run.settings, measured=ask.measured)


def replay_week(
    panel: Panel, start: pd.Timestamp, catalog: Catalog, settings: Settings, *, measured: bool
) -> WeekReplay:
    """Replay all of a panel from ``start`` on.

    ``measured``: the panel knows pods and HPAs; otherwise every demand, and every metric that the
    catalog does not know, is a load of its own.
    """
    series = panel.of(_CPU) if measured else panel.select(_is_load(panel, catalog))
    past, week = series.window(end=start), series.window(start)
    history = past.window(start - pd.Timedelta(settings.history.days, "D"))
    lesson = learn(history, catalog, settings, detectors=False)
    skipped = lesson.skipped
    if not lesson.groups:
        return WeekReplay(pd.DataFrame(), skipped)
    known = pd.concat([group.champions.keys for group in lesson.groups])
    mine = pd.MultiIndex.from_frame(past.keys).isin(pd.MultiIndex.from_frame(known))
    past, week = past.select(mine), week.select(mine)
    if measured:
        pods = panel.window(start - _WEEK, start)
        names = week.keys["workload"].tolist()
        case = measured_case(pods, names, settings.prescale.capacity)
    else:
        case = assumed_case(past.window(history.start).values, settings.prescale.replay_case)
    # in an assumed case one pod is one core, so that loads of different units can be summed
    unit = np.ones(week.n_series) if measured else case.pod_capacity_cores
    case = replace(case, pod_capacity_cores=case.pod_capacity_cores / unit)
    past, week = (part.with_values(part.values / unit[:, None]) for part in (past, week))
    floors = _floors(lesson.groups, unit, case, week, settings)
    idle = ~np.isfinite(week.values).any(axis=1)
    why = np.array(case.refusal, dtype=object)
    why[(why == "") & idle] = "nothing was measured in the replayed week"
    ok = why == ""
    refused = week.keys[~ok].assign(reason=why[~ok])
    skipped = pd.concat([skipped, refused], ignore_index=True)
    held, lately = case.select(ok), past.window(start - _WEEK - _RULE)
    if not ok.any():
        return WeekReplay(pd.DataFrame(), skipped)
    table = compare(
        week.values[ok],
        week.step / pd.Timedelta(1, "s"),
        workloads=[str(i) for i in np.flatnonzero(ok)],  # a workload may have several loads
        pod_capacity_cores=held.pod_capacity_cores,
        target_ratio=held.target_ratio,
        min_replicas=held.min_replicas,
        max_replicas=held.max_replicas,
        floors=floors[ok],
        history=lately.values[ok],
        pod_start_s=held.pod_start_s,
        params=settings.prescale.replay,
    )
    keys = week.keys.loc[table["workload"].astype(int)].reset_index(drop=True)
    return WeekReplay(table.assign(workload=keys["workload"], metric=keys["metric"]), skipped)


def _floors(
    groups: Sequence[Learned], unit: Floats, case: ReplayCase, week: Panel, settings: Settings
) -> Floats:
    """The floors of the week as they would have been forecast at its start, (n, m)."""
    params = settings.prescale.capacity
    ahead = int(np.ceil(case.pod_start_s.max(initial=0.0) / (week.step / pd.Timedelta(1, "s"))))
    levels, n_steps = (params.quantile, 0.5), week.n_steps + ahead
    told = told_by(groups, week.keys, week.start, n_steps, levels, settings) / unit[:, None]
    found = capacity_forecast(
        told[0],
        told[1],
        request_per_pod_cores=case.pod_capacity_cores,
        request_per_pod_bytes=np.full(len(unit), np.nan),
        target_ratio=case.target_ratio,
        min_replicas=case.min_replicas,
        max_replicas=case.max_replicas,
        lead_time_s=case.pod_start_s,
        step=week.step,
        params=params,
    )
    return found.replicas[:, : week.n_steps].astype(np.float64)


def _is_load(panel: Panel, catalog: Catalog) -> np.ndarray:
    metrics = panel.keys["metric"]
    return np.array([not catalog.knows(m) or catalog[m].role == "demand" for m in metrics], bool)


def _start(run: Run) -> pd.Timestamp:
    return run.as_of - pd.Timedelta(run.settings.evaluate.window_days, "D")


def _begin(run: Run) -> pd.Timestamp:
    return _start(run) - max(pd.Timedelta(run.settings.history.days, "D"), _WEEK + _RULE)


def _knows_pods(run: Run) -> bool:
    """Whether the samples before the week hold CPU usage, requests and an HPA of anybody."""
    metrics = run.samples(_begin(run), run.as_of)["metric"]
    return set(metrics.unique()) >= _HPA


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Sums a policy (workload ``*``) first, then one row a workload and policy; None is "n/a"."""
    every = pd.concat([totals(table).assign(workload="*", metric="*"), table], ignore_index=True)
    shares = ["metric", "unserved_cut_share", "over_target_cut_share", "replica_hours_ratio"]
    known = pd.concat([replay_rows(every), every[shares]], axis=1)
    return [
        {
            str(k): None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in record.items()
        }
        for record in known.to_dict("records")
    ]


def _notes(run: Run, measured: bool) -> tuple[str, ...]:
    settings = run.settings
    case, hpa = settings.prescale.replay_case, settings.prescale.replay
    told = (
        f"  floors carry the {settings.prescale.capacity.quantile:.0%} quantile of one forecast, "
        f"issued {_start(run):%Y-%m-%d %H:%M} UTC for the whole week, "
        f"from at most {settings.history.days:g} days before it"
    )
    rules = f"sync {hpa.sync_s:g} s, scale-down window {hpa.stabilisation_s:g} s"
    if measured:
        return told, f"  pods and HPAs as measured at the week's start; {rules}"
    return (
        told,
        f"  assumed, for the samples know no HPA: {case.busy_pods:g} pods of one core at the "
        f"{case.busy_quantile:.0%} level of the history, HPA target {case.target_ratio:.0%}, "
        f"{case.min_replicas} to {case.max_replicas} replicas, {case.pod_start_s:g} s from "
        f"decision to ready; {rules} (prescale.replay_case, prescale.replay)",
    )
