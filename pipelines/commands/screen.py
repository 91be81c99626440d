"""What verbs print: lines and tables that fit the terminal, or one JSON document.

Piped, a row is a line, whatever its length, without colours. On a terminal nothing is wider than
it: text wraps at words under a hanging indent, and a table that cannot be squeezed is told row by
row. rich leaves colours out itself where ``NO_COLOR`` is set or the terminal is a dumb one. Cells
are data: never markup, and nothing in them steers the terminal.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from pipelines.plain import plain

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Column", "emit", "lines", "number", "share", "table", "width"]

_GAP = 2
_SQUEEZED = 18
"""Narrower no column of text is made."""
_LEAST = 20
"""Narrower nothing is readable."""
_INDENT = "  "
_APART = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and how its cells are set; those of one that ``wraps`` may take several lines."""

    heading: str
    is_right: bool = False
    wraps: bool = False


def width() -> int | None:
    """Columns of the terminal; nothing where stdout is none."""
    if not sys.stdout.isatty():
        return None
    return max(shutil.get_terminal_size().columns, _LEAST)


def emit(value: Any) -> None:
    """One JSON document on a line; a number that JSON does not know is null."""
    click.echo(json.dumps(_strict(value), default=str, allow_nan=False))


def lines(texts: Iterable[str]) -> None:
    """Lines for a person; what is set in columns is a table where the terminal is too narrow."""
    told, wide = [plain(t) for text in texts for t in text.splitlines() or [""]], width()
    if wide is None or all(_cells(t) <= wide for t in told):
        for text in told:
            click.echo(text)
        return
    for heading, block in _blocks(told):
        if heading:
            _aligned(block, wide)
        else:
            for text in block:
                _wrapped(text, wide)


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    colours: Mapping[str, str] | None = None,
) -> None:
    """A row a line where there is room for that, else a row after the other, a line a cell.

    ``colours``: text of a cell → how it is coloured.
    """
    clean = [[plain(cell) for cell in row] for row in rows]
    natural = [max(_cells(c) for c in cells) for cells in zip(_headings(columns), *clean)]  # noqa: B905
    wide = width()
    if wide is None:
        _piped(columns, clean, natural)
        return
    squeezed = [min(n, _SQUEEZED) if c.wraps else n for c, n in zip(columns, natural, strict=True)]
    if sum(squeezed) + _GAP * (len(columns) - 1) <= wide:
        _rich_table(columns, clean, colours or {}, wide)
    else:
        _told(columns, clean, colours or {}, wide)


def number(value: float | None) -> str:
    """Three digits of it, – where it is not known."""
    return "–" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def share(value: float | None) -> str:
    """As percent, – where it is not known."""
    return "–" if value is None else f"{100 * value:.1f} %"


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _strict(asdict(value))
    return value


def _headings(columns: Sequence[Column]) -> list[str]:
    return [c.heading for c in columns]


def _cells(text: str) -> int:
    """Columns that a text takes on a screen; a Chinese or Korean sign takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, to: int, *, is_right: bool) -> str:
    fill = " " * (to - _cells(text))
    return fill + text if is_right else text + fill


def _piped(columns: Sequence[Column], rows: Sequence[Sequence[str]], natural: list[int]) -> None:
    for row in (_headings(columns), *rows):
        cells = zip(row, columns, natural, strict=True)
        told = (" " * _GAP).join(_padded(c, n, is_right=col.is_right) for c, col, n in cells)
        click.echo(told.rstrip())


def _rich_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    colours: Mapping[str, str],
    wide: int,
) -> None:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for c in columns:
        side = "right" if c.is_right else "left"
        made.add_column(Text(c.heading), justify=side, no_wrap=not c.wraps, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in row))
    _console(wide).print(made)


def _told(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    colours: Mapping[str, str],
    wide: int,
) -> None:
    """Each row by itself: its first cells, then a line a cell with its heading."""
    from rich.text import Text

    console = _console(wide)
    first = 1 if columns[0].heading else 2
    for row in rows:
        mark = colours.get(row[0], "")
        for line in _broken(" ".join(filter(None, row[:first])), wide, ""):
            console.print(Text(line, style=mark or "bold"))
        for column, cell in zip(columns[first:], row[first:], strict=True):
            if cell:
                style = colours.get(cell, "")
                for line in _broken(f"{_INDENT}{column.heading}: {cell}", wide, _INDENT * 2):
                    console.print(Text(line, style=style))


def _wrapped(text: str, wide: int) -> None:
    if _cells(text) <= wide:
        click.echo(text)
        return
    body = text.lstrip(" ")
    indent = " " * (len(text) - len(body))
    for line in _broken(indent + _APART.sub("  ", body), wide, indent + _INDENT):
        click.echo(line)


def _console(wide: int) -> Console:
    from rich.console import Console

    # of a dumb terminal rich believes a width only together with a height
    return Console(width=wide, height=25, highlight=False)


def _broken(text: str, wide: int, indent: str) -> list[str]:
    """Lines of at most ``wide`` columns, all but the first under the indent."""
    from rich.text import Text

    own = text[: len(text) - len(text.lstrip(" "))]
    room, console = max(wide - len(indent), 8), _console(wide)
    found = Text(text.lstrip(" ")).wrap(console, room, overflow="fold")
    return [(indent if i else own) + line.plain.rstrip() for i, line in enumerate(found)]


def _blocks(told: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The lines, those together that are set in the columns of one heading above them."""
    marked: list[tuple[str, str]] = []
    heading, starts = "", list[int]()
    for text in told:
        if heading and _fits(text, starts):
            marked.append((heading, text))
            continue
        heading, starts = "", [0, *(m.end() for m in _APART.finditer(text))]
        is_heading = len(starts) > 3 and not text.startswith(" ") and text == text.lower()
        heading = text if is_heading else ""
        marked.append((heading, text))
    return [(h, [t for _, t in group]) for h, group in groupby(marked, key=lambda m: m[0])]


def _fits(text: str, starts: Sequence[int]) -> bool:
    """Whether a line has its columns where they start."""
    edges = [s for s in starts[1:] if s < len(text)]
    return len(edges) >= 2 and all(text[s - _GAP : s].isspace() for s in edges)


def _aligned(block: Sequence[str], wide: int) -> None:
    starts = [0, *(m.end() for m in _APART.finditer(block[0]))]
    cut = [
        [text[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        for text in block
    ]
    if len(cut) == 1:
        _wrapped(block[0], wide)
        return
    last = len(starts) - 1
    table([Column(h, wraps=i in (last, 2)) for i, h in enumerate(cut[0])], cut[1:])
