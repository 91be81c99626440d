"""What a run says while it works: to Prefect's log in a flow run, to stderr on the command line."""

from __future__ import annotations

import logging
import sys

__all__ = ["say"]

_log = logging.getLogger("foretide")
"""The command line gives it a handler."""


def say(line: str) -> None:
    """One line for whoever watches; the outcome repeats what matters of it."""
    # importing Prefect takes a second: who never did is in no flow run
    if "prefect" in sys.modules:
        from prefect.context import FlowRunContext, TaskRunContext
        from prefect.logging import get_run_logger

        if FlowRunContext.get() or TaskRunContext.get():
            get_run_logger().info("%s", line)
            return
    _log.info("%s", line)
