"""replay: pre-scaling over the last weeks of history, beside a reactive HPA, one-line rules, EC2's
way and an oracle; of several weeks, for whom it is worth it.

Champions are learned on what is before a week, and forecast anew every hour from what was
measured by then, as the schedule does: a floor never knows what comes after its issue. Where the
samples know pods and HPAs, those are replayed; else every load is given the pods of
``prescale.replay_case``. Manifests of HPAs, where given, say how each of them moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from pipelines.artifacts import publish
from pipelines.clock import now
from pipelines.errors import ConfigError, HistoryError
from pipelines.floors_held import savings
from pipelines.outcome import Outcome, merge_reasons, reasons
from pipelines.replay_hpas import ReplayHpas, read_hpas
from pipelines.replay_tables import (
    STAMPS,
    WeekReplay,
    knows_pods,
    replay_start,
    replay_week,
    replay_weeks,
    spans,
    told_rows,
)
from pipelines.run import Run, RunRef
from pipelines.shadow import advice_of_loads, told_advice
from pipelines.spreading import where
from pipelines.tasks import run_shards, threads

__all__ = ["WeekReplay", "replay", "replay_week"]


@dataclass(frozen=True, slots=True)
class _Ask:
    """What one task replays."""

    run: RunRef
    measured: bool
    hpas: ReplayHpas = field(default_factory=ReplayHpas)
    weeks: int = 1


@flow(name="replay", task_runner=threads())
def replay(
    config: str | None = None,
    inputs: list[str] | None = None,
    out: str | None = None,
    as_of: str | None = None,
    hpa: str | None = None,
    weeks: int = 1,
) -> dict[str, Any]:
    """Replay the ``weeks`` (of ``evaluate.window_days``) before ``as_of``, each by models that were
    learned at its start. Nothing is written: the store's replays are of floors that were issued.

    ``hpa`` is a file of HPA manifests (or ScaledObjects), by default ``prescale.hpa_file``: a
    single one is taken for every load, several for those that they scale.

    Raises
    ------
    ConfigError
        The manifests cannot be read, or none is of a replayed workload; ``weeks`` is below 1.
    HistoryError
        Nothing could be replayed.
    """
    if weeks < 1:
        raise ConfigError(f"--weeks must be 1 or more, got {weeks}")
    ref = RunRef.resolve(config, inputs, out, as_of, now())
    run = ref.open()
    measured, hpas = knows_pods(run, weeks), read_hpas(run.settings, hpa)
    shards = run_shards(
        replay_shard,
        [_Ask(r, measured, hpas, weeks) for r in run.shards(replay_start(run, weeks))],
        workers=run.settings.shards.workers,
        max_failed_share=run.settings.shards.max_failed_share,
        where=where(run),
    )
    table = pd.concat([done.table for done in shards.results], ignore_index=True)
    skipped = merge_reasons(reasons(done.skipped) for done in shards.results)
    if table.empty:
        raise HistoryError(
            f"nothing can be replayed before {run.as_of:%Y-%m-%d %H:%M} UTC: "
            + ("; ".join(f"{n} × {why}" for why, n in skipped.items()) or "no series of load")
        )
    done = table[["workload", "metric"]].drop_duplicates()
    hpas.check(done["workload"])
    advice = advice_of_loads(run.settings, table) if weeks > 1 else pd.DataFrame()
    worth, said = told_advice(advice)
    outcome = Outcome(
        verb="replay",
        run_id=run.run_id,
        as_of=ref.as_of,
        unit="workloads" if measured else "loads",
        done=len(done),
        skipped=skipped,
        failed=shards.failed,
        figures=savings(table) | {"replayed_workloads": float(len(done))} | worth,
        notes=(
            *_notes(run, measured, weeks),
            *hpas.notes(done["workload"]),
            *sorted({note for shard in shards.results for note in shard.notes}),
            *said,
        ),
        rows=tuple(_rows(table, advice)),
    )
    return publish(outcome.to_dict())


@task(cache_policy=NO_CACHE)
def replay_shard(ask: _Ask) -> WeekReplay:
    """Replay one shard."""
    run = ask.run.open()
    return replay_weeks(run, ask.measured, ask.hpas, ask.weeks)


def _rows(table: pd.DataFrame, advice: pd.DataFrame) -> list[dict[str, Any]]:
    """``told_rows``, and after several weeks a row a workload with the verdict; None is "n/a"."""
    table = table.assign(**{c: table[c].map(pd.Timestamp.isoformat) for c in STAMPS})
    told = advice.assign(policy="advice") if len(advice) else advice
    return _plain(told_rows(table)) + _plain(told)


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            str(k): None if isinstance(v, float) and not np.isfinite(v) else v
            for k, v in record.items()
        }
        for record in frame.to_dict("records")
    ]


def _notes(run: Run, measured: bool, weeks: int) -> tuple[str, ...]:
    settings = run.settings
    case, hpa = settings.prescale.replay_case, settings.prescale.replay
    issue, costs = settings.prescale.issue, settings.prescale.capacity
    under = costs.under_cost / costs.over_cost
    start = "the week's start" if weeks == 1 else f"the start of each of {weeks} weeks, first"
    told = (
        f"  floors carry the quantile that pays (a missing pod costs {under:g} × an idle one), "
        f"of forecasts issued every {issue.every_min:g} min, {issue.delay_s:g} s late, by models "
        f"that were learned at {start}, {spans(run, weeks)[0][0]:%Y-%m-%d %H:%M} UTC, from at "
        f"most {settings.history.days:g} days"
    )
    rules = f"sync {hpa.sync_s:g} s, scale-down window {hpa.stabilisation_s:g} s"
    if measured:
        return told, f"  pods and HPAs as measured at a week's start; {rules}"
    return (
        told,
        f"  assumed, for the samples know no HPA: {case.busy_pods:g} pods of one core at the "
        f"{case.busy_quantile:.0%} level of the history, HPA target {case.target_ratio:.0%}, "
        f"{case.min_replicas} to {case.max_replicas} replicas, {case.pod_start_s:g} s from "
        f"decision to ready; {rules} (prescale.replay_case, prescale.replay)",
    )
