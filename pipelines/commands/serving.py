"""The verb that answers programs."""

from __future__ import annotations

import click

from pipelines.commands.options import config_path

__all__ = ["SERVING"]


@click.command()
@click.option("--config", type=click.Path(), help="YAML file; FORETIDE_… variables override it.")
@click.option(
    "--out", type=click.Path(file_okay=False), help="Folder of the tables: by default store.path."
)
@click.option(
    "--as-of", help="A clock that stands, e.g. 2026-06-01T00:00Z; by default that of each question."
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="Serve streamable HTTP there, at /mcp; a port alone is of 127.0.0.1. By default stdio.",
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when it breaks.")
def mcp(config: str | None, out: str | None, as_of: str | None, http: str | None) -> None:
    """Serve answers to AI clients over MCP; read-only unless mcp.allow_writes is set.

    HTTP asks for the bearer token of FORETIDE_MCP__TOKEN (or of the file mcp.token_file), and does
    not start without one.

    \b
    foretide mcp --config config/foretide.yaml
    foretide mcp --http 8765
    """
    from pipelines.mcp import Desk, parse_place, serve
    from pipelines.moments import parse_time
    from pipelines.settings import load_settings

    known = config_path(config)
    wanted = load_settings(known).mcp
    clock = None if as_of is None else parse_time(as_of, "--as-of").isoformat()
    place = None if http is None else parse_place(http)
    serve(Desk(known, out, clock, wanted.timeout_s), wanted, place)


SERVING = (mcp,)
