"""What a flow run shows in Prefect's UI: a summary, tables, links to what it wrote, and how far it
is.

Outside a flow run nothing is shown. Names from a cluster are data: in the summary they are indented
text, in tables cells; links are made of the configured store's places alone, percent-encoded.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from pipelines.outcome import Outcome
from pipelines.plain import plain

__all__ = ["Count", "Progress", "counting", "key_of", "link_of", "progress", "publish"]

_MOST_ROWS = 200
_UPDATE_EVERY_S = 1.0


@dataclass(slots=True)
class Count:
    """Shards of a flow run: asked for, and those of them that are over."""

    asked: int = 0
    ended: int = 0
    failed: int = 0


_COUNT: ContextVar[Count | None] = ContextVar("shards_of_this_run", default=None)


@contextmanager
def counting() -> Generator[Count]:
    """Count the shards that end meanwhile."""
    count = Count()
    token = _COUNT.set(count)
    try:
        yield count
    finally:
        _COUNT.reset(token)


@dataclass(slots=True)
class Progress:
    """How many of a task's shards have ended; ``artifact`` shows it where there is a flow run."""

    name: str
    count: Count
    artifact: UUID | None = None
    shown_at_s: float = 0.0

    def ended(self, error: BaseException | None = None) -> None:
        """One more shard is over; ``error`` is why it failed."""
        for count in filter(None, (self.count, _COUNT.get())):
            count.ended += 1
            count.failed += error is not None
        is_over = self.count.ended >= self.count.asked
        if self.artifact and (is_over or time.monotonic() - self.shown_at_s >= _UPDATE_EVERY_S):
            self.shown_at_s = time.monotonic()
            share = 100.0 * self.count.ended / max(self.count.asked, 1)
            update_progress_artifact(self.artifact, min(share, 100.0), self.line())

    def line(self) -> str:
        """``score-shard: 3 of 40 shards, 1 failed``."""
        failed = f", {self.count.failed} failed" if self.count.failed else ""
        return f"{self.name}: {self.count.ended} of {self.count.asked} shards{failed}"


def progress(task: str, shards: int) -> Progress:
    """Begin to show how far a task's shards are."""
    made = Progress(key_of(task), Count(asked=shards))
    count = _COUNT.get()
    if count is not None:
        count.asked += shards
    if FlowRunContext.get():
        key = key_of(f"{task}-progress")
        made.artifact = cast("UUID", create_progress_artifact(0.0, key, made.line()))
        made.shown_at_s = time.monotonic()
    return made


def publish(result: dict[str, Any]) -> dict[str, Any]:
    """Show an outcome in the flow run as well, where there is one; gives it back as it came."""
    if FlowRunContext.get():
        outcome = Outcome(**result)
        _summary(outcome)
        _table(outcome, "skipped", "reason", "count", outcome.skipped)
        _table(outcome, "figures", "figure", "value", outcome.figures)
        for name, place in outcome.outputs.items():
            create_link_artifact(
                link_of(place),
                link_text=_unmarked(f"{outcome.verb}: {name}"),
                key=key_of(f"{outcome.verb}-{name}"),
                description=place,
            )
    return result


def key_of(text: str) -> str:
    """An artifact's key: lowercase letters, digits and dashes are all that Prefect takes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "foretide"


def link_of(place: str) -> str:
    """A place in the store as a URI."""
    if "://" in place:
        scheme, _, rest = place.partition("://")
        return f"{scheme}://{quote(rest)}"
    return Path(place).absolute().as_uri()


def _summary(outcome: Outcome) -> None:
    figures = (f"  {name}: {value:g}" for name, value in outcome.figures.items())
    outputs = (f"  {name}: {place}" for name, place in outcome.outputs.items())
    text = "\n".join((outcome.line(), *outcome.notes, *figures, *outputs))
    # indented, so that names from the cluster are shown as they are and never as markup
    create_markdown_artifact(
        textwrap.indent(text, "    ", lambda _: True),
        key=key_of(outcome.verb),
        description=outcome.line(),
    )


def _table(outcome: Outcome, name: str, first: str, second: str, rows: Mapping[str, float]) -> None:
    """Two columns of plain text and numbers: Prefect refuses numpy's and pandas' own."""
    if not rows:
        return
    shown = list(rows.items())[:_MOST_ROWS]
    left = len(rows) - len(shown)
    table = [{first: plain(str(k)), second: _number(v)} for k, v in shown]
    if left:
        table.append({first: f"and {left} more", second: ""})
    create_table_artifact(
        table, key=key_of(f"{outcome.verb}-{name}"), description=f"{outcome.verb}: {name}"
    )


def _number(value: float) -> int | float | str:
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if abs(number) < float("inf") else f"{number:g}"


def _unmarked(text: str) -> str:
    return re.sub(r"[\[\]()<>`*_]", " ", text)
