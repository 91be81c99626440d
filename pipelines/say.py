"""What a run says while it works: to Prefect's log in a flow run, to stderr on the command line."""

from __future__ import annotations

import logging

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger

__all__ = ["say"]

_log = logging.getLogger("foretide")
"""The command line gives it a handler."""


def say(line: str) -> None:
    """One line for whoever watches; the outcome repeats what matters of it."""
    watched = FlowRunContext.get() or TaskRunContext.get()
    (get_run_logger() if watched else _log).info("%s", line)
