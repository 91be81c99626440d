"""Laws of every page: links resolve, commands are commands, knobs are knobs, code compiles."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml
from documents import PAGES, ROOT, Block, anchors, blocks, codes, commands, links

from pipelines.cli import cli
from pipelines.config_yaml import read_yaml
from pipelines.settings import Settings, load_settings

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def where(page: Path, link: str) -> Path:
    path = urlsplit(link).path
    return (page.parent / path).resolve() if path else page


def test_every_link_resolves(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "http"), link
            assert re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc), link
            assert not re.search(r"[\s<>]", link), link
            continue
        target = where(page, link)
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), f"{page.name}: no file {link}"
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in anchors(target), f"{page.name}: no heading {link}"


def test_every_foretide_command_parses(page: Path) -> None:
    for block in blocks(page):
        for words in commands(block, "foretide"):
            parse(cli, words)


def parse(command: click.Command, words: list[str]) -> None:
    """Click's own parsing, values and all; groups step down to their verb."""
    if words and words[0] == "VERB":
        return
    shown = {"[OPTIONS]", "…", "..."}
    given = [w for w in words if w not in shown]
    if isinstance(command, click.Group):
        assert given, f"{command.name}: no verb"
        name = given[0]
        if name.startswith("-"):
            command.make_context("foretide", given, resilient_parsing=True)
            return
        known = command.get_command(click.Context(command), name)
        assert known is not None, f"foretide has no {name}"
        if any(w in ("--help", "-h") for w in given):
            return
        parse(known, given[1:])
        return
    try:
        command.make_context(command.name, list(given))
    except click.UsageError as error:
        raise AssertionError(f"{command.name} {' '.join(given)}: {error.message}") from None


def test_options_that_the_text_names_exist(page: Path) -> None:
    """`foretide apply --approve PLAN_ID` in the middle of a sentence: verb and options."""
    for code in codes(page):
        words = code.split()
        if words[:1] != ["foretide"] or len(words) == 1 or words[1] == "VERB":
            continue
        command: click.Command = cli
        rest = words[1:]
        while rest and isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", rest[0]):
            if rest[0].startswith("-"):
                break
            found = command.get_command(click.Context(command), rest[0])
            assert found is not None, f"{page.name}: `{code}`: no {rest[0]}"
            command, rest = found, rest[1:]
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        known |= {"--help", "-h", "--version"}
        for option in (w for w in rest if re.fullmatch(r"--?[a-z][\w-]*", w)):
            assert option in known, f"{page.name}: `{code}`: no {option}"


def test_every_make_target_exists(page: Path) -> None:
    named = {w[0] for b in blocks(page) for w in commands(b, "make") if w}
    for code in codes(page):
        named |= set(re.findall(r"^make ([a-z][a-z-]*[a-z])(?= |$)", code))
    assert named <= TARGETS, f"{page.name}: make {named - TARGETS}"


def test_python_compiles(page: Path) -> None:
    import ast

    for block in blocks(page):
        if block.language in ("python", "py"):
            compile(block.text, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_configuration_is_one_that_would_be_read(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A YAML block whose keys are sections of the configuration has only knobs and values of it.

    What the page exports is set as well: secrets are not in the file.
    """
    for name, value in re.findall(r"export (FORETIDE_\w+)='?([^'\n]+)", page.read_text()):
        monkeypatch.setenv(name, value)
    for block in blocks(page):
        told = configuration(block)
        if told is not None:
            load_settings(told)


def configuration(block: Block) -> dict[str, Any] | None:
    if block.language not in ("yaml", "yml"):
        return None
    documents = [d for d in yaml.safe_load_all(block.text) if isinstance(d, dict)]
    if len(documents) != 1 or not documents[0]:
        return None
    ours = documents[0].keys() <= Settings.model_fields.keys()
    return read_yaml(block.text) if ours else None


def test_every_knob_that_is_named_exists(page: Path) -> None:
    """Dotted names in code that begin with a section, such as `detect.band.alerts_per_month`."""
    for code in codes(page):
        name, _, _ = code.partition(":")
        if not re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", name) or name.endswith((".md", ".yaml")):
            continue
        first, *rest = name.split(".")
        if (
            first in Settings.model_fields
            and not (ROOT / first).is_dir()
            and rest[-1] not in _FILES
        ):
            assert name in knobs() or free(name), f"{page.name}: no knob {name}"


_FILES = {"json", "html", "py", "csv", "parquet", "db", "prom", "log"}


def free(name: str) -> bool:
    """Below a knob whose keys are the user's own."""
    parts = name.split(".")
    return any(knobs().get(".".join(parts[:i])) == "free" for i in range(1, len(parts)))


@lru_cache(maxsize=1)
def knobs() -> dict[str, str]:
    """Every section and knob, from the settings themselves; mappings are free below."""
    found = dict[str, str]()

    def walk(value: Any, name: str) -> None:
        from dataclasses import fields, is_dataclass

        from pydantic import BaseModel

        if isinstance(value, BaseModel):
            names = [*type(value).model_fields]
        elif is_dataclass(value):
            names = [f.name for f in fields(value)]
        else:
            found[name] = "free" if isinstance(value, dict) else "knob"
            return
        found[name] = "section"
        for inner in names:
            walk(getattr(value, inner), f"{name}.{inner}" if name else inner)

    walk(Settings(), "")
    return found
