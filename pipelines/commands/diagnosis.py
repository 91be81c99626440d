"""The verb for the moment after: what explains an incident."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

__all__ = ["DIAGNOSIS"]

_PIPE_WIDTH = 200


@click.command()
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    type=click.Path(),
    help="Samples file or folder: of the normal time first, then of the incident; or one of both.",
)
@click.option("--at", required=True, help="The onset, e.g. 2026-06-01T09:40Z.")
@click.option("--target", help="Workload, or its name, where trouble was seen.")
@click.option("--graph", type=click.Path(), help="CSV file of calls: caller,callee or a matrix.")
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Causes, at most."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    help="Folder for causes.json and causes.html, the picture that shows why.",
)
@click.option(
    "--config",
    type=click.Path(),
    expose_value=False,
    help="Taken as by every verb; diagnose needs nothing of it.",
)
@click.option("--as-of", help="Nothing from then on is seen.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when it breaks.")
def diagnose(as_json: bool, inputs: tuple[str, ...], at: str, **parameters: Any) -> None:
    """Rank what explains an incident, with evidence; needs no store and no model.

    \b
    foretide diagnose --input normal.parquet --input incident.parquet --at 2026-06-01T09:40Z
    foretide diagnose --input all.parquet --at 2026-06-01T09:40Z --target checkout --graph calls.csv
    """
    from pipelines.diagnose import diagnose as flow

    result = flow(list(inputs), at, **parameters)
    if as_json:
        click.echo(json.dumps(result))
        return
    if result["causes"]:
        _table(result["causes"])
    else:
        click.echo("diagnose: no metric changed more than it usually does")
    skipped = "".join(f", {n} {why}" for why, n in result["skipped"].items())
    click.echo(f"{result['done']} series held against their past{skipped}")
    for note in result["notes"]:
        click.echo(_plain(note))
    for name, place in result["outputs"].items():
        click.echo(f"  {name}: {place}")


def _table(causes: list[dict[str, Any]]) -> None:
    """Cells are data, never markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("cause", "confidence", "evidence"):
        table.add_column(heading, justify="right" if heading == "confidence" else "left")
    for cause in causes:
        shown = (cause["name"], f"{100 * cause['confidence']:.0f} %", cause["evidence"])
        table.add_row(*(Text(_plain(cell)) for cell in shown))
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, width=width).print(table)


def _plain(text: str) -> str:
    """What a label said cannot steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


DIAGNOSIS = (diagnose,)
