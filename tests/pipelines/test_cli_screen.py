"""What is printed fits the terminal, at any width; piped, a row is a line; colours where wanted."""

from __future__ import annotations

import io
import json
import threading
from contextlib import redirect_stderr, redirect_stdout

import pytest
from cli_store import FakeTerminal
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pipelines.commands.progress import progress
from pipelines.commands.screen import Column, emit, lines, table

WIDTHS = st.integers(40, 160)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=90)
COLUMNS = [Column("what"), Column("size", is_right=True), Column("why", wraps=True)]
ROWS = st.lists(st.tuples(CELLS.map(lambda t: f"x{t}"), CELLS, CELLS), min_size=1, max_size=4)


def shown(width: int, print_it, environment: dict[str, str] | None = None) -> str:
    """What a terminal of so many columns is given."""
    screen = FakeTerminal()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen):
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", str(width))
        patch.setenv("LINES", "50")
        patch.setenv("TERM", "xterm-256color")
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        print_it()
    return screen.getvalue()


def plainly(print_it) -> str:
    pipe = io.StringIO()
    with redirect_stdout(pipe):
        print_it()
    return pipe.getvalue()


@given(width=WIDTHS, rows=ROWS)
def test_no_line_of_a_table_is_wider_than_the_terminal(
    width: int, rows: list[tuple[str, str, str]]
) -> None:
    for rows_there in (rows, [("name", "12", "because of it " * 6)]):  # told apart, and as a table
        said = shown(width, lambda there=rows_there: table(COLUMNS, there), {"TERM": "dumb"})
        assert max(cell_len(line) for line in said.split("\n")) <= width


@given(width=WIDTHS, texts=st.lists(CELLS, min_size=1, max_size=5))
def test_no_line_of_text_is_wider_than_the_terminal(width: int, texts: list[str]) -> None:
    said = shown(width, lambda: lines(texts))
    assert all(cell_len(line) <= width for line in said.split("\n"))


@given(width=st.integers(40, 60))
def test_a_table_that_cannot_be_squeezed_keeps_every_cell(width: int) -> None:
    columns = [Column(f"heading{i}") for i in range(12)]
    row = [f"cell-{i}" for i in range(12)]
    said = shown(width, lambda: table(columns, [row]), {"TERM": "dumb"})
    assert all(cell in said for cell in row)


@given(rows=ROWS)
def test_piped_a_row_is_a_line_and_nothing_steers_the_terminal(
    rows: list[tuple[str, str, str]],
) -> None:
    said = plainly(lambda: table(COLUMNS, rows))
    assert len(said.split("\n")) == len(rows) + 2  # heading, and after the last line
    assert all(c.isprintable() or c == "\n" for c in said)


def test_colours_are_for_terminals_that_want_them() -> None:
    def print_it() -> None:
        table([Column("state"), Column("of")], [("fail", "[red]x[/]")], {"fail": "red"})

    assert "\x1b[31m" in shown(80, print_it)
    assert "\x1b[31m" not in shown(80, print_it, {"NO_COLOR": "1"})
    assert "\x1b" not in shown(80, print_it, {"TERM": "dumb"})
    assert "\x1b" not in plainly(print_it)
    assert "[red]x[/]" in plainly(print_it)
    assert "[red]x[/]" in shown(80, print_it)


def test_a_table_among_lines_is_told_row_by_row_where_it_is_too_wide() -> None:
    told = [
        "plan abc  mode shadow",
        "from   to     what                       change  reason",
        "00:00  01:00  floor prod/shop/Deployment  2 -> 4  " + "because " * 12,
        "left alone: x: no HPA",
    ]
    assert plainly(lambda: lines(told)).splitlines() == [t.rstrip("\n") for t in told]
    said = shown(40, lambda: lines(told))
    assert "plan abc  mode shadow\n" in said
    assert "left alone: x: no HPA\n" in said
    assert max(len(line) for line in said.splitlines()) <= 40


def test_a_number_that_json_does_not_know_is_null() -> None:
    said = plainly(lambda: emit({"a": float("nan"), "b": [float("inf"), 1.5], "c": "NaN"}))
    assert json.loads(said) == {"a": None, "b": [None, 1.5], "c": "NaN"}


class Watched(FakeTerminal):
    """Tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        if text:
            self.written.set()
        return super().write(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("terminal")
def test_work_that_takes_long_shows_that_it_lives_and_leaves_nothing() -> None:
    out, err = FakeTerminal(), Watched()
    with redirect_stdout(out), redirect_stderr(err), progress("train", after_s=0.0):
        assert err.written.wait(60)
    assert "train" in err.getvalue()
    assert out.getvalue() == ""


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("case", ["json", "piped", "quick", "dumb"])
def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    out, err = io.StringIO() if case == "piped" else FakeTerminal(), FakeTerminal()
    if case == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    with redirect_stdout(out), redirect_stderr(err):
        wait = 3600.0 if case == "quick" else 0.0
        with progress("train", quiet=case == "json", after_s=wait):
            timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer)]
            assert len(timers) == (case == "quick")
    assert err.getvalue() == ""
