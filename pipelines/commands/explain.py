"""``--explain WORKLOAD``: why this score, this forecast, this floor; nothing is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from pipelines.commands.complete import complete_workload
from pipelines.commands.options import Command, prepared
from pipelines.commands.progress import progress
from pipelines.commands.screen import emit

if TYPE_CHECKING:
    from pipelines.answers.explained_types import Explained

__all__ = ["explains"]

Part = Literal["score", "forecast", "floor"]


def explains(part: Part) -> Callable[[Command], Command]:
    """Give a verb ``--explain``, ``--metric`` and ``--at``; with the first it only explains."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def either(
            *, explain: str | None, metric: str | None, at: str | None, **parameters: Any
        ) -> None:
            if explain is not None:
                _explain(part, explain, metric, at, parameters)
            elif metric or at:
                raise click.UsageError("--metric and --at go with --explain")
            else:
                command(**parameters)

        wrapped: Command = either
        for option in (
            click.option("--at", metavar="TIME", help="With --explain: as it was told then."),
            click.option("--metric", metavar="NAME", help="With --explain: only this one."),
            click.option(
                "--explain",
                metavar="WORKLOAD",
                shell_complete=complete_workload,
                help=f"Run nothing, and say why the {part} of WORKLOAD is what it is.",
            ),
        ):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _explain(
    part: Part, workload: str, metric: str | None, at: str | None, parameters: Mapping[str, Any]
) -> None:
    as_json = bool(parameters["as_json"])
    with progress("explain", quiet=as_json):
        found = _found(workload, metric, at, parameters)
    if as_json:
        emit(found.model_dump(mode="json"))
        return
    from pipelines.commands.explain_text import show_explained

    show_explained(found, part)


def _found(
    workload: str, metric: str | None, at: str | None, parameters: Mapping[str, Any]
) -> Explained:
    from pipelines.answers.explained import explained
    from pipelines.clock import now
    from pipelines.moments import parse_time
    from pipelines.run import RunRef

    given = {k: parameters.get(k) for k in ("config", "out", "as_of")}
    known = prepared({**given, "inputs": parameters.get("inputs") or ()})
    run = RunRef.resolve(**known, now=now()).open()
    return explained(run, workload, metric=metric, at=parse_time(at, "--at") if at else None)
