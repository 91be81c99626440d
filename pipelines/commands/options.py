"""What all verbs share: their options, how a flow is called, how an outcome is shown."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.commands.progress import progress
from pipelines.commands.screen import emit, lines

__all__ = ["Command", "call", "config_path", "options", "prepared", "show"]

_DEFAULT_CONFIG = Path("config/foretide.yaml")
_FILE_OUT = "foretide-out"
_SHOWN = {"prescale": "plan"}
"""Flow → its verb, where they differ."""
Command = Callable[..., None]


def options(*, inputs: bool = True) -> Callable[[Command], Command]:
    """The options that every verb has."""
    options = [
        click.option(
            "--config", type=click.Path(), help="YAML file; FORETIDE_… variables override it."
        ),
        click.option(
            "--out",
            type=click.Path(file_okay=False),
            help=f"Folder of the tables: by default store.path, or {_FILE_OUT} with --input.",
        ),
        click.option(
            "--as-of",
            help="The run's clock, e.g. 2026-06-01T00:00Z; nothing after it is seen. "
            "By default now, or where the input files end.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
        click.option("--debug", is_flag=True, help="Show a traceback when something breaks."),
    ]
    if inputs:
        options.insert(
            1,
            click.option(
                "--input",
                "inputs",
                multiple=True,
                type=click.Path(),
                help="Samples file or folder, instead of the store; may be repeated.",
            ),
        )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def quiet(*args: Any, **kwargs: Any) -> None:
            kwargs.pop("debug", None)
            command(*args, **kwargs)

        wrapped: Command = quiet
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def call(flow: Any, as_json: bool, **parameters: Any) -> dict[str, Any]:
    """Run one flow: watched by Prefect when a server is configured, plainly otherwise."""
    watched = bool(os.environ.get("PREFECT_API_URL"))
    name = str(flow.name)
    with progress(_SHOWN.get(name, name), quiet=as_json):
        result: dict[str, Any] = (flow if watched else flow.fn)(**prepared(parameters))
    show(result, as_json)
    return result


def prepared(parameters: dict[str, Any]) -> dict[str, Any]:
    """A command's parameters as flows take them: defaults that depend on the folder filled in."""
    known = dict(parameters)
    known["config"] = config_path(known.get("config"))
    if "inputs" in known:
        known["inputs"] = list(known["inputs"]) or None
        if known["inputs"] and not known.get("out"):
            known["out"] = _FILE_OUT
    return known


def config_path(path: str | None) -> str | None:
    """The given file, else ``config/foretide.yaml`` where that is one, else nothing."""
    if path is None and _DEFAULT_CONFIG.is_file():
        return str(_DEFAULT_CONFIG)
    return path


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print an outcome for a person, or as one line of JSON."""
    if as_json:
        emit(result)
        return
    from pipelines.outcome import Outcome

    outcome = Outcome(**result)
    places = (f"  {name}: {place}" for name, place in outcome.outputs.items())
    lines([outcome.line(), *outcome.notes, *places])
