"""The verbs beside the way: the demo, and what helps to judge and to mend."""

from __future__ import annotations

import json
from typing import Any

import click

from pipelines.commands.options import options

__all__ = ["TOOLS"]


@click.command()
@options(inputs=False)
@click.option(
    "--seed", type=int, default=7, show_default=True, help="Which of all possible clusters."
)
def demo(as_json: bool, out: str | None, seed: int, **_: Any) -> None:
    """Run everything on a simulated cluster; no server, no network.

    \b
    foretide demo --out /tmp/demo
    """
    from rich.console import Console

    from pipelines.demo import run_demo

    result = run_demo(out or "foretide-demo", Console(stderr=as_json), seed=seed)
    if as_json:
        click.echo(json.dumps(result, default=str))


TOOLS = (demo,)
