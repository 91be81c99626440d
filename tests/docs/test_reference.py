"""Generated pages say what the code says now; figures are there, made, and shown."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from documents import ROOT, blocks, links

DOCS = ROOT / "docs"
MAKE = DOCS / "make"


@pytest.fixture(scope="module")
def made() -> Any:
    """The module of the given name in docs/make."""
    sys.path.insert(0, str(MAKE))
    yield import_module
    sys.path.remove(str(MAKE))


@pytest.mark.parametrize("name", ["reference-tables.md", "reference-metrics.md"])
def test_a_generated_page_is_up_to_date(made: Any, name: str) -> None:
    page = made("reference").PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == page, "make docs"


def test_a_column_without_words_is_refused(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = made("reference")
    monkeypatch.setattr(reference, "COLUMNS", {**reference.COLUMNS, "run_id": None})
    with pytest.raises(SystemExit, match=r"nothing is said of \w+\.run_id"):
        reference.tables_page()


def test_words_without_a_column_are_refused(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = made("reference")
    monkeypatch.setattr(reference, "OWN", reference.OWN | {"skips": {"colour": "none"}})
    with pytest.raises(SystemExit, match="skips has no column"):
        reference.tables_page()


def test_figures_that_are_shown_are_those_that_are_made(made: Any) -> None:
    shown = {link for link in links(DOCS / "how-it-works.md") if link.startswith("figures/")}
    assert shown == {f"figures/{name}.svg" for name in made("figures").FIGURES}
    assert {f"figures/{p.name}" for p in (DOCS / "figures").iterdir()} == shown


def test_a_figure_is_a_small_picture_that_asks_nobody() -> None:
    for path in (DOCS / "figures").iterdir():
        text = path.read_text(encoding="utf-8")
        assert len(text) < 250_000, path.name
        root = ET.fromstring(text)  # noqa: S314 our own file
        tags = {element.tag.split("}")[-1] for element in root.iter()}
        assert "path" in tags
        assert not tags & {"script", "image", "foreignObject"}
        for element in root.iter():
            refs = [v for k, v in element.attrib.items() if k.endswith("href")]
            assert all(v.startswith("#") for v in refs), path.name


def test_the_way_and_the_raise_are_drawn_as_the_code_says_now(made: Any) -> None:
    """The two that need no simulation are drawn again: the guardrails' raise by its numbers."""
    plain = made("figures_plain")
    lines = {line.get_label(): line.get_ydata() for line in plain.guard().axes[0].get_lines()}
    known, new = (
        next(y for label, y in lines.items() if label.startswith(start))
        for start in ("raised", "new")
    )
    assert list(known)[:4] == [6, 12, 20, 20]
    assert max(new) == 20
    assert all(a <= b for a, b in zip(new, known, strict=True))
    assert plain.way().axes[0].texts


def test_no_page_shows_a_machines_own_paths() -> None:
    for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(DOCS / "figures").iterdir()):
        text = page.read_text(encoding="utf-8")
        assert str(ROOT) not in text, page.name
        assert "/home/" not in text, page.name
    assert any(blocks(ROOT / "README.md"))
