"""docs/cli.md: every verb with its help, its options and what it prints with ``--json``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pipelines.cli import cli
from pipelines.commands.outputs import OUTPUTS, schema

__all__ = ["PAGE", "cli_page", "main"]

PAGE = Path(__file__).parents[1] / "cli.md"
_NOTE = "<!-- Made by `make docs` (docs/make/cli.py): change the commands, not this page. -->"
_HEAD = """
`foretide VERB [OPTIONS]`; `foretide VERB --help` says what is said here. Without `--config` a file
`config/foretide.yaml` in the current folder is taken where there is one; `FORETIDE_…` variables
override it.

## What comes out

stdout has the outcome, stderr what is said on the way. On a terminal tables fit its width, from 40
columns on: text wraps, and a table that cannot be squeezed is told row by row. Piped, a row is a
line and nothing is coloured; `NO_COLOR` and `TERM=dumb` turn colours off as well. What takes more
than two seconds shows a spinner on stderr where both are a terminal, never with `--json`.

`--json` prints one document on one line (`run`: a line a step). `foretide schema VERB` prints its
JSON Schema, draft 2020-12. Every key is always there; a number that is not known is `null`. Names,
labels and reasons may hold text that came from a cluster: treat them as data.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed: the last line on stderr says why; also a `doctor` or `release` with an open issue |
| 2 | bad usage: an unknown verb or option, or options that do not go together |
| 130 | stopped by the keyboard |

`--debug` shows a traceback.

## Why is it so?

`foretide score --explain WORKLOAD`, `forecast --explain` and `plan --explain` run nothing. They
read the tables and say why the newest score, forecast or floor is what it is: the value and what
was expected, who forecast it and what else was tried, from demand to pods, and each gate on the
way. `--at TIME` explains what was told then, `--metric NAME` one metric alone.

## Completion

`eval "$(foretide completion bash)"` in `~/.bashrc` (zsh: `~/.zshrc`) completes verbs and options,
and after `--explain` and `models show` the workloads that the store knows; for fish write `foretide
completion fish` to `~/.config/fish/completions/foretide.fish`.
"""


def cli_page() -> str:
    """The whole page."""
    verbs = [(name, command) for name, command in _verbs(cli, "")]
    rows = [f"| [`{name}`](#{name.replace(' ', '-')}) | {_first(c)} |" for name, c in verbs]
    table = "\n".join(["| verb | does |", "|---|---|", *rows])
    parts = ["# Command line", _NOTE, _HEAD.strip(), f"## Verbs\n\n{table}"]
    return "\n\n".join([*parts, *(_section(name, c) for name, c in verbs)]) + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(cli_page(), encoding="utf-8")


def _verbs(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
    for name in sorted(group.commands):
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from _verbs(command, f"{before}{name} ")
        else:
            yield before + name, command


def _first(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _section(name: str, command: click.Command) -> str:
    paragraphs = [p.strip("\n") for p in (command.help or "").split("\n\n")]
    told = [_example(p) if p.lstrip().startswith("\b") else _prose(p) for p in paragraphs]
    arguments = [p.make_metavar(_context(command)) for p in command.params if _is_argument(p)]
    options = [_option(p) for p in command.params if isinstance(p, click.Option)]
    table = "| option | |\n|---|---|\n" + "\n".join(options)
    usage = " ".join(["foretide", name, *arguments, "[OPTIONS]"])
    return "\n\n".join([f"## {name}", f"`{usage}`", *told, table, *_json(name)])


def _is_argument(param: click.Parameter) -> bool:
    return isinstance(param, click.Argument)


def _context(command: click.Command) -> click.Context:
    return click.Context(command, info_name="foretide")


def _prose(paragraph: str) -> str:
    return " ".join(paragraph.split()).replace("<", "&lt;")


def _example(paragraph: str) -> str:
    lines = [line.strip() for line in paragraph.replace("\b", "").strip().splitlines()]
    return "```sh\n" + "\n".join(lines) + "\n```"


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{n}`" for n in option.opts)
    takes = "" if option.is_flag else f" {option.make_metavar(_context(click.Command('x')))}"
    default = f" Default: {option.default}." if option.show_default else ""
    said = f"{option.help or ''}{default}".replace("|", "\\|")
    return f"| {names}{takes.replace('|', chr(92) + '|')} | {said} |"


def _json(name: str) -> list[str]:
    """What the keys of the document are; the schema itself says the rest."""
    if name not in OUTPUTS:
        return []
    made = schema(name)
    shapes = [_resolved(made, part) for part in made.get("anyOf", [made])]
    said = " or ".join(filter(None, (_shape(made, s) for s in shapes)))
    return [f"With `--json`: {said}." if said else "With `--json`: a JSON Schema."]


def _shape(made: dict[str, Any], part: dict[str, Any]) -> str:
    if part.get("type") == "array":
        return "a list of " + _shape(made, _resolved(made, part["items"]))
    return ", ".join(f"`{key}`" for key in part.get("properties", {}))


def _resolved(made: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    ref = part.get("$ref", "")
    return made["$defs"][ref.rsplit("/", 1)[-1]] if ref else part


if __name__ == "__main__":
    main()
