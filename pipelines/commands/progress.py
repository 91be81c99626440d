"""A sign of life on stderr for what takes longer than two seconds; nothing where nobody looks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["progress"]

_AFTER_S = 2.0


@contextmanager
def progress(what: str, *, quiet: bool = False, after_s: float = _AFTER_S) -> Generator[None]:
    """A spinner and the time that ``what`` has taken, from ``after_s`` on, gone when it ends.

    Nothing with ``quiet``, or where stdout or stderr is no terminal, or a dumb one. Lines that are
    said meanwhile stand above it.
    """
    watched = sys.stderr.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if quiet or not watched:
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )
    shown.add_task(what)
    later = threading.Timer(after_s, shown.start)
    later.daemon = True
    later.start()
    try:
        yield
    finally:
        later.cancel()
        later.join()
        shown.stop()
