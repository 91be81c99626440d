"""The verbs beside the way: the demo, and what helps to judge and to mend."""

from __future__ import annotations

import click

from pipelines.commands.screen import emit

__all__ = ["TOOLS"]


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="foretide-demo",
    show_default=True,
    help="Folder of the tables.",
)
@click.option(
    "--seed", type=int, default=7, show_default=True, help="Which of all possible clusters."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when it breaks.")
def demo(as_json: bool, out: str, seed: int) -> None:
    """Run everything on a simulated cluster; no server, no network.

    \b
    foretide demo
    foretide demo --out another-demo --seed 8
    """
    from rich.console import Console

    from pipelines.demo import run_demo

    result = run_demo(out, Console(stderr=as_json), seed=seed)
    if as_json:
        emit(result)


TOOLS = (demo,)
