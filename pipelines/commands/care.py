"""The verbs that look after a running Foretide: is all in place, which models are live."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.complete import complete_workload
from pipelines.commands.options import options, prepared
from pipelines.commands.progress import progress
from pipelines.commands.screen import Column, emit, lines, table

if TYPE_CHECKING:
    from pipelines.run import Run
    from pipelines.versions import Moved

__all__ = ["CARE"]

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_FOUND = ("found", "to do")
_family = click.argument("family", type=click.Choice(["forecaster", "detector"]))


@click.command()
@options(inputs=False)
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, **parameters: Any) -> None:
    """Check that all is in place, and say what is missing.

    \b
    foretide doctor
    foretide doctor --config config/foretide.yaml --json
    """
    from pipelines.clock import now
    from pipelines.doctor import examine

    with progress("doctor", quiet=as_json):
        checks = list(examine(**prepared(parameters), now=now(), environ=os.environ))
    if as_json:
        emit([asdict(c) for c in checks])
    elif sys.stdout.isatty():
        columns = [Column(""), Column("check"), *(Column(h, wraps=True) for h in _FOUND)]
        table(columns, [(c.status, c.name, c.detail, c.remedy) for c in checks], _COLOURS)
    else:
        found = ((c, f" → {c.remedy}" if c.remedy else "") for c in checks)
        lines([f"{c.status:<4}  {c.name}: {c.detail}{remedy}" for c, remedy in found])
    if any(c.status == "fail" for c in checks):
        ctx.exit(1)


@click.group()
def models() -> None:
    """List, show, promote and roll back what was learned.

    \b
    foretide models list
    foretide models rollback
    """


@models.command("list")
@options(inputs=False)
def list_models(as_json: bool, **parameters: Any) -> None:
    """Every version of every family; * marks the one that is live, + the challenger.

    \b
    foretide models list
    """
    from pipelines.versions import listing

    with progress("models", quiet=as_json):
        rows = listing(_open(**parameters).tracking())
    if as_json:
        emit(rows)
        return
    columns = ("family", "version", "as_of", "series", "wape", "code_revision", "held_back")
    told = [(_mark(r), *(_cell(r[c]) for c in columns)) for r in rows]
    table([Column(name) for name in ("", *columns)], told)


@models.command()
@click.argument("workload", shell_complete=complete_workload)
@options(inputs=False)
def show(workload: str, as_json: bool, **parameters: Any) -> None:
    """Which model is live for each metric of WORKLOAD, and why.

    \b
    foretide models show prod/shop/Deployment/checkout
    """
    from pipelines.explaining import explain

    with progress("models", quiet=as_json):
        told = explain(_open(**parameters), workload)
    if as_json:
        emit(told)
        return
    lines([f"{workload}: {told['forecaster']}, {told['detector']}"])
    columns = ("metric", "model", "confidence", "wape", "bar_wape", "verdict", "reason", "band")
    rows = [m | {"verdict": (m["verdict"] or {}).get("verdict")} for m in told["metrics"]]
    headings = [Column(c, wraps=c in ("metric", "reason")) for c in columns]
    table(headings, [tuple(_cell(m[c]) for c in columns) for m in rows])
    lines([f"{m['metric']}: {line}" for m in told["metrics"] for line in _details(m)])
    lines([f"isolation forest: {told['forest'] or 'none'}"])


@models.command()
@_family
@click.argument("version")
@options(inputs=False)
def promote(family: str, version: str, as_json: bool, **parameters: Any) -> None:
    """Make VERSION of FAMILY live, and what was learned with it, if both load and score.

    \b
    foretide models promote forecaster 3
    """
    from pipelines.versions import promote as move

    run = _open(**parameters)
    _moved(move(run.tracking(), run.settings, family, version), as_json)


@models.command()
@options(inputs=False)
def rollback(as_json: bool, **parameters: Any) -> None:
    """Make live again what was live before, forecaster and detector together.

    \b
    foretide models rollback
    """
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
        emit(asdict(moved))
        return
    live = [
        f"{m.family}: {m.champion} is live, before it {m.before or 'none'}" for m in moved.moved
    ]
    lines([*live, *(f"  {note}" for note in moved.notes)])


def _mark(row: Mapping[str, Any]) -> str:
    if row["champion"]:
        return "*"
    return "+" if row["challenger"] else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


CARE = (doctor, models)
