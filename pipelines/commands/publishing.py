"""The verb that sends what holds now to others."""

from __future__ import annotations

from typing import Any

import click

from pipelines.commands.options import call, options

__all__ = ["PUBLISHING"]


@click.command()
@options(inputs=False)
@click.option("--dry-run", is_flag=True, help="Only say what would be sent, and what of it is new.")
@click.option(
    "--back-filled", is_flag=True, help="Send although the run's clock is far from the present."
)
def publish(as_json: bool, **parameters: Any) -> None:
    """Send scores, forecasts, required replicas and incidents as metrics, and write them as files.

    \b
    foretide publish --dry-run
    foretide publish
    """
    from pipelines.publish import publish as flow

    call(flow, as_json, **parameters)


PUBLISHING = (publish,)
