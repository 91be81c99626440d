"""apply: the newest plan, within the guardrails, on a cluster.

Order matters. What a run will do is in the ledger, and the objects as they were are in a snapshot,
before the first write; what became of it is in the ledger after. Killed at any moment, what is
raised carries its own value and its end in annotations, so that ``release`` gives it back; the next
run says what became of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from pipelines.adapters.kube import Kube
from pipelines.applying_files import drop_expired_patches
from pipelines.approvals import approve as say_yes
from pipelines.artifacts import publish
from pipelines.clock import present
from pipelines.clusters import Reach
from pipelines.errors import ClusterUnreachable, ConfigError
from pipelines.flow_runs import CLUSTER, as_run
from pipelines.outcome import Outcome
from pipelines.pace import Pace
from pipelines.parameters import Moment
from pipelines.plans import plan_clocks
from pipelines.release_job import release_job
from pipelines.round import Round, done_by
from pipelines.round_text import outcome_of
from pipelines.run import Run, RunRef, part_name
from pipelines.tasks import call
from pipelines.telemetry import traced
from pipelines.watching import watched

__all__ = ["apply", "clock_apart", "one_round"]

_APART = pd.Timedelta(60, "s")
"""Of two clocks: time servers keep them within a second, and an answer takes some."""
_NOW = pd.Timedelta(1, "h")
"""A clock that is further from the present writes nothing: of ends in the future nobody could say
when they are."""


@flow(name="apply", timeout_seconds=600)
@as_run(CLUSTER, wait_max_s=200)
@watched("apply")
def apply(
    config: str | None = None,
    out: str | None = None,
    as_of: Moment | None = None,
    approve: str | None = None,
    dry_run: bool = False,
    days: float | None = None,
) -> dict[str, Any]:
    """Raise what the newest plan wants raised now, renew what stands, give back what is over.

    ``approve`` is the id of the plan that a person says yes to, for ``days``; ``dry_run`` only says
    what would be done, and writes nothing anywhere.

    Raises
    ------
    ClusterError
        The cluster cannot be read; or it went away in mid-run, and the ledger says how far it got.
    ConfigError
        There is no such plan to approve; ``as_of`` is not about now; or this machine's clock is not
        the API server's.
    """
    # the present, not the time that a late run was meant for: it acts on what is there now
    ref = RunRef.resolve(config, None, out, as_of, present())
    return publish(call(apply_plan, ref, approve, dry_run, days))


@task(cache_policy=NO_CACHE)
@traced
def apply_plan(
    ref: RunRef, approve: str | None = None, dry_run: bool = False, days: float | None = None
) -> dict[str, Any]:
    """One round."""
    run = ref.open()
    away = abs(present() - run.as_of)
    if not dry_run and not _idle(run) and away > _NOW:
        raise ConfigError(
            f"apply acts at the present, and {run.as_of:%Y-%m-%d %H:%M} UTC is {away} away: "
            "what it wrote would expire then; --dry-run says what it would have done"
        )
    if not dry_run and not _idle(run) and (newer := _newer_plan(run)):
        raise ConfigError(
            f"apply: there is a plan of {newer:%Y-%m-%d %H:%M} UTC, newer than this run's clock "
            f"{run.as_of:%Y-%m-%d %H:%M}: no older plan is applied over it; leave out --as-of"
        )
    if not dry_run and not _idle(run):
        with _reach(run).open() as kube:
            if why := clock_apart(kube.server_time(), present()):
                raise ConfigError(why)
    return one_round(run, approve, dry_run, days)


def clock_apart(server: pd.Timestamp | None, here: pd.Timestamp) -> str:
    """Why nothing may be written by this machine's clock; empty where it is the server's.

    What is held is given back by the clock of the cluster: an end that was reckoned by another
    clock comes too late, or at once.
    """
    if server is None or abs(server - here) <= _APART:
        return ""
    return (
        f"this machine's clock says {here:%Y-%m-%d %H:%M:%S} UTC, the API server's "
        f"{server:%Y-%m-%d %H:%M:%S}: nothing is written while they are more than "
        f"{_APART.total_seconds():g} s apart; set this machine's clock"
    )


def one_round(
    run: Run, approve: str | None = None, dry_run: bool = False, days: float | None = None
) -> dict[str, Any]:
    """A round at the run's clock, whatever the time is."""
    if approve is not None and not dry_run:
        say_yes(run, approve, days)
    why = _idle(run)
    if why:
        return _nothing(run, why, () if dry_run else _dropped(run)).to_dict()
    there = _reach(run)
    pace = Pace(run.settings.prescale.apply.run_max_s)
    with there.open() as kube:
        stop, notes = _way_back(run, kube)
        seen = Round.read(run, kube, there.name, approve or "", stop=stop)
        seen = replace(seen, notes=(*notes, *seen.notes))
        rows = () if dry_run else done_by(seen, pace)
    gone = [row for row in rows if row.status == "unreachable"]
    if gone and pace.gone:
        raise ClusterUnreachable(
            f"apply: the API server went away at {gone[0].target}: {gone[0].detail}; what was "
            "written before it is in the ledger, the next run goes on"
        )
    return outcome_of(seen, rows, dry_run=dry_run).to_dict()


def _newer_plan(run: Run) -> pd.Timestamp | None:
    """The clock of a plan that was made between the run's clock and now."""
    now = part_name(present())
    newer = [c for c in plan_clocks(run) if run.part < c <= now]
    return pd.Timestamp(newer[-1]) if newer else None


def _dropped(run: Run) -> list[str]:
    rungs = run.settings.prescale.rungs
    if rungs.floor != "gitops":
        return []
    return drop_expired_patches(rungs.gitops_folder, run.as_of)


def _reach(run: Run) -> Reach:
    s = run.settings.cluster
    name = s.name or run.settings.source.cluster
    return Reach(s.connect, name, s.kubeconfig, s.context, s.timeout_s)


def _way_back(run: Run, kube: Kube) -> tuple[str, tuple[str, ...]]:
    """Why nothing new may be raised, as the release job goes; and what a person should know."""
    s = run.settings.prescale
    if s.rungs.floor != "auto":  # nothing is held in the cluster
        return "", ()
    job = release_job(kube, s.rungs.namespace, run.as_of, pd.Timedelta(s.apply.ttl_min, "min"))
    if job.runs:
        return "", ()
    stop = job.detail if job.runs is False and s.apply.require_release else ""
    return stop, (f"WARNING: nothing gives back while no apply runs: {job.detail}; {job.remedy}",)


def _idle(run: Run) -> str:
    """Why nothing is done at all."""
    if run.settings.cluster.connect == "no":
        return "cluster.connect is no"
    if not run.settings.prescale.apply.enabled:
        return "prescale.apply.enabled is false: what is held goes back when it expires"
    return ""


def _nothing(run: Run, why: str, gone: Sequence[str]) -> Outcome:
    return Outcome(
        verb="apply",
        run_id=run.run_id,
        as_of=run.ref.as_of,
        unit="workloads",
        done=0,
        notes=(f"nothing is applied: {why}", *(f"expired and taken out: {n}" for n in gone)),
    )
