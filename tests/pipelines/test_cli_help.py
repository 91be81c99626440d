"""Help that teaches: examples that parse, options that every verb has, what was mistyped."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipelines.cli import _run_cli, cli

ROOT = Path(__file__).parents[2]


def commands(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))


def command_of(path: tuple[str, ...]) -> click.Command:
    found: click.Command = cli
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


ALL = list(commands(cli))
LEAVES = [p for p in ALL if not isinstance(command_of(p), click.Group)]
IDS = [" ".join(p) for p in ALL]


def examples(path: tuple[str, ...]) -> list[str]:
    text = command_of(path).help or ""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("foretide ")]


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_every_help_has_examples_of_the_verb_and_they_parse(path: tuple[str, ...]) -> None:
    found = examples(path)
    assert found
    assert all(line.startswith(f"foretide {' '.join(path)}") for line in found)
    for line in found:
        parse(shlex.split(line)[1:])


def parse(args: list[str]) -> None:
    """As the command line would, up to the point where a verb runs."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[args.pop(0)]
    command.make_context("foretide", args)


@pytest.mark.parametrize("path", LEAVES, ids=[" ".join(p) for p in LEAVES])
def test_every_verb_takes_json_and_debug_and_says_what_each_option_does(
    path: tuple[str, ...],
) -> None:
    options = [p for p in command_of(path).params if isinstance(p, click.Option)]
    names = {name for option in options for name in option.opts}
    # a server answers in its own protocol
    assert {"--json", "--debug"} <= names or path == ("mcp",)
    assert [o.opts for o in options if not o.help] == []


@pytest.mark.parametrize("path", [(), *ALL], ids=["", *IDS])
def test_help_is_no_wider_than_it_says(
    capsys: pytest.CaptureFixture[str], path: tuple[str, ...]
) -> None:
    assert _run_cli([*path, "--help"]) == 0
    assert [x for x in capsys.readouterr().out.splitlines() if len(x) > 100] == []


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["scroe"], "score"),
        (["models", "lst"], "list"),
        (["forecast", "--horizn", "3h"], "--horizon"),
        (["plan", "--explian", "x"], "--explain"),
    ],
)
def test_what_was_mistyped_is_told_what_may_have_been_meant(
    capsys: pytest.CaptureFixture[str], args: list[str], meant: str
) -> None:
    assert _run_cli(args) == 2
    assert f"Did you mean '{meant}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args", [["score", "--metric", "x"], ["plan", "--at", "2026-06-01"], ["completion", "tcsh"]]
)
def test_options_that_do_not_go_together_are_bad_usage(args: list[str]) -> None:
    assert _run_cli(args) == 2


def test_the_root_says_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    _run_cli(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "0 done, 1 failed" in said
    assert "2 bad usage, 130 stopped" in said


def test_help_loads_no_library_but_click() -> None:
    code = (
        "import sys\n"
        "from pipelines.cli import _run_cli\n"
        "_run_cli(['--help']); _run_cli(['score', '--help'])\n"
        "heavy = {'pandas', 'numpy', 'prefect', 'mlflow', 'pyarrow', 'numba', 'pydantic', 'yaml',\n"
        "         'rich', 'fastmcp', 'mcp', 'matplotlib', 'boto3', 'scipy', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_the_page_of_the_command_line_is_what_the_commands_say() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import cli; print(cli.cli_page(), end='')"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'docs' / 'make'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(
    capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    assert _run_cli(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "_FORETIDE_COMPLETE" in said
    assert "foretide" in said
