"""The verbs that move floors in a cluster: apply a plan, give back, show what is held."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.options import call, config_path, options
from pipelines.commands.progress import progress
from pipelines.commands.screen import emit, lines
from pipelines.plain import plain

if TYPE_CHECKING:
    from pipelines.release import Released
    from pipelines.rungs.params import RungParams
    from pipelines.rungs.written import Written
    from pipelines.status import Status

__all__ = ["CAPACITY"]

_EVERY_S = 300


def _connection(command: Callable[..., None]) -> Callable[..., None]:
    """The options of verbs that work without a configuration, with the cluster alone."""
    for option in (
        click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback."),
        click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
        click.option("--cluster", help="What the samples call the cluster."),
        click.option("--namespace", help="Foretide's own, where room is installed."),
        click.option("--in-cluster", is_flag=True, help="Connect as the pod's service account."),
        click.option("--context", help="Of the kubeconfig."),
        click.option("--kubeconfig", type=click.Path(), help="Connect as kubectl does."),
        click.option("--config", type=click.Path(), help="YAML file; used where none of these is."),
    ):
        command = option(command)
    return command


@click.command()
@options(inputs=False)
@click.option("--approve", metavar="PLAN_ID", help="Say yes to what waits for a person.")
@click.option("--days", type=float, metavar="N", help="With --approve: for so many days.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--watch", is_flag=True, help=f"Again every {_EVERY_S} s, until stopped.")
@click.option("--resume", is_flag=True, help="Take away what `release --all --stop` set, first.")
def apply(as_json: bool, watch: bool, resume: bool, **parameters: Any) -> None:
    """Bring the cluster to the newest plan, within the guardrails.

    Only workloads in mode `act`, or approved ones in mode `recommend`, are touched; whatever is
    raised expires by itself.

    \b
    foretide apply --dry-run
    foretide apply --approve 1f2e3d4c5b6a
    """
    if watch and (parameters["as_of"] or parameters["approve"]):
        raise click.UsageError("--watch goes with the clock: give no --as-of and no --approve")
    if parameters["days"] is not None and not parameters["approve"]:
        raise click.UsageError("--days goes with --approve")
    if resume and parameters["dry_run"]:
        raise click.UsageError("--resume writes: give no --dry-run")
    if resume:
        _resume(parameters["config"])
    from pipelines.apply import apply as flow
    from pipelines.errors import ClusterError

    while True:
        try:
            call(flow, as_json, **parameters)
        except ClusterError as error:
            if not watch:
                raise
            click.echo(f"foretide: {plain(str(error))}", err=True)  # it may be back next time
        if not watch:
            return
        time.sleep(_EVERY_S)


def _resume(config: str | None) -> None:
    from pipelines.clusters import reach
    from pipelines.errors import ObjectRefused
    from pipelines.switch import set_switch

    there = reach(config_path(config))
    with there.open() as kube:
        done = set_switch(kube, there.rungs.namespace, None)
    if done.status != "done":
        raise ObjectRefused(f"--resume: {done.what}: {done.status}: {done.detail}")
    click.echo(plain(f"{done.what}: {done.detail} {done.before} -> {done.after}"), err=True)


@click.command()
@_connection
@click.option("--expired", is_flag=True, help="What has expired: the default.")
@click.option("--all", "everything", is_flag=True, help="Everything that is held.")
@click.option(
    "--workload", metavar="GLOB", help="What is held of these, e.g. 'prod/shop/*'; also unexpired."
)
@click.option("--stop", is_flag=True, help="With --all: and apply raises nothing until --resume.")
@click.pass_context
def release(
    ctx: click.Context,
    config: str | None,
    expired: bool,
    everything: bool,
    workload: str | None,
    stop: bool,
    as_json: bool,
    **connection: Any,
) -> None:
    """Give floors, buffers and NodePools back to their users. Needs only the cluster.

    Ends with 1 and the list where something could not be given back. An apply that runs on a
    schedule raises again what its plan wants: --stop sets the cluster's switch before.

    \b
    foretide release --expired --in-cluster
    foretide release --all --stop
    foretide release --all --kubeconfig ~/.kube/config
    """
    if expired + everything + (workload is not None) > 1:
        raise click.UsageError("give one of --expired, --all and --workload")
    if stop and not everything:
        raise click.UsageError("--stop goes with --all")
    from pipelines.clock import present
    from pipelines.clusters import reach
    from pipelines.release import release as give_back
    from pipelines.switch import set_switch

    there = reach(config_path(config), **connection)
    own = there.rungs.namespace
    with progress("release", quiet=as_json), there.open() as kube:
        # first: an apply that comes in between must not raise again
        switch = (set_switch(kube, own, "off"),) if stop else ()
        what = "*" if everything else workload
        found = give_back(kube, there.name, present(), match=what, namespace=own)
    found = replace(found, written=(*switch, *_patches(there.rungs), *found.written))
    _show(found, as_json)
    if found.failed or any(w.status != "done" for w in switch):
        ctx.exit(1)


def _patches(rungs: RungParams) -> list[Written]:
    """What has expired of a GitOps folder, where the configuration names one."""
    if rungs.floor != "gitops":
        return []
    from pipelines.applying_files import drop_expired_patches
    from pipelines.clock import present
    from pipelines.rungs.written import Written

    names = drop_expired_patches(rungs.gitops_folder, present())
    return [Written("done", detail="its time is over", what=f"patch {name}") for name in names]


@click.command()
@_connection
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the tables.")
def status(config: str | None, out: str | None, as_json: bool, **connection: Any) -> None:
    """Show what is held, by which plan, why and until when; what waits; what was taken back.

    \b
    foretide status
    foretide status --kubeconfig ~/.kube/config
    """
    from pipelines.clock import present
    from pipelines.clusters import reach
    from pipelines.status import status as look

    there = reach(config_path(config), **connection)
    alone = bool(connection["kubeconfig"] or connection["context"] or connection["in_cluster"])
    store = None if alone and not (config or out) else (config_path(config), out)
    with progress("status", quiet=as_json), there.open() as kube:
        found = look(kube, there.name, present(), store=store, params=there.rungs)
    _show(found, as_json)


def _show(found: Status | Released, as_json: bool) -> None:
    if as_json:
        emit(found.to_dict())
    else:
        lines(found.lines())


CAPACITY = (apply, release, status)
