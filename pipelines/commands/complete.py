"""What a shell completes: the workloads that the store knows."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_workload"]


def complete_workload(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Workloads that begin with, or else contain, what was typed; nothing where none is known."""
    del param
    names = _names(ctx)
    found = [n for n in names if n.startswith(incomplete)] or [n for n in names if incomplete in n]
    return [CompletionItem(n) for n in found]


def _names(ctx: click.Context) -> list[str]:
    from features.frames import FrameError
    from pipelines.answers.explained_rows import known_workloads
    from pipelines.clock import now
    from pipelines.commands.options import config_path
    from pipelines.errors import ForetideError
    from pipelines.run import RunRef

    given = {k: ctx.params.get(k) for k in ("out", "as_of")}
    config = config_path(ctx.params.get("config"))
    try:
        run = RunRef.resolve(config=config, inputs=None, **given, now=now()).open()
        return [n for n in known_workloads(run) if n.isprintable()]
    except (ForetideError, FrameError):  # a shell that is asked to complete says nothing of it
        return []
