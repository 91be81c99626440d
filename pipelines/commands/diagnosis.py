"""The verb for the moment after: what explains an incident."""

from __future__ import annotations

from typing import Any

import click

from pipelines.commands.progress import progress
from pipelines.commands.screen import Column, emit, lines, table

__all__ = ["DIAGNOSIS"]


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

    with progress("diagnose", quiet=as_json):
        result = flow(list(inputs), at, **parameters)
    if as_json:
        emit(result)
        return
    if result["causes"]:
        _table(result["causes"])
    else:
        lines(["diagnose: no metric changed more than it usually does"])
    skipped = "".join(f", {n} {why}" for why, n in result["skipped"].items())
    counted = f"{result['done']} series held against their past{skipped}"
    places = (f"  {name}: {place}" for name, place in result["outputs"].items())
    lines([counted, *result["notes"], *places])


def _table(causes: list[dict[str, Any]]) -> None:
    columns = [
        Column("cause", wraps=True),
        Column("confidence", is_right=True),
        Column("evidence", wraps=True),
    ]
    table(columns, [(c["name"], f"{100 * c['confidence']:.0f} %", c["evidence"]) for c in causes])


DIAGNOSIS = (diagnose,)
