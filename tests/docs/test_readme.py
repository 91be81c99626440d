"""README: the way from a file to a verdict works as it stands; the Korean one says the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner
from documents import ROOT, Block, blocks, commands, links

from pipelines.cli import cli

ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"


def block(page: Path, language: str) -> str:
    (found,) = [b.text for b in blocks(page) if b.language == language]
    return found


def test_it_is_short() -> None:
    assert len(ENGLISH.read_text().split()) < 1500


def test_it_begins_with_a_picture_and_two_commands() -> None:
    first = next(iter(blocks(ENGLISH)))
    assert [words[0] for words in commands(first, "make")] == ["demo", "test"]
    assert next(link for link in links(ENGLISH) if link.endswith(".png")) == "docs/report.png"


def test_every_page_is_within_reach() -> None:
    """Each page of docs/ is linked from the README."""
    told = {link.partition("#")[0] for link in links(ENGLISH)}
    there = {f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")}
    assert there <= told, there - told
    assert {p.name for p in ROOT.glob("*.md")} <= told | {"README.md"}


def test_every_figure_of_the_table_has_its_command() -> None:
    rows = figures(ENGLISH)
    assert len(rows) >= 16
    assert all(re.fullmatch(r"`make [a-z-]+`", row[2]) for row in rows)


def figures(page: Path) -> list[list[str]]:
    lines = page.read_text().splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if "`make " in line]
    return [row for row in rows if len(row) == 3]


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"(?<![A-Za-z])\d[\d.,]*\d|(?<![A-Za-z\d.,])\d", text))


def test_the_korean_one_has_the_same_figures() -> None:
    ours, theirs = figures(ENGLISH), figures(KOREAN)
    assert len(ours) == len(theirs)
    spelled = {"two": "2", "three": "3", "one": "1", "five": "5"}
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[2] == other[2]
        said = re.sub(r"\b(\w+)\b", lambda m: m[0] if m[0] not in spelled else "", mine[1])
        assert set(numbers(said)) <= set(numbers(other[1])), (mine[1], other[1])
        extra = set(numbers(other[1])) - set(numbers(said)) - set(spelled.values())
        assert not extra - {"4", "10", "100"}, (other[1], extra)


def test_the_korean_one_has_the_same_links() -> None:
    swap = {"README.ko.md": "README.md"}
    assert [swap.get(link, link) for link in links(ENGLISH)] == links(KOREAN)


def test_the_korean_one_has_the_same_commands() -> None:
    def bare(b: Block) -> tuple[str, list[str]]:
        return b.language, [re.sub(r"\s+#.*", "", line) for line in b.text.splitlines()]

    assert [bare(b) for b in blocks(ENGLISH)] == [bare(b) for b in blocks(KOREAN)]
    inline = re.compile(r"`(?:foretide|make) [^`]*`")
    assert inline.findall(ENGLISH.read_text()) == inline.findall(KOREAN.read_text())


def test_from_the_readme_to_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python block makes the file, the command judges it, the answer is the one that is shown.

    Fitted anew once a day and not once an hour, which is what takes the time.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORETIDE_PRESCALE__ISSUE__REFIT_H", "24")
    script = tmp_path / "make_samples.py"
    script.write_text(block(ENGLISH, "python"))
    runpy.run_path(str(script))
    begin = (tmp_path / "samples.csv").read_text(encoding="utf-8").splitlines()[0]
    assert begin == block(ENGLISH, "csv").splitlines()[0]
    (words,) = [
        w
        for b in blocks(ENGLISH)
        for w in commands(b, "foretide")
        if "replay" in w and "--hpa" not in w
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    said = done.output
    shown = next(b.text for b in blocks(ENGLISH) if b.text.startswith("replay:")).splitlines()
    for line in (shown[0], shown[2], shown[3].partition(": ")[0]):
        assert line in said, said
    assert re.search(r"enable: default/default/Workload/checkout: \d+ → \d+ pod-minutes", said)
