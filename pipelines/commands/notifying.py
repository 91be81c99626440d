"""The verb that tells people and other systems."""

from __future__ import annotations

from typing import Any

import click

from pipelines.commands.options import call, config_path, options
from pipelines.commands.screen import emit, lines

__all__ = ["NOTIFYING"]


@click.command()
@options(inputs=False)
@click.option("--dry-run", is_flag=True, help="Only say what would be sent, and to whom.")
@click.option("--test", metavar="CHANNEL", help="Send a test message to one channel, that is all.")
def notify(as_json: bool, test: str | None, **parameters: Any) -> None:
    """Tell the channels of incidents, leaks and what cannot be held, each once.

    \b
    foretide notify --dry-run
    foretide notify --test oncall
    """
    if test is not None:
        from pipelines.clock import present
        from pipelines.notify import send_test

        told = send_test(config_path(parameters["config"]), test, present())
        if as_json:
            emit({"test": told})
        else:
            lines([told])
        return
    from pipelines.notify import notify as flow

    call(flow, as_json, **parameters)


NOTIFYING = (notify,)
