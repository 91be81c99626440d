"""Logs as one JSON object a line on stderr, each with the run that it is of."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["JsonLines", "Whose", "as_json", "whose"]

_OURS = ("foretide", "pipelines", "models", "features")


@dataclass(frozen=True, slots=True)
class Whose:
    """The run that a line is of."""

    verb: str = ""
    run_id: str = ""
    trace_id: str = ""


_now: list[Whose] = []
"""The runs of this process, the newest last; threads of a run see it too."""


@contextmanager
def whose(run: Whose) -> Generator[None]:
    """Lines that are logged meanwhile are of this run."""
    _now.append(run)
    try:
        yield
    finally:
        _now.remove(run)


class JsonLines(logging.Formatter):
    """``{"ts", "level", "logger", "verb", "run_id", "message", "trace_id"}``; where a line has an
    exception, its traceback as ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        run = _now[-1] if _now else Whose()
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "verb": run.verb,
            "run_id": run.run_id,
            "message": record.getMessage(),
            "trace_id": run.trace_id,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def as_json() -> None:
    """From now on our lines, and those of Prefect's console, are JSON; saying it again is nothing.

    What has no handler yet gets one on stderr, of warnings and what is worse; ``foretide``, which
    says how a run goes, from INFO on.
    """
    formatter = JsonLines()
    for handler in _handlers():
        handler.setFormatter(formatter)
    for name in _OURS:
        logger = logging.getLogger(name)
        if not logger.hasHandlers():
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(formatter)
            logger.addHandler(handler)
            logger.setLevel(logging.INFO if name == "foretide" else logging.WARNING)


def _handlers() -> list[logging.Handler]:
    """Handlers that show lines on a console: of the root, of ours and of Prefect's loggers."""
    named = [logging.getLogger()]
    named += [
        logging.getLogger(name)
        for name in logging.root.manager.loggerDict
        if name.split(".")[0] in {*_OURS, "prefect"}
    ]
    found = {h for logger in named for h in logger.handlers}
    return [h for h in found if _shows(h)]


def _shows(handler: logging.Handler) -> bool:
    console = {"StreamHandler", "PrefectConsoleHandler", "_Teller"}
    return type(handler).__name__ in console
