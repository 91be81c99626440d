"""The verbs for those who build on the command line: schemas of its JSON, completion of a shell."""

from __future__ import annotations

import json

import click

from pipelines.commands.screen import emit

__all__ = ["SHELL"]

_VARIABLE = "_FORETIDE_COMPLETE"


@click.command("schema")
@click.argument("verb", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="On one line.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when it breaks.")
def schema_verb(verb: tuple[str, ...], as_json: bool) -> None:
    """Print the JSON Schema of what VERB prints with --json; of every verb without VERB.

    \b
    foretide schema forecast
    foretide schema models list
    foretide schema --json
    """
    from pipelines.commands.outputs import schema, schemas

    found = schema(" ".join(verb)) if verb else schemas()
    if as_json:
        emit(found)
    else:
        click.echo(json.dumps(found, indent=1))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="Print the script inside of JSON.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when it breaks.")
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print what makes SHELL complete verbs, options and the names of workloads.

    bash and zsh: put the line `eval "$(foretide completion SHELL)"` into ~/.bashrc or ~/.zshrc.
    fish: write the output to ~/.config/fish/completions/foretide.fish.

    \b
    foretide completion bash
    foretide completion fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    found = made(ctx.find_root().command, {}, "foretide", _VARIABLE)
    script = (found.source_template % found.source_vars()).strip()
    if as_json:
        emit({"shell": shell, "script": script})
    else:
        click.echo(script)


SHELL = (schema_verb, completion)
"""``foretide schema`` and ``foretide completion``."""
