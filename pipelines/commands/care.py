"""The verbs that look after a running Foretide: is all in place, which models are live."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.options import options, prepared

if TYPE_CHECKING:
    from pipelines.doctor import Check
    from pipelines.run import Run
    from pipelines.versions import Moved

__all__ = ["CARE"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_family = click.argument("family", type=click.Choice(["forecaster", "detector"]))


@click.command()
@options(inputs=False)
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, **parameters: Any) -> None:
    """Check that all is in place, and say what is missing.

    \b
    foretide doctor --config config/foretide.yaml
    """
    from pipelines.clock import now
    from pipelines.doctor import examine

    checks = list(examine(**prepared(parameters), now=now(), environ=os.environ))
    if as_json:
        click.echo(json.dumps([asdict(c) for c in checks]))
    elif sys.stdout.isatty():
        _table(("", "check", "found", "to do"), [_row(c) for c in checks], colours=_COLOURS)
    else:
        for status, name, detail, remedy in map(_row, checks):
            click.echo(
                _plain(f"{status:<4}  {name}: {detail}" + (f" → {remedy}" if remedy else ""))
            )
    if any(c.status == "fail" for c in checks):
        ctx.exit(1)


@click.group()
def models() -> None:
    """List, show, promote and roll back what was learned."""


@models.command("list")
@options(inputs=False)
def list_models(as_json: bool, **parameters: Any) -> None:
    """Every version of every family; * marks the one that is live, + the challenger."""
    from pipelines.versions import listing

    rows = listing(_open(**parameters).tracking())
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = ("family", "version", "as_of", "series", "wape", "code_revision", "held_back")
    told = [(_mark(r), *(_cell(r[c]) for c in columns)) for r in rows]
    _print(("", *columns), told)


@models.command()
@click.argument("workload")
@options(inputs=False)
def show(workload: str, as_json: bool, **parameters: Any) -> None:
    """Which model is live for each metric of WORKLOAD, and why.

    \b
    foretide models show prod/shop/Deployment/checkout
    """
    from pipelines.explaining import explain

    told = explain(_open(**parameters), workload)
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(_plain(f"{workload}: {told['forecaster']}, {told['detector']}"))
    columns = ("metric", "model", "confidence", "wape", "bar_wape", "verdict", "reason", "band")
    rows = [m | {"verdict": (m["verdict"] or {}).get("verdict")} for m in told["metrics"]]
    _print(columns, [tuple(_cell(m[c]) for c in columns) for m in rows])
    for metric in told["metrics"]:
        for line in _details(metric):
            click.echo(_plain(f"{metric['metric']}: {line}"))
    click.echo(f"isolation forest: {told['forest'] or 'none'}")


@models.command()
@_family
@click.argument("version")
@options(inputs=False)
def promote(family: str, version: str, as_json: bool, **parameters: Any) -> None:
    """Make VERSION of FAMILY live, and what was learned with it, if both load and score."""
    from pipelines.versions import promote as move

    run = _open(**parameters)
    _moved(move(run.tracking(), run.settings, family, version), as_json)


@models.command()
@options(inputs=False)
def rollback(as_json: bool, **parameters: Any) -> None:
    """Make live again what was live before, forecaster and detector together."""
    from pipelines.versions import roll_back

    run = _open(**parameters)
    _moved(roll_back(run.tracking(), run.settings), as_json)


def _details(metric: Mapping[str, Any]) -> list[str]:
    """What of a metric's model does not fit into a table."""
    lines: list[str] = []
    if metric["weights"]:
        shares = (f"{model} {share:.0%}" for model, share in metric["weights"].items())
        lines.append("combines " + ", ".join(shares))
    if metric["solvers"]:
        lines.append(", ".join(f"{m} solved: {told}" for m, told in metric["solvers"].items()))
    if found := metric["verdict"]:
        anew = "" if found["holds"] else "; trained anew since"
        at = found["evaluated_at"].replace("T", " ")[:16]
        lines.append(f"{found['verdict']} at {at} UTC: {found['reason']}{anew}")
    return lines


def _open(**parameters: Any) -> Run:
    from pipelines.clock import now
    from pipelines.run import RunRef

    return RunRef.resolve(**prepared(parameters), inputs=None, now=now()).open()


def _moved(moved: Moved, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(moved)))
        return
    for move in moved.moved:
        click.echo(
            _plain(f"{move.family}: {move.champion} is live, before it {move.before or 'none'}")
        )
    for note in moved.notes:
        click.echo(_plain(f"  {note}"))


def _mark(row: Mapping[str, Any]) -> str:
    if row["champion"]:
        return "*"
    return "+" if row["challenger"] else ""


def _row(check: Check) -> tuple[str, str, str, str]:
    return check.status, check.name, check.detail, check.remedy


def _print(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere a line a row, in columns."""
    if sys.stdout.isatty():
        _table(header, rows)
        return
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(_plain("  ".join(padded).rstrip()))


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], colours: Mapping[str, str] | None = None
) -> None:
    """Cells are data, never markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        styles = [(colours or {}).get(cell, "") for cell in row]
        table.add_row(*(Text(_plain(c), style=s) for c, s in zip(row, styles, strict=True)))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(text: str) -> str:
    """What a server or a label said cannot steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


CARE = (doctor, models)
