"""apply: the newest plan, within the guardrails, on a cluster.

Order matters. What a run will do is in the ledger, and the objects as they were are in a snapshot,
before the first write; what became of it is in the ledger after. Killed at any moment, what is
raised carries its own value and its end in annotations, so that ``release`` gives it back; the next
run says what became of the rest.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from pipelines.approvals import approve as say_yes
from pipelines.clock import present
from pipelines.clusters import Reach
from pipelines.errors import ClusterUnreachable, ConfigError
from pipelines.outcome import Outcome
from pipelines.round import Round, done_by
from pipelines.round_text import outcome_of
from pipelines.run import Run, RunRef
from pipelines.tasks import call, publish

__all__ = ["apply", "one_round"]

_NOW = pd.Timedelta(1, "h")
"""A clock that is further from the present writes nothing: of ends in the future nobody could say
when they are."""


@flow(name="apply")
def apply(
    config: str | None = None,
    out: str | None = None,
    as_of: str | None = None,
    approve: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Raise what the newest plan wants raised now, renew what stands, give back what is over.

    ``approve`` is the id of a plan that a person says yes to; ``dry_run`` only says what would be
    done, and writes nothing anywhere.

    Raises
    ------
    ClusterError
        The cluster cannot be read; or it went away in mid-run, and the ledger says how far it got.
    ConfigError
        There is no such plan to approve; or ``as_of`` is not about now.
    """
    # the present, not the time that a late run was meant for: it acts on what is there now
    ref = RunRef.resolve(config, None, out, as_of, present())
    return publish(call(apply_plan, ref, approve, dry_run))


@task(cache_policy=NO_CACHE)
def apply_plan(ref: RunRef, approve: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """One round."""
    run = ref.open()
    away = abs(present() - run.as_of)
    if not dry_run and not _idle(run) and away > _NOW:
        raise ConfigError(
            f"apply acts at the present, and {run.as_of:%Y-%m-%d %H:%M} UTC is {away} away: "
            "what it wrote would expire then; --dry-run says what it would have done"
        )
    return one_round(run, approve, dry_run)


def one_round(run: Run, approve: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """A round at the run's clock, whatever the time is."""
    if approve is not None and not dry_run:
        say_yes(run, approve)
    why = _idle(run)
    if why:
        return _nothing(run, why).to_dict()
    s = run.settings.cluster
    name = s.name or run.settings.source.cluster
    there = Reach(s.connect, name, s.kubeconfig, s.context, s.timeout_s)
    with there.open() as kube:
        seen = Round.read(run, kube, name, approve or "")
        rows = () if dry_run else done_by(seen)
    gone = [row for row in rows if row.status == "unreachable"]
    if gone:
        raise ClusterUnreachable(
            f"apply: the API server went away at {gone[0].target}: {gone[0].detail}; what was "
            "written before it is in the ledger, the next run goes on"
        )
    return outcome_of(seen, rows, dry_run=dry_run).to_dict()


def _idle(run: Run) -> str:
    """Why nothing is done at all."""
    if run.settings.cluster.connect == "no":
        return "cluster.connect is no"
    if not run.settings.prescale.apply.enabled:
        return "prescale.apply.enabled is false: what is held goes back when it expires"
    return ""


def _nothing(run: Run, why: str) -> Outcome:
    return Outcome(
        verb="apply",
        run_id=run.run_id,
        as_of=run.ref.as_of,
        unit="workloads",
        done=0,
        notes=(f"nothing is applied: {why}",),
    )
